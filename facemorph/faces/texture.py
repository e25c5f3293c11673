"""The texture of an average: wavelet detail with the strength that it has in the members.

An average of pixels loses detail that differs from face to face. As in Tiddeman, Burt and Perrett 2001 (IEEE Computer
Graphics and Applications 21), each band of an undecimated wavelet decomposition of the average is multiplied, place by
place, so that its mean magnitude around there is the members' mean magnitude.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BANDS = 7  # of 1 to 64 pixels
WINDOW = 2.0  # std of the Gaussian in which magnitudes are compared, in pixels of the band
MOST = 8.0  # a gain above it is noise
FLOOR = 0.03  # grey levels: weaker detail is not raised


def bands_of(image: "torch.Tensor", count: int = BANDS) -> "list[torch.Tensor]":
    """An image [1, C, H, W] as `count` bands from fine to coarse, and what is left; their sum is the image."""
    bands, rest = [], image
    for level in range(count):
        smooth = _spline(rest, 2**level)
        bands.append(rest - smooth)
        rest = smooth
    return [*bands, rest]


def _spline(image: "torch.Tensor", step: int) -> "torch.Tensor":
    """The cubic B-spline filter (1, 4, 6, 4, 1) / 16 with holes of `step` pixels (Starck and Murtagh's a trous)."""
    from torch.nn import functional as F

    for axis in (2, 3):
        length, pad = image.shape[axis], 2 * step
        edges = (pad, pad, 0, 0) if axis == 3 else (0, 0, pad, pad)
        wide = F.pad(image, edges, mode="reflect" if length > pad else "replicate")
        taps = [wide.narrow(axis, k * step, length) for k in range(5)]
        image = ((taps[0] + taps[4]) + 4 * (taps[1] + taps[3]) + 6 * taps[2]) / 16
    return image


def local_mean(image: "torch.Tensor", std_px: float) -> "torch.Tensor":
    """A Gaussian blur [1, C, H, W]; wide ones are computed on a reduced image."""
    import torch
    from torch.nn import functional as F

    height, width = image.shape[2:]
    factor = 1
    while std_px / factor > 4 and min(height, width) // (2 * factor) > 8:
        factor *= 2
    small = F.avg_pool2d(image, factor, ceil_mode=True, count_include_pad=False) if factor > 1 else image
    std = std_px / factor
    reach = min(int(3 * std + 1), min(small.shape[2:]) - 1)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * std * std)).to(small)
    kernel = (kernel / kernel.sum()).repeat(small.shape[1], 1, 1, 1)
    small = F.conv2d(F.pad(small, (reach, reach, 0, 0), mode="replicate"), kernel, groups=small.shape[1])
    small = F.conv2d(
        F.pad(small, (0, 0, reach, reach), mode="replicate"), kernel.transpose(2, 3), groups=small.shape[1]
    )
    if factor == 1:
        return small
    large = F.interpolate(small, scale_factor=factor, mode="bilinear", align_corners=False)
    return large[..., :height, :width]


class Texture:
    """Collects the magnitudes of the members' bands, and gives them to their average."""

    def __init__(self) -> None:
        self.total = 0.0
        self.magnitudes: list[torch.Tensor] = []

    def add(self, image: "torch.Tensor", weight: float = 1.0) -> None:
        """A member [1, C, H, W], in the shape of the average; levels 0 to 255."""
        found = [band.abs_().mul_(weight) for band in bands_of(image)[:-1]]
        for sum_, one in zip(self.magnitudes, found, strict=False):
            sum_.add_(one)
        self.magnitudes = self.magnitudes or found
        self.total += weight

    def give(self, average: "torch.Tensor", amount: float = 1.0) -> "torch.Tensor":
        """The average [1, C, H, W] with the members' texture; `amount` 0 leaves it."""
        *bands, image = bands_of(average)
        for level, (band, magnitude) in enumerate(zip(bands, self.magnitudes, strict=True)):
            std_px = WINDOW * 2**level
            wanted, there = local_mean(magnitude / self.total, std_px), local_mean(band.abs(), std_px)
            gain = (wanted / (there + FLOOR)).clamp(1 / MOST, MOST)
            image = image + band * (1 + amount * (gain - 1))
        return image.clamp(0, 255)
