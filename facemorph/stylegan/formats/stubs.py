"""The names that published pickles may use, and what stands for each: views of the file and inert stubs.

The list is complete for the files of StyleGAN, StyleGAN2, StyleGAN2-ADA and rosinality's port. Objects that contain
source code (dnnlib's Network, torch_utils' persistent classes) become records of their state; the code is ignored.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from facemorph.errors import RefusedFile
from facemorph.stylegan.formats.pickle_machine import Budget, Name, PickleMachine, Stub, checked_key

MAX_DIMENSIONS = 8
STORAGE_DTYPES = {
    "Float": "<f4", "Double": "<f8", "Half": "<f2", "BFloat16": "bfloat16", "Long": "<i8", "Int": "<i4",
    "Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "?",
}  # fmt: skip
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch.save before its zip format
LEGACY_PROTOCOL = 1001


def item_bytes(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


class Storage:
    """A torch storage: `numel` numbers in the bytes `raw`."""

    def __init__(self, dtype: str, numel: int, raw: memoryview | None = None) -> None:
        self.dtype, self.numel = dtype, numel
        if raw is not None:
            self.fill(raw)

    def fill(self, raw: memoryview) -> None:
        if len(raw) != self.numel * item_bytes(self.dtype):
            raise RefusedFile(f"it declares a storage of {self.numel:,} numbers and has {len(raw):,} bytes for it")
        self.raw = raw


class Dtype(Stub):
    """A numpy dtype: plain numbers of known byte order."""

    def __init__(self, code: str) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?([fiu][1248]|b1)", code):
            raise RefusedFile(f"it contains an array of {str(code)[:80]!r}, which are not plain numbers")
        self.code = code

    def set_state(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise RefusedFile("it contains an array of records, as no network does")
        self.code = order.replace("=", "<") + self.code.lstrip("<>|=")


@dataclass(eq=False)
class Array(Stub):
    """An array or tensor in the file. `numpy()` copies it.

    Attributes:
        shape: checked against the number of bytes.
        raw: its bytes, a view of the file; None before they are read, and for a tensor in a storage.
    """

    shape: tuple[int, ...] = ()
    dtype: str = "<f4"
    raw: memoryview | None = None
    order: str = "C"
    axes: tuple[int, ...] | None = None
    storage: Storage | None = None
    offset: int = 0
    strides: tuple[int, ...] = ()

    def set_state(self, state: Any) -> None:
        """numpy's ndarray state: (version,) shape, dtype, whether Fortran order, bytes."""
        shape, dtype, is_fortran, raw = state[-4:]
        self._set(shape, dtype, raw, "F" if is_fortran else "C")

    def _set(self, shape: Any, dtype: Any, raw: Any, order: str) -> None:
        if not isinstance(dtype, Dtype):
            raise RefusedFile("it contains an array without a dtype")
        self.shape, self.dtype, self.raw, self.order = _shape(shape), dtype.code, _bytes(raw), order
        needed = math.prod(self.shape) * item_bytes(self.dtype)
        if needed != len(self.raw):
            raise RefusedFile(f"it declares an array of shape {self.shape} and has {len(self.raw):,} bytes for it")

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * item_bytes(self.dtype)

    def numpy(self) -> np.ndarray:
        """A copy, of floats as float32, of integers in their own dtype; contiguous, native byte order."""
        if self.storage is not None:
            flat = _flat(self.storage.dtype, self.storage.raw)
            size = flat.dtype.itemsize
            view = np.lib.stride_tricks.as_strided(
                flat[self.offset :], self.shape, [size * stride for stride in self.strides], writeable=False
            )
            view = view if self.storage.dtype != "bfloat16" else _from_bfloat16(view)
        elif self.raw is not None:
            view = _flat(self.dtype, self.raw)
            if self.axes is None:
                view = view.reshape(self.shape, order=self.order)  # type: ignore[arg-type]
            else:
                view = view.reshape([self.shape[self.axes.index(axis)] for axis in range(len(self.axes))])
                view = view.transpose(self.axes)
        else:
            raise RefusedFile("it contains an array without data")
        kind = np.float32 if view.dtype.kind == "f" else view.dtype.newbyteorder("=")
        return np.array(view, dtype=kind, order="C")


def _flat(dtype: str, raw: memoryview) -> np.ndarray:
    return np.frombuffer(raw, "<u2" if dtype == "bfloat16" else dtype)


def _from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """bfloat16 is the upper half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or len(value) > MAX_DIMENSIONS:
        raise RefusedFile("it declares an array whose shape is not a short list of sizes")
    if not all(type(side) is int and 0 <= side < 1 << 40 for side in value):
        raise RefusedFile(f"it declares an array of shape {str(value)[:80]}")
    return tuple(value)


def _bytes(value: Any) -> memoryview:
    if isinstance(value, str):  # Python 2 wrote bytes as text
        value = memoryview(value.encode("latin-1"))
    if not isinstance(value, memoryview):
        raise RefusedFile("it contains an array whose data is not bytes")
    return value


class Record(Stub):
    """Stands for an object that its authors would rebuild by running source code. Only its state is kept."""

    def __init__(self, kind: str, state: Any = None) -> None:
        self.kind = kind
        self.set_state({} if state is None else state)

    def set_state(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise RefusedFile(f"it contains a {self.kind} whose state is not a dictionary")
        self.state: dict[str, Any] = state


def find_record(value: Any) -> Record | None:
    """The generator's record in what a pickle of NVIDIA contains, the moving average if there is one.

    TensorFlow pickles contain (G, D, Gs), PyTorch ones a dictionary with G, D and G_ema; others the generator alone.
    """
    if isinstance(value, tuple | list) and len(value) == 3 and all(isinstance(part, Record) for part in value):
        return value[2]
    if isinstance(value, dict):
        value = value.get("G_ema") if isinstance(value.get("G_ema"), Record) else value.get("G")
    return value if isinstance(value, Record) else None


def _persistent(meta: Any, *_: Any) -> Record:
    """torch_utils.persistence: {type, version, module_src, class_name, state}; module_src is ignored."""
    if not isinstance(meta, dict) or meta.get("type") != "class" or not isinstance(meta.get("class_name"), str):
        raise RefusedFile("it contains a persistent object that is not a class")
    return Record(meta["class_name"], meta.get("state"))


def _reconstruct(*_: Any) -> Array:
    return Array()


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> Array:
    array = Array()
    array._set(shape, dtype, raw, "F" if order == "F" else "C")
    if order == "K":
        array.axes = _shape(axes)
        if sorted(array.axes) != list(range(len(array.shape))):
            raise RefusedFile("it contains an array whose axes are not a permutation")
    return array


def _scalar(dtype: Any, raw: Any) -> Array:
    array = Array()
    array._set((), dtype, raw, "C")
    return array


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Array:
    """torch's (storage, offset, size, stride): it must be inside the storage and not larger than it."""
    if not isinstance(storage, Storage) or type(offset) is not int or offset < 0:
        raise RefusedFile("it contains a tensor without a storage")
    shape, strides = _shape(size), _shape(stride)
    last = offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
    if math.prod(shape) > storage.numel or (math.prod(shape) and last >= storage.numel):
        raise RefusedFile(f"it declares a tensor of shape {shape} in a storage of {storage.numel:,} numbers")
    return Array(shape, storage.dtype, storage=storage, offset=offset, strides=strides)


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _dictionary(budget: Budget) -> Callable[..., dict[Any, Any]]:
    def build(items: Any = ()) -> dict[Any, Any]:
        pairs: Iterable[Any] = list(items.items()) if isinstance(items, dict) else items
        budget.spend(steps=len(pairs))  # type: ignore[arg-type]
        return {checked_key(key): value for key, value in pairs}

    return build


def _set(budget: Budget, kind: Callable[..., Any]) -> Callable[..., Any]:
    def build(items: Any = ()) -> Any:
        budget.spend(steps=len(items))
        return kind(map(checked_key, items))

    return build


def _encode(budget: Budget) -> Callable[..., memoryview]:
    def build(text: str, encoding: str) -> memoryview:
        """How protocol 2 writes bytes: _codecs.encode(text, 'latin1')."""
        budget.spend(num_bytes=len(text))
        if encoding not in ("latin1", "latin-1"):
            raise RefusedFile(f"it encodes text as {str(encoding)[:80]!r}")
        return memoryview(text.encode("latin-1"))

    return build


def _as_bytes(value: Any = b"", *_: Any) -> memoryview:
    return _bytes(memoryview(value) if isinstance(value, bytes) else value)


def allowed_names(budget: Budget) -> dict[str, Name]:
    """Every name that a published file needs, and our stand-in for it. Any other name is refused."""
    mapping = _dictionary(budget)
    table: dict[str, dict[str, Any]] = {
        "collections.OrderedDict": {"build": mapping, "new": dict},
        "_codecs.encode": {"build": _encode(budget)},
        "argparse.Namespace": {"new": lambda: Record("Namespace")},  # the options of a training checkpoint
        "numpy.ndarray": {},
        "numpy.dtype": {"build": lambda code, *_: Dtype(code)},
        "torch._utils._rebuild_tensor": {"build": _tensor},
        "torch._utils._rebuild_tensor_v2": {"build": _tensor},
        "torch._utils._rebuild_parameter": {"build": _parameter},
        "torch._utils._rebuild_parameter_with_state": {"build": _parameter},
        "torch.storage._load_from_bytes": {"build": lambda raw: _nested_storage(_bytes(raw), budget)},
        "torch.Size": {"build": lambda sides=(): _shape(sides)},
        "torch_utils.persistence._reconstruct_persistent_obj": {"build": _persistent},
    }
    for core in ("numpy.core", "numpy._core"):  # numpy 1 and 2
        table[f"{core}.multiarray._reconstruct"] = {"build": _reconstruct}
        table[f"{core}.multiarray.scalar"] = {"build": _scalar}
        table[f"{core}.numeric._frombuffer"] = {"build": _frombuffer}
    for module in ("builtins", "__builtin__"):  # Python 3 and 2
        table[f"{module}.set"] = {"build": _set(budget, set)}
        table[f"{module}.frozenset"] = {"build": _set(budget, frozenset)}
        table[f"{module}.bytes"] = table[f"{module}.bytearray"] = {"build": _as_bytes}
    for easy in ("dnnlib.EasyDict", "dnnlib.util.EasyDict"):
        table[easy] = {"build": mapping, "new": dict}
    for network in ("dnnlib.tflib.network.Network", "dnnlib.tflib.Network"):
        table[network] = {"new": lambda: Record("Network")}
    for kind in STORAGE_DTYPES:
        table[f"torch.{kind}Storage"] = table[f"torch.cuda.{kind}Storage"] = {}
    return {full: Name(full, **roles) for full, roles in table.items()}


def storage_dtype(kind: Any) -> str:
    """The dtype of `torch.FloatStorage` and so on."""
    match = re.fullmatch(r"torch\.(?:cuda\.)?(\w+)Storage", kind.full if isinstance(kind, Name) else "")
    if not match or match[1] not in STORAGE_DTYPES:
        raise RefusedFile("it contains a storage of an unknown kind")
    return STORAGE_DTYPES[match[1]]


def read_legacy(data: memoryview, budget: Budget) -> Any:
    """torch.save's old format: pickles of magic, protocol, system, object and storage keys, then the storages.

    The location in a storage's id (a device) is ignored.

    Raises:
        RefusedFile: it is not of this format, or asks for something that is not allowed.
    """
    storages: dict[str, Storage] = {}

    def persistent(identity: Any) -> Storage:
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            raise RefusedFile("it refers to something that is not a storage")
        _, kind, key, _, numel, *view = identity
        if not isinstance(key, str) or type(numel) is not int or numel < 0 or any(part is not None for part in view):
            raise RefusedFile("it contains a storage of unknown form")
        return storages.setdefault(key, Storage(storage_dtype(kind), numel))

    machine = PickleMachine(data, allowed_names(budget), budget, persistent)
    if machine.load() != LEGACY_MAGIC or machine.load() != LEGACY_PROTOCOL:
        raise RefusedFile("it is not a torch file")
    system = machine.load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise RefusedFile("its numbers are big-endian, which is not supported")
    result = machine.load()
    keys = machine.load()
    if not isinstance(keys, list):
        raise RefusedFile("it is damaged: the list of storages is missing")
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise RefusedFile("it is damaged: an unused storage")
        storage = storages[key]
        if machine.number("<q") != storage.numel:
            raise RefusedFile("it is damaged: a storage of another length than declared")
        storage.fill(machine.take(storage.numel * item_bytes(storage.dtype)))
    if not all(hasattr(storage, "raw") for storage in storages.values()):
        raise RefusedFile("it is damaged: a storage without data")
    return result


def _nested_storage(data: memoryview, budget: Budget) -> Storage:
    storage = read_legacy(data, budget)
    if not isinstance(storage, Storage):
        raise RefusedFile("the data of a tensor is not a storage of numbers")
    return storage
