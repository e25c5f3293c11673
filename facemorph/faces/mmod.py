"""dlib's MMOD face detector in PyTorch: the same boxes and scores, many times faster on a CPU, and on CUDA.

King, "Max-margin object detection", 2015 (arXiv:1502.00046). Seven convolutions give a score to an 80-px window at
every 8th pixel of the tiled pyramid (see `facemorph.faces.pyramid`). The body is the first three, with stride 2 and no
padding; the head is the other four, which keep the size.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from facemorph.errors import InputError
from facemorph.faces.dlib_models import DETECTOR, MmodFile, model_path, read_mmod
from facemorph.faces.pyramid import Box, Pyramid, Tiles, up

# Pixels of the tiled image per pass through the body: on a CPU as many as fit its caches, otherwise enough for a GPU.
STRIP_PIXELS_CPU, STRIP_PIXELS = 1 << 19, 1 << 24


@dataclass(frozen=True)
class Window:
    """A part of the score map: rows `top` to `bottom` and columns `left` to `right`, without the last ones."""

    top: int
    bottom: int
    left: int
    right: int


class Mmod(nn.Module):
    """The network, batch normalisation folded into the convolutions.

    Attributes:
        stride: pixels from one score to the next.
        field_px: side of the body's receptive field in the tiled image.
        halo: scores to each side in the head's receptive field.

    Raises:
        InputError: the layers are not the body and head described above.
    """

    def __init__(self, file: MmodFile, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.file, self.dtype = file, dtype
        convolutions = [convolution.module() for convolution in file.convolutions]
        self.body = nn.ModuleList(c.to(dtype) for c in convolutions if c.stride == (2, 2) and c.padding == (0, 0))
        self.head = nn.ModuleList(c.to(dtype) for c in convolutions[len(self.body) : -1])
        last = convolutions[-1].float()
        same_size = convolutions[len(self.body) :]
        if any(c.stride != (1, 1) or c.kernel_size[0] != 2 * int(c.padding[0]) + 1 for c in same_size):
            raise InputError("The file of the face detector holds another network than expected.")
        # A convolution to one channel uses little of a CPU; one to a channel per kernel column, then summed, is faster.
        self.columns = nn.Parameter(last.weight[0].permute(2, 0, 1)[..., None].contiguous(), False)  # [K, C, K, 1]
        self.bias = nn.Parameter(torch.zeros(1) if last.bias is None else last.bias, False)
        self.stride = 2 ** len(self.body)
        sizes_px = [c.kernel_size[0] for c in convolutions[: len(self.body)]]
        self.field_px = 1 + sum((size_px - 1) * 2**index for index, size_px in enumerate(sizes_px))
        self.halo = sum(int(c.padding[0]) for c in same_size)

    def map_size(self, tiles: Tiles) -> tuple[int, int]:
        """Rows and columns of the score map; 0 for an image that is too small."""
        rows, columns = (max(0, (px - self.field_px) // self.stride + 1) for px in (tiles.height, tiles.width))
        return rows, columns

    def forward(self, pyramid: Pyramid, window: Window | None = None) -> torch.Tensor:
        """Scores of images of equal size in a window of the map, by default all of it: float32 [N, rows, columns].

        They are exactly those of the whole map, since the receptive field around the window is computed as well.
        """
        rows, columns = self.map_size(pyramid.tiles)
        window = window or Window(0, rows, 0, columns)
        top, bottom = max(0, window.top - self.halo), min(rows, window.bottom + self.halo)
        left, right = max(0, window.left - self.halo), min(columns, window.right + self.halo)
        x = self._features(pyramid, Window(top, bottom, left, right))
        for convolution in self.head:
            x = functional.relu_(convolution(x))
        scores = self._last(x.float())
        return scores[:, window.top - top : window.bottom - top, window.left - left : window.right - left]

    def _features(self, pyramid: Pyramid, window: Window) -> torch.Tensor:
        """The body's output in a window, computed in strips of the tiled image to save memory: [N, C, H', W']."""
        left, right = self._pixels(window.left, window.right)
        on_cpu = self.bias.device.type == "cpu"
        pixels_a_row = pyramid.count * (right - left) * self.stride
        step = max(1, (STRIP_PIXELS_CPU if on_cpu else STRIP_PIXELS) // pixels_a_row)
        strips = []
        for start in range(window.top, window.bottom, step):
            top, bottom = self._pixels(start, min(start + step, window.bottom))
            x = pyramid.piece(top, bottom, left, right).to(self.dtype)  # [N, 3, H, W]
            for convolution in self.body:
                x = functional.relu_(convolution(x))
            strips.append(x)
        return torch.cat(strips, 2) if len(strips) > 1 else strips[0]

    def _pixels(self, first: int, end: int) -> tuple[int, int]:
        """First and end pixel of the tiled image that the body needs for the scores `first` to `end`."""
        return first * self.stride, (end - 1) * self.stride + self.field_px

    def _last(self, x: torch.Tensor) -> torch.Tensor:
        size = len(self.columns)
        partial = functional.conv2d(x, self.columns, padding=(size // 2, 0))  # [N, K, H', W']
        partial = functional.pad(partial, (size // 2, size // 2))
        width = x.shape[3]
        scores = self.bias + partial[:, 0, :, :width]
        for column in range(1, size):
            scores += partial[:, column, :, column : column + width]
        return scores  # [N, H', W']

    def centre_px(self, cell: int) -> int:
        """The pixel of the tiled image at the centre of the receptive field of score `cell` of a row or column."""
        return cell * self.stride + self.field_px // 2


def load_mmod(dtype: torch.dtype = torch.float32) -> Mmod:
    """dlib's face detector on the CPU.

    With bfloat16 the last convolution stays float32: rounded to 8 bits, scores of neighbouring boxes would be equal.

    Raises:
        InputError: the model file is missing or is not the published one.
    """
    network = Mmod(read_mmod(model_path(DETECTOR)), dtype).eval()
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Candidate:
    """A score above the threshold: its box in pixels of the image, and its place on the score map."""

    box: Box
    score: float
    level: int
    row: int
    column: int


def candidates(
    network: Mmod, scores: np.ndarray, tiles: Tiles, threshold: float = 0.0, at: Window | None = None
) -> list[Candidate]:
    """The scores [H', W'] of one image above `threshold`, best first; `at` is their window of the map."""
    rows, columns = np.nonzero(scores > threshold)
    values = scores[rows, columns]
    top, left = (at.top, at.left) if at else (0, 0)
    result = []
    for index in np.argsort(-values, kind="stable"):
        row, column = int(rows[index]) + top, int(columns[index]) + left
        x, y = network.centre_px(column), network.centre_px(row)
        level = tiles.level_at(x, y)
        box = _image_box(x, y, level, network.file.window, tiles)
        result.append(Candidate(box, float(values[index]), level, row, column))
    return result


def without_overlaps(candidates: list[Candidate], file: MmodFile) -> list[Candidate]:
    """Non-maximum suppression: of candidates that overlap, the first."""
    kept: list[Candidate] = []
    for one in candidates:
        if not any(_overlap(one.box, other.box, file) for other in kept):
            kept.append(one)
    return kept


def _image_box(x: int, y: int, level: int, window: tuple[int, int], tiles: Tiles) -> Box:
    """The window around x, y of the tiled image, in pixels of the image, rounded as by dlib (halves away from 0)."""
    x, y = x - tiles.levels[level][0], y - tiles.levels[level][1]
    half_width, half_height = (window[0] - 1) / 2, (window[1] - 1) / 2
    sides = np.array([up(side, level) for side in (x - half_width, y - half_height, x + half_width, y + half_height)])
    left, top, right, bottom = (np.sign(sides) * np.floor(np.abs(sides) + 0.5)).astype(int).tolist()
    return left, top, right, bottom


def _overlap(a: Box, b: Box, file: MmodFile) -> bool:
    """Whether two boxes count as one face. As in dlib, relative to their bounding box, not to their union."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return False
    inner = width * height
    outer = (max(a[2], b[2]) - min(a[0], b[0]) + 1) * (max(a[3], b[3]) - min(a[1], b[1]) + 1)
    return inner / outer > file.overlap or inner / min(_area(a), _area(b)) > file.covered


def _area(box: Box) -> int:
    return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)


def box_side_px(network: Mmod, level: int) -> float:
    """Width of a box from a level, in pixels of the image, up to 1 px of rounding."""
    return (network.file.window[0] - 1) * 1.2**level + 1


def windows_from_level(network: Mmod, tiles: Tiles, first_level: int) -> list[Window]:
    """Windows that hold every score on `first_level` and on the smaller levels.

    Levels run down the left side of the tiled image, and the smallest ones then up the right: from the row where column
    0 reaches `first_level` every column is needed, above it only those on the right.
    """
    rows, columns = network.map_size(tiles)
    if first_level == 0 or rows == 0 or columns == 0:
        return [Window(0, rows, 0, columns)] if rows and columns else []
    kept = levels_of_map(network, tiles) >= first_level
    if not kept.any():
        return []
    below = int(np.argmax(kept[:, 0])) if kept[:, 0].any() else rows
    windows = [Window(below, rows, 0, columns)] if below < rows else []
    beside = np.argwhere(kept[:below])
    if len(beside):
        (top, left), (bottom, right) = beside.min(0).tolist(), beside.max(0).tolist()
        windows.append(Window(top, bottom + 1, left, right + 1))
    return windows


def levels_of_map(network: Mmod, tiles: Tiles) -> np.ndarray:
    """The level of each score: int [rows, columns]."""
    rows, columns = network.map_size(tiles)
    y, x = (np.array([network.centre_px(cell) for cell in range(count)]) for count in (rows, columns))
    distances = []
    for left, top, right, bottom in tiles.levels:
        aside = np.maximum(np.maximum(left - x, x - right), 0)
        above = np.maximum(np.maximum(top - y, y - bottom), 0)
        distances.append(np.hypot(above[:, None], aside[None]))
    return np.argmin(distances, axis=0)  # [rows, columns]
