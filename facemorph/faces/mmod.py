"""dlib's MMOD face detector in PyTorch: the same boxes and scores, many times faster on a CPU, and on CUDA.

King, "Max-margin object detection", 2015 (arXiv:1502.00046): seven convolutions slide one 80-px window over a
pyramid of the picture, each level 5/6 of the one before. dlib lays all levels into one tiled picture and runs the
network over that; levels are only 10 px apart, less than the 94 px that a score looks to each side, so neighbours
are part of every score. To equal dlib, so does this.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from facemorph.faces.dlibfile import Affine, Convolution, MmodFile, read_mmod
from facemorph.faces.models import DETECTOR, model_path

LEVEL_RATE = 5 / 6  # dlib's pyramid_down<6>
BETWEEN_LEVELS_PX, AROUND_LEVELS_PX = 10, 11
MIN_LEVEL_PX = 5

Box = tuple[int, int, int, int]  # left, top, right, bottom; dlib's rectangles include their right and bottom pixel


@dataclass(frozen=True)
class Tiles:
    """Where dlib puts the pyramid's levels in one picture: a column down, and back up beside it."""

    height: int
    width: int
    levels: list[Box]


def lay_tiles(height: int, width: int) -> Tiles:
    """The tiled pyramid of a picture of `height` x `width` pixels (at least 1 x 1)."""
    sizes = [(height, width)]
    while True:
        height, width = math.floor(LEVEL_RATE * height), math.floor(LEVEL_RATE * width)
        if width == 0 or height < MIN_LEVEL_PX:
            break
        sizes.append((height, width))
    first_height, first_width = sizes[0]
    stack_px = sum(rows + BETWEEN_LEVELS_PX for rows, _ in sizes) - 2 * BETWEEN_LEVELS_PX
    column_px, previous_px = 0, 0
    for rows, columns in sizes:
        fits_beside = columns <= first_width - previous_px - BETWEEN_LEVELS_PX
        if fits_beside and (column_px - first_height) * 2 >= stack_px - first_height:
            break  # half of what is below the picture is laid: the rest goes up beside it
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
            break  # it would lie over the picture itself
        levels.append((right - columns + 1, y - rows, right, y - 1))
        y -= rows + BETWEEN_LEVELS_PX
    return Tiles(column_px + 2 * AROUND_LEVELS_PX, first_width + 2 * AROUND_LEVELS_PX, levels)


class Mmod(nn.Module):
    """The network, normalisation folded into the convolutions: tiled pictures to one score every 8 pixels."""

    def __init__(self, file: MmodFile) -> None:
        super().__init__()
        self.file = file
        self.convolutions = nn.ModuleList()
        self.stride = 1
        self.offset = 0  # tiled pixel of score 0 on either axis
        for index, layer in enumerate(file.layers):
            if not isinstance(layer, Convolution):
                continue
            weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias.copy())
            if index + 1 < len(file.layers) and isinstance(affine := file.layers[index + 1], Affine):
                gamma = torch.from_numpy(affine.gamma)
                weight = weight * gamma[:, None, None, None]
                bias = bias * gamma + torch.from_numpy(affine.beta)
            filters, channels, size_px, _ = weight.shape
            convolution = nn.Conv2d(channels, filters, size_px, layer.stride, layer.padding)
            convolution.weight = nn.Parameter(weight, requires_grad=False)
            convolution.bias = nn.Parameter(bias, requires_grad=False)
            self.convolutions.append(convolution)
            self.offset += (size_px // 2 - layer.padding) * self.stride
            self.stride *= layer.stride

    def forward(self, tiled: torch.Tensor) -> torch.Tensor:
        """Tiled pictures [N, 3, H, W], normalised -> scores [N, H', W']."""
        x = tiled
        for index, convolution in enumerate(self.convolutions):
            x = functional.relu(x, inplace=True) if index else x
            x = convolution(x.to(convolution.weight.dtype))
        return x[:, 0]  # [N, H', W']


def load_mmod(dtype: torch.dtype = torch.float32) -> Mmod:
    """dlib's face detector on the CPU.

    With bfloat16 the last convolution stays float32: rounded to 8 bits, scores of neighbouring boxes would tie.

    Raises:
        InputError: the model file is missing or is not the published one.
    """
    network = Mmod(read_mmod(model_path(DETECTOR))).eval()
    for convolution in network.convolutions[:-1]:
        convolution.to(dtype)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def tile(network: Mmod, images: torch.Tensor, tiles: Tiles) -> torch.Tensor:
    """Pictures uint8 [N, H, W, 3] -> tiled pyramids [N, 3, H', W'], normalised, nought between the levels."""
    parameter = next(network.parameters())
    mean = torch.tensor(network.file.mean_rgb, device=images.device)
    level = ((images.float() - mean) / 256).permute(0, 3, 1, 2)  # [N, 3, H, W]
    tiled = torch.zeros(
        (len(images), 3, tiles.height, tiles.width), dtype=parameter.dtype, device=images.device
    ).contiguous(memory_format=torch.channels_last)
    for left, top, right, bottom in tiles.levels:
        size = bottom - top + 1, right - left + 1
        if level.shape[2:] != size:
            level = functional.interpolate(level, size, mode="bilinear", align_corners=True)
        tiled[:, :, top : bottom + 1, left : right + 1] = level
    return tiled


def find_boxes(network: Mmod, scores: np.ndarray, tiles: Tiles, threshold: float) -> list[tuple[Box, float]]:
    """Boxes in the picture from one picture's scores [H', W'], best first, each face once."""
    rows, columns = np.nonzero(scores > threshold)
    values = scores[rows, columns]
    found: list[tuple[Box, float]] = []
    for index in np.argsort(-values, kind="stable"):
        x, y = (int(cell) * network.stride + network.offset for cell in (columns[index], rows[index]))
        box = _picture_box(x, y, network.file.window, tiles)
        if not any(_overlap(box, other, network.file) for other, _ in found):
            found.append((box, float(values[index])))
    return found


def _picture_box(x: int, y: int, window: tuple[int, int], tiles: Tiles) -> Box:
    """The window around tiled pixel x, y, in pixels of the picture."""
    half_width, half_height = (window[0] - 1) / 2, (window[1] - 1) / 2
    index = _nearest_level(x, y, tiles.levels)
    left, top = tiles.levels[index][:2]
    sides = [x - half_width - left, y - half_height - top, x + half_width - left, y + half_height - top]
    for _ in range(index):
        sides = [side * (6 / 5) + 0.3 for side in sides]  # dlib's point_up, its 0.3 px included
    return tuple(math.floor(abs(side) + 0.5) * (1 if side >= 0 else -1) for side in sides)  # type: ignore[return-value]


def _nearest_level(x: int, y: int, levels: Sequence[Box]) -> int:
    def distance(level: Box) -> float:
        left, top, right, bottom = level
        return math.hypot(max(left - x, 0, x - right), max(top - y, 0, y - bottom))

    return min(range(len(levels)), key=lambda index: distance(levels[index]))


def _overlap(a: Box, b: Box, file: MmodFile) -> bool:
    """Whether two boxes are taken for one face; over their bounding box, not over their union."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return False
    inner = width * height
    outer = (max(a[2], b[2]) - min(a[0], b[0]) + 1) * (max(a[3], b[3]) - min(a[1], b[1]) + 1)
    return inner / outer > file.overlap or inner / min(_area(a), _area(b)) > file.covered


def _area(box: Box) -> int:
    return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
