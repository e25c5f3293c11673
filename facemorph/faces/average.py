"""The average of many faces: their mean shape, each picture warped to it, their mean colours, and their texture."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facemorph.config import check_whole
from facemorph.errors import InputError
from facemorph.faces.crop import ffhq_quad
from facemorph.faces.mesh import NUM_POINTS, seen_as_68
from facemorph.faces.points import locate_points
from facemorph.faces.smooth_warp import similarity, warp_to
from facemorph.faces.texture import Texture
from facemorph.images import read_image
from facemorph.progress import progress_bar

if TYPE_CHECKING:
    import torch

log = logging.getLogger("facemorph")

ROUNDS, ENOUGH = 20, 1e-6  # of Procrustes: at most, and when the shape moves less than this part of its size
SIZES = 16, 4096  # of the side of a picture that is made
FRAME = 1.2  # side of a frame that is not a picture's own, in that of FFHQ's crop
AROUND = 1.7  # the same in the extent of the points, where they are not dlib's


@dataclass(frozen=True)
class AverageFace:
    """uint8 RGB [H, W, 3], its points [N, 2] in pixels of it, and the lines (indices) that join them, where known."""

    image: np.ndarray
    points: np.ndarray
    lines: tuple[tuple[int, ...], ...] = field(default=())


def check_weights(weights: Sequence[float] | None, count: int) -> np.ndarray:
    """Weights that sum to 1, float64 [count]; equal ones for None.

    Raises:
        InputError: another number of them, a negative one, or all are 0.
    """
    try:
        found = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"The weights {weights} are not numbers.", "Numbers of 0 and above, not all 0.") from None
    if found.shape != (count,):
        shown = f"{len(found)} weights" if found.ndim == 1 else f"Weights of shape {found.shape}"
        raise InputError(f"{shown} for {count} pictures.", "One weight for each picture is expected.")
    if not np.isfinite(found).all() or (found < 0).any() or found.sum() <= 0:
        raise InputError(
            f"The weights {', '.join(f'{one:g}' for one in found)} cannot be used.",
            "Numbers of 0 and above, not all 0.",
        )
    return found / found.sum()


def mean_shape(shapes: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """The mean of shapes [N, 2] after each has been aligned to it by a similarity (generalised Procrustes analysis).

    Its place, size and turn are those of the plain mean of the shapes.
    """
    stacked = np.stack(shapes)
    plain = np.einsum("m,mnd->nd", weights, stacked)
    mean = stacked[0]
    for _ in range(ROUNDS):
        aligned = []
        for shape in stacked:
            turn, shift = similarity(shape, mean)
            aligned.append(shape @ turn.T + shift)
        before, mean = mean, np.einsum("m,mnd->nd", weights, np.stack(aligned))
        turn, shift = similarity(mean, plain)
        mean = mean @ turn.T + shift
        if np.abs(mean - before).max() < ENOUGH * np.ptp(mean):
            break
    return mean


def frame_of(
    shapes: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]], weights: np.ndarray, size_px: int | None
) -> tuple[np.ndarray, int, int]:
    """The mean shape in its frame, and the frame's width and height.

    Pictures of one size, such as those of one studio, keep their frame. Others, and all with `size_px`, get a square
    around the head.
    """
    if size_px is None and len(set(sizes)) == 1:
        return mean_shape(shapes, weights), *sizes[0]
    first = shapes[int(weights.argmax())]
    fitted = []  # shapes of pictures of different sizes have no plain mean that means anything
    for shape in shapes:
        turn, shift = similarity(shape, first)
        fitted.append(shape @ turn.T + shift)
    mean = mean_shape(fitted, weights)
    side = size_px or int(np.clip(np.median([min(size) for size in sizes]), 256, 1024))
    turn, shift = similarity(head_quad(mean), np.array([[0, 0], [0, 1], [1, 1], [1, 0]]) * side - 0.5)
    return mean @ turn.T + shift, side, side


def head_quad(points: np.ndarray) -> np.ndarray:
    """The square around a head, [4, 2] from the top left, counter-clockwise: of dlib's points with FFHQ's recipe."""
    points = seen_as_68(points) if len(points) == NUM_POINTS else points
    if len(points) == 68:
        quad = ffhq_quad(points)
        return quad.mean(0) + FRAME * (quad - quad.mean(0))
    low, high = points.min(0), points.max(0)
    half = AROUND * (high - low).max() / 2
    return (low + high) / 2 + half * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])


def to_planes(image: np.ndarray) -> "torch.Tensor":
    """uint8 [H, W, C] -> float32 [1, C, H, W], levels 0 to 255."""
    import torch

    return torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)[None].float()


def to_picture(planes: "torch.Tensor") -> np.ndarray:
    """float [1, C, H, W], levels 0 to 255 -> uint8 [H, W, C]."""
    import torch

    return (planes[0] + 0.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def average_faces(
    images: Iterable[np.ndarray],
    shapes: Sequence[np.ndarray],
    sizes: Sequence[tuple[int, int]],
    *,
    lines: tuple[tuple[int, ...], ...] = (),
    weights: Sequence[float] | None = None,
    texture: bool = True,
    size_px: int | None = None,
) -> AverageFace:
    """The average of faces, which are read one by one, so that any number of them needs little memory.

    Args:
        images: uint8 RGB [H, W, 3] each.
        shapes: their points [N, 2], of one template.
        sizes: their widths and heights.
        lines: that join the points, as a .tem file says.
        weights: of each, 0 and above; equal ones for None.
        texture: keep the amount of detail that the members have; without, it is the mean of the pixels.
        size_px: side of a square around the head; None keeps the pictures' own frame where they are of one size.

    Raises:
        InputError, ConfigError: no faces; the weights do not fit; no such size.
    """
    if not len(shapes):
        raise InputError("No faces to average.", "One or more are expected.")
    check_whole("size", size_px, *SIZES)
    parts = check_weights(weights, len(shapes))
    target, width, height = frame_of(shapes, sizes, parts, size_px)
    total: torch.Tensor | None = None
    kept = Texture()
    for image, shape, part in zip(images, shapes, parts, strict=True):
        if part == 0:
            continue
        warped = warp_to(to_planes(image), shape, target, width, height, lines)
        total = float(part) * warped if total is None else total.add_(warped, alpha=float(part))
        if texture:
            kept.add(warped, float(part))
    assert total is not None
    return AverageFace(to_picture(kept.give(total) if texture else total), target, lines)


def average_files(
    pictures: Sequence[Path],
    *,
    weights: Sequence[float] | None = None,
    texture: bool = True,
    size_px: int | None = None,
    detector: str = "auto",
    landmarks: str = "auto",
    progress: bool = False,
    skip_bad: bool = False,
) -> AverageFace:
    """`average_faces` of files.

    With `skip_bad`, pictures that cannot be read or show no face are left out, and named in the log.

    Raises:
        ImageError, FaceError, InputError: a picture cannot be read or shows no face, or the templates differ.
    """
    check_weights(weights, len(pictures))
    failures: dict[Path, str] | None = {} if skip_bad else None
    points, sizes = locate_points(pictures, detector, landmarks, progress, failures)
    for problem in (failures or {}).values():
        log.warning("%s It is left out.", problem)
    if failures and weights is not None:
        weights = [weight for picture, weight in zip(pictures, weights, strict=True) if picture not in failures]
    pictures = [picture for picture in pictures if picture not in (failures or ())]
    if not pictures:
        raise InputError("None of the pictures shows a face that can be used.", "Is it the right folder?")
    with progress_bar(progress, total=len(pictures), unit=" faces", description="average") as bar:

        def images() -> Iterator[np.ndarray]:
            for picture in pictures:
                yield read_image(picture)
                bar.update()

        shapes = [one.points for one in points]
        return average_faces(
            images(), shapes, sizes, lines=points[0].lines, weights=weights, texture=texture, size_px=size_px
        )
