"""From a file to a generator that runs."""

from pathlib import Path

import torch

from facemorph.stylegan.description import Description
from facemorph.stylegan.generator import Generator
from facemorph.stylegan.published import read_published


def build(description: Description, device: str | torch.device = "cpu") -> Generator:
    """A generator with these weights, frozen, ready to run."""
    with torch.device("meta"):
        generator = Generator(description.architecture)
    tensors = {name: torch.from_numpy(array) for name, array in description.arrays.items()}
    generator.load_state_dict(tensors, strict=True, assign=True)
    generator.eval().requires_grad_(False)
    generator.to(device)
    generator.synthesis.prepare()
    return generator


def load_generator(path: Path, device: str | torch.device = "cpu") -> Generator:
    return build(read_published(path), device)
