"""What the commands that take a list of pairs have in common: options, the run, and the report at its end."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facemorph.cli.options import PATH

if TYPE_CHECKING:
    from facemorph.batches import Made, Pair


def pairs_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --pairs and --jobs."""

    @click.option("--pairs", type=PATH, help="A CSV file instead of pictures, with columns first, second and, "
                  "optionally, amount (a fraction) and name. Running it again makes only what is missing.")  # fmt: skip
    @click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Threads for --pairs.")
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return command(*args, **kwargs)

    return wrapped


def depends_on(pair: "Pair", *others: Path) -> list[Path]:
    """The files that a pair is made of: pictures, and the points beside them."""
    from facemorph.faces.points import beside

    pictures = [path for path in (pair.first, pair.second, *others) if path is not None]
    found = [(path, beside(path)) for path in pictures]
    return [one for both in found for one in both if one is not None]


def run_pairs(
    pairs: "Sequence[Pair]", folder: Path, make: "Callable[[Pair], Made]", recipe: Mapping[str, Any], *,
    others: Sequence[Path] = (), overwrite: bool, jobs: int, progress: bool,
) -> None:  # fmt: skip
    """Make the pairs of a list and report what failed; the exit code is 1 if anything did."""
    from facemorph import __version__
    from facemorph.batches import MANIFEST, SHEET, run_batch
    from facemorph.errors import InputError

    report = run_batch(
        pairs, folder, make, {**recipe, "version": __version__},
        depends=lambda pair: depends_on(pair, *others), overwrite=overwrite, jobs=jobs, progress=progress,
    )  # fmt: skip
    for number, name, why in report.failed:
        click.echo(f"line {number} ({name}): {why}", err=True)
    before = f", {report.kept} already there" if report.kept else ""
    click.echo(f"{folder}: {report.made} pairs made{before}; {SHEET}, {MANIFEST}")
    if report.failed:
        raise InputError(
            f"{len(report.failed)} of {len(pairs)} lines could not be made.", "Correct the list and run it again."
        )
