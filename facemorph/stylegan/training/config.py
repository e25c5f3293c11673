"""The settings of a run of `train-generator`: which faces, which networks, how they are trained, what is written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facemorph import config
from facemorph.config import check_settings, setting
from facemorph.errors import ConfigError
from facemorph.run_folder import STYLEGAN

LOSSES = ("hinge", "logistic")  # the table of functions is in step.py, which loads torch
JUDGES = ("imagenet", "face", "pixels")  # likewise, in judges.py


@dataclass(frozen=True)
class Data:
    """Which faces are trained on."""

    faces: tuple[str, ...] = setting(
        ("faces",), "folders of a person each, or of such folders, as `align` makes them; or packs (.pack, .npy)"
    )
    crop: str = setting(
        "auto",
        "the crop of the faces; auto reads it from the manifests of `align`, which packs do not have",
        choices=("auto", "eyes", "ffhq", "paper"),
    )
    held_out: tuple[str, ...] = setting((), "folders or packs of faces for the figures, which are not trained on")
    hold_out: float = setting(
        0.05, "share of the faces that is held out if held_out names none; of 20 people or more, whole people", low=0,
        high=0.5,
    )  # fmt: skip
    limit: int = setting(0, "at most this many faces, chosen by the seed; 0 takes all", low=0)

    def __post_init__(self) -> None:
        check_settings(self, "data")
        if not self.faces:
            raise ConfigError("data.faces should be at least one folder or pack.", "For example data.faces=[faces]")


@dataclass(frozen=True)
class Network:
    """The generator (Karras et al. 2020, design skip) and its encoder. With `--from` only the encoder's part counts."""

    size_px: int = setting(128, "side of the images in pixels, a power of two", low=8, high=1024)
    channel_base: int = setting(8192, "channels at a side of s px are this over s, at most channel_max", low=64)
    channel_max: int = setting(256, "most channels", low=4, high=1024)
    w_size: int = setting(256, "numbers in z and in w", low=4, high=1024)
    mapping_layers: int = setting(4, "layers from z to w", low=1, high=16)
    encoder_width: int = setting(32, "channels of the encoder's first features", low=4, high=128)
    encoder_hidden: int = setting(512, "numbers that the encoder's heads share", low=8, high=4096)
    grow_to_px: int = setting(
        0, "with --from: layers are added up to images of this side, which may then have another crop; 0: none", low=0,
        high=1024,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_settings(self, "network")
        for name, side in (("size_px", self.size_px), ("grow_to_px", self.grow_to_px)):
            if side & (side - 1):
                raise ConfigError(f"network.{name} should be a power of two from 8 to 1024, not {side}.")

    @property
    def channels(self) -> tuple[int, ...]:
        """Feature maps at 4, 8, ... size_px."""
        return self.channels_up_to(self.size_px)

    def channels_up_to(self, size_px: int) -> tuple[int, ...]:
        """Feature maps at 4, 8, ... size_px."""
        sides = [4 << level for level in range(int(math.log2(size_px)) - 1)]
        return tuple(max(1, min(self.channel_max, self.channel_base // side)) for side in sides)


@dataclass(frozen=True)
class Judging:
    """The judges: small discriminators over fixed random projections of two frozen networks, and over pixels."""

    judges: tuple[str, ...] = setting(
        JUDGES, "who judges: imagenet (EfficientNet-Lite0), face (dlib's descriptor network), pixels", choices=JUDGES
    )
    imagenet_px: int = setting(224, "side of the images that EfficientNet-Lite0 is given", low=32, high=448)
    face_px: int = setting(150, "side of the face that dlib's network is given", low=104, high=300)
    projected: int = setting(64, "channels of each projection", low=4, high=256)
    width: int = setting(64, "channels of the discriminators over features", low=4, high=256)
    pixels_width: int = setting(48, "first channels of the discriminator over pixels", low=4, high=256)

    def __post_init__(self) -> None:
        check_settings(self, "judging")


@dataclass(frozen=True)
class Terms:
    """What the generator and the encoder minimise, each with its weight."""

    judges: float = setting(1.0, "that the judges take generated and reconstructed faces for real; 0: no judges", low=0)
    judges_rebuilt: float = setting(
        0.1, "how much the judges count on reconstructed faces, of what they count on generated ones", low=0
    )
    pixels: float = setting(4.0, "squared difference of pixels, reconstructed to real", low=0)
    features: float = setting(1.0, "difference of EfficientNet-Lite0's features, reconstructed to real", low=0)
    identity: float = setting(1.0, "difference of dlib's face features, reconstructed to real", low=0)
    descriptor: float = setting(0.0, "squared distance of dlib's descriptors, reconstructed to real", low=0)
    latent: float = setting(0.0, "error of the encoder on the latents of generated faces", low=0)
    far: float = setting(0.02, "squared distance of the encoder's latents from the mean", low=0)
    stray: float = setting(0.02, "squared difference between the layers of the encoder's latents", low=0)

    def __post_init__(self) -> None:
        check_settings(self, "terms")
        if not (self.judges or self.pixels or self.features or self.identity or self.descriptor):
            raise ConfigError("terms needs judges, pixels, features, identity or descriptor above 0.")


@dataclass(frozen=True)
class Training:
    """How the networks are trained."""

    steps: int = setting(12_000, "training steps in total; a finished run may be continued with more", low=1)
    seconds: float = setting(
        0.0, "end after this many seconds of training, and let the learning rate fall by time; 0: by steps alone", low=0
    )
    batch_size: int = setting(64, "images per step, half of them generated, half reconstructed", low=4)
    alone: float = setting(
        0.45, "share of the run in which the generator learns alone, before the encoder; with --from 0 unless it grows",
        low=0, high=1,
    )  # fmt: skip
    g_rate: float = setting(1.5e-3, "learning rate of the generator", above=0, below=1)
    d_rate: float = setting(1.5e-3, "learning rate of the judges", above=0, below=1)
    e_rate: float = setting(7e-4, "learning rate of the encoder", above=0, below=1)
    warm_up: int = setting(150, "steps in which the learning rates rise", low=1)
    decay_from: float = setting(
        0.55, "share of the run after which the learning rates fall, to a fiftieth", low=0, high=1
    )
    loss: str = setting("hinge", "of judges and generator; hinge: Lim and Ye 2017", choices=LOSSES)
    mixing: float = setting(0.5, "fraction of generated faces with two latents (Karras et al. 2019)", low=0, high=1)
    augment: bool = setting(True, "what the judges see is changed: colour, shift, cutout (Zhao et al. 2020)")
    mirror: bool = setting(True, "half of the real faces are mirrored")
    soften: float = setting(
        0.35, "fraction of faces that the encoder sees as if enlarged from smaller pictures", low=0, high=1
    )
    frozen_norm: bool = setting(False, "the encoder's batch statistics stay as they are: for small batches")
    ema_images: int = setting(15_000, "images in which half of an EMA is forgotten", low=1)
    precision: str = setting(
        "auto",
        "of the computation; auto takes bfloat16 where the device has units for it",
        choices=("auto", "float32", "bfloat16"),
    )
    seed: int = setting(0, "of everything random", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        check_settings(self, "training")
        if self.batch_size % 2:
            raise ConfigError(f"training.batch_size should be even, not {self.batch_size}.")


@dataclass(frozen=True)
class Output:
    """What a run writes while it trains."""

    sample_every: int = setting(
        500, "steps between grids (64 generated faces; 16 reconstructed beside the real ones)", low=1
    )
    figures_every: int = setting(
        1000, "steps between figures (Frechet distances, reconstructions of held-out faces)", low=1
    )
    figure_images: int = setting(1000, "generated and real faces that figures compare, at most", low=16, high=50_000)
    checkpoint_every: int = setting(500, "steps between checkpoints", low=1)

    def __post_init__(self) -> None:
        check_settings(self, "output")


@dataclass(frozen=True)
class Config:
    """One run."""

    kind: str = STYLEGAN  # tells the run folder from a DCGAN's
    recipe: str = ""  # in words, for the log
    start: str = ""  # what --from named; filled in by the command
    data: Data = field(default_factory=Data)
    network: Network = field(default_factory=Network)
    judging: Judging = field(default_factory=Judging)
    terms: Terms = field(default_factory=Terms)
    training: Training = field(default_factory=Training)
    output: Output = field(default_factory=Output)

    def __post_init__(self) -> None:
        if self.kind != STYLEGAN:
            raise ConfigError(f"kind should be {STYLEGAN}, not {self.kind!r}.", "Is it a config of another command?")
        if self.terms.judges and not self.judging.judges:
            raise ConfigError("judging.judges is empty.", "Name some, or --set terms.judges=0")

    @property
    def uses_imagenet(self) -> bool:
        """Whether EfficientNet-Lite0 takes part in a step."""
        return bool(self.terms.features or (self.terms.judges and "imagenet" in self.judging.judges))

    @property
    def uses_face(self) -> bool:
        """Whether dlib's network takes part in a step."""
        terms = self.terms
        return bool(terms.identity or terms.descriptor or (terms.judges and "face" in self.judging.judges))


def load_config(name: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The settings in a YAML file, or in the shipped config of that name; `overrides` are `section.key=value`.

    Raises:
        ConfigError: as `facemorph.config.load`.
    """
    return config.load(name, overrides, Config)


def config_from_dict(values: Any, where: str = "config") -> Config:
    """The settings from plain values, as YAML or JSON gives them; `where` is for messages.

    Raises:
        ConfigError: as `facemorph.config.load`.
    """
    return config.from_dict(values, where, Config)
