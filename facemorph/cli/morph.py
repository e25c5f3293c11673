"""`facemorph morph`: one face becomes another."""

from pathlib import Path

import click

from facemorph.cli.common import PATH, output_option, verbosity


@click.command(short_help="One face becomes another, now, without training.")
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@click.option(
    "--method",
    type=click.Choice(["landmarks"]),
    default="landmarks",
    show_default=True,
    help="landmarks: both faces are warped to the shape between and dissolved; needs no training.",
)
@output_option(None, "Folder for the results; by default morphs/<first>-<second>.")
@click.option("--steps", type=click.IntRange(2, 100), default=9, show_default=True, help="Stills, both ends included.")
@click.option("--frames", type=click.IntRange(2, 1000), default=30, show_default=True, help="Frames of MP4 and GIF.")
@click.option(
    "--size", "size_px", type=click.IntRange(64, 2048), default=512, show_default=True, help="Side in pixels."
)
@click.option("--face-only", is_flag=True, help="Change the inner face alone, within the first picture.")
@click.option(
    "--detector",
    type=click.Choice(["cnn", "hog", "dlib-cnn"]),
    default="cnn",
    show_default=True,
    help="cnn: dlib's network in PyTorch; hog: dlib's HOG; dlib-cnn: dlib's own build of cnn, slow.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is in the folder.")
@verbosity
def morph(
    first: Path,
    second: Path,
    method: str,
    output: Path | None,
    steps: int,
    frames: int,
    size_px: int,
    face_only: bool,
    detector: str,
    overwrite: bool,
    show: bool,
) -> None:
    """Morph the face in FIRST into the face in SECOND: a strip of pictures, a GIF and an MP4.

    Both pictures are turned and scaled so that the faces coincide. Of several faces, the largest is taken.

    \b
    facemorph morph ann.jpg bob.jpg
    facemorph morph ann.jpg bob.jpg --face-only --size 1024 -o morphs/ann-as-bob
    """
    from facemorph.faces.morph import Settings, write_morph

    folder = output or Path("morphs", f"{first.stem}-{second.stem}")
    settings = Settings(size_px, steps, frames, face_only, detector)
    written = write_morph(first, second, folder, settings, overwrite=overwrite, show=show)
    click.echo(f"{folder}: {', '.join(path.name for path in written[:3])}, and {steps} pictures step_*.jpg")
