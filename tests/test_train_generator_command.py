"""The commands on runs of train-generator: train, plot, evaluate, add the network, time a step; and their settings."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT
from generator_runs import tiny, write_faces

from facemorph.cli import main
from facemorph.config import to_yaml
from facemorph.errors import ConfigError, OutputError
from facemorph.images import read_image, write_image
from facemorph.stylegan.load import find_network, load_generator
from facemorph.stylegan.projection.encoder import find_encoder
from facemorph.stylegan.training.config import config_from_dict, load_config
from facemorph.stylegan.training.keep import add_run
from facemorph.stylegan.training.run import GeneratorRun

pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("toy") / "faces.npy")


def invoke(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_trains_plots_evaluates_and_gives_a_network_of_a_name(faces: Path, tmp_path: Path) -> None:
    config, run = tmp_path / "tiny.yaml", tmp_path / "run"
    config.write_text(to_yaml(tiny(faces)))
    told = invoke("train-generator", faces, "--config", config, "--steps", 6, "--seed", 3, "-o", run, "-q")
    assert f"facemorph weights add {run} --name NAME" in told and (run / "loss.png").exists()
    assert GeneratorRun.open(run).config().training.seed == 3
    assert f"Plot: {run / 'loss.png'}" in invoke("plot-loss", run)
    told = invoke("evaluate", run, "--samples", 32, "-q")
    report = json.loads((run / "evaluation.json").read_text())
    assert "held-out faces rebuilt (2)" in told and report["rebuilt"]["faces"] == 2
    assert report["distances"]["imagenet"]["frechet"]["value"] > 0 and report["real"] == {
        "compared": 32, "of": 46, "source": "trained on"
    }  # fmt: skip
    assert read_image(run / "evaluation.png").shape[0] > 500

    told = invoke("weights", "add", run, "--name", "toy-16", "--licence", "for tests")
    assert "facemorph generate --network toy-16" in told
    assert "toy-16  [ready]" in invoke("weights", "list")
    assert "ok " in invoke("weights", "verify", "toy-16")
    invoke("generate", "--network", "toy-16", "--seeds", "0-3", "-o", tmp_path / "faces.png", "-q")
    assert read_image(tmp_path / "faces.png").ndim == 3
    generator = load_generator(find_network("toy-16"))
    assert find_encoder(generator).is_file()
    write_image(tmp_path / "a.png", read_image(run / "samples" / "drawn-000006.png")[2:18, 2:18])
    invoke("project", tmp_path / "a.png", "--aligned", "--network", "toy-16", "--loss", "pixel", "-q",
           "--set", "schedule.steps=2", "-o", tmp_path / "projected")  # fmt: skip
    assert '"start": "encoder"' in (tmp_path / "projected" / "a" / "report.json").read_text()
    with pytest.raises(OutputError, match="There is a network toy-16 already"):
        add_run(run, "toy-16")
    result = CliRunner().invoke(main, ["weights", "add", str(run), "--name", "faces-128"])
    assert result.exit_code == 1 and "name of a published network" in result.output


def test_the_parts_of_a_step_are_timed(faces: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(to_yaml(tiny(faces)))
    told = invoke("train-generator", faces, "--config", config, "--profile", "-o", tmp_path / "run")
    for part in (
        "judges: looking",
        "faces drawn and rebuilt",
        "generator and encoder: learning",
        "whole",
        "12 steps: about",
    ):
        assert part in told
    assert not (tmp_path / "run").exists()


def test_settings_that_cannot_be_are_told() -> None:
    assert load_config("generator-128").network.channels == (256, 256, 256, 256, 128, 64)  # as faces-128
    assert load_config("generator-256").network.channels == (256, 256, 256, 256, 128, 64, 32)
    assert load_config("generator-tune").terms.judges == 0
    for values, text in (
        ({"network": {"size_px": 100}}, "a power of two"),
        ({"training": {"batch_size": 9}}, "should be even"),
        ({"judging": {"judges": []}}, "is empty"),
        ({"kind": "dcgan"}, "kind should be stylegan"),
        ({"training": {"g_rat": 1}}, r"training\.g_rate"),
    ):
        with pytest.raises(ConfigError, match=text):
            config_from_dict(values)


def test_the_network_of_before_is_added_from_the_repository(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ROOT / "experiments" / "embedded-generator" / "faces-128"
    if not kept.exists():
        pytest.skip("experiments/embedded-generator/faces-128 is not in this copy")
    monkeypatch.chdir(tmp_path)
    portrait = people / "eileen.png"
    for words in (["weights", "fetch", "faces-128"], ["project", str(portrait), "--network", "faces-128"]):
        missing = CliRunner().invoke(main, words)
        assert missing.exit_code == 1, missing.output
        assert "weights add experiments/embedded-generator/faces-128 --name faces-128" in missing.output
    alone = CliRunner().invoke(main, ["weights", "add", str(kept / "generator.safetensors")])
    assert alone.exit_code == 1 and "one file of faces-128" in alone.output
    invoke("weights", "add", kept, "--name", "faces-128")
    invoke("weights", "add", kept, "--name", "faces-128")  # the same again: no harm
    assert "faces-128  [ready]" in invoke("weights", "list")
    assert "BAD" not in invoke("weights", "verify", "faces-128")
    invoke("project", portrait, "--network", "faces-128", "--preset", "instant", "-o", "projected")
    report = json.loads((tmp_path / "projected" / "eileen" / "report.json").read_text())
    assert report["alignment"] == "eyes" and report["start"] == "encoder"
    assert report["descriptor_distance"] < 0.75  # strangers are 0.85 apart in the median
    latent = tmp_path / "projected" / "eileen" / "latent.safetensors"
    invoke("child", latent, latent, "--network", "faces-128", "--ages", 5, 60, "--children", 1)
    assert len(list(tmp_path.rglob("child_1_60_years.png"))) == 1
