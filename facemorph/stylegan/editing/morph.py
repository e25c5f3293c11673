"""The morph through a network's latent space: every step is a face that the generator can make."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.stylegan.editing.mixing import by_ranges, interpolate
from facemorph.stylegan.editing.resolve import render_latents, resolve_latents
from facemorph.stylegan.latents import Latent, fingerprint, write_latent
from facemorph.stylegan.networks.generator import Generator
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
    first: np.ndarray, second: np.ndarray, fractions: Sequence[float], settings: LatentMorphSettings, centre: np.ndarray
) -> np.ndarray:
    """Latents [N, L, w_size] at `fractions` of the way from the first to the second."""
    if settings.layers:
        full: Mapping[str, float] = dict.fromkeys(settings.layers, 1.0)
        second = by_ranges(first, second, full)
    return interpolate(first, second, fractions, settings.interpolation, centre)


class LatentMorph:
    """The morph between two latents of one network."""

    def __init__(
        self,
        generator: Generator,
        first: Latent,
        second: Latent,
        settings: LatentMorphSettings,
        rows: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.generator, self.settings, self.rows = generator, settings, list(rows)
        self.first, self.second = first, second

    def latents(self, fractions: Sequence[float]) -> np.ndarray:
        """Latents [N, L, w_size] at fractions of the way."""
        centre = self.generator.w_avg.cpu().numpy()
        return latents_of_way(self.first.w, self.second.w, fractions, self.settings, centre)

    def frames(self, fractions: Sequence[float]) -> Iterator[np.ndarray]:
        return render_latents(self.generator, self.latents(fractions))

    def manifest(self) -> list[dict[str, Any]]:
        return self.rows

    def write_extras(self, folder: Path, fractions: Sequence[float]) -> None:
        """way.safetensors: the first still's latent, and those of all stills in the array "way" [steps, L, w_size]."""
        _write_way(folder, self.generator, self.latents(fractions))


def _write_way(folder: Path, generator: Generator, stills: np.ndarray) -> None:
    about = {"what": "latents of the stills, in the array way"}
    kept = Latent(stills[0], "w+", fingerprint(generator), about, {"way": stills})
    write_latent(folder / "way.safetensors", kept, overwrite=True)


def latent_morph(
    first: Path,
    second: Path,
    network: str | Path,
    settings: LatentMorphSettings,
    projection: ProjectionConfig,
    *,
    latents: Path | None,
    aligned: bool = False,
    landmarks: str = "auto",
    device: str | None = None,
    progress: bool = False,
) -> LatentMorph:
    """The morph of `first` into `second`, images or latents of `facemorph project`.

    What has to be projected is kept in `latents`, or as `project_files` says.

    Raises:
        As `resolve_latents`.
    """
    generator, found = resolve_latents(
        [first, second], network, projection, folder=latents, aligned=aligned, landmarks=landmarks, device=device,
        progress=progress,
    )  # fmt: skip
    rows = _rows([first, second], found, generator, network, settings)
    return LatentMorph(generator, found[0], found[1], settings, rows)


class LatentChain:
    """The morph through several latents of one network, which lie at even fractions of the way."""

    def __init__(
        self, generator: Generator, found: Sequence[Latent], settings: LatentMorphSettings, rows: list[dict[str, Any]]
    ) -> None:
        self.morphs = [LatentMorph(generator, a, b, settings) for a, b in itertools.pairwise(found)]
        self.generator, self.legs, self.rows = generator, len(self.morphs), rows

    def latents(self, fractions: Sequence[float]) -> np.ndarray:
        """Latents [N, L, w_size] at fractions of the whole way."""
        places = [min(max(fraction, 0.0), 1.0) * self.legs for fraction in fractions]
        legs = [min(int(place + 1e-9), self.legs - 1) for place in places]
        ways = [self.morphs[leg].latents([place - leg]) for place, leg in zip(places, legs, strict=True)]
        return np.concatenate(ways)

    def frames(self, fractions: Sequence[float]) -> Iterator[np.ndarray]:
        for fraction in fractions:
            yield from render_latents(self.generator, self.latents([fraction]))

    def manifest(self) -> list[dict[str, Any]]:
        return self.rows

    def write_extras(self, folder: Path, fractions: Sequence[float]) -> None:
        """way.safetensors, as `LatentMorph` writes it."""
        _write_way(folder, self.generator, self.latents(fractions))


def latent_chain(
    faces: Sequence[Path],
    network: str | Path,
    settings: LatentMorphSettings,
    projection: ProjectionConfig,
    *,
    latents: Path | None,
    aligned: bool = False,
    landmarks: str = "auto",
    device: str | None = None,
    progress: bool = False,
) -> LatentChain:
    """The morph through `faces`, images or latents of `facemorph project`; see `latent_morph`."""
    generator, found = resolve_latents(
        faces, network, projection, folder=latents, aligned=aligned, landmarks=landmarks, device=device,
        progress=progress,
    )  # fmt: skip
    return LatentChain(generator, found, settings, _rows(faces, found, generator, network, settings))


def _rows(
    faces: Sequence[Path], found: Sequence[Latent], generator: Generator, network: str | Path,
    settings: LatentMorphSettings,
) -> list[dict[str, Any]]:  # fmt: skip
    """The manifest: how the morph was made, and where each latent came from."""
    known = fingerprint(generator)
    made = {"method": "stylegan", "settings": asdict(settings), "network": str(network), "network_id": known}
    return [made, *({"source": path.name, "space": a.space, **a.about} for path, a in zip(faces, found, strict=True))]
