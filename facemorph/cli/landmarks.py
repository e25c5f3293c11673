"""`facemorph landmarks`: the points of faces, as files."""

from pathlib import Path

import click

from facemorph.cli.options import (
    PATH,
    TableChoice,
    computing,
    detector_option,
    landmarks_option,
    output_option,
    overwrite_option,
    verbosity,
)


@click.command(short_help="The points of faces, as .tem, .pts, CSV or JSON.")
@click.argument("pictures", type=PATH, nargs=-1, required=True)
@click.option("--format", "kind", type=TableChoice("facemorph.faces.points:FORMATS"), default="tem", show_default=True)
@detector_option
@landmarks_option
@click.option("--ibug", is_flag=True, help="Write the 68 points of the iBUG scheme instead of the mesh's 478.")
@output_option("landmarks", "Folder for the points and the pictures with their points drawn in.")
@click.option("--json", "as_json", is_flag=True, help="Print everything known about each face, one line of JSON per "
              "picture; write no files.")  # fmt: skip
@overwrite_option("Replace what is in the folder.")
@verbosity
@computing
def landmarks(
    pictures: tuple[Path, ...], kind: str, detector: str, landmarks: str, ibug: bool, output: Path, as_json: bool,
    overwrite: bool, progress: bool,
) -> None:  # fmt: skip
    """Detect the points of the faces in PICTURES, or in the pictures of a folder.

    The largest face of each picture gives the 478 points of the mesh, or dlib's 68. morph, average and transform use
    such files where they lie beside the pictures.

    \b
    facemorph landmarks portraits/ --format tem
    facemorph landmarks ann.jpg --format json -o points
    facemorph landmarks portraits/ --ibug --format pts -o ibug
    facemorph landmarks portraits/ --json -q > points.jsonl
    """
    import json
    import os

    from tqdm import tqdm

    from facemorph.errors import FaceError, FacemorphError, OutputError
    from facemorph.faces.landmarks import chosen_landmarks
    from facemorph.faces.locate import locate_face
    from facemorph.faces.pictures import find_pictures
    from facemorph.faces.points import drawn, seen_points, write_points
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
                face = locate_face(image, str(picture), detector=detector, points=landmarks)
                points = seen_points(face, landmarks, ibug)
                if as_json:
                    row = {"source": str(picture), "width": image.shape[1], "height": image.shape[0]}
                    row |= {"detector": detector, "landmarks": chosen_landmarks(landmarks)}
                    row |= {"box": [round(float(side), 1) for side in face.box], "score": round(face.score, 4)}
                    row |= {name: round(getattr(face, name), 3) for name in ("presence", "roll", "yaw", "pitch")}
                    row |= {"points": face.landmarks.round(2).tolist(), "mesh": face.mesh.round(2).tolist()}
                    tqdm.write(json.dumps(row))  # on standard output, above the bar
                    continue
                stem = stems[os.path.abspath(picture)]  # noqa: PTH100
                write_points(output / f"{stem}.{kind}", points, overwrite)
                write_image(output / f"{stem}-points.jpg", drawn(image, points.points))
            except FacemorphError as error:
                if len(found) == 1 or isinstance(error, OutputError):
                    raise
                failed += 1
                click.echo(f"{error.problem} It is left out.", err=True)
            finally:
                bar.update()
    if failed == len(found):
        raise FaceError("No face was found in any of the pictures.")
    if not as_json:
        click.echo(f"{output}: {len(found) - failed} files .{kind}, and pictures with their points; {failed} failed")
    if failed:
        raise click.exceptions.Exit(1)
