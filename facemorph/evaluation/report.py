"""What all evaluations share: their files, the thresholds of their remarks, and the rows of their tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from facemorph.errors import InputError
from facemorph.files import replacing, write_json
from facemorph.plots import save

REPORT, PLOT, ARRAYS = "evaluation.json", "evaluation.png", "evaluation.npz"
LEAST_FACES = 16  # real ones
FEW_FACES = 256  # twice the descriptor's width: with fewer, covariances are mostly noise
SHOWN = 16  # samples in the plot, beside their nearest neighbours
COLLAPSED = 0.5  # of the real faces' diversity; below this a remark says so
COPIED = 0.25  # fraction of samples nearer to a training image than 95 % of real faces are to another, likewise


@dataclass(frozen=True)
class Evaluation:
    """`report` as in evaluation.json, and the `arrays` from which evaluation.png is plotted."""

    report: dict[str, Any]
    arrays: dict[str, np.ndarray]
    written: tuple[Path, ...]


def write_evaluation(output: Path, report: dict[str, Any], arrays: dict[str, np.ndarray], plot: Figure) -> Evaluation:
    """Write evaluation.json, evaluation.png and evaluation.npz into `output`.

    Raises:
        OutputError: they cannot be written.
    """
    written = output / REPORT, output / PLOT, output / ARRAYS
    write_json(written[0], _rounded(report))
    save(plot, written[1])
    with replacing(written[2]) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)
    return Evaluation(report, arrays, written)


def _rounded(value: Any) -> Any:
    """Numbers to six digits, more than are significant."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def output_folders(runs: list[Path], output: Path | None) -> list[Path]:
    """Where each run's evaluation goes: into the run, or into `output`; for several runs into a folder per name.

    Raises:
        InputError: two runs of the same name would go into one folder.
    """
    if output is None:
        return runs
    if len(runs) == 1:
        return [output]
    names = [path.resolve().name for path in runs]
    if len(set(names)) < len(names):
        raise InputError(f"Two runs have the same name: {', '.join(names)}.", "Evaluate them one at a time.")
    return [output / name for name in names]


def distance_rows(distances: dict[str, Any], *, with_bias: bool = False) -> list[tuple[str, str]]:
    """Lines of a table, label and value: both distances to real faces, over descriptors and over ImageNet features."""
    rows = []
    for space, title, digits in (("descriptors", "faces", 4), ("imagenet", "ImageNet", 2)):
        found = distances[space]
        for kind in ("frechet", "kernel"):
            value, low, high = (found[kind][key] for key in ("value", "low", "high"))
            label = f"{kind.capitalize()} distance, {title} (split-half baseline {found['floor'][kind]:.{digits}f})"
            rows.append((label, f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"))
            if with_bias and kind == "frechet":
                rows.append(("  of which bias, about", f"{found['frechet_bias']:.{digits}f}"))
    return rows


def memory_rows(memory: dict[str, float]) -> list[tuple[str, str]]:
    """Lines of a table, label and value: are the samples copies of training faces?"""
    return [
        ("nearest training face, median", f"{memory['samples_median']:.3f}"),
        ("  the same of real faces", f"{memory['real_median']:.3f}"),
        ("nearer than 95 % of real faces", f"{memory['nearer_share']:.0%}"),
    ]


def has_negative_kernel(distances: dict[str, Any]) -> bool:
    """Whether a kernel distance, its interval or its baseline is below 0, which a table should explain."""
    return any(
        min(one["kernel"]["value"], one["kernel"]["low"], one["floor"]["kernel"]) < 0 for one in distances.values()
    )
