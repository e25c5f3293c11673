"""`facemorph evaluate run`: the samples of trained runs against real faces."""

from pathlib import Path

import click

from facemorph.cli.options import PATH, output_option, overwrite_option, seed_option, verbosity


def _or_the_one_here(ctx: click.Context, parameter: click.Parameter, runs: tuple[Path, ...]) -> tuple[Path, ...]:
    """`facemorph evaluate run`, meaning the folder that `train` makes, is read as this command without a folder."""
    here = Path("run")
    if not runs and not here.is_dir():
        raise click.MissingParameter(ctx=ctx, param=parameter)
    return runs or (here,)


@click.command(short_help="Samples of trained runs against real faces.")
@click.argument("runs", type=PATH, nargs=-1, callback=_or_the_one_here)
@click.option("--samples", type=click.IntRange(16, 50_000), default=1000, show_default=True, help="Faces to draw.")
@click.option("--against", type=PATH, metavar="DIR", help="Also compare with the faces in this folder.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ...; auto takes CUDA if it can.")
@output_option(None, "Folder. By default the run folder itself; of several runs, a folder of each name.")
@overwrite_option
@seed_option("Chooses the samples and the walks.")
@verbosity
def run(
    runs: tuple[Path, ...],
    samples: int,
    against: Path | None,
    device: str,
    output: Path | None,
    overwrite: bool,
    seed: int,
    progress: bool,
) -> None:
    """Draw faces from the trained RUNS and compare them with the faces that each learnt from.

    Frechet and kernel distance over dlib's face descriptors and over a network that was trained on ImageNet, diversity,
    copies of training images, coverage of expressions, and how even random walks are. Several runs give a table.

    \b
    facemorph evaluate run/
    facemorph evaluate runs/few --against faces --seed 1
    facemorph evaluate run/ runs/paper/ -o compared
    """
    from facemorph.evaluation import evaluate_run as library
    from facemorph.evaluation.table import table
    from facemorph.files import check_free

    opened = [library.has_generator(path) for path in runs]
    folders = library.places(list(runs), output)
    if output:
        for folder in folders:
            check_free(folder / library.REPORT, overwrite)
    options = {"samples": samples, "seed": seed, "against": against, "device": library.device_name(device)}
    done = [library.evaluate(one, to, **options, progress=progress) for one, to in zip(opened, folders, strict=True)]
    click.echo(table([one.report for one in done]))
    for one in done:
        for remark in one.report["remarks"]:
            click.echo(f"{one.report['run']}: {remark}")
        click.echo(f"Written: {', '.join(map(str, one.written))}")
