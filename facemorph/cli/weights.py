"""facemorph weights: published weights, fetched, added, checked, converted."""

from pathlib import Path

import click

from facemorph.cli.options import PATH, verbosity


@click.group()
def weights() -> None:
    """Published weights: list, fetch, add, verify, convert.

    \b
    Example:
      facemorph weights list
      facemorph weights fetch stylegan1-ffhq-1024
      facemorph generate --network stylegan1-ffhq-1024 --seeds 0-15

    They lie in a cache folder (FACEMORPH_CACHE chooses another). Nothing inside a file is ever run.
    """


@weights.command("list")
@verbosity
def list_(progress: bool) -> None:
    """The known weights: what they are, what is here, under which licence.

    \b
    Example:
      facemorph weights list
    """
    from facemorph.weights.cache import cache_folder, state
    from facemorph.weights.cards import cards

    for card in cards().values():
        size = f", {max(card.size_bytes / 1e6, 0.1):,.{int(card.size_bytes < 1e6)}f} MB" if card.size_bytes else ""
        click.echo(f"{card.name}  [{state(card)}]\n    {card.title}{size}; {card.licence}\n    For {card.use}.")
    click.echo(f"Cache: {cache_folder() / 'weights'}")


@weights.command()
@click.argument("name")
@verbosity
def fetch(name: str, progress: bool) -> None:
    """Download the weights NAME, check them, convert them for quick loading.

    \b
    Example:
      facemorph weights fetch stylegan1-ffhq-1024

    An interrupted download goes on where it stopped.
    """
    from facemorph.stylegan.load import fetch_ready
    from facemorph.weights.cards import card

    chosen = card(name)
    path = fetch_ready(chosen, progress)
    click.echo(f"{path}\nLicence: {chosen.licence}")


@weights.command()
@click.argument("file", type=PATH)
@click.option("--name", help="Which weights they are; needed where no hash is known.")
@verbosity
def add(file: Path, name: str | None, progress: bool) -> None:
    """Take a FILE that you downloaded into the cache, known by its hash.

    \b
    Example:
      facemorph weights add ~/Downloads/karras2019stylegan-ffhq-1024x1024.pkl
    """
    from facemorph.stylegan.load import make_ready
    from facemorph.weights.cache import add

    card, _ = add(file, name)
    click.echo(f"{card.name}: {make_ready(card)}\nLicence: {card.licence}")


@weights.command()
@click.argument("names", nargs=-1)
@verbosity
def verify(names: tuple[str, ...], progress: bool) -> None:
    """Read the files that are here again and compare their hashes; all, or those of NAMES.

    \b
    Example:
      facemorph weights verify
    """
    from facemorph.errors import WeightsError
    from facemorph.stylegan.load import verify_weights
    from facemorph.weights.cards import card, cards

    findings = [finding for name in names or cards() for finding in verify_weights(card(name))]
    for finding in findings:
        click.echo(f"{'ok ' if finding.good else 'BAD'} {finding.path}  {finding.remark}")
    if not findings:
        click.echo("Nothing is here yet.")
    if not all(finding.good for finding in findings):
        raise WeightsError("A file is not what it should be.", "Delete it, then: facemorph weights fetch NAME")


@weights.command()
@click.argument("file", type=PATH)
@click.option("-o", "--output", type=PATH, help="Default: FILE with the suffix .safetensors, in this folder.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@verbosity
def convert(file: Path, output: Path | None, overwrite: bool, progress: bool) -> None:
    """Write a published network FILE (.pkl, .pt) as .safetensors and .json, which load in a second.

    \b
    Example:
      facemorph weights convert network-snapshot-010000.pkl
    """
    from facemorph.stylegan.load import convert

    output = output or Path(file.stem + ".safetensors")
    convert(file, output, overwrite)
    click.echo(f"{output} and {output.with_suffix('.json')}")
