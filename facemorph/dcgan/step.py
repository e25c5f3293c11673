"""One step of the game between the two networks."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from facemorph.config import Config
from facemorph.dcgan.augment import augment
from facemorph.dcgan.checkpoint import State
from facemorph.dcgan.networks import draw_z


def take_step(state: State, real: Tensor, config: Config, dtype: torch.dtype, random: torch.Generator) -> Tensor:
    """One step of D and `generator_steps` of G (2018 paper, equation 1, with -log D(G(z)) for G, as in practice).

    Returns the log's numbers [6]: d-loss = real-loss + fake-loss, both of these, g-loss, mean D(x) and D(G(z)).
    """
    hyper = config.training
    g, d = state.g, state.d
    count = len(real)

    def precision() -> torch.autocast:
        # A context for each pass: autocast's cache of cast weights must not outlive an optimiser's step.
        return torch.autocast(real.device.type, dtype, enabled=dtype != torch.float32)

    def seen(pictures: Tensor) -> Tensor:
        """Pictures as D sees them."""
        pictures = augment(pictures.float(), hyper.augment, hyper.shift, random)
        if hyper.instance_noise:
            left = 1 - state.step / hyper.steps
            noise = torch.randn(pictures.shape, generator=random, device=pictures.device)
            pictures = pictures + hyper.instance_noise * left * noise
        return pictures.contiguous(memory_format=torch.channels_last)

    # --- D: real pictures against 1, fake ones against 0
    d.requires_grad_(True)
    with precision():
        fake = g(draw_z(count, config.network, random))
    with precision():
        on_real = d(seen(real)).float()
        on_fake = d(seen(fake.detach())).float()
    real_loss = cross_entropy(on_real, torch.full_like(on_real, hyper.real_label))
    fake_loss = cross_entropy(on_fake, torch.zeros_like(on_fake))
    d_loss = real_loss + fake_loss
    state.optimise_d.zero_grad(set_to_none=True)
    d_loss.backward()
    state.optimise_d.step()

    # --- G: its fakes against 1; D's weights need no gradients here
    d.requires_grad_(False)
    g_loss = torch.zeros((), device=real.device)
    for again in range(hyper.generator_steps):
        with precision():
            if again:
                fake = g(draw_z(count, config.network, random))
            on_g = d(seen(fake)).float()
        g_loss = cross_entropy(on_g, torch.ones_like(on_g))
        state.optimise_g.zero_grad(set_to_none=True)
        g_loss.backward()
        state.optimise_g.step()

    with torch.no_grad():
        likely = on_real.sigmoid().mean(), on_fake.sigmoid().mean()
        return torch.stack([d_loss, real_loss, fake_loss, g_loss, *likely]).detach()
