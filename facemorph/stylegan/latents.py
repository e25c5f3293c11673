"""Latents on disk: NAME.safetensors with w, and in its header the network and the image that it belongs to."""

import hashlib
import json
import logging
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

log = logging.getLogger("facemorph")

KIND = "facemorph latent"
MAX_ARRAY_BYTES = 256 << 20


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


def read_array(path: Path) -> np.ndarray:
    """A latent as other tools write it, .npy, .npz or .pt: float32 [w_size] or [num_layers, w_size].

    Raises:
        InputError: it holds no array of numbers, several latents, or something else.
    """
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        if path.stat().st_size > MAX_ARRAY_BYTES:
            raise ValueError("it is far too large")
        if path.suffix.lower() in (".npy", ".npz"):
            loaded: Any = np.load(path, allow_pickle=False)
            named = _arrays_of(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"": loaded}
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            named = loaded if isinstance(loaded, dict) else {"": loaded}
            while len(named) == 1 and isinstance(inner := next(iter(named.values())), dict):
                named = inner  # rosinality's projector: {file: {"img", "latent", "noise"}}
            named = {k: _numbers(v) for k, v in named.items() if isinstance(v, torch.Tensor)}
        chosen = [named[name] for name in ("w", "latent", "latents") if name in named] or list(named.values())
        if len(chosen) != 1:
            raise ValueError(f"it holds {len(chosen)} arrays, and none is called w or latent")
        array = chosen[0]
        if array.dtype.kind != "f" or not array.size or not np.isfinite(array).all():
            raise ValueError("it holds no plain finite numbers")
        if array.ndim == 3 and len(array) > 1:
            raise ValueError(f"it holds {len(array)} latents; one was expected")
        while array.ndim > 1 and len(array) == 1:
            array = array[0]
        if array.ndim not in (1, 2):
            raise ValueError(f"its array is of shape {array.shape}; (512,), (18, 512) or (1, 18, 512) was expected")
        return np.ascontiguousarray(array, np.float32)
    except Exception as error:  # what a damaged file makes the readers raise
        raise InputError(
            f"{path} is not a latent: {_why(error)}.",
            "An image, a latent of `facemorph project`, or an array of one latent was expected.",
        ) from None


def _arrays_of(loaded: Any) -> dict[str, np.ndarray]:
    """The arrays of an .npz, which may unpack to much more than the file's size."""
    with loaded:
        if sum(entry.file_size for entry in loaded.zip.infolist()) > MAX_ARRAY_BYTES:
            raise ValueError("it is far too large")
        return dict(loaded)


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # NumPy has no bfloat16


def _why(error: Exception) -> str:
    """The first sentence of what a reader says: torch adds advice that does not apply."""
    words = str(error).splitlines() or [type(error).__name__]
    return words[0].split(". ")[0].rstrip(".").replace("PytorchStreamReader failed reading zip archive: ", "")


def as_latent(array: np.ndarray, generator: Generator, path: Path) -> Latent:
    """An array of `read_array` as a latent of this network, to which it is taken to belong: it does not say.

    Raises:
        InputError: it does not fit.
    """
    shape = (generator.architecture.num_layers, generator.architecture.w_size)
    if array.shape not in (shape, shape[1:]):
        raise InputError(
            f"{path} holds a latent of shape {array.shape}; this network's are of shape {shape}.",
            "Name the network that it was made with: --network FILE",
        )
    w = np.broadcast_to(array, shape).copy()
    log.info("%s does not say which network it belongs to; it is read as one of this network, in W.", path)
    return Latent(w, "w" if (w == w[0]).all() else "w+", fingerprint(generator), {"source": path.name})


def check_network(latent: Latent, generator: Generator, name: str) -> None:
    """Raises InputError where the latent belongs to another network."""
    shape = (generator.architecture.num_layers, generator.architecture.w_size)
    if latent.w.shape != shape or not belongs_to(latent.network, generator):
        raise InputError(
            f"{name} was made with another network (latents {latent.w.shape}, here {shape}).",
            "Latents are valid only for their own network: name it with --network (the one that came with the package "
            "before is faces-128), or project the image again.",
        )
