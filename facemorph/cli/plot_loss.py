"""`facemorph plot-loss`: the losses of runs and the verdict on them."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from facemorph.cli.options import PATH, PLOT_FILE, output_option, overwrite_option, verbosity

if TYPE_CHECKING:
    from facemorph.dcgan.health import Health
    from facemorph.dcgan.run import Run


@click.command(short_help="Plot the losses of runs, with a verdict.")
@click.argument("runs", nargs=-1, required=True, type=PATH)
@output_option(None, "The image; .png, .svg or .pdf. By default loss.png in the (first) run folder.", PLOT_FILE)
@overwrite_option()
@verbosity
def plot_loss(runs: tuple[Path, ...], output: Path | None, overwrite: bool, progress: bool) -> None:
    """Plot d-loss and g-loss of RUNS against iteration, with the 2018 paper's band and the loss verdict.

    Of runs of train-generator, losses and figures: Frechet distances, and how held-out faces are rebuilt.

    The verdict is about the losses, not about the images: for these see `facemorph evaluate`. Only the run folder is
    needed, also while it trains: no GPU, no faces, no torch. Several runs are plotted side by side on equal axes.

    \b
    facemorph plot-loss run/
    facemorph plot-loss run/ runs/paper/ -o compare.pdf
    """
    from facemorph.dcgan.run import Run
    from facemorph.files import check_free
    from facemorph.plots import plot_generator_runs, plot_losses, save
    from facemorph.run_folder import STYLEGAN, kind_of_runs

    kind = kind_of_runs(runs)
    if output:
        check_free(output, overwrite)
    target = output or runs[0] / "loss.png"
    names = " ".join(str(path) for path in runs)
    if kind == STYLEGAN:
        from facemorph.cli.train_generator import echo_verdict as echo_generator_verdict
        from facemorph.stylegan.training.run import GeneratorRun

        trained = [GeneratorRun.open(path) for path in runs]
        save(plot_generator_runs(trained), target)
        for one in trained:
            echo_generator_verdict(one, one.health())
        click.echo(f"Plot: {target}\nNext: facemorph weights add {runs[0]} --name NAME; facemorph evaluate {names}")
        return
    opened = [Run.open(path) for path in runs]
    save(plot_losses(opened), target)
    for run in opened:
        echo_verdict(run, run.health())
    click.echo(f"Plot: {target}")
    click.echo(f"Next: facemorph sample {runs[0]}; facemorph evaluate {names}")


def echo_verdict(run: "Run", health: "Health") -> None:
    """Print the loss verdict with its statistics, and the faces on the last sample grid, where counted."""
    click.echo(f"{run.path}: loss verdict after {health.steps} steps: {health.verdict} ({health.reason})")
    click.echo(
        f"  d-loss {health.d_loss:.2f} ({health.d_in_band:.0%} of steps in 0.3-1, {health.d_above_band:.0%} above), "
        f"g-loss {health.g_loss:.2f} ({health.g_rise:+.0%} over the second half)"
    )
    counted = run.sample_faces()
    if counted and counted.step == health.steps:
        click.echo(f"  {counted}")
