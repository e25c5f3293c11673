"""Face morphing with GANs: a research toolkit for the command line and for Python.

    import facemorph as fm

    face = fm.align("portrait.jpg", size=256)

What is listed in `__all__` is loaded when it is first used, so that `facemorph --help` loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facemorph.api import (
        Run,
        align,
        align_folder,
        compare,
        detect_faces,
        find_landmarks,
        list_settings,
        morph,
        train,
        write_gif,
        write_mp4,
    )
    from facemorph.errors import FacemorphError

__version__ = "0.1.0"

__all__ = [
    "FacemorphError",
    "Run",
    "align",
    "align_folder",
    "compare",
    "detect_faces",
    "find_landmarks",
    "list_settings",
    "morph",
    "train",
    "write_gif",
    "write_mp4",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        home = "facemorph.errors" if name == "FacemorphError" else "facemorph.api"
        return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'facemorph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
