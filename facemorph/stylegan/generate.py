"""Images from seeds, as in NVIDIA's tools."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from facemorph.config import check_number
from facemorph.device import pick_device
from facemorph.errors import InputError
from facemorph.files import check_free
from facemorph.images import grid, resize, to_uint8, write_image
from facemorph.progress import progress_bar
from facemorph.stylegan.load import find_network, load_generator
from facemorph.stylegan.networks.generator import OWN, Generator
from facemorph.stylegan.networks.ops import Noise

log = logging.getLogger("facemorph")

MAX_GRID_PIXELS = 1 << 28  # 16 x 16 images of 1024 px, 800 MB


@dataclass(frozen=True)
class Sampling:
    """How images are sampled.

    Attributes:
        psi, cutoff: truncation; None is the default of the network's authors.
        noise: "const" (the noise in the file), "none" or "random" (seeded by the first seed).
        label: the class, for a conditional network.
        batch_size: images at a time.
        device: "cpu", "cuda", ...; None is cuda where there is one.
        compiled: compile the network first, for many images.
        half: float16 in the upper layers of a StyleGAN2, for GPUs.
    """

    psi: float | None = None
    cutoff: int | None = None
    noise: str = "const"
    label: int | None = None
    batch_size: int = 1
    device: str | None = None
    compiled: bool = False
    half: bool = False

    def __post_init__(self) -> None:
        check_number("truncation", self.psi)


def generate_images(generator: Generator, seeds: Sequence[int], how: Sampling, progress: bool = False) -> np.ndarray:
    """One image per seed: uint8 RGB [N, R, R, 3].

    Raises:
        InputError: the label is missing, out of range, or given to a network without labels; or images are not RGB.
    """
    a = generator.architecture
    if a.image_channels not in (1, 3):
        raise InputError(f"The network generates images of {a.image_channels} channels; 1 or 3 are supported.")
    row = _label_row(generator, how.label)
    noise = Noise(how.noise, torch.Generator().manual_seed(seeds[0]) if how.noise == "random" else None)
    psi, cutoff = (OWN if value is None else value for value in (how.psi, how.cutoff))
    images = []
    with (
        torch.inference_mode(),
        progress_bar(progress, total=len(seeds), unit=" images", description="generate") as bar,
    ):
        for first in range(0, len(seeds), how.batch_size):
            z = generator.z_from_seeds(seeds[first : first + how.batch_size])
            labels = None if row is None else row.expand(len(z), -1)
            images.append(to_uint8(generator(z, labels, psi=psi, cutoff=cutoff, noise=noise)))
            bar.update(len(z))
    result = np.concatenate(images)  # [N, R, R, 1 or 3]
    return np.repeat(result, 3, axis=3) if a.image_channels == 1 else result


def write_grid(
    output: Path,
    network: str | Path,
    seeds: Sequence[int],
    how: Sampling,
    *,
    columns: int | None = None,
    size_px: int | None = None,
    least_px: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> None:
    """Draw one image a seed with a card's network or a file's, and write them as one grid.

    Args:
        size_px: side of each image in the grid; None is the network's, but at least `least_px`.

    Raises:
        WeightsError: there is no such network, or it cannot be read.
        InputError: the network makes no such images, the device is not there, or the grid is too large.
        OutputError: the grid's file exists and may not be overwritten, or cannot be written.
    """
    check_free(output, overwrite)
    generator = load_generator(find_network(network), pick_device(how.device))
    resolution = generator.architecture.resolution
    side = size_px or max(resolution, least_px)
    if len(seeds) * max(side, resolution) ** 2 > MAX_GRID_PIXELS:
        most = MAX_GRID_PIXELS // max(side, resolution) ** 2
        raise InputError(
            f"{len(seeds)} images of {max(side, resolution)} px are too many for one grid; at most {most}."
        )
    if how.half:
        generator.use_half()
    if how.compiled:
        log.info("Compiling; this takes a minute or two.")
        generator.compile_synthesis()
    images = generate_images(generator, seeds, how, progress)
    write_image(output, grid([resize(image, side) for image in images], columns))


def _label_row(generator: Generator, label: int | None) -> torch.Tensor | None:
    size = generator.architecture.label_size
    if size == 0:
        if label is not None:
            raise InputError("This network takes no label.", "Leave --label out.")
        return None
    if label is None or not 0 <= label < size:
        raise InputError(f"This network is conditional: a label from 0 to {size - 1} is needed.", "Add, say, --label 0")
    row = torch.zeros(1, size, device=generator.w_avg.device)
    row[0, label] = 1
    return row
