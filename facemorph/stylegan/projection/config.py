"""The settings of a projection (terms, weights, schedules) and of an encoder's training, by name."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from facemorph import config
from facemorph.config import check_settings, setting
from facemorph.errors import ConfigError
from facemorph.weights.cards import cards

PRESETS = ("instant", "fast", "balanced", "best")
SMALL_PX = 256  # side of the largest network that the small presets are for
LOSSES = ("auto", "vgg16", "imagenet", "pixel")
OLD_LOSSES = {"perceptual": "auto"}  # names that files of before may hold


@dataclass(frozen=True)
class SearchConfig:
    """The latent space, the start, and how images are compared."""

    space: str = setting(
        "w+",
        "w: one latent for all layers, which mixes best; w+: one a layer, which resembles best",
        choices=("w", "w+"),
    )
    loss: str = setting(
        "auto",
        "vgg16: LPIPS; imagenet: features of EfficientNet-Lite0; pixel: neither; auto: vgg16 where its weights are "
        "here, otherwise imagenet",
        choices=LOSSES,
    )
    start: str = setting(
        "auto", "an encoder's guess, the nearest of some samples, or the mean; auto: encoder if there is one",
        choices=("auto", "encoder", "samples", "mean"),
    )  # fmt: skip
    samples: int = setting(64, "how many samples the nearest is chosen from", low=1, high=4096)
    size_px: int = setting(256, "images are compared at this side at most, in pixels", low=16, high=1024)
    background: float = setting(0.3, "weight of the surroundings of the face; 1: as much as the face", low=0, high=1)
    noise_maps: bool = setting(False, "optimise the layers' noise as well: nearer to the image, worse to edit")
    precision: str = setting("auto", "of VGG16; auto takes bfloat16 on CUDA", choices=("auto", "float32", "bfloat16"))
    batch_size: int = setting(0, "images at a time; 0: 1 on a CPU, on CUDA what fits into 8 GiB", low=0, high=256)

    def __post_init__(self) -> None:
        if self.loss in OLD_LOSSES:
            object.__setattr__(self, "loss", OLD_LOSSES[self.loss])
        check_settings(self, "search")


@dataclass(frozen=True)
class ProjectionTerms:
    """The weight of each term of the loss; 0 leaves it out."""

    lpips: float = setting(1.0, "LPIPS with VGG16", low=0, high=1e9)
    features: float = setting(1.0, "distance of ImageNet features, where they stand in for LPIPS", low=0, high=1e9)
    pixels: float = setting(1.0, "log-cosh of pixel differences, mean over a pyramid of sizes", low=0, high=1e9)
    ms_ssim: float = setting(0.1, "1 - structural similarity over several scales", low=0, high=1e9)
    prior: float = setting(0.002, "squared distance of the latent from the mean, 1 for a usual latent", low=0, high=1e9)
    noise: float = setting(
        1e3, "correlation within the optimised noise maps (Karras et al. 2020, appendix D)", low=0, high=1e9
    )
    identity: float = setting(0.0, "squared distance of dlib's face descriptors", low=0, high=1e9)

    def __post_init__(self) -> None:
        check_settings(self, "terms")
        if not self.pixels + self.ms_ssim:
            raise ConfigError("terms.pixels and terms.ms_ssim should not both be 0: a start is chosen by them.")


@dataclass(frozen=True)
class ScheduleConfig:
    """The course of the optimisation."""

    steps: int = setting(300, "steps of Adam; 0: the start as it is", low=0, high=100_000)
    learning_rate: float = setting(0.3, "at its height, as a fraction of the std of one number of w", low=1e-6, high=10)
    from_encoder: float = setting(
        0.33, "factor of the rate where an encoder's guess is the start, which is near", low=1e-6, high=1
    )
    ramp_up: float = setting(0.05, "fraction of the steps in which the learning rate rises", low=0, high=1)
    ramp_down: float = setting(0.4, "fraction in which it falls to 0 along a cosine", low=0, high=1)
    joined: float = setting(
        0.4, "w+: fraction of the steps in which all layers still share one latent; 0: an encoder's stay apart",
        low=0, high=1,
    )  # fmt: skip
    patience: int = setting(0, "steps without gain after which the fall begins early; 0 never", low=0, high=100_000)
    gain: float = setting(0.005, "fraction by which the loss must fall to count as a gain", low=0, high=1)

    def __post_init__(self) -> None:
        check_settings(self, "schedule")


@dataclass(frozen=True)
class TuningConfig:
    """Afterwards the generator itself may be tuned around the latent found (Roich et al. 2021, PTI)."""

    steps: int = setting(0, "0: the generator stays as it is", low=0, high=100_000)
    learning_rate: float = setting(3e-4, "as a fraction of each array's root mean square", low=1e-8, high=1)

    def __post_init__(self) -> None:
        check_settings(self, "tuning")


@dataclass(frozen=True)
class ProjectionConfig:
    """All of a projection."""

    recipe: str = ""  # in words, repeated in the report
    search: SearchConfig = field(default_factory=SearchConfig)
    terms: ProjectionTerms = field(default_factory=ProjectionTerms)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    tuning: TuningConfig = field(default_factory=TuningConfig)


def load_projection_config(
    name: str | Path = "balanced", overrides: Sequence[str] = (), network: str | Path = ""
) -> ProjectionConfig:
    """A preset by name, or a YAML file; `overrides` are `section.key=value`.

    Where the card `network` is of a small one (`SMALL_PX`), it is a preset of these (project-NAME-small.yaml): such
    networks are ours or a user's own, and have an encoder.

    Raises:
        ConfigError: as `facemorph.config.load`.
    """
    if name in PRESETS:
        card = cards().get(str(network))
        is_small = card is not None and card.resolution is not None and card.resolution <= SMALL_PX
        name = f"project-{name}-small" if is_small else f"project-{name}"
    return config.load(name, overrides, ProjectionConfig)


@dataclass(frozen=True)
class EncoderTerms:
    """The weight of each term of an encoder's loss; 0 leaves it out. Without their weights the last two are out."""

    latent: float = setting(1.0, "mean squared error of the latents, in units of their std", low=0, high=1e6)
    pixels: float = setting(1.0, "mean squared error of the images that they make", low=0, high=1e6)
    lpips: float = setting(0.5, "LPIPS of these images", low=0, high=1e6)
    identity: float = setting(
        0.1, "squared distance of dlib's descriptors, where an aligned face lies; from 128 px on", low=0, high=1e6
    )

    def __post_init__(self) -> None:
        check_settings(self, "terms")
        if not self.latent + self.pixels + self.lpips:
            raise ConfigError("terms.latent, terms.pixels and terms.lpips should not all be 0.")


@dataclass(frozen=True)
class EncoderTraining:
    """How an encoder is trained."""

    steps: int = setting(20_000, "training steps", low=1, high=10_000_000)
    batch_size: int = setting(16, "generated images a step", low=2, high=1024)
    learning_rate: float = setting(1e-3, "at its height; falls to 0 along a cosine", low=1e-7, high=1)
    width: int = setting(32, "channels of the encoder's first features", low=4, high=256)
    mixing: float = setting(0.3, "fraction of the samples whose upper layers come from another latent", low=0, high=1)
    pictures_every: int = setting(
        4, "steps between those that also compare images; these cost several times as much", low=1, high=1_000_000
    )
    checkpoint_every: int = setting(500, "steps between checkpoints", low=1, high=1_000_000)
    seed: int = setting(0, "of the samples and the first weights", low=0, high=2**32 - 1)

    def __post_init__(self) -> None:
        check_settings(self, "lesson")


@dataclass(frozen=True)
class EncoderConfig:
    """All of an encoder's training. The section is called `lesson` in files, as it always was."""

    recipe: str = ""  # in words, repeated beside the result
    terms: EncoderTerms = field(default_factory=EncoderTerms)
    lesson: EncoderTraining = field(default_factory=EncoderTraining)


def load_encoder_config(name: str | Path = "encoder", overrides: Sequence[str] = ()) -> EncoderConfig:
    """The settings in a YAML file, or in the shipped one of that name; `overrides` are `section.key=value`.

    Raises:
        ConfigError: as `facemorph.config.load`.
    """
    return config.load(name, overrides, EncoderConfig)
