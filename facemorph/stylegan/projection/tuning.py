"""Generator tuning around a pivot: once the latent is found, the generator itself is tuned a little.

Source: Roich et al. 2021, "Pivotal tuning for latent-based editing of real images" (arXiv:2106.05744).
"""

import copy
from pathlib import Path

import torch
from tqdm import tqdm

from facemorph.stylegan.formats.converted import write_converted
from facemorph.stylegan.networks.architecture import GeneratorWeights
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.config import TuningConfig
from facemorph.stylegan.projection.loss import ProjectionLoss
from facemorph.stylegan.projection.optimize import ProjectionResult, synthesize


def tune(
    generator: Generator,
    objective: ProjectionLoss,
    found: ProjectionResult,
    tuning: TuningConfig,
    bar: "tqdm | None" = None,
) -> Generator:
    """A copy of the generator whose synthesis network was trained to make the target from the latent found.

    The learning rate of each array is a fraction of its own root mean square, since what published files store at unit
    size ("equalised learning rate") is stored here as it acts.

    Args:
        generator: stays as it is.
        objective: of one target.
        found: where it lies.
        tuning: steps and learning rate.
        bar: advanced by 1 at each step.
    """
    tuned = copy.deepcopy(generator)
    noise = {name: plane.detach() for name, plane in found.noise.items()}
    groups = []
    for parameter in tuned.synthesis.parameters():
        parameter.requires_grad_()
        size = float(parameter.detach().square().mean().sqrt())
        groups.append({"params": [parameter], "lr": tuning.learning_rate * size})
    optimizer = torch.optim.Adam(groups)
    for _ in range(tuning.steps):
        loss = torch.stack(list(objective.weighted_terms(synthesize(tuned, found.latents, noise)).values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if bar is not None:
            bar.update()
    tuned.requires_grad_(False)
    tuned.synthesis.prepare()
    return tuned


def write_generator(path: Path, generator: Generator, **origin: str) -> None:
    """Write a generator as `path` (.safetensors) and its .json, such as `--network` takes."""
    arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in generator.state_dict().items()}
    write_converted(path, GeneratorWeights(generator.architecture, arrays, dict(origin)), overwrite=True)
