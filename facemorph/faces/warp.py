"""Piecewise-affine warps over a triangle mesh, by a dense sampling map.

A mesh is points [P, 2] (x before y, pixel centres at whole numbers) and triangles [T, 3] of their indices. Every
triangle of the target shape is divided into rows of pixels ("runs"). The runs of all triangles together tile the image,
so the map takes a few array operations for any number of triangles.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def border_points(width: int, height: int, per_side: int = 2, margin_px: float = 0) -> np.ndarray:
    """Points on the border of an image, or `margin_px` outside it: float64 [4 * per_side, 2].

    `per_side` 1 gives the four corners, 2 adds the midpoints of the sides.
    """
    left, top = -0.5 - margin_px, -0.5 - margin_px
    right, bottom = width - 0.5 + margin_px, height - 0.5 + margin_px
    steps = np.arange(per_side) / per_side
    across, down = left + steps * (right - left), top + steps * (bottom - top)
    return np.concatenate(
        [
            np.stack([across, np.full(per_side, top)], 1),
            np.stack([np.full(per_side, right), down], 1),
            np.stack([right + left - across, np.full(per_side, bottom)], 1),
            np.stack([np.full(per_side, left), bottom + top - down], 1),
        ]
    )


def triangulate(points: np.ndarray) -> np.ndarray:
    """The Delaunay triangulation of `points` [P, 2]: int64 [T, 3], every triangle of positive `signed_areas`.

    Of points that coincide only one is used.
    """
    from matplotlib.tri import Triangulation

    triangles = Triangulation(points[:, 0], points[:, 1]).triangles.astype(np.int64)
    areas = signed_areas(points, triangles)
    triangles[areas < 0] = triangles[areas < 0][:, ::-1]
    return triangles[areas != 0]


def signed_areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area of each triangle in square pixels, negative where it is flipped: [..., T] for points [..., P, 2]."""
    a, b, c = (points[..., triangles[:, corner], :] for corner in range(3))
    first, second = b - a, c - a
    return (first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]) / 2


def sampling_map(target: np.ndarray, source: np.ndarray, triangles: np.ndarray, width: int, height: int) -> np.ndarray:
    """For each pixel of a `width` x `height` image in the target shape, its place in the source image.

    Args:
        target: mesh points in the target image, [P, 2] in pixels; the triangles must cover the image.
        source: the same points in the source image, [P, 2], in its pixels or any other measure.
        triangles: [T, 3] indices, of positive orientation as from `triangulate`. Those that `target` flips are left
            out; with a fixed border other triangles cover their pixels.

    Returns:
        float32 [height, width, 2], x before y, in the measure of `source`.

    Raises:
        ValueError: the triangles do not cover the image.
    """
    return next(sampling_maps(target, [source], triangles, width, height))


def sampling_maps(
    target: np.ndarray, sources: Sequence[np.ndarray], triangles: np.ndarray, width: int, height: int
) -> Iterator[np.ndarray]:
    """As `sampling_map`, for several source images, one by one."""
    corners = triangles[signed_areas(target, triangles) > 0]
    corners = np.take_along_axis(corners, np.argsort(target[corners, 1], 1, kind="stable"), 1)
    top, middle, bottom = corners.T
    # A triangle has two parts, above and below its middle corner, both with the long edge on one side. Crossings are
    # computed from the upper end of an edge, so that the triangles on its two sides get identical values.
    values = np.concatenate([target[:, 1:], target[:, :1], *sources], 1)
    long, upper, lower = (_edge(values[a], values[b]) for a, b in ((top, bottom), (top, middle), (middle, bottom)))
    bulge_right = (_crossings(long, target[middle, 1])[:, 0] < target[middle, 0])[:, None, None]
    lefts = np.concatenate([np.where(bulge_right, long, upper), np.where(bulge_right, long, lower)])
    rights = np.concatenate([np.where(bulge_right, upper, long), np.where(bulge_right, lower, long)])

    # One entry for each row of each part: the row, and the crossings with its left and right edge.
    first_rows = np.clip(np.ceil(target[corners, 1]), 0, height).astype(np.int64)
    parts = np.concatenate([first_rows[:, :2], first_rows[:, 1:]])  # [2T, from and to]
    count = parts[:, 1] - parts[:, 0]
    row = np.arange(count.sum()) + np.repeat(parts[:, 0] - np.cumsum(count) + count, count)
    left, right = (_crossings(np.repeat(edge, count, 0), row) for edge in (lefts, rights))  # [N, 1 + 2S]

    start = np.clip(np.ceil(left[:, 0]), 0, width).astype(np.int64)
    end = np.clip(np.ceil(right[:, 0]), 0, width).astype(np.int64)
    runs = np.flatnonzero(end > start)
    runs = runs[np.argsort((row * width + start)[runs], kind="stable")]
    row, left, right = row[runs] * width, left[runs], right[runs]
    start, end = row + start[runs], row + end[runs]  # as addresses in the flattened image
    # Where flipped triangles make runs overlap, the first run keeps the pixels.
    start[1:] = np.maximum(start[1:], np.maximum.accumulate(end)[:-1])
    lengths = np.maximum(end - start, 0)
    if lengths.sum() != width * height:
        raise ValueError(f"the mesh does not cover the {width} x {height} image")

    slope = (right[:, 1:] - left[:, 1:]) / np.maximum(right[:, :1] - left[:, :1], 1e-12)
    begin = left[:, 1:] + slope * (start - row - left[:, 0])[:, None]
    first_column = np.repeat((start - row).astype(np.float32), lengths).reshape(height, width)
    column = np.arange(width, dtype=np.float32) - first_column
    for at in range(0, slope.shape[1], 2):
        # x + iy as a complex number: four times as fast as a last axis of size 2.
        first, step = ((part[:, at] + 1j * part[:, at + 1]).astype(np.complex64) for part in (begin, slope))
        where = np.repeat(step, lengths).reshape(height, width)
        where *= column
        where += np.repeat(first, lengths).reshape(height, width)
        yield where.view(np.float32).reshape(height, width, 2)  # [H, W, 2]


def _edge(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Edges as functions of y, by the values at both ends, y first: those of the upper end and the slopes [T, 2, V]."""
    rise = (lower - upper)[:, :1]
    return np.stack([upper, (lower - upper) / np.where(rise == 0, 1, rise)], 1)


def _crossings(edge: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Target x, source x and source y and so on, where edges [N, 2, V] cross rows [N]: [N, V - 1]."""
    return edge[:, 0, 1:] + (row - edge[:, 0, 0])[:, None] * edge[:, 1, 1:]


def sample(planes: "torch.Tensor", where: np.ndarray) -> "torch.Tensor":
    """Bilinear samples of `planes` [1, C, H, W] at pixel positions `where` [h, w, 2]: [1, C, h, w].

    Positions outside take the nearest pixel on the edge.
    """
    import torch

    height, width = planes.shape[2:]
    scale = torch.tensor([2 / width, 2 / height])
    return sample_within(planes, torch.addcmul(scale / 2 - 1, torch.from_numpy(where), scale))


def sample_within(planes: "torch.Tensor", where: "torch.Tensor") -> "torch.Tensor":
    """As `sample`, at positions from -1 to 1, the borders of the image."""
    import torch

    return torch.nn.functional.grid_sample(
        planes, where[None], mode="bilinear", padding_mode="border", align_corners=False
    )
