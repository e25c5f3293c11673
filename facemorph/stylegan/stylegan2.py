"""StyleGAN2's synthesis network (Karras et al. 2020, figures 2 and 7): [N, layers, w] latents to pictures."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from facemorph.stylegan.description import Architecture
from facemorph.stylegan.noise import Noise
from facemorph.stylegan.ops import EPSILON, up_convolve, upsample

SQRT2 = math.sqrt(2)  # the gain of the activation; in biases and noise strengths it is multiplied in already


class Layer(nn.Module):
    """Modulated and demodulated convolution (section 2.2), noise, bias, leaky ReLU."""

    energy: torch.Tensor | None
    noise: torch.Tensor | None

    def __init__(self, architecture: Architecture, wide: int, out: int, resolution: int, up: bool) -> None:
        super().__init__()
        self.architecture, self.up = architecture, up
        self.weight = nn.Parameter(torch.empty(out, wide, 3, 3))
        self.bias = nn.Parameter(torch.empty(out))
        self.affine = nn.Linear(architecture.w_size, wide)
        self.noise_strength = nn.Parameter(torch.empty(())) if architecture.use_noise else None
        self.register_buffer("noise", torch.empty(resolution, resolution) if architecture.use_noise else None)
        self.register_buffer("energy", None, persistent=False)

    def prepare(self) -> None:
        """Compute from the weights what stays the same from picture to picture."""
        self.energy = self.weight.detach().square().sum((2, 3))  # [out, in]

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: Noise, kernel: torch.Tensor) -> torch.Tensor:
        style = self.affine(w)  # [N, in]
        energy = self.weight.square().sum((2, 3)) if self.energy is None else self.energy
        demodulation = SQRT2 * (style.square() @ energy.T + EPSILON).rsqrt()  # [N, out], equation 3
        x = x * style[:, :, None, None]
        x = up_convolve(x, self.weight, kernel) if self.up else F.conv2d(x, self.weight, padding=1)
        x = torch.addcmul(self.bias[:, None, None], x, demodulation[:, :, None, None])
        if self.noise is not None and self.noise_strength is not None:
            plane = noise.plane(self.noise, len(x))
            if plane is not None:
                x = x + plane * self.noise_strength
        return bounded(F.leaky_relu(x, self.architecture.slope), self.architecture.clamp)


class ToImage(nn.Module):
    """Modulated 1x1 convolution to colours, without demodulation, in raw network range."""

    def __init__(self, architecture: Architecture, wide: int) -> None:
        super().__init__()
        self.architecture = architecture
        self.weight = nn.Parameter(torch.empty(architecture.image_channels, wide, 1, 1))
        self.bias = nn.Parameter(torch.empty(architecture.image_channels))
        self.affine = nn.Linear(architecture.w_size, wide)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        x = F.conv2d(x * self.affine(w)[:, :, None, None], self.weight, self.bias)
        return bounded(x, self.architecture.clamp)


class Pointwise(nn.Module):
    """The 1x1 convolution beside a block of the "resnet" design."""

    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, wide, 1, 1))

    def forward(self, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return upsample(F.conv2d(x, self.weight), kernel)


class Block(nn.Module):
    """One resolution: an up-sampling layer (none at 4 px), a layer, and the way out to colours."""

    def __init__(self, architecture: Architecture, level: int) -> None:
        super().__init__()
        before = architecture.channels[level - 1] if level else architecture.const_channels
        out = architecture.channels[level]
        resolution, is_last = 4 << level, level == len(architecture.channels) - 1
        self.conv0 = Layer(architecture, before, out, resolution, up=True) if level else None
        self.conv1 = Layer(architecture, out if level else before, out, resolution, up=False)
        self.to_rgb = ToImage(architecture, out) if is_last or architecture.design == "skip" else None
        self.skip = Pointwise(before, out) if level and architecture.design == "resnet" else None

    def forward(
        self,
        x: torch.Tensor,
        image: torch.Tensor | None,
        latents: torch.Tensor,
        noise: Noise,
        kernel: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """latents [N, 3, w], or [N, 2, w] at 4 px: the last one makes the colours."""
        entry = x
        if self.conv0 is not None:
            x = self.conv0(x, latents[:, 0], noise, kernel)
        x = self.conv1(x, latents[:, -2], noise, kernel)
        if self.skip is not None:
            x = (x + self.skip(entry, kernel)) * math.sqrt(0.5)
        if image is not None:
            image = upsample(image, kernel)
        if self.to_rgb is not None:
            colours = self.to_rgb(x, latents[:, -1])
            image = colours if image is None else image + colours
        return x, image


class Synthesis2(nn.Module):
    """A learned constant of 4x4 px, then a block a resolution; neighbouring blocks share a latent."""

    filter: torch.Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.empty(1, architecture.const_channels, 4, 4))
        self.register_buffer("filter", torch.empty(architecture.filter_shape))
        self.blocks = nn.ModuleList(Block(architecture, level) for level in range(len(architecture.channels)))

    def forward(self, latents: torch.Tensor, noise: Noise) -> torch.Tensor:
        """latents [N, num_layers, w_size] -> pictures [N, channels, R, R] in raw network range."""
        x = self.const.expand(len(latents), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        image = None
        for level, block in enumerate(self.blocks):
            first = max(2 * level - 1, 0)
            x, image = block(x, image, latents[:, first : 2 * level + 2], noise, self.filter)
        assert image is not None  # the last block always makes one
        return image

    def prepare(self) -> None:
        for module in self.modules():
            if isinstance(module, Layer):
                module.prepare()


def bounded(x: torch.Tensor, clamp: float | None) -> torch.Tensor:
    return x if clamp is None else x.clamp(-clamp, clamp)
