"""The table of results: for each run its verdicts, losses and distances over the seeds, from lowest to highest."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def frechet_of(row: Row, space: str) -> float:
    """Over "descriptors" or "imagenet"; to all faces of the person where the run learnt from a share of them."""
    judged = row["evaluation"]
    return (judged["against"] or judged)["distances"][space]["frechet"]["value"]


def expressions_of(row: Row, kind: str) -> float | None:
    """Share in percent of the data's expressions that the samples cover; None where no face was seen."""
    judged = row["evaluation"]
    found = (judged["against"] or {}).get(kind) or judged.get(kind)
    return 100 * found["coverage"] if found and found["compared"] else None


def mirrored_of(row: Row) -> float | None:
    """Share in percent of the samples that show people the wrong way round; None where no face was seen."""
    judged = row["evaluation"]
    return 100 * judged["mirrored"]["samples"] if judged["samples_show"]["seen"] else None


COLUMNS: dict[str, tuple[Callable[[Row], float | None], int]] = {  # heading: value of a row, digits
    "d-loss": (lambda row: row["d_loss"], 2),
    "% in 0.3-1": (lambda row: 100 * row["d_in_band"], 0),
    "g-loss": (lambda row: row["g_loss"], 1),
    "g-loss, wide": (lambda row: row["g_amplitude"], 2),
    "g-loss, change over the second half, %": (lambda row: 100 * row["g_rise"], 0),
    "Frechet": (lambda row: frechet_of(row, "descriptors"), 2),
    "over ImageNet": (lambda row: frechet_of(row, "imagenet"), 0),
    "% a face is seen": (lambda row: 100 * row["evaluation"]["samples_show"]["seen"], 0),
    "diversity, % of the data's": (lambda row: 100 * row["evaluation"]["diversity"]["descriptors"]["ratio"], 0),
    "mirrored, %": (mirrored_of, 0),
    "expressions covered, %": (lambda row: expressions_of(row, "expressions"), 0),
    "by those between the persons, %": (lambda row: expressions_of(row, "expressions_between_persons"), 0),
    "minutes": (lambda row: row["seconds"] / 60, 0),
}


def spread_of(rows: list[Row], value: Callable[[Row], float | None], digits: int = 2) -> str:
    """ "low to high" over the rows, or one number where they agree or there is but one."""
    values = sorted(found for row in rows if (found := value(row)) is not None)
    if not values:
        return ""
    low, high = f"{values[0]:.{digits}f}", f"{values[-1]:.{digits}f}"
    return low if low == high else f"{low} to {high}"


def write_table(rows: list[Row], path: Path) -> None:
    """Write a Markdown table, one line a run, its seeds together."""
    names = list(dict.fromkeys((row["figure"], row["name"], row["scale"]) for row in rows))
    lines = [f"| figure | run | verdict | {' | '.join(COLUMNS)} |", "|---|---|---|" + "---|" * len(COLUMNS)]
    for figure, name, scale in names:
        own = [row for row in rows if (row["name"], row["scale"]) == (name, scale)]
        verdicts = ", ".join(f"{verdict} {count}" for verdict, count in Counter(r["verdict"] for r in own).items())
        cells = " | ".join(spread_of(own, value, digits) for value, digits in COLUMNS.values())
        label = name if scale == "small" else f"{name} ({scale})"
        lines.append(f"| {figure} | {label} | {verdicts} | {cells} |")
    path.write_text("\n".join(lines) + "\n")
