"""The morph through a network's latent space: every step is a face the generator could have drawn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from facemorph.animation import write_morph_files
from facemorph.files import check_free
from facemorph.stylegan.editing.mixing import by_ranges, interpolate
from facemorph.stylegan.editing.resolve import render_latents, resolve_latents
from facemorph.stylegan.latents import Latent, fingerprint, write_latent
from facemorph.stylegan.projection.config import ProjectionConfig


@dataclass(frozen=True)
class LatentMorphSettings:
    """`steps` stills, both ends included, and as many `frames` of a film.

    Attributes:
        interpolation: "lerp" straight, or "slerp" around the average face.
        layers: which of RANGES change (others stay the first one's); empty changes all.
    """

    steps: int = 9
    frames: int = 30
    interpolation: str = "lerp"
    layers: tuple[str, ...] = ()


def latents_of_way(
    first: np.ndarray, second: np.ndarray, shares: Sequence[float], settings: LatentMorphSettings, centre: np.ndarray
) -> np.ndarray:
    """Latents [N, L, w_size] at `shares` of the way from the first to the second."""
    if settings.layers:
        full: Mapping[str, float] = dict.fromkeys(settings.layers, 1.0)
        second = by_ranges(first, second, full)
    return interpolate(first, second, shares, settings.interpolation, centre)


def write_latent_morph(
    first: Path,
    second: Path,
    folder: Path,
    network: str | Path,
    settings: LatentMorphSettings,
    projection: ProjectionConfig,
    *,
    latents: Path,
    aligned: bool = False,
    device: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> list[Path]:
    """Morph `first` into `second` (images, or latents of `facemorph project`), and write it to `folder`.

    Beside the files of `facemorph.animation`: way.safetensors, the first still's latent, and those of all stills in
    the array "way" [steps, L, w_size]. What has to be searched for is kept in `latents`.

    Raises:
        As `resolve_latents` and `write_morph_files`.
    """
    check_free(folder, overwrite)
    generator, found = resolve_latents(
        [first, second], network, projection, folder=latents, aligned=aligned, device=device, progress=progress
    )
    centre = generator.w_avg.cpu().numpy()

    def on_the_way(shares: Sequence[float]) -> np.ndarray:
        return latents_of_way(found[0].w, found[1].w, shares, settings, centre)

    def at(shares: Sequence[float]) -> Iterator[np.ndarray]:
        return render_latents(generator, on_the_way(shares))

    known = fingerprint(generator)
    rows = [{"method": "stylegan", "settings": asdict(settings), "network": str(network), "network_id": known}]
    rows += [
        {"source": path.name, "space": one.space, **one.about} for path, one in zip((first, second), found, strict=True)
    ]
    written = write_morph_files(
        folder, at, rows, steps=settings.steps, frames=settings.frames, overwrite=overwrite, progress=progress
    )
    stills = on_the_way(np.linspace(0, 1, settings.steps).tolist())
    kept = Latent(stills[0], "w+", known, {"what": "latents of the stills, in the array way"}, {"way": stills})
    write_latent(folder / "way.safetensors", kept, overwrite=True)
    return written
