"""The settings of a DCGAN run: which faces, which networks, how they are trained, what is written."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facemorph import config
from facemorph.config import check_settings, setting
from facemorph.errors import ConfigError

LOSSES = ("cross-entropy", "hinge")  # the table of functions is in step.py, which loads torch
AUGMENTATIONS = ("color", "shift", "flip", "cutout")  # likewise, in augment.py


@dataclass(frozen=True)
class Data:
    """Which faces are trained on."""

    faces: tuple[str, ...] = setting(("faces",), "folders of a person each, or a folder of such folders")
    persons: tuple[str, ...] = setting((), "only these persons; all if empty")
    limit: int = setting(0, "at most this many faces per person, chosen by the seed; 0 takes all", low=0)

    def __post_init__(self) -> None:
        check_settings(self, "data")
        if not self.faces:
            raise ConfigError("data.faces should be at least one folder.", "For example data.faces=[faces]")


@dataclass(frozen=True)
class Network:
    """The two networks (Radford et al. 2016; 2018 paper, figure 4)."""

    size_px: int = setting(64, "side of the images in pixels, a power of two", low=16, high=512)
    z_dim: int = setting(100, "number of components of the latent z", low=1)
    z: str = setting(
        "uniform",
        "distribution of z: uniform in -1..1 as in TensorFlow DCGAN, uniform01 in 0..1, or normal",
        choices=("uniform", "uniform01", "normal"),
    )
    channels: int = setting(64, "channels at full resolution; doubled at each halving of it", low=4)
    kernel_px: int = setting(4, "side of the kernels; 5 as in TensorFlow DCGAN", low=4, high=5)
    first_layer: str = setting(
        "conv", "first layer of G and last of D: dense as in TensorFlow DCGAN", choices=("conv", "dense")
    )
    d_norm: str = setting(
        "batch",
        "normalisation in D: batch, spectral (Miyato et al. 2018) or none",
        choices=("batch", "spectral", "none"),
    )
    conditional: bool = setting(
        False, "conditional GAN: both networks are given the person's label, so that the mix can be chosen"
    )

    def __post_init__(self) -> None:
        check_settings(self, "network")
        if self.size_px & (self.size_px - 1):
            raise ConfigError(f"network.size_px should be a power of two from 16 to 512, not {self.size_px}.")


@dataclass(frozen=True)
class Training:
    """How the networks are trained."""

    steps: int = setting(1500, "training steps in total; a finished run may be continued with more", low=1)
    batch_size: int = setting(64, "images per step; batch norm needs at least 2", low=2)
    learning_rate: float = setting(2e-4, "of Adam, for both networks", above=0, below=1)
    beta1: float = setting(0.5, "of Adam; beta2 is fixed at 0.999", low=0, below=1)
    generator_steps: int = setting(
        1,
        'steps of G for each step of D; TensorFlow DCGAN takes 2 "so that d-loss does not go to zero"',
        low=1,
        high=10,
    )
    real_label: float = setting(
        1.0,
        "D's label of real images; below 1 is one-sided label smoothing, which puts a floor under d-loss",
        above=0.5,
        high=1,
    )
    instance_noise: float = setting(
        0.0, "std of the noise on D's input at the start; falls linearly to 0 at the end", low=0
    )
    loss: str = setting(
        "cross-entropy",
        "what is minimised; hinge: Lim and Ye 2017. The log has cross-entropy whatever it is",
        choices=LOSSES,
    )
    r1: float = setting(
        0.0,
        "weight of R1, D's squared gradient at real images (Mescheder et al. 2018); needs network.d_norm=none",
        low=0,
    )
    r1_every: int = setting(
        16, "steps between R1 penalties, each weighted that much more (Karras et al. 2020, section 3.1)", low=1
    )
    augment: tuple[str, ...] = setting(
        (),
        "differentiable augmentation of D's input, real and generated images alike (Zhao et al. 2020)",
        choices=AUGMENTATIONS,
    )
    shift: float = setting(0.25, "largest shift, as a fraction of the side", above=0, high=0.5)
    flip: float = setting(
        0.25, "fraction of mirrored images; at 0.5 nothing keeps G from mirroring every face", above=0, high=0.5
    )
    cutout: float = setting(0.5, "side of the grey square, as a fraction of the image's", above=0, high=0.75)
    adaptive: float = setting(
        0.0, "adaptive augmentation: target of r_t (0.6 in the ADA paper); 0: all images are augmented",
        low=0, below=1,
    )  # fmt: skip
    adaptive_images: int = setting(
        100_000,
        "adaptive augmentation: real images in which its fraction can move from 0 to 1; 500,000 in the paper",
        low=1,
    )
    ema: float = setting(
        0.0,
        "decay of the EMA of G's weights, with which images are generated; 0: no EMA",
        low=0,
        below=1,
    )
    precision: str = setting(
        "auto",
        "of the computation; auto tries each on a CPU when a run begins, and keeps the fastest",
        choices=("auto", "float32", "float32-winograd", "bfloat16", "bfloat16-winograd"),
    )
    sync_batch_norm: bool = setting(
        False, "under torchrun: batch statistics over the images of all processes, not of each"
    )
    seed: int = setting(0, "of everything random", low=0, high=2**32 - 1)

    def __post_init__(self) -> None:
        check_settings(self, "training")
        if self.adaptive and not self.augment:
            raise ConfigError(
                "training.adaptive needs something to adapt.", "For example training.augment=[color,shift]"
            )
        if self.r1 and self.precision.endswith("winograd"):
            raise ConfigError(
                "training.r1 needs gradients of gradients, which Winograd's convolutions do not have.",
                "Set training.precision to auto, float32 or bfloat16.",
            )


@dataclass(frozen=True)
class Output:
    """What a run writes while it trains."""

    sample_every: int = setting(100, "steps between sample grids (64 images from fixed z)", low=1)
    checkpoint_every: int = setting(250, "steps between checkpoints", low=1)

    def __post_init__(self) -> None:
        check_settings(self, "output")


@dataclass(frozen=True)
class Config:
    """One run."""

    recipe: str = ""  # in words, for the log
    data: Data = field(default_factory=Data)
    network: Network = field(default_factory=Network)
    training: Training = field(default_factory=Training)
    output: Output = field(default_factory=Output)

    def __post_init__(self) -> None:
        if self.network.kernel_px != 4 and self.training.precision.endswith("winograd"):
            raise ConfigError(
                f"training.precision={self.training.precision} is for kernels of 4 px.", "Leave network.kernel_px at 4."
            )


def load_config(name: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The run's settings in a YAML file, or in the shipped config of that name; `overrides` are `section.key=value`.

    Raises:
        ConfigError: as `facemorph.config.load`.
    """
    return config.load(name, overrides, Config)


def config_from_dict(values: Any, where: str = "config") -> Config:
    """The run's settings from plain values, as YAML or JSON gives them; `where` is for messages.

    Raises:
        ConfigError: as `facemorph.config.load`.
    """
    return config.from_dict(values, where, Config)
