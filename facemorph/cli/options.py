"""Option decorators that the subcommands share."""

import functools
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from tqdm import tqdm

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
MAX_SEEDS = 10_000
NETWORK = "stylegan1-ffhq-1024"  # a card's name; the published directions belong to it


class _Console(logging.Handler):
    """Messages go to standard error, above a progress bar rather than through it."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "Warning: " if record.levelno >= logging.WARNING else ""
        tqdm.write(prefix + record.getMessage(), file=sys.stderr)


def verbosity(command: Command) -> Command:
    """Adds -q and -v; the command receives `progress`, whether progress bars are wanted."""

    @click.option("-q", "--quiet", is_flag=True, help="Only results and errors: no progress, no remarks.")
    @click.option("-v", "--verbose", is_flag=True, help="Also say what is being decided on the way.")
    @functools.wraps(command)
    def wrapped(*args: Any, quiet: bool, verbose: bool, **kwargs: Any) -> Any:
        log = logging.getLogger("facemorph")
        log.handlers[:] = [_Console()]
        log.propagate = False
        log.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
        return command(*args, progress=not quiet, **kwargs)

    return wrapped  # type: ignore[return-value]


class Seeds(click.ParamType):
    """Whole numbers and ranges, like 1,5,8-10."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        seeds: list[int] = []
        for part in str(value).split(","):
            match = re.fullmatch(r"\s*(\d{1,10})\s*(?:-\s*(\d{1,10})\s*)?", part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
            if last < first or last >= 2**32 or last - first >= MAX_SEEDS:
                self.fail(f"{part!r} is no seed or range of up to {MAX_SEEDS} seeds, like 3 or 0-15.", param, ctx)
            seeds += range(first, last + 1)
        return seeds


SEEDS = Seeds()


def seed_option(help: str) -> Callable[[Command], Command]:
    return click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help=help)


def output_option(default: str | None, help: str) -> Callable[[Command], Command]:
    return click.option("-o", "--output", type=PATH, default=default, show_default=default is not None, help=help)


overwrite_option = click.option("--overwrite", is_flag=True, help="Replace what -o names.")
"""For commands that write into the run folder, where their output is made anew, unless -o says where to."""


def network_option(command: Command) -> Command:
    """Adds --network, by default the card that the published directions belong to."""
    text = "A network file (.pkl, .pt, .safetensors) or a card's name."
    return click.option("--network", default=NETWORK, show_default=True, help=text)(command)
