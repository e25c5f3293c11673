"""`facemorph compare`: are two images of one person?"""

from pathlib import Path

import click

from facemorph.cli.options import PATH, detector_option, verbosity

DIFFERENT = 3  # 1 means that it could not be done, 2 wrong usage


@click.command(short_help="Are two images of one person?")
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 2, min_open=True),
    default=0.6,
    show_default=True,
    help="Below this distance the two count as one person.",
)
@detector_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of sentences.")
@click.pass_context
@verbosity
def compare(
    ctx: click.Context, first: Path, second: Path, threshold: float, detector: str, as_json: bool, progress: bool
) -> None:
    """Say how alike the faces in two images are, and whether they are of one person.

    The distance is that of dlib's 128-number descriptors: 0 for one and the same image; below 0.6 dlib calls it one
    person (99.4 % right on the photographs of LFW). A likeness, not a proof: of 48 frontal portraits of 24 people, all
    pairs of one person lay below 0.4, and 1.4 % of the pairs of different persons below 0.6, none of them below 0.5.
    Where an image shows several faces, the largest is taken.

    \b
    facemorph compare a.jpg b.jpg
    facemorph compare -q a.jpg b.jpg --threshold 0.5 && echo the same person

    Exit codes: 0 one person, 3 different persons, 1 it could not be done, 2 wrong usage.
    """
    import json

    from facemorph.faces import compare as library

    result = library.compare(first, second, threshold=threshold, detector=detector)
    faces = [result.first, result.second]
    if as_json:
        row = {"distance": round(result.distance, 4), "threshold": threshold, "same": result.same}
        row["pictures"] = [{"file": str(one.path), "box": one.box, "faces": one.faces} for one in faces]
        click.echo(json.dumps(row))
    else:
        verdict = "one person" if result.same else "different persons"
        side = "below" if result.same else "not below"
        click.echo(f"{verdict}: distance {result.distance:.3f}, {side} {threshold:g}")
    ctx.exit(0 if result.same else DIFFERENT)
