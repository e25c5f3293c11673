"""Progress: bars with rate and remaining time on standard error, or calls of a function; durations in words."""

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

Tell = Callable[[float, float | None], object]
"""Called with what is done and the total (None: not known). An exception that it raises ends the work."""

NARROW = 60  # columns


def progress_bar(
    progress: bool | Tell, *, total: float | None, unit: str, description: str, initial: int = 0
) -> "tqdm[Any]":
    """A tqdm bar, silent unless `progress`. In a log file it is printed every 15 s, in a terminal every 0.1 s.

    With a function in place of `progress` nothing is printed, and it is called at each step instead.
    """
    if callable(progress):
        return _Reported(progress, total, initial)
    return _Bar(
        total=total,
        unit=unit,
        desc=description,
        initial=initial,
        disable=not progress,
        mininterval=0.1 if sys.stderr.isatty() else 15,
        dynamic_ncols=True,
    )


class _Bar(tqdm):
    """tqdm's, which in a narrow terminal would lose time left and rate first; and "s/step" without tqdm's space."""

    def __str__(self) -> str:
        figures = self.format_dict
        if self.total and (figures["ncols"] or NARROW) < NARROW:
            figures["bar_format"] = "{percentage:3.0f}% {remaining} left, {rate_fmt} {desc}"
        return self.format_meter(**figures).replace("s/ ", "s/")


class _Reported(tqdm):
    """A bar that shows nothing and calls a function instead."""

    def __init__(self, tell: Tell, total: float | None, initial: int) -> None:
        super().__init__(disable=True)
        self.tell, self.total, self.n = tell, total, initial

    def update(self, n: float | None = 1) -> None:
        self.n += 1 if n is None else n
        self.tell(self.n, self.total)


def duration(seconds: float) -> str:
    """A time as a person says it: 42 s, 3 min, 1.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
