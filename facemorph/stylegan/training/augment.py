"""What the judges see is changed, differentiably and at random: colour, shift, cutout (Zhao et al. 2020).

No step asks the device for a number, so that a CUDA graph can hold it.
"""

import torch
from torch import Tensor

SHIFT, CUTOUT = 1 / 8, 1 / 2  # shares of the side: the largest shift; the side of the square that is cut out
CUT_FRACTION = 0.5  # of the images


def augment(images: Tensor) -> Tensor:
    """Images [N, 3, H, H], real and generated alike -> changed ones, each in its own way."""
    return _cut(_shift(_colour(images)))


def _uniform(images: Tensor) -> Tensor:
    return torch.rand(len(images), 1, 1, 1, device=images.device)


def _colour(images: Tensor) -> Tensor:
    """Brightness -0.5 to 0.5, saturation 0 to 2, contrast 0.5 to 1.5."""
    images = images + (_uniform(images) - 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (2 * _uniform(images)) + grey
    level = images.mean((1, 2, 3), keepdim=True)
    return (images - level) * (_uniform(images) + 0.5) + level


def _places(images: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of every pixel: [1, H, 1] and [1, 1, W]."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device)[None, :, None]
    return rows, torch.arange(width, device=images.device)[None, None, :]


def _shift(images: Tensor) -> Tensor:
    """By up to an eighth of the side; zeros come in."""
    count, channels, height, width = images.shape
    most = max(1, round(SHIFT * height))
    down, right = (torch.randint(-most, most + 1, (count, 1, 1), device=images.device) for _ in range(2))
    rows, columns = _places(images)
    rows, columns = rows + down, columns + right
    inside = ((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width))[:, None]
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)  # [N, H, W]
    index = index.reshape(count, 1, height * width).expand(-1, channels, -1)
    return images.flatten(2).gather(2, index).unflatten(2, (height, width)) * inside


def _cut(images: Tensor) -> Tensor:
    """A square is grey, in half of the images."""
    count, _, height, width = images.shape
    y, x = (torch.randint(0, height, (count, 1, 1), device=images.device) for _ in range(2))
    chosen = torch.rand(count, 1, 1, device=images.device) < CUT_FRACTION
    rows, columns = _places(images)
    half = CUTOUT / 2
    cut = ((rows - y).abs() < half * height) & ((columns - x).abs() < half * width) & chosen
    return images * ~cut[:, None]
