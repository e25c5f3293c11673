"""Reads a published generator, recognised by its content, without running a line of it."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.errors import RefusedFile, WeightsError
from facemorph.stylegan.formats import ada, rosinality, tensorflow
from facemorph.stylegan.formats.pickle_machine import Budget, PickleMachine
from facemorph.stylegan.formats.stubs import LEGACY_MAGIC, Record, allowed_names, read_legacy
from facemorph.stylegan.formats.torch_file import read_zip
from facemorph.stylegan.networks.architecture import GeneratorWeights
from facemorph.weights.download import WEB_PAGE_HINT, is_web_page

MAX_FILE_BYTES = 4 << 30  # the largest published checkpoint (pSp, with its encoder) has 1.2 GB
EXPECTED = "A StyleGAN, StyleGAN2 or StyleGAN2-ADA .pkl, a rosinality .pt or a converted .safetensors was expected."


def map_file(path: Path) -> memoryview:
    """A file's bytes, mapped into memory rather than read.

    Raises:
        WeightsError: it is missing, empty, no plain file, or larger than any published network.
    """
    if not path.exists():
        raise WeightsError(f"No such file: {path}.", "Check the path; facemorph weights list shows the known names.")
    if not path.is_file():
        raise WeightsError(f"{path} is no plain file.", EXPECTED)
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise WeightsError(f"{path} is empty.", "Download it anew.")
            if size > MAX_FILE_BYTES:
                raise WeightsError(
                    f"{path} has {size / 2**30:.1f} GiB; no published network has more than 4.", EXPECTED
                )
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise WeightsError(f"Cannot read {path}: {error.strerror or error}.", "Check its permissions.") from error


def read_published(path: Path) -> GeneratorWeights:
    """The generator in a published file.

    Raises:
        WeightsError: it cannot be read, is no known generator, is damaged, or asks for what is not allowed.
    """
    data = map_file(path)
    head = bytes(data[:1024])
    if is_web_page(head):
        raise WeightsError(f"{path} is a web page, not a network.", WEB_PAGE_HINT)
    budget = Budget.for_file(len(data))
    try:
        with np.errstate(all="ignore"):  # what overflows is refused at the end as not finite
            description = _describe(_load(data, budget), budget)
    except RefusedFile as refusal:
        raise WeightsError(f"{path} is refused: {refusal}.", _hint(str(refusal))) from refusal
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # An array of another shape, text for a number, and the like: what holds together was read above.
        raise WeightsError(
            f"{path} is refused: its network does not hold together ({str(error)[:200]}).", EXPECTED
        ) from error
    description.origin["file"] = path.name
    return description


def _hint(reason: str) -> str:
    if "cut short" in reason:
        return "The download was probably interrupted: fetch it anew."
    if "asks for" in reason or "calls" in reason:
        return "Published networks never need it. The file may be hostile: do not open it with other tools."
    return EXPECTED


def _load(data: memoryview, budget: Budget) -> Any:
    """The object in a pickle or a torch file of either format, as stubs and views."""
    if bytes(data[:4]) in (b"PK\x03\x04", b"PK\x05\x06"):
        return read_zip(data, budget)
    machine = PickleMachine(data, allowed_names(budget), budget)
    value = machine.load()
    return read_legacy(data, budget) if value == LEGACY_MAGIC else value


def _describe(value: Any, budget: Budget) -> GeneratorWeights:
    if isinstance(value, tuple | list) and len(value) == 3 and all(isinstance(part, Record) for part in value):
        value = value[2]  # (G, D, Gs)
    if isinstance(value, Record):
        return (tensorflow if value.kind == "Network" else ada).describe(value, budget)
    if isinstance(value, dict):
        generator = ada.find_generator(value)
        if generator is not None:
            return (tensorflow if generator.kind == "Network" else ada).describe(generator, budget)
        state = rosinality.find_state(value)
        if state is not None:
            return rosinality.describe(state, value.get("latent_avg"), budget)
    kind = value.kind if isinstance(value, Record) else type(value).__name__
    raise RefusedFile(f"it holds a {kind} and no generator")
