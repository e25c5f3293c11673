"""`facemorph child`: children of two portraits."""

from pathlib import Path
from typing import Any

import click

from facemorph.cli.options import PATH, chosen_network, network_option, output_option, seed_option, verbosity
from facemorph.cli.projection_options import name_of, projecting


@click.command(short_help="Faces that two people's children might have, by a StyleGAN.")
@click.argument("mother", type=PATH)
@click.argument("father", type=PATH)
@network_option
@click.option("--age", "ages", type=float, multiple=True, help="Years, 10 to 50; may be given several times.")
@click.option("--gender", type=click.FloatRange(-1, 1), help="-1 to 1, the two ends of the gender direction.")
@click.option("--share", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="The father's.")
@click.option("--mix", type=click.Choice(["siblings", "even", "layers", "mirrored"]), default="siblings",
              show_default=True, help="siblings: each its layers anew; even: all alike; layers, mirrored: one child, "
              "coarse of one parent and fine of the other.")  # fmt: skip
@click.option("--children", type=click.IntRange(1, 64), default=4, show_default=True, help="How many siblings.")
@click.option(
    "--directions", "folder", type=PATH, help="Folder of age.npy, gender.npy. Default: the published, if here."
)
@seed_option("Of the siblings.")
@projecting
@click.option("--overwrite", is_flag=True, help="Replace what is in the folder.")
@output_option(None, "Folder for the results; by default children/<mother>-<father>.")
@verbosity
def child(
    mother: Path, father: Path, network: str | None, ages: tuple[float, ...], folder: Path | None, output: Path | None,
    overwrite: bool, progress: bool, search: Any, **how: Any,
) -> None:  # fmt: skip
    """Children of MOTHER and FATHER, two portraits or latents of `facemorph project`: a sheet, images, latents.

    It is a mix of two points in a network's latent space, not a forecast: nobody's child is known to look like this.

    \b
    facemorph child mother.jpg father.jpg
    facemorph child mother.jpg father.jpg --age 10 --age 20 --age 30 --gender -0.5 --children 3
    facemorph child a.safetensors b.safetensors --mix layers --share 0.3
    """
    from facemorph.files import check_free
    from facemorph.stylegan.editing.children import ChildrenConfig, check_directions, write_children
    from facemorph.stylegan.editing.directions import find_directions
    from facemorph.stylegan.editing.resolve import resolve_latents

    target = output or Path("children", f"{name_of(mother)}-{name_of(father)}")
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
    click.echo(f"{written[0]}\n{target}: {len(written) - 1} children as images and latents, and family.json")
