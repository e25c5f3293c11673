"""How an encoder is taught, by name."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facemorph import config
from facemorph.errors import ConfigError


@dataclass(frozen=True)
class Terms:
    """What each term of the loss weighs; 0 leaves it out. The last two need weights, and are left out without them."""

    latent: float = 1.0  # mean squared error of the latents, in units of their deviation
    pixels: float = 1.0  # mean squared error of the pictures that they make
    lpips: float = 0.5
    identity: float = 0.1  # squared distance of dlib's descriptors, where an aligned face lies; from 128 px on

    def check(self) -> None:
        for name in ("latent", "pixels", "lpips", "identity"):
            _range(f"terms.{name}", getattr(self, name), 0, 1e6)
        if not self.latent + self.pixels + self.lpips:
            raise ConfigError("terms.latent, terms.pixels and terms.lpips should not all be 0.")


@dataclass(frozen=True)
class Lesson:
    """How it goes on."""

    steps: int = 20_000
    batch_size: int = 16
    learning_rate: float = 1e-3  # at its height; falls to 0 along a cosine
    width: int = 32  # channels of the encoder's first features
    mixing: float = 0.3  # share of the samples whose upper layers come from another latent
    pictures_every: int = 4  # steps between those that also compare pictures, which cost several times as much
    checkpoint_every: int = 500
    seed: int = 0

    def check(self) -> None:
        _range("lesson.steps", self.steps, 1, 10_000_000)
        _range("lesson.batch_size", self.batch_size, 2, 1024)
        _range("lesson.learning_rate", self.learning_rate, 1e-7, 1)
        _range("lesson.width", self.width, 4, 256)
        _range("lesson.mixing", self.mixing, 0, 1)
        _range("lesson.pictures_every", self.pictures_every, 1, 1_000_000)
        _range("lesson.checkpoint_every", self.checkpoint_every, 1, 1_000_000)
        _range("lesson.seed", self.seed, 0, 2**32 - 1)


@dataclass(frozen=True)
class Teaching:
    """All of it."""

    recipe: str = ""  # in words, repeated beside the result
    terms: Terms = field(default_factory=Terms)
    lesson: Lesson = field(default_factory=Lesson)


def load_teaching(name: str | Path = "encoder", overrides: Sequence[str] = ()) -> Teaching:
    """The settings in a YAML file, or in the shipped one of that name; `overrides` are `section.key=value`.

    Raises:
        ConfigError: no such file, an unknown key, or a value of the wrong kind or out of range.
    """
    return config.load(name, overrides, Teaching)


def _range(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{key} should be from {low:g} to {high:g}, not {value:g}.")
