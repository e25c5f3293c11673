"""`facemorph generate`: images of a StyleGAN."""

from pathlib import Path
from typing import Any

import click

from facemorph.cli.options import (
    IMAGE_FILE,
    SEEDS,
    chosen_network,
    computing,
    device_option,
    network_option,
    output_option,
    overwrite_option,
    verbosity,
)

AT_LEAST_PX = 256  # smaller faces are hard to see on a screen


@click.command(short_help="A grid of a StyleGAN's images, one per seed.")
@network_option
@click.option("--seeds", type=SEEDS, default="0-15", show_default=True, help="Like 3 or 0-15 or 1,5,8-10.")
@click.option(
    "--truncation", "psi", type=float, help="0 is the average face, 1 no truncation. Default: the network's own."
)
@click.option("--cutoff", type=click.IntRange(min=0), help="Truncate this many layers. Default: the network's own.")
@click.option("--noise", type=click.Choice(["const", "none", "random"]), default="const", show_default=True)
@click.option("--label", type=int, help="The class, for a conditional network.")
@click.option("--columns", type=click.IntRange(min=1), help="Images in a row. Default: as square as possible.")
@click.option("--size", "size_px", type=click.IntRange(16, 2048), help="Side of each image in px, by Lanczos. Default: "
              "the network's own, but 256 of a smaller one where --network is left out.")  # fmt: skip
@device_option
@click.option("--compile", "compiled", is_flag=True, help="Compile first (torch.compile): for many images.")
@click.option("--half", is_flag=True, help="float16 in the upper layers of a StyleGAN2, for GPUs.")
@overwrite_option()
@output_option("generated.png", "The grid.", IMAGE_FILE)
@verbosity
@computing
def generate(
    network: str | None, seeds: list[int], columns: int | None, size_px: int | None, overwrite: bool, output: Path,
    progress: bool, **how: Any,
) -> None:  # fmt: skip
    """A grid of a StyleGAN's images, one per seed.

    \b
    Examples:
      facemorph generate
      facemorph generate --network stylegan1-ffhq-1024 --seeds 0-15 --truncation 0.7 -o faces.png
    """
    from facemorph.stylegan.generate import Sampling, write_grid

    least_px = AT_LEAST_PX if network is None else 0
    write_grid(
        output, chosen_network(network), seeds, Sampling(**how), columns=columns, size_px=size_px, least_px=least_px,
        overwrite=overwrite, progress=progress,
    )  # fmt: skip
    click.echo(output)
