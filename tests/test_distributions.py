"""Frechet and kernel distance, neighbours: against scipy, closed forms and plain loops."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from facemorph.metrics.distributions import (
    compare,
    coverage,
    floor,
    frechet,
    kernel_distance,
    mean_distance,
    nearest,
    nearest_other,
    pairwise,
    standardized,
)


def correlated(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    return rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + rng.normal(size=width)


def frechet_by_scipy(first: np.ndarray, second: np.ndarray) -> float:
    c1, c2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2)
    return float(((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * np.real(root)))


@pytest.mark.parametrize("width", [2, 16, 128])
def test_the_frechet_distance_is_that_of_scipys_matrix_root(width: int) -> None:
    rng = np.random.default_rng(width)
    first, second = correlated(rng, 400, width), correlated(rng, 300, width)
    assert frechet(first, second) == pytest.approx(frechet_by_scipy(first, second), rel=1e-8)


@settings(max_examples=30, deadline=None)
@given(factor=st.floats(0.1, 5), shift=st.floats(-3, 3), count=st.integers(4, 300), seed=st.integers(0, 1000))
def test_the_frechet_distance_of_a_stretched_set_has_a_closed_form(
    factor: float, shift: float, count: int, seed: int
) -> None:
    """Covariances C and f^2 C commute: |m1 - m2|^2 + (1 - f)^2 tr C, with fewer images than features as well."""
    first = correlated(np.random.default_rng(seed), count, 24)
    second = factor * first + shift
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + (1 - factor) ** 2 * np.trace(np.cov(first, rowvar=False))
    assert frechet(first, second) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert frechet(second, first) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_set_is_at_no_distance_from_itself() -> None:
    rows = correlated(np.random.default_rng(0), 200, 128)
    assert frechet(rows, rows) == pytest.approx(0, abs=1e-6 * np.trace(np.cov(rows, rowvar=False)))
    shuffled = compare(rows, rows[::-1])
    assert shuffled.frechet.value < 1e-6 * np.trace(np.cov(rows, rowvar=False))
    assert shuffled.kernel.value < 0  # unbiased: equal sets are nearer than chance has it


def test_the_kernel_distance_is_that_of_a_double_loop() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(7, 5)), rng.normal(1, 2, size=(6, 5))

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x @ y) / 5 + 1) ** 3

    def within(rows: np.ndarray) -> float:
        pairs = [kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        return sum(pairs) / len(pairs)

    across = sum(kernel(x, y) for x in first for y in second) / (7 * 6)
    assert kernel_distance(first, second) == pytest.approx(within(first) + within(second) - 2 * across, rel=1e-12)


def test_the_kernel_distance_of_equal_distributions_is_0_on_average_even_with_few_images() -> None:
    rng = np.random.default_rng(2)
    found = [kernel_distance(rng.normal(size=(12, 6)), rng.normal(size=(20, 6))) for _ in range(400)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 20
    assert np.std(found) > 0.01


def test_the_scale_is_that_of_the_other_set() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(5, 0.01, size=(300, 8))
    assert (standardized(rows, rows) ** 2).mean() == pytest.approx(1)
    np.testing.assert_allclose(standardized(rows, 3 * rows + 1), standardized(9 * rows + 2, 27 * rows + 11), atol=1e-9)
    assert np.isfinite(standardized(rows, np.ones((5, 8)))).all()


def test_the_intervals_are_as_wide_as_repetitions_differ() -> None:
    rng = np.random.default_rng(4)
    pairs = [compare(rng.normal(size=(150, 4)), rng.normal(0.5, 1.5, size=(200, 4)), seed) for seed in range(40)]
    for name in ("frechet", "kernel"):
        found = [getattr(pair, name) for pair in pairs]
        width = np.mean([(one.high - one.low) / 2 for one in found])
        assert 0.7 < width / (1.96 * np.std([one.value for one in found])) < 1.4, name
        assert all(one.low < one.value < one.high for one in found)


def test_the_bias_that_is_told_is_what_equal_distributions_show() -> None:
    rng = np.random.default_rng(5)
    pairs = [compare(rng.normal(size=(300, 16)), rng.normal(size=(300, 16)), seed) for seed in range(12)]
    shown = np.mean([pair.frechet.value for pair in pairs])  # the true distance is 0
    assert shown > 0.1
    assert abs(np.mean([pair.frechet_bias for pair in pairs]) / shown - 1) < 0.2


def test_the_floor_is_near_0_and_repeats_by_its_seed() -> None:
    rows = correlated(np.random.default_rng(6), 600, 8)
    other = correlated(np.random.default_rng(7), 600, 8)
    (low, kernel), again = floor(rows, 3), floor(rows, 3)
    assert (low, kernel) == again
    assert low < 0.05 * frechet(rows, other)
    assert abs(kernel) < 0.05 * kernel_distance(standardized(other, rows), standardized(rows, rows))


def test_too_few_or_unequal_features_are_refused() -> None:
    rows = np.zeros((8, 4))
    for first, second in ((rows[:3], rows), (rows, rows[:, :3])):
        with pytest.raises(ValueError, match="at least 4 rows of equal width"):
            compare(first, second)


def test_neighbours_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(8)
    first, second = rng.normal(100, 1, size=(30, 5)), rng.normal(100, 1, size=(40, 5))
    plain = np.array([[np.linalg.norm(a - b) for b in second] for a in first])
    np.testing.assert_allclose(pairwise(first, second), plain, atol=1e-9)
    indices, distances = nearest(first, second)
    np.testing.assert_array_equal(indices, plain.argmin(1))
    np.testing.assert_allclose(distances, plain.min(1), atol=1e-12)
    own = [min(np.linalg.norm(a - b) for j, b in enumerate(first) if j != i) for i, a in enumerate(first)]
    np.testing.assert_allclose(nearest_other(first), own, atol=1e-7)
    groups = np.arange(30) // 10
    apart = [np.linalg.norm(first[groups != groups[i]] - a, axis=1).min() for i, a in enumerate(first)]
    np.testing.assert_allclose(nearest_other(first, groups), apart, atol=1e-7)
    pairs = [np.linalg.norm(first[i] - first[j]) for i in range(30) for j in range(i)]
    assert mean_distance(first) == pytest.approx(np.mean(pairs))


def test_coverage_is_as_published_for_equal_halved_and_foreign_sets() -> None:
    rng = np.random.default_rng(9)
    points = rng.normal(size=(1000, 4))
    assert coverage(points, rng.normal(size=(1000, 4)), 5) == pytest.approx(1 - 2**-5, abs=0.02)
    assert coverage(points, points[:1]) < 0.02
    assert coverage(points, points + 100) == 0
    half = points[points[:, 0] > 0]
    assert 0.45 < coverage(points, half) < 0.65
