"""Figures 12 and 13: the walks of the runs that succeeded, measured."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from runs import RECIPES, Sources

KINDS = ("mixed", "man-aligned", "woman-aligned")
WALKED = (*(f"{kind}-{recipe}" for kind in KINDS for recipe in RECIPES), "mixed-paper-long", "mixed-ours-long")


def ranks(values: np.ndarray) -> np.ndarray:
    """0 for the least, equal values sharing the mean of their ranks."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    return (first + (counts - 1) / 2)[where]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, of two rows [N]."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def judge_walk(measures: dict[str, list[float]]) -> dict[str, Any]:
    """Ends, middle, rank correlation of each distance with the step, and how even the steps are (their coefficient of
    variation: 0 is perfectly even)."""
    judged: dict[str, Any] = {}
    for label, row in measures.items():
        values = np.array(row)
        if label.startswith("to "):
            steps = np.arange(len(values))
            judged[label] = {
                "first": values[0], "middle": values[len(values) // 2], "last": values[-1], "most": values.max(),
                "rank correlation": rank_correlation(steps, values),
            }  # fmt: skip
        else:
            judged[label] = {"variation": float(values.std() / values.mean()), "largest": values.max()}
    return judged


def walk_all(sources: Sources, scale: str, seeds: int, facemorph: Callable[..., str]) -> dict[str, Any]:
    """Walk and judge every run of WALKED that is there: the paper's walk for one person, from man to woman for two.

    None where there is no walk, as between the persons of a run that draws neither.
    """
    found: dict[str, Any] = {}
    for name in WALKED:
        for seed in range(seeds):
            run = sources.work / "runs" / scale / f"{name}-{seed}"
            if not (run / "health.json").exists():
                continue
            ends = ["--from-person", "man", "--to-person", "woman"] if name.startswith("mixed") else []
            stem = "man-to-woman" if ends else "diagonal"
            measured = run / "walks" / f"{stem}-measure.json"
            try:
                if not measured.exists():
                    facemorph("walk", "-q", run, *ends, "--measure")
            except SystemExit:  # a run that draws nobody has no ends to walk between
                found[run.name] = None
                continue
            found[run.name] = judge_walk(json.loads(measured.read_text()))
    return found
