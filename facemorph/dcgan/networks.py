"""The generator and the discriminator of DCGAN (Radford, Metz and Chintala 2016; 2018 paper, section 2-4)."""

import itertools
import math

import torch
from torch import Tensor, nn

from facemorph.config import Network


def stages(size_px: int) -> int:
    """How often the side is doubled from 4 to `size_px`."""
    return int(math.log2(size_px)) - 2


def down(in_channels: int, out_channels: int, kernel_px: int) -> nn.Conv2d:
    """Halves the side by stride."""
    return nn.Conv2d(in_channels, out_channels, kernel_px, 2, kernel_px // 2 if kernel_px == 5 else 1, bias=False)


def up(in_channels: int, out_channels: int, kernel_px: int) -> nn.ConvTranspose2d:
    """Doubles the side by fractional stride."""
    padding, extra = (2, 1) if kernel_px == 5 else (1, 0)
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_px, 2, padding, extra, bias=False)


class Generator(nn.Module):
    """z [N, z_dim] -> picture [N, 3, size_px, size_px] in -1..1."""

    def __init__(self, config: Network) -> None:
        super().__init__()
        self.z_dim = config.z_dim
        doublings = stages(config.size_px)
        widths = [config.channels * 2 ** (doublings - 1 - i) for i in range(doublings)]
        if config.first_layer == "dense":
            first = [nn.Linear(config.z_dim, widths[0] * 16), nn.Unflatten(1, (widths[0], 4, 4))]
        else:
            first = [nn.Unflatten(1, (config.z_dim, 1, 1)), nn.ConvTranspose2d(config.z_dim, widths[0], 4, bias=False)]
        layers = [*first, nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]  # [N, widths[0], 4, 4]
        for wide, narrow in itertools.pairwise(widths):
            layers += [up(wide, narrow, config.kernel_px), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)]
        layers += [up(widths[-1], 3, config.kernel_px), nn.Tanh()]  # [N, 3, size_px, size_px]
        self.layers = nn.Sequential(*layers)
        self.apply(initialise)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class Discriminator(nn.Module):
    """Picture [N, 3, size_px, size_px] in -1..1 -> logit [N] of its being real."""

    def __init__(self, config: Network) -> None:
        super().__init__()
        halvings = stages(config.size_px)
        widths = [config.channels * 2**i for i in range(halvings)]
        layers: list[nn.Module] = [down(3, widths[0], config.kernel_px), nn.LeakyReLU(0.2, inplace=True)]
        for narrow, wide in itertools.pairwise(widths):
            layers += [down(narrow, wide, config.kernel_px), nn.BatchNorm2d(wide), nn.LeakyReLU(0.2, inplace=True)]
        if config.first_layer == "dense":
            layers += [nn.Flatten(), nn.Linear(widths[-1] * 16, 1)]
        else:
            layers += [nn.Conv2d(widths[-1], 1, 4, bias=False)]
        self.layers = nn.Sequential(*layers)
        self.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).flatten()


def initialise(module: nn.Module) -> None:
    """Weights N(0, 0.02), batch-norm scales N(1, 0.02), offsets 0 (Radford et al. 2016, section 4)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def draw_z(count: int, config: Network, generator: torch.Generator) -> Tensor:
    """Latents [count, z_dim], on the generator's device."""
    if config.z == "normal":
        return torch.randn(count, config.z_dim, generator=generator, device=generator.device)
    z = torch.rand(count, config.z_dim, generator=generator, device=generator.device)
    return z if config.z == "uniform01" else 2 * z - 1


@torch.no_grad()
def settle_batch_norm(network: Generator, config: Network, seed: int = 0, batches: int = 8, size: int = 64) -> None:
    """Set the running statistics to those of many z, so that in eval mode a picture depends on its own z alone.

    The running averages of training lag behind weights that change; a plain mean over `batches` does not.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    device = next(network.parameters()).device
    random = torch.Generator(device).manual_seed(seed)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative
    network.train()
    for _ in range(batches):
        network(draw_z(size, config, random))
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
