"""Differentiable augmentation of D's input, real and generated images alike (Zhao et al. 2020), for small data sets.

D is never given an image unchanged, so it cannot memorise the data. The gradient passes through, so G still learns to
generate images that are right before the change. Written with few passes over the images: on a CPU memory traffic, not
arithmetic, is the cost.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from facemorph.dcgan.config import Training


@dataclass(frozen=True)
class AugmentSampler:
    """Random numbers for a batch of `total` images, of which this process works on those of `part`.

    They are drawn for the whole batch, so that an image's changes do not depend on how many processes share it.
    With `strength`, a tensor [] in 0..1, each kind of change is applied to that fraction of the images.
    """

    random: torch.Generator
    total: int
    part: slice = field(default_factory=lambda: slice(None))
    strength: Tensor | None = None

    def uniform(self, *leading: int) -> Tensor:
        """0..1, [*leading, N, 1, 1, 1]."""
        numbers = torch.rand(*leading, self.total, 1, 1, 1, generator=self.random, device=self.random.device)
        return numbers[..., self.part, :, :, :]

    def integers(self, low: int, high: int) -> Tensor:
        """Whole numbers low..high, both included, [N, 1, 1]."""
        shape = (self.total, 1, 1)
        return torch.randint(low, high + 1, shape, generator=self.random, device=self.random.device)[self.part]

    def coin(self, fraction: float) -> Tensor:
        """True for that fraction of the images, [N, 1, 1]."""
        numbers = torch.rand(self.total, 1, 1, generator=self.random, device=self.random.device)
        return numbers[self.part] < fraction

    def applied(self, like: Tensor) -> Tensor | None:
        """Whether each image is changed, 0 or 1 in the shape and type of `like`; None if all are."""
        if self.strength is None:
            return None
        numbers = torch.rand(self.total, generator=self.random, device=self.random.device)[self.part]
        return (numbers < self.strength).to(like.dtype).view(-1, *(1,) * (like.dim() - 1))


def _color(images: Tensor, cfg: Training, sampler: AugmentSampler) -> Tensor:
    """Brightness +-0.5, saturation x 0..2, contrast x 0.5..1.5.

    Brightness b, saturation s and contrast c in one: with grey the mean over the channels and level the mean over the
    image, c (s (x - grey) + grey - level) + level + b = c s x + c (1 - s) grey + (1 - c) level + b.
    """
    b, s, c = sampler.uniform(3)  # each [N, 1, 1, 1]
    b, s, c = b - 0.5, 2 * s, c + 0.5
    applied = sampler.applied(b)
    if applied is not None:
        b, s, c = b * applied, 1 + (s - 1) * applied, 1 + (c - 1) * applied
    grey = images.mean(1, keepdim=True)  # [N, 1, H, W]
    level = grey.mean((2, 3), keepdim=True)  # [N, 1, 1, 1]
    return torch.addcmul(c * (1 - s) * grey + ((1 - c) * level + b), c * s, images)


def _shift_and_flip(images: Tensor, cfg: Training, sampler: AugmentSampler) -> Tensor:
    """shift: by up to `cfg.shift` of the side each way, with zeros (mid-grey) at the border. flip: the fraction
    `cfg.flip` of the images is mirrored.

    Both as products with a matrix of zeros and ones on either side: exact, and quick to differentiate.
    """
    n, _, height, width = images.shape
    device = images.device
    shift, flip = cfg.shift * ("shift" in cfg.augment), cfg.flip * ("flip" in cfg.augment)
    far_y, far_x = round(height * shift), round(width * shift)
    dy = sampler.integers(-far_y, far_y)
    dx = sampler.integers(-far_x, far_x)
    mirrored = sampler.coin(flip) if flip else None
    if shift and (applied := sampler.applied(dy)) is not None:
        dy, dx = dy * applied, dx * applied
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    rows = (y.view(1, -1, 1) + dy == y.view(1, 1, -1)).to(images.dtype)  # [N, H to, H from]
    source = (x.view(1, 1, -1) + dx).expand(n, 1, width)  # column from, by column to
    if mirrored is not None:
        if (applied := sampler.applied(mirrored)) is not None:
            mirrored = mirrored & applied
        source = torch.where(mirrored, width - 1 - source, source)
    columns = (source == x.view(1, -1, 1)).to(images.dtype)  # [N, W from, W to]
    return rows.unsqueeze(1) @ images @ columns.unsqueeze(1)  # [N, 3, H, W]


def _cutout(images: Tensor, cfg: Training, sampler: AugmentSampler) -> Tensor:
    """A square of `cfg.cutout` of the side becomes grey, its centre anywhere."""
    height, width = images.shape[2:]

    def inside(side: int) -> Tensor:
        length = round(side * cfg.cutout)
        first = sampler.integers(0, side) - length // 2  # [N, 1, 1]
        at = torch.arange(side, device=images.device).view(1, 1, -1)
        return ((at >= first) & (at < first + length)).to(images.dtype)  # [N, 1, side]

    rows, columns = inside(height), inside(width)
    applied = sampler.applied(rows)
    if applied is not None:
        rows = rows * applied
    return images * (1 - rows.unsqueeze(3) * columns.unsqueeze(2))  # [N, 3, H, W]


Augmentation = Callable[[Tensor, Training, AugmentSampler], Tensor]

# The values of training.augment, in the order in which they are applied; names with one function are applied together.
# To add one: its name in config.AUGMENTATIONS, its function here, and a test.
AUGMENTATIONS: dict[str, Augmentation] = {
    "color": _color,
    "shift": _shift_and_flip,
    "flip": _shift_and_flip,
    "cutout": _cutout,
}


def augment(images: Tensor, cfg: Training, sampler: AugmentSampler) -> Tensor:
    """Change each image [N, 3, H, W] in -1..1 at random, by what `cfg.augment` names; float32 in and out."""
    for change in dict.fromkeys(change for name, change in AUGMENTATIONS.items() if name in cfg.augment):
        images = change(images, cfg, sampler)
    return images


def adapt(strength: Tensor, on_real: Tensor, cfg: Training, mean: Callable[[Tensor], Tensor], count: int) -> None:
    """Move the fraction of augmented images, in place, so that D's overfitting comes to its target (Karras et al.
    2020a, section 3): r_t = E[sign D(x)] over the real images, 1 if D recognises them all and 0 if it cannot tell.

    Done at every step, by `count` over `cfg.adaptive_images`; in the paper every four steps, at the same speed.
    """
    overfitting = mean(on_real.detach().sign().mean())
    strength.add_((overfitting - cfg.adaptive).sign() * (count / cfg.adaptive_images)).clamp_(0, 1)
