"""`facemorph extract`: clips to frames."""

from pathlib import Path

import click

from facemorph.cli.options import PATH, output_option, quoted, seed_option, threads_option, verbosity


@click.command(short_help="Clips to frames: 4 random ones per second, no two consecutive.")
@click.argument("clips", nargs=-1, required=True, type=PATH)
@output_option("frames", "Folder that receives a folder of frames for each person.")
@click.option(
    "--per-second", type=click.IntRange(1, 60), default=4, show_default=True, help="Frames per second of the clip."
)
@click.option("--format", type=click.Choice(["jpg", "png"]), default="jpg", show_default=True, help="Image format.")
@click.option("--person", metavar="NAME", help="All clips show this one person. By default each clip is a person.")
@seed_option("Chooses the frames.")
@verbosity
@threads_option
def extract(
    clips: tuple[Path, ...],
    output: Path,
    per_second: int,
    format: str,
    person: str | None,
    seed: int,
    progress: bool,
) -> None:
    """Take random frames from CLIPS, 4 per second, no two of them consecutive.

    A clip's frames go to frames/<clip>/; a folder given instead of a clip is one person with many clips, and its frames
    go to frames/<folder>/. Running it again completes what was interrupted.

    \b
    facemorph extract video.mp4
    facemorph extract man.mp4 woman.mp4 --per-second 2 --seed 7
    facemorph extract clips/anna/ clips/ben/ -o data/frames
    facemorph extract monday.mp4 tuesday.mp4 wednesday.mp4 --person anna
    """
    from facemorph import video

    settings = video.ExtractSettings(per_second, seed, format)
    people = video.find_people(list(clips), person)
    if len(people) > 2 and progress and not any(clip.is_dir() for clip in clips):
        click.echo(f"{len(people)} people; if these clips show one person, add --person NAME.", err=True)
    reports = video.extract(people, output, settings, progress=progress)
    for name, found in reports.items():
        taken, seconds = sum(r.frames_taken for r in found), sum(r.seconds for r in found)
        click.echo(f"{output / name}: {taken} frames from {seconds:.1f} s in {len(found)} clip(s)")
    sparse = sum(report.sparse_seconds for found in reports.values() for report in found)
    if sparse and progress:
        click.echo(
            f"{sparse} seconds have too few images for {per_second} frames; as many as possible were taken.",
            err=True,
        )
    click.echo(f"Next: facemorph align {' '.join(quoted(str(output / name)) for name in reports)}")
