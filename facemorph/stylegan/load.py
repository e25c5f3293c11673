"""From a file, published or converted, to a generator that runs."""

import logging
from pathlib import Path

import torch

from facemorph.stylegan.converted import is_converted, read_converted, write_converted
from facemorph.stylegan.description import Architecture, Description
from facemorph.stylegan.generator import Generator
from facemorph.stylegan.published import read_published

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


def load_generator(path: Path, device: str | torch.device = "cpu") -> Generator:
    """The generator in a published file (.pkl, .pt) or a converted one (.safetensors with its .json).

    Raises:
        WeightsError: it cannot be read, is no known generator, or asks for what is not allowed.
    """
    if is_converted(path):
        return build(*read_converted(path), device)
    description = read_published(path)
    log.info("%s was read as it was published; converted once, it loads faster (weights convert).", path.name)
    return build_description(description, device)


def build_description(description: Description, device: str | torch.device = "cpu") -> Generator:
    tensors = {name: torch.from_numpy(array) for name, array in description.arrays.items()}
    return build(description.architecture, tensors, device)


def convert(source: Path, target: Path, overwrite: bool = False, **origin: str) -> None:
    """Write a published file as `target` (.safetensors) and its .json. `origin` is noted in the JSON.

    Raises:
        WeightsError: the source is no published generator.
        OutputError: the target exists and may not be overwritten, or cannot be written.
    """
    description = read_published(source)
    description.origin.update(origin)
    write_converted(target, description, overwrite)
