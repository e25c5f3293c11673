"""The paper's reading of the losses, on curves of known kinds."""

import math

import numpy as np
import pytest

from facemorph.dcgan.health import floor_of_d_loss, judge, smooth

STEPS = np.linspace(0, 1, 2000)
NOISE = np.random.default_rng(0).normal(size=2000)


def curve(start: float, end: float, noise: float) -> np.ndarray:
    return np.maximum(start + (end - start) * STEPS + noise * NOISE, 1e-3)


@pytest.mark.parametrize(
    ("d", "g", "verdict", "words"),
    [
        (curve(0.7, 0.7, 0.15), curve(2.2, 2.1, 0.3), "stable", "band of 0.3-1"),  # figure 15
        (curve(0.8, 1.3, 0.1), curve(1.5, 0.8, 0.1), "stable", "near the equilibrium"),
        (curve(0.6, 0.0, 0.1), curve(3, 9, 2), "failed", "d-loss"),  # figure 7
        (curve(0.05, 0.01, 0.01), curve(5, 7, 0.5), "failed", "gone to 0"),  # figure 10
        (curve(2.4, 2.6, 0.2), curve(0.5, 0.4, 0.1), "failed", "does not keep up"),
        (curve(0.5, 0.5, 0.1), curve(2, 5, 0.3), "undecided", "g-loss rises"),
        (curve(0.2, 0.2, 0.02), curve(3, 3, 0.3), "undecided", "below the paper's band"),
        (np.full(2000, np.nan), curve(2, 2, 0.1), "failed", "not finite"),
    ],
)
def test_verdicts(d: np.ndarray, g: np.ndarray, verdict: str, words: str) -> None:
    health = judge(d, g)
    assert (health.verdict, words in health.reason) == (verdict, True), health


def test_a_short_run_is_undecided() -> None:
    assert judge(np.full(50, 0.01), np.full(50, 8.0)).verdict == "undecided"
    assert judge(np.empty(0), np.empty(0)).verdict == "undecided"


def test_label_smoothing_puts_a_floor_under_d_loss() -> None:
    assert floor_of_d_loss(1.0) == 0
    assert floor_of_d_loss(0.9) == pytest.approx(0.325, abs=1e-3)
    p = np.linspace(0.01, 0.99, 9801)  # the least of the smoothed cross-entropy, by search
    assert floor_of_d_loss(0.9) == pytest.approx((-0.9 * np.log(p) - 0.1 * np.log(1 - p)).min(), abs=1e-6)
    won = curve(0.345, 0.33, 0.002)  # D has won, though d-loss lies in 0.3-1
    assert judge(won, curve(4, 6, 0.2), real_label=0.9).verdict == "failed"


def test_figures_are_those_of_the_second_half() -> None:
    d = np.concatenate([np.full(500, 5.0), np.full(300, 0.5), np.full(200, 1.2)])
    health = judge(d, np.concatenate([np.full(500, 9.0), np.linspace(1, 2, 500)]))
    assert health.d_loss == 0.5
    assert (health.d_in_band, health.d_above_band, health.d_near_zero) == (0.6, 0.4, 0)
    assert health.g_rise == pytest.approx(1 / 1.5)
    assert health.d_amplitude < 0.2


def test_smoothing_is_a_mean_over_the_window() -> None:
    values = np.random.default_rng(0).normal(size=301)
    smoothed = smooth(values, 101)
    assert len(smoothed) == 301
    assert smoothed[150] == pytest.approx(values[100:201].mean())
    assert smoothed[0] == pytest.approx(values[:51].mean())
    assert smoothed[-1] == pytest.approx(values[-51:].mean())
    assert not math.isnan(smooth(np.ones(3), 100)[0])
