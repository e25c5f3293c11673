"""The 68 landmarks of a face (iBUG 300-W scheme): where they may be from, and those by dlib's regression trees."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from facemorph.errors import ConfigError
from facemorph.faces import dlib_models

LEFT_EYE, RIGHT_EYE, MOUTH_CORNERS = slice(36, 42), slice(42, 48), [48, 54]  # left and right in the image


@dataclass(frozen=True)
class LandmarksKind:
    """A kind of landmarks: its `meaning` in words, for --help."""

    meaning: str


LANDMARKS: dict[str, LandmarksKind] = {
    "auto": LandmarksKind("mesh, or the kind a folder was started with"),
    "mesh": LandmarksKind("MediaPipe's Face Mesh, right at any angle"),
    "dlib": LandmarksKind("dlib's regression trees, which cropped FFHQ"),
}
DLIB_IN_BOX = "dlib-in-box"  # dlib's on the detector's own box: what `align` took before manifests named it


def chosen_landmarks(name: str, before: str = "mesh") -> str:
    """The kind of landmarks that a name in `LANDMARKS` means, where "auto" is `before`.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in LANDMARKS and name != DLIB_IN_BOX:
        raise ConfigError(f"Unknown landmarks {name!r}.", f"Choose from {', '.join(LANDMARKS)}.")
    return before if name == "auto" else name


def landmarks_in(settings: Mapping[str, Any]) -> str:
    """The kind of landmarks that the settings in a manifest of `align` tell, or an older one's that tell none."""
    return str(settings.get("landmarks", "mesh" if settings.get("detector") == "auto" else DLIB_IN_BOX))


@functools.cache
def _predictor() -> Any:
    import dlib

    return dlib.shape_predictor(str(dlib_models.model_path(dlib_models.LANDMARKS)))  # type: ignore[attr-defined]


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


def trained_box(points: np.ndarray) -> tuple[float, float, float, float]:
    """The box that HOG would draw around a face with these landmarks [68, 2]: left, top, right, bottom."""
    x, y = points.mean(0)
    radius = float(np.sqrt(((points - [x, y]) ** 2).sum(1).mean()))
    x, y, half = x + radius * _TRAINED_BOX[0], y + radius * _TRAINED_BOX[1], radius * _TRAINED_BOX[2] / 2
    return x - half, y - half, x + half, y + half


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
    left, top, right, bottom = trained_box(rough)
    around = [(right, down, 1.0) for right in (-0.04, 0.0, 0.04) for down in (-0.04, 0.0, 0.04)]
    return median((left + right) / 2, (top + bottom) / 2, right - left, around)
