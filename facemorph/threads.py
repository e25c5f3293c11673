"""How many threads to compute with: one for each CPU that other processes leave free.

On a machine that is not idle, threads on all CPUs wait for the slowest at each of thousands of operations. Measured on
two CPUs, one of them busy with another process: a train step took 1,400 to 2,400 ms with two threads however they wait
(`OMP_WAIT_POLICY`, `GOMP_SPINCOUNT`), 880 ms with one; of small networks 320 to 680 ms and 120 ms.
"""

import logging
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger("facemorph")

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # by which a user may have chosen
SAMPLE_SECONDS = 0.1
REMARK_SECONDS = 20  # shorter commands get no remark
REMARK_TAKEN = 0.25  # of the CPUs' time, by other processes

_chosen = 0  # by --threads


def chosen_by_user() -> bool:
    """Whether the number of threads is the user's, by `--threads` or a variable."""
    return bool(_chosen) or any(name in os.environ for name in VARIABLES)


def cpus() -> int:
    """The CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def usable() -> int:
    """As many threads as --threads says, otherwise one for each of the CPUs: for what is not torch's."""
    return _chosen or cpus()


def choose(threads: int | None, seconds: float = SAMPLE_SECONDS) -> None:
    """Compute with this many threads; None: one for each CPU that is free, unless the user has set a variable.

    Args:
        seconds: for how long to look at what other processes do.
    """
    global _chosen
    if threads is not None:
        _chosen = threads
        for name in VARIABLES:
            os.environ[name] = str(threads)
        _tell_torch(threads)
    elif not chosen_by_user() and cpus() > 1:
        taken = _taken(seconds)
        free = max(1, cpus() - round(taken))
        if free < cpus():
            log.info("Other processes use %.1f of %d CPUs: computing with %d (--threads).", taken, cpus(), free)
            import torch

            torch.set_num_threads(free)


def keep(threads: object) -> None:
    """Go on with as many threads as a run was started with, for the same numbers to the bit, unless the user chose."""
    import torch

    if not isinstance(threads, int) or threads == torch.get_num_threads():
        return
    if chosen_by_user() or not 1 <= threads <= cpus():
        log.warning(
            "The run was started with %d threads and continues with %d: the last digits will differ.",
            threads, torch.get_num_threads(),
        )  # fmt: skip
    else:
        torch.set_num_threads(threads)


def _tell_torch(threads: int) -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _taken(seconds: float) -> float:
    """How many CPUs other processes used for so long; niced ones give way and do not count."""
    before = Use()
    time.sleep(seconds)
    return before.since().taken


@dataclass(frozen=True)
class Use:
    """The CPUs' clocks at a moment, in seconds since they started; zeros where the system does not tell."""

    wall: float = field(default_factory=time.monotonic)
    own: float = field(default_factory=lambda: _own_seconds())
    busy: float = field(default_factory=lambda: _busy_seconds())

    def since(self) -> "Share":
        now = Use()
        wall = max(now.wall - self.wall, 1e-9)
        own = (now.own - self.own) / wall
        return Share(wall, own, max(0.0, (now.busy - self.busy) / wall - own) if now.busy else 0.0)

    def remark(self) -> str | None:
        """What to say at the end of a command whose CPUs were taken by others; None: nothing."""
        share = self.since()
        if share.wall < REMARK_SECONDS or share.taken < REMARK_TAKEN * cpus() or cpus() == 1:
            return None
        free = max(1, cpus() - round(share.taken))
        took = (
            f"It took {share.wall:.0f} s and {share.own:.1f} of {cpus()} CPUs; other processes used {share.taken:.1f}."
        )
        torch = sys.modules.get("torch")
        if torch is None or torch.get_num_threads() <= free:
            return took
        return f"{took} While they do, --threads {free} may be faster."


@dataclass(frozen=True)
class Share:
    """Seconds that passed, and the CPUs that this process with its children, and all others, used in them."""

    wall: float
    own: float
    taken: float


def _own_seconds() -> float:
    return sum(os.times()[:4])  # with children that ended


def _busy_seconds() -> float:
    """Of the CPUs that this process may use; 0 where /proc does not tell. Niced work counts if this one is niced."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        rows = [line.split() for line in lines if line.split(" ", 1)[0] in mine]
        user, niced, system, interrupts = (sum(int(row[column]) for row in rows) for column in (1, 2, 3, 7))
        return (user + system + interrupts + (niced if os.nice(0) > 0 else 0)) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, IndexError, ValueError):
        return 0.0
