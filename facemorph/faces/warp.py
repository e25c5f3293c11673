"""Piecewise-affine warps over a triangle mesh, as one dense sampling map a shape.

A mesh is points [P, 2] (x before y, pixel centres at whole numbers) and triangles [T, 3] that index them. Every
triangle of the target shape is cut into its runs of pixels, row by row; the runs of all triangles together tile the
picture, so that the whole map comes from a few array operations, whatever the number of triangles.
"""

from typing import TYPE_CHECKING

import numpy as np

from facemorph.images import to_tensor, to_uint8

if TYPE_CHECKING:
    import torch


def border_points(width: int, height: int, per_side: int = 2, margin_px: float = 0) -> np.ndarray:
    """Points around a picture on its outer pixel edges (or `margin_px` further out): float64 [4 * per_side, 2].

    `per_side` counts the steps along each side: 1 gives the four corners, 2 adds the middles.
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
    """The Delaunay triangulation of `points` [P, 2]: int64 [T, 3], each triangle with a positive `signed_areas`.

    Points that coincide with another one stay unused.
    """
    from matplotlib.tri import Triangulation

    triangles = Triangulation(points[:, 0], points[:, 1]).triangles.astype(np.int64)
    areas = signed_areas(points, triangles)
    triangles[areas < 0] = triangles[areas < 0][:, ::-1]
    return triangles[areas != 0]


def signed_areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area of each triangle in square pixels, negative where it is turned over: [..., T] for points [..., P, 2]."""
    a, b, c = (points[..., triangles[:, corner], :] for corner in range(3))
    first, second = b - a, c - a
    return (first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]) / 2


def sampling_map(target: np.ndarray, source: np.ndarray, triangles: np.ndarray, width: int, height: int) -> np.ndarray:
    """Where each pixel of a `width` x `height` picture in the target shape comes from.

    Args:
        target: mesh points in the picture to be made, [P, 2] in pixels; together the triangles must cover it.
        source: the same points in the picture to be sampled, [P, 2] in its pixels.
        triangles: [T, 3] indices, positively oriented as `triangulate` gives them. Those that `target` turns over are
            left out; with a fixed border what they covered is covered by others, so no hole is left.

    Returns:
        float32 [height, width, 2], x before y, in pixels of the source picture.

    Raises:
        ValueError: the triangles do not cover the picture.
    """
    corners = triangles[signed_areas(target, triangles) > 0]
    corners = np.take_along_axis(corners, np.argsort(target[corners, 1], 1, kind="stable"), 1)  # top to bottom
    first_rows = np.clip(np.ceil(target[corners, 1]), 0, height).astype(np.int64)  # first row at or below a corner
    rows_each = first_rows[:, 2] - first_rows[:, 0]

    # One entry for every row of every triangle.
    owner = np.repeat(np.arange(len(corners)), rows_each)
    row = np.arange(len(owner)) - np.repeat(np.cumsum(rows_each) - rows_each, rows_each) + first_rows[owner, 0]
    top, middle, bottom = corners[owner].T
    upper_half = row < first_rows[owner, 1]
    # Crossings are computed from the upper to the lower end of an edge, so that the two triangles on its sides get
    # the very same number, and each pixel belongs to exactly one of them.
    long = _crossing(target, source, top, bottom, row)
    short = _crossing(target, source, np.where(upper_half, top, middle), np.where(upper_half, middle, bottom), row)
    left, right = np.where(short[0] < long[0], short, long), np.where(short[0] < long[0], long, short)

    start = np.clip(np.ceil(left[0]), 0, width).astype(np.int64)
    end = np.clip(np.ceil(right[0]), 0, width).astype(np.int64)
    order = np.argsort(row * width + start, kind="stable")
    order = order[(end > start)[order]]
    row, left, right = row[order], left[:, order], right[:, order]
    start, end = row * width + start[order], row * width + end[order]  # as addresses in the flattened picture
    # Where a turned-over neighbour makes runs overlap, the first one keeps the pixels.
    covered_to = np.concatenate([[0], np.maximum.accumulate(end)[:-1]]) if len(end) else end
    start = np.maximum(start, covered_to)
    lengths = np.maximum(end - start, 0)
    if lengths.sum() != width * height:
        raise ValueError(f"the mesh does not cover the {width} x {height} picture")

    slope = (right[1:] - left[1:]) / np.maximum(right[0] - left[0], 1e-12)
    begin = left[1:] + slope * (start - row * width - left[0])
    slope[:, lengths < 2] = 0
    offset = (np.arange(width * height) - np.repeat(start, lengths)).astype(np.float32)
    flat = np.empty((width * height, 2), np.float32)
    for axis in range(2):
        flat[:, axis] = np.repeat(slope[axis].astype(np.float32), lengths) * offset
        flat[:, axis] += np.repeat(begin[axis].astype(np.float32), lengths)
    return flat.reshape(height, width, 2)  # [H, W, 2]


def _crossing(
    target: np.ndarray, source: np.ndarray, upper: np.ndarray, lower: np.ndarray, row: np.ndarray
) -> np.ndarray:
    """Where edges cross rows: target x, source x, source y as [3, N]."""
    rise = target[lower, 1] - target[upper, 1]
    share = (row - target[upper, 1]) / np.where(rise == 0, 1, rise)
    ends = np.concatenate([target[:, :1], source], 1).T  # [3, P]
    return ends[:, upper] + share * (ends[:, lower] - ends[:, upper])


def sample(planes: "torch.Tensor", where: np.ndarray) -> "torch.Tensor":
    """Bilinear samples of `planes` [1, C, H, W] at pixel positions `where` [h, w, 2]: [1, C, h, w].

    Positions outside take the nearest edge pixel.
    """
    import torch

    height, width = planes.shape[2:]
    scale = torch.tensor([2 / width, 2 / height])
    positions = torch.from_numpy(where) * scale + (scale / 2 - 1)  # pixel centres to grid_sample's [-1, 1]
    return torch.nn.functional.grid_sample(
        planes, positions[None], mode="bilinear", padding_mode="border", align_corners=False
    )


def warp(
    image: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    triangles: np.ndarray,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """The picture (uint8 RGB [H, W, 3]) with its mesh points moved from `source` to `target`, [P, 2] each.

    `size` is (width, height) of the result, by default that of `image`. Raises ValueError as `sampling_map` does.
    """
    width, height = size or (image.shape[1], image.shape[0])
    where = sampling_map(target, source, triangles, width, height)
    return to_uint8(sample(to_tensor(image[None]), where))[0]
