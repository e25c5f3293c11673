"""The generator and the discriminator of DCGAN (Radford, Metz and Chintala 2016; 2018 paper, section 2-4)."""

import itertools
import math

import torch
from torch import Tensor, nn

from facemorph.dcgan.bfloat16 import FromPixel, ToPixel
from facemorph.dcgan.config import Network
from facemorph.dcgan.winograd import WinogradConv2d, WinogradConvTranspose2d


def stages(size_px: int) -> int:
    """How many times the side doubles from 4 to `size_px`."""
    return int(math.log2(size_px)) - 2


def down(in_channels: int, out_channels: int, kernel_px: int, bias: bool = False) -> nn.Conv2d:
    """Halves the side by stride."""
    if kernel_px == 4:
        return WinogradConv2d(in_channels, out_channels, 4, 2, 1, bias=bias)
    return nn.Conv2d(in_channels, out_channels, kernel_px, 2, kernel_px // 2, bias=bias)


def up(in_channels: int, out_channels: int, kernel_px: int) -> nn.ConvTranspose2d:
    """Doubles the side by fractional stride."""
    if kernel_px == 4:
        return WinogradConvTranspose2d(in_channels, out_channels, 4, 2, 1, bias=False)
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_px, 2, kernel_px // 2, 1, bias=False)


class Generator(nn.Module):
    """Latent [N, z_dim] -> image [N, 3, size_px, size_px] in -1..1.

    With `persons`, the last `persons` components of a latent are the label, one-hot or a mix: see `with_label`.
    """

    def __init__(self, config: Network, persons: int = 0) -> None:
        super().__init__()
        self.persons = persons
        self.z_dim = config.z_dim + persons
        doublings = stages(config.size_px)
        widths = [config.channels * 2 ** (doublings - 1 - i) for i in range(doublings)]
        if config.first_layer == "dense":
            first = [nn.Linear(self.z_dim, widths[0] * 16), nn.Unflatten(1, (widths[0], 4, 4))]
        else:
            first = [nn.Unflatten(1, (self.z_dim, 1, 1)), FromPixel(self.z_dim, widths[0], 4, bias=False)]
        layers = [*first, nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]  # [N, widths[0], 4, 4]
        for wide, narrow in itertools.pairwise(widths):
            layers += [up(wide, narrow, config.kernel_px), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)]
        layers += [up(widths[-1], 3, config.kernel_px), nn.Tanh()]  # [N, 3, size_px, size_px]
        self.layers = nn.Sequential(*layers)
        self.apply(initialize)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class Discriminator(nn.Module):
    """Image [N, 3, size_px, size_px] in -1..1 -> logit [N] that it is real.

    With `persons`, the logit that it is a real image of the person in `labels` [N]: a projection discriminator (Miyato
    and Koyama 2018). The last layer has one more output per person, and the person's own is added to the common one.
    """

    def __init__(self, config: Network, persons: int = 0) -> None:
        super().__init__()
        halvings = stages(config.size_px)
        widths = [config.channels * 2**i for i in range(halvings)]
        bias = config.d_norm != "batch"  # batch norm has its own
        layers: list[nn.Module] = [down(3, widths[0], config.kernel_px, bias), nn.LeakyReLU(0.2, inplace=True)]
        for narrow, wide in itertools.pairwise(widths):
            norm = [nn.BatchNorm2d(wide)] if config.d_norm == "batch" else []
            layers += [down(narrow, wide, config.kernel_px, bias), *norm, nn.LeakyReLU(0.2, inplace=True)]
        if config.first_layer == "dense":
            layers += [nn.Flatten(), nn.Linear(widths[-1] * 16, 1 + persons)]
        else:
            layers += [ToPixel(widths[-1], 1 + persons, 4, bias=bias), nn.Flatten()]  # [N, 1 + persons]
        self.layers = nn.Sequential(*layers)
        self.apply(initialize)
        if config.d_norm == "spectral":
            for layer in self.layers:
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    nn.utils.parametrizations.spectral_norm(layer)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        outputs = self.layers(images)  # [N, 1 + persons]
        if labels is None:
            return outputs[:, 0]
        return outputs[:, 0] + outputs[:, 1:].gather(1, labels.unsqueeze(1)).squeeze(1)


def initialize(module: nn.Module) -> None:
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


def with_label(z: Tensor, labels: Tensor, persons: int) -> Tensor:
    """z [N, z_dim] and the persons' numbers [N] -> latents of a conditional generator [N, z_dim + persons]."""
    one_hot = labels[:, None] == torch.arange(persons, device=labels.device)  # torch's own would ask for the largest
    return torch.cat([z, one_hot.to(z.dtype)], 1)


@torch.no_grad()
def settle_batch_norm(network: Generator, config: Network, seed: int = 0, batches: int = 8, size: int = 64) -> None:
    """Set the running statistics to those of many z, so that in eval mode an image depends on its own z alone.

    The running averages of training lag behind the weights; a plain mean over `batches` does not.
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
        z = draw_z(size, config, random)
        if network.persons:
            z = with_label(z, torch.arange(size, device=device) % network.persons, network.persons)
        network(z)
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
