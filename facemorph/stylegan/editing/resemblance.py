"""Latents moved until their faces resemble somebody, by dlib's descriptor: a child made to look like both its parents.

The mean of two latents is nearer to the average face than both, and so is its face: it resembles the parents less than
a child does. The mean of two descriptors is too near to the average as well; real children are found best from a point
that is further out. Measured on real families in experiments/child-2024.
"""

import math

import numpy as np
import torch

from facemorph.errors import InputError
from facemorph.faces.likeness import Likeness, likeness_of_aligned
from facemorph.progress import Tell, progress_bar
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.adam import Adam

STEPS = 10
BATCH = 4  # images of 128 px that are moved together on a CPU; larger ones go one by one
SMALL_PX = 128
FURTHER = 2.0  # how far out the parents' mean is moved, from the mean descriptor of the network's faces; 1 leaves it
CENTRE_SEEDS = range(32)  # of the faces whose mean descriptor that is
LEARNING_RATE = 0.15  # at its height, in stds of the network's own latents
KEEP = 0.003  # weight of the squared distance from where a latent began, in stds
RAMP_DOWN = 0.5  # fraction of the steps in which the learning rate falls to 0 along a cosine
BETAS = (0.8, 0.95)
DESCRIPTOR_SIZE = 128
STATISTICS_SEEDS = range(2000)


def resemble(
    generator: Generator,
    latents: np.ndarray,
    descriptors: np.ndarray,
    *,
    steps: int = STEPS,
    keep: float = KEEP,
    progress: bool | Tell = False,
) -> np.ndarray:
    """Latents [N, L, w_size], each moved so that its face's descriptor comes near to one of `descriptors` [N, 128].

    All layers of a latent move alike, in the directions and by the spreads of the network's own latents, so that a face
    stays a face: free in W+, a search finds patterns that only the descriptor takes for one. For the same reason the
    descriptor is the mean over several looks at the image. The face is taken to lie where the network's alignment puts
    it. `keep` holds a latent where it began. With 0 steps the latents stay as they are.

    Raises:
        InputError: the shapes do not fit, or the network makes no RGB images.
    """
    a = generator.architecture
    if latents.ndim != 3 or descriptors.shape != (len(latents), DESCRIPTOR_SIZE):
        raise InputError(
            f"Latents are of shape {latents.shape} and descriptors of {descriptors.shape}; "
            f"[N, {a.num_layers}, {a.w_size}] and [N, {DESCRIPTOR_SIZE}] were expected."
        )
    if a.image_channels != 3:
        raise InputError(f"The network makes images of {a.image_channels} channels; a face's descriptor needs RGB.")
    found = [np.zeros((0, *latents.shape[1:]), np.float32)]
    batch = BATCH if a.resolution <= SMALL_PX else 1
    looks, axes = _looks(generator), _axes(generator)
    with progress_bar(progress, total=steps * len(latents), unit=" steps", description="resemble") as bar:
        for start in range(0, len(latents), batch):
            some = slice(start, start + batch)
            began = torch.from_numpy(np.asarray(latents[some], np.float32)).to(axes.device)
            target = torch.from_numpy(np.asarray(descriptors[some], np.float32)).to(axes.device)
            moved = torch.zeros(len(began), len(axes), device=axes.device, requires_grad=True)  # in stds
            adam = Adam(BETAS)
            for step in range(steps):
                images = generator.synthesize(began + (moved @ axes)[:, None])
                far = (looks(images) - target).square().sum(1)  # [N]
                (far + keep * moved.square().sum(1)).sum().backward()
                adam.step([moved], LEARNING_RATE * _rate(step, steps))
                bar.update(len(began))
            found.append((began + (moved.detach() @ axes)[:, None]).cpu().numpy())
    return np.concatenate(found)


@torch.no_grad()
def descriptors_of(generator: Generator, latents: np.ndarray) -> np.ndarray:
    """The descriptors [N, 128] of the faces that a network draws of latents [N, L, w_size], as `resemble` sees them."""
    looks = _looks(generator)
    found = []
    for latent in latents:
        w = torch.from_numpy(np.asarray(latent, np.float32))[None].to(generator.w_avg.device)
        found.append(looks(generator.synthesize(w))[0].cpu().numpy())
    return np.stack(found)


def resemble_both(
    generator: Generator,
    babies: np.ndarray,
    mother: np.ndarray,
    father: np.ndarray,
    share: float,
    *,
    progress: bool | Tell = False,
) -> np.ndarray:
    """Babies [N, L, w_size] moved towards the mean of their parents' descriptors, `share` of it the father's.

    The target lies beyond it, see `further_out`.
    """
    of_mother, of_father = descriptors_of(generator, np.stack([mother, father]))
    drawn = generator.truncate(generator.map(generator.z_from_seeds(CENTRE_SEEDS)))  # [S, L, w_size]
    centre = descriptors_of(generator, drawn.cpu().numpy()).mean(0)
    target = further_out((1 - share) * of_mother + share * of_father, centre)
    return resemble(generator, babies, np.repeat(target[None], len(babies), 0), progress=progress)


def further_out(descriptors: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Means of two people's descriptors, `FURTHER` times as far from the mean of all people's: means lie too near."""
    return centre + FURTHER * (descriptors - centre)


class Looks(torch.nn.Module):
    """The mean descriptor of aligned images, and of their mirror images cut a little larger."""

    def __init__(self, chips: list[Likeness]) -> None:
        super().__init__()
        self.chips = torch.nn.ModuleList(chips)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float [N, 3, R, R] in [-1, 1] -> [N, 128]."""
        seen = images.clamp(-1, 1)
        return torch.stack([chip(one) for chip, one in zip(self.chips, (seen, seen.flip(3)), strict=True)]).mean(0)


def _looks(generator: Generator) -> Looks:
    x, y, half = generator.architecture.alignment.chip
    return Looks([likeness_of_aligned((x, y, half)), likeness_of_aligned((x, y - 0.03, 1.06 * half))]).to(
        generator.w_avg.device
    )


@torch.no_grad()
def _axes(generator: Generator) -> torch.Tensor:
    """The principal axes of the network's latents, each as long as their std along it: [w_size, w_size]."""
    w = generator.map(generator.z_from_seeds(STATISTICS_SEEDS))  # [S, w_size]
    _, spreads, axes = torch.linalg.svd(w - w.mean(0), full_matrices=False)
    return axes * (spreads / math.sqrt(len(w)))[:, None]


def _rate(step: int, steps: int) -> float:
    left = min(1.0, (steps - step) / max(1.0, RAMP_DOWN * steps))
    return 0.5 - 0.5 * math.cos(math.pi * left)
