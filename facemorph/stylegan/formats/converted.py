"""Our own format: NAME.safetensors with the arrays, and a small NAME.json with the architecture and the origin.

Arrays are memory-mapped: float32 ones are read from disk only when they are used.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.numpy import save

from facemorph.errors import OutputError, RefusedFile, WeightsError
from facemorph.files import check_free, sha256, write_atomically, write_text
from facemorph.stylegan.networks.architecture import Architecture, GeneratorWeights, check_shapes, from_json, to_json

MAX_JSON_BYTES = 1 << 20
SMALL = 4096  # size up to which an array stays float32 in a half-precision file: averages, biases, styles
AGAIN = "Convert the published file again: facemorph weights convert FILE"


def json_beside(path: Path) -> Path:
    return path.with_suffix(".json")


def is_converted(path: Path) -> bool:
    """Whether it starts like a safetensors file: a length, then JSON."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def write_converted(path: Path, description: GeneratorWeights, overwrite: bool = False, half: bool = False) -> None:
    """Write `path` (.safetensors) and the JSON beside it, each whole or not at all, the JSON last.

    With `half`, arrays of more than `SMALL` numbers are stored as float16, at half the size.

    Raises:
        OutputError: it exists and `overwrite` is not set, is not named .safetensors, or cannot be written.
    """
    if path.suffix != ".safetensors":
        raise OutputError(f"{path}: a name that ends in .safetensors was expected.", f"Use -o {path.stem}.safetensors")
    for existing in (path, json_beside(path)):
        check_free(existing, overwrite)
    write_atomically(path, lambda file: file.write(save(_stored(description.arrays, half))))
    weights = {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}
    write_text(json_beside(path), to_json(description.architecture, {**description.origin, "weights": weights}))


def _stored(arrays: dict[str, np.ndarray], half: bool) -> dict[str, np.ndarray]:
    """Contiguous copies in the dtypes to be stored, as safetensors needs them."""
    kinds = {name: np.float16 if half and array.size > SMALL else np.float32 for name, array in arrays.items()}
    return {name: np.asarray(array, kinds[name], order="C") for name, array in arrays.items()}


def read_json(path: Path) -> tuple[Architecture, dict[str, Any]]:
    """The architecture and origin in the JSON beside a converted file.

    Raises:
        WeightsError: it is missing or is not what `write_converted` writes.
    """
    beside = json_beside(path)
    if not beside.is_file():
        raise WeightsError(f"{beside} is missing; it has the architecture of the weights in {path.name}.", AGAIN)
    if beside.stat().st_size > MAX_JSON_BYTES:
        raise WeightsError(f"{beside} is much larger than any such file.", AGAIN)
    try:
        return from_json(beside.read_bytes())
    except RefusedFile as refusal:
        raise WeightsError(f"{beside} is refused: {refusal}.", AGAIN) from refusal


def read_converted(path: Path) -> tuple[Architecture, dict[str, torch.Tensor]]:
    """The architecture and the tensors, as float32.

    Raises:
        WeightsError: a file is missing or damaged, or the two do not belong together.
    """
    architecture, _ = read_json(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = list(file.keys())
            check_shapes(architecture, {name: tuple(file.get_slice(name).get_shape()) for name in names})
            kinds = {file.get_slice(name).get_dtype() for name in names}
            if not kinds <= {"F32", "F16"}:
                raise RefusedFile(f"its dtypes are {', '.join(sorted(kinds))}; F32 or F16 was expected")
            return architecture, {name: file.get_tensor(name).float() for name in names}
    except (RefusedFile, safetensors.SafetensorError, OSError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path} is refused: {error}.", AGAIN) from error
