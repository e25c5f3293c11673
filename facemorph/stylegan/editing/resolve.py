"""Portraits or latents, as the user has them, to latents of one network, and latents to images."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from facemorph.device import pick_device
from facemorph.errors import InputError
from facemorph.folders import head_of, looks_like_image, what_it_is
from facemorph.images import to_uint8
from facemorph.stylegan.latents import Latent, as_latent, check_network, read_array, read_latent
from facemorph.stylegan.load import find_face_network, load_generator
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.config import ProjectionConfig
from facemorph.stylegan.projection.project_images import project_files

LATENT_SUFFIX = ".safetensors"
ARRAY_SUFFIXES = (".npy", ".npz", ".pt", ".pth")


def resolve_latents(
    files: Sequence[Path],
    network: str | Path,
    settings: ProjectionConfig,
    *,
    folder: Path | None,
    aligned: bool = False,
    landmarks: str = "auto",
    device: str | None = None,
    check: Callable[[Generator], object] = lambda generator: None,
    progress: bool = False,
) -> tuple[Generator, list[Latent]]:
    """The network, and the latent of each of `files`: read where it is a latent, projected where it is an image.

    `check` sees the network before anything slow begins, and may raise.

    Projections are kept in `folder` (None: see `project_files`), and not made again.

    Raises:
        WeightsError, InputError: as `project_files`; a latent belongs to another network.
        ImageError, FaceError: an image cannot be read, or shows no face; nothing has been projected then.
    """
    kinds = {file: file.suffix.lower() for file in files}
    arrays = {file: read_array(file) for file, kind in kinds.items() if kind in ARRAY_SUFFIXES}
    portraits = [file for file in files if kinds[file] not in (LATENT_SUFFIX, *ARRAY_SUFFIXES)]
    for file in portraits:
        if not file.is_file():
            raise InputError(f"No such image: {file}.", "Check the path.")
        if not looks_like_image(head := head_of(file)) and (kind := what_it_is(head)):
            raise InputError(
                f"{file} is {kind}; a portrait or a latent was expected.",
                f"Latents are recognised by their suffix: {' '.join((LATENT_SUFFIX, *ARRAY_SUFFIXES))}.",
            )
    latents = {file: read_latent(file) for file in files if kinds[file] == LATENT_SUFFIX}  # before anything slow
    path = find_face_network(network)
    generator = load_generator(path, pick_device(device))
    check(generator)
    for file, latent in latents.items():
        check_network(latent, generator, str(file))
    latents |= {file: as_latent(array, generator, file) for file, array in arrays.items()}
    unique = list(dict.fromkeys(portraits))
    if unique:
        found = project_files(
            unique, folder, path, settings, aligned=aligned, landmarks=landmarks, progress=progress, device=device,
            all_or_none=True,
        )  # fmt: skip
        latents |= {file: read_latent(one) for file, one in zip(unique, found, strict=True)}
    return generator, [latents[file] for file in files]


@torch.inference_mode()
def render_latents(generator: Generator, latents: np.ndarray) -> Iterator[np.ndarray]:
    """The image, uint8 RGB [R, R, 3], of each of latents [N, L, w_size], one by one."""
    for latent in latents:
        w = torch.from_numpy(np.asarray(latent, np.float32))[None].to(generator.w_avg.device)
        image = to_uint8(generator.synthesize(w))[0]
        yield np.repeat(image, 3, 2) if image.shape[2] == 1 else image
