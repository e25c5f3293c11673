"""Which of several children is nearest: AUC and rank of the real child, with bootstrap intervals over families."""

from dataclasses import dataclass

import numpy as np

REPEATS = 1000
TOP = 0.1  # of the candidates


@dataclass(frozen=True)
class Trial:
    """Queries (one a triplet) against candidates (real children).

    Attributes:
        distances: [Q, C].
        own: which candidate is each query's real child, [Q].
        allowed: which others it is compared with, bool [Q, C]; its own child and its own family are not among them.
        query_family, candidate_family: numbers of families, [Q] and [C].
    """

    distances: np.ndarray
    own: np.ndarray
    allowed: np.ndarray
    query_family: np.ndarray
    candidate_family: np.ndarray

    @property
    def wins(self) -> np.ndarray:
        """1 where the own child is nearer than a candidate, 1/2 where both are equally near, else 0: [Q, C]."""
        own = self.distances[np.arange(len(self.own)), self.own][:, None]
        return (own < self.distances) + 0.5 * (own == self.distances)


@dataclass(frozen=True)
class Result:
    """A number, and what it is in each bootstrap repeat (paired over trials of the same families)."""

    value: float
    repeats: np.ndarray

    @property
    def interval(self) -> tuple[float, float]:
        low, high = np.nanquantile(self.repeats, [0.025, 0.975])
        return float(low), float(high)

    def __sub__(self, other: "Result") -> "Result":
        return Result(self.value - other.value, self.repeats - other.repeats)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.2f} ({low:.2f} to {high:.2f})"


def draws(num_families: int, repeats: int = REPEATS, seed: int = 0) -> np.ndarray:
    """How often each family is drawn in each repeat: [repeats, num_families]."""
    random = np.random.default_rng(seed)
    return random.multinomial(num_families, np.full(num_families, 1 / num_families), repeats).astype(np.float64)


def auc(trial: Trial, drawn: np.ndarray) -> Result:
    """See `scores`."""
    return scores(trial, drawn)[0]


def scores(trial: Trial, drawn: np.ndarray, top: float = TOP) -> tuple[Result, Result]:
    """AUC, and how often the real child is among the nearest `top` of the candidates (by chance `top`).

    The AUC is the mean over queries of the fraction of candidates that are farther away than the real child: for one
    query the area under the ROC curve of its one positive. A family that is drawn twice counts twice, as queries and as
    candidates. Queries without candidates do not count.
    """
    counts = trial.allowed.any(1)
    allowed = trial.allowed[counts].astype(np.float32)
    won = (trial.wins[counts] * allowed).astype(np.float32)
    beaten = won.sum(1, keepdims=True), won @ drawn[:, trial.candidate_family].T.astype(np.float32)  # [Q, 1], [Q, R]
    every = allowed.sum(1, keepdims=True), allowed @ drawn[:, trial.candidate_family].T.astype(np.float32)
    weights = np.ones((len(won), 1)), drawn[:, trial.query_family[counts]].T
    shares, some = [], []
    for part, whole in zip(beaten, every, strict=True):
        some.append(whole > 0)
        shares.append(np.divide(part, whole, out=np.zeros_like(part), where=some[-1]))
    results = []
    for score in (lambda share: share, lambda share: share >= 1 - top):
        one, repeats = (
            (score(share) * weight * known).sum(0) / np.maximum((weight * known).sum(0), 1e-12)
            for share, weight, known in zip(shares, weights, some, strict=True)
        )
        results.append(Result(float(one[0]), repeats))
    return results[0], results[1]


def median_rank(trial: Trial) -> tuple[float, int]:
    """The median place of the real child among itself and its candidates, and the median number of these."""
    counts = trial.allowed.sum(1)
    some = counts > 0
    if not some.any():
        return float("nan"), 0
    places = 1 + ((1 - trial.wins) * trial.allowed).sum(1)
    return float(np.median(places[some])), int(np.median(counts[some] + 1))


def mean_over(values: np.ndarray, families: np.ndarray, drawn: np.ndarray) -> Result:
    """The mean of values [Q] (NaN where there is none) of families [Q], with repeats over families."""
    known = np.isfinite(values)
    weights = drawn[:, families[known]]
    with np.errstate(invalid="ignore"):
        repeats = (weights @ values[known]) / weights.sum(1)
    return Result(float(values[known].mean()) if known.any() else float("nan"), repeats)
