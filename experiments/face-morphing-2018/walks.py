"""Figures 12 and 13: measures of the walks of the successful runs."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.stats
from runs import Sources

WALKED = ("mixed-paper", "mixed-ours", "man-aligned-paper", "woman-aligned-paper", "mixed-paper-long", "told-ours")


def judge_walk(measures: dict[str, list[float]]) -> dict[str, Any]:
    """Ends, middle and maximum of each distance, its rank correlation with the step, and the coefficient of variation
    of the step sizes (0: all equal)."""
    judged: dict[str, Any] = {}
    for label, row in measures.items():
        values = np.array(row)
        if label.startswith("to "):
            spearman: Any = scipy.stats.spearmanr(np.arange(len(values)), values)
            judged[label] = {
                "first": values[0], "middle": values[len(values) // 2], "last": values[-1], "most": values.max(),
                "rank correlation": float(spearman.statistic),
            }  # fmt: skip
        else:
            judged[label] = {"variation": float(values.std() / values.mean()), "largest": values.max()}
    return judged


def walk_all(sources: Sources, scale: str, seeds: int, facemorph: Callable[..., str]) -> dict[str, Any]:
    """Walks of every existing run of WALKED: the paper's diagonal for one person, from man to woman for two.

    None for a run that does not generate both persons.
    """
    walks: dict[str, Any] = {}
    for name in WALKED:
        for seed in range(seeds):
            run = sources.work / "runs" / scale / f"{name}-{seed}"
            if not (run / "evaluation.json").exists():
                continue
            ends = ["--from-person", "man", "--to-person", "woman"] if name.startswith(("mixed", "told")) else []
            stem = "man-to-woman" if ends else "diagonal"
            shown = json.loads((run / "evaluation.json").read_text())["samples_show"]["most_like"]
            if ends and not all(shown.values()):
                walks[run.name] = None
                continue
            measured = run / "walks" / f"{stem}-measure.json"
            if not measured.exists():
                facemorph("walk", "-q", run, *ends, "--measure")
            walks[run.name] = judge_walk(json.loads(measured.read_text()))
    return walks
