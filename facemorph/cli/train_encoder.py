"""`facemorph train-encoder`: a network that guesses latents."""

from pathlib import Path

import click

from facemorph.cli.options import (
    chosen_network,
    computing,
    device_option,
    list_settings_option,
    network_option,
    output_option,
    overwrite_option,
    verbosity,
)


@click.command(short_help="Train an encoder, which gives project a better start.")
@network_option
@click.option("--config", "name", default="encoder", show_default=True, metavar="FILE", help="A YAML file.")
@click.option("--steps", type=click.IntRange(min=1), help="Default: the config's.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one value: lesson.batch_size=8.")
@list_settings_option("facemorph.stylegan.projection.config:EncoderConfig")
@device_option
@overwrite_option("Replace an encoder that exists.")
@output_option(None, "The encoder's file. Default: in the cache, where `project` looks for it.")
@verbosity
@computing
def train_encoder(
    network: str | None, name: str, steps: int | None, overrides: tuple[str, ...], device: str, overwrite: bool,
    output: Path | None, progress: bool,
) -> None:  # fmt: skip
    """Train an encoder, which guesses the latents of an image in one pass, on the generator's own images.

    `project` then starts from its guess and needs half the steps or fewer. No data set is needed. Running the same
    command again continues an interrupted one.

    \b
    facemorph train-encoder --network stylegan1-ffhq-1024
    facemorph train-encoder --network small.pkl --steps 2000 --set lesson.width=16
    """
    from facemorph.stylegan.projection.config import load_encoder_config

    settings = load_encoder_config(name, [*([f"lesson.steps={steps}"] if steps else []), *overrides])
    from facemorph.stylegan.projection.encoder_training import train_encoder as train

    path, metrics = train(
        chosen_network(network), settings, output, device=device, overwrite=overwrite, progress=progress
    )
    click.echo(
        f"{path}: on held-out images, latents are off by {metrics['latent_error']:.0%} of their variance; "
        f"images generated from them have a PSNR of {metrics['psnr_db']} dB."
    )
