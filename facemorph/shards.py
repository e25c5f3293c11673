"""Independent processes that share the images of a folder. They do not communicate, and need no torch.

Of `world` processes, number `rank` takes the images rank, rank + world, ... Each writes a part of the manifest,
`.manifest-<rank>.jsonl`. A process that finds, at its end, every image in the parts together merges them into
manifest.jsonl and removes them. Two that do so at once write the same file.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facemorph.errors import InputError
from facemorph.files import read_jsonl


@dataclass(frozen=True)
class Shard:
    """This process is number `rank` of `world`."""

    rank: int = 0
    world: int = 1

    def mine(self, paths: Sequence[Path]) -> list[Path]:
        return list(paths[self.rank :: self.world])

    def manifest(self, folder: Path) -> Path:
        """The file for the rows of this process."""
        return folder / (f".manifest-{self.rank}.jsonl" if self.world > 1 else "manifest.jsonl")


def shard_from_environment() -> Shard:
    """The shard of RANK and WORLD_SIZE, which torchrun sets; all images where they are not set.

    Raises:
        InputError: they are not whole numbers with 0 <= RANK < WORLD_SIZE.
    """
    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    try:
        shard = Shard(int(rank), int(world))
    except ValueError:
        shard = Shard(-1)
    if not 0 <= shard.rank < shard.world:
        raise InputError(
            f"The environment has RANK={rank} and WORLD_SIZE={world}, which do not fit together.",
            "RANK from 0 to WORLD_SIZE - 1 was expected; unset both to work in one process.",
        )
    return shard


def known_rows(folder: Path) -> list[dict[str, Any]]:
    """The manifest rows in `folder`, of this process and others.

    The parts are read before manifest.jsonl, and removed after it is written, so no row is missed.
    """
    rows = [row for path in parts(folder) for row in _if_there(path)]
    return read_jsonl(folder / "manifest.jsonl") + rows


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob(".manifest-*.jsonl"))


def _if_there(path: Path) -> list[dict[str, Any]]:
    try:
        return read_jsonl(path)
    except FileNotFoundError:  # another process has just merged it
        return []


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Keep a Ctrl-C, which a terminal sends to every process of a command, from those that are started inside.

    The process that started them ends them. One that is interrupted while it takes work leaves the others waiting.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which they inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """Keep processes that are spawned inside from importing the caller's script again.

    They would run a script without an `if __name__ == "__main__"` guard a second time, and fail. Our workers need
    nothing from it: the functions that they run are in this package.
    """
    main = sys.modules["__main__"]
    missing = object()
    kept = {name: getattr(main, name, missing) for name in ("__spec__", "__file__")}
    main.__spec__ = None
    if kept["__file__"] is not missing:
        del main.__file__
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is not missing:
                setattr(main, name, value)
