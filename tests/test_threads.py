"""How many threads: what the user says, what a busy machine leaves, what a run was begun with."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import ROOT

from facemorph import threads
from facemorph.animation import write_mp4
from facemorph.cli import main
from facemorph.threads import Use

BUSY = "import os; os.nice(0)\nwhile True: pass"


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_chosen", 0)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_user_decides_before_torch_is_loaded() -> None:
    code = (
        "import sys; from facemorph.threads import choose; choose(1); assert 'torch' not in sys.modules; "
        "import torch; print(torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name not in threads.VARIABLES}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout == "1\n", done.stderr


def test_a_variable_of_the_user_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(threads, "_taken", lambda seconds: 1.0)
    torch.set_num_threads(2)
    threads.choose(None)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("taken", "expected"), [(0.0, 4), (0.4, 4), (1.1, 3), (3.0, 1), (9.0, 1)])
def test_cpus_that_others_use_are_left_to_them(taken: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpus", lambda: 4)
    monkeypatch.setattr(threads, "_taken", lambda seconds: taken)
    torch.set_num_threads(4)
    threads.choose(None)
    assert torch.get_num_threads() == expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/stat")
def test_another_process_is_seen_and_our_own_work_is_not() -> None:
    before, began = Use(), time.process_time()
    while time.process_time() < began + 0.3:
        pass
    alone = before.since()
    other = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        time.sleep(0.3)
        before = Use()
        time.sleep(0.6)
        beside = before.since()
    finally:
        other.kill()
        other.wait()
    assert 0.2 < alone.own * alone.wall < 1  # seconds, however long others made it last
    assert beside.taken > 0.15  # a whole CPU, unless others run too
    assert beside.own < 0.3


def test_a_run_goes_on_with_the_threads_that_it_was_begun_with(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads, "cpus", lambda: 4)
    torch.set_num_threads(4)
    threads.keep(3)
    assert torch.get_num_threads() == 3
    threads.keep(64)  # from a larger machine
    assert torch.get_num_threads() == 3
    assert "started with 64 threads" in caplog.text
    threads.choose(2)
    threads.keep(3)
    assert torch.get_num_threads() == 2
    assert "started with 3 threads and continues with 2" in caplog.text
    assert os.environ.pop("OMP_NUM_THREADS") == os.environ.pop("MKL_NUM_THREADS") == "2"


def test_a_remark_where_others_took_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpus", lambda: 2)
    now = Use()
    monkeypatch.setattr(threads, "_busy_seconds", lambda: 100.0)
    monkeypatch.setattr(threads, "_own_seconds", lambda: 30.0)
    slowed = Use(now.wall - 60, own=0.0, busy=10.0)  # in 60 s: 30 s ours, 60 s of others
    before = torch.get_num_threads()
    try:
        for number, advised in ((2, True), (1, False)):  # no advice to do what it did
            torch.set_num_threads(number)
            remark = slowed.remark()
            assert remark is not None and "0.5 of 2 CPUs; other processes used 1.0" in remark
            assert ("--threads 1" in remark) == advised
    finally:
        torch.set_num_threads(before)
    assert Use(now.wall - 60, own=0.0, busy=65.0).remark() is None  # 5 s of others
    assert Use(now.wall - 5, own=28.0, busy=93.0).remark() is None  # too short to matter


def test_what_is_not_torchs_takes_as_many_as_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpus", lambda: 4)
    assert threads.usable() == 4
    threads.choose(3)
    assert threads.usable() == 3


@pytest.mark.parametrize("command", ["compare", "extract", "landmarks", "web", "morph", "train"])
def test_commands_that_compute_take_the_number(command: str) -> None:
    done = CliRunner().invoke(main, [command, "--help"])
    assert done.exit_code == 0 and "--threads N" in done.output
    done = CliRunner().invoke(main, [command, "--threads", "0"])
    assert done.exit_code == 2 and "x>=1" in done.output


def test_a_clip_is_decoded_the_same_by_any_number(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    write_mp4(clip, [np.full((64, 64, 3), 8 * index, np.uint8) for index in range(24)], 12)
    found = []
    for number in (1, 2):
        done = CliRunner().invoke(
            main, ["extract", "-q", str(clip), "-o", str(tmp_path / str(number)), "--threads", str(number)]
        )
        assert done.exit_code == 0, done.output
        found.append({path.name: path.read_bytes() for path in sorted((tmp_path / str(number) / "clip").glob("*.jpg"))})
    assert len(found[0]) == 8 and found[0] == found[1]
