"""What judges a picture: small discriminators over fixed random projections of two frozen networks' features.

Sauer et al. 2021, "Projected GANs converge faster" (arXiv:2111.01007): features of four scales are mixed across
channels (CCM, section 3.2) and across scales (CSM) by random weights that are never trained; a small discriminator
looks at each scale. The networks are EfficientNet-Lite0 and dlib's face descriptor, in place of the paper's; one more
discriminator looks at pixels.
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemorph.faces.descriptor_network import load_resnet
from facemorph.metrics.imagenet_features import load_efficientnet
from facemorph.stylegan.training.config import Config, Judging

BOUND = 1.5  # pixels beyond are cut off before a frozen network sees them
STAGES = ((0, 4), (4, 6), (6, 12), (12, None))  # EfficientNet-Lite0's layers, cut at 1/4, 1/8, 1/16, 1/32 of the side
SLOPE = 0.2
POWER_STEPS = 10  # of the power iteration, before the first use
SMALLEST_PX = 6  # features are halved down to about this side


class ImageNetFeatures(nn.Module):
    """Four scales of EfficientNet-Lite0, frozen: images [N, 3, H, H] in [-1, 1] -> [N, C, side / 4, ...], ..."""

    def __init__(self, settings: Judging) -> None:
        super().__init__()
        layers = load_efficientnet().layers
        self.parts = nn.ModuleList(nn.Sequential(*layers[first:last]) for first, last in STAGES)
        self.side_px = settings.imagenet_px

    def forward(self, images: Tensor) -> list[Tensor]:
        dtype = next(self.parameters()).dtype
        x = images.float()
        if x.shape[-1] != self.side_px:
            x = F.interpolate(x, (self.side_px, self.side_px), mode="bilinear", align_corners=False)
        x = ((x.clamp(-BOUND, BOUND) + 1) * 127.5 - 127) / 128
        x = x.to(dtype).contiguous(memory_format=torch.channels_last)
        scales = []
        for part in self.parts:
            x = part(x)
            scales.append(x)
        return scales


class FaceFeatures(nn.Module):
    """Four scales of dlib's face descriptor network, frozen, of the face's place in the image.

    `chip`: that place, in coordinates from -1 to 1: centre x, centre y, half its side.
    """

    grid: Tensor
    mean: Tensor

    def __init__(self, settings: Judging, chip: tuple[float, float, float]) -> None:
        super().__init__()
        network = load_resnet()
        self.first, self.blocks, self.last = network.first, network.blocks, network.last
        self.register_buffer("mean", network.mean.detach().clone().view(1, 3, 1, 1), persistent=False)
        x, y, half = chip
        side = settings.face_px
        line = half * ((torch.arange(side) + 0.5) / side * 2 - 1)
        grid = torch.stack(torch.meshgrid(x + line, y + line, indexing="xy"), 2)[None]
        self.register_buffer("grid", grid.float(), persistent=False)
        widths = [block.second.out_channels for block in network.blocks]  # type: ignore[union-attr]
        self.ends = [at for at in range(len(widths)) if at == len(widths) - 1 or widths[at + 1] != widths[at]]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images [N, 3, H, H] in [-1, 1] -> the last features of each width: 32, 64, 128 and 256 channels."""
        grid = self.grid.expand(len(images), -1, -1, -1)
        chips = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
        chips = ((chips.clamp(-BOUND, BOUND) + 1) * 127.5 - self.mean) / 256
        x = chips.to(self.last.dtype).contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(F.relu(self.first(x)), 3, 2)
        scales = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.ends:
                scales.append(x)
        return scales

    def descriptors(self, scales: Sequence[Tensor]) -> Tensor:
        """dlib's descriptors [N, 128] from the features of `forward`."""
        return scales[-1].float().mean((2, 3)) @ self.last.float()


class Backbones(nn.Module):
    """The frozen networks that a run looks through: of its judges and its terms. Never trained, never saved."""

    def __init__(self, config: Config, chip: tuple[float, float, float]) -> None:
        super().__init__()
        judging = config.judging
        self.imagenet = ImageNetFeatures(judging) if config.uses_imagenet else None
        self.face = FaceFeatures(judging, chip) if config.uses_face else None
        self.requires_grad_(False).eval()

    def placed(self, device: torch.device, dtype: torch.dtype) -> "Backbones":
        for part in (self.imagenet, self.face):
            if part is not None:
                part.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
                for parameter in part.parameters():
                    parameter.data = parameter.data.to(dtype)
        return self


class Projection(nn.Module):
    """Fixed random mixing: across channels, then across scales, from coarse to fine. The seed makes the weights."""

    def __init__(self, widths: Sequence[int], out: int, seed: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        across_channels, across_scales = [], []
        for wide in widths:
            across_channels.append(torch.randn(out, wide, 1, 1, generator=random) * math.sqrt(2 / wide))
            across_scales.append(torch.randn(out, out, 3, 3, generator=random) * math.sqrt(1 / (9 * out)))
        self.scales = len(widths)
        for number, (channels, scales) in enumerate(zip(across_channels, across_scales, strict=True)):
            self.register_buffer(f"ccm{number}", channels, persistent=False)
            self.register_buffer(f"csm{number}", scales, persistent=False)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        mixed: list[Tensor] = []
        for number in reversed(range(self.scales)):
            x = features[number]
            x = F.conv2d(x, getattr(self, f"ccm{number}").to(x.dtype))
            if mixed:
                x = x + F.interpolate(mixed[-1], x.shape[-2:], mode="nearest")
            mixed.append(F.conv2d(x, getattr(self, f"csm{number}").to(x.dtype), padding=1))
        return mixed[::-1]


class SpectralConv(nn.Module):
    """A convolution by its weight over the weight's largest singular value (Miyato et al. 2018), as `refresh` finds it.

    `refresh` is called once a step, not at each use as in torch's own, so that the real and the generated pass agree
    and a CUDA graph can hold both.
    """

    vector: Tensor
    scale: Tensor

    def __init__(self, wide: int, out: int, kernel_px: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, wide, kernel_px, kernel_px) / math.sqrt(wide * kernel_px**2))
        self.bias = nn.Parameter(torch.zeros(out))
        self.stride = stride
        self.register_buffer("vector", F.normalize(torch.randn(out), dim=0))
        self.register_buffer("scale", torch.ones(()))
        for _ in range(POWER_STEPS):
            self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """One step of the power iteration."""
        matrix = self.weight.flatten(1)  # [out, in * k * k]
        right = F.normalize(matrix.T @ self.vector, dim=0)
        left = matrix @ right
        self.vector.copy_(F.normalize(left, dim=0))
        self.scale.copy_(1 / (self.vector @ left).clamp(min=1e-6))

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight * self.scale).to(x.dtype).contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, weight, self.bias.to(x.dtype), self.stride, padding=1)


def _activation() -> nn.Module:
    return nn.LeakyReLU(SLOPE, inplace=True)


class Head(nn.Module):
    """A small discriminator over one scale: features [N, C, S, S], halved to about 4 px -> logits [N, places]."""

    def __init__(self, wide: int, side_px: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        while side_px > SMALLEST_PX:
            out = min(4 * width, max(width, 2 * wide if wide < 2 * width else wide))
            layers += [SpectralConv(wide, out, 4, 2), _activation()]
            wide, side_px = out, side_px // 2
        layers += [SpectralConv(wide, 2 * width, 3), _activation()]
        self.body = nn.Sequential(*layers)
        self.last = SpectralConv(2 * width, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x)).flatten(1)


class FeatureJudge(nn.Module):
    """A discriminator for each scale of a frozen network's projected features."""

    def __init__(self, shapes: Sequence[tuple[int, int]], settings: Judging, seed: int) -> None:
        super().__init__()
        self.projection = Projection([channels for channels, _ in shapes], settings.projected, seed)
        self.heads = nn.ModuleList(Head(settings.projected, side, settings.width) for _, side in shapes)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        return [head(x) for head, x in zip(self.heads, self.projection(features), strict=True)]


class PixelJudge(nn.Module):
    """A discriminator over patches of the image itself (Isola et al. 2017)."""

    def __init__(self, settings: Judging, size_px: int) -> None:
        super().__init__()
        width = settings.pixels_width
        widths = [3, width, 2 * width, 4 * width, *([4 * width] if size_px > 128 else [])]
        layers: list[nn.Module] = []
        for wide, out in itertools.pairwise(widths):
            layers += [SpectralConv(wide, out, 4, 2), _activation()]
        self.body = nn.Sequential(*layers, SpectralConv(widths[-1], 1, 3))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.body(x).flatten(1)]


PROJECTION_SEEDS = {"imagenet": 1, "face": 2}


class Judges(nn.Module):
    """All judges of a run. Only their discriminators are trained and saved; `backbones` are given."""

    def __init__(self, config: Config, backbones: Backbones, size_px: int) -> None:
        super().__init__()
        settings = config.judging
        self.names = settings.judges if config.terms.judges else ()
        self.over = nn.ModuleDict()
        for name in self.names:
            if name == "pixels":
                self.over[name] = PixelJudge(settings, size_px)
            else:
                shapes = _shapes(getattr(backbones, name), size_px)
                self.over[name] = FeatureJudge(shapes, settings, PROJECTION_SEEDS[name])

    def forward(self, images: Tensor, backbones: Backbones, dtype: torch.dtype) -> list[Tensor]:
        """Images [N, 3, H, H] in [-1, 1] -> each discriminator's logits, float32 [N, places]."""
        logits: list[Tensor] = []
        for name, judge in self.over.items():
            if name == "pixels":
                logits += judge(images.to(dtype).contiguous(memory_format=torch.channels_last))
            else:
                logits += judge(getattr(backbones, name)(images))
        return [one.float() for one in logits]

    @torch.no_grad()
    def refresh(self) -> None:
        """Follow the weights' largest singular values; once after each of the judges' steps."""
        for module in self.modules():
            if isinstance(module, SpectralConv):
                module.refresh()


@torch.no_grad()
def _shapes(backbone: nn.Module, size_px: int) -> list[tuple[int, int]]:
    """Channels and side of each scale of a frozen network."""
    parameter = next(backbone.parameters())
    scales = backbone(torch.zeros(1, 3, size_px, size_px, device=parameter.device))
    return [(x.shape[1], x.shape[2]) for x in scales]
