"""`facemorph train`: faces to a trained DCGAN."""

from pathlib import Path

import click

from facemorph.cli.options import output_option, verbosity


@click.command(short_help="Train a DCGAN on aligned faces.")
@click.option("--config", "name", required=True, metavar="FILE", help="A YAML file, or the name of a shipped one.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one value: training.steps=500.")
@output_option("run", "The run folder.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ...; auto takes CUDA if it can.")
@verbosity
def train(name: str, overrides: tuple[str, ...], output: Path, device: str, progress: bool) -> None:
    """Train a DCGAN on the faces that a configuration names (faces/ in the shipped ones).

    Running the same command again continues an interrupted run, with the same numbers as if it had not been
    interrupted. At the end the run's health is judged by its losses, as the 2018 paper reads them.

    \b
    facemorph train --config mixed.yaml
    facemorph train --config mixed-paper.yaml -o runs/paper
    facemorph train --config mixed.yaml --set data.limit=100 --set training.steps=3000 -o runs/few
    torchrun --nproc-per-node 4 -m facemorph train --config mixed.yaml
    """
    import os

    from facemorph.dcgan.config import load_config

    config = load_config(name, overrides)  # before torch is loaded: a typo is told at once
    from facemorph.dcgan.train import train as run_training

    health, interrupted = run_training(config, output, device_name=device, progress=progress)
    if os.environ.get("RANK", "0") != "0":  # of torchrun's processes the first one speaks
        return
    click.echo(f"{output}: {health.verdict} after {health.steps} steps: {health.reason}")
    click.echo(
        f"  d-loss {health.d_loss:.2f} ({health.d_in_band:.0%} of steps in 0.3-1, {health.d_above_band:.0%} above), "
        f"g-loss {health.g_loss:.2f} ({health.g_rise:+.0%} over the second half)"
    )
    if interrupted:
        command = " ".join([f"facemorph train --config {name}", *(f"--set {o}" for o in overrides), f"-o {output}"])
        click.echo(f"Interrupted; everything so far is saved. Go on with: {command}")
        raise click.exceptions.Exit(130)
    click.echo(f"  samples: {output / 'samples'}\nNext: facemorph plot-loss {output}; facemorph walk {output}")
