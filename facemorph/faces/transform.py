"""A face moved along the difference of two others: in shape, in colour, and in texture, each by its own amount.

After Rowland and Perrett 1995 and Tiddeman, Burt and Perrett 2001: what sets two averages apart (an older from a
younger one, say) is added to a face, or taken from it.
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facemorph.config import check_number
from facemorph.errors import InputError
from facemorph.faces.average import AverageFace, to_picture, to_planes
from facemorph.faces.mask import mask_of
from facemorph.faces.mesh_points import MIRRORED_478
from facemorph.faces.points import locate_points
from facemorph.faces.smooth_warp import similarity, warp_to
from facemorph.faces.texture import FLOOR, bands_of, local_mean, window_px
from facemorph.images import read_image

if TYPE_CHECKING:
    import torch

log = logging.getLogger("facemorph")

MOST_ASYMMETRY = 0.05  # of the extent: a template whose mirror image fits worse has no pairs
MOST_AMOUNT = 5.0  # of the whole difference, above which a remark is made
MOST_TEXTURE = 4.0  # by which the detail of a band may grow or shrink

# The points of dlib's template in a mirror.
MIRRORED_68 = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39,
               38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]  # fmt: skip


# WebMorph's 189, found by matching the mean of faces with its mirror image, and by the lines of the lips.
# fmt: off
MIRRORED_189 = [
    1, 0, 10, 17, 16, 15, 14, 13, 12, 11, 2, 9, 8, 7, 6, 5, 4, 3, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 33,
    32, 31, 30, 29, 28, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34, 49, 48, 47, 46, 45, 44, 56, 57, 58, 59, 60, 55,
    50, 51, 52, 53, 54, 66, 67, 68, 69, 70, 61, 62, 63, 64, 65, 82, 81, 80, 79, 78, 77, 76, 75, 74, 73, 72, 71,
    86, 85, 84, 83, 93, 92, 91, 90, 89, 88, 87, 98, 97, 96, 95, 94, 103, 102, 101, 100, 99, 108, 107, 106, 105,
    104, 112, 113, 114, 109, 110, 111, 120, 121, 122, 123, 124, 115, 116, 117, 118, 119, 133, 132, 131, 130,
    129, 128, 127, 126, 125, 144, 143, 142, 141, 140, 139, 138, 137, 136, 135, 134, 157, 156, 155, 154, 153,
    152, 151, 150, 149, 148, 147, 146, 145, 161, 162, 163, 158, 159, 160, 167, 168, 169, 164, 165, 166, 172,
    173, 170, 171, 174, 175, 178, 177, 176, 182, 181, 180, 179, 184, 183, 187, 188, 185, 186,
]
# fmt: on
MIRRORED = {68: MIRRORED_68, 189: MIRRORED_189, 478: MIRRORED_478}


def transform_face(
    face: AverageFace,
    start: AverageFace,
    end: AverageFace,
    *,
    shape: float = 0.5,
    colour: float = 0.5,
    texture: float = 0.0,
) -> AverageFace:
    """`face` moved from `start` towards `end`; 1 is the whole difference, negative the other way.

    Args:
        face, start, end: pictures with points of one template; their sizes may differ.
        shape, colour, texture: amounts. Colour is what is left when the shapes are the same; texture is the strength of
            detail, as `Texture` measures it.

    Raises:
        ConfigError: an amount is no finite number.
    """
    for name, amount in (("shape", shape), ("colour", colour), ("texture", texture)):
        check_number(name, amount)
    height, width = face.image.shape[:2]
    moved = []
    for other in (start, end):
        turn, shift = similarity(other.points, face.points)
        moved.append(other.points @ turn.T + shift)
    target = face.points + shape * (moved[1] - moved[0])
    lines = face.lines
    planes = warp_to(to_planes(face.image), face.points, target, width, height, lines)
    if colour or texture:
        from_, to = (warp_to(to_planes(one.image), one.points, target, width, height, lines) for one in (start, end))
        if texture:
            planes = _with_texture(planes, from_, to, texture)
        if colour:
            planes = planes + colour * (to - from_)
    return AverageFace(to_picture(planes), target, lines)


def _with_texture(face: "torch.Tensor", start: "torch.Tensor", end: "torch.Tensor", amount: float) -> "torch.Tensor":
    """The bands of `face`, made as much stronger or weaker as those of `end` are than those of `start`."""
    *bands, image = bands_of(face)
    for index, (band, first, last) in enumerate(zip(bands, bands_of(start), bands_of(end), strict=False)):
        std_px = window_px(index, max(face.shape[2:]))
        ratio = (local_mean(last.abs(), std_px) + FLOOR) / (local_mean(first.abs(), std_px) + FLOOR)
        image = image + band * (ratio**amount).clamp(1 / MOST_TEXTURE, MOST_TEXTURE)
    return image


def mirrored(face: AverageFace, pairs: "list[int] | None" = None) -> AverageFace:
    """The mirror image of a face, its points in the order of the template.

    Args:
        pairs: for each point the index of the one opposite; None finds them (see `opposite_points`).
    """
    order = opposite_points(face.points) if pairs is None else pairs
    points = face.points[order] * [-1, 1] + [face.image.shape[1] - 1, 0]
    return AverageFace(np.ascontiguousarray(face.image[:, ::-1]), points, face.lines)


def opposite_points(points: np.ndarray) -> list[int]:
    """For each point of a template the one on the other side of the face.

    dlib's and WebMorph's are known. Of any other, points are paired with their nearest mirror images, about the axis
    that fits best.

    Raises:
        InputError: the template is not symmetric enough to tell.
    """
    count = len(points)
    if count in MIRRORED:
        return MIRRORED[count]
    flipped = points * [-1, 1]
    flipped = flipped + points.mean(0) - flipped.mean(0)
    order = np.arange(count)
    for _ in range(30):
        apart = np.linalg.norm(points[:, None] - flipped[None], axis=2)
        found = _matched(apart)
        turn, shift = similarity(flipped[found], points)
        flipped = flipped @ turn.T + shift
        if (found == order).all():
            break
        order = found
    off = np.linalg.norm(flipped[order] - points, axis=1).mean() / np.ptp(points, axis=0).max()
    if off > MOST_ASYMMETRY:
        raise InputError(
            f"The {count} points do not show which of them lie opposite each other.",
            "dlib's 68 and WebMorph's 189 are known; any other template must be nearly symmetric.",
        )
    return order.tolist()


def _matched(apart: np.ndarray) -> np.ndarray:
    """Partners from distances [N, N] between points and mirrored points: the nearest two first; some their own."""
    count = len(apart)
    order = np.full(count, -1)
    both = apart + apart.T
    for flat in np.argsort(both, axis=None, kind="stable"):
        one, other = divmod(int(flat), count)
        if order[one] < 0 and order[other] < 0:
            order[one], order[other] = other, one
    return order


@dataclass(frozen=True)
class Amounts:
    """Of the whole difference, which is 1; see `transform_face`."""

    shape: float = 0.5
    colour: float = 0.5
    texture: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            check_number(name, value)


def remark_on(**amounts: float | None) -> None:
    """Say in the log which amounts are so large that their writer may have meant per cents."""
    for name, value in amounts.items():
        if value is not None and abs(value) > MOST_AMOUNT:
            log.warning("%s %g is %g times the whole difference. For %g %% of it give %g.",
                        name, value, abs(value), value, value / 100)  # fmt: skip


def transform_files(
    face: Path,
    ends: "tuple[Path, Path] | None",
    amounts: Amounts,
    *,
    face_only: bool = False,
    detector: str = "auto",
    landmarks: str = "auto",
) -> AverageFace:
    """`transform_face` of files, towards the own mirror image without `ends`.

    Raises:
        ImageError, FaceError, InputError: a picture cannot be read or shows no face, or the templates differ.
    """
    paths = [face, *(ends or ())]
    points, _ = locate_points(paths, detector, landmarks)
    faces = [AverageFace(read_image(path), one.points, one.lines) for path, one in zip(paths, points, strict=True)]
    start, end = faces[1:] if ends else (faces[0], mirrored(faces[0]))
    made = transform_face(faces[0], start, end, **asdict(amounts))
    return within(made, faces[0]) if face_only else made


def within(made: AverageFace, face: AverageFace) -> AverageFace:
    """The inner face of `made`, which is in the frame of `face`, within the rest of that picture."""
    height, width = face.image.shape[:2]
    mask = mask_of(made.points, width, height, "face") * mask_of(face.points, width, height, "face")
    mixed = face.image + mask[..., None] * (made.image.astype(np.float32) - face.image)
    return AverageFace((mixed + 0.5).astype(np.uint8), made.points, made.lines)
