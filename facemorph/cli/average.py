"""`facemorph average`: the average of many faces."""

from pathlib import Path
from typing import Any

import click

from facemorph.cli.options import (
    IMAGE_FILE,
    PATH,
    computing,
    detector_option,
    masking,
    output_option,
    overwrite_option,
    verbosity,
)
from facemorph.cli.projection_options import projecting, write_combined


@click.command(short_help="The average of many faces: mean shape, colours, and texture.")
@click.argument("pictures", type=PATH, nargs=-1, required=True)
@click.option("--weights", metavar="LIST", help="One number per picture, such as 2,1,1. Default: all equal.")
@click.option("--texture/--no-texture", default=True, show_default=True,
              help="Restore the detail that averaging blurs; without it, the plain mean of the pixels.")  # fmt: skip
@click.option("--size", "size_px", type=click.IntRange(64, 4096),
              help="Side of a square around the head. Default: the pictures' frame, if all have one size.")  # fmt: skip
@click.option("--face-only", is_flag=True, help="Show the inner face alone, on --background.")
@click.option("--network", help="Average in the latent space of this generator: a file, or a card's name. The latent "
              "is written beside the picture.")  # fmt: skip
@projecting
@masking
@detector_option
@output_option("average.png", "The picture; its points are written beside it (.tem).", IMAGE_FILE)
@overwrite_option()
@verbosity
@computing
def average(
    pictures: tuple[Path, ...], weights: str | None, texture: bool, size_px: int | None,
    face_only: bool, network: str | None, search: Any, mask: str,
    background: str, detector: str, output: Path, overwrite: bool, progress: bool,
) -> None:  # fmt: skip
    """The average face of PICTURES, or of the pictures in a folder.

    Pictures in a folder that show no face are left out, with a message. Points in a file beside a picture (.tem, .pts,
    .csv, .json) are used instead of detected ones.

    \b
    facemorph average portraits/
    facemorph average ann.jpg bob.jpg cem.jpg --weights 2,1,1 -o three.png
    facemorph average portraits/ --network faces-256 --preset instant
    facemorph average portraits/ --oval --background "#808080" --no-texture
    """
    from facemorph.errors import InputError
    from facemorph.faces.average import average_files, check_weights
    from facemorph.faces.mask import cut_free
    from facemorph.faces.pictures import find_pictures
    from facemorph.faces.points import FacePoints, write_points
    from facemorph.files import check_free
    from facemorph.images import write_image

    if face_only and mask == "oval":
        raise click.UsageError("--face-only or --oval, not both.")
    mask = mask or ("face" if face_only else "")
    try:
        parts = [float(part) for part in weights.split(",")] if weights else None
    except ValueError:
        raise InputError(f"--weights {weights}: expected numbers such as 2,1,1.") from None
    beside = output.with_suffix(".safetensors" if network else ".tem")
    for path in (output, beside):
        check_free(path, overwrite)
    found = find_pictures(pictures)
    if network:
        if mask or size_px or not texture:
            raise click.UsageError("--network excludes --size, --no-texture, --face-only, --oval and --background.")
        write_combined(output, found, check_weights(parts, len(found)).tolist(), network, search, progress)
        return
    face = average_files(
        found, weights=parts, texture=texture, size_px=size_px, detector=detector,
        landmarks=search.where["landmarks"], progress=progress, skip_bad=any(path.is_dir() for path in pictures),
    )  # fmt: skip
    write_image(output, cut_free(face.image, face.points, mask, background) if mask else face.image)
    write_points(beside, FacePoints(face.points, face.lines), overwrite=True)
    click.echo(f"{output}\n{beside}")
