"""`facemorph train`: faces to a trained DCGAN."""

from collections.abc import Sequence
from pathlib import Path

import click

from facemorph.cli.options import computing, device_option, list_settings_option, output_option, quoted, verbosity


@click.command(short_help="Train a DCGAN on aligned faces.")
@click.option("--config", "name", required=True, metavar="FILE", help="A YAML file, or the name of a shipped one.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one value: training.steps=500.")
@list_settings_option("facemorph.dcgan.config:Config")
@output_option("run", "The run folder.")
@device_option
@verbosity
@computing
def train(name: str, overrides: tuple[str, ...], output: Path, device: str, progress: bool) -> None:
    """Train a DCGAN on the faces that a configuration names (faces/ in the shipped ones).

    Running the same command again continues an interrupted run, with the same numbers as if it had not been
    interrupted. While it trains, RUN/loss.png and RUN/samples/ show how it goes. At the end there is a verdict on the
    losses, as the 2018 paper reads them, and a count of the faces on the last sample grid.

    \b
    facemorph train --config mixed.yaml
    facemorph train --list-settings
    facemorph train --config mixed-paper.yaml -o runs/paper
    facemorph train --config mixed.yaml --set data.limit=100 --set training.steps=3000 -o runs/few
    torchrun --nproc-per-node 4 -m facemorph train --config mixed.yaml
    """
    import os

    from facemorph.dcgan.config import load_config

    config = load_config(name, overrides)  # before torch is loaded: a typo is reported at once
    from facemorph.cli.plot_loss import echo_verdict
    from facemorph.dcgan.run import Run
    from facemorph.dcgan.train import train as run_training
    from facemorph.plots import LivePlot

    health, interrupted = run_training(config, output, device_name=device, progress=progress, logged=LivePlot())
    if os.environ.get("RANK", "0") != "0":  # of torchrun's processes the first one prints
        return
    run = Run(output)
    echo_verdict(run, health)
    if interrupted:
        click.echo(f"Interrupted; everything so far is saved. Continue with: {_command(name, overrides, output)}")
        raise click.exceptions.Exit(130)
    click.echo(f"  samples: {run.samples}, losses: {output / 'loss.png'}")
    counted, persons = run.sample_faces(), list(run.about()["faces"])
    if counted and not counted.usable:
        others = [one for one in overrides if not one.startswith("training.steps=")]
        longer = f"training.steps={2 * max(config.training.steps, health.steps)}"
        click.echo(f"To train longer: {_command(name, [*others, longer], output)}")
    ends = f" --from-person {persons[0]} --to-person {persons[1]}" if persons[1:] else ""
    click.echo(f"Next: facemorph sample {output}; facemorph evaluate {output}; facemorph walk {output}{ends}")


def _command(name: str, overrides: Sequence[str], output: Path) -> str:
    """The command that trains so, as a shell takes it."""
    words = ["facemorph", "train", "--config", name, *(word for one in overrides for word in ("--set", one))]
    return " ".join(map(quoted, [*words, "-o", str(output)]))
