"""What the run folders of both lanes share: the log, what explains a run, and the end of a loop by a signal.

Every run folder has a config.yaml, which makes it one, a run.json, a log.csv with a line a step, and a .lock.
"""

import contextlib
import csv
import importlib.metadata
import json
import logging
import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from facemorph.errors import OutputError, RunError
from facemorph.files import write_text

log = logging.getLogger("facemorph")

DCGAN, STYLEGAN = "dcgan", "stylegan"  # kinds of runs; a config.yaml without one is a DCGAN's


def kind_of_run(path: Path) -> str:
    """Which command's run the folder `path` is.

    Raises:
        RunError: it is no run folder, or its configuration is not YAML.
    """
    if not (path / "config.yaml").is_file():
        what = "is not a run folder (it has no config.yaml)" if path.exists() else "does not exist"
        raise RunError(f"{path} {what}.", "`facemorph train --config mixed.yaml -o RUN` makes one.")
    values = read_config(path)
    return str(values.get("kind", DCGAN)) if isinstance(values, dict) else DCGAN


def kind_of_runs(paths: Sequence[Path]) -> str:
    """Which command's runs the folders are, all of one.

    Raises:
        RunError: as `kind_of_run`, or they are of both commands.
    """
    kinds = {kind_of_run(path) for path in paths}
    if len(kinds) > 1:
        raise RunError(
            "Some of these are runs of `train`, others of `train-generator`.", "Give only one kind at a time."
        )
    return kinds.pop()


def read_config(path: Path) -> Any:
    """The plain values of the configuration in the run folder `path`.

    Raises:
        RunError: it is damaged.
    """
    file = path / "config.yaml"
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{file} is not YAML: {error}.", "Was it edited?") from None


def read_about(path: Path) -> dict[str, Any]:
    """The run.json of the run folder `path`.

    Raises:
        RunError: it cannot be read.
    """
    try:
        return json.loads((path / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path / 'run.json'} cannot be read: {error}.", "Train the run again.") from None


def about_this_machine(device: str, processes: int) -> dict[str, Any]:
    """What run.json says of the programs and the machine that began the run."""
    import torch

    from facemorph import __version__

    return {
        "facemorph": __version__,
        "commit": commit(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy", "pillow")},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": device,
        "threads": torch.get_num_threads(),
        "processes": processes,
        "begun": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def commit() -> str:
    """The checkout's commit, where there is one."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(git, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return ""


def in_use(path: Path) -> RunError:
    return RunError(f"Another process is training in {path}.", "Wait for it, or give another -o.")


def check_same_settings(path: Path, before: dict[str, Any], now: dict[str, Any], free: Iterable[str]) -> None:
    """Raises RunError where a setting of the run in `path` differs; those of `free` ("section.key") may."""
    changed = [
        f"{section}.{key} was {before[section][key]}, now {value}"
        for section, values in now.items()
        if isinstance(values, dict)
        for key, value in values.items()
        if value != before[section][key] and f"{section}.{key}" not in free
    ]
    if changed:
        raise RunError(f"{path} holds a run with other settings: {'; '.join(changed)}.", "Give another -o.")


def check_new(path: Path) -> None:
    """Raises RunError if `path` holds something else than a run; names with a dot are what a kill leaves."""
    if path.exists() and any(not one.name.startswith(".") for one in path.iterdir()):
        raise RunError(f"{path} exists and is not a run folder.", "Give another -o.")


class RunLog:
    """log.csv: a header, then a line for every step.

    Args:
        headers: the headers that it may have.
    """

    def __init__(self, path: Path, *headers: tuple[str, ...]) -> None:
        self.path, self.headers = path, headers

    def _lines(self) -> list[str]:
        """The lines, the header first; without an incomplete last one, as a kill leaves it."""
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    def check(self, step: int) -> None:
        """Raises RunError if the log ends before the checkpoint's `step`."""
        steps = max(len(self._lines()) - 1, 0)
        if steps < step:
            raise RunError(
                f"{self.path} ends at step {steps}, the checkpoint beside it is of step {step}.",
                "Was one of them copied or edited? Restore the log, or train into another -o.",
            )

    def cut(self, step: int, header: tuple[str, ...]) -> None:
        """Begin the log, or keep its lines up to `step`: those after the checkpoint will be written again."""
        write_text(self.path, "\n".join([",".join(header), *self._lines()[1 : step + 1]]) + "\n")

    def append(self, rows: Iterable[Sequence[str]]) -> None:
        """Append lines, and flush them to the disk.

        Raises:
            OutputError: the folder cannot be written, or the disk is full.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(",".join(row) + "\n" for row in rows)
                file.flush()
                os.fsync(file.fileno())  # before the checkpoint that says these steps are done
        except OSError as error:
            raise OutputError(
                f"Cannot write {self.path}: {error.strerror or error}.",
                "Check free space and permissions; the same command then continues from the last checkpoint.",
            ) from error

    def read(self) -> dict[str, np.ndarray]:
        """The columns, each float64 [steps]; an incomplete last line is left out.

        Raises:
            RunError: no log, or it is damaged.
        """
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")  # what is no text is no header, or no number
        except OSError:
            raise RunError(f"{self.path.parent} has no {self.path.name}.", "Has it been trained?") from None
        rows = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
        fields = tuple(rows[0]) if rows else ()
        if fields not in self.headers:
            wanted = ",".join(self.headers[0])
            raise RunError(f"{self.path} is not a training log.", f"Its first line should be {wanted}.")
        try:
            table = np.array(rows[1:], np.float64).reshape(-1, len(fields))
        except ValueError as error:
            raise RunError(f"{self.path} is damaged: {error}.") from None
        return dict(zip(fields, table.T, strict=True))


@contextlib.contextmanager
def interruptible(when: str, tell: bool = True) -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM end the loop after `when` ("this step"); a second Ctrl-C ends it at once.

    Yields a function that says whether a signal came; `tell`: also say so in the log.
    """
    caught: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        if tell:
            with contextlib.suppress(RuntimeError):  # the signal came while something else was being printed
                log.info("Stopping after %s; interrupt again to stop at once.", when)

    try:
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread
        before = {}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
