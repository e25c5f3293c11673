"""A photograph as the generator would have made it: aligned as its faces are, with a soft mask over the face."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from facemorph.errors import FaceError, InputError
from facemorph.faces.crop import cut, eyes_quad, ffhq_quad, paper_quad
from facemorph.faces.descriptors import face_chip
from facemorph.faces.locate import locate_face
from facemorph.files import sha256
from facemorph.images import read_image, resize
from facemorph.stylegan.networks.alignment import ALIGNMENTS, FFHQ, Alignment

log = logging.getLogger("facemorph")

# Largest distance of a corner from where alignment puts it, as a fraction of the side. Aligned portraits found again at
# 64 to 1024 px are off by 0.03 at most, plain photographs and crops around the face by 0.16 at least.
ALIGNED_WITHIN = 0.1
FOREHEAD = 0.8  # height of the upper half of the face's outline, as a fraction of the lower one's
FFHQ_TRANSFORM_PX = 4096  # with which FFHQ's recipe is exact; elsewhere four times the size does
SOFT = 0.04  # of the side: how far the mask fades


@dataclass(frozen=True)
class Portrait:
    """uint8 RGB [R, R, 3], landmarks float64 [68, 2] in it or None where there is no face, and remarks about it.

    `chip` is dlib's face chip of the photograph as it was before it was aligned, uint8 RGB [150, 150, 3].
    """

    path: Path
    sha256: str
    image: np.ndarray
    points: np.ndarray | None
    remarks: tuple[str, ...] = ()
    chip: np.ndarray | None = None


def read_portrait(
    path: Path, size_px: int, aligned: bool = False, alignment: Alignment = FFHQ, landmarks: str = "auto"
) -> Portrait:
    """Read an image, find its largest face, and align it as a network's faces are, to `size_px`.

    With `aligned` it is taken as it is, unless the face in it lies elsewhere than alignment puts it.

    Args:
        landmarks: a name in `facemorph.faces.landmarks.LANDMARKS`.

    Raises:
        ImageError: it cannot be read.
        FaceError: there is no face in it, and `aligned` is not set.
        InputError: `aligned` is set and it is not, or is aligned for another network.
    """
    image = read_image(path)
    digest = sha256(path)
    if not aligned:
        points = locate_face(image, str(path), points=landmarks).landmarks
        quad = aligned_quad(points, alignment)
        crop = cut(image, quad, size_px, FFHQ_TRANSFORM_PX if alignment.name == "ffhq" else 4 * size_px)
        return Portrait(path, digest, crop, _into(quad, points, size_px), chip=face_chip(image, points))
    height, width = image.shape[:2]
    if height != width:
        raise InputError(
            f"{path} is {width} x {height}, so it is not aligned: aligned images are square.",
            "Leave --aligned out, and it will be aligned first.",
        )
    remarks = (f"it was enlarged from {width} px to the network's {size_px} px",) if width < size_px else ()
    try:
        points = locate_face(image, str(path), points=landmarks).landmarks
    except FaceError:
        remark = "no face was found in it, so whether it is aligned could not be checked, and nothing was masked"
        log.info("%s: %s.", path, remark)
        return Portrait(path, digest, resize(image, size_px), None, (*remarks, remark))
    off = misalignment(points, width, alignment)
    if off > ALIGNED_WITHIN:
        others = [one.name for one in ALIGNMENTS.values() if misalignment(points, width, one) <= ALIGNED_WITHIN]
        instead = f" It is aligned as {others[0]}; this network needs {alignment.name}." if others else ""
        raise InputError(
            f"{path} is not aligned: the face lies {off:.0%} of the side from where alignment puts it.{instead}",
            f"Leave --aligned out, and it will be aligned first; or: facemorph align --crop {alignment.name}",
        )
    chip, points = face_chip(image, points), points * (size_px / width)
    return Portrait(path, digest, resize(image, size_px), points, remarks, chip)


def aligned_quad(points: np.ndarray, alignment: Alignment) -> np.ndarray:
    """The corners [4, 2] of a network's crop of the face with the landmarks [68, 2]."""
    if alignment.name == "paper":
        return paper_quad(points)
    if alignment.eye_height is None or alignment.eye_spacing is None:
        return ffhq_quad(points)
    return eyes_quad(points, alignment.eye_height, alignment.eye_spacing)


def misalignment(points: np.ndarray, side_px: float, alignment: Alignment = FFHQ) -> float:
    """How far the crop of a face [68, 2] is from the whole square image it lies in, as a fraction of the side."""
    corners = side_px * np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
    return float(np.abs(aligned_quad(points, alignment) - corners).max() / side_px)


def _into(quad: np.ndarray, points: np.ndarray, size_px: int) -> np.ndarray:
    """Points in the image to points in its crop along `quad`."""
    right, down = quad[3] - quad[0], quad[1] - quad[0]
    return np.linalg.solve(np.stack([right, down], 1), (points - quad[0]).T).T * size_px


def face_mask(points: np.ndarray | None, size_px: int, background: float) -> np.ndarray:
    """1 on the face, `background` far from it, soft between: float32 [size_px, size_px]. All 1 without landmarks.

    The face ends at the jaw; above, the jaw's outline is mirrored over the line between the temples.
    """
    if points is None or background >= 1:
        return np.ones((size_px, size_px), np.float32)
    jaw = points[:17]
    along = jaw[16] - jaw[0]
    across = np.array([along[1], -along[0]]) / np.hypot(*along)  # up
    height = (jaw - jaw[0]) @ across  # below the line between the temples: negative
    crown = jaw - (1 + FOREHEAD) * height[:, None] * across
    outline = np.concatenate([jaw, crown[-2:0:-1]])
    image = Image.new("L", (size_px, size_px))
    ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in outline], fill=255)
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(SOFT * size_px)), np.float32) / 255
    return background + (1 - background) * soft
