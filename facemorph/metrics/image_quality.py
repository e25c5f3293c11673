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
    luminance, contrast = _ssim_parts(first, second)
    return (luminance * contrast).mean((1, 2, 3))


def num_scales(side_px: int) -> int:
    """How many of the five scales the window fits, for an image with a shorter side of `side_px`; 5 from 176 px on."""
    return max(1, min(len(SCALE_WEIGHTS), math.floor(math.log2(side_px / WINDOW_PX)) + 1))


def ms_ssim(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Multi-scale structural similarity, 1 for equal images: [N].

    Small images use fewer than five scales, with weights normalised to the same sum. Negative similarities are clamped
    to `LEAST`. Source: Wang, Simoncelli and Bovik 2003, equation 7.
    """
    scales = num_scales(min(first.shape[2:]))
    total = sum(SCALE_WEIGHTS[:scales])
    product = first.new_ones(first.shape[:2])
    for scale in range(scales):
        luminance, contrast = _ssim_parts(first, second)
        last = scale == scales - 1
        similarity = (luminance * contrast if last else contrast).mean((2, 3))  # [N, C]
        product = product * similarity.clamp_min(LEAST) ** (SCALE_WEIGHTS[scale] / total)
        if not last:
            first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)  # [N, C, H / 2, W / 2]
    return product.mean(1)


def _ssim_parts(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Luminance, and contrast times structure, at every position of the window: [N, C, H - 10, W - 10] each."""
    moments = torch.cat([first, second, first * first, second * second, first * second])  # [5 N, C, H, W]
    mean1, mean2, square1, square2, product = _blur(moments).chunk(5)
    c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
    both = mean1 * mean2
    squares = mean1.square() + mean2.square()
    luminance = (2 * both + c1) / (squares + c1)
    contrast = (2 * (product - both) + c2) / (square1 + square2 - squares + c2)
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
