"""The texture of an average: wavelet detail with the strength that it has in the members.

An average of pixels loses detail that differs from face to face. As in Tiddeman, Burt and Perrett 2001 (IEEE Computer
Graphics and Applications 21), each band of an undecimated wavelet decomposition of the average is multiplied, place by
place, so that its mean magnitude around there is the members' mean magnitude. A band holds the detail of one size,
across or down. Brightness alone is treated; colours are the members' mean.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BANDS = 7  # of 1 to 64 pixels
WINDOW = 2.0  # std of the Gaussian in which magnitudes are compared, in pixels of the band
STEADY = 1 / 42  # of the side of the image: at least so wide, since few pixels give no steady mean of a fine band
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue
MOST = 8.0  # a gain above it is noise
FLOOR = 0.03  # grey levels: weaker detail is not raised


def bands_of(image: "torch.Tensor", count: int = BANDS) -> "list[torch.Tensor]":
    """An image [1, C, H, W] as bands, and what is left; their sum is the image.

    From fine to coarse there are two of each of `count` sizes: the detail across, then the detail down.
    """
    bands, rest = [], image
    for level in range(count):
        across, down = _spline(rest, 2**level, 3), _spline(rest, 2**level, 2)
        both = _spline(across, 2**level, 2)
        # (1 - X)(1 + Y) / 2 and (1 - Y)(1 + X) / 2 of the smoothings X and Y; their sum is 1 - XY.
        bands += [(rest - across + down - both) / 2, (rest - down + across - both) / 2]
        rest = both
    return [*bands, rest]


def _spline(image: "torch.Tensor", step: int, axis: int) -> "torch.Tensor":
    """The cubic B-spline filter (1, 4, 6, 4, 1) / 16 with holes of `step` pixels (Starck and Murtagh's a trous)."""
    from torch.nn import functional as F

    length, pad = image.shape[axis], 2 * step
    edges = (pad, pad, 0, 0) if axis == 3 else (0, 0, pad, pad)
    wide = F.pad(image, edges, mode="reflect" if length > pad else "replicate")
    taps = [wide.narrow(axis, k * step, length) for k in range(5)]
    return ((taps[0] + taps[4]) + 4 * (taps[1] + taps[3]) + 6 * taps[2]) / 16


def window_px(band: int, side: int) -> float:
    """Std of the Gaussian in which the magnitudes of a band of `bands_of` are compared, in an image of `side`."""
    return max(WINDOW * 2 ** (band // 2), STEADY * side)


def luma(image: "torch.Tensor") -> "torch.Tensor":
    """The brightness [1, 1, H, W] of an image [1, 3, H, W]."""
    return sum(part * image[:, channel : channel + 1] for channel, part in enumerate(LUMA))  # type: ignore[return-value]


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
        """A member [1, 3, H, W], in the shape of the average; levels 0 to 255."""
        found = [band.abs_().mul_(weight) for band in bands_of(luma(image))[:-1]]
        for sum_, one in zip(self.magnitudes, found, strict=False):
            sum_.add_(one)
        self.magnitudes = self.magnitudes or found
        self.total += weight

    def give(self, average: "torch.Tensor", amount: float = 1.0) -> "torch.Tensor":
        """The average [1, 3, H, W] with the members' texture; `amount` 0 leaves it."""
        *bands, _ = bands_of(luma(average))
        image = average.clone()
        for index, (band, magnitude) in enumerate(zip(bands, self.magnitudes, strict=True)):
            std_px = window_px(index, max(average.shape[2:]))
            wanted, there = local_mean(magnitude / self.total, std_px), local_mean(band.abs(), std_px)
            gain = (wanted / (there + FLOOR)).clamp(1 / MOST, MOST)
            image += band * (amount * (gain - 1))
        return image.clamp(0, 255)
