"""The arrays and settings of a published file, checked when a converter reads them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from facemorph.errors import RefusedFile
from facemorph.stylegan.formats.pickle_machine import Budget
from facemorph.stylegan.formats.stubs import Array

SLOPES = {"lrelu": 0.2, "relu": 0.0}  # in the published code both have a gain of sqrt(2)
AVERAGE_SAMPLES = 4096
MAX_MAPPING_WEIGHTS = 1 << 25  # the largest published one has 1 << 21


class WeightSource:
    """Arrays by the names in the file. Copies use up the budget: arrays that share data could expand to much more."""

    def __init__(self, arrays: Mapping[str, Any], budget: Budget) -> None:
        self.arrays = {name: value for name, value in arrays.items() if isinstance(value, Array)}
        self.budget = budget
        self.used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def shape(self, name: str) -> tuple[int, ...]:
        return self._find(name).shape

    def refuse_unused(self, *spare: str) -> None:
        """Raises RefusedFile where an array, but for those whose name ends in one of `spare`, was not read.

        A network with more layers than its format has would draw something else without them.
        """
        unused = sorted(name for name in self.arrays.keys() - self.used if not name.endswith(spare))
        if unused:
            more = f" and {len(unused) - 1} more arrays" if unused[1:] else ""
            raise RefusedFile(f"it holds {unused[0][:100]!r}{more}, which no generator of this kind has")

    def array(self, name: str) -> np.ndarray:
        """A copy as float32, native and contiguous."""
        stored = self._find(name)
        self.budget.spend(num_bytes=max(stored.num_bytes, 4))
        return stored.numpy().astype(np.float32, copy=False)

    def scalar(self, name: str) -> np.ndarray:
        """A single number, stored with or without dimensions: float32 []."""
        values = self.array(name)
        if values.size != 1:
            raise RefusedFile(f"its {name[:100]} is of shape {values.shape}; a single number was expected")
        return values.reshape(())

    def plane(self, name: str) -> np.ndarray:
        """An image of one channel, stored with any leading dimensions of size 1: float32 [H, W]."""
        values = self.array(name)
        if values.ndim < 2 or values.size != values.shape[-1] * values.shape[-2]:
            raise RefusedFile(f"its {name[:100]} is of shape {values.shape}; [H, W] was expected")
        return values.reshape(values.shape[-2:])

    def _find(self, name: str) -> Array:
        if name not in self.arrays:
            raise RefusedFile(f"its array {name[:100]!r} is missing")
        self.used.add(name)
        return self.arrays[name]


def number(settings: Mapping[str, Any], key: str, default: float | None) -> Any:
    """A number in a file's settings, also as a numpy scalar; None where the file has None."""
    value = settings.get(key, default)
    if isinstance(value, Array):
        value = value.numpy().item() if value.shape == () else value
    if value is None or (isinstance(value, int | float) and abs(value) < 1e9):
        return value
    raise RefusedFile(f"its setting {key} is not a number")


def slope(settings: Mapping[str, Any], key: str) -> float:
    """The negative slope of the activation that a file names."""
    name = settings.get(key, "lrelu")
    if not isinstance(name, str) or name not in SLOPES:
        raise RefusedFile(f"its setting {key} is {str(name)[:40]!r}; {' or '.join(SLOPES)} is supported")
    return SLOPES[name]


def taps(settings: Mapping[str, Any], key: str, default: list[float], none: list[float]) -> np.ndarray:
    """A filter's taps, normalised to sum 1: float64 [n]."""
    value = settings.get(key, default)
    value = none if value is None else value
    values = value.numpy().ravel().tolist() if isinstance(value, Array) and len(value.shape) < 2 else value
    if not isinstance(values, list | tuple) or not all(isinstance(tap, int | float) for tap in values):
        raise RefusedFile(f"its setting {key} is not a list of taps")
    result = np.array(values, np.float64)
    if len(values) > 16 or (len(values) and not abs(result.sum()) > 1e-6):
        raise RefusedFile(f"its setting {key} is not a list of taps")
    return result / result.sum() if len(values) else result


def count(names: Callable[[int], str], source: WeightSource, start: int = 0) -> int:
    """How many of names(start), names(start + 1), ... exist, up to the first gap."""
    index = start
    while names(index) in source:
        index += 1
    return index - start


def average_latent(
    arrays: Mapping[str, np.ndarray], num_layers: int, slope_below: float, normalize: bool
) -> np.ndarray:
    """The mean w of seeded z, for unconditional checkpoints without it: float32 [w_size]."""
    weights = [arrays[f"mapping.layers.{index}.weight"] for index in range(num_layers)]
    if sum(weight.size for weight in weights) > MAX_MAPPING_WEIGHTS:
        raise RefusedFile("its mapping network is larger than any published one")
    wide = weights[0].shape[1] if weights else len(arrays["synthesis.const"])
    x = np.random.RandomState(123).randn(AVERAGE_SAMPLES, wide).astype(np.float32)
    if normalize:
        x /= np.sqrt(np.square(x).mean(1, keepdims=True) + 1e-8)
    for index in range(num_layers):
        x = x @ weights[index].T + arrays[f"mapping.layers.{index}.bias"]  # [N, w]
        x = np.where(x < 0, slope_below * x, x)
    return x.mean(0).astype(np.float32)
