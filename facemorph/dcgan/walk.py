"""Walks through the latent space of a trained generator (2018 paper, figures 12 and 13), and new faces from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from facemorph.config import Network
from facemorph.dcgan.networks import Generator, draw_z
from facemorph.dcgan.run import Run
from facemorph.errors import FaceError, RunError
from facemorph.faces.identify import describe_aligned
from facemorph.images import to_uint8

CANDIDATES = 256  # latents among which an end point is looked for
BATCH = 64


@dataclass(frozen=True)
class Trained:
    """A run's generator in eval mode: each picture depends on its own z alone."""

    network: Generator
    config: Network

    @torch.inference_mode()
    def pictures(self, z: Tensor) -> np.ndarray:
        """Latents [N, z_dim] -> uint8 [N, H, W, 3]."""
        return np.concatenate([to_uint8(self.network(part)) for part in z.split(BATCH)])

    def draw(self, count: int, seed: int) -> Tensor:
        """Random latents [count, z_dim], as in training."""
        return draw_z(count, self.config, torch.Generator().manual_seed(seed))


def load_generator(run: Run) -> Trained:
    """Raises RunError where the run has no generator yet, or its file is damaged."""
    if not run.generator.exists():
        raise RunError(f"{run.path} has no generator.safetensors yet.", "Train at least to the first checkpoint.")
    config = run.config().network
    network = Generator(config)
    try:
        network.load_state_dict(safetensors.torch.load_file(run.generator))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise RunError(f"{run.generator} cannot be loaded: {error}.", "Train the run anew.") from None
    return Trained(network.eval(), config)


def diagonal(config: Network, steps: int) -> Tensor:
    """All components from 0 to 1 in even steps, as the paper's figure 12: [steps, z_dim]."""
    return torch.linspace(0, 1, steps).unsqueeze(1).expand(steps, config.z_dim).contiguous()


def along_component(z: Tensor, component: int, steps: int) -> Tensor:
    """One component of `z` [z_dim] from 0 to 1 in even steps, the others as they are: [steps, z_dim]."""
    if not 0 <= component < len(z):
        raise RunError(f"There is no component {component}; z has {len(z)}, counted from 0.")
    walk = z.repeat(steps, 1)
    walk[:, component] = torch.linspace(0, 1, steps)
    return walk


def between(a: Tensor, b: Tensor, steps: int, *, spherical: bool = False) -> Tensor:
    """From `a` to `b` [z_dim] in even steps, both ends included: [steps, z_dim]."""
    return between_at(a, b, torch.linspace(0, 1, steps), spherical=spherical)


def between_at(a: Tensor, b: Tensor, shares: Tensor, *, spherical: bool = False) -> Tensor:
    """The points at `shares` [N] of the way from `a` to `b` [z_dim]: [N, z_dim].

    Straight by default, which stays inside the box of a uniform z; spherical suits a normal z (Shoemake 1985).
    """
    t = shares.unsqueeze(1)
    if spherical:
        angle = torch.arccos((torch.dot(a, b) / (a.norm() * b.norm())).clamp(-1, 1))
        if torch.sin(angle) > 1e-4:
            return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
    return (1 - t) * a + t * b


@dataclass(frozen=True)
class Route:
    """A walk to be taken in any number of steps: `rows` gives one path [steps, z_dim] or several."""

    name: str
    rows: Callable[[int], list[Tensor]]


def along_diagonal(trained: Trained) -> Route:
    return Route("diagonal", lambda steps: [diagonal(trained.config, steps)])


def along_components(trained: Trained, components: Sequence[int], seed: int) -> Route:
    z = trained.draw(1, seed)[0]
    name = f"components-{'-'.join(map(str, components))}"
    return Route(name, lambda steps: [along_component(z, component, steps) for component in components])


def between_latents(name: str, a: Tensor, b: Tensor, *, spherical: bool) -> Route:
    return Route(name, lambda steps: [between(a, b, steps, spherical=spherical)])


@dataclass(frozen=True)
class End:
    """An end point that looks like `person`, and how far it is from everyone (descriptor distance)."""

    z: Tensor
    person: str
    distances: dict[str, float]


class People:
    """The real persons of a run, as mean descriptors."""

    def __init__(self, run: Run) -> None:
        self.means: dict[str, np.ndarray] = {}
        for name, faces in run.people().items():
            descriptors, seen = describe_aligned(faces)
            if not seen.any():
                raise FaceError(f"No face is recognised in the real pictures of {name}.", "Were they aligned?")
            self.means[name] = descriptors[seen].mean(0)

    def distances(self, descriptors: np.ndarray) -> dict[str, np.ndarray]:
        """Distance [N] of each descriptor [N, 128] to each person."""
        return {name: np.linalg.norm(descriptors - mean, axis=1) for name, mean in self.means.items()}


def find_ends(trained: Trained, people: People, names: list[str], seed: int, *, show: bool = False) -> list[End]:
    """For each name, of many random z the one whose picture is nearest to that person and not nearer to another.

    Raises:
        RunError: an unknown name, or no picture is nearer to that person than to the others.
    """
    for name in names:
        if name not in people.means:
            raise RunError(f"The run knows no {name!r}.", f"It learnt from {', '.join(people.means)}.")
    z = trained.draw(CANDIDATES, seed)
    descriptors, seen = describe_aligned(trained.pictures(z), show=show)
    distances = people.distances(descriptors)
    table = np.stack([distances[name] for name in people.means])  # [persons, candidates]
    ends = []
    for name in names:
        own = distances[name]
        good = seen & (own <= table.min(0))
        if not good.any():
            raise RunError(
                f"None of {CANDIDATES} random faces looks more like {name} than like anybody else.",
                "Has the run learnt this person? Look at its samples, train longer, or try another --seed.",
            )
        best = int(np.where(good, own, np.inf).argmin())
        ends.append(End(z[best], name, {other: float(distances[other][best]) for other in people.means}))
    return ends


def measure(people: People, pictures: np.ndarray, *, show: bool = False) -> dict[str, np.ndarray]:
    """Of each step [N]: the distance to each person; of each pair of neighbours [N - 1]: root mean square of the
    change of the pixels (in 0..1), and the descriptor's change."""
    descriptors, _ = describe_aligned(pictures, show=show)
    measures = {f"to {name}": distances for name, distances in people.distances(descriptors).items()}
    pixels = pictures.astype(np.float64) / 255
    measures["step size, descriptor"] = np.linalg.norm(np.diff(descriptors, axis=0), axis=1)
    measures["step size, pixels"] = np.sqrt((np.diff(pixels, axis=0) ** 2).mean((1, 2, 3)))
    return measures
