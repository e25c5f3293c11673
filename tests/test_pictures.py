"""PSNR, SSIM and MS-SSIM against independent computations."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from facemorph.metrics.image_quality import SCALE_WEIGHTS, ms_ssim, num_scales, psnr, ssim


def pair(side_px: int, seed: int = 0, noise: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images [2, 3, side, side + 6] that resemble each other."""
    numbers = np.random.default_rng(seed)
    smooth = np.cumsum(numbers.normal(size=(2, 3, side_px, side_px + 6)), 3)
    first = smooth / np.abs(smooth).max()
    second = np.clip(first + noise * numbers.normal(size=first.shape), -1, 1)
    return torch.from_numpy(first), torch.from_numpy(second)


def test_psnr_is_scikit_images() -> None:
    first, second = pair(32)
    expected = [peak_signal_noise_ratio(a, b, data_range=2) for a, b in zip(first.numpy(), second.numpy(), strict=True)]
    assert np.allclose(psnr(first, second), expected, rtol=1e-12)
    assert torch.isinf(psnr(first, first)).all()


@pytest.mark.parametrize("side_px", [11, 40, 97])
def test_ssim_at_one_scale_is_scikit_images(side_px: int) -> None:
    first, second = pair(side_px)
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        found = ssim(first.to(dtype), second.to(dtype))
        assert found.dtype == dtype
        for value, a, b in zip(found, first.numpy(), second.numpy(), strict=True):
            expected: Any = structural_similarity(
                a, b, data_range=2, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            assert abs(float(value) - expected) < limit


def ms_ssim_by_hand(a: np.ndarray, b: np.ndarray) -> float:
    """One channel [H, W], range 2, straight from the paper: filters by scipy, halving by means of four."""
    taps = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    taps /= taps.sum()

    def mean(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, taps, 0), taps, 1)[5:-5, 5:-5]

    scales = num_scales(min(a.shape))
    exponents = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    c1, c2 = 0.02**2, 0.06**2
    value = 1.0
    for scale in range(scales):
        ma, mb = mean(a), mean(b)
        va, vb, cov = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
        cs = (2 * cov + c2) / (va + vb + c2)
        full = (2 * ma * mb + c1) / (ma * ma + mb * mb + c1) * cs
        value *= (full if scale == scales - 1 else cs).mean() ** exponents[scale]
        height, width = (side // 2 * 2 for side in a.shape)
        a, b = (x[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for x in (a, b))
    return value


@pytest.mark.parametrize("side_px", [24, 64, 180])
def test_ms_ssim_is_the_papers_formula(side_px: int) -> None:
    first, second = pair(side_px, seed=side_px)
    expected = [
        np.mean([ms_ssim_by_hand(a, b) for a, b in zip(*channels, strict=True)])
        for channels in zip(first.numpy(), second.numpy(), strict=True)
    ]
    assert np.allclose(ms_ssim(first, second), expected, atol=1e-12)
    assert np.allclose(ms_ssim(first.float(), second.float()), expected, atol=2e-5)


def test_scales_follow_the_side() -> None:
    assert [num_scales(side) for side in (11, 21, 22, 64, 87, 88, 175, 176, 1024)] == [1, 1, 2, 3, 3, 4, 4, 5, 5]


def test_equal_pictures_score_one_and_gradients_are_finite_even_where_similarity_is_negative() -> None:
    first, second = (x.float() for x in pair(48))
    assert torch.allclose(ms_ssim(first, first), torch.ones(2))
    for other in (second, -first, first):
        x = other.clone().requires_grad_()
        (1 - ms_ssim(x, first)).sum().backward()
        assert x.grad is not None and torch.isfinite(x.grad).all()


def test_what_was_made_in_inference_mode_serves_gradients_afterwards() -> None:
    first, second = (x.float() for x in pair(53))  # a side that no other test uses: the window is kept by side
    with torch.inference_mode():
        ssim(first, second)
    x = second.requires_grad_()
    ssim(x, first).sum().backward()
    assert x.grad is not None and float(x.grad.abs().max()) > 0
