"""Training on small networks: it learns, it goes on to the bit, and a run folder explains itself."""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from tiny_runs import PEOPLE, make_faces

from facemorph.cli import main
from facemorph.config import to_yaml
from facemorph.dcgan import train as training
from facemorph.dcgan.config import Config, Network, config_from_dict, load_config
from facemorph.dcgan.networks import Discriminator, Generator, settle_batch_norm
from facemorph.dcgan.run import Run, SampleFaces
from facemorph.dcgan.walk import along_component, between, diagonal, load_generator
from facemorph.errors import ConfigError, InputError, RunError, TrainingError
from facemorph.images import read_image
from facemorph.plots import LivePlot


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_faces(tmp_path_factory.mktemp("faces"))


def small(faces: Path, **training_values: object) -> Config:
    return config_from_dict(
        {
            "data": {"faces": [str(faces)]},
            "network": {"size_px": 16, "z_dim": 8, "channels": 8},
            "training": {
                "steps": 12, "batch_size": 16, "augment": ["color", "shift", "flip"],
                "precision": "float32", "ema": 0.9, **training_values,
            },
            "output": {"sample_every": 5, "checkpoint_every": 4},
        }
    )  # fmt: skip


def log_without_time(run: Path) -> list[list[str]]:
    with (run / "log.csv").open() as file:
        return [row[:-1] for row in csv.reader(file)]


@pytest.mark.parametrize("kernel_px", [4, 5])
@pytest.mark.parametrize("first_layer", ["conv", "dense"])
@pytest.mark.parametrize("size_px", [16, 64, 128])
def test_shapes_and_ranges(kernel_px: int, first_layer: str, size_px: int) -> None:
    network = Network(size_px=size_px, channels=4, kernel_px=kernel_px, first_layer=first_layer)
    images = Generator(network)(torch.randn(3, 100))
    assert images.shape == (3, 3, size_px, size_px)
    assert images.abs().max() <= 1
    assert Discriminator(network)(images).shape == (3,)


def test_the_networks_have_the_published_size() -> None:
    count = [sum(p.numel() for p in net(Network()).parameters()) for net in (Generator, Discriminator)]
    # DCGAN at 64 px with base width 64, as pytorch/examples counts them
    assert count == [3_576_704, 2_765_568]


def test_initial_weights_are_normal_with_std_0_02() -> None:
    torch.manual_seed(0)
    for name, parameter in Generator(Network()).named_parameters():
        if parameter.dim() == 4:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.03), name


def test_an_interrupted_run_gives_the_same_numbers_to_the_bit(faces: Path, tmp_path: Path) -> None:
    config = small(faces, generator_steps=2)
    training.train(config, tmp_path / "whole")
    for steps in (3, 7, 12):
        training.train(replace(config, training=replace(config.training, steps=steps)), tmp_path / "parts")
    assert log_without_time(tmp_path / "parts") == log_without_time(tmp_path / "whole")
    for name in ("generator.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_was_logged_after_the_checkpoint_is_done_again_without_gap_or_double(faces: Path, tmp_path: Path) -> None:
    config = small(faces)
    training.train(config, tmp_path / "whole")
    training.train(replace(config, training=replace(config.training, steps=8)), tmp_path / "killed")
    with (tmp_path / "killed" / "log.csv").open("a") as file:
        file.write("9,1,1,1,1,1,1,1\n10,2,2,2,2,2,2,2\n11,3,3")  # as a kill between checkpoints leaves it
    training.train(config, tmp_path / "killed")
    assert log_without_time(tmp_path / "killed") == log_without_time(tmp_path / "whole")
    assert [int(row[0]) for row in log_without_time(tmp_path / "whole")[1:]] == list(range(1, 13))


def test_the_seed_decides(faces: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        training.train(small(faces, seed=seed, steps=3), tmp_path / name)
    a, b, c = (log_without_time(tmp_path / name) for name in "abc")
    assert a == b != c


def test_it_learns_the_two_colours(faces: Path, tmp_path: Path) -> None:
    config = small(faces, steps=300, learning_rate=1e-3, augment=["shift"], batch_size=24)
    config = replace(config, network=replace(config.network, channels=16))
    health, interrupted = training.train(config, tmp_path / "run")
    assert not interrupted
    trained = load_generator(Run.open(tmp_path / "run"))
    means = trained.images(trained.draw(128, 0)).mean((1, 2))
    with pytest.raises(ConfigError, match="seed should be from 0 to"):
        trained.draw(1, 2**63)
    red, blue = (np.linalg.norm(means - np.array(colour), axis=1) for colour in PEOPLE.values())
    assert np.minimum(red, blue).mean() < 85  # mid-grey lies 120 away from both
    assert 0.05 < (red < blue).mean() < 0.95, "one person was forgotten"
    assert health.steps == 300


def test_a_run_folder_explains_itself(faces: Path, tmp_path: Path) -> None:
    run, config = tmp_path / "run", small(faces)
    training.train(config, run)
    assert load_config(run / "config.yaml") == config
    about = json.loads((run / "run.json").read_text())
    assert about["faces"] == {"anna": 24, "ben": 24}
    assert about["precision"] == "float32"
    assert set(about) >= {"commit", "versions", "seed", "data_sha256", "device", "machine"}
    assert json.loads((run / "health.json").read_text())["verdict"] == "undecided"
    assert sorted(path.name for path in (run / "samples").iterdir()) == [f"step-{n:06d}.png" for n in (5, 10, 12)]
    assert Run.open(run).people()["anna"].shape == (24, 16, 16, 3)
    assert read_image(run / "real.png").shape == (7 * 18 + 2, 7 * 18 + 2, 3)  # 48 real faces


def test_the_log_and_its_plot_are_there_from_the_first_step(faces: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, bool]] = []
    training.train(
        small(faces, steps=8),
        tmp_path,
        logged=lambda run, finished: steps.append((len(run.losses()["step"]), finished)),
    )
    assert steps == [(1, False), (4, False), (5, False), (8, False), (8, True)]
    (tmp_path / "log.csv").write_text("\n".join((tmp_path / "log.csv").read_text().splitlines()[:2]) + "\n")
    LivePlot()(Run.open(tmp_path), False)
    assert read_image(tmp_path / "loss.png").shape[1] > 500


def test_faces_on_the_last_sample_grid_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The two colours are called stable or not by their losses; in no case is there a face."""
    config = small(make_faces(tmp_path / "faces"), steps=2)
    config = replace(config, network=replace(config.network, size_px=32))
    training.train(config, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert run.sample_faces() == SampleFaces(2, 0, 64)
    result = CliRunner().invoke(main, ["plot-loss", str(run.path)])
    assert "loss verdict after 2 steps: undecided" in result.output
    assert "faces detected: 0 of 64, not usable yet" in result.output
    assert str(SampleFaces(1, 61, 64)) == "faces detected: 61 of 64"


def test_training_says_what_to_do_next(faces: Path, tmp_path: Path) -> None:
    config = tmp_path / "few.yaml"
    config.write_text(to_yaml(small(faces, steps=2)))
    result = CliRunner().invoke(main, ["train", "-q", "--config", str(config), "-o", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    run = tmp_path / "run"
    assert f"Next: facemorph sample {run}; facemorph evaluate {run}; facemorph walk {run}" in result.output
    assert "--from-person anna --to-person ben" in result.output
    assert (run / "loss.png").exists()


def test_the_log_adds_up(faces: Path, tmp_path: Path) -> None:
    training.train(small(faces, steps=6), tmp_path)
    losses = Run.open(tmp_path).losses()
    np.testing.assert_allclose(losses["d_loss"], losses["d_loss_real"] + losses["d_loss_fake"], rtol=1e-4)
    assert ((losses["d_of_real"] > 0) & (losses["d_of_real"] < 1)).all()


def test_other_configurations_and_other_faces_are_refused(faces: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    training.train(small(faces, steps=4), run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"training\.learning_rate was 0\.0002, now 0\.001"):
        training.train(small(faces, learning_rate=1e-3), run)
    extra = faces / "ben" / "extra.png"
    Image.new("RGB", (16, 16)).save(extra)
    try:
        with pytest.raises(RunError, match=r"have changed .*: 24 of anna, 24 of ben then, 24 of anna, 25 of ben now\."):
            training.train(small(faces), run)
    finally:
        extra.unlink()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(RunError, match="is not a run folder"):
        training.train(small(faces), tmp_path / "other")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_faces_that_are_missing_or_too_few(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No face folder"):
        training.train(small(tmp_path / "none"), tmp_path / "run")
    with pytest.raises(InputError, match="48 faces do not fill one batch of 64"):
        training.train(small(faces, batch_size=64), tmp_path / "run")
    with pytest.raises(InputError, match="No person 'carl' among anna, ben"):
        config = small(faces)
        training.train(replace(config, data=replace(config.data, persons=("carl",))), tmp_path / "run")
    with pytest.raises(ConfigError, match="cannot be used"):
        training.train(small(faces), tmp_path / "run", device_name="cuda:7")
    assert not (tmp_path / "run").exists()


def test_a_limit_takes_so_many_of_each_by_the_seed(faces: Path) -> None:
    from facemorph.dcgan.dataset import load_faces

    data = replace(small(faces).data, limit=5)
    first, again, other = (load_faces(data, 16, seed) for seed in (0, 0, 1))
    assert first.counts() == {"anna": 5, "ben": 5}
    assert first.digest == again.digest != other.digest


def test_nan_stops_with_an_explanation(faces: Path, tmp_path: Path) -> None:
    training.train(small(faces, steps=4), tmp_path / "run")
    run = Run.open(tmp_path / "run")
    config = small(faces)
    state = training.State(config, torch.device("cpu"))
    state.load(run.checkpoint)
    with torch.no_grad():
        next(state.g.parameters()).fill_(float("nan"))
    state.save(run.checkpoint)
    with pytest.raises(TrainingError, match=r"NaN or infinite(.|\n)*learning_rate"):
        training.train(config, run.path)
    assert run.health().verdict == "failed"


def test_a_damaged_checkpoint_is_refused(faces: Path, tmp_path: Path) -> None:
    training.train(small(faces, steps=4), tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(RunError, match="cannot be loaded"):
        training.train(small(faces), tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"  # of another network: torch names each tensor of another shape
    config.write_text(config.read_text().replace("size_px: 16", "size_px: 32"))
    with pytest.raises(RunError, match="cannot be loaded") as other:
        load_generator(Run.open(tmp_path / "run"))
    assert len(str(other.value)) < 600


def test_ctrl_c_saves_and_says_how_to_go_on(faces: Path, tmp_path: Path) -> None:
    config = tmp_path / "a long run.yaml"  # the command that is printed quotes it
    config.write_text(to_yaml(small(faces, steps=100_000)))
    command = [sys.executable, "-m", "facemorph", "train", "--config", str(config), "-o", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.csv"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") > 30):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "Stopping after this step; interrupt again to stop at once." in err
    assert process.returncode == 130
    found = re.search("Continue with: (.*)", out)
    assert found and shlex.split(found[1]) == ["facemorph", *command[3:]]
    steps = len(log_without_time(tmp_path / "run")) - 1
    state = training.State(small(faces), torch.device("cpu"))
    state.load(tmp_path / "run" / "checkpoint.safetensors")
    assert state.step == steps > 30


def test_in_eval_mode_an_image_depends_on_its_own_z_alone() -> None:
    torch.manual_seed(0)
    network = Network(size_px=16, channels=4, z_dim=8)
    generator = Generator(network)
    settle_batch_norm(generator, network)
    z = torch.randn(8, 8)
    with torch.no_grad():
        torch.testing.assert_close(generator(z)[:1], generator(z[:1]))


def test_walks_begin_and_end_where_they_should() -> None:
    a, b = torch.randn(2, 100)
    for spherical in (False, True):
        walk = between(a, b, 7, spherical=spherical)
        torch.testing.assert_close(walk[[0, -1]], torch.stack([a, b]))
    straight = between(a, b, 7)
    torch.testing.assert_close(straight.diff(dim=0), ((b - a) / 6).expand(6, 100))
    sphere = between(a / a.norm(), b / b.norm(), 7, spherical=True)
    torch.testing.assert_close(sphere.norm(dim=1), torch.ones(7))
    assert diagonal(Network(), 5)[:, 3].tolist() == [0, 0.25, 0.5, 0.75, 1]
    component = along_component(a, 2, 5)
    assert component[:, 2].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert torch.equal(component[:, 3], a[3].expand(5))
    with pytest.raises(RunError, match="no component 100"):
        along_component(a, 100, 5)


def test_the_commands_on_a_trained_run(faces: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    training.train(small(faces, steps=210), run)
    invoke = CliRunner().invoke
    for suffix in ("png", "svg", "pdf"):
        result = invoke(main, ["plot-loss", str(run), str(run), "-o", str(tmp_path / f"loss.{suffix}")])
        assert result.exit_code == 0, result.output
        assert (tmp_path / f"loss.{suffix}").stat().st_size > 5000
    assert "was expected" in invoke(main, ["plot-loss", str(run), "-o", str(tmp_path / "loss.txt")]).output

    result = invoke(main, ["sample", str(run), "-n", "9", "--seed", "3"])
    assert result.exit_code == 0, result.output
    assert read_image(run / "sample-3.png").shape == (3 * 18 + 2, 3 * 18 + 2, 3)

    for options, name in (
        (["--diagonal"], "diagonal"),
        (["--from-seed", "1", "--to-seed", "2", "--slerp"], "seed-1-to-2"),
        (["--component", "0", "--component", "7"], "components-0-7"),
    ):
        result = invoke(main, ["walk", str(run), "--steps", "5", "--frames", "6", *options])
        assert result.exit_code == 0, result.output
        strip = read_image(run / "walks" / f"{name}.png")
        assert strip.shape == ((2 if "components" in name else 1) * 18 + 2, 5 * 18 + 2, 3)
        with Image.open(run / "walks" / f"{name}.gif") as gif:
            assert getattr(gif, "n_frames", 1) == 2 * 6 - 2
        assert (run / "walks" / f"{name}.mp4").stat().st_size > 500

    for options, text in (
        (["--from-person", "anna"], "go together"),
        (["--from-seed", "1", "--to-seed", "2", "--component", "1"], "Choose one of"),
        (["--diagonal", "--component", "1"], "Choose one of"),
    ):
        result = invoke(main, ["walk", str(run), *options])
        assert (result.exit_code, text in result.output) == (2, True)

    for command, output, name in (
        (["plot-loss"], "mine.png", "mine.png"),
        (["sample"], "mine.png", "mine.png"),
        (["walk", "--diagonal", "--steps", "2", "--frames", "2"], "walks", "walks/diagonal.gif"),
        (["walk", "--measure"], "measured", "measured/anna-to-ben-measure.json"),
        (["evaluate", "run"], "report", "report/evaluation.json"),
    ):
        mine = tmp_path / command[0] / name
        mine.parent.mkdir(parents=True)
        mine.write_text("what nobody allowed us to replace")
        words = [*command, str(run), "-q", "-o", str(tmp_path / command[0] / output)]
        result = invoke(main, words)
        assert (result.exit_code, "exists already" in result.output) == (1, True), result.output
        assert [path for path in mine.parent.iterdir()] == [mine] and "nobody" in mine.read_text()
        if not {"evaluate", "--measure"} & set(command):  # there are no faces to find in images of 16 px
            assert invoke(main, [*words, "--overwrite"]).exit_code == 0
            assert mine.read_bytes()[:4] in (b"\x89PNG", b"GIF8")


def test_a_run_of_one_person_walks_the_diagonal(faces: Path, tmp_path: Path) -> None:
    config = small(faces, steps=2)
    training.train(replace(config, data=replace(config.data, persons=("anna",))), tmp_path)
    result = CliRunner().invoke(main, ["walk", str(tmp_path), "--steps", "3", "--frames", "3"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "walks" / "diagonal.gif").exists()


def test_commands_on_what_is_no_run(tmp_path: Path) -> None:
    for command in ("plot-loss", "sample", "walk"):
        for path, text in ((tmp_path, "is not a run folder"), (tmp_path / "none", "does not exist")):
            result = CliRunner().invoke(main, [command, str(path)])
            assert result.exit_code == 1
            assert text in result.output
            assert "facemorph train --config mixed.yaml" in result.output
