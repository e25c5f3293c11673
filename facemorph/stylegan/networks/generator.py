"""A StyleGAN or StyleGAN2 generator: z -> w -> truncated latents -> images."""

import contextlib
import itertools
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from facemorph.errors import InputError
from facemorph.stylegan.networks.architecture import Architecture
from facemorph.stylegan.networks.ops import Noise, normalize
from facemorph.stylegan.networks.stylegan1 import Synthesis1
from facemorph.stylegan.networks.stylegan2 import Synthesis2

OWN = "own"  # the default truncation of the network's authors
STATISTICS_SEED, STATISTICS_SAMPLES = 123, 10_000  # as in stylegan2-ada's projector


class Mapping(nn.Module):
    """z [N, latent_size] (and a label) -> w [N, w_size]."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        sizes = architecture.mapping_sizes
        self.layers = nn.ModuleList(nn.Linear(wide, out) for wide, out in itertools.pairwise(sizes))
        self.label = None
        if architecture.label != "none":
            self.label = nn.Linear(
                architecture.label_size, architecture.label_features, bias=architecture.label == "embed"
            )

    def forward(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        kind, normalized = self.architecture.label, self.architecture.normalize_latents
        parts = [z] if self.architecture.latent_size else []
        if self.label is not None and label is not None:
            parts.append(self.label(label))
        if kind == "embed":  # z and label are normalised separately, the label always
            parts = [*(normalize(part) if normalized else part for part in parts[:-1]), normalize(parts[-1])]
            x = torch.cat(parts, 1)
        else:
            x = torch.cat(parts, 1)
            x = normalize(x) if normalized else x
        for layer in self.layers:
            x = F.leaky_relu(layer(x), self.architecture.mapping_slope)
        return x


def _exact(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """float32 without TF32, and the same bits again, for those who did not ask `pick_device`, which settles it for all.

    It covers the forward pass alone: a backward pass takes what is set when it runs.
    """
    if device.type != "cuda":
        return contextlib.nullcontext()
    cudnn = torch.backends.cudnn
    return cudnn.flags(enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=True, allow_tf32=False)


class Generator(nn.Module):
    """A published generator. Weights come from `facemorph.stylegan.load`."""

    w_avg: torch.Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.mapping = Mapping(architecture)
        self.synthesis = Synthesis1(architecture) if architecture.generation == 1 else Synthesis2(architecture)
        self.register_buffer("w_avg", torch.empty(architecture.w_size))

    def map(self, z: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """z [N, latent_size], label [N, label_size] if the network has one -> w [N, w_size], not truncated.

        Raises:
            InputError: z or the label has the wrong size, or the label is missing.
        """
        a = self.architecture
        if z.ndim != 2 or z.shape[1] != a.latent_size:
            raise InputError(f"z is of shape {tuple(z.shape)}; [N, {a.latent_size}] was expected.")
        if a.label_size and (label is None or label.shape != (len(z), a.label_size)):
            given = "none" if label is None else str(tuple(label.shape))
            raise InputError(
                f"This network is conditional: a label of shape [{len(z)}, {a.label_size}] was expected, not {given}.",
                "A label is a row of zeros with a 1 at the class.",
            )
        return self.mapping(z, label if a.label_size else None)

    def truncate(self, w: torch.Tensor, psi: float | str | None = OWN, cutoff: int | str | None = OWN) -> torch.Tensor:
        """w [N, w_size] -> latents [N, num_layers, w_size], the first `cutoff` layers truncated towards w_avg.

        A psi of 1 or None is no truncation. A cutoff of None means no layer in generation 1, all layers in 2.
        Source: Karras et al. 2019, appendix B.
        """
        a = self.architecture
        psi = a.truncation_psi if isinstance(psi, str) else psi
        cutoff = a.truncation_cutoff if isinstance(cutoff, str) else cutoff
        if cutoff is None:
            cutoff = 0 if a.generation == 1 else a.num_layers
        latents = w[:, None].repeat(1, a.num_layers, 1)  # [N, num_layers, w_size]
        if psi is not None and psi != 1 and cutoff > 0:
            latents[:, :cutoff] = self.w_avg + (latents[:, :cutoff] - self.w_avg) * psi
        return latents

    def synthesize(self, latents: torch.Tensor, noise: Noise | str = "const") -> torch.Tensor:
        """latents [N, num_layers, w_size] -> images [N, channels, R, R], float32, about -1..1.

        Raises:
            InputError: the latents have the wrong shape.
        """
        a = self.architecture
        if latents.ndim != 3 or latents.shape[1:] != (a.num_layers, a.w_size):
            raise InputError(
                f"Latents are of shape {tuple(latents.shape)}; [N, {a.num_layers}, {a.w_size}] was expected.",
                "Latents are valid only for the network that they were made with.",
            )
        with _exact(latents.device):
            return self.synthesis(latents, Noise(noise) if isinstance(noise, str) else noise)

    def compile_synthesis(self) -> None:
        """Compile the synthesis network (torch.compile) at its first use: 1 to 2 minutes for each batch size.

        On CUDA with CUDA graphs.
        """
        on_cuda = self.w_avg.device.type == "cuda"
        self.synthesis.compile(mode="reduce-overhead" if on_cuda else None)

    def use_half(self) -> None:
        """float16 in the upper layers, for GPUs. Images differ by at most one grey level from float32.

        Raises:
            InputError: the network is a StyleGAN, whose normalisation amplifies the error.
        """
        if isinstance(self.synthesis, Synthesis1):
            raise InputError("float16 is for StyleGAN2; in StyleGAN images would differ by more than one grey level.")
        self.synthesis.use_half()

    def forward(
        self,
        z: torch.Tensor,
        label: torch.Tensor | None = None,
        *,
        psi: float | str | None = OWN,
        cutoff: int | str | None = OWN,
        noise: Noise | str = "const",
    ) -> torch.Tensor:
        """z [N, latent_size] -> images [N, channels, R, R], float32, about -1..1."""
        return self.synthesize(self.truncate(self.map(z, label), psi, cutoff), noise)

    def z_from_seeds(self, seeds: Sequence[int]) -> torch.Tensor:
        """The z of each seed, as in NVIDIA's tools: [N, latent_size]."""
        rows = [np.random.RandomState(seed).randn(self.architecture.latent_size) for seed in seeds]
        return torch.from_numpy(np.array(rows, np.float32)).to(self.w_avg.device)

    @torch.inference_mode()
    def latent_statistics(self) -> tuple[torch.Tensor, float]:
        """Mean [w_size] and std of w over 10,000 seeded z, as in stylegan2-ada's projector.

        The std is the RMS distance from the mean (not per number).
        """
        random = np.random.RandomState(STATISTICS_SEED)
        z = random.randn(STATISTICS_SAMPLES, self.architecture.latent_size).astype(np.float32)
        w = self.map(torch.from_numpy(z).to(self.w_avg.device))
        mean = w.mean(0)
        return mean, float(((w - mean).square().sum() / STATISTICS_SAMPLES).sqrt())
