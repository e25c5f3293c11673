"""The 68 landmarks of a face (iBUG 300-W scheme) by dlib's regression trees."""

import functools
from typing import Any

import numpy as np

from facemorph.faces.dlib_models import LANDMARKS, model_path

LEFT_EYE, RIGHT_EYE, MOUTH_CORNERS = slice(36, 42), slice(42, 48), [48, 54]  # left and right in the image


@functools.cache
def _predictor() -> Any:
    import dlib

    return dlib.shape_predictor(str(model_path(LANDMARKS)))  # type: ignore[attr-defined]


def landmarks(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Landmarks of the face in `box` = (left, top, right, bottom), in pixels of `image` (uint8 RGB [H, W, 3]).

    Returns: float64 [68, 2], x before y; points may lie outside the image.

    Source: Kazemi and Sullivan, "One millisecond face alignment with an ensemble of regression trees", CVPR 2014, as
    trained by dlib.
    """
    import dlib

    rectangle = dlib.rectangle(*(round(side) for side in box))  # type: ignore[attr-defined]
    shape = _predictor()(image, rectangle)
    return np.array([(point.x, point.y) for point in shape.parts()], np.float64)


# The predictor was trained on boxes of dlib's HOG detector. Such a box, from the landmarks: its centre relative to
# theirs (x, y) and its side, in units of their RMS distance from their centre. Medians over 95 faces of 25 people.
_TRAINED_BOX = (0.044, -0.106, 2.71)


def steady_landmarks(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """As `landmarks`, but hardly dependent on the box, and with subpixel resolution: float64 [68, 2].

    The CNN's boxes are coarse and about 9 % higher than those that the predictor was trained on, so that a fit
    occasionally fails. Medians over several boxes give first the place of the face, then its points. It costs 15 times
    as much.
    """

    def median(x: float, y: float, side: float, moves: list[tuple[float, float, float]]) -> np.ndarray:
        fits = []
        for right, down, scale in moves:
            centre_x, centre_y, half = x + right * side, y + down * side, side * scale / 2
            fits.append(landmarks(image, (centre_x - half, centre_y - half, centre_x + half, centre_y + half)))
        return np.median(fits, 0)

    left, top, right, bottom = box
    above = [(0.0, down, scale) for down in (0.0, 0.06, 0.12) for scale in (1.0, 1.1)]
    rough = median((left + right) / 2, (top + bottom) / 2, right - left, above)
    x, y = rough.mean(0)
    radius = float(np.sqrt(((rough - [x, y]) ** 2).sum(1).mean()))
    around = [(right, down, 1.0) for right in (-0.04, 0.0, 0.04) for down in (-0.04, 0.0, 0.04)]
    return median(x + radius * _TRAINED_BOX[0], y + radius * _TRAINED_BOX[1], radius * _TRAINED_BOX[2], around)
