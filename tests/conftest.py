"""Shared fixtures. Tests that need the developers' real data skip, with the reason, where it is absent."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both portraits as files: eileen.png and grace.jpg."""
    from matplotlib.cbook import get_sample_data

    from facemorph.images import read_image, write_image

    folder = tmp_path_factory.mktemp("people")
    write_image(folder / "eileen.png", pytest.importorskip("skimage.data").astronaut())
    write_image(folder / "grace.jpg", read_image(Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))))
    return folder


@pytest.fixture(scope="session")
def sample() -> Iterator[dict[str, Any]]:
    """The scripts of experiments/sample by name, imported as Python does when they are run."""
    pytest.importorskip("skimage", reason="Eileen Collins' portrait comes with scikit-image")
    folder = str(ROOT / "experiments" / "sample")
    sys.path.insert(0, folder)
    try:
        import make_clips  # pyright: ignore[reportMissingImports]
        import puppet  # pyright: ignore[reportMissingImports]

        yield {"make_clips": make_clips, "puppet": puppet}  # whose processes need the path, too
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="session")
def puppets(sample: dict[str, Any]) -> dict[str, Any]:
    """Both portraits, ready to be moved, by name."""
    return {name: sample["puppet"].Puppet(sample["make_clips"].load(name)) for name in sample["make_clips"].PEOPLE}


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published file of a random StyleGAN2 of 64 px."""
    from published_files import dumps, stylegan2

    path = tmp_path_factory.mktemp("network") / "random.pkl"
    path.write_bytes(dumps(stylegan2(64, 8)))
    return path


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a user who has fetched no weights."""
    monkeypatch.setenv("FACEMORPH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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
