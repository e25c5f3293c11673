"""The measures of an evaluation, from the features of real faces and of samples: plain numbers, ready for JSON."""

from dataclasses import asdict
from typing import Any

import numpy as np

from facemorph.faces.descriptors import SAME_PERSON
from facemorph.faces.expression import EXPRESSIONS
from facemorph.faces.features import FaceFeatures, PersonCentroids
from facemorph.metrics import distributions
from facemorph.metrics.distributions import coverage, mean_distance, nearest, nearest_other, pairwise

BETWEEN = 0.25  # fraction of the way from the nearest person to the next, from which on a face is between them
BLOCKS = 10  # sections of a person's clip; only a face from another section counts as another image
RARE = 0.05  # quantile of the real faces' nearest distances, below which a sample counts as a copy
NEIGHBOURS = 5  # k of the coverage
SPLITS = 5  # random halvings of the real faces over which the coverage is averaged
ENDS = (5, 95)  # percentiles that bound an expression's range


def distances(real: np.ndarray, fake: np.ndarray, seed: int) -> dict[str, Any]:
    """Frechet and kernel distance of features [N, D] with intervals, and the split-half baseline of the real ones."""
    frechet, kernel = distributions.floor(real, seed)
    return {**asdict(distributions.compare(fake, real, seed)), "floor": {"frechet": frechet, "kernel": kernel}}


def between_persons(persons: PersonCentroids, faces: FaceFeatures) -> np.ndarray:
    """Which faces were detected and lie between two persons: bool [N].

    That is, a quarter of the way or more from the nearest person to the next, along the line between their means.
    """
    if len(persons.names) < 2:
        return np.zeros(len(faces), bool)
    first, second = np.argsort(persons.distances(faces.descriptors), axis=1)[:, :2].T
    line = persons.means[second] - persons.means[first]  # [N, 128]
    way = ((faces.descriptors - persons.means[first]) * line).sum(1) / (line**2).sum(1)
    return faces.detected & (way >= BETWEEN)


def person_fractions(persons: PersonCentroids, faces: FaceFeatures) -> dict[str, Any]:
    """The fractions of faces that are detected, near a person, and between two persons; and whom they are most like."""
    to = persons.distances(faces.descriptors)
    like = to.argmin(1)
    near = faces.detected & (to.min(1) < SAME_PERSON)
    return {
        "seen": float(faces.detected.mean()),
        "near_a_person": float(near.mean()),
        "between_persons": float(between_persons(persons, faces).mean()),
        "most_like": {name: float((faces.detected & (like == i)).mean()) for i, name in enumerate(persons.names)},
    }


def diversity(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """Mean distance of two samples against that of two real faces: points [N, D]. 0: always the same image."""
    samples, data = mean_distance(fake), mean_distance(real)
    return {"samples": samples, "data": data, "ratio": samples / data if data else 0.0}


def blocks(labels: np.ndarray) -> np.ndarray:
    """A number for each section of each person's faces, which are in the order of the clip: [N]."""
    found = np.zeros(len(labels), int)
    for person in np.unique(labels):
        mine = np.flatnonzero(labels == person)
        found[mine] = BLOCKS * person + np.arange(len(mine)) * BLOCKS // len(mine)
    return found


def memory(real: np.ndarray, fake: np.ndarray, labels: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Are samples nearer to training images than other images of the same people would be? Points [N, D].

    Returns statistics, and arrays: the `nearest` training image of each sample, its `distance`, and `real`: of each
    real face the distance to the nearest one in another section of the clip.
    """
    index, distance = nearest(fake, real)
    usual = nearest_other(real, blocks(labels))
    limit = float(np.quantile(usual, RARE))
    statistics = {
        "samples_median": float(np.median(distance)),
        "real_median": float(np.median(usual)),
        "limit": limit,
        "nearer_share": float((distance < limit).mean()),
        "different_neighbours": len(np.unique(index)) / min(len(fake), len(real)),
    }
    return statistics, {"nearest": index, "distance": distance, "real": usual}


def mirrored(real: np.ndarray, flipped: np.ndarray, fake: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The fraction of samples, and of real faces, that are nearer to a mirrored real face than to one as it is.

    Points [N, D] of the real faces, of their mirror images in the same order, and of the samples; a real face is
    compared with those in other sections of the clip.
    """
    samples = nearest(fake, flipped)[1] < nearest(fake, real)[1]
    group = blocks(labels)
    other = group[:, None] != group
    to_flipped = np.where(other, pairwise(real, flipped), np.inf).min(1)
    return {"samples": float(samples.mean()), "data": float((to_flipped < nearest_other(real, group)).mean())}


def expression_coverage(real: FaceFeatures, fake: FaceFeatures, seed: int) -> dict[str, Any]:
    """How much of the real faces' expressions the samples have, and as many other real faces.

    `coverage`: averaged over random halvings of the real faces, the fraction of one half that the samples cover (see
    `metrics.distributions.coverage`), and for comparison, `coverage_real`, the fraction that as many faces of the other
    half cover. `range`: for each expression, the fraction of the real range (5th to 95th percentile) that the samples
    have. Only detected faces count; each expression is divided by its std over the real faces.
    """
    own, generated = real.expressions[real.detected], fake.expressions[fake.detected]
    spread = own.std(0)
    spread[spread == 0] = 1.0
    rng = np.random.default_rng(seed)
    by_samples, by_real, used = [], [], 0
    half = len(own) // 2
    for _ in range(SPLITS if half > NEIGHBOURS and len(generated) else 0):
        order = rng.permutation(len(own))
        reference, others = own[order[:half]] / spread, own[order[half:]] / spread
        used = min(len(others), len(generated))
        chosen = generated[rng.permutation(len(generated))[:used]] / spread
        by_samples.append(coverage(reference, chosen, NEIGHBOURS))
        by_real.append(coverage(reference, others[:used], NEIGHBOURS))
    ends = {"real": np.percentile(own, ENDS, axis=0)}  # [2, 4]
    if len(generated):
        ends["samples"] = np.percentile(generated, ENDS, axis=0)
        low, high = np.maximum(ends["real"][0], ends["samples"][0]), np.minimum(ends["real"][1], ends["samples"][1])
        covered = np.clip(high - low, 0, None) / np.maximum(ends["real"][1] - ends["real"][0], 1e-9)
    else:
        covered = np.zeros(len(EXPRESSIONS))
    return {
        "faces": len(generated),
        "compared": used,
        "coverage": float(np.mean(by_samples)) if by_samples else 0.0,
        "coverage_real": float(np.mean(by_real)) if by_real else 0.0,
        "range": dict(zip(EXPRESSIONS, covered.tolist(), strict=True)),
        "ends": {kind: dict(zip(EXPRESSIONS, values.T.tolist(), strict=True)) for kind, values in ends.items()},
    }


def smoothness(descriptors: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """Descriptors along walks [walks, points, 128] -> statistics, and the size of each step [walks, points - 1].

    `largest_over_mean`: 1 is perfectly even. `detour`: length of the walk over the distance of its ends. Both are
    medians over the walks; 0 for a walk that does not move.
    """
    steps = np.linalg.norm(np.diff(descriptors, axis=1), axis=2)
    length, ends = steps.sum(1), np.linalg.norm(descriptors[:, -1] - descriptors[:, 0], axis=1)
    still = length < 1e-9
    mean = np.where(still, 1, steps.mean(1))
    statistics = {
        "mean_step": float(steps.mean()),
        "largest_over_mean": float(np.median(np.where(still, 0, steps.max(1) / mean))),
        "detour": float(np.median(np.where(still, 0, length / np.maximum(ends, 1e-9)))),
    }
    return statistics, steps
