"""`facemorph align`: frames to aligned faces."""

from collections import Counter
from pathlib import Path

import click

from facemorph.cli.options import (
    PATH,
    crop_option,
    detector_option,
    in_list,
    landmarks_option,
    output_option,
    quoted,
    verbosity,
)


@click.command(short_help="Frames to aligned faces, every frame accounted for.")
@click.argument("folders", nargs=-1, required=True, type=PATH)
@output_option("faces", "Folder that receives a folder of faces for each person.")
@click.option("--size", "size_px", type=click.IntRange(16, 2048), default=64, show_default=True, help="Side in pixels.")
@crop_option
@detector_option
@landmarks_option
@click.option("--side", "side_px", type=click.IntRange(0), default=0, help="Side of the paper crop, in frame pixels.")
@click.option("--person", type=PATH, help="Image of the person to keep; faces that do not match are rejected.")
@click.option("--min-face", "min_face_px", type=click.IntRange(0), default=0, help="Ignore faces narrower than this.")
@click.option("--follow", is_flag=True, help="Track the face from frame to frame: faster for large frames.")
@click.option("--device", default="cpu", show_default=True, help="Where the CNN detector runs: cpu or cuda.")
@click.option("--jobs", type=click.IntRange(0), default=0, help="Processes; by default one per CPU.")
@verbosity
def align(
    folders: tuple[Path, ...],
    output: Path,
    size_px: int,
    crop: str,
    detector: str,
    landmarks: str,
    side_px: int,
    person: Path | None,
    min_face_px: int,
    follow: bool,
    device: str,
    jobs: int,
    progress: bool,
) -> None:
    """Find the face in every image of FOLDERS, and cut it out aligned.

    Each folder is a person; its faces go to faces/<folder>/, with a manifest.jsonl that accounts for every image, and
    contact sheets of accepted and rejected faces beside it. If an image shows several faces, the largest is taken, or
    with --person the one that matches. Running it again completes what was interrupted. Several processes share the
    work if RANK and WORLD_SIZE are set, as torchrun sets them.

    \b
    facemorph align frames/man frames/woman
    facemorph align frames --crop ffhq --size 256 -o portraits
    facemorph align frames/man --person man.jpg --detector hog
    torchrun --nproc-per-node 4 -m facemorph align frames/man frames/woman
    """
    from facemorph.errors import InputError
    from facemorph.faces import align as library
    from facemorph.folders import name_of_folder
    from facemorph.shards import shard_from_environment

    shard = shard_from_environment()
    settings = library.AlignSettings(
        size_px, crop, detector, side_px, min_face_px=min_face_px, follow=follow, landmarks=landmarks
    )
    made = []
    failures: list[InputError] = []
    for folder in library.find_folders(list(folders)):
        target = output / name_of_folder(folder)
        bars = progress and shard.rank == 0
        try:
            rows = library.align(
                folder, target, settings, person=person, jobs=jobs, device=device, shard=shard, progress=bars
            )
        except InputError as error:  # of one person; the others go on
            failures.append(error)
            continue
        if len(rows) < len(library.list_images(folder)):
            click.echo(f"{target}: shard {shard.rank + 1} of {shard.world} done, {len(rows)} images")
            continue
        accepted = sum(row["status"] == "accepted" for row in rows)
        click.echo(f"{target}: {accepted} of {len(rows)} faces accepted ({accepted / len(rows):.1%})")
        reasons = Counter(row["reason"] for row in rows if row["status"] == "rejected")
        click.echo("".join(f"  rejected, {reason}: {count}\n" for reason, count in reasons.items()), nl=False)
        several = sum(row.get("faces", 0) > 1 for row in rows)
        if several:
            rule = "the one that matches" if person else "the largest"
            click.echo(f"  several faces in {several} images: {rule} was taken")
        click.echo(f"  contact sheets: {target}-accepted.jpg" + (f", {target}-rejected.jpg" if reasons else ""))
        made.append(target)
    if made:
        faces = "" if output == Path("faces") else f" --set {quoted(f'data.faces={in_list(str(output))}')}"
        click.echo(f"Next: facemorph train --config mixed.yaml{faces}")
    if failures:
        for error in failures[:-1]:
            click.echo(f"Error: {error}", err=True)
        raise failures[-1]
