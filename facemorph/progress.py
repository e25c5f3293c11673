"""Progress bars with rate and time left, on standard error, for anything that takes over a second."""

import sys
from typing import Any

from tqdm import tqdm


def bar(show: bool, *, total: float | None, unit: str, description: str, initial: int = 0) -> "tqdm[Any]":
    """A tqdm bar; silent unless `show`. In a log file (no terminal) it speaks every 15 s instead of 10 times a s."""
    return tqdm(
        total=total,
        unit=unit,
        desc=description,
        initial=initial,
        disable=not show,
        mininterval=0.1 if sys.stderr.isatty() else 15,
        dynamic_ncols=True,
    )
