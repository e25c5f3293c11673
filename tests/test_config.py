"""Configurations: what is refused, and in which words."""

from pathlib import Path

import pytest

from facemorph import config
from facemorph.errors import ConfigError
from facemorph.stylegan.projection import Projection
from facemorph.stylegan.teaching import Teaching


def test_every_shipped_config_loads_and_survives_being_written(tmp_path: Path) -> None:
    shipped = sorted(config.SHIPPED.glob("*.yaml"))
    assert {"mixed.yaml", "mixed-paper.yaml", "demo.yaml"} <= {path.name for path in shipped}
    for path in shipped:
        kind = {"project": Projection, "encoder": Teaching}.get(path.stem.split("-")[0], config.Config)
        loaded = config.load(path, kind=kind)
        again = tmp_path / path.name
        again.write_text(config.to_yaml(loaded))
        assert config.load(again, kind=kind) == loaded
        assert config.load(path.name, kind=kind) == config.load(path.stem, kind=kind) == loaded


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
        config.from_dict(values, "here.yaml")
    assert text in str(error.value)
    assert str(error.value).startswith("here.yaml")


def test_yaml_numbers_without_a_point_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("training: {learning_rate: 2e-4}\ndata: {faces: one}\n")
    loaded = config.load(path, ["training.steps=7", "data.persons=[a, b]"])
    assert loaded.training.learning_rate == 2e-4
    assert loaded.data.faces == ("one",)
    assert (loaded.training.steps, loaded.data.persons) == (7, ("a", "b"))


def test_overrides_and_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not of the form section\.key=value"):
        config.load("mixed.yaml", ["steps=3"])
    with pytest.raises(ConfigError, match=r"Did you mean training\.steps"):
        config.load("mixed.yaml", ["training.stepz=3"])
    with pytest.raises(ConfigError, match=r"No such config: none\.yaml(.|\n)*mixed\.yaml"):
        config.load("none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1")
    with pytest.raises(ConfigError, match="is not YAML"):
        config.load(broken)
