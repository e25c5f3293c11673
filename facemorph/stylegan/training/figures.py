"""Figures at intervals: how near generated faces are to real ones, and how well held-out faces are reconstructed."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from facemorph.faces.likeness import likeness_of_aligned
from facemorph.images import to_tensor, to_uint8
from facemorph.metrics.distributions import frechet, mean_distance
from facemorph.metrics.imagenet_features import FeatureDistance, load_efficientnet
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.encoder import Encoder
from facemorph.stylegan.training.run import FIGURES

DRAWN_SEED = 7  # of the noise that all figures and grids are drawn from
TOGETHER = 16  # images at a time


class FigureTaker:
    """Compares with `count` of the real faces at most; their features are computed once.

    Args:
        real, held: uint8 [N, 3, H, H]; `chip`: the place of the face in them (`Alignment.chip`).
    """

    def __init__(
        self, real: np.ndarray, held: np.ndarray, chip: tuple[float, float, float], count: int, device: torch.device
    ) -> None:
        chosen = np.linspace(0, len(real) - 1, min(count, len(real))).astype(int)
        self.device, self.count = device, count
        self.imagenet = load_efficientnet(str(device))
        self.likeness = likeness_of_aligned(chip).to(device)
        self.distance = FeatureDistance(self.imagenet)
        self.real = self.features(real[chosen].transpose(0, 2, 3, 1))
        self.held = np.ascontiguousarray(held.transpose(0, 2, 3, 1))

    def features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of uint8 RGB [N, H, H, 3]: dlib's descriptors [N, 128] and ImageNet features [N, 320]."""
        descriptors = self._each(images, self.likeness)
        return descriptors.double().cpu().numpy(), self.imagenet.describe(images)

    @torch.no_grad()
    def _each(self, images: np.ndarray, network: Callable[[Tensor], Tensor]) -> Tensor:
        parts = range(0, len(images), TOGETHER)
        return torch.cat([network(to_tensor(images[at : at + TOGETHER]).to(self.device)) for at in parts])

    @torch.no_grad()
    def take(self, generator: Generator, encoder: Encoder | None) -> dict[str, float]:
        """The figures, by their names in `FIGURES`; NaN where they cannot be measured, as without an encoder."""
        found: dict[str, float] = {name: float("nan") for name in FIGURES}
        drawn = self.features(draw_faces(generator, self.count))
        if len(self.real[0]) > 1:
            for name, ours, real in zip(("faces", "imagenet"), drawn, self.real, strict=True):
                found[f"frechet_{name}"] = frechet(ours, real)
            spread = mean_distance(self.real[1])
            found["diversity"] = mean_distance(drawn[1]) / spread if spread else float("nan")
        if encoder is not None and len(self.held):
            found |= self.rebuilding(generator, encoder)
        return found

    @torch.no_grad()
    def rebuilding(self, generator: Generator, encoder: Encoder) -> dict[str, float]:
        """How held-out faces come out: squared difference of pixels, distance of ImageNet features, descriptors'
        distance in the median."""
        pixels, features, descriptors = [], [], []
        for at in range(0, len(self.held), TOGETHER):
            real = to_tensor(self.held[at : at + TOGETHER]).to(self.device)
            made = generator.synthesize(encoder(real).float()).clamp(-1, 1)
            pixels.append((made - real).square().mean((1, 2, 3)))
            features.append(self.distance(made, real))
            descriptors.append((self.likeness(made) - self.likeness(real)).square().sum(1).sqrt())
        return {
            "rebuilt_pixels": float(torch.cat(pixels).mean()),
            "rebuilt_features": float(torch.cat(features).mean()),
            "rebuilt_descriptor": float(torch.cat(descriptors).median()),
        }


@torch.no_grad()
def draw_faces(generator: Generator, count: int, psi: float | None = 1.0) -> np.ndarray:
    """Always the same `count` faces, not truncated unless `psi` says so: uint8 RGB [N, H, H, 3]."""
    random = np.random.RandomState(DRAWN_SEED)
    z = torch.from_numpy(random.randn(count, generator.architecture.latent_size).astype(np.float32))
    parts = [generator(part.to(generator.w_avg.device), psi=psi) for part in z.split(TOGETHER)]
    return np.concatenate([to_uint8(part) for part in parts])


@torch.no_grad()
def rebuild_faces(generator: Generator, encoder: Encoder, faces: np.ndarray) -> np.ndarray:
    """What encoder and generator make of uint8 RGB [N, H, H, 3]: the same shape."""
    made = []
    for at in range(0, len(faces), TOGETHER):
        x = to_tensor(faces[at : at + TOGETHER]).to(generator.w_avg.device)
        made.append(to_uint8(generator.synthesize(encoder(x).float())))
    return np.concatenate(made)
