"""What befalls a run: kills, full disks, other processes, numbers that are none. Nothing is lost, and it is said."""

import contextlib
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import ROOT
from tiny_runs import log_without_time, make_faces, tiny

from facemorph.cli import main
from facemorph.config import to_yaml
from facemorph.dcgan.checkpoint import State, save
from facemorph.dcgan.monitor import SURE_STEPS, TrainingMonitor, spread
from facemorph.dcgan.run import Run
from facemorph.dcgan.train import train
from facemorph.errors import OutputError, RunError, TrainingError


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_faces(tmp_path_factory.mktemp("tiny") / "faces")


def content(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def same_result(run: Path, other: Path) -> bool:
    assert log_without_time(run) == log_without_time(other)
    names = ("generator.safetensors", "checkpoint.safetensors")
    return all((run / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.mark.parametrize(("kills", "steps"), [(5, 80), pytest.param(16, 300, marks=pytest.mark.slow)])
def test_killed_at_random_times_it_ends_as_if_it_never_was(tmp_path: Path, kills: int, steps: int) -> None:
    command = [sys.executable, str(ROOT / "tests" / "tiny_runs.py"), str(tmp_path), str(kills), str(steps)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["killed"] >= kills / 2
    assert len(set(told["reached"])) >= kills / 4, told  # at different places
    assert same_result(tmp_path / "killed", tmp_path / "whole")
    assert [int(row[0]) for row in log_without_time(tmp_path / "killed")[1:]] == list(range(1, steps + 1))
    left = {path.name for path in (tmp_path / "killed").rglob("*")}
    assert left == {path.name for path in (tmp_path / "whole").rglob("*")}, "torn files were left"


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_cannot_grow_stops_the_run_and_nothing_is_lost(faces: Path, tmp_path: Path) -> None:
    config = tiny(faces)
    train(config, tmp_path / "whole")
    train(replace(config, training=replace(config.training, steps=4)), tmp_path / "full")
    before = content(tmp_path / "full")
    size = len(before[tmp_path / "full" / "checkpoint.safetensors"])
    with largest_file(size - 1), pytest.raises(OutputError, match=r"Cannot write .*checkpoint\.safetensors"):
        train(config, tmp_path / "full")
    kept = tmp_path / "full" / "checkpoint.safetensors"
    assert kept.read_bytes() == before[kept]
    train(config, tmp_path / "full")
    assert same_result(tmp_path / "full", tmp_path / "whole")


def test_a_disk_that_is_full_for_the_log(faces: Path, tmp_path: Path) -> None:
    config = tiny(faces, every=100)
    train(replace(config, training=replace(config.training, steps=4)), tmp_path / "full")
    (tmp_path / "full" / "log.csv").unlink()
    (tmp_path / "full" / "checkpoint.safetensors").unlink()
    run = Run(tmp_path / "full")
    run.log.symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"log\.csv: No space left on device(.|\n)*last checkpoint"):
        run.append_log(1, np.zeros((1, 6)), 0.0)


def test_a_disk_that_is_really_full(faces: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        config = tiny(faces)
        train(config, tmp_path / "whole")
        train(replace(config, training=replace(config.training, steps=4)), disk / "run")
        with contextlib.suppress(OSError), (disk / "rest").open("wb", buffering=0) as rest:
            for size in (4096, 1):
                while True:
                    rest.write(bytes(size))
        with pytest.raises(OutputError, match="No space left on device"):
            train(config, disk / "run")
        (disk / "rest").unlink()
        train(config, disk / "run")
        assert same_result(disk / "run", tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Permissions do not hold for root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written(faces: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = tiny(make_faces(folder / "faces"))
        train(tiny(folder / "faces", steps=4), folder / "run")
        for path in (folder, folder / "run"):
            path.chmod(0o555)
        before = content(folder / "run")
        try:
            for target in ("run", "new"):
                with as_nobody(), pytest.raises(OutputError, match=r"Cannot write(.|\n)*ermission"):
                    train(config, folder / target)
        finally:
            for path in (folder, folder / "run"):
                path.chmod(0o755)
        assert content(folder / "run") == before
        assert not (folder / "new").exists()


def test_the_second_process_on_a_folder_refuses_and_the_first_goes_on(faces: Path, tmp_path: Path) -> None:
    config, run = tmp_path / "long.yaml", tmp_path / "run"
    config.write_text(to_yaml(tiny(faces, every=10, steps=1_000_000)))
    command = [sys.executable, "-m", "facemorph", "train", "-q", "--config", str(config), "-o", str(run)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not ((run / "log.csv").exists() and (run / "log.csv").read_text().count("\n") > 30):
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        second = CliRunner().invoke(main, command[3:])
        assert second.exit_code == 1
        assert f"Another process is training in {run}" in second.output
        steps = (run / "log.csv").read_text().count("\n")
        time.sleep(1)
        assert first.poll() is None
        assert (run / "log.csv").read_text().count("\n") > steps
    finally:
        first.kill()
        first.communicate()
    assert CliRunner().invoke(main, [*command[3:], "--set", "training.steps=1"]).exit_code == 0  # its lock went with it


def test_a_log_that_ends_before_the_checkpoint_is_refused(faces: Path, tmp_path: Path) -> None:
    train(tiny(faces, steps=8), tmp_path)
    log = tmp_path / "log.csv"
    log.write_text("\n".join(log.read_text().splitlines()[:5]) + "\n")
    before = content(tmp_path)
    with pytest.raises(RunError, match="ends at step 4, the checkpoint beside it is of step 8"):
        train(tiny(faces), tmp_path)
    assert content(tmp_path) == before


def test_what_a_kill_leaves_before_there_is_a_config_is_no_hindrance(faces: Path, tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.123.partial.yaml").write_text("half")
    train(tiny(faces, steps=2), tmp_path)
    assert not (tmp_path / ".config.123.partial.yaml").exists()


def test_weights_that_are_no_numbers_are_never_saved(faces: Path, tmp_path: Path) -> None:
    config = tiny(faces, steps=4)
    train(config, tmp_path)
    before = content(tmp_path)
    run, state = Run.open(tmp_path), State(config, torch.device("cpu"))
    state.load(run.checkpoint)
    with torch.no_grad():
        next(state.g.parameters())[0, 0, 0, 0] = float("inf")
    with pytest.raises(TrainingError, match=r"weight became NaN or infinite before step 4(.|\n)*is from before"):
        save(state, run, config)
    assert content(tmp_path) == before


def test_collapse_and_a_d_that_wins_are_said_while_they_happen(
    faces: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Steps that are far too large do both; which comes first is up to the seed."""
    seen: set[str] = set()
    for seed in range(1, 9):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "facemorph"):
            train(tiny(faces, every=15, steps=310, learning_rate=0.2, seed=seed), tmp_path / str(seed))
        for record in caplog.records:
            text = record.getMessage()
            assert int(text.split()[1].strip(":")) <= 310
            seen |= {word for word in ("D has been certain", "nearly one image") if word in text}
        if len(seen) == 2:
            return
    raise AssertionError(f"only {seen} was said")


def test_it_is_said_once_and_again_after_it_was_better(caplog: pytest.LogCaptureFixture) -> None:
    watch = TrainingMonitor(1.0, 50.0)
    with caplog.at_level(logging.INFO, "facemorph"):
        for real, fake, steps in ((0.99, 0.01, 3 * SURE_STEPS), (0.6, 0.4, SURE_STEPS), (0.99, 0.01, SURE_STEPS)):
            for step in range(0, steps, 25):
                watch.losses(np.full(25, real), np.full(25, fake), step)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


def test_one_person_s_collapse_is_seen_beside_the_other_s_variety() -> None:
    rng = np.random.default_rng(0)
    varied = rng.integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    one = np.repeat(varied[:1], 20, 0)
    assert spread([varied, varied]) > 60
    assert spread([varied, one]) == 0
    assert spread([np.concatenate([varied, one])]) > 60


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_d_s_batch_statistics_and_weights_are_those_of_separate_passes(faces: Path, dtype: torch.dtype) -> None:
    """Real and fake images have statistics of their own, and a pass never sees weights from before a step."""
    from facemorph.dcgan.networks import draw_z
    from facemorph.dcgan.step import train_on_batch

    config = tiny(faces, batch_size=16)
    state, plain = (State(config, torch.device("cpu")) for _ in range(2))
    real = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    labels = torch.zeros(16, dtype=torch.long)
    for seed in range(3):
        told = train_on_batch(state, real, labels, config, dtype, torch.Generator().manual_seed(seed))
        random = torch.Generator().manual_seed(seed)
        g, d, loss = plain.g, plain.d, torch.nn.functional.binary_cross_entropy_with_logits
        z = draw_z(16, config.network, random)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32, cache_enabled=False):
            plain.optimize_d.zero_grad()
            d_loss = loss(d(real).float(), torch.ones(16))
            d_loss.backward()
            fake = g(z)
            fake_loss = loss(d(fake.detach()).float(), torch.zeros(16))
            fake_loss.backward()
            plain.optimize_d.step()
            plain.optimize_g.zero_grad()
            g_loss = loss(d(fake).float(), torch.ones(16))
            g_loss.backward()
            plain.optimize_g.step()
        expected = torch.stack([d_loss + fake_loss, d_loss, fake_loss, g_loss])
        tolerance = 1e-4 if dtype == torch.float32 else 0.05
        torch.testing.assert_close(told[:4], expected.detach(), atol=tolerance, rtol=tolerance)
    a, b = state.d.state_dict(), plain.d.state_dict()
    for key in a:
        if "running" in key or "tracked" in key:
            torch.testing.assert_close(a[key], b[key], atol=1e-3, rtol=0.02)
