"""YAML -> frozen dataclasses whose fields carry range, choices and meaning.

A settings class declares its fields with `setting` and calls `check_settings` when it is made, so that a wrong value is
refused from YAML, from `--set` and from Python alike. An unknown key names the nearest known one.
"""

import dataclasses
import difflib
import math
import operator
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from facemorph.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
# In an installed package the shipped configs lie inside it; in a checkout at the top.
SHIPPED = next((d for d in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if d.is_dir()), _PACKAGE / "configs")

# What other tools call our settings: a field's name, or what to say where there is no such field.
USUAL_NAMES = {
    "lr": "learning_rate", "learningrate": "learning_rate", "lr_g": "learning_rate", "lr_d": "learning_rate",
    "epochs": "steps", "n_epochs": "steps", "num_epochs": "steps", "iterations": "steps", "num_iterations": "steps",
    "niter": "steps", "max_steps": "steps", "num_steps": "steps", "kimg": "steps",
    "batch": "batch_size", "bs": "batch_size", "batchsize": "batch_size",
    "beta_1": "beta1", "betas": "beta1", "beta2": "It is fixed at 0.999.",
    "image_size": "size_px", "img_size": "size_px", "resolution": "size_px", "size": "size_px",
    "nz": "z_dim", "latent_dim": "z_dim", "latent_size": "z_dim", "ngf": "channels", "ndf": "channels",
    "ema_decay": "ema", "gamma": "r1", "r1_gamma": "r1", "label_smoothing": "real_label", "noise": "instance_noise",
    "dataset": "faces", "data_dir": "faces", "dataroot": "faces", "amp": "precision", "dtype": "precision",
    "lpips_weight": "lpips", "mse": "pixels", "l2": "pixels", "id": "identity", "optimizer": "It is Adam.",
}  # fmt: skip
EPOCHS = ("epochs", "n_epochs", "num_epochs")


@dataclass(frozen=True)
class Rule:
    """What a setting may be.

    Attributes:
        meaning: in words, for `--list-settings`.
        low, high: bounds, included; `above`, `below`: bounds, not included; None for no bound.
        choices: the words allowed; of a tuple, for each of its items.
    """

    meaning: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """The rule in words, such as "from 0 to 1"; empty where anything goes."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        low, high, above, below = (
            None if bound is None else f"{bound:.15g}" for bound in (self.low, self.high, self.above, self.below)
        )
        if low is not None and high is not None:
            return f"from {low} to {high}"
        lower = f"{low} or more" if low is not None else f"above {above}" if above is not None else ""
        upper = f"at most {high}" if high is not None else f"below {below}" if below is not None else ""
        if low is not None and below is not None:
            return f"from {low} to below {below}"
        if above is not None and below is not None:
            return f"between {above} and {below}"
        return ", ".join(part for part in (lower, upper) if part)

    def holds(self, value: object) -> bool:
        """Whether a value, or each item of a tuple, obeys the rule."""
        if isinstance(value, tuple):
            return all(map(self.holds, value))
        if self.choices:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (
            math.isfinite(value)
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


def setting(
    default: Any,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field of a settings class: its default, what it means, and what it may be (see `Rule`)."""
    return dataclasses.field(default=default, metadata={"rule": Rule(meaning, low, high, above, below, choices)})


def check_settings(section: Any, name: str) -> None:
    """Refuse what the fields of a settings object may not be; `name` is the section's, for messages.

    Raises:
        ConfigError: a value of the wrong kind, out of range, or none of the choices.
    """
    hints = typing.get_type_hints(type(section))
    for field in dataclasses.fields(section):
        rule, value, key = field.metadata.get("rule"), getattr(section, field.name), f"{name}.{field.name}"
        fitted = _fitted(hints[field.name], value, key)
        if type(fitted) is not type(value):  # 1 for 1.0, a list for a tuple
            object.__setattr__(section, field.name, fitted)
        if rule is not None and not rule.holds(fitted):
            shown = ", ".join(map(str, fitted)) if isinstance(fitted, tuple) else f"{fitted}"
            raise ConfigError(f"{key} should be {rule.allowed}, not {shown}.")


def check_number(name: str, value: float | None, low: float | None = None, high: float | None = None) -> None:
    """Raises ConfigError: no finite number, or not from `low` to `high`. None is what was not given."""
    rule = Rule(name, low, high)
    try:
        holds = value is None or (not isinstance(value, str) and rule.holds(float(value)))
    except (TypeError, ValueError):
        holds = False
    if not holds:
        raise ConfigError(f"{name} should be {rule.allowed or 'a finite number'}, not {value!r}.")


def check_whole(name: str, value: int | None, low: int, high: int) -> None:
    """Raises ConfigError: no whole number from `low` to `high`. None is what was not given."""
    try:
        holds = value is None or low <= operator.index(value) <= high
    except TypeError:
        holds = False
    if not holds:
        raise ConfigError(f"{name} should be a whole number from {low} to {high}, not {value!r}.")


def choices_of(kind: Any, name: str) -> tuple[str, ...]:
    """The choices of a field, for a command's option."""
    return next(field.metadata["rule"].choices for field in dataclasses.fields(kind) if field.name == name)


def list_settings(kind: Any, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Key, default, what is allowed, and meaning of every setting in a tree of settings classes."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        inner, rule = hints[field.name], field.metadata.get("rule")
        if dataclasses.is_dataclass(inner):
            yield from list_settings(inner, f"{prefix}{field.name}.")
        elif rule is not None:
            default = yaml.safe_dump(_as_yaml(field.default), default_flow_style=True).strip().removesuffix("\n...")
            kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
            allowed = rule.allowed or kinds.get(inner, "a list of words")
            yield f"{prefix}{field.name}", default or "''", allowed, rule.meaning


Kind = typing.TypeVar("Kind")


class _OnceEach(yaml.SafeLoader):
    """YAML in which a key may stand once: PyYAML would take the last silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        double = next((key for key in keys if keys.count(key) > 1), None)
        if double is not None:
            line = node.start_mark.line + 1
            raise ConfigError(f"the key {double} stands twice in the mapping that begins in line {line}")
        return super().construct_mapping(node, deep)


def load(name: str | Path, overrides: Sequence[str], kind: type[Kind]) -> Kind:
    """The settings in a YAML file, or in the shipped config of that name; `overrides` are `section.key=value`.

    Args:
        kind: the dataclass of sections that the file fills.

    Raises:
        ConfigError: no such file, not YAML, a key that is unknown or stands twice, or a value of the wrong kind or
            out of range.
    """
    path = find(name, kind)
    try:
        text = path.read_text(encoding="utf-8")
        values = _as_written(kind, yaml.load(text, _OnceEach), yaml.load(text, yaml.BaseLoader))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.problem}.", "Join the two, or delete one.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}.", "See the shipped configs for the form.") from None
    if values is None:
        values = {}
    given: dict[str, str] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        section, dot, name_in_section = key.strip().partition(".")
        if given.setdefault(key.strip(), text) != text:
            raise ConfigError(f"{key.strip()} is set twice, to {given[key.strip()]} and to {text}.", "Leave one out.")
        if not equals or not dot or not isinstance(values, dict):
            raise ConfigError(
                f"--set {override} is not of the form section.key=value.", "For example training.steps=500."
            )
        before = values.get(section) or {}
        if not isinstance(before, dict):
            raise ConfigError(f"{path}: {section} should be keys with values, not {before!r}.")
        try:
            value, written = yaml.load(text, _OnceEach), yaml.load(text, yaml.BaseLoader)
        except yaml.YAMLError:
            raise ConfigError(f"--set {override} has a value that is not YAML.", "Put it in quotes.") from None
        parsed = _as_written(kind, {section: {name_in_section: value}}, {section: {name_in_section: written}})
        values = {**values, section: {**before, **parsed[section]}}
    return from_dict(values, str(path), kind)


def _as_written(kind: Any, values: Any, written: Any) -> Any:
    """Words as they stand in the file: YAML takes a person called 007 for 7, and one called no for false.

    Args:
        kind: of `values`: a dataclass, or a field's type.
        values, written: the same YAML, with its types and as text alone.
    """
    if dataclasses.is_dataclass(kind) and isinstance(values, dict):
        hints = typing.get_type_hints(kind)
        if len(values) != len(written):  # a merge of YAML's (<<), which is no plain text
            return values
        pairs = zip(values.items(), written.values(), strict=True)
        return {key: _as_written(hints.get(key), value, text) for (key, value), text in pairs}
    if isinstance(kind, types.GenericAlias) and values is not None:  # tuple[str, ...]
        items, texts = (value if isinstance(value, list) else [value] for value in (values, written))
        return [t if isinstance(t, str) else v for v, t in zip(items, texts, strict=True)]
    return values


def find(name: str | Path, kind: type) -> Path:
    """The path `name` if it exists, otherwise the shipped config of that name (with or without `.yaml`).

    Raises ConfigError, which names the shipped ones whose sections `kind` has.
    """
    path = Path(name)
    if path.is_file():
        return path
    for candidate in (SHIPPED / path.name, SHIPPED / f"{path.name}.yaml"):
        if len(path.parts) == 1 and candidate.is_file():
            return candidate
    files = sorted(SHIPPED.glob("*.yaml"))
    fitting = [path.name for path in files if _has_keys(kind, yaml.safe_load(path.read_text(encoding="utf-8")))]
    shipped = ", ".join(fitting)
    raise ConfigError(f"No such config: {name}.", f"Give a path, or one of the shipped: {shipped}.")


def _has_keys(kind: Any, values: Any) -> bool:
    """Whether a settings class has all keys of some plain values, in all sections."""
    if not dataclasses.is_dataclass(kind) or not isinstance(values, dict):
        return True
    hints = typing.get_type_hints(kind)
    return all(key in hints and _has_keys(hints[key], value) for key, value in values.items())


def from_dict(values: Any, where: str, kind: type[Kind]) -> Kind:
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
        key: {k: _as_yaml(v) for k, v in value.items()} if isinstance(value, dict) else value
        for key, value in dataclasses.asdict(config).items()
    }


def _as_yaml(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _build(kind: Any, values: Any, where: str, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: {prefix.rstrip('.') or 'the file'} should be keys with values, not {values!r}.")
    fields = [field.name for field in dataclasses.fields(kind)]
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in fields:
            raise _unknown(str(key), fields, where, prefix)
    try:
        return kind(**{key: _value(hints[key], value, where, f"{prefix}{key}") for key, value in values.items()})
    except ConfigError as error:
        if error.problem.startswith(where):
            raise
        raise ConfigError(f"{where}: {error.problem}", error.hint) from None


def _unknown(key: str, fields: list[str], where: str, prefix: str) -> ConfigError:
    usual = USUAL_NAMES.get(key.lower(), "")
    near = [usual] if usual in fields else difflib.get_close_matches(key, fields, 1, 0.5)
    problem = f"{where}: unknown key {prefix}{key}."
    if usual and " " in usual and prefix:
        problem += f" {usual}"
    elif near:
        problem += f" Did you mean {prefix}{near[0]}?"
        if key in EPOCHS:
            problem += " An epoch is as many steps as there are faces over training.batch_size."
    return ConfigError(problem, f"Known: {', '.join(fields)}. --list-settings says what they mean.")


def _value(kind: Any, value: Any, where: str, key: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(kind, {} if value is None else value, where, f"{key}.")
    try:
        return _fitted(kind, value, key)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.problem}", error.hint) from None


def _fitted(kind: Any, value: Any, key: str) -> Any:
    """A value as a field of this kind holds it. Raises ConfigError where it is of another kind."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, kind):
            return value
        raise ConfigError(f"{key} should be a {kind.__name__}, not {value!r}.")
    if isinstance(kind, types.GenericAlias):  # tuple[str, ...]
        items = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
        return tuple(_fitted(str, item, key) for item in items)
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:  # YAML 1.1 reads 2e-4 as a string
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    elif isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    expected = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}[kind]
    raise ConfigError(f"{key} should be {expected}, not {value!r}.")
