"""StyleGAN's synthesis network (Karras et al. 2019, figure 1): [N, layers, w] latents to images."""

import torch
import torch.nn.functional as F
from torch import nn

from facemorph.stylegan.networks.architecture import Architecture
from facemorph.stylegan.networks.ops import (
    Noise,
    depthwise,
    doubling_kernel,
    image_by_image,
    kernel_2d,
    normalize,
    scale_shift,
    styled_instance_norm,
)


class Layer(nn.Module):
    """Convolution, noise, bias, leaky ReLU, normalisation, style. Layer 0 has no convolution."""

    doubled: torch.Tensor | None
    blur: torch.Tensor | None
    noise: torch.Tensor | None

    def __init__(self, architecture: Architecture, index: int, wide: int, out: int) -> None:
        super().__init__()
        self.architecture, self.index, self.resolution = architecture, index, 4 << index // 2
        self.up = index > 1 and index % 2 == 0
        self.weight = nn.Parameter(torch.empty(out, wide, 3, 3)) if index else None
        self.bias = nn.Parameter(torch.empty(out))
        self.style = nn.Linear(architecture.w_size, 2 * out)
        self.noise_strength = nn.Parameter(torch.empty(out)) if architecture.use_noise else None
        self.register_buffer("noise", torch.empty(self.resolution, self.resolution) if architecture.use_noise else None)
        self.register_buffer("doubled", None, persistent=False)
        self.register_buffer("blur", None, persistent=False)

    def prepare(self) -> None:
        """Precompute what depends on the weights alone."""
        if self.up and self.weight is not None:
            self.doubled = doubling_kernel(self.weight.detach()).contiguous(memory_format=torch.channels_last)
            if taps := self.architecture.blur:  # here once, as a copy from the host at each pass would wait for CUDA
                self.blur = kernel_2d(self.weight.new_tensor(taps[::-1]).detach())  # correlated; `depthwise` convolves
        elif self.weight is not None:
            self.weight.data = self.weight.detach().contiguous(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: Noise) -> torch.Tensor:
        x = self._convolve(x)
        plane = None if self.noise is None else noise.plane(self.noise, len(x))
        if plane is not None and self.noise_strength is not None:
            x.addcmul_(plane, self.noise_strength[:, None, None])
        x = F.leaky_relu_(x, self.architecture.slope)
        if self.architecture.pixel_norm:
            x = normalize(x)
        scale, shift = self.style(w).chunk(2, dim=1)  # [N, C] each
        return (styled_instance_norm if self.architecture.instance_norm else scale_shift)(x, scale, shift)

    def _convolve(self, x: torch.Tensor) -> torch.Tensor:
        bias = self.bias
        if self.weight is None:
            return x + bias[:, None, None]
        if not self.up:
            return F.conv2d(x, self.weight, bias, padding=1)
        weight = self.doubled
        if weight is None or self.weight.requires_grad:
            weight = doubling_kernel(self.weight)
        blur = self.architecture.blur
        if not blur:
            return F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
        x = F.conv_transpose2d(x, weight, stride=2, padding=1)  # [N, C, 2H, 2W]
        kernel = kernel_2d(x.new_tensor(blur[::-1])) if self.blur is None else self.blur
        return depthwise(x, kernel, ((len(blur) - 1) // 2, len(blur) // 2), bias)


class ToRGB(nn.Module):
    """1x1 convolution to RGB."""

    def __init__(self, wide: int, image_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(image_channels, wide, 1, 1))
        self.bias = nn.Parameter(torch.empty(image_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, self.bias)


class Synthesis1(nn.Module):
    """A learned constant of 4x4 px, then two layers per resolution."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.const = nn.Parameter(torch.empty(1, architecture.const_channels, 4, 4))
        widths = [architecture.const_channels] * 2 + [width for width in architecture.channels for _ in range(2)][1:]
        self.layers = nn.ModuleList(
            Layer(architecture, index, widths[index], widths[index + 1]) for index in range(architecture.num_layers)
        )
        self.to_rgb = nn.ModuleDict(
            {
                str(lod): ToRGB(architecture.channels[-1 - lod], architecture.image_channels)
                for lod in architecture.to_rgb_lods
            }
        )

    def forward(self, latents: torch.Tensor, noise: Noise) -> torch.Tensor:
        """latents [N, num_layers, w_size] -> images [N, channels, R, R], about -1..1."""
        x = self.const.expand(len(latents), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        return self._from(0, x, latents, noise)

    def _from(self, first: int, x: torch.Tensor, latents: torch.Tensor, noise: Noise) -> torch.Tensor:
        """The image from the input x of layer `first` on."""
        whole, part = int(self.architecture.lod), self.architecture.lod % 1
        last = self.architecture.num_layers - 2 * whole - 1
        before = x  # output of the resolution before the last
        for index in range(first, last + 1):
            if index % 2 == 0:
                before = x
                if image_by_image(x):
                    each = zip(x.split(1), latents.split(1), strict=True)
                    return torch.cat([self._from(index, *one, noise) for one in each])
            x = self.layers[index](x, latents[:, index], noise)
        image = self.to_rgb[str(whole)](x)
        if part:  # during progressive growing the image is blended with that of the resolution below
            coarse = self.to_rgb[str(whole + 1)](before)
            image = torch.lerp(image, _nearest(coarse, 2), part)
        return _nearest(image, 1 << whole)

    def prepare(self) -> None:
        for layer in self.layers:
            layer.prepare()  # type: ignore[operator]


def _nearest(image: torch.Tensor, factor: int) -> torch.Tensor:
    return image if factor == 1 else F.interpolate(image, scale_factor=factor, mode="nearest")
