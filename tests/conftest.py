"""Shared fixtures. Tests that need the developers' real data skip, with the reason, where it is absent."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # several test processes at once: one thread each, and in what they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from file_host import Host, serving
from located_faces import Located, eileen_collins, grace_hopper

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The developers' folder of real clips, portraits and fixtures, beside the checkout."""
    folder = Path(os.environ.get("FACEMORPH_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"the developers' data is not here ({folder})")
    return folder


@pytest.fixture(scope="session")
def grace() -> Located:
    return grace_hopper()


@pytest.fixture(scope="session")
def eileen() -> Located:
    return eileen_collins()


@pytest.fixture(autouse=True)
def log_as_a_library() -> Iterator[None]:
    """A command sets up the log for a terminal; the next test finds it as a library leaves it."""
    yield
    log = logging.getLogger("facemorph")
    log.handlers.clear()
    log.propagate = True
    log.setLevel(logging.NOTSET)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as host:
        yield host
