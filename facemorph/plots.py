"""Every plot, drawn from a run folder or from measured numbers alone: no network, no torch, no GPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from facemorph.dcgan.health import BAND, EQUILIBRIUM_D, EQUILIBRIUM_G, smooth
from facemorph.dcgan.run import Run, describe_run
from facemorph.errors import RunError
from facemorph.files import replacing

FORMATS = {".png", ".svg", ".pdf"}
D_COLOUR, G_COLOUR = "#1f6fb4", "#d1602c"
VERDICT_COLOURS = {"stable": "#2a7d3f", "failed": "#b3261e", "undecided": "#8a6d00"}


def save(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all.

    Raises:
        RunError: the suffix is none of PNG, SVG and PDF.
    """
    if path.suffix.lower() not in FORMATS:
        raise RunError(f"Cannot draw {path}: its suffix should be one of {', '.join(sorted(FORMATS))}.")
    FigureCanvasAgg(figure)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)


def plot_losses(runs: Sequence[Run]) -> Figure:
    """d-loss and g-loss against iteration, raw and smoothed, with the paper's band, the equilibria and the verdict.

    Several runs stand side by side on equal axes. As figures 7, 10, 15 and 17 of the 2018 paper.
    """
    columns = len(runs)
    figure = Figure(figsize=(max(6.4, 4.6 * columns), 5.6), layout="constrained")
    axes = figure.subplots(2, columns, sharex=True, sharey="row", squeeze=False)
    for column, run in enumerate(runs):
        losses, health = run.losses(), run.health()
        if not len(losses["step"]):
            raise RunError(f"{run.log} has no steps yet.", "Train first.")
        top, bottom = axes[:, column]
        floor = health.d_floor
        top.axhspan(floor + BAND[0], floor + BAND[1], color=D_COLOUR, alpha=0.12, lw=0, label="the paper's band")
        for axis, name, colour, equilibrium in (
            (top, "d_loss", D_COLOUR, EQUILIBRIUM_D),
            (bottom, "g_loss", G_COLOUR, EQUILIBRIUM_G),
        ):
            values = np.where(np.isfinite(losses[name]), losses[name], np.nan)
            axis.plot(losses["step"], values, color=colour, alpha=0.25, lw=0.5)
            axis.plot(losses["step"], smooth(values), color=colour, lw=1.6, label=name.replace("_", "-"))
            axis.axhline(equilibrium, color="black", lw=0.8, ls=":", label=f"equilibrium {equilibrium:.2f}")
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.2)
            axis.legend(loc="upper right", fontsize=7, framealpha=0.8)
        bottom.set_xlabel("iteration")
        top.set_title(describe_run(run), fontsize=8, wrap=True)
        top.text(
            0.02, 0.97, health.verdict, transform=top.transAxes, va="top", fontsize=12, weight="bold",
            color=VERDICT_COLOURS[health.verdict],
        )  # fmt: skip
        bottom.set_title(health.reason, fontsize=7, wrap=True)
    for axis, name, key in zip(axes[:, 0], ("d-loss", "g-loss"), ("d_loss", "g_loss"), strict=True):
        axis.set_ylabel(name)
        # A single spike should not press all else flat.
        top = max(float(np.nanpercentile(run.losses()[key], 99.5)) for run in runs)
        axis.set_ylim(0, max(1.5, 1.15 * top))
    return figure


def plot_walk(measures: dict[str, np.ndarray], unit: str = "descriptor distance") -> Figure:
    """What a walk does from step to step: distance to each person, and how far apart neighbours are.

    `measures` holds a column [steps] by label; those that begin with "step size" are drawn below.
    """
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    for label, values in measures.items():
        if label.startswith("step size"):
            bottom.plot(np.arange(1, len(values) + 1), values, marker=".", label=label)
        else:
            top.plot(values, marker=".", label=label)
    top.axhline(0.6, color="black", lw=0.8, ls=":", label="same person below 0.6")
    top.set_ylabel(unit)
    bottom.set_ylabel("from the step before")
    bottom.set_xlabel("step")
    for axis in (top, bottom):
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.2)
        axis.legend(fontsize=7)
    return figure


def plot_morph(found: dict[str, Any]) -> Figure:
    """Figures of `facemorph.evaluation.morphs.evaluate_morph`: distances to both ends, and the size of each step."""
    nan = float("nan")
    known = {
        "to the first": [nan if value is None else value for value in found["to_first"]],
        "to the last": [nan if value is None else value for value in found["to_last"]],
    }
    for label, key in ((found["perceptual_distance"], "perceptual_steps"), ("descriptor", "descriptor_steps")):
        known[f"step size, {label}"] = [nan if value is None else value for value in found[key]["sizes"]]
    return plot_walk({label: np.array(values) for label, values in known.items()})


def plot_family(found: dict[str, Any]) -> Figure:
    """Each child by its descriptor distances to both parents, within those of unrelated people and of one person."""
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axis = figure.subplots()
    for child in found["children"]:
        if child["to_mother"] is None:
            continue
        axis.plot(child["to_mother"], child["to_father"], "o", color="tab:blue")
        name = child["picture"].removesuffix(".png").replace("_", " ")
        axis.annotate(
            name, (child["to_mother"], child["to_father"]), fontsize=7, xytext=(4, 4), textcoords="offset points"
        )
    for line in (axis.axvline, axis.axhline):
        line(0.6, color="black", lw=0.8, ls=":")
        line(found["unrelated"]["median"], color="tab:red", lw=0.8, ls="--")
    axis.plot([], [], color="black", lw=0.8, ls=":", label="same person below 0.6")
    axis.plot([], [], color="tab:red", lw=0.8, ls="--", label="unrelated people, median")
    axis.set_xlim(0, 1.2)
    axis.set_ylim(0, 1.2)
    axis.set_xlabel("descriptor distance to the mother")
    axis.set_ylabel("descriptor distance to the father")
    axis.grid(alpha=0.2)
    axis.legend(fontsize=7)
    return figure


REAL_COLOUR, SAMPLE_COLOUR, BETWEEN_COLOUR = "#777777", "#1f6fb4", "#d1602c"


def plot_evaluation(report: dict[str, Any], arrays: dict[str, np.ndarray]) -> Figure:
    """A run's evaluation, from evaluation.json and evaluation.npz alone: the figures, and samples beside the training
    images that they are nearest to."""
    figure = Figure(figsize=(13, 9.6), layout="constrained")
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=(2.3, 1)))
    axes = above.subplots(2, 3)
    above.suptitle(f"{report['run']}: {report['samples']} samples, seed {report['seed']}", fontsize=10)
    _write_figures(axes[0, 0], report)
    _plot_persons(axes[0, 1], arrays)
    _plot_nearest(axes[0, 2], report, arrays)
    _plot_expressions(axes[1, 0], report)
    _plot_steps(axes[1, 1], arrays["steps"])
    _plot_coverage(axes[1, 2], report)
    _show_neighbours(below, arrays)
    return figure


def _write_figures(axis: Any, report: dict[str, Any]) -> None:
    axis.axis("off")
    lines = []
    for space, found in report["distances"].items():
        lines.append(f"over {space}")
        for name in ("frechet", "kernel"):
            one = found[name]
            lines.append(f"  {name:7} {one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})")
            lines.append(f"          halves of the data {found['floor'][name]:.4f}")
        lines.append(f"  of the Frechet distance about {found['frechet_bias']:.4f} is bias")
    samples, data = report["samples_show"], report["data_shows"]
    lines += ["", "                        samples   data"]
    for label, key in (
        ("a face is seen", "seen"),
        ("somebody (< 0.6)", "near_a_person"),
        ("between", "between_persons"),
    ):
        lines.append(f"  {label:21} {samples[key]:7.1%} {data[key]:7.1%}")
    for name, share in samples["most_like"].items():
        lines.append(f"  {'most like ' + name:21.21} {share:7.1%} {data['most_like'][name]:7.1%}")
    lines.append("")
    for space, found in report["diversity"].items():
        lines.append(f"  diversity, {space:11} {found['samples']:.3f}   {found['data']:.3f}")
    axis.text(0, 1, "\n".join(lines), family="monospace", fontsize=7.5, va="top", transform=axis.transAxes)


def _plot_persons(axis: Any, arrays: dict[str, np.ndarray]) -> None:
    """Two persons: distance to one against distance to the other; otherwise the distance to the nearest."""
    names = [str(name) for name in arrays["persons"]]
    kinds = (("real", "real_to_persons", REAL_COLOUR), ("samples", "samples_to_persons", SAMPLE_COLOUR))
    for label, key, colour in kinds:
        to = arrays[key]
        if len(names) == 2:
            axis.scatter(*to.T, s=5, alpha=0.35, color=colour, label=label, lw=0)
        else:
            axis.hist(to.min(1), bins=40, density=True, alpha=0.5, color=colour, label=label)
    axis.axvline(0.6, color="black", lw=0.8, ls=":")
    axis.set_xlim(left=0)
    if len(names) == 2:
        axis.axhline(0.6, color="black", lw=0.8, ls=":")
        axis.set_ylim(bottom=0)
        axis.set_xlabel(f"descriptor distance to {names[0]}")
        axis.set_ylabel(f"to {names[1]}")
    else:
        axis.set_xlabel("descriptor distance to the nearest person" if names[1:] else f"distance to {names[0]}")
        axis.set_yticks([])
    axis.legend(fontsize=7)
    axis.set_title("Whom do they look like? One person below 0.6", fontsize=8)


def _plot_nearest(axis: Any, report: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    real = arrays["real_nearest"][np.isfinite(arrays["real_nearest"])]
    high = max(real.max(initial=0.1), float(np.quantile(arrays["samples_nearest"], 0.99)))
    bins = np.linspace(0, high, 40).tolist()
    axis.hist(real, bins, density=True, alpha=0.5, color=REAL_COLOUR, label="real face to one elsewhere in the clip")
    axis.hist(arrays["samples_nearest"], bins, density=True, alpha=0.5, color=SAMPLE_COLOUR, label="sample to training")
    found = report["memory"]["descriptors"]
    axis.axvline(found["limit"], color="black", lw=0.8, ls=":")
    axis.set_xlabel("descriptor distance to the nearest training face")
    axis.set_yticks([])
    axis.legend(fontsize=7)
    axis.set_title(f"Copies? {found['nearer_share']:.1%} nearer than 95 % of real faces are", fontsize=8)


def _plot_expressions(axis: Any, report: dict[str, Any]) -> None:
    """Ranges, as shares of the real one."""
    whole, middle = report["expressions"], report["expressions_between_persons"]
    real = whole["ends"]["real"]
    rows = (
        ("real", real, REAL_COLOUR),
        ("samples", whole["ends"].get("samples"), SAMPLE_COLOUR),
        (f"between persons ({middle['faces']})", middle["ends"].get("samples"), BETWEEN_COLOUR),
    )
    for shift, (label, ends, colour) in enumerate(rows):
        for place, (name, (low, high)) in enumerate(real.items()):
            if ends is None:
                continue
            start, stop = ((end - low) / max(high - low, 1e-9) for end in ends[name])
            y = place + 0.22 * (shift - 1)
            axis.plot([start, stop], [y, y], color=colour, lw=5, solid_capstyle="butt", label="" if place else label)
    axis.set_yticks(range(len(real)), list(real))
    axis.set_ylim(len(real) - 0.5, -1.2)  # room for the legend above
    axis.set_xlim(-0.6, 1.6)
    axis.set_xlabel("5th to 95th percentile, real faces from 0 to 1")
    axis.grid(alpha=0.2, axis="x")
    axis.legend(fontsize=7, ncols=3, loc="upper center")
    axis.set_title("Range of expressions", fontsize=8)


def _plot_steps(axis: Any, steps: np.ndarray) -> None:
    for walk in steps:
        axis.plot(np.arange(1, len(walk) + 1), walk, marker=".", lw=0.8)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("step")
    axis.set_ylabel("descriptor distance")
    axis.grid(alpha=0.2)
    axis.set_title("Steps of random walks", fontsize=8)


def _plot_coverage(axis: Any, report: dict[str, Any]) -> None:
    found = [(name, report[key]) for name, key in _COVERAGES]
    for place, (_, one) in enumerate(found):
        axis.bar(
            place - 0.2, one["coverage_real"], 0.38, color=REAL_COLOUR, label="" if place else "by as many real faces"
        )
        axis.bar(place + 0.2, one["coverage"], 0.38, color=SAMPLE_COLOUR, label="" if place else "by samples")
    axis.set_xticks(range(len(found)), [f"{name}\n({one['compared']} compared)" for name, one in found], fontsize=8)
    axis.set_ylim(0, 1.2)
    axis.legend(fontsize=7, ncols=2, loc="upper center")
    axis.set_title("Share of the real expressions that is covered", fontsize=8)


_COVERAGES = (("all samples", "expressions"), ("between persons", "expressions_between_persons"))


def _show_neighbours(figure: Any, arrays: dict[str, np.ndarray]) -> None:
    """Columns of three: a sample, its nearest training face, its nearest in pixels."""
    rows = ("shown", "shown_nearest", "shown_nearest_in_pixels")
    captions = ((), arrays["shown_distance"], arrays["shown_distance_in_pixels"])
    side = arrays["shown"].shape[1]
    across, down = side * 9 // 8, side * 10 // 8
    sheet = np.full((down * len(rows), across * len(arrays["shown"]), 3), 255, np.uint8)
    axis = figure.subplots()
    for row, (key, distances) in enumerate(zip(rows, captions, strict=True)):
        for column, image in enumerate(arrays[key]):
            sheet[row * down : row * down + side, column * across : column * across + side] = image
        for column, distance in enumerate(distances):
            place = column * across + side / 2, row * down + side * 1.02
            axis.text(*place, f"{distance:.3f}", fontsize=6.5, ha="center", va="top")
    axis.imshow(sheet, interpolation="nearest")
    axis.axis("off")
    axis.set_title(
        "Samples, from the nearest to a training image (left) to the farthest; below each the nearest training face "
        "by descriptor, and by pixels, with the distances",
        fontsize=8,
    )
