"""A picture's latent on disk: NAME.safetensors with w, and in its header what it belongs to."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.numpy import save

from facemorph.errors import InputError
from facemorph.files import check_free, write_atomically
from facemorph.stylegan.generator import Generator

KIND = "facemorph latent"


@dataclass(frozen=True)
class Latent:
    """Where a picture lies in one network's space.

    Attributes:
        w: float32 [num_layers, w_size]; all rows equal in space "w".
        space: "w" or "w+".
        network: `fingerprint` of the generator it belongs to.
        about: anything JSON can hold: source, settings, figures.
        arrays: further float32 arrays by name, such as the loss history [steps].
    """

    w: np.ndarray
    space: str
    network: str
    about: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def fingerprint(generator: Generator) -> str:
    """Names a generator by its architecture and weights: the same from a published file and its conversion."""
    digest = hashlib.sha256(repr(generator.architecture).encode())
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().to(torch.float32).contiguous().numpy().data)
    return digest.hexdigest()


def write_latent(path: Path, latent: Latent, overwrite: bool = False) -> None:
    """Write `path` (.safetensors), whole or not at all.

    Raises:
        OutputError: it exists and may not be overwritten, or cannot be written.
    """
    check_free(path, overwrite)
    header = {"kind": KIND, "space": latent.space, "network": latent.network, "about": json.dumps(latent.about)}
    arrays = {"w": latent.w, **latent.arrays}
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    write_atomically(path, lambda file: file.write(save(arrays, metadata=header)))


def read_latent(path: Path) -> Latent:
    """The latent in a file of `write_latent`.

    Raises:
        InputError: it is missing, damaged, or something else.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; a latent was expected.", "Make one with `facemorph project`.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
        if header.get("kind") != KIND or arrays["w"].ndim != 2 or not np.isfinite(arrays["w"]).all():
            raise ValueError("it holds no latent")
        about = json.loads(header["about"])
        return Latent(arrays.pop("w"), header["space"], header["network"], about, arrays)
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is no latent: {error}.", "Make one with `facemorph project`.") from error


def check_network(latent: Latent, generator: Generator, name: str) -> None:
    """Raises InputError where the latent belongs to another network."""
    shape = (generator.architecture.num_layers, generator.architecture.w_size)
    if latent.w.shape != shape or latent.network != fingerprint(generator):
        raise InputError(
            f"{name} was made with another network (latents {latent.w.shape}, here {shape}).",
            "A latent means nothing to another network: project the picture again with this one.",
        )
