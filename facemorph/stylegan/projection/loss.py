"""The loss of a projection: how far generated images are from the targets, term by term."""

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

from facemorph.faces.likeness import Likeness
from facemorph.metrics.image_quality import MultiScaleSimilarity, ms_ssim
from facemorph.metrics.imagenet_features import FeatureDistance
from facemorph.metrics.lpips import Lpips
from facemorph.stylegan.projection.config import ProjectionTerms

SMALLEST_PX = 8  # of the pyramid on which pixels are compared


class ProjectionLoss:
    """The loss of N images against N targets, each by itself.

    What a mask leaves out is taken from the target before anything is compared, so that no term sees it.

    Args:
        targets: float [N, 3, R, R] in [-1, 1].
        terms: weights.
        size_px: images are compared at this side at most.
        masks: float [N, 1, R, R] in [0, 1], or None for all ones.
        perceptual: LPIPS, or the ImageNet features that stand in for it; None leaves that term out.
        likeness: at the targets' faces; None leaves the identity term out.
    """

    def __init__(
        self,
        targets: torch.Tensor,
        terms: ProjectionTerms,
        size_px: int,
        masks: torch.Tensor | None = None,
        perceptual: Lpips | FeatureDistance | None = None,
        likeness: Likeness | None = None,
    ) -> None:
        self.terms, self.likeness = terms, likeness
        self.perceptual_name = "lpips" if isinstance(perceptual, Lpips) else "features"  # of the term
        self.perceptual = perceptual if getattr(terms, self.perceptual_name) else None
        self.factor = max(1, targets.shape[2] // size_px)
        self.targets = self.reduce(targets)
        self.masks = None if masks is None else self.reduce(masks)
        with torch.no_grad():
            self.features = None if self.perceptual is None else self.perceptual.embed(self.targets)
            self.descriptors = likeness(self.targets) if likeness is not None and terms.identity else None
            self.pyramid = pyramid(self.targets)

    def reduce(self, images: torch.Tensor) -> torch.Tensor:
        """To the size at which they are compared, by means over squares."""
        return F.avg_pool2d(images, self.factor) if self.factor > 1 else images

    @cached_property
    def similarity(self) -> MultiScaleSimilarity:
        """MS-SSIM to the targets."""
        return MultiScaleSimilarity(self.targets)

    def weighted_terms(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Weighted terms by name, [N] each, of images [N, 3, R, R]; what weighs nothing is left out."""
        x = self._masked(self.reduce(images), slice(None))
        found = self._cheap_terms(x, slice(None))
        if self.features is not None and self.perceptual is not None:
            weight = getattr(self.terms, self.perceptual_name)
            found[self.perceptual_name] = weight * self.perceptual.between(self.perceptual.embed(x), self.features)
        if self.descriptors is not None and self.likeness is not None:
            found["identity"] = self.terms.identity * (self.likeness(x) - self.descriptors).square().sum(1)
        return found

    def rank(self, reduced: torch.Tensor, index: int) -> torch.Tensor:
        """How far each of K reduced images [K, 3, r, r] is from target `index`, without any network: [K]."""
        one = slice(index, index + 1)
        return torch.stack(list(self._cheap_terms(self._masked(reduced, one), one).values())).sum(0)

    def _masked(self, x: torch.Tensor, which: slice) -> torch.Tensor:
        if self.masks is None:
            return x
        return torch.lerp(self.targets[which].expand_as(x), x, self.masks[which])

    def _cheap_terms(self, x: torch.Tensor, which: slice) -> dict[str, torch.Tensor]:
        weights = {name: getattr(self.terms, name) for name in CHEAP_TERMS}
        return {name: weight * CHEAP_TERMS[name](self, x, which) for name, weight in weights.items() if weight}


def pyramid(x: torch.Tensor) -> list[torch.Tensor]:
    """An image and its halves down to `SMALLEST_PX`: a coarse one tells the way where a fine one does not."""
    levels = [x]
    while levels[-1].shape[2] >= 2 * SMALLEST_PX:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


def log_cosh(difference: torch.Tensor) -> torch.Tensor:
    """Squared for small differences, absolute for large ones: mean over all but the first axis, [N]."""
    size = difference.abs()
    return (size + F.softplus(-2 * size) - math.log(2)).mean((1, 2, 3))


def pixel_term(loss: ProjectionLoss, x: torch.Tensor, which: slice) -> torch.Tensor:
    """Log-cosh of the difference, mean over a pyramid of sizes."""
    levels = [log_cosh(a - b[which]) for a, b in zip(pyramid(x), loss.pyramid, strict=True)]
    return torch.stack(levels).mean(0)


def ms_ssim_term(loss: ProjectionLoss, x: torch.Tensor, which: slice) -> torch.Tensor:
    """1 - MS-SSIM."""
    if which == slice(None):
        return 1 - loss.similarity(x)
    return 1 - ms_ssim(x, loss.targets[which].expand_as(x))


# Terms that need no network, by the name of their weight in `ProjectionTerms`: images [N, 3, r, r] -> [N]. The targets
# are `loss.targets[which]`. A start among samples is chosen by them.
CHEAP_TERMS: dict[str, Callable[[ProjectionLoss, torch.Tensor, slice], torch.Tensor]] = {
    "pixels": pixel_term,
    "ms_ssim": ms_ssim_term,
}


def noise_correlation(maps: list[torch.Tensor]) -> torch.Tensor:
    """How much noise maps [N, 1, H, W] hold of an image: [N].

    Squared mean product of neighbours, across and down, at every size to 8 px (Karras et al. 2020, appendix D).
    """
    found = []
    for noise in maps:
        while True:
            found += [(noise * noise.roll(1, axis)).mean((1, 2, 3)).square() for axis in (2, 3)]
            if noise.shape[2] <= SMALLEST_PX:
                break
            noise = F.avg_pool2d(noise, 2)
    return torch.stack(found).sum(0)


def mask_tensor(masks: list[np.ndarray], device: torch.device) -> torch.Tensor | None:
    """Masks float32 [R, R] each -> [N, 1, R, R]; None where they leave nothing out."""
    if all(mask.min() >= 1 for mask in masks):
        return None
    return torch.from_numpy(np.stack(masks)[:, None]).to(device)
