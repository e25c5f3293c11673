"""One step of the game between the two networks."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.functional import relu

from facemorph.dcgan.augment import AugmentSampler, adapt, augment
from facemorph.dcgan.checkpoint import State
from facemorph.dcgan.config import Config
from facemorph.dcgan.networks import draw_z, with_label
from facemorph.distributed import ALONE, ProcessGroup


def train_on_batch(
    state: State,
    real: Tensor,
    labels: Tensor,
    config: Config,
    dtype: torch.dtype,
    random: torch.Generator,
    group: ProcessGroup = ALONE,
) -> Tensor:
    """One step of D and `generator_steps` of G (2018 paper, equation 1, with -log D(G(z)) for G, as in practice).

    `real` [N, 3, H, W] and `labels` [N] are this process's share of the batch. Returns the log's numbers [6] for its
    share: d-loss = real-loss + fake-loss, both of these, g-loss, mean D(x) and D(G(z)), losses as cross-entropy; and
    a seventh, the augmentation's strength, where it adapts.
    """
    hyper, persons = config.training, state.g.persons
    g, d = state.g, state.d
    total = len(real) * group.world
    part = group.part(total)
    told = labels if persons else None
    chance = AugmentSampler(random, total, part, state.strength)

    def precision() -> torch.autocast:
        # A context for each pass: autocast's cache of cast weights must not outlive an optimiser's step.
        return torch.autocast(real.device.type, dtype, enabled=dtype != torch.float32)

    def latents() -> Tensor:
        z = draw_z(total, config.network, random)[part]
        return with_label(z, labels, persons) if persons else z

    def seen(images: Tensor) -> Tensor:
        """Images as D sees them."""
        images = augment(images.float(), hyper, chance)
        if hyper.instance_noise:
            left = 1 - state.step / hyper.steps
            noise = torch.randn(total, *images.shape[1:], generator=random, device=images.device)[part]
            images = images + hyper.instance_noise * left * noise
        return images.contiguous(memory_format=torch.channels_last)

    # --- D: real images against 1, fake ones against 0
    d.requires_grad_(True)
    with precision():
        fake = g(latents())
    penalised = hyper.r1 > 0 and state.step % hyper.r1_every == 0
    shown = seen(real).requires_grad_(penalised)
    with precision():
        on_real = d(shown, told).float()
        on_fake = d(seen(fake.detach()), told).float()
    real_loss = cross_entropy(on_real, torch.full_like(on_real, hyper.real_label))
    fake_loss = cross_entropy(on_fake, torch.zeros_like(on_fake))
    d_loss = objective = real_loss + fake_loss
    if hyper.loss == "hinge":
        objective = relu(1 - on_real).mean() + relu(1 + on_fake).mean()
    if penalised:
        objective = objective + hyper.r1_every * hyper.r1 / 2 * squared_gradient(on_real, shown)
    _learn(state.optimize_d, objective, group)
    if state.strength is not None:
        adapt(state.strength, on_real, hyper, group.mean, total)

    # --- G: its fakes against 1; D's weights need no gradients here
    d.requires_grad_(False)
    g_loss = torch.zeros((), device=real.device)
    for again in range(hyper.generator_steps):
        with precision():
            if again:
                fake = g(latents())
            on_g = d(seen(fake), told).float()
        g_loss = cross_entropy(on_g, torch.ones_like(on_g))
        _learn(state.optimize_g, -on_g.mean() if hyper.loss == "hinge" else g_loss, group)

    with torch.no_grad():
        told_in_log = [d_loss, real_loss, fake_loss, g_loss, on_real.sigmoid().mean(), on_fake.sigmoid().mean()]
        if state.strength is not None:
            told_in_log.append(state.strength)
        return torch.stack(told_in_log).detach()


def squared_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """Mean over the images [N, 3, H, W] of the squared norm of each logit's gradient (Mescheder et al. 2018, eq. 9).

    Through batch norm a logit depends on the batch's other images too: use it with network.d_norm none.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()


def _learn(optimizer: torch.optim.Optimizer, loss: Tensor, group: ProcessGroup) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    group.average_gradients(optimizer.param_groups[0]["params"])
    optimizer.step()
