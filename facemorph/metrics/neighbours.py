"""Who is next to whom: nearest neighbours, diversity, and how much of one set another covers. Points float [N, D]."""

import numpy as np


def pairwise(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean distances [N, M] between the rows of two sets."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    centre = b.mean(0)  # small numbers lose less in the subtraction below
    a, b = a - centre, b - centre
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T  # [N, M]
    return np.sqrt(np.clip(squares, 0, None))


def nearest(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row of the first set the nearest of the second: indices [N], and exact distances [N]."""
    indices = pairwise(first, second).argmin(1)
    return indices, np.linalg.norm(np.asarray(first, np.float64) - second[indices], axis=1)


def nearest_other(points: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """How far each row is from the nearest other row, with `groups` [N] the nearest of another group: [N].

    Infinite where there is none.
    """
    distances = pairwise(points, points)
    groups = np.arange(len(points)) if groups is None else groups
    distances[groups[:, None] == groups] = np.inf
    return distances.min(1)


def mean_distance(points: np.ndarray) -> float:
    """Mean distance of two different rows; 0 where all are equal."""
    count = len(points)
    return float(pairwise(points, points).sum() / (count * (count - 1)))


def coverage(points: np.ndarray, by: np.ndarray, neighbours: int = 5) -> float:
    """The share of `points` [N, D] that have one of `by` [M, D] no farther away than their own k-th neighbour.

    Near 1 - 2^-k for two equally large sets of one kind, 0 for sets far apart (Naeem et al. 2020, "Reliable fidelity
    and diversity metrics for generative models", equation 5).
    """
    own = pairwise(points, points)
    np.fill_diagonal(own, np.inf)
    radii = np.partition(own, neighbours - 1, axis=1)[:, neighbours - 1]
    return float((pairwise(points, by).min(1) <= radii).mean())
