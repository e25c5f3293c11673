"""Options of the commands that first project portraits."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from facemorph.cli.options import PATH, SettingChoice, device_option, landmarks_option
from facemorph.folders import name_of_folder

PRESETS = ["instant", "fast", "balanced", "best"]
SPACES = SettingChoice("facemorph.stylegan.projection.config:SearchConfig.space")
LOSSES = SettingChoice("facemorph.stylegan.projection.config:SearchConfig.loss", "perceptual")
LOSS_HELP = (
    "vgg16: LPIPS; imagenet: features of EfficientNet-Lite0, installed with facemorph; pixel: pixels alone; auto (or "
    "perceptual): vgg16 if its weights are in the cache, otherwise imagenet. Default: the preset's."
)
ALIGNED_HELP = (
    "The images are already aligned as the network expects (by `facemorph align --crop ffhq`, for faces-256)."
)


@dataclass(frozen=True)
class ProjectionOptions:
    """The options, and `where`: the arguments of `resolve_latents` for folder, alignment, landmarks and device."""

    preset: str
    overrides: tuple[str, ...]
    where: dict[str, Any]

    def settings(self, network: str | None) -> Any:
        """The ProjectionConfig of a network, which may have presets of its own."""
        from facemorph.stylegan.projection.config import load_projection_config

        return load_projection_config(self.preset, self.overrides, network or "")


def projecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command receives them as `search`."""

    @click.option("--preset", type=click.Choice(PRESETS), default="balanced", show_default=True,
                  help="How images are projected; instant: the encoder's guess alone.")  # fmt: skip
    @click.option("--space", type=SPACES, help="w mixes best, w+ resembles best.")
    @click.option("--loss", type=LOSSES, help=LOSS_HELP)
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As in `facemorph project`.")
    @click.option("--latents", type=PATH,
                  help="Folder of the projections; those it holds are used again. Default: projected, or projected-2 "
                  "and so on where that one holds these portraits with other settings.")  # fmt: skip
    @click.option("--aligned", is_flag=True, help=ALIGNED_HELP)
    @landmarks_option
    @device_option
    @functools.wraps(command)
    def wrapped(
        *args: Any, preset: str, space: str | None, loss: str | None, overrides: tuple[str, ...], latents: Path | None,
        aligned: bool, landmarks: str, device: str, **kwargs: Any,
    ) -> Any:  # fmt: skip
        chosen = [f"search.{key}={value}" for key, value in (("space", space), ("loss", loss)) if value]
        where = {"folder": latents, "aligned": aligned, "landmarks": landmarks, "device": device}
        return command(*args, search=ProjectionOptions(preset, (*chosen, *overrides), where), **kwargs)

    return wrapped


def name_of(path: Path) -> str:
    """What an image or a latent is called: a latent lies in a folder of the image's name."""
    return name_of_folder(path.parent) if path.name == "latent.safetensors" else path.stem


def write_combined(
    output: Path, files: list[Path], parts: list[float], network: str, search: ProjectionOptions, progress: bool
) -> None:
    """The picture of a sum of latents, and the latent beside it."""
    from facemorph.images import write_image
    from facemorph.stylegan.editing.arithmetic import combine
    from facemorph.stylegan.latents import write_latent

    image, latent = combine(files, parts, network, search.settings(network), progress=progress, **search.where)
    beside = output.with_suffix(".safetensors")
    write_image(output, image)
    write_latent(beside, latent, overwrite=True)
    click.echo(f"{output}\n{beside}")
