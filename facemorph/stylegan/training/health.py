"""What a run's log and figures say: is it learning, have the judges won, are all generated faces alike?"""

from dataclasses import dataclass

import numpy as np

COLLAPSED = 0.3  # of the real faces' diversity; below, generated faces are nearly identical
WON = 0.1  # the judges' loss, of at most about 2, below which they are certain
RECENT = 100  # steps that are looked at for it
BETTER = 0.98  # a figure that falls below this share of its first value has improved


@dataclass(frozen=True)
class Health:
    """The verdict: improving, level, failed or undecided, the reason in words, and figures.

    Attributes:
        d_loss: the judges', median of the last `RECENT` steps.
        first, last: figures by name, at the first and at the last time; those that could be measured both times.
    """

    verdict: str
    reason: str
    steps: int
    d_loss: float
    first: dict[str, float]
    last: dict[str, float]


def judge(losses: dict[str, np.ndarray], figures: dict[str, np.ndarray]) -> Health:
    """The verdict on the columns of log.csv and figures.csv."""
    steps = len(losses["step"])
    recent = losses["d_loss"][-RECENT:]
    d_loss = float(np.median(recent)) if steps else float("nan")
    names = [name for name in figures if name.startswith(("frechet", "rebuilt"))]
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for name in names:
        measured = figures[name][np.isfinite(figures[name])]
        if len(measured) > 1:
            first[name], last[name] = float(measured[0]), float(measured[-1])
    finite = all(np.isfinite(column).all() for column in losses.values())
    verdict, reason = _verdict(finite, d_loss, len(recent), _last(figures["diversity"]), first, last)
    return Health(verdict, reason, steps, d_loss, first, last)


def _verdict(
    finite: bool, d_loss: float, recent: int, diversity: float, first: dict[str, float], last: dict[str, float]
) -> tuple[str, str]:
    if not finite:
        return "failed", "a loss is NaN or infinite"
    if diversity < COLLAPSED:
        reason = f"the generated faces are nearly identical: their diversity is {diversity:.0%} of the real faces'"
        return "failed", reason
    if recent == RECENT and 0 < d_loss < WON:
        return "failed", f"the judges have won: their loss is {d_loss:.3f}"
    better = [name for name in first if last[name] < BETTER * first[name]]
    worse = [name for name in first if last[name] > first[name] / BETTER]
    changes = ", ".join(f"{name.replace('_', ' ')} {first[name]:.3g} -> {last[name]:.3g}" for name in first)
    if not first:
        return "undecided", "figures have been taken less than twice"
    if len(better) > len(worse):
        return "improving", changes
    return "level" if not worse else "worse", changes


def _last(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else float("nan")
