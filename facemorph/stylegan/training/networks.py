"""The generator to be trained, new or read, and how fast each of its weights learns.

The toolkit's networks hold weights as they act, with the equalised learning rate (Karras et al. 2018, section 4.1)
folded in. They train as they are: Adam's steps do not depend on a gradient's scale, so that a weight that acts as
c * v, with v learning at a rate r, is the same as a weight that learns at c * r. `equalised` gives c.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from facemorph.stylegan.networks.alignment import ALIGNMENTS
from facemorph.stylegan.networks.architecture import Architecture
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.encoder import LARGEST_PX, Encoder, EncoderShape
from facemorph.stylegan.training.config import Network

SQRT2 = math.sqrt(2)  # gain of the activation, folded into what stands before it
MAPPING_RATE = 0.01  # learning rate of the mapping network, as a part of the others'
TRUNCATION, CLAMP = 0.7, 256.0
TAPS = (1.0, 3.0, 3.0, 1.0)
HEAD_SCALE = 0.1  # a new encoder gives about the mean latent
MEAN_SAMPLES = 10_000


def new_architecture(config: Network, crop: str) -> Architecture:
    """A StyleGAN2 (Karras et al. 2020) of these settings, for faces in this crop."""
    w = config.w_size
    return Architecture(
        generation=2, resolution=config.size_px, image_channels=3, latent_size=w,
        mapping_sizes=(w,) * (config.mapping_layers + 1), channels=config.channels, const_channels=config.channels[0],
        truncation_psi=TRUNCATION, truncation_cutoff=None, clamp=CLAMP, alignment=ALIGNMENTS[crop],
    )  # fmt: skip


@torch.no_grad()
def new_generator(architecture: Architecture) -> Generator:
    """Weights as StyleGAN2 begins with."""
    generator = Generator(architecture)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.zero_()
        elif name.endswith("affine.bias"):
            parameter.fill_(1)
        elif name.endswith("bias"):
            parameter.zero_()
        else:
            scale = equalised(name, parameter) / (MAPPING_RATE * SQRT2 if name.startswith("mapping.") else 1)
            parameter.normal_().mul_(scale)
    for name, buffer in generator.named_buffers():
        if name.endswith("noise"):
            buffer.normal_()
    taps = torch.tensor(TAPS)
    generator.synthesis.filter.copy_(taps[:, None] * taps / taps.sum() ** 2)  # type: ignore[union-attr, operator]
    generator.w_avg.zero_()
    return generator


@torch.no_grad()
def grown(generator: Generator, config: Network, crop: str) -> Generator:
    """The same generator with layers for images of `config.grow_to_px`, for faces in this crop. At first its images are
    those of before, enlarged: the new layers add nothing to them (after Karras et al. 2018, section 2)."""
    old = generator.architecture
    channels = (*old.channels, *config.channels_up_to(config.grow_to_px)[len(old.channels) :])
    architecture = replace(old, resolution=config.grow_to_px, channels=channels, alignment=ALIGNMENTS[crop])
    larger = new_generator(architecture)
    larger.load_state_dict({**larger.state_dict(), **generator.state_dict()})
    for name, parameter in larger.named_parameters():
        if name.endswith("to_rgb.weight") and name not in generator.state_dict():
            parameter.zero_()
    return larger


def equalised(name: str, parameter: Tensor) -> float:
    """The learning rate of a generator's parameter, as a multiple of the generator's."""
    if name.startswith("mapping."):
        return MAPPING_RATE * SQRT2 * (1 if parameter.ndim == 1 else parameter.shape[1] ** -0.5)
    if name.endswith(("affine.weight", "to_rgb.weight", "skip.weight")):
        return parameter.shape[1] ** -0.5
    if name.endswith(".weight"):  # 3x3 convolutions
        return parameter[0].numel() ** -0.5
    if name.endswith(("conv0.bias", "conv1.bias", "noise_strength")):
        return SQRT2
    return 1.0


def trainable(generator: Generator, device: torch.device, dtype: torch.dtype) -> Generator:
    """On the device, in the memory layout and dtype of training."""
    generator.to(device)
    generator.synthesis.prepare()
    for module in generator.synthesis.modules():
        if hasattr(module, "dtype"):
            module.dtype = dtype  # type: ignore[assignment]
    return generator.train().requires_grad_(True)


def fresh_encoder(architecture: Architecture, config: Network) -> Encoder:
    """An encoder that gives about its mean, once `centre` has been told what that is."""
    a = architecture
    shape = EncoderShape(
        min(a.resolution, LARGEST_PX), a.num_layers, a.w_size, config.encoder_width, config.encoder_hidden
    )
    encoder = Encoder(shape)
    with torch.no_grad():
        for head in encoder.heads:
            assert isinstance(head, nn.Linear)
            head.weight.mul_(HEAD_SCALE)
            head.bias.zero_()
    return encoder


@torch.no_grad()
def centre(encoder: Encoder, generator: Generator) -> None:
    """The encoder's offsets count from the generator's mean latent, in units of its latents' deviation."""
    z = torch.randn(MEAN_SAMPLES, generator.architecture.latent_size, device=generator.w_avg.device)
    w = generator.map(z)
    mean = w.mean(0)
    encoder.mean.copy_(mean)
    encoder.deviation.copy_((w - mean).square().mean().sqrt())
