"""Pictures shared by several processes that do not talk to each other: each takes every so-manieth picture.

Each process writes a part of the manifest, `.manifest-<rank>.jsonl`. Whoever finds, when it is done, that all pictures
are accounted for in the parts together, writes manifest.jsonl and removes them. Two that find so at once write one and
the same.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facemorph.errors import InputError
from facemorph.files import read_jsonl


@dataclass(frozen=True)
class Share:
    """This process is number `rank` of `world`."""

    rank: int = 0
    world: int = 1

    def mine(self, paths: Sequence[Path]) -> list[Path]:
        return list(paths[self.rank :: self.world])

    def manifest(self, folder: Path) -> Path:
        """Where this process writes its rows."""
        return folder / (f".manifest-{self.rank}.jsonl" if self.world > 1 else "manifest.jsonl")


def share_from_environment() -> Share:
    """As RANK and WORLD_SIZE say, which torchrun sets; all of it where they are not set.

    Raises:
        InputError: they are not numbers that fit each other.
    """
    told = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    try:
        share = Share(*map(int, told))
    except ValueError:
        share = Share(-1)
    if not 0 <= share.rank < share.world:
        raise InputError(
            f"RANK={told[0]} and WORLD_SIZE={told[1]} in the environment do not fit.",
            "Expected RANK from 0 to below WORLD_SIZE; unset both to work in one process.",
        )
    return share


def known_rows(folder: Path) -> list[dict[str, Any]]:
    """What is accounted for in `folder`, by this process and others.

    The parts are read before the manifest, which is written before they are removed: nothing is missed between.
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
