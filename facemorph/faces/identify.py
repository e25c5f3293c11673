"""Who do aligned faces look like? Descriptors of small crops, made up or real, such as a DCGAN learns and draws."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.detect import make_detector
from facemorph.faces.landmarks import landmarks
from facemorph.progress import bar

ENLARGED_PX = 200  # dlib's HOG detector wants a face of at least 80 px
MARGIN = 0.25  # of mirrored picture around the crop, as a share of its side
WHOLE = (0.10, 0.15, 0.90, 0.95)  # box of the face in a crop where none is found, as shares of the side


@functools.cache
def _detector() -> Any:
    return make_detector("hog")


@dataclass(frozen=True)
class Studied:
    """What aligned faces look like.

    Attributes:
        descriptors: float64 [N, 128].
        points: landmarks float64 [N, 68, 2] in pixels of the crop.
        seen: bool [N], whether the detector saw a face. Where it did not, the rest is that of the place where an
            aligned face lies, so that a blurred picture still has a descriptor.
    """

    descriptors: np.ndarray
    points: np.ndarray
    seen: np.ndarray


def study_aligned(images: np.ndarray, *, device: str = "cpu", show: bool = False) -> Studied:
    """Descriptors and landmarks of aligned faces, uint8 RGB [N, H, H, 3]; descriptors are computed on `device`."""
    chips, points, seen = _find_all(images, show)
    return Studied(describe(chips, device=device), points, seen)


def describe_aligned(images: np.ndarray, *, show: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors float64 [N, 128] of aligned faces, uint8 RGB [N, H, H, 3], and whether a face was seen: bool [N]."""
    studied = study_aligned(images, show=show)
    return studied.descriptors, studied.seen


def landmarks_of_aligned(images: np.ndarray, *, show: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks of aligned faces, uint8 RGB [N, H, H, 3].

    Returns:
        float64 [N, 68, 2], x before y in pixels of the crop (finer than whole ones in small crops), and bool [N]:
        whether the detector saw a face. Where it did not, the points are a guess at where an aligned face lies.
    """
    _, points, seen = _find_all(images, show)
    return points, seen


def _find_all(images: np.ndarray, show: bool) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Face chips, landmarks [N, 68, 2] in pixels of the crop, and whether a face was seen [N]."""
    chips, points, seen = [], np.zeros((len(images), 68, 2)), np.zeros(len(images), bool)
    side = ENLARGED_PX
    pad = round(MARGIN * side)
    with bar(show, total=len(images), unit=" faces", description="describe") as progress:
        for index, image in enumerate(images):
            enlarged = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
            padded = np.pad(enlarged, ((pad, pad), (pad, pad), (0, 0)), "symmetric")
            found = _detector()([padded])[0]
            seen[index] = bool(found)
            left, top, right, bottom = (pad + share * side for share in WHOLE)
            box = found[0].box if found else (left, top, right, bottom)
            found_points = landmarks(padded, box)
            chips.append(face_chip(padded, found_points))
            # Pixel centres, not corners, lie on whole numbers: enlarged by f, x becomes f (x + 1/2) - 1/2.
            points[index] = (found_points - pad + 0.5) * (image.shape[0] / side) - 0.5
            progress.update()
    return chips, points, seen
