"""Who do aligned faces look like? Descriptors of small crops, made up or real, such as a DCGAN learns and draws."""

import functools
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


def describe_aligned(images: np.ndarray, *, show: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors of aligned faces, uint8 RGB [N, H, H, 3].

    Returns:
        float64 [N, 128], and bool [N]: whether the detector saw a face. Where it did not, the descriptor is that of the
        place where an aligned face lies, so that a blurred picture still has one.
    """
    chips, seen = [], np.zeros(len(images), bool)
    with bar(show, total=len(images), unit=" faces", description="describe") as progress:
        for index, image in enumerate(images):
            side = ENLARGED_PX
            enlarged = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
            pad = round(MARGIN * side)
            padded = np.pad(enlarged, ((pad, pad), (pad, pad), (0, 0)), "symmetric")
            found = _detector()([padded])[0]
            seen[index] = bool(found)
            left, top, right, bottom = (pad + share * side for share in WHOLE)
            box = found[0].box if found else (left, top, right, bottom)
            chips.append(face_chip(padded, landmarks(padded, box)))
            progress.update()
    return describe(chips), seen
