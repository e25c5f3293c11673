"""The 68 landmarks of a face (iBUG 300-W scheme), by dlib's regression trees."""

import functools
from typing import Any

import numpy as np

from facemorph.faces.models import LANDMARKS, model_path

LEFT_EYE, RIGHT_EYE, MOUTH_CORNERS = slice(36, 42), slice(42, 48), [48, 54]  # left and right in the picture


@functools.cache
def _predictor() -> Any:
    import dlib

    return dlib.shape_predictor(str(model_path(LANDMARKS)))  # type: ignore[attr-defined]


def landmarks(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Landmarks of the face in `box` = (left, top, right, bottom), in pixels of `image` (uint8 RGB [H, W, 3]).

    Returns float64 [68, 2], x before y; points may lie outside the picture. Source: Kazemi and Sullivan, "One
    millisecond face alignment with an ensemble of regression trees", CVPR 2014, as trained by dlib.
    """
    import dlib

    rectangle = dlib.rectangle(*(round(side) for side in box))  # type: ignore[attr-defined]
    shape = _predictor()(image, rectangle)
    return np.array([(point.x, point.y) for point in shape.parts()], np.float64)
