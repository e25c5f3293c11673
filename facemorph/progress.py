"""Progress bars with rate and remaining time, on standard error."""

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(progress: bool, *, total: float | None, unit: str, description: str, initial: int = 0) -> "tqdm[Any]":
    """A tqdm bar, silent unless `progress`. In a log file it is printed every 15 s, in a terminal every 0.1 s."""
    return tqdm(
        total=total,
        unit=unit,
        desc=description,
        initial=initial,
        disable=not progress,
        mininterval=0.1 if sys.stderr.isatty() else 15,
        dynamic_ncols=True,
    )
