"""Latents on disk: NAME.safetensors with w, and in its header the network and the image that it belongs to."""

import hashlib
import json
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.numpy import save

from facemorph.errors import InputError
from facemorph.files import check_free, write_atomically
from facemorph.stylegan.networks.generator import Generator

KIND = "facemorph latent"


@dataclass(frozen=True)
class Latent:
    """The latent of an image for one network.

    Attributes:
        w: float32 [num_layers, w_size]; all rows equal in space "w".
        space: "w" or "w+".
        network: `fingerprint` of the generator.
        about: values for JSON: source, settings, metrics.
        arrays: further float32 arrays by name, such as the loss history [steps].
    """

    w: np.ndarray
    space: str
    network: str
    about: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


# The fields of an architecture in a fingerprint, in the order of version 1. Frozen: later fields of `Architecture` are
# left out, so that files on disk stay valid.
FINGERPRINT_FIELDS = (
    "generation", "resolution", "image_channels", "latent_size", "mapping_sizes", "channels", "const_channels",
    "truncation_psi", "truncation_cutoff", "normalize_latents", "mapping_slope", "slope", "label_size", "label",
    "label_features", "use_noise", "blur", "instance_norm", "pixel_norm", "lod", "to_rgb_lods", "design", "clamp",
    "filter_shape",
)  # fmt: skip


def fingerprint(generator: Generator) -> str:
    """Identifies a generator by its architecture and weights; the same for a published file and its conversion.

    Returns: a SHA-256 of canonical JSON (version 2) and the weights as float32, 64 hexadecimal digits.
    """
    fields = {name: getattr(generator.architecture, name) for name in FINGERPRINT_FIELDS}
    head = {"format": "facemorph generator fingerprint", "version": 2, "architecture": fields}
    return _digest(generator, json.dumps(head, sort_keys=True, separators=(",", ":")))


def fingerprint_1(generator: Generator) -> str:
    """The fingerprint of version 1, which latents, encoders and directions on disk may have."""
    fields = ", ".join(f"{name}={getattr(generator.architecture, name)!r}" for name in FINGERPRINT_FIELDS)
    return _digest(generator, f"Architecture({fields})")


def belongs_to(network: str, generator: Generator) -> bool:
    """Whether a fingerprint on disk, of either version, is this generator's."""
    return network in (fingerprint(generator), fingerprint_1(generator))


def _digest(generator: Generator, head: str) -> str:
    digest = hashlib.sha256(head.encode())
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().to(torch.float32).contiguous().numpy().data)
    return digest.hexdigest()


def write_latent(path: Path, latent: Latent, overwrite: bool = False) -> None:
    """Write `path` (.safetensors), whole or not at all.

    Raises:
        OutputError: it exists and `overwrite` is not set, or it cannot be written.
    """
    check_free(path, overwrite)
    header = {"kind": KIND, "space": latent.space, "network": latent.network, "about": json.dumps(latent.about)}
    arrays = {"w": latent.w, **latent.arrays}
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    write_atomically(path, lambda file: file.write(save(arrays, metadata=header)))


def read_latent(path: str | PathLike[str]) -> Latent:
    """The latent in a file of `write_latent`.

    Raises:
        InputError: it is missing, damaged, or another kind of file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; a latent was expected.", "Make one with `facemorph project`.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
        if header.get("kind") != KIND or arrays["w"].ndim != 2 or not np.isfinite(arrays["w"]).all():
            raise ValueError("it contains no latent")
        about = json.loads(header["about"])
        return Latent(arrays.pop("w"), header["space"], header["network"], about, arrays)
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a latent: {error}.", "Make one with `facemorph project`.") from error


def check_network(latent: Latent, generator: Generator, name: str) -> None:
    """Raises InputError where the latent belongs to another network."""
    shape = (generator.architecture.num_layers, generator.architecture.w_size)
    if latent.w.shape != shape or not belongs_to(latent.network, generator):
        raise InputError(
            f"{name} was made with another network (latents {latent.w.shape}, here {shape}).",
            "Latents are valid only for their own network: project the image again with this one.",
        )
