"""`facemorph morph`: one face becomes another."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from facemorph.cli.options import (
    PATH,
    TableChoice,
    chosen_network,
    detector_option,
    network_option,
    output_option,
    seed_option,
    verbosity,
)
from facemorph.cli.projection_options import name_of, projecting


@click.command(short_help="One face becomes another: by landmarks, a StyleGAN, or a trained run.")
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@click.option(
    "--method",
    type=TableChoice("facemorph.morphs:METHODS", "auto"),
    default="auto",
    show_default=True,
    help="stylegan: through a network's latent space; landmarks: both faces are warped to the shape between and "
    "dissolved; dcgan: through a trained run's latent space. auto: dcgan with --run, landmarks with --size, "
    "--face-only or --detector, otherwise stylegan.",
)
@output_option(None, "Folder for the results; by default morphs/<first>-<second>.")
@click.option("--steps", type=click.IntRange(2, 100), default=9, show_default=True, help="Stills, both ends included.")
@click.option("--frames", type=click.IntRange(2, 1000), default=30, show_default=True, help="Frames of MP4 and GIF.")
@click.option("--size", "size_px", type=click.IntRange(64, 2048), default=512, show_default=True,
              help="landmarks: side in pixels.")  # fmt: skip
@click.option("--face-only", is_flag=True, help="landmarks: change the inner face alone, within the first image.")
@detector_option
@network_option
@click.option("--interpolation", type=click.Choice(["lerp", "slerp"]), default="lerp", show_default=True,
              help="stylegan, dcgan: straight, or around the average.")  # fmt: skip
@click.option("--layers", type=click.Choice(["coarse", "middle", "fine"]), multiple=True,
              help="stylegan: change these alone; may be given several times.")  # fmt: skip
@projecting
@click.option("--run", "run", type=PATH, help="dcgan: the folder of a trained run.")
@seed_option("dcgan: of the starts of the search.")
@click.option("--overwrite", is_flag=True, help="Replace what is in the folder.")
@verbosity
def morph(
    first: Path, second: Path, method: str, output: Path | None, steps: int, frames: int, size_px: int,
    face_only: bool, detector: str, network: str | None, interpolation: str, layers: tuple[str, ...], search: Any,
    run: Path | None, seed: int, overwrite: bool, progress: bool,
) -> None:  # fmt: skip
    """Morph the face in FIRST into the face in SECOND: a strip of images, a GIF and an MP4.

    Of several faces, the largest is taken. A StyleGAN also takes latents of `facemorph project` (.safetensors).

    \b
    facemorph morph ann.jpg bob.jpg
    facemorph morph ann.jpg bob.jpg --method landmarks
    facemorph morph ann.jpg bob.jpg --face-only --size 1024 -o morphs/ann-as-bob
    facemorph morph ann.jpg bob.jpg --network stylegan1-ffhq-1024 --interpolation slerp
    facemorph morph ann.jpg bob.jpg --run run/
    """
    folder = output or Path("morphs", f"{name_of(first)}-{name_of(second)}")
    method = choose(run) if method == "auto" else method
    from facemorph.animation import write_morph
    from facemorph.files import check_free
    from facemorph.morphs import METHODS, MorphOptions

    if method == "dcgan" and run is None:
        raise click.UsageError("--method dcgan needs --run: the folder of a trained run.")
    check_free(folder, overwrite)
    if method == "stylegan":
        network = chosen_network(network)
    where = {"latents" if key == "folder" else key: value for key, value in search.where.items()}
    options = MorphOptions(
        steps, frames, size_px, face_only, detector, network or "", search.settings(network),
        interpolation=interpolation, layers=layers, run=run, seed=seed, **where,
    )  # fmt: skip
    made = METHODS[method](first, second, options, progress)
    for path, distance in zip((first, second), getattr(made, "distances", ()), strict=False):
        click.echo(f"{path}: found in the run at a descriptor distance of {distance:.2f} (0.6: the same person)")
    written = write_morph(folder, made, steps=steps, frames=frames, overwrite=overwrite, progress=progress)
    click.echo(f"{folder}: {', '.join(path.name for path in written[:3])}, and {steps} images step_*.jpg")


def choose(run: Path | None) -> str:
    """What "auto" stands for."""
    if run is not None:
        return "dcgan"
    context = click.get_current_context()
    given = (context.get_parameter_source(name) for name in ("size_px", "face_only", "detector"))
    return "landmarks" if any(source is ParameterSource.COMMANDLINE for source in given) else "stylegan"
