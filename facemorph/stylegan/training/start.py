"""Where training starts from: a network of any kind that the toolkit reads, a run folder, or files of another day."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facemorph.errors import InputError, RefusedFile, RunError
from facemorph.run_folder import STYLEGAN, kind_of_run
from facemorph.stylegan.load import build, build_description, find_network, load_generator
from facemorph.stylegan.networks.alignment import ALIGNMENTS, Alignment
from facemorph.stylegan.networks.architecture import Architecture, GeneratorWeights
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.encoder import Encoder, EncoderShape, find_encoder, read_encoder
from facemorph.stylegan.training.config import Network
from facemorph.stylegan.training.networks import CLAMP, TRUNCATION, grown
from facemorph.stylegan.training.run import GeneratorRun
from facemorph.stylegan.training.state import judges_in

GENERATOR, ENCODER, JUDGES = "generator.npz", "encoder.pt", "judges.pt"
MAX_PARTS = 100  # of an encoder that was cut into several files
# What the judges of the scripts' judges.pt are called here.
OLD_JUDGES = {
    "heads_eff.": "over.imagenet.heads.",
    "heads_face.": "over.face.heads.",
    "heads_pix.": "over.pixels.body.",
}
OLD_BUFFERS = {".u": ".vector"}


@dataclass(frozen=True)
class Start:
    """Networks to start from.

    Attributes:
        encoder: None where there is none: a new one begins at the mean latent.
        judges: their weights by the names in `judges.Judges`; empty where there are none.
        description: in words, for the log.
    """

    generator: Generator
    encoder: Encoder | None
    judges: dict[str, Tensor]
    description: str
    is_grown: bool = False


def read_start(name: str, crop: str, config: Network) -> Start:
    """What `--from` names: a card, a network's file, a run folder, or a folder with generator.npz.

    Args:
        crop: of the faces, which has to be the network's, unless it grows.

    Raises:
        InputError, RunError, WeightsError: it is not there, cannot be read, or is no network that can be trained.
    """
    path = Path(name)
    if path.is_dir():
        start = _from_files(path, crop) if (path / GENERATOR).exists() else _from_run(path)
    else:
        generator = load_generator(find_network(name))
        place = find_encoder(generator)
        encoder = read_encoder(place, generator) if place.is_file() else None
        start = Start(generator, encoder, {}, f"{name}, {'with its' if encoder else 'and a new'} encoder, new judges")
    _check_kind(start.generator, name)
    if config.grow_to_px not in (0, start.generator.architecture.resolution):
        return _grown(start, name, crop, config)
    _check_crop(start.generator, name, crop)
    return start


def _grown(start: Start, name: str, crop: str, config: Network) -> Start:
    """With new layers; encoder and judges of before looked at other images, and are made anew."""
    a = start.generator.architecture
    before, side = a.resolution, config.grow_to_px
    if (a.design, tuple(a.filter_shape)) != ("skip", (4, 4)):
        raise InputError(f"{name} cannot grow: a StyleGAN2 of the design skip, with a filter of 4 x 4, was expected.")
    if side < before:
        raise InputError(
            f"{name} makes images of {before} px; network.grow_to_px is {side}.",
            f"It grows only: --set network.grow_to_px={2 * before}, or 0",
        )
    words = f"{name}, grown from {before} px to {side}, a new encoder, new judges"
    return Start(grown(start.generator, config, crop), None, {}, words, is_grown=True)


def _check_kind(generator: Generator, name: str) -> None:
    a = generator.architecture
    if a.generation != 2 or a.label_size or a.image_channels != 3:
        what = "a StyleGAN of the first generation" if a.generation == 1 else "a network with labels or without colours"
        raise InputError(f"{name} is {what}; a StyleGAN2 without labels, in colour, was expected.")


def _check_crop(generator: Generator, name: str, crop: str) -> None:
    a = generator.architecture
    if a.alignment.name != crop:
        raise InputError(
            f"The faces have the crop {crop}; {name} makes faces of the crop {a.alignment.name}.",
            f"Align them again: facemorph align --crop {a.alignment.name} --size {a.resolution}",
        )


def _from_run(path: Path) -> Start:
    if kind_of_run(path) != STYLEGAN:
        raise InputError(f"{path} is a run of `facemorph train`; its DCGAN cannot be trained on here.")
    run = GeneratorRun.open(path)
    if not run.generator.exists() or not run.encoder.exists():
        raise RunError(f"{path} has no network yet.", "Train it at least to the first checkpoint.")
    generator = load_generator(run.generator)
    encoder = read_encoder(run.encoder, generator)
    judges = judges_in(run.checkpoint) if run.checkpoint.exists() else {}
    return Start(generator, encoder, judges, f"{path}, with its encoder and judges")


def _from_files(folder: Path, crop: str) -> Start:
    """generator.npz, encoder.pt (or encoder.pt.0, .1, ...) and judges.pt, as this project's first scripts left them."""
    generator = _reading(folder / GENERATOR, lambda path: _old_generator(path, ALIGNMENTS[crop]))
    parts = [folder / ENCODER] if (folder / ENCODER).exists() else _parts(folder)
    encoder = None
    if parts:
        data = b"".join(part.read_bytes() for part in parts)
        encoder = _reading(parts[0], lambda path: _old_encoder(data, generator))
    judges: dict[str, Tensor] = {}
    if (folder / JUDGES).exists():
        judges = _reading(folder / JUDGES, _old_judges)
    parts = f"{'with its' if encoder else 'and a new'} encoder, {'with its' if judges else 'new'} judges"
    return Start(generator, encoder, judges, f"{folder}, {parts}")


def _parts(folder: Path) -> list[Path]:
    paths = [folder / f"{ENCODER}.{number}" for number in range(MAX_PARTS)]
    return [path for path in paths if path.exists()]


def _reading(path: Path, read: Callable[[Path], Any]) -> Any:
    """`read(path)`, with one error for all that may be wrong with a file."""
    try:
        return read(path)
    except (
        OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, RefusedFile, zipfile.BadZipFile,
        pickle.UnpicklingError,
    ) as error:  # fmt: skip
        raise InputError(
            f"{path} cannot be read: {str(error)[:200]}.", "Is it what train_joint.py or train_generator.py wrote?"
        ) from None


def _old_generator(path: Path, alignment: Alignment) -> Generator:
    with np.load(path, allow_pickle=False) as file:
        about = json.loads(str(file["meta"]))
        arrays = {name: file[name].astype(np.float32) for name in file.files if name != "meta"}
    channels = tuple(about["channels"])
    architecture = Architecture(
        generation=2, resolution=about["res"], image_channels=3, latent_size=about["z"],
        mapping_sizes=(about["z"], *(about["w"],) * about["depth"]), channels=channels, const_channels=channels[0],
        truncation_psi=TRUNCATION, truncation_cutoff=None, clamp=CLAMP, alignment=alignment,
    )  # fmt: skip
    weights = GeneratorWeights(architecture, arrays, {})
    weights.check()
    return build_description(weights)


def _old_encoder(data: bytes, generator: Generator) -> Encoder:
    saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    encoder = Encoder(EncoderShape(*map(int, saved["shape"]), hidden=int(saved.get("hidden", 1024))))
    encoder.load_state_dict(
        {key: one.float() if one.is_floating_point() else one for key, one in saved["state"].items()}
    )
    a = generator.architecture
    if (encoder.shape.num_layers, encoder.shape.w_size) != (a.num_layers, a.w_size):
        raise ValueError("it belongs to another network")
    return encoder


def _old_judges(path: Path) -> dict[str, Tensor]:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    judges = {}
    for name, value in saved.items():
        for old, new in OLD_JUDGES.items():
            if name.startswith(old):
                name = new + name.removeprefix(old)
        for old, new in OLD_BUFFERS.items():
            if name.endswith(old):
                name = name.removesuffix(old) + new
        judges[name] = value.float()
    return judges


def rebuilt(architecture: Architecture, encoder: EncoderShape) -> tuple[Generator, Encoder]:
    """Networks of these shapes, whose weights a checkpoint brings."""
    tensors = {name: torch.zeros(shape) for name, shape in architecture.shapes().items()}
    return build(architecture, tensors), Encoder(encoder)
