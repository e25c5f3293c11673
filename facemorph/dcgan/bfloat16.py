"""The networks' convolutions in bfloat16 on a CPU: torch's, except where a product of large matrices is faster.

That is in three places. The gradient of the weights where images are small: there the library's kernel reached 240 of
the 425 GFLOP/s that a matrix product does. The transposed convolution to a few channels, which goes as one of 3 px to
the four phases of a pixel. And the outermost layers, between one pixel and 4 x 4.

The weights stay in float32, and so does their gradient; what is multiplied is rounded to bfloat16, as autocast does it.
Sides and weights are named as in `winograd.py`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, conv_transpose2d, linear, pad, pixel_shuffle

FEW_CHANNELS = 4  # up to which the transposed convolution goes in four phases
SMALL_PX = 8  # side of the narrow image up to which the gradient of the weights is a matrix product


class FromPixel(nn.ConvTranspose2d):
    """[N, z, 1, 1] -> [N, O, 4, 4]: without padding or bias, a product of matrices if `low` is set."""

    low = False

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not self.low:
            return super().forward(input, output_size)
        rows = input.flatten(1) @ self.weight.permute(0, 2, 3, 1).flatten(1)  # [N, 16 O]
        return rows.view(len(rows), 4, 4, -1).permute(0, 3, 1, 2)


class ToPixel(nn.Conv2d):
    """[N, C, 4, 4] -> [N, O, 1, 1]: without padding, a product of matrices if `low` is set."""

    low = False

    def forward(self, input: Tensor) -> Tensor:
        if not self.low:
            return super().forward(input)
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)  # [O, 16 C]
        return linear(input.permute(0, 2, 3, 1).flatten(1), weight, self.bias)[..., None, None]


class Halve(torch.autograd.Function):
    """wide [N, C, 2h, 2w], weight [O, C, 4, 4] -> narrow [N, O, h, w], bfloat16."""

    @staticmethod
    def forward(ctx: Any, wide: Tensor, weight: Tensor) -> Tensor:
        ctx.dtype = wide.dtype
        wide, low = wide.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(wide, low)
        return conv2d(wide, low, stride=2, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        wide, low = ctx.saved_tensors
        of_wide = to_wide(gradients[0], low).to(ctx.dtype) if ctx.needs_input_grad[0] else None
        return of_wide, of_weight(wide, gradients[0]) if ctx.needs_input_grad[1] else None


class Double(torch.autograd.Function):
    """narrow [N, O, h, w], weight [O, C, 4, 4] -> wide [N, C, 2h, 2w], bfloat16."""

    @staticmethod
    def forward(ctx: Any, narrow: Tensor, weight: Tensor) -> Tensor:
        ctx.dtype = narrow.dtype
        narrow, low = narrow.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(narrow, low)
        return to_wide(narrow, low)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        narrow, low = ctx.saved_tensors
        wide = gradients[0].contiguous(memory_format=torch.channels_last)
        of_narrow = conv2d(wide, low, stride=2, padding=1).to(ctx.dtype) if ctx.needs_input_grad[0] else None
        return of_narrow, of_weight(wide, narrow) if ctx.needs_input_grad[1] else None


def to_wide(narrow: Tensor, weight: Tensor) -> Tensor:
    """The transposed convolution, 4 px with stride 2: [N, O, h, w] and [O, C, 4, 4] -> [N, C, 2h, 2w]."""
    if weight.shape[1] > FEW_CHANNELS:
        return conv_transpose2d(narrow, weight, stride=2, padding=1)
    return pixel_shuffle(conv2d(narrow, in_phases(weight), padding=1), 2)


def in_phases(weight: Tensor) -> Tensor:
    """The same as 3 px to four phases: [O, C, 4, 4] -> [4C, O, 3, 3], for `pixel_shuffle`.

    Pixel 2i + a of the wide side takes two of the four taps: 3 and 1 from narrow pixels i - 1 and i where a is 0, 2 and
    0 from i and i + 1 where it is 1.
    """
    narrow, wide = weight.shape[:2]
    phases = weight.new_zeros(wide, 2, 2, narrow, 3, 3)
    turned = weight.flip(2, 3).transpose(0, 1)  # [C, O, 4, 4]
    for a in range(2):
        for b in range(2):
            phases[:, a, b, :, a : a + 2, b : b + 2] = turned[:, :, a::2, b::2]
    return phases.view(4 * wide, narrow, 3, 3).contiguous(memory_format=torch.channels_last)


def of_weight(wide: Tensor, narrow: Tensor) -> Tensor:
    """The gradient of the weights, from one side and the other's gradient: float32 [O, C, 4, 4]."""
    count, channels, height, width = narrow.shape
    inner = wide.shape[1]
    if max(height, width) > SMALL_PX:
        like = wide.new_empty(channels, 4, 4, inner).permute(0, 3, 1, 2)  # of which only shape and layout matter
        return torch.ops.aten.convolution_backward(
            narrow, wide, like, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False]
        )[1].float()
    padded = pad(wide.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()  # [N, 2h + 2, 2w + 2, C]
    image, row, column, _ = padded.stride()
    patches = padded.as_strided((count, height, width, 4, 4 * inner), (image, 2 * row, 2 * column, row, 1))
    products = narrow.permute(0, 2, 3, 1).reshape(-1, channels).t() @ patches.reshape(-1, 16 * inner)  # [O, 16C]
    return products.float().view(channels, 4, 4, inner).permute(0, 3, 1, 2)
