"""Plots from a run folder or a report alone: no network, no torch, no GPU."""

import time
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
from facemorph.stylegan.training.run import GeneratorRun
from facemorph.stylegan.training.run import describe_run as describe_generator_run

FORMATS = {".png", ".svg", ".pdf"}
D_COLOUR, G_COLOUR = "#1f6fb4", "#d1602c"
GOOD, BAD, OPEN = "#2a7d3f", "#b3261e", "#8a6d00"
VERDICT_COLOURS = {
    "stable": GOOD, "failed": BAD, "undecided": OPEN, "improving": GOOD, "level": OPEN, "worse": BAD,
}  # fmt: skip


def save(figure: Figure, path: Path) -> None:
    """Write a figure atomically.

    Raises:
        RunError: the suffix is none of PNG, SVG and PDF.
    """
    if path.suffix.lower() not in FORMATS:
        raise RunError(f"Cannot draw {path}: its suffix should be one of {', '.join(sorted(FORMATS))}.")
    FigureCanvasAgg(figure)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)


def plot_losses(runs: Sequence[Run]) -> Figure:
    """d-loss and g-loss against iteration, raw and smoothed, with the paper's band, the equilibria, the loss verdict,
    and the faces detected on the last sample grid, where they were counted.

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
            0.02, 0.97, f"loss verdict: {health.verdict}", transform=top.transAxes, va="top", fontsize=10,
            weight="bold", color=VERDICT_COLOURS[health.verdict],
        )  # fmt: skip
        counted = run.sample_faces()
        if counted and counted.step == health.steps:
            colour = VERDICT_COLOURS["stable" if counted.usable else "failed"]
            top.text(0.02, 0.88, str(counted), transform=top.transAxes, va="top", fontsize=8, color=colour)
        bottom.set_title(health.reason, fontsize=7, wrap=True)
    for axis, name, key in zip(axes[:, 0], ("d-loss", "g-loss"), ("d_loss", "g_loss"), strict=True):
        axis.set_ylabel(name)
        # A single spike should not flatten the rest.
        top = max(float(np.nanpercentile(run.losses()[key], 99.5)) for run in runs)
        axis.set_ylim(0, max(1.5, 1.15 * top))
    return figure


# The curves of a generator's run: for each panel its title, and the columns of log.csv or figures.csv in it.
LOSS_PANELS = (
    ("judges and generator", ("d_loss", "g_loss")),
    ("rebuilt against real, as trained", ("pixels", "features", "identity", "descriptor", "latent")),
)
FIGURE_PANELS = (
    ("Frechet distance of generated faces", ("frechet_faces", "frechet_imagenet")),
    ("held-out faces, rebuilt", ("rebuilt_pixels", "rebuilt_features", "rebuilt_descriptor")),
)


def plot_generator_runs(runs: Sequence[GeneratorRun]) -> Figure:
    """Losses and figures of `train-generator` against the step, each curve as a multiple of its value at the start.

    Several runs stand side by side.
    """
    figure = Figure(figsize=(max(6.4, 5.4 * len(runs)), 9), layout="constrained")
    axes = figure.subplots(4, len(runs), sharex="col", squeeze=False)
    for column, run in zip(axes.T, runs, strict=True):
        losses, figures, health = run.losses(), run.figures(), run.health()
        if not len(losses["step"]):
            raise RunError(f"{run.log.path} has no steps yet.", "Train first.")
        for axis, (title, names) in zip(column[:2], LOSS_PANELS, strict=True):
            _plot_columns(axis, title, losses, names)
        column[0].axhline(0, color="black", lw=0.5)
        for axis, (title, names) in zip(column[2:], FIGURE_PANELS, strict=True):
            _plot_relative(axis, title, figures, names)
        column[-1].set_xlabel("step")
        figure_title = f"{describe_generator_run(run)}\n{health.verdict}: {health.reason}"
        column[0].text(
            0.0, 1.16, figure_title, transform=column[0].transAxes, fontsize=8, wrap=True,
            color=VERDICT_COLOURS[health.verdict],
        )  # fmt: skip
    return figure


def _plot_columns(axis: Any, title: str, table: dict[str, np.ndarray], names: Sequence[str]) -> None:
    """Columns of a log, raw and smoothed; those of terms that took no part are left out."""
    axis.set_title(title, fontsize=8, loc="left")
    for number, name in enumerate(names):
        values = np.where(np.isfinite(table[name]) & (table[name] != 0), table[name], np.nan)
        if np.isnan(values).all():
            continue
        axis.plot(table["step"], values, color=f"C{number}", alpha=0.25, lw=0.5)
        finite = np.isfinite(values)
        axis.plot(
            table["step"][finite], smooth(values[finite]), color=f"C{number}", lw=1.6, label=name.replace("_", "-")
        )
    _finish(axis)


def _plot_relative(axis: Any, title: str, table: dict[str, np.ndarray], names: Sequence[str]) -> None:
    axis.set_title(f"{title}, as a multiple of the first", fontsize=8, loc="left")
    for name in names:
        finite = np.isfinite(table[name])
        if finite.any():
            first, last = table[name][finite][[0, -1]]
            label = f"{name.partition('_')[2]}: {first:.3g} -> {last:.3g}"
            axis.plot(table["step"][finite], table[name][finite] / (first or 1), marker=".", label=label)
    axis.set_ylim(bottom=0)
    _finish(axis, "lower left")


def _finish(axis: Any, place: str = "upper right") -> None:
    axis.grid(alpha=0.2)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7, loc=place, framealpha=0.8)
    else:
        axis.text(0.5, 0.5, "none took part so far", ha="center", va="center", fontsize=8, transform=axis.transAxes)


class LivePlot:
    """For both trainings: keeps loss.png up to date while a run trains, in at most 5 % of the time."""

    def __init__(self) -> None:
        self.next = 0.0

    def __call__(self, run: Run | GeneratorRun, finished: bool) -> None:
        started = time.monotonic()
        if started < self.next and not finished:
            return
        figure = plot_losses([run]) if isinstance(run, Run) else plot_generator_runs([run])
        save(figure, run.path / "loss.png")
        self.next = time.monotonic() + 20 * (time.monotonic() - started)


def plot_walk(measures: dict[str, np.ndarray], unit: str = "descriptor distance") -> Figure:
    """At each step of a walk the distance to each person, and the size of the step.

    `measures` holds a column [steps] by label; those that begin with "step size" are plotted below.
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
    """The report of `facemorph.evaluation.morphs.evaluate_morph`: distances to both ends, and the size of each step."""
    nan = float("nan")
    known = {
        "to the first": [nan if value is None else value for value in found["to_first"]],
        "to the last": [nan if value is None else value for value in found["to_last"]],
    }
    for label, key in ((found["perceptual_distance"], "perceptual_steps"), ("descriptor", "descriptor_steps")):
        known[f"step size, {label}"] = [nan if value is None else value for value in found[key]["sizes"]]
    return plot_walk({label: np.array(values) for label, values in known.items()})


def plot_family(found: dict[str, Any]) -> Figure:
    """Each child by its descriptor distances to both parents, beside those of unrelated people and of one person."""
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
