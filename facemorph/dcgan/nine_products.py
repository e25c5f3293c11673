"""The networks' inner convolutions, 4 px wide with stride 2, by nine products for sixteen.

Over pairs of rows (2j - 1 and 2j of the wide side make pair j) such a convolution is one of 2 taps with stride 1. Two
neighbouring outputs y of 2 taps w over pairs x take three products instead of four (Winograd 1980):

    y0 = (x0 - x1) w0 + x1 (w0 + w1)        y1 = x1 (w0 + w1) - (x1 - x2) w1

and in two dimensions nine instead of sixteen, summed over channels by nine matrix products. `winograd.py` takes fewer
products still, but here the transforms are sums of neighbours, which bfloat16 bears, and the weights' are small.
Sides and weights are named as there; a tile is 2 x 2 pixels of the narrow side, and there are T. Of the nine, number
3 a + b is product a of the rows and b of the columns; product 2 is the one that both outputs share.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_ONE_DIMENSION = torch.tensor([[1.0, 0.0, 1.0], [0.0, -1.0, 1.0]])  # each of the two taps, from three products
TAPS = torch.kron(_ONE_DIMENSION, _ONE_DIMENSION)  # [4, 9]


class HalveByNine(torch.autograd.Function):
    """wide [N, C, 4h, 4w], weight [O, C, 4, 4] -> narrow [N, O, 2h, 2w], in autocast's type."""

    @staticmethod
    def forward(ctx: Any, wide: Tensor, weight: Tensor) -> Tensor:
        v, u = from_wide(_low(wide)), from_weight(_low(weight))
        ctx.save_for_backward(v, u)
        ctx.shape, ctx.dtype = wide.shape, wide.dtype
        return to_narrow(torch.bmm(v, u.transpose(1, 2)), _narrow_shape(wide.shape, len(weight)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        v, u = ctx.saved_tensors
        m = from_narrow(gradients[0])
        of_wide = to_wide(torch.bmm(m, u), ctx.shape).to(ctx.dtype) if ctx.needs_input_grad[0] else None
        return of_wide, to_weight(torch.bmm(m.transpose(1, 2), v)) if ctx.needs_input_grad[1] else None


class DoubleByNine(torch.autograd.Function):
    """The transposed one: narrow [N, O, 2h, 2w], weight [O, C, 4, 4] -> wide [N, C, 4h, 4w]."""

    @staticmethod
    def forward(ctx: Any, narrow: Tensor, weight: Tensor) -> Tensor:
        m, u = from_narrow(_low(narrow)), from_weight(_low(weight))
        ctx.save_for_backward(m, u)
        ctx.shape, ctx.dtype = narrow.shape, narrow.dtype
        count, _, height, width = narrow.shape
        return to_wide(torch.bmm(m, u), torch.Size((count, weight.shape[1], 2 * height, 2 * width)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        m, u = ctx.saved_tensors
        v = from_wide(gradients[0])
        products = torch.bmm(v, u.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        of_narrow = None if products is None else to_narrow(products, ctx.shape).to(ctx.dtype)
        return of_narrow, to_weight(torch.bmm(m.transpose(1, 2), v)) if ctx.needs_input_grad[1] else None


def _low(tensor: Tensor) -> Tensor:
    return tensor.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else tensor


def _narrow_shape(wide: torch.Size, channels: int) -> torch.Size:
    return torch.Size((wide[0], channels, wide[2] // 2, wide[3] // 2))


def from_wide(wide: Tensor) -> Tensor:
    """[N, C, 4h, 4w] -> [9, T, 4C]; the four are the pixels of a pair of rows and columns."""
    count, channels, height, width = wide.shape
    h, w = height // 4, width // 4
    padded = wide.new_zeros(count, height + 2, width + 2, channels)
    padded[:, 1:-1, 1:-1] = wide.permute(0, 2, 3, 1)
    pairs = padded.view(count, 2 * h + 1, 2, 2 * w + 1, 2 * channels).transpose(2, 3)  # [N, 2h + 1, 2w + 1, 2, 2C]
    v = wide.new_empty(3, 3, count, h, w, 2, 2 * channels)
    shared, even = v[:, 2], wide.new_empty(3, count, h, w + 1, 2, 2 * channels)
    for out, columns in ((even, pairs[:, :, ::2]), (shared, pairs[:, :, 1::2])):
        torch.sub(columns[:, :-1:2], columns[:, 1::2], out=out[0])
        torch.sub(columns[:, 1::2], columns[:, 2::2], out=out[1])
        out[2] = columns[:, 1::2]
    torch.sub(even[:, :, :, :-1], shared, out=v[:, 0])
    torch.sub(shared, even[:, :, :, 1:], out=v[:, 1])
    return v.view(9, -1, 4 * channels)


def to_wide(v: Tensor, shape: torch.Size) -> Tensor:
    """The adjoint: [9, T, 4C] -> [N, C, 4h, 4w]; where tiles overlap, their sum. What is in `v` is lost."""
    count, channels, height, width = shape
    h, w = height // 4, width // 4
    v = v.view(3, 3, count, h, w, 2, 2 * channels)
    rows = v.new_empty(3, count, h, 2, width + 2, channels)
    out = rows.view(3, count, h, 2, 2 * w + 1, 2 * channels)
    v[:, 2] += v[:, 1]
    even, odd, shared = v.transpose(4, 5).unbind(1)  # [3, N, h, 2, w, 2C]
    torch.sub(shared, even, out=out[..., 1::2, :])
    out[..., 0, :] = even[..., 0, :]
    torch.sub(even[..., 1:, :], odd[..., :-1, :], out=out[..., 2:-1:2, :])
    torch.neg(odd[..., -1, :], out=out[..., -1, :])
    rows[2] += rows[1]
    even, odd, shared = rows[..., 1:-1, :]  # [N, h, 2, 4w, C]
    image = v.new_empty(count, height, width, channels)
    image[:, 0] = even[:, 0, 1]  # the other row of the first and of the last pair is outside
    torch.sub(even[:, 1:], odd[:, :-1], out=_pairs_of_rows(image, 3, h - 1))
    torch.neg(odd[:, -1, 0], out=image[:, -1])
    torch.sub(shared, even, out=_pairs_of_rows(image, 1, h))
    return image.permute(0, 3, 1, 2)


def _pairs_of_rows(image: Tensor, first: int, count: int) -> Tensor:
    """Rows `first` and `first` + 1 of a dense image [N, H, W, C], and so on every four rows: [N, count, 2, W, C]."""
    images, _, width, channels = image.shape
    of_image, of_row, of_column, _ = image.stride()
    size, stride = (images, count, 2, width, channels), (of_image, 4 * of_row, of_row, of_column, 1)
    return image.as_strided(size, stride, first * of_row)


def from_narrow(narrow: Tensor) -> Tensor:
    """[N, O, 2h, 2w] -> [9, T, O]."""
    count, channels, height, width = narrow.shape
    pixels = narrow.permute(0, 2, 3, 1).reshape(count, height // 2, 2, width // 2, 2, channels)
    pixels = pixels.permute(2, 4, 0, 1, 3, 5)  # [2, 2, N, h, w, O]
    m = narrow.new_empty(3, 3, *pixels.shape[2:])
    m[:2, :2] = pixels
    torch.add(pixels[:, 0], pixels[:, 1], out=m[:2, 2])
    torch.add(pixels[0], pixels[1], out=m[2, :2])
    torch.add(m[2, 0], m[2, 1], out=m[2, 2])
    return m.view(9, -1, channels)


def to_narrow(m: Tensor, shape: torch.Size) -> Tensor:
    """The adjoint: [9, T, O] -> [N, O, 2h, 2w]. What is in `m` is lost."""
    count, channels, height, width = shape
    m = m.view(3, 3, count, height // 2, width // 2, channels)
    narrow = m.new_empty(count, height // 2, 2, width // 2, 2, channels)
    m[:2, :2] += m[:2, 2:]
    torch.add(m[:2, :2], m[2, :2] + m[2, 2], out=narrow.permute(2, 4, 0, 1, 3, 5))
    return narrow.view(count, height, width, channels).permute(0, 3, 1, 2)


def from_weight(weight: Tensor) -> Tensor:
    """[O, C, 4, 4] -> [9, O, 4C]: of both dimensions w0, -w1 and w0 + w1."""
    channels, inner = weight.shape[:2]
    taps = weight.permute(0, 2, 3, 1).reshape(channels, 2, 2, 2, 2, inner).permute(1, 3, 0, 2, 4, 5)
    u = weight.new_empty(3, 3, *taps.shape[2:])
    u[0, 0], u[1, 1] = taps[0, 0], taps[1, 1]
    torch.neg(taps[0, 1], out=u[0, 1])
    torch.neg(taps[1, 0], out=u[1, 0])
    torch.sub(u[:2, 0], u[:2, 1], out=u[:2, 2])
    torch.sub(u[0], u[1], out=u[2])
    return u.view(9, channels, 4 * inner)


def to_weight(products: Tensor) -> Tensor:
    """The adjoint: [9, O, 4C] -> float32 (or float64) [O, C, 4, 4]."""
    channels, inner = products.shape[1], products.shape[2] // 4
    taps = (TAPS.to(products) @ products.flatten(1)).view(2, 2, channels, 2, 2, inner)
    exact = torch.float32 if products.dtype == torch.bfloat16 else products.dtype
    weight = taps.new_empty(channels, 2, 2, 2, 2, inner, dtype=exact)
    weight.permute(1, 3, 0, 2, 4, 5).copy_(taps)
    return weight.view(channels, 4, 4, inner).permute(0, 3, 1, 2)
