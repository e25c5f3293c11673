"""`facemorph sample`: a grid of generated faces."""

from pathlib import Path

import click

from facemorph.cli.options import IMAGE_FILE, PATH, run_options


@click.command(short_help="A grid of generated faces from a run.")
@click.argument("run", type=PATH)
@click.option("-n", "--count", type=click.IntRange(1, 4096), default=64, show_default=True, help="Faces on the grid.")
@click.option("--person", metavar="NAME", help="Generate this person; for conditional runs.")
@run_options("The image. By default sample-<seed>.png in the run folder.", "Chooses the faces.", IMAGE_FILE)
def sample(
    run: Path, output: Path | None, count: int, person: str | None, overwrite: bool, seed: int, device: str,
    progress: bool,
) -> None:  # fmt: skip
    """Generate faces with the trained RUN, as a grid.

    \b
    facemorph sample run/
    facemorph sample run/ --seed 7 -n 16 -o faces.png
    facemorph sample runs/conditional/ --person woman
    """
    from facemorph.dcgan.run import Run
    from facemorph.dcgan.walk import load_generator
    from facemorph.device import pick_device
    from facemorph.files import check_free
    from facemorph.images import grid, write_image

    trained = load_generator(Run.open(run), pick_device(device))
    if output:
        check_free(output, overwrite)
    target = output or run / (f"sample-{seed}.png" if person is None else f"sample-{person}-{seed}.png")
    write_image(target, grid(trained.images(trained.draw(count, seed, person))))
    click.echo(f"{count} images: {target}")
