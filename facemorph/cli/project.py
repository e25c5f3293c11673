"""`facemorph project`: portraits to latents."""

from pathlib import Path

import click

from facemorph.cli.options import (
    PATH,
    chosen_network,
    computing,
    device_option,
    landmarks_option,
    list_settings_option,
    network_option,
    output_option,
    overwrite_option,
    seed_option,
    verbosity,
)
from facemorph.cli.projection_options import ALIGNED_HELP, LOSS_HELP, LOSSES, PRESETS, SPACES


@click.command(short_help="Project portraits into a StyleGAN's latent space.")
@click.argument("images", nargs=-1, required=True, type=PATH)
@network_option
@click.option("--preset", type=click.Choice(PRESETS), default="balanced", show_default=True,
              help="instant: the encoder's guess; best also tunes the generator to each image.")  # fmt: skip
@click.option("--config", "name", metavar="FILE", help="A YAML file in place of a preset.")
@click.option("--space", type=SPACES, help="w mixes best, w+ resembles best. Default: the preset's.")
@click.option("--loss", type=LOSSES, help=LOSS_HELP)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one value: schedule.steps=500.")
@list_settings_option("facemorph.stylegan.projection.config:ProjectionConfig")
@click.option("--encoder", type=PATH, help="Start from its guess. Default: the encoder in the cache, if any.")
@click.option("--aligned", is_flag=True, help=ALIGNED_HELP)
@landmarks_option
@device_option
@seed_option("Chooses the noise maps, if the config optimises them.")
@overwrite_option("Redo images that are already done.")
@output_option("projected", "Folder that receives a folder for each image.")
@verbosity
@computing
def project(
    images: tuple[Path, ...], network: str | None, preset: str, name: str | None, space: str | None, loss: str | None,
    overrides: tuple[str, ...], encoder: Path | None, aligned: bool, landmarks: str, device: str, seed: int,
    overwrite: bool, output: Path, progress: bool,
) -> None:  # fmt: skip
    """Project each of IMAGES into the latent space of a StyleGAN, so that it can be mixed and changed there.

    The largest face is aligned first, as the network's training faces are. Each image gets a folder with its latent,
    the reconstruction, both side by side, and a report. Running it again does only what is missing. Several processes
    share the images if RANK and WORLD_SIZE are set, as torchrun sets them.

    \b
    facemorph project a.jpg b.jpg
    facemorph project a.jpg --preset instant
    facemorph project faces/man/*.png --aligned
    facemorph project faces/*.png --aligned --space w --loss pixel --set schedule.steps=500 -o latents
    """
    from facemorph.stylegan.projection.config import load_projection_config

    chosen = [f"search.{key}={value}" for key, value in (("space", space), ("loss", loss)) if value]
    known = chosen_network(network)
    if name and click.get_current_context().get_parameter_source("preset") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("Give --preset or --config, not both.")
    settings = load_projection_config(name or preset, [*chosen, *overrides], known)
    from facemorph.errors import InputError
    from facemorph.shards import shard_from_environment
    from facemorph.stylegan.projection.project_images import project_files
    from facemorph.stylegan.projection.report import summary

    shard = shard_from_environment()
    latents = project_files(
        images, output, known, settings, aligned=aligned, landmarks=landmarks, overwrite=overwrite,
        progress=progress and shard.rank == 0, device=device, encoder=encoder, seed=seed, shard=shard,
    )  # fmt: skip
    mine = f" of shard {shard.rank + 1} of {shard.world}" if shard.world > 1 else ""
    click.echo(f"{output}: {len(latents)} of {len(shard.mine(images))} images{mine} projected.")
    for latent in latents:
        click.echo(f"  {latent.parent / 'side_by_side.png'}  {summary(latent.parent)}")
    missing = len(shard.mine(images)) - len(latents)
    if missing and shard.world == 1:  # of several processes torchrun would end all where one fails
        raise InputError(
            f"{missing} of the images could not be projected.", "Mend or leave them out, and run it again."
        )
