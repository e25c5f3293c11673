"""Hostile files are refused with a message; no code in them is run; none takes much time or memory."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hostile_files import HOSTILE
from published_files import ada_from, ada_snapshot, dumps, stylegan1, stylegan2

from facemorph.errors import WeightsError
from facemorph.stylegan.formats.published import read_published

# What reading a file has no business doing, by Python's audit events.
FORBIDDEN = (
    *("builtins.input", "code.", "compile", "ctypes.", "exec", "ftplib.", "function.", "http.", "import"),
    *("marshal.", "os.", "pickle.", "pty.", "shutil.", "smtplib.", "socket.", "subprocess.", "tempfile."),
    *("urllib.", "webbrowser."),
)
watching: list[list[str]] = []


def _watch(event: str, arguments: Any) -> None:
    if not watching:
        return
    if event.startswith(FORBIDDEN) or (event == "open" and set(str(arguments[1])) & set("wax+")):
        watching[-1].append(f"{event} {arguments!r}"[:200])


sys.addaudithook(_watch)


@contextmanager
def nothing_happens() -> Iterator[None]:
    """Fails where anything is imported, compiled, started, connected to or written meanwhile."""
    watching.append([])
    try:
        yield
    finally:
        seen = watching.pop()
    assert seen == []


def test_the_watch_sees_what_it_should(tmp_path: Path) -> None:
    for act in (lambda: os.system("true"), lambda: eval("1"), lambda: (tmp_path / "x").write_text("x")):
        with pytest.raises(AssertionError), nothing_happens():
            act()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_and_not_run(name: str, tmp_path: Path) -> None:
    build, says = HOSTILE[name]
    canary, path = tmp_path / "canary", tmp_path / "network.pkl"
    path.write_bytes(build(canary))
    with pytest.raises(WeightsError) as caught, nothing_happens():
        read_published(path)
    assert says in caught.value.problem
    assert str(path) in caught.value.problem
    assert caught.value.hint
    assert len(caught.value.problem) < 1000
    assert not canary.exists()


def test_hostile_files_take_little_time_and_memory(tmp_path: Path) -> None:
    """In a process of its own, which the system stops at 2 GiB, or at 10 s of CPU time for one file."""
    canary = tmp_path / "canary"
    for index, (build, _) in enumerate(HOSTILE.values()):
        (tmp_path / f"{index}.pkl").write_bytes(build(canary))
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("hostile_limits.py"), tmp_path, canary],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": str(Path.cwd()),
        },
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert len(report["files"]) == len(HOSTILE)
    assert not report["canary"]
    assert "READ" not in report["files"].values()
    assert report["peak_mib"] < 2048


def test_source_text_inside_a_good_file_is_not_run(tmp_path: Path) -> None:
    """Where published files keep source text, the helpers put `raise SystemExit`."""
    path = tmp_path / "network.pkl"
    network = stylegan2()
    for value in (stylegan1(), network, ada_snapshot(ada_from(network))):
        content = dumps(value)
        assert b"raise SystemExit" in content
        path.write_bytes(content)
        with nothing_happens():
            read_published(path)


@pytest.mark.parametrize("kind", ["tensorflow", "ada"])
def test_a_file_cut_short_anywhere_is_refused(kind: str, tmp_path: Path) -> None:
    network = stylegan2(8, 4)
    content = dumps(network) if kind == "tensorflow" else dumps(ada_snapshot(ada_from(network)), 3)
    path = tmp_path / "network.pkl"
    for length in range(0, len(content), max(1, len(content) // 150)):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError):
            read_published(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.pkl", Path("/dev/zero")):
        with pytest.raises(WeightsError, match=r"not a regular file|No such file"):
            read_published(path)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = stylegan1()
    dict(network.components["synthesis"].variables)["4x4/Conv/bias"][0] = float("nan")
    path = tmp_path / "network.pkl"
    path.write_bytes(dumps(network))
    with pytest.raises(WeightsError, match=r"layers\.1\.bias has values that are not finite"):
        read_published(path)
