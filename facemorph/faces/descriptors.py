"""Who is it: dlib's 128-number face descriptor. Two pictures of one person lie nearer than about 0.6."""

import functools
from typing import Any

import numpy as np

from facemorph.faces.models import DESCRIPTOR, model_path

SAME_PERSON = 0.6  # Euclidean distance; dlib's published operating point (99.38 % on LFW)
CHIP_SIZE_PX, CHIP_PADDING = 150, 0.25


@functools.cache
def _network() -> Any:
    import dlib

    return dlib.face_recognition_model_v1(str(model_path(DESCRIPTOR)))  # type: ignore[attr-defined]


def face_chip(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The upright 150-px crop that the descriptor network sees, from landmarks [68, 2] in pixels of `image`."""
    import dlib

    parts = [dlib.point(round(x), round(y)) for x, y in points]  # type: ignore[attr-defined]
    lefts, tops = points.min(0).round().astype(int)
    rights, bottoms = points.max(0).round().astype(int)
    box = dlib.rectangle(int(lefts), int(tops), int(rights), int(bottoms))  # type: ignore[attr-defined]
    shape = dlib.full_object_detection(box, parts)  # type: ignore[attr-defined]
    return dlib.get_face_chip(image, shape, CHIP_SIZE_PX, CHIP_PADDING)  # type: ignore[attr-defined]


def describe(chips: list[np.ndarray]) -> np.ndarray:
    """Descriptors of face chips (uint8 RGB [150, 150, 3] each): float64 [N, 128]."""
    if not chips:
        return np.zeros((0, 128))
    return np.array(_network().compute_face_descriptor(chips))
