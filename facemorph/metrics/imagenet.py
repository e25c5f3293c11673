"""Features of pictures by torchvision's VGG16, trained on ImageNet: what a network for seeing makes of them.

VGG16 (Simonyan and Zisserman 2015), since its published weights have a hash that two sources agree on. Frechet
distances over it are not those of papers that use Inception.
"""

import pickle
from pathlib import Path

import numpy as np
import torch
from torch import nn

from facemorph import weights
from facemorph.errors import WeightsError
from facemorph.files import sha256
from facemorph.images import to_tensor
from facemorph.progress import bar

CARD = "vgg16"
SEEN_PX = 224  # side at which the network was trained
BATCH = 16
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels, pictures in 0..1


class Vgg16(nn.Module):
    """Pictures float [N, 3, H, W] in [-1, 1] -> the mean over places of its last convolutions: [N, 512]."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import vgg16

        with torch.device("meta"):  # 500 MB of classifier that is not wanted
            self.layers = vgg16(init_weights=False).features
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None])

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        size = (SEEN_PX, SEEN_PX)
        x = nn.functional.interpolate(pictures, size, mode="bicubic", align_corners=False, antialias=True).clamp(-1, 1)
        x = self.layers(((x + 1) / 2 - self.mean) / self.deviation)  # [N, 512, 7, 7]
        return x.mean((2, 3))

    @torch.inference_mode()
    def describe(self, images: np.ndarray, *, show: bool = False) -> np.ndarray:
        """Pictures uint8 RGB [N, H, W, 3] -> float64 [N, 512]."""
        found = []
        with bar(show, total=len(images), unit=" pictures", description="VGG16") as progress:
            for start in range(0, len(images), BATCH):
                batch = to_tensor(images[start : start + BATCH]).to(self.mean.device)
                found.append(self(batch).double().cpu().numpy())
                progress.update(len(batch))
        return np.concatenate(found)


def load_vgg16(path: Path | None = None, device: str = "cpu") -> Vgg16:
    """The network with the published weights: from the cache by default, checked by their hash.

    Raises:
        WeightsError: they are not here (the message says how to get them), or are not the published ones.
    """
    file = path or weights.find_file(CARD)
    if path is None and sha256(file) != weights.card(CARD).sha256:
        raise WeightsError(f"{file} is not the published file.", f"Delete it, then: facemorph weights fetch {CARD}")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        layers = {
            name.removeprefix("features."): value for name, value in state.items() if name.startswith("features.")
        }
        network = Vgg16()
        network.layers.load_state_dict(layers, assign=True)
    except (OSError, RuntimeError, ValueError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{file} cannot be read as a VGG16 of torchvision: {str(error)[:200]}") from error
    return network.eval().requires_grad_(False).to(device)
