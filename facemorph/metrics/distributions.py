"""Two sets of features compared: Frechet and kernel distance with confidence intervals, neighbours, coverage.

Features are float [N, D], one row per image, of any network.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

REPLICATES = 200  # of the bootstrap
SPLITS = 5  # random splits into halves, over which distances are averaged
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % confidence interval, over other images of the same kind."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Distances:
    """Two sets of images compared.

    Attributes:
        frechet: the Frechet distance.
        frechet_bias: how much of it is due to the number of images: the mean distance of random halves of both sets
            minus that of the whole sets (the bias falls as 1 / N, so that halves have twice as much).
        kernel: the kernel distance; it has no such bias, and may be slightly below 0.
    """

    frechet: Estimate
    frechet_bias: float
    kernel: Estimate


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of the normal distributions with the means and covariances of two sets: float [N, D], [M, D].

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson and Landau 1982; Heusel et al. 2017, equation 6). Squared, as
    usual: two normal distributions whose means are 3 apart have a distance of 9. Biased upwards with few images.
    """
    return _frechet(*_moments(first, None), *_moments(second, None))


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the kernel (x y / D + 1)^3, unbiased (Binkowski et al. 2018, section 4).

    The features should have an RMS of about 1: see `standardized`.
    """
    within_first, within_second, across = _kernels(first, second)
    return float(_discrepancy(within_first, within_second, across, np.ones((1, len(first))), np.ones((1, len(second)))))


def standardized(features: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Shifted and scaled so that `by` [M, D] has mean 0 in each column, and std 1 over all values: [N, D].

    With small features, the kernel of `kernel_distance` would compare little more than the means.
    """
    centre = by.mean(0)
    std = float(np.sqrt(((by - centre) ** 2).mean()))
    return (features - centre) / (std if std > 0 else 1.0)


def compare(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Distances:
    """Both distances of float [N, D] and float [M, D], with intervals; the second set is the kernel's scale.

    The intervals are from a bootstrap over images: they cover other samples of the same generator and other images of
    the same kind, not another training run.

    Raises:
        ValueError: a set has fewer than 4 rows, or the sets differ in width.
    """
    if min(len(first), len(second)) < 4 or first.shape[1:] != second.shape[1:]:
        raise ValueError(f"features {first.shape} and {second.shape}: at least 4 rows of equal width are needed")
    rng = np.random.default_rng(seed)
    whole = frechet(first, second)
    replicates = [
        _frechet(*_moments(first, _resampled(rng, len(first))), *_moments(second, _resampled(rng, len(second))))
        for _ in range(REPLICATES)
    ]
    halves = [frechet(_half(rng, first)[0], _half(rng, second)[0]) for _ in range(SPLITS)]
    return Distances(
        frechet=_estimate(whole, np.array(replicates), least=0.0),
        frechet_bias=float(np.mean(halves)) - whole,
        kernel=_kernel_estimate(standardized(first, second), standardized(second, second), rng),
    )


def floor(features: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The split-half baseline: Frechet and kernel distance between two random halves of one set [N, D]."""
    rng = np.random.default_rng(seed)
    return _mean_over_halves(features, frechet, rng), _mean_over_halves(
        standardized(features, features), kernel_distance, rng
    )


def _mean_over_halves(
    features: np.ndarray, distance: Callable[[np.ndarray, np.ndarray], float], rng: np.random.Generator
) -> float:
    return float(np.mean([distance(*_half(rng, features)) for _ in range(SPLITS)]))


def _half(rng: np.random.Generator, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves of equal size."""
    order, half = rng.permutation(len(features)), len(features) // 2
    return features[order[:half]], features[order[half : 2 * half]]


def _resampled(rng: np.random.Generator, count: int) -> np.ndarray:
    """A bootstrap sample: how often each of `count` images occurs in `count` draws with replacement, float [count]."""
    return np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)


def _moments(features: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and covariance [D, D], with a weight for each row."""
    rows = np.asarray(features, np.float64)
    if weights is None:
        weights = np.ones(len(rows))
    total = weights.sum()
    mean = weights @ rows / total
    centred = rows - mean
    return mean, (centred * weights[:, None]).T @ centred / (total - 1)


def _frechet(mean1: np.ndarray, covariance1: np.ndarray, mean2: np.ndarray, covariance2: np.ndarray) -> float:
    # tr (C1 C2)^(1/2) is the sum of the square roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric and
    # positive semidefinite, so that no complex matrix root is needed.
    values, vectors = np.linalg.eigh(covariance1)
    root = vectors * _roots(values) @ vectors.T
    product = root @ covariance2 @ root
    overlap = _roots(np.linalg.eigvalsh((product + product.T) / 2)).sum()
    distance = ((mean1 - mean2) ** 2).sum() + np.trace(covariance1) + np.trace(covariance2) - 2 * overlap
    return max(0.0, float(distance))


def _roots(eigenvalues: np.ndarray) -> np.ndarray:
    """Square roots, of eigenvalues that are 0 up to rounding as 0, since the root would amplify the error."""
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
    weights = [np.stack([_resampled(rng, len(some)) for _ in range(REPLICATES)]) for some in (first, second)]
    return _estimate(float(value), _discrepancy(*kernels, *weights))


def _discrepancy(
    within1: np.ndarray, within2: np.ndarray, across: np.ndarray, weights1: np.ndarray, weights2: np.ndarray
) -> np.ndarray:
    """The unbiased estimate for each row of weights [R, N] and [R, M]: [R]; no image is paired with itself."""

    def mean_of_pairs(kernel: np.ndarray, weights: np.ndarray) -> np.ndarray:
        squares = weights**2
        total = (weights @ kernel * weights).sum(1) - squares @ np.diag(kernel)
        return total / (weights.sum(1) ** 2 - squares.sum(1))

    crossed = (weights1 @ across * weights2).sum(1) / (weights1.sum(1) * weights2.sum(1))
    return np.squeeze(mean_of_pairs(within1, weights1) + mean_of_pairs(within2, weights2) - 2 * crossed)


def _estimate(value: float, replicates: np.ndarray, least: float = -np.inf) -> Estimate:
    """The interval of the replicates, centred on the value, since resampling adds a bias of its own."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(replicates - replicates.mean(), [tail, 1 - tail])
    return Estimate(value, max(least, value + float(low)), value + float(high))


def pairwise(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean distances [N, M] between the rows of two sets."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    centre = b.mean(0)  # smaller numbers lose less precision in the subtraction below
    a, b = a - centre, b - centre
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T  # [N, M]
    return np.sqrt(np.clip(squares, 0, None))


def nearest(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row of the first set its nearest neighbour in the second: indices [N] and exact distances [N]."""
    indices = pairwise(first, second).argmin(1)
    return indices, np.linalg.norm(np.asarray(first, np.float64) - second[indices], axis=1)


def nearest_other(points: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Distance of each row to its nearest neighbour, with `groups` [N] to that in another group: [N].

    Infinite where there is none.
    """
    distances = pairwise(points, points)
    groups = np.arange(len(points)) if groups is None else groups
    distances[groups[:, None] == groups] = np.inf
    return distances.min(1)


def mean_distance(points: np.ndarray) -> float:
    """Mean distance of two different rows, a measure of diversity."""
    count = len(points)
    return float(pairwise(points, points).sum() / (count * (count - 1)))


def coverage(points: np.ndarray, by: np.ndarray, neighbours: int = 5) -> float:
    """The fraction of `points` [N, D] for which one of `by` [M, D] is as near as their own k-th neighbour.

    About 1 - 2^-k for two sets of equal size and distribution, 0 for sets far apart (Naeem et al. 2020, "Reliable
    fidelity and diversity metrics for generative models", equation 5).
    """
    own = pairwise(points, points)
    np.fill_diagonal(own, np.inf)
    radii = np.partition(own, neighbours - 1, axis=1)[:, neighbours - 1]
    return float((pairwise(points, by).min(1) <= radii).mean())
