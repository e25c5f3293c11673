"""The front door to StyleGAN: project portraits, mix them, generate."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.api.inputs import Image, Path_, as_files
from facemorph.config import check_number
from facemorph.errors import InputError
from facemorph.images import read_image
from facemorph.progress import Tell
from facemorph.stylegan.latents import Latent, read_latent, write_latent
from facemorph.stylegan.load import default_network, find_face_network
from facemorph.stylegan.load import load_generator as read_generator
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.config import load_projection_config


@dataclass(frozen=True)
class Projection:
    """A portrait in a network's latent space.

    Attributes:
        latent: where it lies; `latent.w` is float32 [num_layers, w_size].
        image: the portrait as it was aligned, uint8 RGB [R, R, 3].
        reconstruction: what the network makes of the latent, uint8 RGB [R, R, 3].
        metrics: the report: psnr_db, ms_ssim, lpips, descriptor_distance, seconds, ...
    """

    latent: Latent
    image: np.ndarray
    reconstruction: np.ndarray
    metrics: dict[str, Any]

    def write_latent(self, path: Path_) -> None:
        """Write the latent (.safetensors), as `facemorph morph` and `facemorph child` take it in place of an image.

        Raises:
            OutputError: it exists, or cannot be written.
        """
        write_latent(Path(path), self.latent)


@dataclass(frozen=True)
class Combination:
    """A sum of latents: `latent.w` is float32 [num_layers, w_size]; what the network makes of it, uint8 [R, R, 3]."""

    latent: Latent
    image: np.ndarray


@dataclass(frozen=True)
class ChildImage:
    """A child: its number, age in years (None: as it came out), latent float32 [L, w_size], uint8 RGB [R, R, 3]."""

    number: int
    age: float | None
    w: np.ndarray
    image: np.ndarray


def load_generator(network: Path_ | None = None, *, device: str = "cpu") -> Generator:
    """A StyleGAN generator by name or file; by default the best on this machine.

    It maps z [N, latent_size] to images float [N, 3, R, R] in about -1..1; see
    `facemorph.stylegan.networks.generator.Generator`, and `generate` for arrays.

    Raises:
        WeightsError: it is not on this machine, is damaged, or is no known generator.
    """
    return read_generator(find_face_network(network or default_network()), device)


def generate(
    network: Path_ | None = None,
    *,
    seeds: Sequence[int] = range(16),
    truncation: float | None = None,
    device: str | None = None,
) -> np.ndarray:
    """Images of a StyleGAN, one a seed: uint8 RGB [N, R, R, 3]. `truncation` 0 is the average face, 1 none.

    Raises:
        WeightsError: as `load_generator`.
    """
    from facemorph.stylegan.generate import Sampling, generate_images

    generator = load_generator(network, device=device or "cpu")
    return generate_images(generator, list(seeds), Sampling(psi=truncation, device=device))


def project(
    images: Image | Sequence[Image],
    network: Path_ | None = None,
    *,
    preset: str = "balanced",
    settings: Mapping[str, Any] | None = None,
    aligned: bool = False,
    landmarks: str = "auto",
    device: str | None = None,
    seed: int = 0,
    progress: bool | Tell = False,
) -> list[Projection]:
    """Portraits in the latent space of a StyleGAN.

    Args:
        network: a name or a file; by default the best on this machine.
        preset: "instant" (the encoder's guess), "fast", "balanced" or "best" (the generator is tuned as well).
        settings: what to change in it, such as {"schedule.steps": 500}.
        aligned: the images are already aligned as the network expects.
        landmarks: as `facemorph.detect_faces`.
        progress: True shows a bar; a function is called with (steps done, all steps), and what it raises ends the work.

    Raises:
        ImageError, FaceError: an image cannot be read, or shows no face; none has been projected then.
        WeightsError: the network is not on this machine.
    """
    from facemorph.stylegan.projection.project_images import project_files

    many = [images] if isinstance(images, str | PathLike | np.ndarray) else list(images)
    name = network or default_network()
    overrides = [f"{key}={value}" for key, value in (settings or {}).items()]
    config = load_projection_config(preset, overrides, str(name))
    with as_files(*many) as (*files, scratch):
        found = project_files(
            files, scratch / "out", str(name), config,
            aligned=aligned, landmarks=landmarks, device=device, seed=seed, progress=progress, all_or_none=True,
        )  # fmt: skip
        return [
            Projection(
                read_latent(path),
                read_image(path.with_name("aligned.png")),
                read_image(path.with_name("reconstruction.png")),
                json.loads(path.with_name("report.json").read_text(encoding="utf-8")),
            )
            for path in found
        ]


def children(
    mother: Image | Projection,
    father: Image | Projection,
    network: Path_ | None = None,
    *,
    count: int = 4,
    ages: Sequence[float] = (),
    gender: float | None = None,
    mix: str = "siblings",
    share: float = 0.5,
    seed: int = 0,
    likeness: bool = False,
    preset: str = "balanced",
    device: str | None = None,
    progress: bool = False,
) -> list[ChildImage]:
    """Children of two people: mixes of their latents. Not a forecast: nobody's child is known to look like this.

    Args:
        mother, father: images, or what `project` made of them with the same network.
        network: a name or a file; by default the best on this machine.
        count, seed: how many siblings, and which.
        ages: years; a child is made at each. Empty: the age as it comes out.
        gender: -1 to 1, the ends of the gender direction; None leaves it.
        mix: "siblings" (each mixes the layers in its own way), "even", "layers" or "mirrored".
        share: the father's fraction, 0 to 1.
        likeness: move each child until its face resembles both parents', by dlib's descriptor.

    Raises:
        As `project`; InputError where the network has no direction for an age or a gender that is asked for.
    """
    from facemorph.stylegan.editing.children import ChildrenConfig, check_directions, grown_up, make_babies
    from facemorph.stylegan.editing.directions import find_directions
    from facemorph.stylegan.editing.resolve import render_latents
    from facemorph.stylegan.latents import check_network

    name = network or default_network()
    generator = load_generator(name, device=device or "cpu")
    config = ChildrenConfig(share, mix, count, seed, tuple(ages), gender, likeness)
    directions = find_directions(None, generator)
    check_directions(config, directions)
    images = [parent for parent in (mother, father) if not isinstance(parent, Projection)]
    projected = iter(project(images, name, preset=preset, device=device, progress=progress) if images else [])
    parents = [one if isinstance(one, Projection) else next(projected) for one in (mother, father)]
    for parent, who in zip(parents, ("The mother", "The father"), strict=True):
        check_network(parent.latent, generator, who)
    babies = make_babies(generator, parents[0].latent.w, parents[1].latent.w, config, progress=progress)
    made = grown_up(babies, config, directions)
    rendered = render_latents(generator, np.stack([child.w for child in made]))
    return [ChildImage(child.number, child.age, child.w, image) for child, image in zip(made, rendered, strict=True)]


def combine(
    images: Sequence[Image | Projection],
    parts: Sequence[float] | None = None,
    network: Path_ | None = None,
    *,
    preset: str = "balanced",
    device: str | None = None,
    progress: bool = False,
) -> Combination:
    """Averages and transforms through a generator: the sum of `parts` times the latents of `images`.

    Args:
        images: images, or what `project` made of them with the same network.
        parts: of each; None: equal ones, which sum to 1: the average. A face moved from another to a third by t has
            1, -t and t.
        network: a name or a file; by default the best on this machine.

    Raises:
        As `project`; InputError: no images; not as many parts as images, or one is no finite number.
    """
    from facemorph.stylegan.editing.arithmetic import combine_latents
    from facemorph.stylegan.latents import check_network

    many = list(images)
    if not many:
        raise InputError("No images to combine.", "A list of one or more is expected.")
    shares = [1 / len(many)] * len(many) if parts is None else list(parts)
    if len(shares) != len(many):
        raise InputError(f"{len(shares)} parts for {len(many)} images.", "One for each is expected.")
    for number, part in enumerate(shares):
        check_number(f"parts[{number}]", np.nan if part is None else part)
    name = network or default_network()
    generator = load_generator(name, device=device or "cpu")
    new = [one for one in many if not isinstance(one, Projection)]
    projected = iter(project(new, name, preset=preset, device=device, progress=progress) if new else [])
    latents = [(one if isinstance(one, Projection) else next(projected)).latent for one in many]
    names = [str(one) if isinstance(one, str | PathLike) else f"image {n}" for n, one in enumerate(many, 1)]
    for latent, who in zip(latents, names, strict=True):
        check_network(latent, generator, who)
    image, latent = combine_latents(generator, latents, shares, names)
    return Combination(latent, image)
