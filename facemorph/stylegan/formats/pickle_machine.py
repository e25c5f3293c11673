"""A pickle machine that can build data and nothing else.

Python's own unpickler imports and calls what a file names. This one is a small stack machine: a file may use only the
names in the caller's table, and each stands for a function of ours, never for the object of that name. Anything else is
refused with a message that names it. A budget bounds steps and memory, also for small files; byte strings stay views of
the file, so that a large file is not copied.

Protocols 2 to 5 (Python's pickletools.py documents the opcodes).
"""

import abc
import pickletools
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from facemorph.errors import RefusedFile

MAX_STEPS = 1_000_000  # a training checkpoint with both optimisers needs some 50,000
MAX_KEY = 1 << 60  # larger integers can be chosen to collide in a dictionary, which takes quadratic time
MAX_NAME_BYTES = 512
MAX_LONG_BYTES = 255


@dataclass
class Budget:
    """What a file may still use: steps of the machine, and bytes copied out of the file."""

    steps: int
    bytes: int

    @classmethod
    def for_file(cls, num_bytes: int) -> "Budget":
        return cls(MAX_STEPS, 4 * num_bytes + (1 << 20))  # protocol 2 copies bytes to text and back

    def spend(self, steps: int = 0, num_bytes: int = 0) -> None:
        self.steps -= steps
        self.bytes -= num_bytes
        if self.steps < 0:
            raise RefusedFile(f"it takes more than {MAX_STEPS:,} steps to read, as no network does")
        if self.bytes < 0:
            raise RefusedFile("it expands to much more data than it contains, as no network does")


@dataclass(frozen=True)
class Name:
    """What a name in a pickle stands for: `build` for a call, `new` for an instance without arguments."""

    full: str
    build: Callable[..., Any] | None = None
    new: Callable[[], Any] | None = None


class Stub(abc.ABC):
    """Stands for an object in the file; `set_state` receives its state."""

    @abc.abstractmethod
    def set_state(self, state: Any) -> None: ...


def checked_key(key: Any) -> Any:
    """A key of a dictionary or a member of a set. Tuples are refused: hashing one 100,000 deep overflows C's stack."""
    if key is None or isinstance(key, str | bool) or (isinstance(key, int) and abs(key) < MAX_KEY):
        return key
    if isinstance(key, int):
        raise RefusedFile("it uses a key beyond 2^60, as no network does")
    raise RefusedFile(f"it uses a key of type {type(key).__name__}, as no network does")


_MARK = object()


class PickleMachine:
    """Reads pickles out of `data` one after another; `position` is where the next one starts.

    Args:
        data: the bytes; results keep views of it.
        names: every name that a pickle may use.
        budget: shared with the machines of nested pickles.
        persistent: what a persistent id stands for; None refuses them.
    """

    def __init__(
        self,
        data: memoryview,
        names: Mapping[str, Name],
        budget: Budget,
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self.data, self.names, self.budget, self.persistent = data, names, budget, persistent
        self.position = 0

    def load(self) -> Any:
        """The next pickle's object.

        Raises:
            RefusedFile: it asks for something that is not allowed, is cut short or is not a pickle of protocol 2 to 5.
        """
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        start = self.position
        try:
            self._protocol()
            while True:
                code = self.data[self.position]
                self.position += 1
                self.budget.spend(1)
                if code == 0x2E:  # STOP
                    return self.stack.pop()
                step = _STEPS.get(code)
                if step is None:
                    raise RefusedFile(f"it uses pickle opcode 0x{code:02x} ({_refused_name(code)}), as no network does")
                step(self)
        except RefusedFile:
            raise
        except (IndexError, struct.error):
            at = self.position
            raise RefusedFile(f"it is cut short or damaged (at byte {at:,} of {len(self.data):,})") from None
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RefusedFile(
                f"it is damaged (byte {self.position:,} of the pickle at {start:,}: {type(error).__name__})"
            ) from error

    def _protocol(self) -> None:
        if self.data[self.position] != 0x80:
            raise RefusedFile("it is not a pickle of protocol 2 or later")
        protocol = self.data[self.position + 1]
        if not 2 <= protocol <= 5:
            raise RefusedFile(f"it is a pickle of protocol {protocol}; 2 to 5 are supported")
        self.position += 2

    # The parts of the opcodes.

    def take(self, count: int) -> memoryview:
        """The next `count` bytes, as a view."""
        end = self.position + count
        if end > len(self.data):
            raise RefusedFile(
                f"it is cut short: {count:,} bytes are declared at byte {self.position:,}, "
                f"and the file ends at {len(self.data):,}"
            )
        view = self.data[self.position : end]
        self.position = end
        return view

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self, count: int, encoding: str = "utf-8", errors: str = "surrogatepass") -> None:
        view = self.take(count)
        self.budget.spend(num_bytes=count)
        self.stack.append(str(view, encoding, errors))

    def line(self) -> str:
        window = bytes(self.data[self.position : self.position + MAX_NAME_BYTES])
        end = window.index(b"\n")
        self.position += end + 1
        return window[:end].decode("ascii")

    def since_mark(self) -> list[Any]:
        for depth in range(len(self.stack) - 1, -1, -1):
            if self.stack[depth] is _MARK:
                items = self.stack[depth + 1 :]
                del self.stack[depth:]
                return items
        raise RefusedFile("it is damaged: a group without a beginning")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise RefusedFile("it is damaged: a group without an end")
        return value

    def extend(self, items: Iterable[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise RefusedFile("it appends to something that is not a list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise RefusedFile("it sets items of something that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def remember(self, index: int) -> None:
        if index > MAX_STEPS:
            raise RefusedFile(f"it asks for a memo of {index:,} entries, as no network does")
        value = self.stack[-1]
        if value is _MARK:
            raise RefusedFile("it is damaged: a group's beginning is used as a value")
        self.memo[index] = value

    def name(self, full: str) -> None:
        if full not in self.names:
            raise RefusedFile(
                f"it asks for {full[:MAX_NAME_BYTES]!r}, which is not on the list of what a network needs"
            )
        self.stack.append(self.names[full])

    def stack_name(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise RefusedFile("it is damaged: a name that is not text")
        self.name(f"{module}.{name}")

    def call(self) -> None:
        arguments, target = self.pop(), self.pop()
        if not isinstance(target, Name) or target.build is None or not isinstance(arguments, tuple):
            raise RefusedFile(f"it calls {_shown(target)}, which may not be called")
        self.stack.append(target.build(*arguments))

    def new(self) -> None:
        arguments, target = self.pop(), self.pop()
        if not isinstance(target, Name) or target.new is None or arguments != ():
            raise RefusedFile(f"it makes an instance of {_shown(target)}, which may not be made")
        self.stack.append(target.new())

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, Stub):
            target.set_state(state)
        elif type(target) is not dict:  # a dictionary's attributes (state_dict's _metadata) carry no weights
            raise RefusedFile(f"it sets the state of {_shown(target)}, which has none")

    def refer(self) -> None:
        if self.persistent is None:
            raise RefusedFile("it refers to something outside itself")
        self.stack.append(self.persistent(self.pop()))

    def fill_set(self) -> None:
        items, target = self.since_mark(), self.stack[-1]
        if not isinstance(target, set):
            raise RefusedFile("it adds to something that is not a set")
        target.update(checked_key(item) for item in items)


def _shown(value: Any) -> str:
    return value.full if isinstance(value, Name) else f"a {type(value).__name__}"


def _long(machine: PickleMachine, count: int) -> int:
    if not 0 <= count <= MAX_LONG_BYTES:
        raise RefusedFile(f"it contains an integer of {count:,} bytes, as no network does")
    return int.from_bytes(machine.take(count), "little", signed=True)


def _push(value: Callable[[PickleMachine], Any]) -> Callable[[PickleMachine], None]:
    return lambda machine: machine.stack.append(value(machine))


def _tuple(size: int) -> Callable[[PickleMachine], None]:
    def step(machine: PickleMachine) -> None:
        items = [machine.pop() for _ in range(size)]
        machine.stack.append(tuple(reversed(items)))

    return step


_STEPS: dict[int, Callable[[PickleMachine], object]] = {
    # constants
    ord("N"): _push(lambda m: None),
    0x88: _push(lambda m: True),
    0x89: _push(lambda m: False),
    ord("J"): _push(lambda m: m.number("<i")),
    ord("K"): _push(lambda m: m.number("<B")),
    ord("M"): _push(lambda m: m.number("<H")),
    0x8A: _push(lambda m: _long(m, m.number("<B"))),
    0x8B: _push(lambda m: _long(m, m.number("<i"))),
    ord("G"): _push(lambda m: m.number(">d")),
    # text and bytes; Python 2 wrote both as "strings"
    0x8C: lambda m: m.text(m.number("<B")),
    ord("X"): lambda m: m.text(m.number("<I")),
    0x8D: lambda m: m.text(m.number("<Q")),
    ord("U"): lambda m: m.text(m.number("<B"), "latin-1"),
    ord("T"): lambda m: m.text(m.number("<I"), "latin-1"),
    ord("C"): _push(lambda m: m.take(m.number("<B"))),
    ord("B"): _push(lambda m: m.take(m.number("<I"))),
    0x8E: _push(lambda m: m.take(m.number("<Q"))),
    0x96: _push(lambda m: m.take(m.number("<Q"))),
    # containers
    ord("("): _push(lambda m: _MARK),
    ord(")"): _push(lambda m: ()),
    ord("]"): _push(lambda m: []),
    ord("}"): _push(lambda m: {}),
    0x8F: _push(lambda m: set()),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("t"): lambda m: m.stack.append(tuple(m.since_mark())),
    ord("a"): lambda m: m.extend([m.pop()]),
    ord("e"): lambda m: m.extend(m.since_mark()),
    ord("s"): lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    ord("u"): lambda m: m.set_items(m.since_mark()),
    0x90: PickleMachine.fill_set,
    0x91: lambda m: m.stack.append(frozenset(map(checked_key, m.since_mark()))),
    # stack and memo
    ord("0"): lambda m: m.stack.pop(),
    ord("1"): PickleMachine.since_mark,
    ord("2"): lambda m: m.stack.append(m.stack[-1]),
    ord("q"): lambda m: m.remember(m.number("<B")),
    ord("r"): lambda m: m.remember(m.number("<I")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("h"): lambda m: m.stack.append(m.memo[m.number("<B")]),
    ord("j"): lambda m: m.stack.append(m.memo[m.number("<I")]),
    # names and objects
    0x95: lambda m: m.number("<Q"),  # FRAME only helps buffered reading
    ord("c"): lambda m: m.name(f"{m.line()}.{m.line()}"),
    0x93: PickleMachine.stack_name,
    ord("R"): PickleMachine.call,
    0x81: PickleMachine.new,
    ord("b"): PickleMachine.build,
    ord("Q"): PickleMachine.refer,
}


def _refused_name(code: int) -> str:
    return next((op.name for op in pickletools.opcodes if ord(op.code) == code), "unknown")
