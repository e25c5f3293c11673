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
    """The mean over queries of the fraction of candidates that are farther away than the real child.

    For one query it is the area under the ROC curve of its one positive. A family that is drawn twice counts twice, as
    queries and as candidates. Queries without candidates do not count.
    """
    won, allowed = trial.wins * trial.allowed, trial.allowed.astype(np.float64)
    return _over_families(won, allowed, trial, drawn, lambda share: share)


def top_share(trial: Trial, drawn: np.ndarray, top: float = TOP) -> Result:
    """The fraction of queries whose real child is among the nearest `top` of the candidates. By chance it is `top`."""
    won, allowed = trial.wins * trial.allowed, trial.allowed.astype(np.float64)
    return _over_families(won, allowed, trial, drawn, lambda share: share >= 1 - top)


def median_rank(trial: Trial) -> tuple[float, int]:
    """The median place of the real child among itself and its candidates, and the median number of these."""
    counts = trial.allowed.sum(1)
    some = counts > 0
    places = 1 + ((1 - trial.wins) * trial.allowed).sum(1)
    return float(np.median(places[some])), int(np.median(counts[some] + 1))


def _over_families(won, allowed, trial: Trial, drawn: np.ndarray, score) -> Result:  # type: ignore[no-untyped-def]
    def mean(as_candidate: np.ndarray, as_query: np.ndarray) -> np.ndarray:  # [C, R], [Q, R] -> [R]
        beaten, all_of_them = won @ as_candidate, allowed @ as_candidate
        some = all_of_them > 0
        share = score(np.divide(beaten, all_of_them, out=np.zeros_like(beaten), where=some))
        weight = as_query * some
        with np.errstate(invalid="ignore"):
            return (share * weight).sum(0) / weight.sum(0)

    one = mean(np.ones((won.shape[1], 1)), np.ones((len(won), 1)))
    repeats = mean(drawn[:, trial.candidate_family].T, drawn[:, trial.query_family].T)
    return Result(float(one[0]), repeats)


def mean_over(values: np.ndarray, families: np.ndarray, drawn: np.ndarray) -> Result:
    """The mean of values [Q] (NaN where there is none) of families [Q], with repeats over families."""
    known = np.isfinite(values)
    weights = drawn[:, families[known]]
    with np.errstate(invalid="ignore"):
        repeats = (weights @ values[known]) / weights.sum(1)
    return Result(float(values[known].mean()) if known.any() else float("nan"), repeats)
