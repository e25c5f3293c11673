"""`facemorph transform`: a face moved along the difference of two others."""

from pathlib import Path

import click

from facemorph.cli.options import PATH, detector_option, masking, output_option, verbosity


@click.command(short_help="A face moved along the difference of two others, or made symmetric.")
@click.argument("face", type=PATH)
@click.option("--from", "start", type=PATH, help="Where the difference begins: a picture, such as an average.")
@click.option("--to", "end", type=PATH, help="Where it ends.")
@click.option("--symmetric", is_flag=True, help="Towards its own mirror image: 0.5 is symmetric.")
@click.option(
    "--shape", type=float, default=0.5, show_default=True, help="1 is the whole difference; negative is back."
)
@click.option("--colour", type=float, default=0.5, show_default=True, help="The same of colours.")
@click.option("--texture", type=float, default=0.0, is_flag=False, flag_value=0.5,
              help="The same of the strength of detail; alone: 0.5.")  # fmt: skip
@masking
@detector_option
@output_option(None, "The picture; by default <face>-transformed.png. Its points are written beside it (.tem).")
@click.option("--overwrite", is_flag=True, help="Replace what -o names.")
@verbosity
def transform(
    face: Path, start: Path | None, end: Path | None, symmetric: bool, shape: float, colour: float, texture: float,
    mask: str, background: str, detector: str, output: Path | None, overwrite: bool, progress: bool,
) -> None:  # fmt: skip
    """Move FACE along the difference of two others: younger, more typical, and so on.

    \b
    facemorph transform ann.jpg --from young.png --to old.png
    facemorph transform ann.jpg --from young.png --to old.png --shape -0.3 --colour 0 --texture
    facemorph transform ann.jpg --symmetric
    """
    if symmetric == (start is not None or end is not None) or (start is None) != (end is None):
        raise click.UsageError("Give --from and --to, or --symmetric.")
    from facemorph.faces.mask import cut_free
    from facemorph.faces.points import FacePoints, write_points
    from facemorph.faces.transform import transform_files
    from facemorph.files import check_free
    from facemorph.images import write_image

    output = output or Path(f"{face.stem}-transformed.png")
    points = output.with_suffix(".tem")
    for path in (output, points):
        check_free(path, overwrite)
    ends = None if start is None or end is None else (start, end)
    made, lines = transform_files(face, ends, shape=shape, colour=colour, texture=texture, detector=detector)
    write_image(output, cut_free(made.image, made.points, mask, background) if mask else made.image)
    write_points(points, FacePoints(made.points, lines), overwrite=True)
    click.echo(f"{output}\n{points}")
