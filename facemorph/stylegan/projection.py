"""How a picture is searched for in a generator's latent space: terms, weights and schedules, by name."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facemorph import config
from facemorph.errors import ConfigError

PRESETS = ("fast", "balanced", "best")
SPACES, LOSSES, STARTS, PRECISIONS = (
    ("w", "w+"),
    ("perceptual", "pixel"),
    ("auto", "encoder", "samples", "mean"),
    ("auto", "float32", "bfloat16"),
)


@dataclass(frozen=True)
class Search:
    """Where it is looked for, from where on, and how pictures are compared."""

    space: str = "w+"  # w: one latent for all layers, which mixes best; w+: one a layer, which resembles best
    loss: str = "perceptual"  # pixel leaves LPIPS out, and needs no weights of VGG16
    start: str = "auto"  # an encoder's guess, the nearest of some samples, the mean; auto: encoder if there is one
    samples: int = 64  # how many are looked at for the nearest
    size_px: int = 256  # pictures are compared at this side at most
    background: float = 0.3  # how much what lies outside the face counts; 1 as much as the face
    noise_maps: bool = False  # optimise the layers' noise as well: nearer to the picture, worse to edit
    precision: str = "auto"  # of VGG16: float32, bfloat16; auto takes bfloat16 on CUDA
    batch_size: int = 0  # pictures at a time; 0: 1 on a processor, on CUDA what fits into 8 GiB

    def check(self) -> None:
        _choice("search.space", self.space, SPACES)
        _choice("search.loss", self.loss, LOSSES)
        _choice("search.start", self.start, STARTS)
        _choice("search.precision", self.precision, PRECISIONS)
        _range("search.samples", self.samples, 1, 4096)
        _range("search.size_px", self.size_px, 16, 1024)
        _range("search.background", self.background, 0, 1)
        _range("search.batch_size", self.batch_size, 0, 256)


@dataclass(frozen=True)
class Terms:
    """What each term of the loss weighs; 0 leaves it out."""

    lpips: float = 1.0  # perceptual distance (VGG16)
    pixels: float = 1.0  # log-cosh of pixel differences, mean over a pyramid of sizes
    ms_ssim: float = 0.1  # 1 - structural similarity over several scales
    prior: float = 0.002  # squared distance of the latent from the mean, 1 for a usual latent
    noise: float = 1e3  # correlation within the optimised noise maps (Karras et al. 2020, appendix D)
    identity: float = 0.0  # squared distance of dlib's face descriptors

    def check(self) -> None:
        for name in ("lpips", "pixels", "ms_ssim", "prior", "noise", "identity"):
            _range(f"terms.{name}", getattr(self, name), 0, 1e9)
        if not self.pixels + self.ms_ssim:
            raise ConfigError("terms.pixels and terms.ms_ssim should not both be 0: a start is chosen by them.")


@dataclass(frozen=True)
class Schedule:
    """How the search goes on."""

    steps: int = 300
    learning_rate: float = 0.3  # at its height, as a share of the deviation of one number of w
    from_encoder: float = 0.33  # times that, where an encoder's guess is the start: it is near already
    ramp_up: float = 0.05  # share of the steps in which the learning rate rises
    ramp_down: float = 0.4  # share in which it falls to 0 along a cosine
    joined: float = 0.4  # w+: share of the steps in which all layers still share one latent; 0: an encoder's stay apart
    patience: int = 0  # steps without gain after which the fall begins early; 0 never
    gain: float = 0.005  # share by which the loss must fall to count as a gain

    def check(self) -> None:
        _range("schedule.steps", self.steps, 1, 100_000)
        _range("schedule.learning_rate", self.learning_rate, 1e-6, 10)
        _range("schedule.from_encoder", self.from_encoder, 1e-6, 1)
        _range("schedule.ramp_up", self.ramp_up, 0, 1)
        _range("schedule.ramp_down", self.ramp_down, 0, 1)
        _range("schedule.joined", self.joined, 0, 1)
        _range("schedule.patience", self.patience, 0, 100_000)
        _range("schedule.gain", self.gain, 0, 1)


@dataclass(frozen=True)
class Tuning:
    """Afterwards the generator itself may give way around the latent found (Roich et al. 2021, PTI)."""

    steps: int = 0  # 0: the generator stays as it is
    learning_rate: float = 3e-4

    def check(self) -> None:
        _range("tuning.steps", self.steps, 0, 100_000)
        _range("tuning.learning_rate", self.learning_rate, 1e-8, 1)


@dataclass(frozen=True)
class Projection:
    """All of it."""

    recipe: str = ""  # in words, repeated in the report
    search: Search = field(default_factory=Search)
    terms: Terms = field(default_factory=Terms)
    schedule: Schedule = field(default_factory=Schedule)
    tuning: Tuning = field(default_factory=Tuning)


def load_projection(name: str | Path = "balanced", overrides: Sequence[str] = ()) -> Projection:
    """A preset by name, or a YAML file; `overrides` are `section.key=value`.

    Raises:
        ConfigError: no such preset or file, an unknown key, or a value of the wrong kind or out of range.
    """
    return config.load(f"project-{name}" if name in PRESETS else name, overrides, Projection)


def _range(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{key} should be from {low:g} to {high:g}, not {value:g}.")


def _choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{key} should be one of {', '.join(choices)}, not {value}.")
