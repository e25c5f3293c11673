"""Files that must be refused, each with what the refusal must say.

`canary` is a file that a successful attack makes.
"""

import builtins
import codecs
import functools
import importlib
import io
import operator
import os
import pickle
import runpy
import struct
import subprocess
import webbrowser
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
ALLOWED = "which is not on the list"


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.parts = function, arguments

    def __reduce__(self) -> Any:
        return self.parts


class State(Call):
    """Pickles as a call whose result's state is set."""

    def __reduce__(self) -> Any:
        function, (state, *arguments) = self.parts
        return function, tuple(arguments), state


def touch(canary: Path) -> str:
    return f"touch {canary}"


def global_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def raw(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def legacy(root: bytes, keys: list[str], content: bytes = b"") -> bytes:
    """torch.save's old format around a pickled `root`."""
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, SYSTEM))
    return head + root + pickle.dumps(keys, 2) + content


def storage(numel: int, held: bytes) -> bytes:
    root = b"\x80\x02(" + text("storage") + global_("torch", "FloatStorage")
    root += text("0") + text("cpu") + b"J" + struct.pack("<i", numel) + b"tQ."
    return legacy(root, ["0"], struct.pack("<q", numel) + held)


def nested(inner: bytes) -> bytes:
    return global_("torch.storage", "_load_from_bytes") + raw(inner) + b"\x85R"


def tensor(inner: bytes, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    head = b"\x80\x03" + global_("torch._utils", "_rebuild_tensor_v2") + b"(" + nested(inner)
    for part in (offset, shape, stride):
        head += pickle.dumps(part, 2)[2:-1]
    return head + b"\x89}tR."


def array(shape: bytes, dtype: str, content: bytes) -> bytes:
    """A numpy array of the given pickled shape."""
    kind = global_("numpy", "dtype") + text(dtype) + b"\x89\x88\x87R"
    made = global_("numpy.core.multiarray", "_reconstruct") + global_("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
    return b"\x80\x03" + made + b"(K\x01" + shape + kind + b"\x89" + raw(content) + b"tb."


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return stream.getvalue()


def crowded_zip() -> bytes:
    """A directory that declares 5,000,000 entries and has none."""
    end64 = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 5_000_000, 5_000_000, 1 << 40, 4)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, 4, 1)
    return b"PK\x03\x04" + end64 + locator + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, 1, 0, 0)


def deep_key() -> bytes:
    """A dictionary whose key is a tuple in a tuple, 300,000 deep: hashing it overflows the C stack."""
    return b"\x80\x03})" + b"\x85" * 300_000 + b"Ns."


def deep_value() -> bytes:
    return b"\x80\x03]" + b"\x85" * 900_000 + b"."


def laughs() -> bytes:
    """A thousand million, million, ... : each tuple holds the one before ten times."""
    body = b"\x80\x02)q\x00"
    for _ in range(60):
        body += b"(" + b"h\x00" * 10 + b"tq\x00"
    return body + b"."


def colliding_keys() -> bytes:
    """Whole numbers that all hash to 0: a dictionary of them takes quadratic time."""
    prime = (1 << 61) - 1
    keys = ((prime * factor).to_bytes(12, "little") for factor in range(1, 60_000))
    return b"\x80\x02}(" + b"".join(b"\x8a\x0c" + key + b"N" for key in keys) + b"u."


def growing_text() -> bytes:
    """One megabyte of text, turned into bytes again and again."""
    call = global_("_codecs", "encode") + b"h\x00h\x01\x86R0"
    return b"\x80\x02" + text("x" * (1 << 20)) + b"q\x000" + text("latin1") + b"q\x010" + call * 100_000 + b"N."


def growing_set() -> bytes:
    call = global_("builtins", "set") + b"h\x00\x85R0"
    return b"\x80\x02](" + b"K\x01" * 100_000 + b"eq\x000" + call * 100_000 + b"N."


def growing_storage() -> bytes:
    inner = storage(1 << 18, bytes(1 << 20))
    call = global_("torch.storage", "_load_from_bytes") + b"h\x00\x85R0"
    return b"\x80\x02" + raw(inner) + b"q\x000" + call * 300_000 + b"N."


def growing_list() -> bytes:
    """An OrderedDict of 100,000 pairs, made 100,000 times."""
    pairs = b"](" + b"K\x01K\x02\x86" * 100_000 + b"eq\x000"
    return b"\x80\x02" + pairs + (global_("collections", "OrderedDict") + b"h\x00\x85R0") * 100_000 + b"N."


def ten_sleeping_processes(canary: Path) -> bytes:
    return pickle.dumps([Call(subprocess.Popen, ["touch", str(canary)])] * 10, 4)


def module_cycle() -> bytes:
    """A StyleGAN2-ADA module that is its own child."""
    body = b"\x80\x03" + global_("torch_utils.persistence", "_reconstruct_persistent_obj")
    body += b"}q\x00(" + text("type") + text("class") + text("class_name") + text("Generator")
    body += text("state") + b"}q\x01(" + text("_modules") + b"h\x01uu\x85R."
    return body


GETATTR = b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93\x8c\x02os\x8c\x06system\x93\x8c\x04name\x86R."
Builder = Callable[[Path], bytes]
HOSTILE: dict[str, tuple[Builder, str]] = {
    # calls
    "os.system, protocol 0": (
        lambda c: pickle.dumps(Call(os.system, touch(c)), 0),
        "not a pickle of protocol 2",
    ),
    "os.system, protocol 2": (lambda c: pickle.dumps(Call(os.system, touch(c)), 2), "posix.system"),
    "os.system, protocol 4": (lambda c: pickle.dumps(Call(os.system, touch(c)), 4), "posix.system"),
    "os.system, protocol 5": (lambda c: pickle.dumps(Call(os.system, touch(c)), 5), "posix.system"),
    "eval": (lambda c: pickle.dumps(Call(eval, f"open({str(c)!r}, 'w')"), 4), "builtins.eval"),
    "exec": (lambda c: pickle.dumps(Call(exec, f"open({str(c)!r}, 'w')"), 2), "__builtin__.exec"),
    "open": (lambda c: pickle.dumps(Call(open, str(c), "w"), 4), ALLOWED),
    "__import__": (lambda c: pickle.dumps(Call(__import__, "antigravity"), 4), "builtins.__import__"),
    "importlib": (
        lambda c: pickle.dumps(Call(importlib.import_module, "antigravity"), 4),
        "importlib.import_module",
    ),
    "getattr chain": (lambda c: GETATTR, "builtins.getattr"),
    "attrgetter": (lambda c: pickle.dumps(operator.attrgetter("system"), 4), "operator.attrgetter"),
    "partial": (lambda c: pickle.dumps(functools.partial(os.system, touch(c)), 4), "functools.partial"),
    "subprocess": (ten_sleeping_processes, "subprocess.Popen"),
    "runpy": (lambda c: pickle.dumps(Call(runpy.run_path, "/dev/stdin"), 4), "runpy.run_path"),
    "webbrowser": (lambda c: pickle.dumps(Call(webbrowser.open, "http://127.0.0.1:9"), 4), "webbrowser.open"),
    "codecs other than latin-1": (
        lambda c: pickle.dumps(Call(codecs.encode, "x", "zlib"), 2),
        "encodes text as",
    ),
    "reduce inside an allowed tuple": (
        lambda c: pickle.dumps(({}, [Call(os.system, touch(c))]), 4),
        "posix.system",
    ),
    "reduce as a dictionary's key": (
        lambda c: pickle.dumps({"a": {1: Call(os.system, touch(c))}}, 3),
        "posix.system",
    ),
    "reduce inside an OrderedDict's state": (
        lambda c: pickle.dumps(State(OrderedDict, {"x": Call(os.system, touch(c))}), 4),
        "posix.system",
    ),
    "a class of builtins": (lambda c: pickle.dumps(Call(builtins.type, "X", (), {}), 4), "builtins.type"),
    "numpy's own loader": (lambda c: pickle.dumps(Call(np.load, str(c)), 4), "numpy.load"),
    "torch.load by name": (
        lambda c: b"\x80\x02" + global_("torch", "load") + text(str(c)) + b"\x85R.",
        "torch.load",
    ),
    "torch.hub by name": (
        lambda c: b"\x80\x02" + global_("torch.hub", "load") + text("a/b") + b"\x85R.",
        "torch.hub.load",
    ),
    "a dotted name": (
        lambda c: b"\x80\x04\x8c\x0bcollections\x8c\x11OrderedDict.clear\x93.",
        "OrderedDict.clear",
    ),
    "a name that is not text": (lambda c: b"\x80\x04K\x01K\x02\x93.", "a name that is not text"),
    "a call of an array": (
        lambda c: b"\x80\x02" + global_("numpy", "ndarray") + b")R.",
        "calls numpy.ndarray",
    ),
    "a call of a call's result": (
        lambda c: b"\x80\x02" + global_("collections", "OrderedDict") + b")R)R.",
        "calls a dict",
    ),
    "state of a class": (
        lambda c: b"\x80\x02" + global_("collections", "OrderedDict") + b"}" + text("a") + b"K\x01sb.",
        "sets the state",
    ),
    "opcode INST": (lambda c: b"\x80\x02(" + text(touch(c)) + b"ios\nsystem\n.", "INST"),
    "opcode OBJ": (lambda c: b"\x80\x02(" + global_("collections", "OrderedDict") + b"o.", "OBJ"),
    "opcode EXT1": (lambda c: b"\x80\x02\x82\x01.", "EXT1"),
    "opcode NEWOBJ_EX": (
        lambda c: b"\x80\x04" + global_("collections", "OrderedDict") + b")}\x92.",
        "NEWOBJ_EX",
    ),
    "opcode NEXT_BUFFER": (lambda c: b"\x80\x05\x97.", "NEXT_BUFFER"),
    "persistent id in a pickle": (lambda c: b"\x80\x02K\x01Q.", "outside itself"),
    # pickles in pickles
    "hostile pickle in a storage": (
        lambda c: b"\x80\x03" + nested(legacy(pickle.dumps(Call(os.system, touch(c)), 2), [])) + b".",
        "posix.system",
    ),
    "hostile pickle in place of a storage's magic": (
        lambda c: b"\x80\x03" + nested(pickle.dumps(Call(os.system, touch(c)), 2)) + b".",
        "posix.system",
    ),
    "hostile pickle in a storage in a storage": (
        lambda c: (
            b"\x80\x03"
            + nested(legacy(b"\x80\x03" + nested(legacy(pickle.dumps(Call(eval, "1"), 2), [])) + b".", []))
            + b"."
        ),
        "__builtin__.eval",
    ),
    "hostile list of storages": (
        lambda c: (
            b"\x80\x03"
            + nested(
                legacy(b"\x80\x02N.", [])[: -len(pickle.dumps([], 2))] + pickle.dumps(Call(os.system, touch(c)), 2)
            )
            + b"."
        ),
        "posix.system",
    ),
    "an object in place of a storage": (
        lambda c: b"\x80\x03" + nested(legacy(b"\x80\x02}.", [])) + b".",
        "not a storage of numbers",
    ),
    "a nested zip": (
        lambda c: b"\x80\x03" + nested(zipped({"a/data.pkl": b"\x80\x02N."})) + b".",
        "protocol 2 or later",
    ),
    "hostile pickle in a torch zip": (
        lambda c: zipped({"a/data.pkl": pickle.dumps(Call(os.system, touch(c)), 2)}),
        "posix.system",
    ),
    "hostile pickle in an old torch file": (
        lambda c: legacy(pickle.dumps(Call(os.system, touch(c)), 2), []),
        "posix.system",
    ),
    "a TorchScript program": (
        lambda c: zipped({"a/data.pkl": b"\x80\x02N.", "a/code/x.py": b""}),
        "TorchScript",
    ),
    # sizes
    "memo bomb": (lambda c: b"\x80\x02Nr\xff\xff\xff\xff.", "memo of 4,294,967,295"),
    "a thousand laughs": (lambda c: laughs(), "no generator"),
    "a tuple 900,000 deep": (lambda c: deep_value(), "no generator"),
    "a key 300,000 deep": (lambda c: deep_key(), "key of type tuple"),
    "keys that collide": (lambda c: colliding_keys(), "key beyond 2^60"),
    "text of 2^62 bytes": (lambda c: b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62), "cut short"),
    "bytes of 2^62 bytes": (lambda c: b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62), "cut short"),
    "a byte array of 2^62 bytes": (lambda c: b"\x80\x05\x96" + struct.pack("<Q", 1 << 62), "cut short"),
    "a number of 2^31 bytes": (
        lambda c: b"\x80\x02\x8b\xff\xff\xff\x7f",
        "integer of 2,147,483,647 bytes",
    ),
    "a number of -1 bytes": (lambda c: b"\x80\x02\x8b\xff\xff\xff\xff", "integer of -1 bytes"),
    "text made bytes 100,000 times": (lambda c: growing_text(), "expands to much more"),
    "a set made 100,000 times": (lambda c: growing_set(), "steps"),
    "a storage read 300,000 times": (lambda c: growing_storage(), "steps"),
    "a dictionary made 100,000 times": (lambda c: growing_list(), "steps"),
    "two million steps": (lambda c: b"\x80\x02" + b"N0" * 1_000_000 + b"N.", "steps"),
    "an array of 2^60 numbers": (
        lambda c: array(b"\x8a\x08" + struct.pack("<q", 1 << 60) + b"\x85", "f4", bytes(4)),
        "array of shape",
    ),
    "an array of 2^39 numbers": (
        lambda c: array(b"\x8a\x08" + struct.pack("<q", 1 << 39) + b"\x85", "f4", bytes(4)),
        "has 4 bytes",
    ),
    "an array of -1 numbers": (lambda c: array(b"J\xff\xff\xff\xff\x85", "f4", bytes(4)), "array of shape"),
    "an array of 2^19 sides": (
        lambda c: array(b"(" + b"K\x01" * (1 << 19) + b"t", "f4", bytes(4)),
        "not a short list of sizes",
    ),
    "an array of objects": (lambda c: array(b"K\x01\x85", "O8", bytes(8)), "not plain numbers"),
    "an array of 1-GiB strings": (lambda c: array(b"K\x01\x85", "V1073741824", bytes(8)), "not plain numbers"),
    "a storage larger than the file": (
        lambda c: b"\x80\x03" + nested(storage(1 << 30, bytes(64))) + b".",
        "cut short",
    ),
    "a storage of another length": (
        lambda c: b"\x80\x03" + nested(storage(16, bytes(64))[:-72] + struct.pack("<q", 15) + bytes(64)) + b".",
        "length",
    ),
    "a tensor of 2^39 repeats": (
        lambda c: tensor(storage(16, bytes(64)), (1 << 39,), (0,)),
        "in a storage of 16",
    ),
    "a tensor beyond its storage": (
        lambda c: tensor(storage(16, bytes(64)), (4, 4), (5, 1)),
        "storage of 16",
    ),
    "a tensor before its storage": (
        lambda c: tensor(storage(16, bytes(64)), (4,), (1,), -8),
        "without a storage",
    ),
    "a tensor that runs backwards": (lambda c: tensor(storage(16, bytes(64)), (4,), (-1,)), "shape"),
    "a zip bomb": (lambda c: zipped({"a/data.pkl": bytes(200 << 20)}, zipfile.ZIP_DEFLATED), "compressed"),
    "a zip of 5,000,000 files": (lambda c: crowded_zip(), "5,000,000 files"),
    "a zip without a torch file": (lambda c: zipped({"readme.txt": b"hello"}), "not a torch file"),
    "a zip that is cut short": (lambda c: zipped({"a/data.pkl": b"\x80\x02N."})[:-30], "cut short"),
    # not a network
    "a module that is its own child": (lambda c: module_cycle(), "missing"),
    "an empty file": (lambda c: b"", "is empty"),
    "the Drive quota page": (
        lambda c: b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>",
        "web page",
    ),
    "an XML answer": (
        lambda c: b'\xef\xbb\xbf\n<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "web page",
    ),
    "text": (lambda c: b"version https://git-lfs.github.com/spec/v1\n", "not a pickle"),
    "a plain dictionary": (lambda c: pickle.dumps({"a": 1}, 4), "no generator"),
    "a pickle that ends early": (lambda c: b"\x80\x04N", "cut short"),
    "a pickle of nothing": (lambda c: b"\x80\x04.", "cut short"),
    "a protocol of the future": (lambda c: b"\x80\x06N.", "protocol 6"),
}
