"""`facemorph plot-loss`: is the run healthy?"""

from pathlib import Path

import click

from facemorph.cli.options import PATH, output_option, overwrite_option, verbosity


@click.command(short_help="Draw the losses of runs, with a verdict.")
@click.argument("runs", nargs=-1, required=True, type=PATH)
@output_option(None, "The image; .png, .svg or .pdf. By default loss.png in the (first) run folder.")
@overwrite_option
@verbosity
def plot_loss(runs: tuple[Path, ...], output: Path | None, overwrite: bool, progress: bool) -> None:
    """Draw d-loss and g-loss of RUNS against iteration, with the 2018 paper's band and the verdict.

    Needs the run folder alone: no GPU, no faces, no torch. Several runs stand side by side on equal axes.

    \b
    facemorph plot-loss run/
    facemorph plot-loss run/ runs/paper/ -o compare.pdf
    """
    from facemorph.dcgan.run import Run
    from facemorph.files import check_free
    from facemorph.plots import plot_losses, save

    opened = [Run.open(path) for path in runs]
    if output:
        check_free(output, overwrite)
    target = output or runs[0] / "loss.png"
    save(plot_losses(opened), target)
    for run in opened:
        health = run.health()
        click.echo(f"{run.path}: {health.verdict} after {health.steps} steps: {health.reason}")
    click.echo(f"Plot: {target}")
