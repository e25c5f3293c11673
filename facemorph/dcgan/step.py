"""One training step of the two networks."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.functional import relu

from facemorph.dcgan.augment import AugmentSampler, adapt, augment
from facemorph.dcgan.checkpoint import State
from facemorph.dcgan.config import Config, Training
from facemorph.dcgan.networks import draw_z, with_label
from facemorph.distributed import ALONE, ProcessGroup


@dataclass(frozen=True)
class GanLoss:
    """What D and G minimise, from D's logits [N].

    Attributes:
        of_d: (logits of real images, logits of generated images, label of real images) -> scalar.
        of_g: logits of generated images -> scalar.
    """

    of_d: Callable[[Tensor, Tensor, float], Tensor]
    of_g: Callable[[Tensor], Tensor]


def _cross_entropy_of_d(on_real: Tensor, on_fake: Tensor, real_label: float) -> Tensor:
    """2018 paper, equation 1: real images against `real_label`, generated ones against 0."""
    real_loss = cross_entropy(on_real, torch.full_like(on_real, real_label))
    return real_loss + cross_entropy(on_fake, torch.zeros_like(on_fake))


def _cross_entropy_of_g(on_fake: Tensor) -> Tensor:
    """-log D(G(z)), the non-saturating form (Goodfellow et al. 2014, section 3)."""
    return cross_entropy(on_fake, torch.ones_like(on_fake))


def _hinge_of_d(on_real: Tensor, on_fake: Tensor, real_label: float) -> Tensor:
    """Lim and Ye 2017; it has no label to smooth."""
    return relu(1 - on_real).mean() + relu(1 + on_fake).mean()


def _hinge_of_g(on_fake: Tensor) -> Tensor:
    return -on_fake.mean()


# The values of training.loss. To add one: its name in config.LOSSES, its two functions here, and a test.
LOSSES = {
    "cross-entropy": GanLoss(_cross_entropy_of_d, _cross_entropy_of_g),
    "hinge": GanLoss(_hinge_of_d, _hinge_of_g),
}


def train_on_batch(
    state: State,
    real: Tensor,
    labels: Tensor,
    config: Config,
    dtype: torch.dtype,
    random: torch.Generator,
    group: ProcessGroup = ALONE,
    noise_std: Tensor | None = None,
) -> Tensor:
    """One step of D and `generator_steps` of G.

    `real` [N, 3, H, W] and `labels` [N] are this process's part of the batch. Returns the numbers for the log [6], of
    this part: d-loss = real-loss + fake-loss, both of these, g-loss, mean D(x) and mean D(G(z)). The losses are
    cross-entropies whatever is minimised, so that runs can be compared. With adaptive augmentation there is a seventh
    number, its strength. `noise_std` [] is that of the instance noise at this step.
    """
    cfg, persons = config.training, state.g.persons
    g, d, loss = state.g, state.d, LOSSES[cfg.loss]
    total = len(real) * group.world
    part = group.part(total)
    d_labels = labels if persons else None
    sampler = AugmentSampler(random, total, part, state.strength)

    def precision() -> torch.autocast:
        # A context for each pass: autocast's cache of cast weights must not outlive an optimiser's step. On CUDA it has
        # none, as torch asks of what a graph holds (make_graphed_callables).
        on_cpu = real.device.type == "cpu"
        return torch.autocast(real.device.type, dtype, enabled=dtype != torch.float32, cache_enabled=on_cpu)

    def latents() -> Tensor:
        z = draw_z(total, config.network, random)[part]
        return with_label(z, labels, persons) if persons else z

    def augmented(images: Tensor) -> Tensor:
        """What D is given in place of the images."""
        images = augment(images.float(), cfg, sampler)
        if cfg.instance_noise and noise_std is not None:
            noise = torch.randn(total, *images.shape[1:], generator=random, device=images.device)[part]
            images = images + noise_std * noise
        return images.contiguous(memory_format=torch.channels_last)

    # --- D
    d.requires_grad_(True)
    with precision():
        fake = g(latents())
    penalised = is_penalised(cfg, state.step)
    d_input = augmented(real).requires_grad_(penalised)
    with precision():
        on_real = d(d_input, d_labels).float()
        on_fake = d(augmented(fake.detach()), d_labels).float()
    objective = loss.of_d(on_real, on_fake, cfg.real_label)
    if penalised:
        objective = objective + cfg.r1_every * cfg.r1 / 2 * squared_gradient(on_real, d_input)
    _optimize(state.optimize_d, objective, group)
    if state.strength is not None:
        adapt(state.strength, on_real, cfg, group.mean, total)

    # --- G; D's weights need no gradients here
    d.requires_grad_(False)
    on_g = on_fake
    for again in range(cfg.generator_steps):
        with precision():
            if again:
                fake = g(latents())
            on_g = d(augmented(fake), d_labels).float()
        _optimize(state.optimize_g, loss.of_g(on_g), group)

    with torch.no_grad():
        real_loss = cross_entropy(on_real, torch.full_like(on_real, cfg.real_label))
        fake_loss = cross_entropy(on_fake, torch.zeros_like(on_fake))
        g_loss = cross_entropy(on_g, torch.ones_like(on_g))
        numbers = [real_loss + fake_loss, real_loss, fake_loss, g_loss]
        numbers += [on_real.sigmoid().mean(), on_fake.sigmoid().mean()]
        if state.strength is not None:
            numbers.append(state.strength)
        return torch.stack(numbers).detach()


def is_penalised(cfg: Training, step: int) -> bool:
    """Whether R1 is part of this step."""
    return cfg.r1 > 0 and step % cfg.r1_every == 0


def squared_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """Mean over the images [N, 3, H, W] of the squared norm of each logit's gradient (Mescheder et al. 2018, eq. 9).

    Through batch norm a logit depends on the batch's other images too: use it with network.d_norm none.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()


def _optimize(optimizer: torch.optim.Optimizer, loss: Tensor, group: ProcessGroup) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    group.average_gradients(optimizer.param_groups[0]["params"])
    optimizer.step()
