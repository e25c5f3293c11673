"""How far a set of images is from another: Frechet and kernel distance between their features, with intervals.

Features are float [N, D], a row an image; which network made them is no concern of this module.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

REPLICATES = 200  # of the bootstrap
SPLITS = 5  # random halvings that are averaged over
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure and the bounds within which it would lie in 95 % of repetitions with other images of the same kind."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Distances:
    """Two sets of images compared.

    Attributes:
        frechet: the Frechet distance.
        frechet_bias: how much of it comes of there being no more images (the mean distance of random halves of both
            sets, less that of the whole sets: the bias falls as 1 / N, so halving adds as much again).
        kernel: the kernel distance; it has no such bias, and may lie a little below 0.
    """

    frechet: Estimate
    frechet_bias: float
    kernel: Estimate


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of the normal distributions with the means and covariances of two sets: float [N, D], [M, D].

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson and Landau 1982; Heusel et al. 2017, equation 6). Squared, as
    is the custom: two normal distributions 3 apart have a distance of 9. Biased upwards with few images.
    """
    return _frechet(*_moments(first, None), *_moments(second, None))


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the kernel (x y / D + 1)^3, unbiased (Binkowski et al. 2018, section 4).

    The features should have a size of about 1 in each of their D places: see `standardized`.
    """
    within_first, within_second, across = _kernels(first, second)
    return float(_discrepancy(within_first, within_second, across, np.ones((1, len(first))), np.ones((1, len(second)))))


def standardized(features: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Moved and divided so that `by` [M, D] has mean 0 and a mean square of 1 over all its places: [N, D].

    Under the kernel of `kernel_distance` a set of tiny features would differ from another by its mean alone.
    """
    centre = by.mean(0)
    size = float(np.sqrt(((by - centre) ** 2).mean()))
    return (features - centre) / (size if size > 0 else 1.0)


def compare(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Distances:
    """Both distances with their intervals: float [N, D] against float [M, D], by which the kernel's scale goes.

    The intervals are those of a bootstrap over images: they say how much other samples of the same generator and
    other images of the same kind would change the figures, and nothing of another training with another seed.

    Raises:
        ValueError: fewer than 4 rows on a side, or different widths.
    """
    if min(len(first), len(second)) < 4 or first.shape[1:] != second.shape[1:]:
        raise ValueError(f"features {first.shape} and {second.shape}: at least 4 rows of equal width are needed")
    rng = np.random.default_rng(seed)
    whole = frechet(first, second)
    replicates = [
        _frechet(*_moments(first, _redrawn(rng, len(first))), *_moments(second, _redrawn(rng, len(second))))
        for _ in range(REPLICATES)
    ]
    halves = [frechet(_half(rng, first)[0], _half(rng, second)[0]) for _ in range(SPLITS)]
    return Distances(
        frechet=_estimate(whole, np.array(replicates), least=0.0),
        frechet_bias=float(np.mean(halves)) - whole,
        kernel=_kernel_estimate(standardized(first, second), standardized(second, second), rng),
    )


def floor(features: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Frechet and kernel distance between two random halves of one set [N, D]: what is as good as equal."""
    rng = np.random.default_rng(seed)
    return _mean_over_halves(features, frechet, rng), _mean_over_halves(
        standardized(features, features), kernel_distance, rng
    )


def _mean_over_halves(
    features: np.ndarray, distance: Callable[[np.ndarray, np.ndarray], float], rng: np.random.Generator
) -> float:
    return float(np.mean([distance(*_half(rng, features)) for _ in range(SPLITS)]))


def _half(rng: np.random.Generator, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two halves at random, of equal size."""
    order, half = rng.permutation(len(features)), len(features) // 2
    return features[order[:half]], features[order[half : 2 * half]]


def _redrawn(rng: np.random.Generator, count: int) -> np.ndarray:
    """How often each of `count` images is drawn in `count` draws with replacement: float [count]."""
    return np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)


def _moments(features: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and covariance [D, D], each row counted `weights` times."""
    rows = np.asarray(features, np.float64)
    if weights is None:
        weights = np.ones(len(rows))
    total = weights.sum()
    mean = weights @ rows / total
    centred = rows - mean
    return mean, (centred * weights[:, None]).T @ centred / (total - 1)


def _frechet(mean1: np.ndarray, covariance1: np.ndarray, mean2: np.ndarray, covariance2: np.ndarray) -> float:
    # tr (C1 C2)^(1/2) is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric and has no
    # negative ones: no complex root of a matrix that happens not to be symmetric.
    values, vectors = np.linalg.eigh(covariance1)
    root = vectors * _roots(values) @ vectors.T
    product = root @ covariance2 @ root
    overlap = _roots(np.linalg.eigvalsh((product + product.T) / 2)).sum()
    distance = ((mean1 - mean2) ** 2).sum() + np.trace(covariance1) + np.trace(covariance2) - 2 * overlap
    return max(0.0, float(distance))


def _roots(eigenvalues: np.ndarray) -> np.ndarray:
    """Square roots; what rounding made of an eigenvalue of 0 counts as 0, since the root would make much of it."""
    rounding = len(eigenvalues) * np.finfo(np.float64).eps * np.abs(eigenvalues).max()
    return np.sqrt(np.where(eigenvalues > rounding, eigenvalues, 0.0))


def _kernels(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kernel within the first set [N, N], within the second [M, M], and across [N, M]."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    width = a.shape[1]
    return tuple((x @ y.T / width + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))  # type: ignore[return-value]


def _kernel_estimate(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> Estimate:
    kernels = _kernels(first, second)
    value = _discrepancy(*kernels, np.ones((1, len(first))), np.ones((1, len(second))))
    draws = [np.stack([_redrawn(rng, len(some)) for _ in range(REPLICATES)]) for some in (first, second)]
    return _estimate(float(value), _discrepancy(*kernels, *draws))


def _discrepancy(
    within1: np.ndarray, within2: np.ndarray, across: np.ndarray, weights1: np.ndarray, weights2: np.ndarray
) -> np.ndarray:
    """The unbiased estimate for each row of weights [R, N] and [R, M]: [R]. No image is paired with itself."""

    def mean_of_pairs(kernel: np.ndarray, weights: np.ndarray) -> np.ndarray:
        squares = weights**2
        total = (weights @ kernel * weights).sum(1) - squares @ np.diag(kernel)
        return total / (weights.sum(1) ** 2 - squares.sum(1))

    crossed = (weights1 @ across * weights2).sum(1) / (weights1.sum(1) * weights2.sum(1))
    return np.squeeze(mean_of_pairs(within1, weights1) + mean_of_pairs(within2, weights2) - 2 * crossed)


def _estimate(value: float, replicates: np.ndarray, least: float = -np.inf) -> Estimate:
    """The replicates' spread, moved to the value: redrawing adds a bias of its own, which is no news of the value."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(replicates - replicates.mean(), [tail, 1 - tail])
    return Estimate(value, max(least, value + float(low)), value + float(high))
