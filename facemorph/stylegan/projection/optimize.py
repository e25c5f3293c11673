"""The search for images in a generator's latent space: a start, then Adam on the latents."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.func import functional_call
from tqdm import tqdm

from facemorph.errors import InputError
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.networks.ops import Noise
from facemorph.stylegan.projection.adam import Adam
from facemorph.stylegan.projection.config import ProjectionConfig, ScheduleConfig
from facemorph.stylegan.projection.loss import ProjectionLoss, noise_correlation

SAMPLES_SEED = 2024
CHUNK = 8  # samples that are generated together
ASK_GPU_EVERY = 10  # steps
SHRUNK = 0.5  # each sample is looked at as it is, and half-way to the mean


@dataclass(frozen=True)
class InitialCandidates:
    """Latents [K, w_size] of seeded z, the mean first, and their reduced images [K, 3, r, r]."""

    w: torch.Tensor
    images: torch.Tensor


@dataclass(frozen=True)
class ProjectionResult:
    """Where N images lie.

    Attributes:
        latents: the best of each [N, num_layers, w_size].
        loss: of these [N].
        history: what the loss was made of at each step, by term: float32 [steps, N]; "loss" is the sum.
        noise: the optimised noise maps by buffer, [N, 1, H, W] each, as they were at the best; empty for the file's.
    """

    latents: torch.Tensor
    loss: torch.Tensor
    history: dict[str, np.ndarray]
    noise: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return len(self.history["loss"])

    def only(self, index: int) -> "ProjectionResult":
        """Of one of the images."""
        one = slice(index, index + 1)
        history = {name: rows[:, one] for name, rows in self.history.items()}
        return ProjectionResult(
            self.latents[one], self.loss[one], history, {name: x[one] for name, x in self.noise.items()}
        )


@torch.no_grad()
def draw_candidates(generator: Generator, count: int, objective: ProjectionLoss) -> InitialCandidates:
    """`count` seeded latents and the same half-way to the mean."""
    w = generator.map(generator.z_from_seeds(range(SAMPLES_SEED, SAMPLES_SEED + count)))
    mean, _ = generator.latent_statistics()
    w = torch.cat([mean[None], w, mean + SHRUNK * (w - mean)])  # [K, w_size]
    images = [objective.reduce(generator.synthesize(broadcast_w(part, generator))) for part in w.split(CHUNK)]
    return InitialCandidates(w, torch.cat(images))


def nearest(samples: InitialCandidates, objective: ProjectionLoss, index: int) -> torch.Tensor:
    """The sample [w_size] whose image is nearest to target `index`."""
    with torch.no_grad():
        far = torch.cat([objective.rank(part, index) for part in samples.images.split(CHUNK)])  # [K]
    return samples.w[int(far.argmin())]


def broadcast_w(w: torch.Tensor, generator: Generator) -> torch.Tensor:
    """w [N, w_size] -> latents [N, num_layers, w_size]."""
    return w[:, None].expand(-1, generator.architecture.num_layers, -1)


def learning_rate(schedule: ScheduleConfig, step: int, falls_from: int) -> float:
    """Share of the largest learning rate at `step`, from 0 to 1: a linear rise, then a cosine from `falls_from` on."""
    rise = min(1.0, (step + 1) / max(1.0, schedule.ramp_up * schedule.steps))
    left = 1 - max(0, step - falls_from) / max(1.0, schedule.ramp_down * schedule.steps)
    return rise * (0.5 - 0.5 * math.cos(math.pi * max(0.0, left)))


def optimize_latents(
    generator: Generator,
    objective: ProjectionLoss,
    start: torch.Tensor,
    settings: ProjectionConfig,
    seed: int = 0,
    bar: "tqdm | None" = None,
) -> ProjectionResult:
    """Optimise the latents of N images together, each by its own loss.

    Args:
        generator: frozen.
        objective: of N targets.
        start: latents [N, num_layers, w_size]; their mean over layers is taken, unless in w+ nothing is joined.
        settings: `search`, `terms` and `schedule` are used.
        seed: of the noise maps, where they are optimised.
        bar: advanced by N at each step.

    Raises:
        InputError: the network makes no RGB images, or its images are not finite.
    """
    if generator.architecture.image_channels != 3:
        raise InputError(f"The network makes images of {generator.architecture.image_channels} channels, not RGB.")
    schedule, w_plus = settings.schedule, settings.search.space == "w+"
    if not schedule.steps:
        return _as_it_is(generator, objective, start, w_plus)
    mean, spread = generator.latent_statistics()
    mean = mean.clone()  # out of inference mode
    common = start.detach().mean(1, keepdim=True)  # [N, 1, w_size]
    kept = w_plus and not schedule.joined  # else what the start's layers differ by is left behind
    offsets = (start.detach() - common if kept else torch.zeros_like(start)).requires_grad_(w_plus)  # [N, L, w_size]
    common.requires_grad_()
    noise = _fresh_noise(generator, len(start), seed) if settings.search.noise_maps else {}
    groups = _groups(common, offsets if w_plus else None, noise, spread, schedule)
    adam = Adam(betas=(0.9, 0.99))

    best = _Best(start, noise)
    milestone, since = best.loss.clone(), torch.zeros((), dtype=torch.long, device=start.device)
    # A GPU is asked only every few steps whether to stop: each answer is waited for.
    look_every = 1 if start.device.type == "cpu" else ASK_GPU_EVERY
    rows: dict[str, list[torch.Tensor]] = {}
    falls_from = round((1 - schedule.ramp_down) * schedule.steps)
    step, end = 0, schedule.steps
    while step < end:
        w = common + offsets  # [N, L, w_size]
        images = synthesize(generator, w, noise)
        parts = objective.weighted_terms(images)
        if settings.terms.prior:
            parts["prior"] = settings.terms.prior * (w - mean).square().sum(2).mean(1) / spread**2
        if noise and settings.terms.noise:
            parts["noise"] = settings.terms.noise * noise_correlation(list(noise.values()))
        loss = torch.stack(list(parts.values())).sum(0)  # [N]

        best.look(loss, w, noise)  # before the step: the loss is that of w as it is
        for name, value in {"loss": loss, **parts}.items():
            rows.setdefault(name, []).append(value.detach())

        loss.sum().backward()
        for group in groups:
            rate = (step >= group.joins) * group.scale * learning_rate(schedule, step, falls_from)
            adam.step(group.tensors, rate)
        if noise:
            _normalize(noise)
        step += 1
        if bar is not None:
            bar.update(len(start))
        if schedule.patience and step < falls_from:
            gained = best.loss < (1 - schedule.gain) * milestone
            milestone = torch.where(gained, best.loss, milestone)
            since = torch.where(gained.any(), 0, since + 1)
            if step % look_every == 0 and int(since) >= schedule.patience:
                end -= falls_from - step
                falls_from = step
    if not torch.isfinite(best.loss).all():
        raise InputError("The network's images are not finite.", "Try --set search.precision=float32.")
    history = {name: torch.stack(values).float().cpu().numpy() for name, values in rows.items()}  # [steps, N]
    return ProjectionResult(best.w, best.loss, history, best.noise)


@dataclass(frozen=True)
class _Group:
    """Tensors that are optimised, from step `joins` on, at `scale` times the learning rate."""

    tensors: list[torch.Tensor]
    scale: float
    joins: int = 0


def _groups(
    common: torch.Tensor, offsets: torch.Tensor | None, noise: dict[str, torch.Tensor], spread: float,
    schedule: ScheduleConfig,
) -> list[_Group]:  # fmt: skip
    """`offsets` are None where all layers share one latent; `spread` is the RMS distance of latents from their mean."""
    scale = schedule.learning_rate * spread / math.sqrt(common.shape[2])
    groups = [_Group([common], scale)]
    if offsets is not None:
        groups.append(_Group([offsets], scale, joins=round(schedule.joined * schedule.steps)))
    if noise:  # of std 1
        groups.append(_Group(list(noise.values()), schedule.learning_rate))
    return groups


class _Best:
    """Of each of N images the lowest loss so far [N], with its latents [N, num_layers, w_size] and noise maps."""

    def __init__(self, start: torch.Tensor, noise: dict[str, torch.Tensor]) -> None:
        self.loss = torch.full((len(start),), math.inf, device=start.device)
        self.w, self.noise = start.detach().clone(), {name: plane.detach().clone() for name, plane in noise.items()}

    @torch.no_grad()
    def look(self, loss: torch.Tensor, w: torch.Tensor, noise: dict[str, torch.Tensor]) -> None:
        better = loss < self.loss
        self.loss = torch.where(better, loss, self.loss)
        self.w = torch.where(better[:, None, None], w, self.w)
        for name, plane in noise.items():
            self.noise[name] = torch.where(better[:, None, None, None], plane, self.noise[name])


@torch.no_grad()
def _as_it_is(generator: Generator, objective: ProjectionLoss, start: torch.Tensor, w_plus: bool) -> ProjectionResult:
    """The start in place of a search; in space "w" the mean over its layers."""
    latents = start if w_plus else start.mean(1, keepdim=True).expand_as(start).contiguous()
    loss = torch.stack(list(objective.weighted_terms(generator.synthesize(latents)).values())).sum(0)  # [N]
    return ProjectionResult(latents, loss, {"loss": np.zeros((0, len(start)), np.float32)})


def synthesize(generator: Generator, latents: torch.Tensor, noise: dict[str, torch.Tensor]) -> torch.Tensor:
    """Images [N, 3, R, R] of latents [N, num_layers, w_size], with these noise maps in place of the file's."""
    if not noise:
        return generator.synthesize(latents)
    return functional_call(generator.synthesis, noise, (latents, Noise("const")))


def _fresh_noise(generator: Generator, count: int, seed: int) -> dict[str, torch.Tensor]:
    """A noise map for each layer that adds noise and each of `count` images, seeded: [count, 1, H, W] by buffer."""
    random = torch.Generator().manual_seed(seed)
    maps = {}
    for name, stored in generator.synthesis.named_buffers():
        if name.endswith(".noise"):
            fresh = torch.randn(1, 1, *stored.shape, generator=random).expand(count, -1, -1, -1)
            maps[name] = fresh.to(stored.device).clone().requires_grad_()
    return maps


@torch.no_grad()
def _normalize(noise: dict[str, torch.Tensor]) -> None:
    """Mean 0 and std 1, as the layers expect it."""
    for plane in noise.values():
        plane -= plane.mean((2, 3), keepdim=True)
        plane *= plane.square().mean((2, 3), keepdim=True).add(1e-12).rsqrt()
