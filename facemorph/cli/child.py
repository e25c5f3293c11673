"""`facemorph child`: children of two portraits."""

from pathlib import Path
from typing import Any

import click

from facemorph.cli.options import (
    PATH,
    chosen_network,
    computing,
    network_option,
    output_option,
    overwrite_option,
    seed_option,
    verbosity,
)
from facemorph.cli.projection_options import name_of, projecting


class AgesCommand(click.Command):
    """Lets several numbers follow --ages: `--ages 5 15 30` is `--age 5 --age 15 --age 30`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spelled: list[str] = []
        listing = False
        for argument in args:
            is_number = argument.replace(".", "", 1).replace(",", "").isdigit()
            if argument == "--ages":
                listing = True
            elif listing and is_number:
                spelled += [part for years in argument.split(",") if years for part in ("--age", years)]
            else:
                listing = False
                spelled.append(argument)
        return super().parse_args(ctx, spelled)


@click.command(cls=AgesCommand, short_help="Faces that two people's children might have, by a StyleGAN.")
@click.argument("mother", type=PATH)
@click.argument("father", type=PATH)
@network_option
@click.option("--age", "--ages", "ages", type=float, multiple=True, metavar="YEARS...",
              help="Ages in years, each a column of the sheet: --ages 5 15 30 60. 3 to 60 for faces-256, 10 to 50 for "
              "the published directions. Two or more also give growing.gif.")  # fmt: skip
@click.option("--gender", type=click.FloatRange(-1, 1), help="-1 to 1, the two ends of the gender direction.")
@click.option("--share", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="The father's fraction.")
@click.option("--mix", type=click.Choice(["siblings", "even", "layers", "mirrored"]), default="siblings",
              show_default=True, help="siblings: each takes its own groups of layers of either parent; even: all "
              "layers alike; layers, mirrored: one child, coarse of one parent and fine of the other.")  # fmt: skip
@click.option("--children", type=click.IntRange(1, 64), default=4, show_default=True, help="How many siblings.")
@click.option(
    "--likeness/--no-likeness",
    default=False,
    show_default=True,
    help="Move each child until dlib's descriptor finds both parents in it.",
)
@click.option(
    "--directions", "folder", type=PATH, help="Folder of age.npy, gender.npy. Default: the network's own, if any."
)
@seed_option("Chooses the siblings.")
@projecting
@overwrite_option("Replace what is in the folder.")
@output_option(None, "Folder for the results; by default children/<mother>-<father>.")
@verbosity
@computing
def child(
    mother: Path, father: Path, network: str | None, ages: tuple[float, ...], folder: Path | None, output: Path | None,
    overwrite: bool, progress: bool, search: Any, **how: Any,
) -> None:  # fmt: skip
    """Children of MOTHER and FATHER, two portraits or latents of `facemorph project`: a sheet, images, latents.

    It is a mix of two points in a network's latent space, not a forecast: nobody's child is known to look like this.

    \b
    facemorph child mother.jpg father.jpg
    facemorph child mother.jpg father.jpg --ages 5 15 30 60 --children 2
    facemorph child mother.jpg father.jpg --age 10 --age 20 --gender -0.5
    facemorph child mother.jpg father.jpg --likeness
    facemorph child a.safetensors b.safetensors --mix layers --share 0.3
    """
    from facemorph.files import check_free, fit_name
    from facemorph.stylegan.editing.children import ChildrenConfig, check_directions, write_children
    from facemorph.stylegan.editing.directions import find_directions
    from facemorph.stylegan.editing.resolve import resolve_latents

    target = output or Path("children", fit_name(f"{name_of(mother)}-{name_of(father)}"))
    check_free(target, overwrite)
    family = ChildrenConfig(ages=ages, **how)
    name = chosen_network(network)
    generator, latents = resolve_latents(
        [mother, father], name, search.settings(name), progress=progress, **search.where,
        check=lambda generator: check_directions(family, find_directions(folder, generator)),
    )  # fmt: skip
    parents = list(zip(map(name_of, (mother, father)), latents, strict=True))
    known = find_directions(folder, generator)
    written = write_children(target, generator, parents, family, known, overwrite=overwrite, progress=progress)
    film = ", growing.gif" if family.ages and len(set(family.ages)) > 1 else ""
    made = sum(path.name.startswith("child_") for path in written)
    click.echo(f"{written[0]}\n{target}: {made} images of children and their latents{film}, and family.json")
