"""The times of a step's parts, for `--profile`."""

import contextlib
import time
from collections.abc import Callable, Iterator

import torch

WARM_UP, MEASURED = 2, 5  # steps


class Stopwatch:
    """Sums the seconds of each part of a step by its name; a part ends when the device has done its work."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._wait()
        started = time.perf_counter()
        yield
        self._wait()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def profile(step: Callable[[], object], watch: Stopwatch) -> dict[str, float]:
    """Milliseconds of each part of a step, and of the "whole", from the means of a few steps."""
    for _ in range(WARM_UP):
        step()
    watch.seconds.clear()
    started = time.perf_counter()
    for _ in range(MEASURED):
        step()
    watch.seconds["whole"] = time.perf_counter() - started
    return {name: 1000 * seconds / MEASURED for name, seconds in watch.seconds.items()}
