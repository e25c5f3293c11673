"""Several processes, as torchrun starts them, here two with gloo on the CPU."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT
from PIL import Image
from skimage import data
from tiny_runs import log_without_time, make_faces, tiny

from facemorph.cli import main
from facemorph.config import to_yaml
from facemorph.dcgan.config import Config
from facemorph.dcgan.run import Run
from facemorph.dcgan.train import train
from facemorph.distributed import ProcessGroup
from facemorph.errors import InputError
from facemorph.files import read_jsonl
from facemorph.shards import Shard, shard_from_environment


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_faces(tmp_path_factory.mktemp("tiny") / "faces")


def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "-m", "facemorph", *words], capture_output=True, text=True, env=environment, timeout=240
    )


def train_by_two(config: Config, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    path = folder.with_suffix(".yaml")
    path.write_text(to_yaml(config))
    return torchrun("train", "-q", "--config", str(path), "-o", str(folder), *more)


def test_with_shared_statistics_two_processes_learn_what_one_does(faces: Path, tmp_path: Path) -> None:
    config = tiny(
        faces, sync_batch_norm=True, augment=["color", "shift", "flip"], instance_noise=0.1, steps=16, batch_size=16
    )
    train(config, tmp_path / "one")
    done = train_by_two(config, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("after 16 steps") == 1  # the first process prints for both
    one, two = (Run.open(tmp_path / name).losses() for name in ("one", "two"))
    np.testing.assert_array_equal(two["step"], np.arange(1, 17))
    for name in ("d_loss_real", "d_loss_fake", "g_loss", "d_of_real", "d_of_fake"):
        np.testing.assert_allclose(one[name], two[name], rtol=2e-3, atol=2e-3)
    assert Run.open(tmp_path / "two").about()["processes"] == 2
    files = [{p.name for p in (tmp_path / name).rglob("*")} for name in ("one", "two")]
    assert files[0] | {"loss.png"} == files[1]  # the command draws it


@pytest.mark.slow
def test_each_with_its_own_statistics_stays_near_and_goes_on_in_one(faces: Path, tmp_path: Path) -> None:
    config = tiny(faces, batch_size=24, steps=40, every=20)
    train(config, tmp_path / "one")
    done = train_by_two(config, tmp_path / "two", "--set", "training.steps=20")
    assert done.returncode == 0, done.stderr
    half = log_without_time(tmp_path / "two")
    train(config, tmp_path / "two")  # from the checkpoint, in this process
    assert log_without_time(tmp_path / "two")[:21] == half
    one, two = (Run.open(tmp_path / name).losses() for name in ("one", "two"))
    assert not np.array_equal(one["d_loss"], two["d_loss"])
    for name in ("d_loss", "g_loss"):
        assert abs(one[name].mean() - two[name].mean()) < 0.25 * one[name].mean()


def test_what_the_first_may_not_do_ends_all(faces: Path, tmp_path: Path) -> None:
    train(tiny(faces, steps=2), tmp_path / "run")
    before = (tmp_path / "run" / "log.csv").read_bytes()
    done = train_by_two(tiny(faces, learning_rate=1e-3), tmp_path / "run")
    assert done.returncode != 0
    assert "training.learning_rate was 0.0002, now 0.001" in done.stderr
    assert (tmp_path / "run" / "log.csv").read_bytes() == before


def test_each_takes_its_part_and_together_they_take_all() -> None:
    parts = [list(range(12))[ProcessGroup(rank, 3).part(12)] for rank in range(3)]
    assert [n for part in parts for n in part] == list(range(12))
    assert {len(part) for part in parts} == {4}
    paths = [Path(str(n)) for n in range(7)]
    assert sorted(path for rank in range(3) for path in Shard(rank, 3).mine(paths)) == paths


def test_ranks_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shard_from_environment() == Shard(0, 1)
    for rank, world in (("2", "2"), ("x", "2"), ("-1", "2"), ("0", "0")):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", world)
        with pytest.raises(InputError, match="do not fit"):
            shard_from_environment()


@pytest.fixture
def someone(tmp_path: Path) -> Path:
    """Three faces, an image without one, and one that cannot be read."""
    source = tmp_path / "someone"
    source.mkdir()
    face = Image.fromarray(data.astronaut()[:240, 100:340])
    for number in range(3):
        face.rotate(5 * number, fillcolor="gray").save(source / f"{number}.png")
    Image.new("RGB", (128, 128)).save(source / "none.png")
    (source / "torn.png").write_bytes(b"no image")
    return source


def align_one_and_two(someone: Path, two: Callable[..., str]) -> None:
    """What two processes write is what one writes; `two` runs the command in two and returns what they said."""
    folders = [someone.parent / name for name in ("one", "two")]
    words = ("align", "-q", str(someone), "--jobs", "1", "-o")
    done = CliRunner().invoke(main, [*words, str(folders[0])])
    assert done.exit_code == 0, done.output
    said = two(*words, str(folders[1]))
    rows = [read_jsonl(folder / "someone" / "manifest.jsonl") for folder in folders]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 1 + 3 + 2
    names = [{p.name for p in folder.rglob("*")} for folder in folders]
    assert names[0] == names[1]
    assert not any(name.startswith(".manifest") for name in names[1])
    assert "someone: " in said and " of 5 faces accepted" in said


def test_two_shards_of_a_folder_are_aligned_as_one_is(someone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_after_the_other(*words: str) -> str:
        monkeypatch.setenv("WORLD_SIZE", "2")
        said = []
        for rank in "01":
            monkeypatch.setenv("RANK", rank)
            done = CliRunner().invoke(main, words)
            assert done.exit_code == 0, done.output
            said.append(done.output)
        assert "shard 1 of 2 done, 3 images" in said[0]
        return said[1]

    align_one_and_two(someone, one_after_the_other)


@pytest.mark.slow
def test_two_processes_align_a_folder_as_one_does(someone: Path) -> None:
    def at_once(*words: str) -> str:
        done = torchrun(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    align_one_and_two(someone, at_once)


def test_shares_that_were_killed_are_completed_by_one(tmp_path: Path) -> None:
    """A part of the manifest that lies there counts, and is merged."""
    from facemorph.faces.align import AlignSettings, align

    source, output = tmp_path / "frames", tmp_path / "faces"
    for folder in (source, output):
        folder.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (64, 64)).save(source / f"{name}.png")
    Image.new("RGB", (64, 64)).save(output / "a.png")
    head = {"settings": {"crop": "eyes", "size_px": 64}}
    row = {"source": "a.png", "status": "accepted", "file": "a.png", "score": 1.0, "by": "another"}
    (output / ".manifest-1.jsonl").write_text(f'{json.dumps(head)}\n{json.dumps(row)}\n{{"source": "b.p')
    rows = align(source, output, AlignSettings(), jobs=1)
    assert [r["status"] for r in rows] == ["accepted", "rejected"]
    assert read_jsonl(output / "manifest.jsonl")[1] == row
    assert not list(output.glob(".manifest-*"))
