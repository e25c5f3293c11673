"""The table of results: for each run its verdicts, losses and distances over the seeds, from lowest to highest."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def spread_of(rows: list[Row], value: Callable[[Row], float | None], digits: int = 2) -> str:
    """ "low-high" over the rows, or one number where they agree or there is but one."""
    values = sorted(found for row in rows if (found := value(row)) is not None)
    if not values:
        return ""
    low, high = f"{values[0]:.{digits}f}", f"{values[-1]:.{digits}f}"
    return low if low == high else f"{low} to {high}"


def write_table(rows: list[Row], path: Path) -> None:
    """Write a Markdown table, one line a run, its seeds together."""
    names = list(dict.fromkeys((row["figure"], row["name"], row["scale"]) for row in rows))
    lines = [
        "| figure | run | seeds | verdict | d-loss | in 0.3-1 | g-loss | g-loss a 1,000 steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for figure, name, scale in sorted(names):
        own = [row for row in rows if (row["name"], row["scale"]) == (name, scale)]
        verdicts = ", ".join(f"{verdict} {count}" for verdict, count in Counter(r["verdict"] for r in own).items())
        cells = [
            spread_of(own, lambda row: row["d_loss"]),
            spread_of(own, lambda row: 100 * row["d_in_band"], 0) + " %",
            spread_of(own, lambda row: row["g_loss"]),
            spread_of(own, lambda row: row["g_slope"], 1),
        ]
        label = name if scale == "small" else f"{name} ({scale})"
        lines.append(f"| {figure} | {label} | {len(own)} | {verdicts} | {' | '.join(cells)} |")
    path.write_text("\n".join(lines) + "\n")
