"""Options of the commands that have to find portraits in a network before they go on."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from facemorph.cli.options import PATH


@dataclass(frozen=True)
class ProjectionOptions:
    """`settings` (a Projection), and `where`: the arguments of `resolve_latents` that say where and on what."""

    settings: Any
    where: dict[str, Any]


def projecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command receives them as `search`."""

    @click.option("--preset", type=click.Choice(["fast", "balanced", "best"]), default="balanced", show_default=True,
                  help="How images are searched for in the network.")  # fmt: skip
    @click.option("--space", type=click.Choice(["w", "w+"]), help="w mixes best, w+ resembles best.")
    @click.option("--loss", type=click.Choice(["perceptual", "pixel"]), help="pixel needs no VGG16.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As in `facemorph project`.")
    @click.option("--latents", type=PATH, default="projected", show_default=True, help="Keeps what was searched for.")
    @click.option("--aligned", is_flag=True, help="The images are FFHQ-aligned already.")
    @click.option("--device", help="cpu or cuda. Default: cuda where there is one.")
    @functools.wraps(command)
    def wrapped(
        *args: Any, preset: str, space: str | None, loss: str | None, overrides: tuple[str, ...], latents: Path,
        aligned: bool, device: str | None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        from facemorph.stylegan.projection.config import load_projection_config

        chosen = [f"search.{key}={value}" for key, value in (("space", space), ("loss", loss)) if value]
        settings = load_projection_config(preset, [*chosen, *overrides])
        where = {"folder": latents, "aligned": aligned, "device": device}
        return command(*args, search=ProjectionOptions(settings, where), **kwargs)

    return wrapped


def name_of(path: Path) -> str:
    """What an image or a latent is called: a latent lies in a folder of the image's name."""
    return path.resolve().parent.name if path.name == "latent.safetensors" else path.stem
