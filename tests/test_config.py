"""Configurations: what is refused, and in which words."""

from pathlib import Path

import pytest
import yaml

from facemorph import config
from facemorph.dcgan.config import Config, Network, Training, config_from_dict, load_config
from facemorph.errors import ConfigError
from facemorph.stylegan.projection.config import EncoderConfig, ProjectionConfig
from facemorph.stylegan.training.config import Config as GeneratorConfig


def test_every_shipped_config_loads_and_survives_being_written(tmp_path: Path) -> None:
    shipped = sorted(config.SHIPPED.glob("*.yaml"))
    assert {"mixed.yaml", "mixed-paper.yaml", "demo.yaml"} <= {path.name for path in shipped}
    for path in shipped:
        kinds = {"project": ProjectionConfig, "encoder": EncoderConfig, "generator": GeneratorConfig}
        kind = kinds.get(path.stem.split("-")[0], Config)
        loaded = config.load(path, [], kind)
        again = tmp_path / path.name
        again.write_text(config.to_yaml(loaded))
        assert config.load(again, [], kind) == loaded
        assert config.load(path.name, [], kind) == config.load(path.stem, [], kind) == loaded


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"trainin": {}}, "unknown key trainin. Did you mean training?"),
        ({"training": {"step": 3}}, "unknown key training.step. Did you mean training.steps?"),
        ({"training": {"steps": 0}}, "training.steps should be 1 or more, not 0"),
        ({"training": {"steps": "many"}}, "training.steps should be a whole number, not 'many'"),
        ({"training": {"steps": True}}, "training.steps should be a whole number"),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate should be a number"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate should be a number"),
        ({"training": {"augment": ["blur"]}}, "training.augment should be one of color, shift, flip"),
        ({"network": {"size_px": 100}}, "network.size_px should be a power of two from 16 to 512"),
        ({"network": []}, "should be keys with values"),
        (["steps"], "the file should be keys with values"),
    ],
)
def test_a_wrong_config_is_refused_in_plain_words(values: object, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        config_from_dict(values, "here.yaml")
    assert text in str(error.value)
    assert str(error.value).startswith("here.yaml")


def test_yaml_numbers_without_a_point_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("training: {learning_rate: 2e-4}\ndata: {faces: one}\n")
    loaded = load_config(path, ["training.steps=7", "data.persons=[a, b]"])
    assert loaded.training.learning_rate == 2e-4
    assert loaded.data.faces == ("one",)
    assert (loaded.training.steps, loaded.data.persons) == (7, ("a", "b"))


def test_overrides_and_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not of the form section\.key=value"):
        load_config("mixed.yaml", ["steps=3"])
    with pytest.raises(ConfigError, match=r"Did you mean training\.steps"):
        load_config("mixed.yaml", ["training.stepz=3"])
    with pytest.raises(ConfigError, match=r"No such config: none\.yaml(.|\n)*mixed\.yaml"):
        load_config("none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(broken)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"training": {"lr": 1e-3}}, "Did you mean training.learning_rate?"),
        ({"training": {"epochs": 3}}, "Did you mean training.steps? An epoch is"),
        ({"training": {"beta2": 0.9}}, "It is fixed at 0.999."),
        ({"network": {"image_size": 64}}, "Did you mean network.size_px?"),
    ],
)
def test_the_fields_usual_names_lead_to_ours(values: object, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        config_from_dict(values)
    assert text in error.value.problem and "--list-settings" in error.value.hint


def test_settings_made_in_python_are_checked_when_they_are_made() -> None:
    with pytest.raises(ConfigError, match=r"training\.loss should be one of cross-entropy, hinge, not wgan"):
        Training(loss="wgan")
    with pytest.raises(ConfigError, match=r"network\.size_px should be a power of two"):
        Network(size_px=100)
    with pytest.raises(ConfigError, match=r"training\.steps should be a whole number, not '9'"):
        Training(steps="9")  # type: ignore[arg-type]
    assert Training(augment=["flip"]).augment == ("flip",)  # type: ignore[arg-type]
    assert isinstance(Training(learning_rate=True - 0.5).learning_rate, float)


def test_every_setting_has_a_meaning_and_its_default_obeys_its_rule() -> None:
    for kind in (Config, ProjectionConfig, EncoderConfig):
        rows = list(config.list_settings(kind))
        assert len(rows) > 10
        assert all(meaning and allowed for _, _, allowed, meaning in rows)
        for key, default, _, _ in rows:
            section, name = key.split(".")
            loaded = config.from_dict({section: {name: yaml.safe_load(default)}}, "defaults", kind)
            assert loaded == kind(), key


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "double.yaml"
    path.write_text("training: {steps: 3}\nnetwork: {}\ntraining: {seed: 1}\n")
    with pytest.raises(ConfigError, match=r"double\.yaml: the key training stands twice"):
        load_config(path)
