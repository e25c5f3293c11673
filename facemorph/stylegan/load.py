"""Load a generator from a card's name or from a file, published or converted."""

import dataclasses
import logging
from os import PathLike
from pathlib import Path

import torch

from facemorph.embedded import FACES_256
from facemorph.errors import WeightsError
from facemorph.files import sha256
from facemorph.metrics.lpips import is_here
from facemorph.stylegan.formats.converted import is_converted, read_converted, read_json, write_converted
from facemorph.stylegan.formats.published import read_published
from facemorph.stylegan.networks.alignment import ALIGNMENTS
from facemorph.stylegan.networks.architecture import Architecture, GeneratorWeights
from facemorph.stylegan.networks.generator import Generator
from facemorph.weights.cache import (
    Finding,
    compare_hash,
    converted_path,
    fetch,
    find_file,
    published_path,
    ready_path,
    state,
    verify,
)
from facemorph.weights.cards import LIST, Card, card, cards

log = logging.getLogger("facemorph")


def build(
    architecture: Architecture, tensors: dict[str, torch.Tensor], device: str | torch.device = "cpu"
) -> Generator:
    """A generator with these weights, frozen, ready to run."""
    with torch.device("meta"):
        generator = Generator(architecture)
    generator.load_state_dict(tensors, strict=True, assign=True)
    generator.eval().requires_grad_(False)
    generator.to(device)
    generator.synthesis.prepare()
    return generator


def load_generator(path: str | PathLike[str], device: str | torch.device = "cpu") -> Generator:
    """The generator in a published file (.pkl, .pt) or a converted one (.safetensors with its .json).

    Raises:
        WeightsError: it cannot be read, is of no known format, or asks for something that is not allowed.
    """
    path = Path(path)
    if is_converted(path):
        return build(*read_converted(path), device)
    description = read_published(path)
    log.info("%s was read in its published format; once converted it loads faster (weights convert).", path.name)
    return build_description(description, device)


def build_description(description: GeneratorWeights, device: str | torch.device = "cpu") -> Generator:
    tensors = {name: torch.from_numpy(array) for name, array in description.arrays.items()}
    return build(description.architecture, tensors, device)


def convert(source: Path, target: Path, overwrite: bool = False, alignment: str = "ffhq", **origin: str) -> None:
    """Write a published file as `target` (.safetensors) and its .json, which also has `origin`.

    Args:
        alignment: of the faces that it was trained on, a name in `ALIGNMENTS`.

    Raises:
        WeightsError: the source is not a published generator.
        OutputError: the target exists and `overwrite` is not set, or it cannot be written.
    """
    description = read_published(source)
    if description.architecture.image_channels not in (1, 3):
        channels = description.architecture.image_channels
        raise WeightsError(
            f"{source} makes images of {channels} channels; 1 or 3 are supported.", "Nothing was written."
        )
    architecture = dataclasses.replace(description.architecture, alignment=ALIGNMENTS[alignment])
    description = dataclasses.replace(description, architecture=architecture)
    description.origin.update(origin)
    write_converted(target, description, overwrite)


def fetch_ready(chosen: Card, progress: bool = False) -> Path:
    """Download and check a card's weights, unless they are in the cache, and convert them if they are a generator.

    Returns: the file to load.

    Raises:
        WeightsError: the download failed, or did not give the published file.
    """
    if state(chosen) == "ready":
        return ready_path(chosen)
    if published_path(chosen).exists():
        return make_ready(chosen)
    published = fetch(chosen, progress)
    try:
        return make_ready(chosen)
    except WeightsError:
        published.unlink()  # without a known hash it was kept, but it is not a network
        raise


def make_ready(chosen: Card) -> Path:
    """Convert the published file of a card, if it is a generator. Returns: the file to load."""
    if chosen.kind == "generator":
        published = published_path(chosen)
        log.info("Converting %s.", published.name)
        convert(
            published, converted_path(chosen), overwrite=True,
            card=chosen.name, licence=chosen.licence, sha256=sha256(published),
        )  # fmt: skip
    return ready_path(chosen)


def verify_weights(chosen: Card) -> list[Finding]:
    """Compare the hashes of a card's files in the cache, published and converted."""
    findings: list[Finding] = []
    noted: dict[str, object] = {}
    converted = converted_path(chosen)
    if converted.exists():
        try:
            noted = read_json(converted)[1]
            weights = noted.get("weights")
            findings.append(compare_hash(converted, weights.get("sha256") if isinstance(weights, dict) else None))
        except WeightsError as error:
            findings.append(Finding(converted, False, error.problem))
    return findings + verify(chosen, noted.get("sha256"))


def default_network() -> str:
    """The name of the best face network on this machine, which is also logged.

    A published FFHQ network, if it and the weights of LPIPS have been downloaded; otherwise the embedded one.
    """
    if is_here():
        for one in cards().values():
            published = one.kind == "generator" and one.alignment == "ffhq" and not (one.own or one.embedded)
            if published and state(one) in ("ready", "downloaded"):
                log.info("Network: %s (%s).", one.name, one.title)
                return one.name
    log.info(
        "Network: %s, inside the package (256 px; research only). A larger one: facemorph weights fetch --for morph",
        FACES_256,
    )
    return FACES_256


def find_network(name_or_path: str | PathLike[str]) -> Path:
    """The file to load for a card's name or a path; a downloaded generator that is not yet converted is converted.

    Raises:
        WeightsError: there is no such file or card, or its weights have not been downloaded.
    """
    path, name = Path(name_or_path), str(name_or_path)
    if path.exists():
        return path
    if name not in cards() and (path.suffix or len(path.parts) > 1):
        raise WeightsError(f"No such file: {path}.", f"Name a file or a card. {LIST}")
    chosen = card(name)
    if chosen.kind != "generator":
        raise WeightsError(f"{name} is not a generator; its use: {chosen.use}.", LIST)
    return make_ready(chosen) if state(chosen) == "downloaded" else find_file(name)


def find_face_network(network: str | PathLike[str]) -> Path:
    """The file of a network for projecting portraits.

    Raises:
        WeightsError: it has not been downloaded. The message says how to get it, where it belongs, and an alternative.
    """
    try:
        return find_network(network)
    except WeightsError as error:
        known = cards().get(str(network))
        place = f"It belongs to {published_path(known)}.\n" if known and known.url else ""
        now = f"Without it, this works now: --network {FACES_256}"
        raise WeightsError(error.problem, f"{error.hint}\n{place}{now}") from None
