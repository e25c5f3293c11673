"""Where published weights, and networks of one's own, lie on this machine."""

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """FACEMORPH_CACHE, or our folder in the platform's cache folder."""
    chosen = os.environ.get("FACEMORPH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "facemorph" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "facemorph"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "facemorph"
