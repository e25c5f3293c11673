"""Tables of results: verdicts, losses and distances of each run over its seeds, from lowest to highest."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Columns = dict[str, tuple[Callable[[Row], float | None], int]]  # heading: value of a row, digits


def distance_of(row: Row, space: str, kind: str = "frechet") -> float:
    """Of "descriptors" or "imagenet" features; to all faces of the person if the run was trained on some of them."""
    judged = row["evaluation"]
    return (judged["against"] or judged)["distances"][space][kind]["value"]


def diversity_of(row: Row, space: str) -> float:
    """Of "descriptors" or "pixels", in percent of the data's."""
    return 100 * row["evaluation"]["diversity"][space]["ratio"]


def expressions_of(row: Row, kind: str) -> float | None:
    """Percentage of the data's expressions that the samples cover; None if no face was detected."""
    judged = row["evaluation"]
    covered = (judged["against"] or {}).get(kind) or judged.get(kind)
    return 100 * covered["coverage"] if covered and covered["compared"] else None


def mirrored_of(row: Row) -> float | None:
    """Percentage of mirrored samples; None if no face was detected."""
    judged = row["evaluation"]
    return 100 * judged["mirrored"]["samples"] if judged["samples_show"]["seen"] else None


COLUMNS: Columns = {
    "d-loss": (lambda row: row["d_loss"], 2),
    "% in 0.3-1": (lambda row: 100 * row["d_in_band"], 0),
    "g-loss": (lambda row: row["g_loss"], 1),
    "g-loss, amplitude": (lambda row: row["g_amplitude"], 2),
    "g-loss, change over the second half, %": (lambda row: 100 * row["g_rise"], 0),
    "Frechet": (lambda row: distance_of(row, "descriptors"), 2),
    "Frechet, ImageNet": (lambda row: distance_of(row, "imagenet"), 0),
    "faces detected, %": (lambda row: 100 * row["evaluation"]["samples_show"]["seen"], 0),
    "diversity, % of the data's": (lambda row: diversity_of(row, "descriptors"), 0),
    "mirrored, %": (mirrored_of, 0),
    "expressions covered, %": (lambda row: expressions_of(row, "expressions"), 0),
    "by samples between the persons, %": (lambda row: expressions_of(row, "expressions_between_persons"), 0),
    "minutes": (lambda row: row["seconds"] / 60, 0),
}
FEW_COLUMNS: Columns = {
    "Frechet": (lambda row: distance_of(row, "descriptors"), 3),
    "kernel": (lambda row: distance_of(row, "descriptors", "kernel"), 1),
    "Frechet, ImageNet": (lambda row: distance_of(row, "imagenet"), 0),
    "kernel, ImageNet": (lambda row: distance_of(row, "imagenet", "kernel"), 0),
    "diversity, descriptors, %": (lambda row: diversity_of(row, "descriptors"), 0),
    "pixels, %": (lambda row: diversity_of(row, "pixels"), 0),
    "expressions, %": (lambda row: expressions_of(row, "expressions"), 0),
    "mirrored, %": (mirrored_of, 0),
    "copied, %": (lambda row: 100 * row["evaluation"]["memory"]["descriptors"]["nearer_share"], 0),
}
FEW = {  # runs on 100 faces, in the order of the table
    "woman-100-paper": "the paper's recipe",
    "few-ema": "+ EMA of G",
    "few-spectral-hinge": "spectral norm, hinge, EMA",
    "few-r1": "R1, EMA",
    "woman-100-ours": "color, shift, EMA (mixed.yaml)",
    "few-cutout": "+ cutout",
    "few-adaptive": "+ adaptive strength (ADA)",
    "few-flipped": "mixed.yaml + flips of a quarter",
    "few-half-flipped": "mixed.yaml + flips of half",
}


def spread_of(rows: list[Row], value: Callable[[Row], float | None], digits: int = 2) -> str:
    """ "low to high" over the rows, or one number if both are equal."""
    values = sorted(number for row in rows if (number := value(row)) is not None)
    if not values:
        return ""
    low, high = f"{values[0]:.{digits}f}", f"{values[-1]:.{digits}f}"
    return low if low == high else f"{low} to {high}"


def spreads_of(rows: list[Row], columns: Columns) -> list[str]:
    return [spread_of(rows, value, digits) for value, digits in columns.values()]


def verdicts_of(rows: list[Row]) -> str:
    return ", ".join(f"{verdict} {count}" for verdict, count in Counter(row["verdict"] for row in rows).items())


def back_of(row: Row) -> str:
    """The step after which d-loss stays above 0, in words."""
    return "not" if row["back_after"] is None else f"{row['back_after']:,}"


def write_tables(rows: list[Row], folder: Path) -> None:
    """Markdown, one line per run with all its seeds: table.md, all runs; few.md, the recipes for 100 faces; back.md,
    the runs whose d-loss fell to 0, and when it recovered."""
    seeds: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        seeds.setdefault((row["name"], row["scale"]), []).append(row)
    table, back, few = [], [], []
    for (name, scale), own in seeds.items():
        label = name if scale == "small" else f"{name} ({scale})"
        table.append([own[0]["figure"], label, verdicts_of(own), *spreads_of(own, COLUMNS)])
        if any(row["back_after"] != 0 for row in own):
            faces = sum(own[0]["faces"].values())
            back.append([label, f"{faces:,}", f"{own[0]['steps']:,}", ", ".join(map(back_of, own))])
    for name, recipe in FEW.items():
        if own := seeds.get((name, "small")):
            few.append([recipe, verdicts_of(own), *spreads_of(own, FEW_COLUMNS)])
    write_table(["figure", "run", "verdict", *COLUMNS], table, folder / "table.md")
    write_table(["recipe", "verdict", *FEW_COLUMNS], few, folder / "few.md")
    write_table(["run", "faces", "steps", "recovered after, for each seed"], back, folder / "back.md")


def write_table(headings: list[str], lines: list[list[str]], path: Path) -> None:
    if lines:
        whole = [headings, ["---"] * len(headings), *lines]
        path.write_text("".join(f"| {' | '.join(line)} |\n" for line in whole))
