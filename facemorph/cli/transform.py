"""`facemorph transform`: a face moved along the difference of two others."""

from pathlib import Path
from typing import Any

import click

from facemorph.cli.batches import pairs_options, run_pairs
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


@click.command(short_help="A face moved along the difference of two others, or made symmetric.")
@click.argument("face", type=PATH, required=False)
@pairs_options
@click.option("--from", "start", type=PATH, help="Picture at which the difference starts, such as an average.")
@click.option("--to", "end", type=PATH, help="Picture at which it ends.")
@click.option("--symmetric", is_flag=True, help="Move towards the face's mirror image: at 0.5 it is symmetric.")
@click.option(
    "--shape", type=float, default=0.5, show_default=True, help="Fraction of the change in shape; negative: backwards."
)
@click.option("--colour", type=float, default=0.5, show_default=True, help="The same for colour.")
@click.option("--texture", type=float, default=0.0, is_flag=False, flag_value=0.5,
              help="The same for the strength of detail; 0.5 if no number follows.")  # fmt: skip
@click.option("--face-only", is_flag=True, help="Change the inner face alone, within the picture.")
@click.option("--network", help="Move in this generator's latent space (a file, or a card's name), by --shape alone.")
@projecting
@masking
@detector_option
@output_option(None, "The picture; by default <face>-transformed.png. Its points are written beside it (.tem).")
@overwrite_option()
@verbosity
@computing
def transform(
    face: Path | None, pairs: Path | None, jobs: int, start: Path | None, end: Path | None,
    symmetric: bool, shape: float, colour: float, texture: float,
    face_only: bool, network: str | None, search: Any, mask: str, background: str, detector: str,
    output: Path | None, overwrite: bool, progress: bool,
) -> None:  # fmt: skip
    """Move FACE along the difference of two others: younger, more typical, and so on.

    \b
    facemorph transform ann.jpg --from young.png --to old.png
    facemorph transform ann.jpg --from young.png --to old.png --shape -0.3 --colour 0 --texture
    facemorph transform ann.jpg --symmetric
    facemorph transform ann.jpg --from young.png --to old.png --network faces-256 --preset instant
    facemorph transform --pairs pairs.csv --from young.png --to old.png -o older
    facemorph transform --pairs pairs.csv --shape 0.3 --colour 0
    facemorph transform --pairs pairs.csv --from young.png --to old.png --network faces-256 -o older

    With --pairs, `first` is the face. Without --from the difference starts at the face itself; without --to it ends at
    `second`. An amount in the list replaces both --shape and --colour.
    """
    if (face is None) == (pairs is None):
        raise click.UsageError("Give a face, or a list of them: --pairs pairs.csv.")
    if symmetric and (start or end):
        raise click.UsageError("--symmetric moves towards the face's own mirror image: leave out --from and --to.")
    if not symmetric and not pairs and (start is None or end is None):
        raise click.UsageError("Give --from and --to, or --symmetric.")
    if output and not pairs:
        IMAGE_FILE.convert(output, None, None)
    from facemorph.faces.points import FacePoints, write_points
    from facemorph.faces.transform import Amounts, remark_on, transform_files
    from facemorph.files import check_free, fit_name
    from facemorph.images import write_image

    if network and (symmetric or mask or face_only or texture):
        raise click.UsageError("--network moves a face by --from, --to and --shape alone.")
    if network and jobs > 1:
        raise click.UsageError("--jobs cannot be used with --network.")
    amounts = Amounts(shape, colour, texture)
    remark_on(shape=shape, colour=colour, texture=texture)
    if pairs:
        transform_pairs(pairs, output or Path("transforms", pairs.stem), symmetric, start, end, amounts, face_only,
                        mask, background, detector, network, search, overwrite, jobs, progress)  # fmt: skip
        return
    assert face is not None
    output = output or Path(fit_name(face.stem, "-transformed.png"))
    points = output.with_suffix(".safetensors" if network else ".tem")
    for path in (output, points):
        check_free(path, overwrite)
    if network and start and end:
        write_combined(output, [face, start, end], [1, -shape, shape], network, search, progress)
        return
    ends = None if start is None or end is None else (start, end)
    made = transform_files(
        face, ends, amounts, face_only=face_only, detector=detector, landmarks=search.where["landmarks"]
    )
    write_image(output, shown(made, mask, background))
    write_points(points, FacePoints(made.points, made.lines), overwrite=True)
    click.echo(f"{output}\n{points}")


def shown(made: Any, mask: str, background: str) -> Any:
    """The picture, cut free if there is a mask."""
    from facemorph.faces.mask import cut_free

    return cut_free(made.image, made.points, mask, background) if mask else made.image


def transform_pairs(
    table: Path, folder: Path, symmetric: bool, start: Path | None, end: Path | None, amounts: Any, face_only: bool,
    mask: str, background: str, detector: str, network: str | None, search: Any, overwrite: bool, jobs: int,
    progress: bool,
) -> None:  # fmt: skip
    """The pictures of every row in a list."""
    from dataclasses import asdict, replace

    from facemorph.batches import Made, Pair, read_pairs
    from facemorph.faces.transform import transform_files

    landmarks = search.where["landmarks"]
    projection = search.settings(network) if network else None

    def make(pair: Pair) -> Made:
        last = end or pair.second
        ends = None if symmetric or last is None else (start or pair.first, last)
        how = amounts if pair.amount is None else replace(amounts, shape=pair.amount, colour=pair.amount)
        if network and projection and ends:
            from facemorph.stylegan.editing.arithmetic import combine

            files = [pair.first, *ends]
            image, latent = combine(files, [1, -how.shape, how.shape], network, projection, **search.where)
            return Made({f"{pair.name}.png": image}, [{"network_id": latent.network, **latent.about}])
        made = transform_files(pair.first, ends, how, face_only=face_only, detector=detector, landmarks=landmarks)
        source = {"source": str(pair.first), "points": made.points.round(2).tolist()}
        return Made({f"{pair.name}.png": shown(made, mask, background)}, [source])

    recipe = {
        "command": "transform", "from": start and str(start), "to": end and str(end), "symmetric": symmetric,
        **asdict(amounts), "face_only": face_only, "mask": mask, "background": background, "detector": detector,
        "landmarks": landmarks,
    }  # fmt: skip
    if projection is not None:
        recipe |= {"network": network, "projection": asdict(projection), "aligned": search.where["aligned"]}
    others = [path for path in (start, end) if path is not None]
    listed = read_pairs(table, needs_second=not symmetric and end is None)
    run_pairs(listed, folder, make, recipe, others=others, overwrite=overwrite, jobs=jobs, progress=progress)
