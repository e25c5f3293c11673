"""The ways to morph one face into another, by name. To add one: a function here that returns a `Morph`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemorph.animation import Morph
from facemorph.config import check_whole
from facemorph.errors import InputError
from facemorph.stylegan.projection.config import ProjectionConfig, load_projection_config

if TYPE_CHECKING:
    from facemorph.faces.morph import LandmarkMorphSettings, Look

MOST_STEPS = 1000
SIZES = 16, 4096


@dataclass(frozen=True)
class MorphOptions:
    """What the methods take; each takes what it knows.

    Attributes:
        steps, frames: of the stills and of the film, noted in the manifest.
        size_px, face_only, detector: landmarks: side of the images; change the inner face alone; "cnn", "hog", ...
        landmarks: landmarks, stylegan: a name in `facemorph.faces.landmarks.LANDMARKS`.
        network, projection, latents, aligned, device: stylegan: which network (empty: the best on this machine), how
            portraits are projected into it (None: the preset "balanced"), the folder that keeps the latents (None:
            as `project_files` says), whether the portraits are aligned already, and where it runs.
        interpolation: stylegan, dcgan: "lerp" straight, or "slerp" around the average.
        layers: stylegan: which of coarse, middle and fine change; empty: all.
        run, seed: dcgan: the folder of a trained run, and the seed of the search's starts.
    """

    steps: int = 9
    frames: int = 30
    size_px: int = 512
    face_only: bool = False
    detector: str = "auto"
    network: str | Path = ""
    projection: ProjectionConfig | None = None
    latents: Path | None = None
    aligned: bool = False
    device: str | None = None
    interpolation: str = "lerp"
    layers: tuple[str, ...] = ()
    run: Path | None = None
    seed: int = 0
    landmarks: str = "auto"

    def __post_init__(self) -> None:
        check_whole("steps", self.steps, 2, MOST_STEPS)
        check_whole("frames", self.frames, 2, MOST_STEPS)
        check_whole("size", self.size_px, *SIZES)


def by_landmarks(first: Path, second: Path, options: MorphOptions, progress: bool) -> Morph:
    """Both faces warped to the shape between, and dissolved. Raises ImageError and FaceError."""
    from facemorph.faces.morph import landmark_morph, source_of
    from facemorph.faces.points import beside

    settings, files = _landmark_settings(options), (beside(first), beside(second))
    return landmark_morph(source_of(first), source_of(second), settings, files=files)


def _landmark_settings(o: MorphOptions) -> "LandmarkMorphSettings":
    from facemorph.faces.landmarks import chosen_landmarks
    from facemorph.faces.morph import LandmarkMorphSettings

    return LandmarkMorphSettings(o.size_px, o.steps, o.frames, o.face_only, o.detector, chosen_landmarks(o.landmarks))


def by_stylegan(first: Path, second: Path, options: MorphOptions, progress: bool) -> Morph:
    """Through a generator's latent space. Raises as `facemorph.stylegan.editing.morph.latent_morph`."""
    from facemorph.stylegan.editing.morph import latent_morph

    return latent_morph(first, second, **_latent_arguments(options), progress=progress)


def _latent_arguments(o: MorphOptions) -> dict[str, Any]:
    """What `latent_morph` and `latent_chain` take beside the faces."""
    from facemorph.stylegan.editing.morph import LatentMorphSettings
    from facemorph.stylegan.load import default_network

    network = o.network or default_network()
    return {
        "network": network,
        "settings": LatentMorphSettings(o.steps, o.frames, o.interpolation, o.layers),
        "projection": o.projection or load_projection_config("balanced", network=network),
        "latents": o.latents, "aligned": o.aligned, "landmarks": o.landmarks, "device": o.device,
    }  # fmt: skip


def by_dcgan(first: Path, second: Path, options: MorphOptions, progress: bool) -> Morph:
    """Through a trained run's latent space. Raises as `facemorph.dcgan.projection.RunMorph`."""
    return _through_run([first, second], options, progress)


def _through_run(faces: Sequence[Path], options: MorphOptions, progress: bool) -> Morph:
    from facemorph.dcgan.projection import RunMorph, RunMorphSettings

    o = options
    if o.run is None:
        raise InputError("A morph by dcgan needs a trained run.", "Give its folder: --run run/")
    settings = RunMorphSettings(o.steps, o.frames, o.interpolation == "slerp", o.seed)
    return RunMorph(faces, o.run, settings, progress, o.device)


METHODS: dict[str, Callable[[Path, Path, MorphOptions, bool], Morph]] = {
    "landmarks": by_landmarks,
    "stylegan": by_stylegan,
    "dcgan": by_dcgan,
}


def chain_by_landmarks(faces: Sequence[Path], options: MorphOptions, look: "Look", progress: bool) -> Morph:
    """From each face to the next, three in memory at a time. Raises as `facemorph.faces.chain.LandmarkChain`."""
    from facemorph.faces.chain import LandmarkChain

    return LandmarkChain(faces, _landmark_settings(options), look, progress)


def chain_by_stylegan(faces: Sequence[Path], options: MorphOptions, look: "Look", progress: bool) -> Morph:
    """Through a generator's latent space. Raises as `facemorph.stylegan.editing.morph.latent_chain`."""
    from facemorph.stylegan.editing.morph import latent_chain

    return latent_chain(faces, **_latent_arguments(options), progress=progress)


def chain_by_dcgan(faces: Sequence[Path], options: MorphOptions, look: "Look", progress: bool) -> Morph:
    """Through a trained run's latent space. Raises as `facemorph.dcgan.projection.RunMorph`."""
    return _through_run(faces, options, progress)


CHAINS: dict[str, Callable[[Sequence[Path], MorphOptions, "Look", bool], Morph]] = {
    "landmarks": chain_by_landmarks,
    "stylegan": chain_by_stylegan,
    "dcgan": chain_by_dcgan,
}
