"""StyleGAN2's synthesis network (Karras et al. 2020, figures 2 and 7): [N, layers, w] latents to images."""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from facemorph.stylegan.networks.architecture import Architecture
from facemorph.stylegan.networks.ops import EPSILON, Noise, clamp, image_by_image, scale_shift, up_convolve, upsample

HALF_FROM_PX = 64
SQRT2 = math.sqrt(2)  # gain of the activation; already folded into biases and noise strengths


class Layer(nn.Module):
    """Modulated and demodulated convolution (section 2.2), noise, bias, leaky ReLU."""

    energy: torch.Tensor | None
    noise: torch.Tensor | None

    def __init__(self, architecture: Architecture, wide: int, out: int, resolution: int, up: bool) -> None:
        super().__init__()
        self.architecture, self.resolution, self.up = architecture, resolution, up
        self.dtype = torch.float32  # of activations and convolution
        self.weight = nn.Parameter(torch.empty(out, wide, 3, 3))
        self.bias = nn.Parameter(torch.empty(out))
        self.affine = nn.Linear(architecture.w_size, wide)
        self.noise_strength = nn.Parameter(torch.empty(())) if architecture.use_noise else None
        self.register_buffer("noise", torch.empty(resolution, resolution) if architecture.use_noise else None)
        self.register_buffer("energy", None, persistent=False)

    def prepare(self) -> None:
        """Precompute what depends on the weights alone."""
        self.energy = self.weight.detach().square().sum((2, 3))  # [out, in]
        weight = self.weight.detach().transpose(0, 1) if self.up else self.weight.detach()  # axes of the convolution
        weight = weight.contiguous(memory_format=torch.channels_last)
        self.weight.data = weight.transpose(0, 1) if self.up else weight

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: Noise, kernel: torch.Tensor) -> torch.Tensor:
        style = self.affine(w)  # [N, in]
        energy = self.energy
        if energy is None or self.weight.requires_grad:
            energy = self.weight.square().sum((2, 3))
        demodulation = SQRT2 * (style.square() @ energy.T + EPSILON).rsqrt()  # [N, out], equation 3
        x = x.to(self.dtype)
        plane = self._noise_plane(noise, len(x))
        # Modulate the weight or the image, whichever is smaller; the image where the style's gradients are taken, as
        # those of a weight cost as much as those of the image, and on some CPUs five times as much.
        if len(x) == 1 and self.weight.numel() < x.numel() and not style.requires_grad:
            weight = self.weight * (demodulation.T * style)[:, :, None, None]
            x = self._convolve(x, weight.to(x.dtype), kernel, self.bias.to(x.dtype))
        else:
            if x.dtype == torch.float16:  # avoids overflow above 65,504
                peak = style.abs().amax(1, keepdim=True)
                style, demodulation = style / peak, demodulation * peak
            x = x * style[:, :, None, None].to(x.dtype)
            x = self._convolve(x, self.weight.to(x.dtype), kernel, None)
            if style.requires_grad and not (self.weight.requires_grad or self.bias.requires_grad):
                return Activated.apply(x, demodulation, self.bias, plane, self.architecture)
            x = scale_shift(x, demodulation, self.bias[None])
        if plane is not None:
            x.add_(plane.to(x.dtype))
        x = F.leaky_relu_(x, self.architecture.slope)
        if self.dtype == torch.bfloat16 and self.weight.requires_grad:  # as large as float32: nothing can overflow
            return x
        return clamp(x, self.architecture.clamp)

    def _noise_plane(self, noise: Noise, count: int) -> torch.Tensor | None:
        plane = None if self.noise is None else noise.plane(self.noise, count)
        return None if plane is None or self.noise_strength is None else plane * self.noise_strength

    def _convolve(
        self, x: torch.Tensor, weight: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        return up_convolve(x, weight, kernel, bias) if self.up else F.conv2d(x, weight, bias, padding=1)


class Activated(torch.autograd.Function):
    """What follows the convolution in a layer whose weights are frozen: demodulation, bias, noise, leaky ReLU, clamp.

    In place, and all that the gradients need is the output: so a search keeps one tensor of activations a layer.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        demodulation: torch.Tensor,
        bias: torch.Tensor,
        plane: torch.Tensor | None,
        architecture: Architecture,
    ) -> torch.Tensor:
        """x [N, out, H, W], demodulation [N, out], bias [out], plane [H, W] or [N or 1, 1, H, W]."""
        torch.addcmul(bias[:, None, None].to(x.dtype), x, demodulation[:, :, None, None].to(x.dtype), out=x)
        if plane is not None:
            x.add_(plane.to(x.dtype))
        clamp(F.leaky_relu_(x, architecture.slope), architecture.clamp)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x, demodulation, bias, plane)
        ctx.architecture = architecture
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        output, demodulation, bias, plane = ctx.saved_tensors
        (gradient,), a = gradients, ctx.architecture

        def summed(x: torch.Tensor) -> torch.Tensor:
            return x.sum((2, 3), dtype=demodulation.dtype)  # [N, out]

        if a.clamp is not None:
            gradient = torch.ops.aten.hardtanh_backward(gradient, output, -a.clamp, a.clamp)
        inner = torch.ops.aten.leaky_relu_backward(gradient, output, a.slope, True)  # of what goes into the ReLU
        of_plane = of_demodulation = None
        if plane is not None and ctx.needs_input_grad[3]:
            of_plane = inner.sum(1, keepdim=True).sum_to_size((1,) * (4 - plane.ndim) + plane.shape).view(plane.shape)
        if ctx.needs_input_grad[1]:
            # From sums of `inner` and what goes into the ReLU; their product is that of output and gradient.
            product = gradient * output if a.clamp is None else gradient.mul_(output)
            of_demodulation = summed(product) - bias * summed(inner)
            if plane is not None:
                of_demodulation -= summed(torch.mul(inner, plane.to(inner.dtype), out=product))
            of_demodulation /= demodulation
        return inner.mul_(demodulation[:, :, None, None].to(inner.dtype)), of_demodulation, None, of_plane, None


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to RGB, without demodulation."""

    def __init__(self, architecture: Architecture, wide: int) -> None:
        super().__init__()
        self.architecture = architecture
        self.weight = nn.Parameter(torch.empty(architecture.image_channels, wide, 1, 1))
        self.bias = nn.Parameter(torch.empty(architecture.image_channels))
        self.affine = nn.Linear(architecture.w_size, wide)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        weight = self.weight[:, :, 0, 0] * self.affine(w)[:, None]  # [N, 3, C]
        if x.dtype == torch.bfloat16:  # in training, where a float32 copy of x took a tenth of the step's time
            rgb = torch.einsum("nchw,nkc->nkhw", x, weight.to(x.dtype)).float() + self.bias[:, None, None]
        else:
            pixels = x.float().permute(0, 2, 3, 1).flatten(1, 2)  # [N, H * W, C]
            rgb = torch.baddbmm(self.bias, pixels, weight.transpose(1, 2))  # [N, H * W, 3]
            rgb = rgb.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return clamp(rgb, self.architecture.clamp)


class Pointwise(nn.Module):
    """The 1x1 convolution in the skip of a block of the "resnet" design."""

    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, wide, 1, 1))

    def forward(self, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return upsample(F.conv2d(x, self.weight.to(x.dtype)), kernel)


class Block(nn.Module):
    """One resolution: an up-sampling layer (none at 4 px), a layer, and ToRGB."""

    def __init__(self, architecture: Architecture, level: int) -> None:
        super().__init__()
        before = architecture.channels[level - 1] if level else architecture.const_channels
        out = architecture.channels[level]
        resolution, is_last = 4 << level, level == len(architecture.channels) - 1
        self.conv0 = Layer(architecture, before, out, resolution, up=True) if level else None
        self.conv1 = Layer(architecture, out if level else before, out, resolution, up=False)
        self.to_rgb = ToRGB(architecture, out) if is_last or architecture.design == "skip" else None
        self.skip = Pointwise(before, out) if level and architecture.design == "resnet" else None

    def forward(
        self,
        x: torch.Tensor,
        image: torch.Tensor | None,
        latents: torch.Tensor,
        noise: Noise,
        kernel: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """latents [N, 3, w], or [N, 2, w] at 4 px, the last one for ToRGB -> activations and the image so far."""
        entry = x
        if self.conv0 is not None:
            x = self.conv0(x, latents[:, 0], noise, kernel)
        x = self.conv1(x, latents[:, -2], noise, kernel)
        if self.skip is not None:
            x = (x + self.skip(entry, kernel)) * math.sqrt(0.5)
        if image is not None:
            image = upsample(image, kernel)
        if self.to_rgb is not None:
            rgb = self.to_rgb(x, latents[:, -1])
            image = rgb if image is None else image + rgb
        return x, image


class Synthesis2(nn.Module):
    """A learned constant of 4x4 px, then a block per resolution; adjacent blocks share a latent."""

    filter: torch.Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.empty(1, architecture.const_channels, 4, 4))
        self.register_buffer("filter", torch.empty(architecture.filter_shape))
        self.blocks = nn.ModuleList(Block(architecture, level) for level in range(len(architecture.channels)))

    def forward(self, latents: torch.Tensor, noise: Noise) -> torch.Tensor:
        """latents [N, num_layers, w_size] -> images [N, channels, R, R], about -1..1."""
        x = self.const.expand(len(latents), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        return self._from(0, x, None, latents, noise)

    def _from(
        self, first: int, x: torch.Tensor, image: torch.Tensor | None, latents: torch.Tensor, noise: Noise
    ) -> torch.Tensor:
        """The image from the inputs of block `first` on: activations x, and the image so far."""
        for level in range(first, len(self.blocks)):
            if image_by_image(x):
                images = [None] * len(x) if image is None else image.split(1)
                each = zip(x.split(1), images, latents.split(1), strict=True)
                return torch.cat([self._from(level, *one, noise) for one in each])
            part = latents[:, max(2 * level - 1, 0) : 2 * level + 2]
            x, image = self.blocks[level](x, image, part, noise, self.filter)
        assert image is not None  # the last block always has a ToRGB
        return image

    def layers(self) -> Iterator[Layer]:
        return (module for module in self.modules() if isinstance(module, Layer))

    def prepare(self) -> None:
        for layer in self.layers():
            layer.prepare()

    def use_half(self) -> None:
        """float16 from `HALF_FROM_PX` on, for speed on GPUs; images differ by at most one grey level."""
        for layer in self.layers():
            if layer.resolution >= HALF_FROM_PX:
                layer.dtype = torch.float16
