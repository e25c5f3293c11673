"""Differentiable augmentation of what D sees, real and fake alike (Zhao et al. 2020), so that few faces suffice.

Since D never sees a picture as it is, it cannot learn them by heart; since the gradient flows through, G still learns
to make pictures that are right before the change. Written with few passes over the pictures: on a processor they,
not the arithmetic, are the cost.
"""

import torch
from torch import Tensor


def augment(images: Tensor, names: tuple[str, ...], shift: float, random: torch.Generator) -> Tensor:
    """Change each picture [N, 3, H, W] in -1..1 by chance: any of color, shift, flip.

    color: brightness +-0.5, saturation x 0..2, contrast x 0.5..1.5. shift: by up to `shift` of the side each way, zeros
    (mid-grey) where nothing is. flip: left and right, every other picture. float32 in and out.
    """
    if "color" in names:
        images = _color(images, random)
    if "shift" in names or "flip" in names:
        images = _move(images, shift if "shift" in names else 0.0, "flip" in names, random)
    return images


def _color(images: Tensor, random: torch.Generator) -> Tensor:
    """Brightness b, saturation s and contrast c in one: with grey the mean over the channels and level the mean over
    the picture, c (s (x - grey) + grey - level) + level + b = c s x + c (1 - s) grey + (1 - c) level + b."""
    b, s, c = torch.rand(3, len(images), 1, 1, 1, generator=random, device=images.device)
    b, s, c = b - 0.5, 2 * s, c + 0.5
    grey = images.mean(1, keepdim=True)  # [N, 1, H, W]
    level = grey.mean((2, 3), keepdim=True)  # [N, 1, 1, 1]
    return torch.addcmul(c * (1 - s) * grey + ((1 - c) * level + b), c * s, images)


def _move(images: Tensor, share: float, flip: bool, random: torch.Generator) -> Tensor:
    """Shift and flip as products with a matrix of zeros and ones on either side: exact, and quick to differentiate."""
    n, _, height, width = images.shape
    device = images.device
    dy = _shifts(n, round(height * share), random)
    dx = _shifts(n, round(width * share), random)
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    rows = (y.view(1, -1, 1) + dy == y.view(1, 1, -1)).to(images.dtype)  # [N, H to, H from]
    source = (x.view(1, 1, -1) + dx).expand(n, 1, width)  # column from, by column to
    if flip:
        mirrored = torch.rand(n, 1, 1, generator=random, device=device) < 0.5
        source = torch.where(mirrored, width - 1 - source, source)
    columns = (source == x.view(1, -1, 1)).to(images.dtype)  # [N, W from, W to]
    return rows.unsqueeze(1) @ images @ columns.unsqueeze(1)  # [N, 3, H, W]


def _shifts(count: int, far: int, random: torch.Generator) -> Tensor:
    return torch.randint(-far, far + 1, (count, 1, 1), generator=random, device=random.device)
