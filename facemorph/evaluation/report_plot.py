"""evaluation.png: a run's report as a table, plots and images."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure

REAL_COLOUR, SAMPLE_COLOUR, BETWEEN_COLOUR = "#e08214", "#1f6fb4", "#6a3d9a"
NO_FACE = "no face is detected in the samples:\nnothing to compare"
NOTES = (
    "Distances between faces are Euclidean, between dlib's descriptors; below 0.6 dlib calls two faces one person.",
    "Split-half baseline: the distance between two random halves of the real faces. A generator as good as the data "
    "would come near it.",
)
NEGATIVE_KERNEL = (
    "A kernel distance below 0 means 0 within its error: the estimate is unbiased, so it scatters around 0."
)


def plot_evaluation(report: dict[str, Any], arrays: dict[str, np.ndarray]) -> Figure:
    """A run's evaluation, from evaluation.json and evaluation.npz alone: a table, plots of what lies behind it, and
    samples beside the training images that are nearest to them."""
    figure = Figure(figsize=(15, 10), layout="constrained")
    figure.suptitle(f"{report['run']}: {report['samples']} samples, seed {report['seed']}", fontsize=11)
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=(2.3, 1)))
    left, right = np.asarray(above.subfigures(1, 2, width_ratios=(1, 2)))
    _write_table(left.subplots(), report)
    axes = right.subplots(2, 3)
    panels = [
        ("Whom do the samples look like?", axes[0, 0], lambda axis: _plot_persons(axis, arrays)),
        ("Copies of training images?", axes[0, 1], lambda axis: _plot_nearest(axis, report, arrays)),
        ("Steps of random walks", axes[0, 2], lambda axis: _plot_steps(axis, arrays["steps"])),
        ("Range of expressions", axes[1, 0], lambda axis: _plot_expressions(axis, report)),
        ("Fraction of the real expressions covered", axes[1, 1], lambda axis: _plot_coverage(axis, report)),
    ]
    for title, axis, plot in panels:
        axis.set_title(title, fontsize=9)
        if report["samples_show"]["seen"]:
            plot(axis)
        else:
            _say(axis, NO_FACE)
    _write_legend(axes[1, 2])
    _show_neighbours(below, report, arrays)
    return figure


def _short(value: float) -> str:
    """Three digits, without an exponent for large numbers."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _say(axis: Any, text: str) -> None:
    axis.text(0.5, 0.5, text, ha="center", va="center", fontsize=9, color="#b3261e", transform=axis.transAxes)
    axis.set_xticks([])
    axis.set_yticks([])


def _write_legend(axis: Any) -> None:
    """One legend for all panels, with the words that they use."""
    axis.axis("off")
    for colour, label in (
        (REAL_COLOUR, "real faces (training data)"),
        (SAMPLE_COLOUR, "samples of the run"),
        (BETWEEN_COLOUR, "samples between two persons"),
    ):
        axis.plot([], [], color=colour, lw=6, label=label)
    axis.plot([], [], color="black", lw=0.8, ls=":", label="limit: one person; nearer than 95 % of real faces")
    axis.legend(fontsize=9, loc="upper left", frameon=False)
    axis.text(
        0.04,
        0.55,
        "\n\n".join(textwrap.fill(note, 46) for note in NOTES),
        fontsize=8.5,
        va="top",
        transform=axis.transAxes,
    )


def _write_table(axis: Any, report: dict[str, Any]) -> None:
    """Headings with rows of a label and two columns, then notes."""
    samples, real = report["samples_show"], report["data_shows"]
    distances, notes = [], []
    for space, title in (("descriptors", "face descriptors"), ("imagenet", "ImageNet features")):
        found = report["distances"].get(space)
        if found is None:
            continue
        for kind, name in (("frechet", "Fréchet"), ("kernel", "Kernel (KID-style)")):
            one, baseline = found[kind], found["floor"][kind]
            value = f"{_short(one['value'])} ({_short(one['low'])} to {_short(one['high'])})"
            distances.append((f"{name}, {title}", value, f"{baseline:.2g}"))
            if kind == "frechet":
                distances.append(("    of which bias, about", f"{found['frechet_bias']:.2g}", ""))
            elif min(one["value"], baseline) < 0 and NEGATIVE_KERNEL not in notes:
                notes.append(NEGATIVE_KERNEL)
    if not samples["seen"]:
        notes.append("No face is detected in the samples, so their face descriptors mean little.")
    labels = {"seen": "a face is detected", "near_a_person": "nearer than 0.6 to a person"}
    labels["between_persons"] = "between two persons"
    fractions = [(label, f"{samples[key]:.1%}", f"{real[key]:.1%}") for key, label in labels.items()]
    fractions += [
        (f"most like {name}", f"{fraction:.1%}", f"{real['most_like'][name]:.1%}")
        for name, fraction in samples["most_like"].items()
    ]
    diversity = [(key, f"{one['samples']:.3f}", f"{one['data']:.3f}") for key, one in report["diversity"].items()]
    sections = (
        ("Distance to real faces", "value (95 % interval)", "split-half", distances),
        ("Fraction of images", "samples", "real", fractions),
        ("Mean distance of two images", "samples", "real", diversity),
    )
    lines: list[tuple[str, str, str, str]] = []
    for heading, first, second, rows in sections:
        lines.append((heading, first, second, "bold"))
        for label, one, other in rows:
            name, *rest = textwrap.wrap(label, 40, drop_whitespace=False)
            lines += [(name, one, other, "normal"), *((part, "", "", "normal") for part in rest)]
        lines.append(("", "", "", "normal"))
    lines += [(part, "", "", "normal") for note in notes for part in textwrap.wrap(note, 64)]
    axis.axis("off")
    height = min(0.036, 1 / len(lines))
    for index, (label, first, second, weight) in enumerate(lines):
        for x, align, text in ((0, "left", label), (0.8, "right", first), (1, "right", second)):
            axis.text(x, 1 - index * height, text, ha=align, va="top", fontsize=8, weight=weight)


def _plot_persons(axis: Any, arrays: dict[str, np.ndarray]) -> None:
    """Two persons: distance to one against distance to the other; otherwise the distance to the nearest."""
    names = [str(name) for name in arrays["persons"]]
    samples = arrays["samples_to_persons"]
    samples = samples[arrays["samples_detected"]] if "samples_detected" in arrays else samples
    for to, colour in ((arrays["real_to_persons"], REAL_COLOUR), (samples, SAMPLE_COLOUR)):
        if len(names) == 2:
            axis.scatter(*to.T, s=5, alpha=0.4, color=colour, lw=0)
        else:
            axis.hist(to.min(1), bins=40, density=True, alpha=0.5, color=colour)
    axis.axvline(0.6, color="black", lw=0.8, ls=":")
    axis.set_xlim(left=0)
    if len(names) == 2:
        axis.axhline(0.6, color="black", lw=0.8, ls=":")
        axis.set_ylim(bottom=0)
        axis.set_xlabel(f"distance to {names[0]}", fontsize=8)
        axis.set_ylabel(f"distance to {names[1]}", fontsize=8)
    else:
        axis.set_xlabel("distance to the nearest person" if names[1:] else f"distance to {names[0]}", fontsize=8)
        axis.set_yticks([])


def _plot_nearest(axis: Any, report: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    real = arrays["real_nearest"][np.isfinite(arrays["real_nearest"])]
    high = max(real.max(initial=0.1), float(np.quantile(arrays["samples_nearest"], 0.99)))
    bins = np.linspace(0, high, 40).tolist()
    for values, colour in ((real, REAL_COLOUR), (arrays["samples_nearest"], SAMPLE_COLOUR)):
        axis.hist(values, bins, density=True, alpha=0.5, color=colour)
    found = report["memory"]["descriptors"]
    axis.axvline(found["limit"], color="black", lw=0.8, ls=":")
    text = f"distance to the nearest other training face;\n{found['nearer_share']:.1%} of samples below the limit"
    axis.set_xlabel(text, fontsize=8)
    axis.set_yticks([])


def _plot_expressions(axis: Any, report: dict[str, Any]) -> None:
    """Ranges, relative to the real one."""
    whole, middle = report["expressions"], report["expressions_between_persons"]
    real = whole["ends"]["real"]
    rows = (
        (real, REAL_COLOUR),
        (whole["ends"].get("samples"), SAMPLE_COLOUR),
        (middle["ends"].get("samples"), BETWEEN_COLOUR),
    )
    for shift, (ends, colour) in enumerate(rows):
        for place, (name, (low, high)) in enumerate(real.items()):
            if ends is None:
                continue
            start, stop = ((end - low) / max(high - low, 1e-9) for end in ends[name])
            y = place + 0.22 * (shift - 1)
            axis.plot([start, stop], [y, y], color=colour, lw=5, solid_capstyle="butt")
    axis.set_yticks(range(len(real)), [name.replace("_", "\n") for name in real], fontsize=8)
    axis.set_ylim(len(real) - 0.5, -0.5)
    axis.set_xlim(-0.6, 1.6)
    axis.set_xlabel("5th to 95th percentile; real faces: 0 to 1", fontsize=8)
    axis.grid(alpha=0.2, axis="x")


def _plot_steps(axis: Any, steps: np.ndarray) -> None:
    for walk in steps:
        axis.plot(np.arange(1, len(walk) + 1), walk, marker=".", lw=0.8, color=SAMPLE_COLOUR, alpha=0.6)
    axis.set_ylim(bottom=0)
    axis.set_xlabel(f"step ({len(steps)} walks)", fontsize=8)
    axis.set_ylabel("distance to the step before", fontsize=8)
    axis.grid(alpha=0.2)


def _plot_coverage(axis: Any, report: dict[str, Any]) -> None:
    groups = (
        ("all samples", report["expressions"], SAMPLE_COLOUR),
        ("between persons", report["expressions_between_persons"], BETWEEN_COLOUR),
    )
    for place, (_, found, colour) in enumerate(groups):
        if not found["compared"]:
            axis.text(place, 0.05, "too few\nfaces", ha="center", fontsize=8)
            continue
        for shift, value, of in ((-0.2, found["coverage_real"], REAL_COLOUR), (0.2, found["coverage"], colour)):
            axis.bar(place + shift, value, 0.38, color=of)
            axis.text(place + shift, value + 0.01, f"{value:.0%}", ha="center", fontsize=8)
    axis.set_xticks(
        range(len(groups)), [f"{name}\n({found['compared']} faces)" for name, found, _ in groups], fontsize=8
    )
    axis.set_xlim(-0.6, 1.6)
    axis.set_ylim(0, 1.1)


def _show_neighbours(figure: Any, report: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """In each column a sample, its nearest training face, and its nearest training image in pixels."""
    rows: list[tuple[str, np.ndarray, Any]] = [("sample", arrays["shown"], ())]
    if report["samples_show"]["seen"]:
        rows.append(("nearest by descriptor", arrays["shown_nearest"], arrays["shown_distance"]))
    rows.append(("nearest in pixels", arrays["shown_nearest_in_pixels"], arrays["shown_distance_in_pixels"]))
    side = arrays["shown"].shape[1]
    across, down = side * 9 // 8, side * 10 // 8
    sheet = np.full((down * len(rows), across * len(arrays["shown"]), 3), 255, np.uint8)
    axis = figure.subplots()
    for row, (name, images, distances) in enumerate(rows):
        axis.text(-side / 8, row * down + side / 2, name.replace(" ", "\n", 1), fontsize=8, ha="right", va="center")
        for column, image in enumerate(images):
            sheet[row * down : row * down + side, column * across : column * across + side] = image
        for column, distance in enumerate(distances):
            place = column * across + side / 2, row * down + side * 1.02
            axis.text(*place, f"{distance:.3f}", fontsize=6.5, ha="center", va="top")
    axis.imshow(sheet, interpolation="nearest")
    axis.axis("off")
    axis.set_title(
        "Samples and the training images nearest to them with their distances, from the nearest (left) to the farthest",
        fontsize=9,
    )
