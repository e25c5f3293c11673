"""`facemorph train-generator`: faces to a StyleGAN2 and its encoder."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from facemorph.cli.options import PATH, computing, device_option, list_settings_option, output_option, quoted, verbosity

if TYPE_CHECKING:
    from facemorph.stylegan.training.health import Health
    from facemorph.stylegan.training.run import GeneratorRun

FROM_NOISE, FROM_NETWORK = "generator-128.yaml", "generator-tune.yaml"


@click.command(short_help="Train a StyleGAN2 and its encoder, or tune one.")
@click.argument("faces", nargs=-1, type=PATH)
@click.option(
    "--from", "start", metavar="NETWORK", help="Start from a card's network, a network file, or a run folder."
)
@click.option("--config", "name", metavar="FILE", help="A YAML file, or the name of a shipped one. "
              f"Default: {FROM_NOISE}; with --from, {FROM_NETWORK}.")  # fmt: skip
@click.option("--held-out", type=PATH, metavar="DIR", help="Faces used only to measure. Default: 5 % of FACES.")
@click.option("--steps", type=click.IntRange(min=1), help="Default: the config's.")
@click.option("--seed", type=click.IntRange(min=0), help="Default: the config's.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one value: training.batch_size=8.")
@list_settings_option("facemorph.stylegan.training.config:Config")
@output_option("run", "The run folder.")
@device_option
@click.option("--profile", is_flag=True, help="Print the times of a step's parts, and an estimate; train nothing.")
@verbosity
@computing
def train_generator(
    faces: tuple[Path, ...], start: str | None, name: str | None, held_out: Path | None, steps: int | None,
    seed: int | None, overrides: tuple[str, ...], output: Path, device: str, profile: bool,
    progress: bool,
) -> None:  # fmt: skip
    """Train a StyleGAN2 generator and its encoder together on FACES, from noise or from another network.

    FACES are folders as `align` makes them, or packs (.pack, .npy); the network makes faces of their crop. From noise
    it needs thousands of faces and a GPU; --from needs 50 or more and works on a CPU. Running the same command again
    continues an interrupted run. While it trains, RUN/loss.png and RUN/samples/ show how it goes.

    \b
    facemorph train-generator faces/ --from faces-256 -o tuned
    facemorph train-generator faces/ --from faces-256 --held-out others/ --steps 300 -o tuned
    facemorph train-generator faces/ --profile
    facemorph train-generator faces-0.pack faces-1.pack --config generator-256.yaml -o run-256
    facemorph weights add tuned --name korean-128
    torchrun --nproc-per-node 4 -m facemorph train-generator faces/
    """
    import os

    from facemorph.stylegan.training.config import load_config

    given = [f"data.faces=[{', '.join(_in_yaml(path) for path in faces)}]"] if faces else []
    given += [f"data.held_out=[{_in_yaml(held_out)}]"] if held_out else []
    given += [f"training.steps={steps}"] if steps else []
    given += [f"training.seed={seed}"] if seed is not None else []
    name = name or (FROM_NETWORK if start else FROM_NOISE)
    config = load_config(name, [*given, *overrides])  # before torch is loaded: a typo is reported at once
    import dataclasses

    from facemorph.plots import LivePlot
    from facemorph.stylegan.training.run import GeneratorRun
    from facemorph.stylegan.training.train import profile_parts, train

    config = dataclasses.replace(config, start=start or "")
    if profile:
        click.echo(_profile(profile_parts(config, device_name=device), config.training.steps))
        return
    health, interrupted = train(config, output, device_name=device, progress=progress, logged=LivePlot())
    if os.environ.get("RANK", "0") != "0":  # of torchrun's processes the first one prints
        return
    run = GeneratorRun(output)
    echo_verdict(run, health)
    if interrupted:
        words = [*map(str, faces), *(["--from", start] if start else []), "--config", name]
        words += ["--held-out", str(held_out)] if held_out else []
        words += [word for one in (given[1 + bool(held_out) :] if faces else given) for word in ("--set", one)]
        words += [word for one in overrides for word in ("--set", one)]
        command = " ".join(map(quoted, ["facemorph", "train-generator", *words, "-o", str(output)]))
        click.echo(f"Interrupted; everything so far is saved. Continue with: {command}")
        raise click.exceptions.Exit(130)
    click.echo(f"  samples: {run.samples}, losses and figures: {output / 'loss.png'}")
    click.echo(f"  network: {run.generator}, encoder: {run.encoder}")
    click.echo(f"Next: facemorph weights add {output} --name NAME; facemorph evaluate {output}")


def _in_yaml(path: Path) -> str:
    """A path as an item of a YAML list."""
    import json

    return json.dumps(str(path), ensure_ascii=False)


def _profile(parts: dict[str, float], steps: int) -> str:
    from facemorph.progress import duration

    whole = parts["whole"]
    others = whole - sum(value for name, value in parts.items() if name != "whole")
    rows = [*((name, value) for name, value in parts.items() if name != "whole"), ("other", others), ("whole", whole)]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value:>9.1f} ms  {value / whole:>4.0%}" for name, value in rows]
    lines.append(f"{steps} steps: about {duration(steps * whole / 1000)}, without figures and grids")
    return "\n".join(lines)


def echo_verdict(run: "GeneratorRun", health: "Health") -> None:
    """Print the verdict on a run, with its figures."""
    click.echo(f"{run.path}: after {health.steps} steps: {health.verdict} ({health.reason})")
