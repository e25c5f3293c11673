"""One training step: the judges', then the generator's and the encoder's.

A step asks the device for no number and takes what changes from tensors, so that the same code runs one operation after
the other or captured in a CUDA graph (capture.py). Random numbers come from torch's global generators, which the loop
seeds by the step.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from facemorph.distributed import ALONE, ProcessGroup
from facemorph.stylegan.networks.ops import Noise
from facemorph.stylegan.training.augment import augment
from facemorph.stylegan.training.config import Config
from facemorph.stylegan.training.judges import Backbones
from facemorph.stylegan.training.run import NUMBERS
from facemorph.stylegan.training.state import State

RANDOM_NOISE = Noise("random")
QUARTER = 0.35  # of the softened faces are as from a quarter of the side, the others from half
LEAST = 1e-8  # squared length of a feature: a zero vector stays zero
Watch = Callable[[str], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True)
class GanLoss:
    """What judges and generator minimise, from logits.

    Attributes:
        of_d: (logits of real images, of generated ones) -> scalar; `of_g`: logits of generated images -> scalar.
        pace: between these the judges' loss leaves their pace as it is; below they are slowed, above hastened.
    """

    of_d: Callable[[Tensor, Tensor], Tensor]
    of_g: Callable[[Tensor], Tensor]
    pace: tuple[float, float]


# The values of training.loss. To add one: its name in config.LOSSES, its functions here, and a test.
LOSSES = {
    "hinge": GanLoss(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(), lambda fake: -fake.mean(), (0.4, 1.0)
    ),
    "logistic": GanLoss(
        lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
        lambda fake: F.softplus(-fake).mean(),
        (0.4, 0.9),
    ),
}


def _no_watch(name: str) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


class Step:
    """Everything that a step needs; calling it takes one and returns the numbers for the log, float32 [NUMBERS].

    Args:
        images: uint8 [N, 3, H, H], the faces to train on, on the device.
        watch: told the name of each part of the step, for `--profile`.
    """

    def __init__(
        self, state: State, images: Tensor, config: Config, backbones: Backbones, dtype: torch.dtype,
        group: ProcessGroup = ALONE, watch: Watch = _no_watch,
    ) -> None:  # fmt: skip
        self.state, self.images, self.config, self.backbones = state, images, config, backbones
        self.dtype, self.group, self.watch = dtype, group, watch
        self.count = config.training.batch_size // group.world
        self.loss = LOSSES[config.training.loss]

    def __call__(self) -> Tensor:
        numbers: dict[str, Tensor] = {}
        if self.config.terms.judges:
            self._judges(numbers)
        if self.config.training.frozen_norm:
            _freeze_norm(self.state.e)
        self._generator(numbers)
        zero = torch.zeros((), device=self.state.device)
        return torch.stack([numbers.get(name, zero).detach().float() for name in NUMBERS])

    def real(self, count: int) -> Tensor:
        """A random batch [N, 3, H, H] in [-1, 1]."""
        device = self.images.device
        chosen = torch.randint(0, len(self.images), (count,), device=device)
        x = self.images[chosen].float() / 127.5 - 1
        if self.config.training.mirror:
            x = torch.where(torch.rand(count, 1, 1, 1, device=device) < 0.5, x.flip(3), x)
        return x

    def soften(self, x: Tensor) -> Tensor:
        """A part of the images as from half and quarter their size: what people bring is often small."""
        fraction = self.config.training.soften
        if not fraction or x.shape[2] < 16:
            return x
        half, quarter = (
            F.interpolate(F.avg_pool2d(x, factor), x.shape[2:], mode="bilinear", align_corners=False)
            for factor in (2, 4)
        )
        chance = torch.rand(len(x), 1, 1, 1, device=x.device)
        return torch.where(chance < QUARTER * fraction, quarter, torch.where(chance < fraction, half, x))

    def draw(self, count: int) -> Tensor:
        """Latents [N, num_layers, w_size] from noise, some mixed of two (Karras et al. 2019, section 3.1)."""
        g, a, device = self.state.g, self.state.architecture, self.state.device
        first, second = g.map(torch.randn(2 * count, a.latent_size, device=device))[:, None].chunk(2)
        cross = torch.randint(1, a.num_layers, (count, 1), device=device)
        mixed = torch.rand(count, 1, device=device) < self.config.training.mixing
        later = (torch.arange(a.num_layers, device=device)[None] >= cross) & mixed  # [N, num_layers]
        return torch.where(later[..., None], second, first)

    def synthesize(self, latents: list[Tensor]) -> Tensor:
        """Images of all these latents at once."""
        return self.state.g.synthesis(torch.cat(latents), RANDOM_NOISE)

    def encode(self, x: Tensor) -> Tensor:
        with self.precision():
            return self.state.e(x).float()

    def precision(self) -> torch.autocast:
        # Without autocast's cache, whose cast weights would outlive an optimiser's step in a captured graph.
        on = self.dtype != torch.float32
        return torch.autocast(self.state.device.type, self.dtype, enabled=on, cache_enabled=False)

    def _seen(self, x: Tensor) -> Tensor:
        """What the judges see of images."""
        return augment(x) if self.config.training.augment else x

    def _judge(self, x: Tensor) -> list[Tensor]:
        return self.state.judges(self._seen(x), self.backbones, self.dtype)

    def _judges(self, numbers: dict[str, Tensor]) -> None:
        state, count = self.state, self.count
        state.judges.requires_grad_(True)
        with self.watch("judges: faces drawn and rebuilt"), torch.no_grad():
            latents = [self.draw(count if state.alone else count // 2)]
            if not state.alone:
                latents.append(self.encode(self.real(count - count // 2)))
            made = self.synthesize(latents)
        with self.watch("judges: looking"):
            # Changed one by one, judged together.
            together = torch.cat([self._seen(self.real(count)), self._seen(made)])
            logits = state.judges(together, self.backbones, self.dtype)
            pairs = [(one[:count], one[count:]) for one in logits]
            loss = torch.stack([self.loss.of_d(real, fake) for real, fake in pairs]).sum()
        with self.watch("judges: learning"):
            _optimize([state.optimize_d], loss, self.group)
            state.judges.refresh()
        with torch.no_grad():
            numbers["d_loss"] = loss.detach() / len(logits)
            numbers["d_of_real"] = torch.stack([real.mean() for real, _ in pairs]).mean()
            numbers["d_of_fake"] = torch.stack([fake.mean() for _, fake in pairs]).mean()
            state.d_sum += self.group.mean(numbers["d_loss"])

    def _generator(self, numbers: dict[str, Tensor]) -> None:
        state, terms = self.state, self.config.terms
        state.judges.requires_grad_(False)
        count = self.count if state.alone else self.count // 2
        loss = torch.zeros((), device=state.device)
        latents = []
        real = found = known = None
        with self.watch("faces drawn and rebuilt"):
            if terms.judges:
                latents.append(self.draw(count))
            if not state.alone:
                real = self.real(count)
                given = [self.soften(real)]
                if terms.latent:
                    with torch.no_grad():
                        known = self.draw(count)
                        given.append(self.synthesize([known]))
                found = self.encode(torch.cat(given))
                latents.append(found[:count])
            made = self.synthesize(latents)
        if real is not None and found is not None:
            with self.watch("rebuilt compared with real"):
                loss = loss + self._rebuilding(made[-count:], real, found[:count], numbers)
            if known is not None:
                numbers["latent"] = ((found[count:] - known) / state.e.deviation).square().mean()
                loss = loss + terms.latent * numbers["latent"]
        if terms.judges:
            with self.watch("judged"):
                of_g = self._of_g(self._judge(made), count)
                numbers["g_loss"] = of_g.mean()
                loss = loss + terms.judges * of_g.sum()
        with self.watch("generator and encoder: learning"):
            _optimize([state.optimize_g] + ([] if state.alone else [state.optimize_e]), loss, self.group)
            state.follow(encoder=not state.alone)

    def _of_g(self, logits: list[Tensor], drawn: int) -> Tensor:
        """The generator's loss by each judge [judges]; the first images are drawn, the others rebuilt."""
        losses = []
        for one in logits:
            share, loss = drawn / len(one), self.loss.of_g(one[:drawn])
            if share < 1:
                loss = share * loss + (1 - share) * self.config.terms.judges_rebuilt * self.loss.of_g(one[drawn:])
            losses.append(loss)
        return torch.stack(losses)

    def _rebuilding(self, made: Tensor, real: Tensor, latents: Tensor, numbers: dict[str, Tensor]) -> Tensor:
        """What rebuilt faces [N, 3, H, H] are held to; `latents` [N, num_layers, w_size] are the encoder's."""
        terms, e, looks = self.config.terms, self.state.e, self.backbones
        numbers["pixels"] = (made - real).square().mean()
        loss = terms.pixels * numbers["pixels"]
        if terms.features and looks.imagenet is not None:
            numbers["features"] = feature_difference(looks.imagenet(made), looks.imagenet(real))
            loss = loss + terms.features * numbers["features"]
        if (terms.identity or terms.descriptor) and looks.face is not None:
            of_made, of_real = looks.face(made), looks.face(real)
            numbers["identity"] = feature_difference(of_made[1:], of_real[1:])
            far = looks.face.descriptors(of_made) - looks.face.descriptors(of_real)
            numbers["descriptor"] = far.square().sum(1).mean()
            loss = loss + terms.identity * numbers["identity"] + terms.descriptor * numbers["descriptor"]
        offset = (latents - e.mean) / e.deviation
        numbers["far"] = offset.square().mean()
        numbers["stray"] = (offset - offset.mean(1, keepdim=True)).square().mean()
        return loss + terms.far * numbers["far"] + terms.stray * numbers["stray"]


def feature_difference(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Squared distance of features scaled to length 1 at each place, summed over the scales (as LPIPS, untrained)."""
    return torch.stack([(_unit(a) - _unit(b)).square().sum(1).mean() for a, b in zip(first, second, strict=True)]).sum()


def _unit(x: Tensor) -> Tensor:
    x = x.float()
    return x * (x.square().sum(1, keepdim=True) + LEAST).rsqrt()


def _freeze_norm(encoder: torch.nn.Module) -> None:
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


def _optimize(optimizers: list[torch.optim.Optimizer], loss: Tensor, group: ProcessGroup) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for optimizer in optimizers:
        group.average_gradients([one for part in optimizer.param_groups for one in part["params"]])
        optimizer.step()
