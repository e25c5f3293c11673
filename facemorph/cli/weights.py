"""`facemorph weights`: published weights, fetched, added, checked, converted."""

from pathlib import Path

import click

from facemorph.cli.options import PATH, OutputFile, overwrite_option, verbosity


@click.group()
def weights() -> None:
    """Published weights: list, fetch, add, verify, convert.

    \b
    Example:
      facemorph weights list
      facemorph weights fetch stylegan1-ffhq-1024
      facemorph generate --network stylegan1-ffhq-1024 --seeds 0-15

    They are kept in a cache folder (FACEMORPH_CACHE chooses another). Code inside a file is never run.
    """


@weights.command("list")
@verbosity
def list_(progress: bool) -> None:
    """List the known weights: what each command needs, what comes with the package, what is in the cache or missing.

    \b
    Example:
      facemorph weights list
    """
    from facemorph.weights.cache import cache_folder, state
    from facemorph.weights.cards import NEEDS, cards

    known = cards()
    for one in known.values():
        size = f", {one.size_text}" if one.size_text else ""
        here = "inside the package" if one.embedded else state(one)
        click.echo(f"{one.name}  [{here}]\n    {one.title}{size}; {one.licence}\n    For {one.use}.")
    inside = [one.name for one in known.values() if one.embedded]
    for command, need in NEEDS.items():
        if not set(need.cards) <= set(known):
            continue
        missing = [known[name] for name in need.cards if state(known[name]) != "ready"]
        now = f"works now with {inside[0]}; " if inside and command != "evaluate" else ""
        if missing:
            listed = ", ".join(f"{one.name} ({one.size_text})" if one.size_text else one.name for one in missing)
            more = f"for {need.what}, missing: {listed}\n    facemorph weights fetch --for {command}"
        else:
            more = f"{need.what}: all is here"
        click.echo(f"{command}: {now}{more}")
    click.echo(f"Cache: {cache_folder() / 'weights'}")


@weights.command()
@click.argument("name", required=False)
@click.option("--for", "command", metavar="COMMAND", help="Everything this command needs for a published network.")
@verbosity
def fetch(name: str | None, command: str | None, progress: bool) -> None:
    """Download the weights NAME, or all --for a command; check them and convert them for quick loading.

    \b
    Examples:
      facemorph weights fetch stylegan1-ffhq-1024
      facemorph weights fetch --for child

    An interrupted download continues where it stopped.
    """
    from facemorph.stylegan.load import fetch_ready
    from facemorph.weights.cards import card, need

    if (name is None) == (command is None):
        raise click.UsageError("Give either a NAME, or --for and a command.")
    for one in [card(name)] if name else [card(each) for each in need(command or "").cards]:
        path = fetch_ready(one, progress)
        click.echo(f"{path}\nLicence: {one.licence}")


@weights.command()
@click.argument("file", type=PATH)
@click.option("--name", help="Which weights these are, if the hash is not known. For a run: the name to give it.")
@click.option("--licence", help="For a run: the licence of its network, which depends on its faces.")
@overwrite_option("For a run: replace the network of this name.")
@verbosity
def add(file: Path, name: str | None, licence: str | None, overwrite: bool, progress: bool) -> None:
    """Add a FILE that you downloaded to the cache, by its hash; or the network of a run folder, under a name.

    \b
    Examples:
      facemorph weights add ~/Downloads/karras2019stylegan-ffhq-1024x1024.pkl
      facemorph weights add tuned/ --name korean-128
      facemorph generate --network korean-128
    """
    if file.is_dir():
        from facemorph.stylegan.training.keep import add_run

        if not name:
            raise click.UsageError(f"The network of {file} needs a name: --name my-faces")
        card, network, encoder = add_run(file, name, licence, overwrite)
        click.echo(f"{card.name}: {network}\nEncoder: {encoder}\nLicence: {card.licence}")
        click.echo(f"Next: facemorph generate --network {card.name}; facemorph morph a.jpg b.jpg --network {card.name}")
        return
    from facemorph.stylegan.load import make_ready
    from facemorph.weights.cache import add

    card, _ = add(file, name)
    click.echo(f"{card.name}: {make_ready(card)}\nLicence: {card.licence}")


@weights.command()
@click.argument("names", nargs=-1)
@verbosity
def verify(names: tuple[str, ...], progress: bool) -> None:
    """Read the files in the cache again and compare their hashes: all, or those of NAMES.

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
        click.echo("The cache holds no weights yet.")
    if not all(finding.good for finding in findings):
        raise WeightsError("A file is not what it should be.", "Delete it, then: facemorph weights fetch NAME")


@weights.command()
@click.argument("file", type=PATH)
@click.option(
    "-o",
    "--output",
    type=OutputFile(".safetensors"),
    help="Default: FILE with the suffix .safetensors, in the current folder.",
)
@click.option("--alignment", type=click.Choice(["ffhq", "eyes"]), default="ffhq", show_default=True,
              help="Alignment of the faces it was trained on, as in `facemorph align --crop`.")  # fmt: skip
@overwrite_option()
@verbosity
def convert(file: Path, output: Path | None, alignment: str, overwrite: bool, progress: bool) -> None:
    """Write a published network FILE (.pkl, .pt) as .safetensors and .json, which load in a second.

    \b
    Example:
      facemorph weights convert network-snapshot-010000.pkl
    """
    from facemorph.stylegan.load import convert

    output = output or Path(file.stem + ".safetensors")
    convert(file, output, overwrite, alignment)
    click.echo(f"{output} and {output.with_suffix('.json')}")
