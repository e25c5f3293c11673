"""Tables as CSV (for programs) and Markdown (for README)."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from facemorph.files import write_text

Row = dict[str, object]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """A CSV with the keys of all rows, in the order in which they come."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows([{name: _short(value) for name, value in row.items()} for row in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text.getvalue())


def markdown(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names), *([str(_short(row.get(name, ""))) for name in names] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _short(value: object) -> object:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
