"""Differentiable augmentation of what D sees, real and fake alike (Zhao et al. 2020), so that few faces suffice.

Since D never sees an image as it is, it cannot learn them by heart; since the gradient flows through, G still learns
to make images that are right before the change. Written with few passes over the images: on a CPU they,
not the arithmetic, are the cost.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from facemorph.dcgan.config import Training


@dataclass(frozen=True)
class AugmentSampler:
    """Draws for a batch of `total` images, of which this process works on those of `part`.

    All are drawn and the part is taken, so that an image's changes do not depend on how many processes share a batch.
    With `strength`, a tensor [] in 0..1, each kind of change happens to that share of the images.
    """

    random: torch.Generator
    total: int
    part: slice = field(default_factory=lambda: slice(None))
    strength: Tensor | None = None

    def uniform(self, *leading: int) -> Tensor:
        """0..1, [*leading, N, 1, 1, 1]."""
        drawn = torch.rand(*leading, self.total, 1, 1, 1, generator=self.random, device=self.random.device)
        return drawn[..., self.part, :, :, :]

    def whole(self, low: int, high: int) -> Tensor:
        """Whole numbers low..high, both included, [N, 1, 1]."""
        shape = (self.total, 1, 1)
        return torch.randint(low, high + 1, shape, generator=self.random, device=self.random.device)[self.part]

    def coin(self, share: float) -> Tensor:
        """True for so many, [N, 1, 1]."""
        drawn = torch.rand(self.total, 1, 1, generator=self.random, device=self.random.device)
        return drawn[self.part] < share

    def happens(self, like: Tensor) -> Tensor | None:
        """Whether each image is changed, 0 or 1 in the shape and type of `like`; None where all are."""
        if self.strength is None:
            return None
        drawn = torch.rand(self.total, generator=self.random, device=self.random.device)[self.part]
        return (drawn < self.strength).to(like.dtype).view(-1, *(1,) * (like.dim() - 1))


def augment(images: Tensor, hyper: Training, chance: AugmentSampler) -> Tensor:
    """Change each image [N, 3, H, W] in -1..1 by chance, as `hyper.augment` names it; float32 in and out.

    color: brightness +-0.5, saturation x 0..2, contrast x 0.5..1.5. shift: by up to `hyper.shift` of the side each
    way, zeros (mid-grey) where nothing is. flip: left and right, so many as `hyper.flip` says. cutout: a square of
    `hyper.cutout` of the side is grey, its centre anywhere.
    """
    names = hyper.augment
    if "color" in names:
        images = _color(images, chance)
    if "shift" in names or "flip" in names:
        share, mirrored = hyper.shift * ("shift" in names), hyper.flip * ("flip" in names)
        images = _move(images, share, mirrored, chance)
    if "cutout" in names:
        images = _cut(images, hyper.cutout, chance)
    return images


def _color(images: Tensor, chance: AugmentSampler) -> Tensor:
    """Brightness b, saturation s and contrast c in one: with grey the mean over the channels and level the mean over
    the image, c (s (x - grey) + grey - level) + level + b = c s x + c (1 - s) grey + (1 - c) level + b."""
    b, s, c = chance.uniform(3)  # each [N, 1, 1, 1]
    b, s, c = b - 0.5, 2 * s, c + 0.5
    happens = chance.happens(b)
    if happens is not None:
        b, s, c = b * happens, 1 + (s - 1) * happens, 1 + (c - 1) * happens
    grey = images.mean(1, keepdim=True)  # [N, 1, H, W]
    level = grey.mean((2, 3), keepdim=True)  # [N, 1, 1, 1]
    return torch.addcmul(c * (1 - s) * grey + ((1 - c) * level + b), c * s, images)


def _move(images: Tensor, share: float, flip: float, chance: AugmentSampler) -> Tensor:
    """Shift and flip as products with a matrix of zeros and ones on either side: exact, and quick to differentiate."""
    n, _, height, width = images.shape
    device = images.device
    far_y, far_x = round(height * share), round(width * share)
    dy = chance.whole(-far_y, far_y)
    dx = chance.whole(-far_x, far_x)
    mirrored = chance.coin(flip) if flip else None
    if share and (happens := chance.happens(dy)) is not None:
        dy, dx = dy * happens, dx * happens
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    rows = (y.view(1, -1, 1) + dy == y.view(1, 1, -1)).to(images.dtype)  # [N, H to, H from]
    source = (x.view(1, 1, -1) + dx).expand(n, 1, width)  # column from, by column to
    if mirrored is not None:
        if (happens := chance.happens(mirrored)) is not None:
            mirrored = mirrored & happens
        source = torch.where(mirrored, width - 1 - source, source)
    columns = (source == x.view(1, -1, 1)).to(images.dtype)  # [N, W from, W to]
    return rows.unsqueeze(1) @ images @ columns.unsqueeze(1)  # [N, 3, H, W]


def _cut(images: Tensor, share: float, chance: AugmentSampler) -> Tensor:
    height, width = images.shape[2:]

    def inside(side: int) -> Tensor:
        length = round(side * share)
        first = chance.whole(0, side) - length // 2  # [N, 1, 1]
        at = torch.arange(side, device=images.device).view(1, 1, -1)
        return ((at >= first) & (at < first + length)).to(images.dtype)  # [N, 1, side]

    rows, columns = inside(height), inside(width)
    happens = chance.happens(rows)
    if happens is not None:
        rows = rows * happens
    return images * (1 - rows.unsqueeze(3) * columns.unsqueeze(2))  # [N, 3, H, W]


def adapt(strength: Tensor, on_real: Tensor, hyper: Training, mean: Callable[[Tensor], Tensor], count: int) -> None:
    """Move the share of augmented images, in place, towards D's overfitting being at its target (Karras et al. 2020a,
    section 3): r_t = E[sign D(x)] over the real images, 1 where D knows them all and 0 where it cannot tell.

    At every step, by what `count` images are of `hyper.adaptive_images`; there it is every four steps, by as much.
    """
    overfitting = mean(on_real.detach().sign().mean())
    strength.add_((overfitting - hyper.adaptive).sign() * (count / hyper.adaptive_images)).clamp_(0, 1)
