"""YAML -> frozen dataclasses. An unknown key names the nearest known; all is checked before anything slow starts."""

import dataclasses
import difflib
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from facemorph.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
# In an installed package the shipped configs lie inside it; in a checkout at the top.
SHIPPED = next((d for d in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if d.is_dir()), _PACKAGE / "configs")


@dataclass(frozen=True)
class Data:
    """Which faces are learnt."""

    faces: tuple[str, ...] = ("faces",)  # folders of a person each, or a folder of such folders
    persons: tuple[str, ...] = ()  # only these; all of them when empty
    limit: int = 0  # at most so many faces a person, chosen by the seed; 0 takes all

    def check(self) -> None:
        _require(bool(self.faces), "data.faces", "at least one folder", self.faces)
        _require(self.limit >= 0, "data.limit", "0 (all) or more", self.limit)


@dataclass(frozen=True)
class Network:
    """The two networks (Radford et al. 2016; 2018 paper, figure 4)."""

    size_px: int = 64
    z_dim: int = 100
    z: str = "uniform"  # in -1..1, as TensorFlow DCGAN; or uniform01, or normal
    channels: int = 64  # of the widest layers; doubled at each halving of the side
    kernel_px: int = 4  # 5 as in TensorFlow DCGAN
    first_layer: str = "conv"  # of G, and the last of D: "dense" as in TensorFlow DCGAN
    d_norm: str = "batch"  # in D; or spectral (Miyato et al. 2018), or none
    conditional: bool = False  # both networks are told the person, so that the mix can be chosen

    def check(self) -> None:
        good = self.size_px >= 16 and self.size_px & (self.size_px - 1) == 0 and self.size_px <= 512
        _require(good, "network.size_px", "a power of two from 16 to 512", self.size_px)
        _require(self.z_dim >= 1, "network.z_dim", "1 or more", self.z_dim)
        _choice(self.z, "network.z", ("uniform", "uniform01", "normal"))
        _require(self.channels >= 4, "network.channels", "4 or more", self.channels)
        _require(self.kernel_px in (4, 5), "network.kernel_px", "4 or 5", self.kernel_px)
        _choice(self.first_layer, "network.first_layer", ("conv", "dense"))
        _choice(self.d_norm, "network.d_norm", ("batch", "spectral", "none"))


@dataclass(frozen=True)
class Training:
    """How they learn."""

    steps: int = 1500
    batch_size: int = 64
    learning_rate: float = 2e-4
    beta1: float = 0.5
    generator_steps: int = 1  # for each step of D; TensorFlow DCGAN takes 2 "so that d-loss does not go to zero"
    real_label: float = 1.0  # below 1 is one-sided label smoothing, and puts a floor under d-loss
    instance_noise: float = 0.0  # standard deviation on what D sees at the start; falls to 0 at the end
    loss: str = "cross-entropy"  # or hinge (Lim and Ye 2017); the log says cross-entropy for both
    r1: float = 0.0  # weight of D's squared gradient at real pictures (Mescheder et al. 2018); wants d_norm none
    r1_every: int = 16  # steps between penalties, each so many times as heavy (Karras et al. 2020, section 3.1)
    augment: tuple[str, ...] = ()  # of color, shift, flip, cutout: on both real and fake pictures before D
    shift: float = 0.25  # largest shift, as a share of the side
    flip: float = 0.25  # share of mirrored pictures; at 0.5 nothing tells G which way round its faces should be
    cutout: float = 0.5  # side of the square cut out, as a share of the picture's
    adaptive: float = (
        0.0  # target of ADA's r_t, 0.6 in its paper, by which the share of augmented pictures moves; 0: all
    )
    adaptive_images: int = 100_000  # real pictures seen while that share moves from 0 to 1; 500,000 in ADA's paper
    ema: float = 0.0  # share that the averaged generator keeps at each step; 0 draws with the last weights
    precision: str = "auto"  # or float32, bfloat16; what auto takes: see dcgan/precision.py
    sync_batch_norm: bool = False  # under torchrun: batch statistics over all processes' pictures
    seed: int = 0

    def check(self) -> None:
        _require(self.steps >= 1, "training.steps", "1 or more", self.steps)
        _require(self.batch_size >= 2, "training.batch_size", "2 or more (batch norm)", self.batch_size)
        _require(0 < self.learning_rate < 1, "training.learning_rate", "between 0 and 1", self.learning_rate)
        _require(0 <= self.beta1 < 1, "training.beta1", "from 0 to below 1", self.beta1)
        _require(1 <= self.generator_steps <= 10, "training.generator_steps", "from 1 to 10", self.generator_steps)
        _require(0.5 < self.real_label <= 1, "training.real_label", "above 0.5, at most 1", self.real_label)
        _require(self.instance_noise >= 0, "training.instance_noise", "0 or more", self.instance_noise)
        _choice(self.loss, "training.loss", ("cross-entropy", "hinge"))
        _require(self.r1 >= 0, "training.r1", "0 or more", self.r1)
        _require(self.r1_every >= 1, "training.r1_every", "1 or more", self.r1_every)
        for name in self.augment:
            _choice(name, "training.augment", ("color", "shift", "flip", "cutout"))
        _require(0 < self.shift <= 0.5, "training.shift", "above 0, at most 0.5", self.shift)
        _require(0 < self.flip <= 0.5, "training.flip", "above 0, at most 0.5", self.flip)
        _require(0 < self.cutout <= 0.75, "training.cutout", "above 0, at most 0.75", self.cutout)
        _require(0 <= self.adaptive < 1, "training.adaptive", "from 0 (off) to below 1", self.adaptive)
        _require(self.adaptive_images >= 1, "training.adaptive_images", "1 or more", self.adaptive_images)
        if self.adaptive and not self.augment:
            raise ConfigError("training.adaptive needs something to adapt.", "Name it in training.augment.")
        _require(0 <= self.ema < 1, "training.ema", "from 0 to below 1", self.ema)
        _choice(self.precision, "training.precision", ("auto", "float32", "bfloat16"))
        _require(self.seed >= 0, "training.seed", "0 or more", self.seed)


@dataclass(frozen=True)
class Output:
    """What a run leaves behind on its way."""

    sample_every: int = 100  # steps between grids of 64 from fixed z
    checkpoint_every: int = 250  # steps between checkpoints

    def check(self) -> None:
        _require(self.sample_every >= 1, "output.sample_every", "1 or more", self.sample_every)
        _require(self.checkpoint_every >= 1, "output.checkpoint_every", "1 or more", self.checkpoint_every)


@dataclass(frozen=True)
class Config:
    """One experiment."""

    recipe: str = ""  # in words, repeated by the run
    data: Data = field(default_factory=Data)
    network: Network = field(default_factory=Network)
    training: Training = field(default_factory=Training)
    output: Output = field(default_factory=Output)


Kind = typing.TypeVar("Kind")


def load(name: str | Path, overrides: typing.Sequence[str] = (), kind: type[Kind] = Config) -> Kind:
    """The experiment in a YAML file, or in the shipped config of that name; `overrides` are `section.key=value`.

    `kind` is the dataclass of sections that the file fills: `Config`, or a part of the package's own.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, or a value of the wrong kind or out of range.
    """
    path = find(name)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}.", "See the shipped configs for the form.") from None
    if values is None:
        values = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        section, dot, name_in_section = key.strip().partition(".")
        if not equals or not dot or not isinstance(values, dict):
            raise ConfigError(
                f"--set {override} is not of the form section.key=value.", "For example training.steps=500."
            )
        values = {**values, section: {**(values.get(section) or {}), name_in_section: yaml.safe_load(text)}}
    return from_dict(values, str(path), kind)


def find(name: str | Path) -> Path:
    """The path `name` if it exists, otherwise the shipped config of that name (with or without `.yaml`)."""
    path = Path(name)
    if path.is_file():
        return path
    for candidate in (SHIPPED / path.name, SHIPPED / f"{path.name}.yaml"):
        if len(path.parts) == 1 and candidate.is_file():
            return candidate
    shipped = ", ".join(sorted(p.name for p in SHIPPED.glob("*.yaml")))
    raise ConfigError(f"No such config: {name}.", f"Give a path, or one of the shipped: {shipped}.")


def from_dict(values: Any, where: str = "config", kind: type[Kind] = Config) -> Kind:
    """A checked `kind` from plain values, as YAML or JSON gives them.

    Raises:
        ConfigError: as `load`.
    """
    return _build(kind, values, where, "")


def to_yaml(config: Any) -> str:
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)


def plain(config: Any) -> dict[str, Any]:
    """The config as YAML would give it: lists, no tuples."""
    return {
        key: {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()} if isinstance(value, dict) else value
        for key, value in dataclasses.asdict(config).items()
    }


def _build(kind: Any, values: Any, where: str, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: {prefix or 'the file'} should be keys with values, not {values!r}.")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1, 0.5)
            raise ConfigError(
                f"{where}: unknown key {prefix}{key}." + (f" Did you mean {prefix}{near[0]}?" if near else ""),
                f"Known: {', '.join(fields)}.",
            )
    built = kind(**{key: _value(hints[key], value, where, f"{prefix}{key}") for key, value in values.items()})
    if hasattr(built, "check"):
        try:
            built.check()
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.problem}", error.hint) from None
    return built


def _value(kind: Any, value: Any, where: str, key: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(kind, {} if value is None else value, where, f"{key}.")
    if isinstance(kind, types.GenericAlias):  # tuple[str, ...]
        items = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
        return tuple(_value(str, item, where, key) for item in items)
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:  # YAML 1.1 reads 2e-4 as a string
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    wanted = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}[kind]
    raise ConfigError(f"{where}: {key} should be {wanted}, not {value!r}.")


def _require(good: bool, key: str, wanted: str, value: object) -> None:
    if not good:
        raise ConfigError(f"{key} should be {wanted}, not {value}.")


def _choice(value: str, key: str, choices: tuple[str, ...]) -> None:
    _require(value in choices, key, "one of " + ", ".join(choices), value)
