"""The networks' inner convolutions, 4 px wide with stride 2, with 2.56 times fewer multiplications, in float32.

Over pairs of rows (2j - 1 and 2j of the wide side make pair j) such a convolution is one of 2 taps with stride 1. Four
neighbouring outputs of 2 taps take 5 products instead of 8 (Winograd 1980; Lavin and Gray 2016, section 4):

    y = A^T [(G w) * (B^T x)]        x of 5 pairs, w of 2 taps, y of 4 outputs

and in two dimensions 25 products instead of 64, summed over channels by 25 matrix products. Its three adjoints give the
gradients and the transposed convolution. The result differs from the direct convolution by rounding: 3e-6 of its norm.

Names of the sides: `wide` [N, C, 2h, 2w] is what D's convolution reads and G's transposed one writes, `narrow`
[N, O, h, w] the other; weights are [O, C, 4, 4] for both. A tile is 4 x 4 pixels of the narrow side, and there are T.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from facemorph.dcgan.bfloat16 import Double, Halve
from facemorph.dcgan.nine_products import DoubleByNine, HalveByNine

OUTPUTS, TAPS = 4, 2
PRODUCTS = OUTPUTS + TAPS - 1
POINTS = (0.0, 1.0, -1.0, 0.5)  # where the polynomials are evaluated; the fifth point is infinity
MIN_CHANNELS, MIN_TILES = 32, 32  # of the wide side: with fewer the transforms cost more than the products they save
CHUNK_BYTES = 26 << 20  # of transformed weights at a time: larger blocks come from the system page by page


def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """A [25, 16], B^T [25, 25] and G [25, 4], float64: Toom and Cook's, both dimensions at once."""

    def evaluated(coefficients: int) -> np.ndarray:
        rows = [[point**power for power in range(coefficients)] for point in POINTS]
        return np.array([*rows, [0.0] * (coefficients - 1) + [1.0]])

    one_dimension = evaluated(OUTPUTS), np.linalg.inv(evaluated(PRODUCTS)).T, evaluated(TAPS)
    a, b, g = (torch.from_numpy(np.kron(matrix, matrix)) for matrix in one_dimension)
    return a, b, g


A, B, G = _transforms()


class WinogradConv2d(nn.Conv2d):
    """4 px, stride 2, padding 1; by Winograd's method if `winograd` is set and it is faster.

    With `low`, in bfloat16 under autocast.
    """

    winograd = low = False

    def forward(self, input: Tensor) -> Tensor:
        low = self.low and torch.is_autocast_enabled("cpu")
        count, _, height, width = input.shape
        way = _way(self, low, (count, height / 2, width / 2))
        if way is None:
            return super().forward(input)
        output = {"four": _Halve, "nine": HalveByNine, "low": Halve}[way].apply(input, self.weight)
        return output if self.bias is None else output + self.bias[:, None, None].to(output.dtype)


class WinogradConvTranspose2d(nn.ConvTranspose2d):
    """The transposed one, without bias."""

    winograd = low = False

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        low = self.low and torch.is_autocast_enabled("cpu")
        count, _, height, width = input.shape
        way = _way(self, low, (count, height, width))
        if way is None:
            return super().forward(input, output_size)
        return {"four": _Double, "nine": DoubleByNine, "low": Double}[way].apply(input, self.weight)


def _way(layer: WinogradConv2d | WinogradConvTranspose2d, low: bool, narrow: tuple[int, float, float]) -> str | None:
    """How the layer computes for narrow images [count, -, height, width]; None: as torch does.

    By tiles of four if there are many for each channel, as the weights' transforms are large: 64 tiles of 512 channels
    take 66 ms forward and backward, nine products 52, the direct way 65; 256 tiles of 256 channels 50, 54 and 60.
    """
    count, height, width = narrow
    channels, inner = layer.weight.shape[:2]

    def tiles(side: int) -> float:
        return 0 if height % side or width % side else count * height * width / side**2

    if layer.winograd and inner >= MIN_CHANNELS:
        if not low and tiles(OUTPUTS) >= max(MIN_TILES, channels / 2):
            return "four"
        if tiles(2) >= MIN_TILES:
            return "nine"
    return "low" if low else None


class _Halve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, wide: Tensor, weight: Tensor) -> Tensor:
        v = _from_wide(wide)
        ctx.save_for_backward(v, weight)
        ctx.shape = wide.shape
        return _narrow_of_products(v, weight, wide.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        v, weight = ctx.saved_tensors
        m = _from_narrow(gradients[0])
        of_wide = _wide_of_products(m, weight, ctx.shape) if ctx.needs_input_grad[0] else None
        return of_wide, _weight_of_products(v, m) if ctx.needs_input_grad[1] else None


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, narrow: Tensor, weight: Tensor) -> Tensor:
        m = _from_narrow(narrow)
        ctx.save_for_backward(m, weight)
        count, _, height, width = narrow.shape
        return _wide_of_products(m, weight, torch.Size((count, weight.shape[1], 2 * height, 2 * width)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        m, weight = ctx.saved_tensors
        v = _from_wide(gradients[0])
        of_narrow = _narrow_of_products(v, weight, gradients[0].shape) if ctx.needs_input_grad[0] else None
        return of_narrow, _weight_of_products(v, m) if ctx.needs_input_grad[1] else None


# --- The sums over channels


def _chunks(narrow_channels: int, wide_channels: int) -> Iterator[slice]:
    """Of the narrow side's channels, so that their transformed weights stay near the CPU."""
    size = max(16, CHUNK_BYTES // (PRODUCTS**2 * 4 * wide_channels * 4) // 16 * 16)
    return (slice(start, start + size) for start in range(0, narrow_channels, size))


def _narrow_of_products(v: Tensor, weight: Tensor, wide: torch.Size) -> Tensor:
    """v [25, T, 4C], weight [O, C, 4, 4] -> [N, O, h, w]."""
    count, _, height, width = wide
    rows, columns, channels = height // 8, width // 8, len(weight)
    narrow = v.new_empty(count, rows, 4, columns, 4, channels)
    for part in _chunks(channels, weight.shape[1]):
        products = torch.bmm(v, _from_weight(weight[part]).transpose(1, 2))  # [25, T, part]
        outputs = A.to(v).t() @ products.flatten(1)
        narrow[..., part] = outputs.view(4, 4, count, rows, columns, -1).permute(2, 3, 0, 4, 1, 5)
    return narrow.view(count, height // 2, width // 2, channels).permute(0, 3, 1, 2)


def _wide_of_products(m: Tensor, weight: Tensor, wide: torch.Size) -> Tensor:
    """m [25, T, O], weight [O, C, 4, 4] -> [N, C, 2h, 2w]."""
    sums = None
    for part in _chunks(len(weight), weight.shape[1]):
        u = _from_weight(weight[part])  # [25, part, 4C]
        sums = torch.bmm(m[..., part], u) if sums is None else torch.baddbmm(sums, m[..., part], u)
    assert sums is not None
    return _to_wide(sums, wide)


def _weight_of_products(v: Tensor, m: Tensor) -> Tensor:
    """v [25, T, 4C], m [25, T, O] -> [O, C, 4, 4]."""
    narrow_channels, wide_channels = m.shape[2], v.shape[2] // 4
    weight = v.new_empty(narrow_channels, 2, 2, 2, 2, wide_channels)
    for part in _chunks(narrow_channels, wide_channels):
        products = torch.bmm(m[..., part].transpose(1, 2), v)  # [25, part, 4C]
        taps = G.to(v).t() @ products.flatten(1)
        weight[part] = taps.view(2, 2, -1, 2, 2, wide_channels).permute(2, 0, 3, 1, 4, 5)
    return weight.view(narrow_channels, 4, 4, wide_channels).permute(0, 3, 1, 2)


# --- The transforms and their adjoints


def _from_weight(weight: Tensor) -> Tensor:
    """[O, C, 4, 4] -> [25, O, 4C]; the four are the pixels of a pair of rows and columns."""
    channels, inner = weight.shape[:2]
    taps = weight.permute(0, 2, 3, 1).reshape(channels, 2, 2, 2, 2, inner).permute(1, 3, 0, 2, 4, 5)
    return (G.to(weight) @ taps.reshape(4, -1)).view(25, channels, 4 * inner)


def _from_narrow(narrow: Tensor) -> Tensor:
    """[N, O, h, w] -> [25, T, O]."""
    count, channels, height, width = narrow.shape
    tiles = narrow.permute(0, 2, 3, 1).reshape(count, height // 4, 4, width // 4, 4, channels).permute(2, 4, 0, 1, 3, 5)
    return (A.to(narrow) @ tiles.reshape(16, -1)).view(25, -1, channels)


def _from_wide(wide: Tensor) -> Tensor:
    """[N, C, 2h, 2w] -> [25, T, 4C]: tiles of 5 x 5 pairs, the last of which is the next tile's first."""
    _, channels, height, width = wide.shape
    padded = nn.functional.pad(wide.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()
    tiles = _tiles(padded, height // 8, width // 8, 0, 0, (5, 5))
    return (B.to(wide) @ tiles.reshape(25, -1)).view(25, -1, 4 * channels)


def _to_wide(v: Tensor, shape: torch.Size) -> Tensor:
    """The adjoint: [25, T, 4C] -> [N, C, 2h, 2w]; where tiles overlap, their sum."""
    count, channels, height, width = shape
    rows, columns = height // 8, width // 8
    pairs = (B.to(v).t() @ v.flatten(1)).view(5, 5, count, rows, columns, 2, 2 * channels)
    padded = v.new_empty(count, height + 2, width + 2, channels)
    padded[:, height:] = 0
    padded[:, :, width:] = 0
    _tiles(padded, rows, columns, 0, 0, (4, 4)).copy_(pairs[:4, :4])
    _tiles(padded, rows, columns, 8, 0, (1, 4)).add_(pairs[4:, :4])
    _tiles(padded, rows, columns, 0, 8, (4, 1)).add_(pairs[:4, 4:])
    _tiles(padded, rows, columns, 8, 8, (1, 1)).add_(pairs[4:, 4:])
    # Dense, as whatever comes next is several times slower on a part of a larger array.
    return padded[:, 1:-1, 1:-1].contiguous().permute(0, 3, 1, 2)


def _tiles(padded: Tensor, rows: int, columns: int, top: int, left: int, pairs: tuple[int, int]) -> Tensor:
    """A view [*pairs, N, rows, columns, 2, 2C] of [N, 2h + 2, 2w + 2, C]: tiles 8 px apart, from (top, left) on."""
    count, _, _, channels = padded.shape
    image, row, column, _ = padded.stride()
    size = (*pairs, count, rows, columns, 2, 2 * channels)
    stride = (2 * row, 2 * column, image, 8 * row, 8 * column, row, 1)
    return padded.as_strided(size, stride, padded.storage_offset() + top * row + left * column)
