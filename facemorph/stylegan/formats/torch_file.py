"""torch.save's zip format: a pickle, and a file for each storage, all stored without compression.

The zip directory is read by hand: `zipfile` makes an object for every entry before a limit can be checked, which takes
gigabytes for a hostile file, and copies what it reads. Here each file in the zip is a view of the memory-mapped file.
"""

import struct
from typing import Any

from facemorph.errors import RefusedFile
from facemorph.stylegan.formats.pickle_machine import Budget, PickleMachine
from facemorph.stylegan.formats.stubs import Storage, allowed_names, item_bytes, storage_dtype

MAX_ENTRIES = 65_535
MAX_COMMENT = 65_535
MAX_PICKLE_BYTES = 64 << 20
_END, _END64, _LOCATOR64, _ENTRY, _LOCAL = (
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"PK\x06\x07",
    b"PK\x01\x02",
    b"PK\x03\x04",
)
_FULL32 = 0xFFFFFFFF  # of a size or offset that stands in the zip64 extra field instead


def entries(data: memoryview) -> dict[str, memoryview]:
    """The files in a zip, by name, as views.

    Raises:
        RefusedFile: it is damaged, compressed or encrypted, or has more entries than any torch file.
    """
    try:
        offset, num_entries = _directory(data)
        result: dict[str, memoryview] = {}
        for _ in range(num_entries):
            if bytes(data[offset : offset + 4]) != _ENTRY:
                raise RefusedFile("its zip directory is damaged")
            flags, method = struct.unpack_from("<HH", data, offset + 8)
            packed, size, name_bytes, extra_bytes, comment_bytes = struct.unpack_from("<IIHHH", data, offset + 20)
            (start,) = struct.unpack_from("<I", data, offset + 42)
            name = bytes(data[offset + 46 : offset + 46 + name_bytes]).decode("utf-8")
            extra = data[offset + 46 + name_bytes : offset + 46 + name_bytes + extra_bytes]
            size, packed, start = _wide(extra, size, packed, start)
            offset += 46 + name_bytes + extra_bytes + comment_bytes
            if method != 0 or flags & 1 or size != packed:
                raise RefusedFile(f"{name[:80]!r} in it is compressed or encrypted; torch files are not")
            result[name] = _content(data, start, size)
        return result
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise RefusedFile("its zip directory is damaged or cut short") from error


def _directory(data: memoryview) -> tuple[int, int]:
    """The offset of the directory, and its number of entries."""
    tail_start = max(0, len(data) - 22 - MAX_COMMENT)
    end_in_tail = bytes(data[tail_start:]).rfind(_END)
    if end_in_tail < 0:
        raise RefusedFile("it is cut short: a zip without a directory at its end")
    end = tail_start + end_in_tail
    num_entries, _, offset = struct.unpack_from("<HII", data, end + 10)
    locator = end - 20
    if locator >= 0 and bytes(data[locator : locator + 4]) == _LOCATOR64:
        (end64,) = struct.unpack_from("<Q", data, locator + 8)
        if bytes(data[end64 : end64 + 4]) != _END64:
            raise RefusedFile("its zip directory is damaged")
        num_entries, _, offset = struct.unpack_from("<QQQ", data, end64 + 32)
    if num_entries > MAX_ENTRIES:
        raise RefusedFile(f"it is a zip of {num_entries:,} files, as no torch file is")
    return offset, num_entries


def _wide(extra: memoryview, size: int, packed: int, start: int) -> tuple[int, int, int]:
    """Sizes and offset, of more than 32 bits from the zip64 extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, count = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{count // 8}Q", extra, at + 4))
            size, packed, start = (next(numbers, full) if full == _FULL32 else full for full in (size, packed, start))
        at += 4 + count
    return size, packed, start


def _content(data: memoryview, start: int, size: int) -> memoryview:
    if bytes(data[start : start + 4]) != _LOCAL:
        raise RefusedFile("its zip directory points to nothing")
    name_bytes, extra_bytes = struct.unpack_from("<HH", data, start + 26)
    begin = start + 30 + name_bytes + extra_bytes
    if begin + size > len(data):
        raise RefusedFile("it is cut short: a zip whose directory points beyond its end")
    return data[begin : begin + size]


def read_zip(data: memoryview, budget: Budget) -> Any:
    """The object in a torch zip file.

    Raises:
        RefusedFile: it is not a torch file, is damaged, or asks for something that is not allowed.
    """
    files = entries(data)
    pickles = [name for name in files if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise RefusedFile("it is a zip, but not a torch file")
    root = pickles[0].removesuffix("data.pkl")
    if any(name.startswith(f"{root}code/") for name in files):
        raise RefusedFile("it is a TorchScript program; only weights are supported")
    if bytes(files.get(f"{root}byteorder", memoryview(b"little"))) != b"little":
        raise RefusedFile("its numbers are big-endian, which is not supported")
    if len(files[pickles[0]]) > MAX_PICKLE_BYTES:
        raise RefusedFile("its pickle is larger than any network's")
    storages: dict[str, Storage] = {}

    def persistent(identity: Any) -> Storage:
        if not isinstance(identity, tuple) or len(identity) != 5 or identity[0] != "storage":
            raise RefusedFile("it refers to something that is not a storage")
        _, kind, key, _, numel = identity  # the location (a device) is ignored
        if not isinstance(key, str) or type(numel) is not int or numel < 0:
            raise RefusedFile("it contains a storage of unknown form")
        if key not in storages:
            dtype = storage_dtype(kind)
            raw = files.get(f"{root}data/{key}")
            if raw is None:
                raise RefusedFile(f"its storage {key[:40]!r} is missing")
            storages[key] = Storage(dtype, numel, raw[: numel * item_bytes(dtype)])
        return storages[key]

    return PickleMachine(files[pickles[0]], allowed_names(budget), budget, persistent).load()
