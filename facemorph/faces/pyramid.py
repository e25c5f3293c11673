"""dlib's tiled image pyramid: all levels of an image, each 5/6 of the one before, arranged in one image.

Levels are only 10 px apart, less than the detector's receptive field, so its scores depend on the arrangement. The
tiled image is never in memory as a whole: the network asks for parts of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

RATE = 5 / 6  # dlib's pyramid_down<6>
UP_SHIFT_PX = 0.3  # dlib adds it to a coordinate on the way up a level
BETWEEN_LEVELS_PX, AROUND_LEVELS_PX = 10, 11
MIN_LEVEL_PX = 5

Box = tuple[int, int, int, int]  # left, top, right, bottom; as in dlib, right and bottom are the last pixel inside


@dataclass(frozen=True)
class Tiles:
    """Boxes of the levels in the tiled image of `height` x `width` pixels: a column down, then one up beside it."""

    height: int
    width: int
    levels: list[Box]

    def level_at(self, x: float, y: float) -> int:
        """The level at or nearest to the pixel x, y of the tiled image."""

        def distance(level: Box) -> float:
            left, top, right, bottom = level
            return math.hypot(max(left - x, 0, x - right), max(top - y, 0, y - bottom))

        return min(range(len(self.levels)), key=lambda index: distance(self.levels[index]))


def lay_tiles(height: int, width: int) -> Tiles:
    """The tiled pyramid of an image of `height` x `width` pixels (at least 1 x 1)."""
    sizes = [(height, width)]
    while True:
        height, width = math.floor(RATE * height), math.floor(RATE * width)
        if width == 0 or height < MIN_LEVEL_PX:
            break
        sizes.append((height, width))
    first_height, first_width = sizes[0]
    stack_px = sum(rows + BETWEEN_LEVELS_PX for rows, _ in sizes) - 2 * BETWEEN_LEVELS_PX
    column_px, previous_px = 0, 0
    for rows, columns in sizes:
        fits_beside = columns <= first_width - previous_px - BETWEEN_LEVELS_PX
        if fits_beside and (column_px - first_height) * 2 >= stack_px - first_height:
            break  # half of the levels below the first are placed: the others go up beside them
        column_px += rows + BETWEEN_LEVELS_PX
        previous_px = columns
    column_px -= BETWEEN_LEVELS_PX

    levels: list[Box] = []
    y = AROUND_LEVELS_PX
    while y < column_px + AROUND_LEVELS_PX and len(levels) < len(sizes):
        rows, columns = sizes[len(levels)]
        levels.append((AROUND_LEVELS_PX, y, AROUND_LEVELS_PX + columns - 1, y + rows - 1))
        y += rows + BETWEEN_LEVELS_PX
    y -= BETWEEN_LEVELS_PX
    right = AROUND_LEVELS_PX + first_width - 1
    for rows, columns in sizes[len(levels) :]:
        if y - rows < AROUND_LEVELS_PX + first_height:
            break  # it would overlap the first level
        levels.append((right - columns + 1, y - rows, right, y - 1))
        y -= rows + BETWEEN_LEVELS_PX
    return Tiles(column_px + 2 * AROUND_LEVELS_PX, first_width + 2 * AROUND_LEVELS_PX, levels)


class Pyramid:
    """The levels of images of equal size, uint8 [N, H, W, 3], minus `mean_rgb` and divided by 256."""

    def __init__(self, images: torch.Tensor, mean_rgb: Sequence[float]) -> None:
        self.count = len(images)
        self.tiles = lay_tiles(*images.shape[1:3])
        scale = torch.full((3,), 1 / 256, device=images.device)
        shift = torch.tensor(mean_rgb, device=images.device) * -scale
        level = torch.addcmul(shift, images.float(), scale).permute(0, 3, 1, 2)  # [N, 3, H, W]
        self._levels = [level]

    def level(self, index: int) -> torch.Tensor:
        """One level, computed from the one before it at first use: [N, 3, H', W']."""
        while len(self._levels) <= index:
            left, top, right, bottom = self.tiles.levels[len(self._levels)]
            size = bottom - top + 1, right - left + 1
            # as dlib's resize_image: aligned corners, no antialiasing
            self._levels.append(functional.interpolate(self._levels[-1], size, mode="bilinear", align_corners=True))
        return self._levels[index]

    def piece(self, top: int, bottom: int, left: int, right: int) -> torch.Tensor:
        """Rows `top` to `bottom` and columns `left` to `right` (exclusive) of the tiled image: [N, 3, H', W']."""
        size = self.count, bottom - top, right - left, 3
        piece = torch.zeros(size, device=self._levels[0].device).permute(0, 3, 1, 2)  # [N, 3, H', W']
        for index, (x, y, last_x, last_y) in enumerate(self.tiles.levels):
            y0, y1, x0, x1 = max(top, y), min(bottom, last_y + 1), max(left, x), min(right, last_x + 1)
            if y0 < y1 and x0 < x1:
                part = self.level(index)[:, :, y0 - y : y1 - y, x0 - x : x1 - x]
                piece[:, :, y0 - top : y1 - top, x0 - left : x1 - left] = part
        return piece


def up(value: float, levels: int) -> float:
    """A coordinate on level `levels`, converted to pixels of the image."""
    for _ in range(levels):
        value = value / RATE + UP_SHIFT_PX
    return value


def down(value: float, levels: int) -> float:
    """The inverse of `up`: a coordinate of the image, converted to pixels of level `levels`."""
    for _ in range(levels):
        value = (value - UP_SHIFT_PX) * RATE
    return value
