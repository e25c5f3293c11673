"""PSNR, SSIM and MS-SSIM, differentiable, for images float [N, C, H, W] in [-1, 1]."""

import functools
import math

import torch
import torch.nn.functional as F

RANGE = 2.0
WINDOW_PX, SIGMA_PX = 11, 1.5  # Wang et al. 2004, section III-B
K1, K2 = 0.01, 0.03
# Exponents of the scales, full size first: Wang, Simoncelli and Bovik 2003, "Multi-scale structural similarity".
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
LEAST = 1e-4  # lower bound of a factor that is raised to a power: at 0 the gradient would be infinite


def psnr(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB: [N]; infinite for equal images."""
    error = (first - second).square().mean((1, 2, 3))  # [N]
    return 10 * torch.log10(RANGE**2 / error)


def ssim(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Structural similarity, 1 for equal images: [N]. Sides must be at least `WINDOW_PX`.

    Source: Wang et al. 2004, equation 13, with a Gaussian window; the mean over all positions inside the image.
    """
    luminance, contrast = _ssim_parts(first, _Moments(second))
    return (luminance * contrast).mean((1, 2, 3))


def num_scales(side_px: int) -> int:
    """How many of the five scales the window fits, for an image with a shorter side of `side_px`; 5 from 176 px on."""
    return max(1, min(len(SCALE_WEIGHTS), math.floor(math.log2(side_px / WINDOW_PX)) + 1))


def ms_ssim(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Multi-scale structural similarity, 1 for equal images: [N].

    Small images use fewer than five scales, with weights normalised to the same sum. Negative similarities are clamped
    to `LEAST`. Source: Wang, Simoncelli and Bovik 2003, equation 7.
    """
    return MultiScaleSimilarity(second)(first)


class MultiScaleSimilarity:
    """`ms_ssim` to images [N, C, H, W] that stay the same: their part is computed once."""

    def __init__(self, images: torch.Tensor) -> None:
        scales = num_scales(min(images.shape[2:]))
        total = sum(SCALE_WEIGHTS[:scales])
        self.exponents = [weight / total for weight in SCALE_WEIGHTS[:scales]]
        self.moments: list[_Moments] = []
        for _ in range(scales):
            self.moments.append(_Moments(images))
            images = F.avg_pool2d(images, 2)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Of images [N, C, H, W], each to the one of its place: [N]."""
        product = images.new_ones(images.shape[:2])
        for scale, (moments, exponent) in enumerate(zip(self.moments, self.exponents, strict=True)):
            luminance, contrast = _ssim_parts(images, moments)
            last = scale == len(self.moments) - 1
            similarity = (luminance * contrast if last else contrast).mean((2, 3))  # [N, C]
            product = product * similarity.clamp_min(LEAST) ** exponent
            if not last:
                images = F.avg_pool2d(images, 2)
        return product.mean(1)


class _Moments:
    """Images [N, C, H, W], and of each window their mean and their mean square [N, C, H - 10, W - 10]."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images
        self.mean, self.square = _blur(torch.cat([images, images * images])).chunk(2)


def _ssim_parts(first: torch.Tensor, second: _Moments) -> tuple[torch.Tensor, torch.Tensor]:
    """Luminance, and contrast times structure, at every position of the window: [N, C, H - 10, W - 10] each."""
    mean, square, product = _blur(torch.cat([first, first * first, first * second.images])).chunk(3)
    c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
    both = mean * second.mean
    squares = mean.square() + second.mean.square()
    luminance = (2 * both + c1) / (squares + c1)
    contrast = (2 * (product - both) + c2) / (square + second.square - squares + c2)
    return luminance, contrast


def _blur(x: torch.Tensor) -> torch.Tensor:
    """The weighted mean in the window: [N, C, H, W] -> [N, C, H - 10, W - 10].

    By products with two band matrices, on a CPU several times faster than depthwise convolutions.
    """
    rows = _band(x.shape[2], x.dtype, x.device)
    columns = _band(x.shape[3], x.dtype, x.device)
    return rows @ x @ columns.T


@functools.lru_cache(maxsize=32)
def _band(side_px: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The one-dimensional window at every position: [side_px - 10, side_px]."""
    offsets = torch.arange(WINDOW_PX, dtype=torch.float64) - WINDOW_PX // 2
    taps = torch.exp(-0.5 * (offsets / SIGMA_PX).square())
    taps = taps / taps.sum()
    with torch.inference_mode(False):  # the cached matrix is also used with gradients
        band = torch.zeros(side_px - WINDOW_PX + 1, side_px, dtype=torch.float64)
        for row in range(len(band)):
            band[row, row : row + WINDOW_PX] = taps
        return band.to(device, dtype)
