"""Face morphing with GANs: a research toolkit for the command line and for Python.

    import facemorph as fm

    face = fm.align("portrait.jpg", size=256)

What is listed in `__all__` is loaded when it is first used, so that `facemorph --help` loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facemorph.animation import write_gif, write_mp4
    from facemorph.api.averages import AverageFace, average, read_points, transform, write_points
    from facemorph.api.faces import (
        align,
        align_folder,
        compare,
        detect_faces,
        extract,
        find_faces,
        find_landmarks,
        read_picture,
    )
    from facemorph.api.morphs import landmark_morph, morph, write_morph
    from facemorph.api.network import Family, Network
    from facemorph.api.portraits import children, combine, generate, load_generator, project
    from facemorph.api.runs import Run, list_settings, train
    from facemorph.errors import FacemorphError

__version__ = "0.1.0"

__all__ = [
    "AverageFace",
    "FacemorphError",
    "Family",
    "Network",
    "Run",
    "align",
    "align_folder",
    "average",
    "children",
    "combine",
    "compare",
    "detect_faces",
    "extract",
    "find_faces",
    "find_landmarks",
    "generate",
    "landmark_morph",
    "list_settings",
    "load_generator",
    "morph",
    "project",
    "read_picture",
    "read_points",
    "train",
    "transform",
    "write_gif",
    "write_morph",
    "write_mp4",
    "write_points",
]


_HOMES = {
    "animation": ("write_gif", "write_mp4"),
    "api.averages": ("AverageFace", "average", "read_points", "transform", "write_points"),
    "api.faces": (
        "align",
        "align_folder",
        "compare",
        "detect_faces",
        "extract",
        "find_faces",
        "find_landmarks",
        "read_picture",
    ),
    "api.morphs": ("landmark_morph", "morph", "write_morph"),
    "api.network": ("Family", "Network"),
    "api.portraits": ("children", "combine", "generate", "load_generator", "project"),
    "api.runs": ("Run", "list_settings", "train"),
    "errors": ("FacemorphError",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"facemorph.{home}"), name)
    raise AttributeError(f"module 'facemorph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
