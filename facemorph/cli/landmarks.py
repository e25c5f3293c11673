"""`facemorph landmarks`: the points of faces, as files."""

from pathlib import Path

import click

from facemorph.cli.options import PATH, TableChoice, detector_option, landmarks_option, output_option, verbosity


@click.command(short_help="The points of faces, as .tem, .pts, CSV or JSON.")
@click.argument("pictures", type=PATH, nargs=-1, required=True)
@click.option("--format", "kind", type=TableChoice("facemorph.faces.points:FORMATS"), default="tem", show_default=True)
@detector_option
@landmarks_option
@output_option("landmarks", "Folder for the points and the pictures with their points drawn in.")
@click.option("--json", "as_json", is_flag=True, help="Print the points, a line of JSON a picture; write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace what is in the folder.")
@verbosity
def landmarks(
    pictures: tuple[Path, ...], kind: str, detector: str, landmarks: str, output: Path, as_json: bool,
    overwrite: bool, progress: bool,
) -> None:  # fmt: skip
    """Detect the points of the faces in PICTURES, or in the pictures of a folder.

    \b
    facemorph landmarks portraits/ --format tem
    facemorph landmarks ann.jpg --format json -o points
    facemorph landmarks portraits/ --json -q > points.jsonl
    """
    import json
    import os

    from facemorph.errors import FaceError, FacemorphError
    from facemorph.faces.pictures import find_pictures
    from facemorph.faces.points import drawn, points_of, write_points
    from facemorph.files import check_free, output_stems
    from facemorph.images import read_image, write_image
    from facemorph.progress import progress_bar

    found = list(dict.fromkeys(find_pictures(pictures)))
    if not as_json:
        check_free(output, overwrite)
    stems = output_stems({os.path.abspath(path) for path in found}, "-points.jpg", {})  # noqa: PTH100, links stay
    failed = 0
    with progress_bar(progress, total=len(found), unit=" faces", description="landmarks") as bar:
        for picture in found:
            try:
                image = read_image(picture)
                face = points_of(image, picture, detector=detector, landmarks=landmarks, files=False)
                if as_json:
                    row = {"source": str(picture), "width": image.shape[1], "height": image.shape[0]}
                    box = [round(float(value), 1) for value in face.box]
                    click.echo(json.dumps({**row, "box": box, "points": face.points.round(2).tolist()}))
                    continue
                stem = stems[os.path.abspath(picture)]  # noqa: PTH100
                write_points(output / f"{stem}.{kind}", face, overwrite)
                write_image(output / f"{stem}-points.jpg", drawn(image, face.points))
            except FacemorphError as error:
                if len(found) == 1:
                    raise
                failed += 1
                click.echo(f"{error.problem} It is left out.", err=True)
            finally:
                bar.update()
    if failed == len(found):
        raise FaceError("No face was found in any of the pictures.")
    if not as_json:
        click.echo(f"{output}: {len(found) - failed} files .{kind}, and pictures with their points; {failed} failed")
