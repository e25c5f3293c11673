"""The morph through a network's latent space: every step is a face the generator could have drawn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from facemorph.files import check_free
from facemorph.sequence import write_change
from facemorph.stylegan.latents import Latent, fingerprint, write_latent
from facemorph.stylegan.mixing import by_ranges, way
from facemorph.stylegan.parents import draw_latents, find_parents
from facemorph.stylegan.projection import Projection


@dataclass(frozen=True)
class Settings:
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
    first: np.ndarray, second: np.ndarray, shares: Sequence[float], settings: Settings, centre: np.ndarray
) -> np.ndarray:
    """Latents [N, L, w_size] at `shares` of the way from the first to the second."""
    if settings.layers:
        full: Mapping[str, float] = dict.fromkeys(settings.layers, 1.0)
        second = by_ranges(first, second, full)
    return way(first, second, shares, settings.interpolation, centre)


def write_latent_morph(
    first: Path,
    second: Path,
    folder: Path,
    network: str | Path,
    settings: Settings,
    projection: Projection,
    *,
    latents: Path,
    aligned: bool = False,
    device: str | None = None,
    overwrite: bool = False,
    show: bool = False,
) -> list[Path]:
    """Morph `first` into `second` (pictures, or latents of `facemorph project`), and write it to `folder`.

    Beside the files of `facemorph.sequence`: way.safetensors, the first still's latent, and those of all of them in the
    array "way" [steps, L, w_size]. What has to be searched for is kept in `latents`.

    Raises:
        As `find_parents` and `write_change`.
    """
    check_free(folder, overwrite)
    generator, found = find_parents(
        [first, second], network, projection, folder=latents, aligned=aligned, device=device, show=show
    )
    centre = generator.w_avg.cpu().numpy()

    def on_the_way(shares: Sequence[float]) -> np.ndarray:
        return latents_of_way(found[0].w, found[1].w, shares, settings, centre)

    def at(shares: Sequence[float]) -> Iterator[np.ndarray]:
        return draw_latents(generator, on_the_way(shares))

    known = fingerprint(generator)
    rows = [{"method": "stylegan", "settings": asdict(settings), "network": str(network), "network_id": known}]
    rows += [
        {"source": path.name, "space": one.space, **one.about} for path, one in zip((first, second), found, strict=True)
    ]
    written = write_change(
        folder, at, rows, steps=settings.steps, frames=settings.frames, overwrite=overwrite, show=show
    )
    stills = on_the_way(np.linspace(0, 1, settings.steps).tolist())
    kept = Latent(stills[0], "w+", known, {"what": "latents of the stills, in the array way"}, {"way": stills})
    write_latent(folder / "way.safetensors", kept, overwrite=True)
    return written
