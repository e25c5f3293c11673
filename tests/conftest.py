"""Shared fixtures. Tests that need the developers' real data skip, with the reason, where it is absent."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The developers' folder of real clips, portraits and fixtures, beside the checkout."""
    folder = Path(os.environ.get("FACEMORPH_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"the developers' data is not here ({folder})")
    return folder
