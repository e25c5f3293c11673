"""A trained generator: random images, and walks through its latent space (2018 paper, figures 12 and 13)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from facemorph.config import check_number
from facemorph.dcgan.config import Network
from facemorph.dcgan.networks import Generator, draw_z, with_label
from facemorph.dcgan.run import Run
from facemorph.errors import FaceError, RunError
from facemorph.faces.features import PersonCentroids, features_of_aligned
from facemorph.images import to_uint8

CANDIDATES = 256  # random latents among which the end points are chosen
BY_CHANCE = 0.05  # of images: in fewer a face is detected where there is none
BATCH = 64


@dataclass(frozen=True)
class TrainedGenerator:
    """A run's generator in eval mode: each image depends on its own z alone.

    `persons`: the labels of a conditional generator; empty for one that is not conditional. The label is the last part
    of a latent, so that a walk between latents mixes the persons too.
    """

    network: Generator
    config: Network
    persons: tuple[str, ...] = ()

    @torch.inference_mode()
    def images(self, z: Tensor) -> np.ndarray:
        """Latents [N, z_dim, and with labels + persons] -> uint8 [N, H, W, 3]."""
        return np.concatenate([to_uint8(self.network(part.to(self.device))) for part in z.split(BATCH)])

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def draw(self, count: int, seed: int, person: str | None = None) -> Tensor:
        """Random latents [count, z_dim], as in training; of a conditional generator, with the label of `person`, or of
        each person equally often.

        Raises:
            RunError: the generator is not conditional, or was not trained on the person.
            ConfigError: the seed is negative, or has more than 63 bits.
        """
        check_number("seed", seed, 0, 2**63 - 1)
        if person is not None and person not in self.persons:
            if not self.persons:
                raise RunError(
                    f"This run cannot generate {person!r} alone: it is not conditional.",
                    "Train one with --set network.conditional=true.",
                )
            raise unknown_person(person, self.persons)
        z = draw_z(count, self.config, torch.Generator().manual_seed(seed))
        if not self.persons:
            return z
        labels = torch.arange(count) % len(self.persons)
        if person is not None:
            labels = torch.full_like(labels, self.persons.index(person))
        return with_label(z, labels, len(self.persons))


def unknown_person(person: str, known: Sequence[str]) -> RunError:
    return RunError(f"The run was not trained on {person!r}.", f"It was trained on {', '.join(known)}.")


def load_generator(run: Run, device: str | torch.device = "cpu") -> TrainedGenerator:
    """Raises RunError if the run has no generator yet, or its file is damaged."""
    if not run.generator.exists():
        raise RunError(f"{run.path} has no generator.safetensors yet.", "Train at least to the first checkpoint.")
    config = run.config().network
    persons = tuple(run.about()["faces"]) if config.conditional else ()
    network = Generator(config, len(persons))
    try:
        network.load_state_dict(safetensors.torch.load_file(run.generator))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise RunError(f"{run.generator} cannot be loaded: {str(error)[:300]}.", "Train the run again.") from None
    return TrainedGenerator(network.eval().to(device), config, persons)


def diagonal(config: Network, steps: int, persons: int = 0) -> Tensor:
    """All components of z from 0 to 1 in even steps, as in the paper's figure 12: [steps, z_dim].

    With labels, these are an even mix of the `persons`: [steps, z_dim + persons].
    """
    z = torch.linspace(0, 1, steps).unsqueeze(1).expand(steps, config.z_dim)
    return torch.cat([z, torch.full((steps, persons), 1 / max(persons, 1))], 1)


def along_component(z: Tensor, component: int, steps: int) -> Tensor:
    """One component of `z` [z_dim] from 0 to 1 in even steps, the others fixed: [steps, z_dim]."""
    if not 0 <= component < len(z):
        raise RunError(f"There is no component {component}; z has {len(z)}, counted from 0.")
    walk = z.repeat(steps, 1)
    walk[:, component] = torch.linspace(0, 1, steps)
    return walk


def between(a: Tensor, b: Tensor, steps: int, *, spherical: bool = False) -> Tensor:
    """From `a` to `b` [z_dim] in even steps, both ends included: [steps, z_dim]."""
    return between_at(a, b, torch.linspace(0, 1, steps), spherical=spherical)


def between_at(a: Tensor, b: Tensor, fractions: Tensor, *, spherical: bool = False) -> Tensor:
    """The points at `fractions` [N] of the way from `a` to `b` [z_dim]: [N, z_dim].

    Straight by default, which stays inside the box of a uniform z; spherical suits a normal z (Shoemake 1985).
    """
    t = fractions.unsqueeze(1)
    if spherical:
        angle = torch.arccos((torch.dot(a, b) / (a.norm() * b.norm())).clamp(-1, 1))
        if torch.sin(angle) > 1e-4:
            return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
    return (1 - t) * a + t * b


Route = Callable[[int], list[Tensor]]
"""A walk in any number of steps: steps -> one path [steps, z_dim] or several."""


def along_diagonal(trained: TrainedGenerator) -> Route:
    return lambda steps: [diagonal(trained.config, steps, len(trained.persons))]


def along_components(trained: TrainedGenerator, components: Sequence[int], seed: int) -> Route:
    z = trained.draw(1, seed)[0]
    return lambda steps: [along_component(z, component, steps) for component in components]


def between_latents(a: Tensor, b: Tensor, *, spherical: bool) -> Route:
    return lambda steps: [between(a, b, steps, spherical=spherical)]


@dataclass(frozen=True)
class End:
    """An end point that looks like `person`, and its descriptor distance to everyone."""

    z: Tensor
    person: str
    distances: dict[str, float]


def person_centroids(run: Run) -> PersonCentroids:
    """The persons of a run, from the real faces in its folder.

    Raises:
        FaceError: no face is detected in the images of one of them.
    """
    faces = run.people()
    labels = np.repeat(np.arange(len(faces)), [len(images) for images in faces.values()])
    centroids = PersonCentroids.of(features_of_aligned(np.concatenate(list(faces.values()))), labels, list(faces))
    for name in faces:
        if name not in centroids.names:
            raise FaceError(
                f"No face is detected in the images of {name} that the run was trained on.", "Were they aligned?"
            )
    return centroids


def find_ends(
    trained: TrainedGenerator, people: PersonCentroids, names: list[str], seed: int, *, progress: bool = False
) -> list[End]:
    """For each name, of many random z the one whose image is nearest to that person and not nearer to another.

    A conditional generator gets the person's label, and one z for all names, so that only the person changes.

    Raises:
        RunError: an unknown name, no face in any image, or no image is nearer to that person than to the others.
    """
    for name in names:
        if name not in people.names:
            raise unknown_person(name, people.names)
    if trained.persons:
        candidates = [Candidates(trained, people, trained.draw(CANDIDATES, seed, name), progress) for name in names]
    else:
        candidates = [Candidates(trained, people, trained.draw(CANDIDATES, seed), progress)] * len(names)
    costs = [found.costs(name) for name, found in zip(names, candidates, strict=True)]
    together = np.sum(costs, 0)
    if trained.persons and np.isfinite(together).any():
        costs = [together] * len(names)
    return [found.end(name, int(cost.argmin())) for name, found, cost in zip(names, candidates, costs, strict=True)]


class Candidates:
    """Latents `z` [N, z_dim], and the descriptor distances of their images to everyone."""

    def __init__(self, trained: TrainedGenerator, people: PersonCentroids, z: Tensor, progress: bool) -> None:
        self.z = z
        faces = features_of_aligned(trained.images(z), progress=progress)
        self.detected = faces.detected
        self.distances = dict(zip(people.names, people.distances(faces.descriptors).T, strict=True))

    def costs(self, name: str) -> np.ndarray:
        """Distance [N] to a person; infinite where another is nearer, or no face is detected.

        Raises as `find_ends`.
        """
        own = self.distances[name]
        good = self.detected & (own <= np.stack(list(self.distances.values())).min(0))
        if not good.any() and self.detected.mean() < BY_CHANCE:
            raise RunError(
                f"This run's samples show no face yet: one is detected in {self.detected.sum()} of {len(self.z)}.",
                "Train longer, then look at the samples. --diagonal and --from-seed walk without a face, too.",
            )
        if not good.any():
            raise RunError(
                f"A face is detected in {self.detected.sum()} of {len(self.z)} random samples; none looks more like "
                f"{name} than like anybody else.",
                "Look at the samples: if they do not show this person, train longer; else try another --seed.",
            )
        return np.where(good, own, np.inf)

    def end(self, name: str, index: int) -> End:
        return End(self.z[index], name, {other: float(of[index]) for other, of in self.distances.items()})


def measure(people: PersonCentroids, images: np.ndarray, *, progress: bool = False) -> dict[str, np.ndarray]:
    """At each step [N] the descriptor distance to each person; between neighbours [N - 1] the descriptor distance, and
    the root mean square difference of the pixels (in 0..1)."""
    descriptors = features_of_aligned(images, progress=progress).descriptors
    measures = {
        f"to {name}": column for name, column in zip(people.names, people.distances(descriptors).T, strict=True)
    }
    pixels = images.astype(np.float64) / 255
    measures["step size, descriptor"] = np.linalg.norm(np.diff(descriptors, axis=0), axis=1)
    measures["step size, pixels"] = np.sqrt((np.diff(pixels, axis=0) ** 2).mean((1, 2, 3)))
    return measures
