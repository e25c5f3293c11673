"""LPIPS with VGG16, a perceptual distance of two images.

Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric", arXiv:1801.03924, version
0.1 of the weights. The features are torchvision's VGG16 (Simonyan and Zisserman 2015), trained on ImageNet; the linear
heads are those of the paper. Both files are checked by SHA-256, and random weights are never used instead.
"""

import importlib.util
import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from facemorph.errors import WeightsError
from facemorph.files import sha256
from facemorph.weights import cache
from facemorph.weights.cards import card

VGG_CARD, HEADS_CARD = "vgg16", "lpips-vgg"
# Convolutions of VGG16 by stage, as indices in torchvision's `features`. The outputs of the stages are compared
# (relu1_2, relu2_2, relu3_3, relu4_3, relu5_3), and a pooling follows each.
STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
WIDTHS = (64, 128, 256, 512, 512)
# Mean and std of the channels of images in [-1, 1], as in the published metric.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
LEAST_SQUARE = 1e-20  # lower bound of a feature vector's squared length: a zero vector stays zero
SMALLEST_PX = 16  # side at which the last stage still has a pixel
WITHOUT = "`--loss imagenet` and `--loss pixel` work without it."


class Lpips(nn.Module):
    """The distance of two images, as the squared Euclidean distance of the features that `embed` returns."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        wide = 3
        convolutions = []
        for stage, out in zip(STAGES, WIDTHS, strict=True):
            for _ in stage:
                convolutions.append(nn.Conv2d(wide, out, 3, padding=1))
                wide = out
        self.convolutions = nn.ModuleList(convolutions)
        self.dtype = torch.float32  # of the convolutions
        self.heads = nn.ParameterList(torch.empty(width) for width in WIDTHS)  # squared feature differences' weights
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None])

    def embed(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Images float [N, 3, H, W] in [-1, 1] -> scaled features [N, C, H', W'] of each stage."""
        x = ((images - self.shift) / self.scale).contiguous(memory_format=torch.channels_last)
        x = x.to(self.dtype)
        features = []
        layers = iter(self.convolutions)
        for number, (stage, head) in enumerate(zip(STAGES, self.heads, strict=True)):
            x = F.max_pool2d(x, 2) if number else x
            for _ in stage:
                x = F.relu_(next(layers)(x))
            # Unit length at every position; then the square root of the head's weights and of the spatial mean.
            length = x.float().square().sum(1, keepdim=True).clamp_min(LEAST_SQUARE).rsqrt()  # [N, 1, H', W']
            root = (head / (x.shape[2] * x.shape[3])).sqrt()[:, None, None]
            features.append(x.float() * length * root)
        return features

    def use_bfloat16(self) -> None:
        """Convolve in bfloat16, for CPUs and GPUs that support it. LPIPS stays within about 1 % of float32's."""
        self.convolutions.to(torch.bfloat16)
        self.dtype = torch.bfloat16

    def between(self, first: list[torch.Tensor], second: list[torch.Tensor]) -> torch.Tensor:
        """LPIPS of embedded images: [N]."""
        stages = [(a - b).square().sum((1, 2, 3)) for a, b in zip(first, second, strict=True)]
        return torch.stack(stages).sum(0)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """LPIPS of images float [N, 3, H, W] in [-1, 1]: [N], 0 for equal ones, rarely above 1."""
        return self.between(self.embed(first), self.embed(second))


def load_lpips(vgg: Path | None = None, heads: Path | None = None, device: str | torch.device = "cpu") -> Lpips:
    """LPIPS with published weights, frozen.

    Args:
        vgg: file of torchvision's VGG16; by default the one in the cache of weights.
        heads: file of the linear heads; by default the one in the cache or in an installed package lpips.
        device: where it runs.

    Raises:
        WeightsError: weights are missing (the message says how to get them and where they belong) or are not the
            published ones.
    """
    network = Lpips()
    features = _read(vgg or _find(VGG_CARD), "a VGG16 of torchvision")
    linear = _read(heads or find_heads(), "LPIPS' linear heads")
    layers = [index for stage in STAGES for index in stage]
    try:
        state = {
            f"convolutions.{number}.{kind}": features[f"features.{index}.{kind}"].float()
            for number, index in enumerate(layers)
            for kind in ("weight", "bias")
        }
        state |= {f"heads.{stage}": linear[f"lin{stage}.model.1.weight"].float().flatten() for stage in range(5)}
        network.load_state_dict(state, strict=False)
    except (KeyError, RuntimeError, AttributeError) as error:
        raise WeightsError(f"The weights hold another network than VGG16 with LPIPS' heads: {error}.") from error
    if any((head < 0).any() for head in network.heads):
        raise WeightsError("The heads of LPIPS have a negative weight; the published ones have none.")
    network.eval().requires_grad_(False)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def is_here() -> bool:
    """Can `load_lpips` find both files?"""
    try:
        return cache.state(card(VGG_CARD)) == "ready" and find_heads().is_file()
    except WeightsError:
        return False


def find_heads() -> Path:
    """The file of the linear heads, in the cache or in an installed package lpips.

    Raises:
        WeightsError: it is in neither.
    """
    if cache.state(card(HEADS_CARD)) == "ready":
        return cache.find_file(HEADS_CARD)
    spec = importlib.util.find_spec("lpips")
    for folder in spec.submodule_search_locations or [] if spec else []:
        path = Path(folder, "weights", "v0.1", "vgg.pth")
        if path.is_file() and sha256(path) == card(HEADS_CARD).sha256:
            return path
    return _find(HEADS_CARD)


def _find(name: str) -> Path:
    """The file of a card, checked by SHA-256.

    Raises:
        WeightsError: it is missing, or is not the published file.
    """
    known = card(name)
    try:
        path = cache.find_file(name)
    except WeightsError as error:
        place = f"It belongs to {cache.published_path(known)}."
        raise WeightsError(
            f"{error.problem} The perceptual loss needs them.", f"{error.hint}\n{place} {WITHOUT}"
        ) from None
    found = sha256(path)
    if found != known.sha256:
        raise WeightsError(
            f"{path} has the SHA-256 {found}; the published {known.file} has {known.sha256}.",
            f"Delete it and fetch it again: facemorph weights fetch {name}\n{WITHOUT}",
        )
    return path


def _read(path: Path, expected: str) -> dict[str, torch.Tensor]:
    """A state dictionary; no code in the file is run."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{path} cannot be read as {expected}: {str(error)[:200]}", WITHOUT) from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path} holds a {type(state).__name__}; {expected} was expected.", WITHOUT)
    return state
