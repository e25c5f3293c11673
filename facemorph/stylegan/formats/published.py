"""Reads a published generator, recognised by its content, without running any code in it.

A file is opened as inert records and arrays (`pickle_machine`, `stubs`, `torch_file`). The first of `FORMATS` that
finds its generator in them describes it.
"""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.errors import RefusedFile, WeightsError
from facemorph.folders import what_it_is
from facemorph.stylegan.formats import ada, rosinality, tensorflow
from facemorph.stylegan.formats.pickle_machine import Budget, PickleMachine
from facemorph.stylegan.formats.stubs import LEGACY_MAGIC, Array, allowed_names, read_legacy
from facemorph.stylegan.formats.torch_file import read_zip
from facemorph.stylegan.networks.architecture import GeneratorWeights
from facemorph.weights.download import WEB_PAGE_HINT, is_web_page

MAX_FILE_BYTES = 4 << 30  # the largest published checkpoint (pSp, with its encoder) has 1.2 GB
EXPECTED = "A StyleGAN, StyleGAN2 or StyleGAN2-ADA .pkl, a rosinality .pt or a converted .safetensors was expected."


def map_file(path: Path) -> memoryview:
    """A file's bytes, memory-mapped.

    Raises:
        WeightsError: it is missing, empty, not a regular file, or larger than any published network.
    """
    if not path.exists():
        raise WeightsError(f"No such file: {path}.", "Check the path; facemorph weights list shows the known names.")
    if not path.is_file():
        raise WeightsError(f"{path} is not a regular file.", EXPECTED)
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise WeightsError(f"{path} is empty.", "Download it again.")
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
        WeightsError: it cannot be read, is of no known format, is damaged, or asks for something that is not allowed.
    """
    data = map_file(path)
    head = bytes(data[:1024])
    if is_web_page(head):
        raise WeightsError(f"{path} is a web page, not a network.", WEB_PAGE_HINT)
    if head.startswith((b"\x93NUMPY", b"\xff\xd8\xff", b"\x89PNG")):
        raise WeightsError(f"{path} is {what_it_is(head) or 'an image'}, not a network.", EXPECTED)
    budget = Budget.for_file(len(data))
    try:
        with np.errstate(all="ignore"):  # an overflow is refused at the end, as not finite
            description = _describe(_load(data, budget), budget)
    except RefusedFile as refusal:
        raise WeightsError(f"{path} is refused: {refusal}.", _hint(str(refusal))) from refusal
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # An array of another shape, text instead of a number, and the like, in a file that is otherwise intact.
        raise WeightsError(f"{path} is refused: its network is inconsistent ({str(error)[:200]}).", EXPECTED) from error
    description.origin["file"] = path.name
    return description


def _hint(reason: str) -> str:
    if "cut short" in reason:
        return "The download was probably interrupted: fetch it again."
    if "asks for" in reason or "calls" in reason:
        return "No published network needs this. The file may be hostile: do not open it with other tools."
    return EXPECTED


def _load(data: memoryview, budget: Budget) -> Any:
    """The object in a pickle, or in a torch file of either kind, as inert records and views of the file."""
    if bytes(data[:4]) in (b"PK\x03\x04", b"PK\x05\x06"):
        return read_zip(data, budget)
    machine = PickleMachine(data, allowed_names(budget), budget)
    value = machine.load()
    return read_legacy(data, budget) if value == LEGACY_MAGIC else value


def _describe(value: Any, budget: Budget) -> GeneratorWeights:
    for known in FORMATS.values():
        generator = known.find(value)
        if generator is not None:
            return known.describe(generator, budget)
    raise RefusedFile(f"it contains {_what_else(value)} and no generator")


def _what_else(value: Any) -> str:
    """What a file contains that is no known generator, in words."""
    if isinstance(value, Array):
        return f"an array of shape {value.shape}, which may be a latent (an argument of morph and child)"
    names = " ".join(name for name in _names(value) if isinstance(name, str))
    known = [words for keys, words in OTHERS.items() if all(key in names for key in keys.split())]
    return known[0] if known else f"a {type(value).__name__}"


def _names(value: Any, depth: int = 3) -> list[Any]:
    if not isinstance(value, dict) or depth == 0:
        return []
    return [*list(value)[:1000], *(name for inner in list(value.values())[:100] for name in _names(inner, depth - 1))]


# Names in files that are often taken for a generator's: what they are.
OTHERS = {
    "stylegan_decoder": "a GFPGAN, which restores faces,",
    "encoder.input_layer": "an encoder of e4e or pSp",
    "weight_orig": "a StyleGAN of rosinality's older repository (style-based-gan-pytorch), which is not supported,",
    "main.0.weight main.1.weight": "a DCGAN",
    "latent noise": "a projected latent (an argument of morph and child)",
}


@dataclass(frozen=True)
class PublishedFormat:
    """A format of published generators.

    Attributes:
        find: the generator in the object that a file contains, in any form; None if the file is not of this format.
        describe: what `find` returned, to the description of the generator. May raise RefusedFile.
    """

    find: Callable[[Any], Any | None]
    describe: Callable[[Any, Budget], GeneratorWeights]


FORMATS: dict[str, PublishedFormat] = {
    "TensorFlow: StyleGAN, StyleGAN2 and StyleGAN2-ADA": PublishedFormat(tensorflow.find, tensorflow.describe),
    "PyTorch: StyleGAN2-ADA, and StyleGAN2 of the StyleGAN3 repository": PublishedFormat(ada.find, ada.describe),
    "rosinality: also the decoder of e4e and pSp": PublishedFormat(rosinality.find, rosinality.describe),
}
