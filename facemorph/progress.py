"""Progress bars with rate and time left, on standard error, for anything that takes over a second."""

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(progress: bool, *, total: float | None, unit: str, description: str, initial: int = 0) -> "tqdm[Any]":
    """A tqdm bar; silent unless `progress`. Without a terminal (a log file) it prints every 15 s, not every 0.1 s."""
    return tqdm(
        total=total,
        unit=unit,
        desc=description,
        initial=initial,
        disable=not progress,
        mininterval=0.1 if sys.stderr.isatty() else 15,
        dynamic_ncols=True,
    )
