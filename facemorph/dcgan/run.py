"""The run folder: all that a run leaves behind, readable without torch but for the weights.

config.yaml             the resolved configuration
run.json                versions, commit, seed, data hash and counts, device
log.csv                 every step's losses
health.json             the verdict and its figures
people.npz              some real faces of each person: what a walk's end points are compared with
real.png, samples/      a grid of real faces; grids from fixed z on the way
checkpoint.safetensors  everything that training needs to go on
generator.safetensors   the generator alone, its batch statistics settled: what sample and walk load
.lock                   held by the process that trains
"""

import csv
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from facemorph.dcgan.config import Config, config_from_dict
from facemorph.dcgan.health import Health, judge
from facemorph.errors import FacemorphError, OutputError, RunError
from facemorph.files import write_json, write_text

LOG_FIELDS = ("step", "d_loss", "d_loss_real", "d_loss_fake", "g_loss", "d_of_real", "d_of_fake", "seconds")
STRENGTH = "strength"  # of the augmentation: one column more, where it adapts


class Run:
    """A run folder at `path`; nothing is read or made before it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.safetensors"
        self.generator = path / "generator.safetensors"
        self.log = path / "log.csv"
        self.samples = path / "samples"
        self.lock = path / ".lock"

    @classmethod
    def open(cls, path: Path) -> "Run":
        """An existing run.

        Raises:
            RunError: there is none at `path`.
        """
        if not (path / "config.yaml").is_file():
            what = "is not a run folder (it has no config.yaml)" if path.exists() else "does not exist"
            raise RunError(f"{path} {what}.", "`facemorph train --config mixed.yaml -o RUN` makes one.")
        return cls(path)

    def config(self) -> Config:
        """The resolved configuration.

        Raises:
            ConfigError: it was damaged.
        """
        path = self.path / "config.yaml"
        try:
            return config_from_dict(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunError(f"{path} is not YAML: {error}.", "Was it edited?") from None

    def about(self) -> dict[str, Any]:
        try:
            return json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path / 'run.json'} cannot be read: {error}.", "Train the run anew.") from None

    def _log_lines(self) -> list[str]:
        """Of the log, its head first; without a last one that a kill cut short."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    def check_log(self, step: int) -> None:
        """Raises RunError where the log ends before the checkpoint's `step`."""
        steps = max(len(self._log_lines()) - 1, 0)
        if steps < step:
            raise RunError(
                f"{self.log} ends at step {steps}, the checkpoint beside it is of step {step}.",
                "Was one of them copied or edited? Bring the log back, or train into another -o.",
            )

    def cut_log(self, step: int, fields: tuple[str, ...]) -> None:
        """Begin the log, or leave its lines up to `step`: those after the checkpoint will be written again."""
        write_text(self.log, "\n".join([",".join(fields), *self._log_lines()[1 : step + 1]]) + "\n")

    def append_log(self, step: int, values: np.ndarray, seconds: float) -> None:
        """Lines for the last steps up to `step`, from the numbers [N, 6 or 7] that `train_on_batch` gives.

        Raises:
            OutputError: the folder cannot be written, or the disk is full.
        """
        lines = []
        for number, row in enumerate(values, step - len(values) + 1):
            told = [f"{value:.6g}" for value in row]
            lines.append(",".join([str(number), *told[:6], f"{seconds:.2f}", *told[6:]]) + "\n")
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())  # before the checkpoint that says these steps are done
        except OSError as error:
            raise OutputError(
                f"Cannot write {self.log}: {error.strerror or error}.",
                "Check free space and permissions; the same command then goes on from the last checkpoint.",
            ) from error

    def losses(self) -> dict[str, np.ndarray]:
        """The log's columns, each float64 [steps]; a last line cut short by a kill is left out.

        Raises:
            RunError: no log, or a line in it that is not one of ours.
        """
        try:
            text = self.log.read_text(encoding="utf-8")
        except OSError:
            raise RunError(f"{self.path} has no log.csv.", "Has it been trained?") from None
        lines = text[: text.rfind("\n") + 1].splitlines()
        rows = list(csv.reader(lines))
        fields = tuple(rows[0]) if rows else ()
        if fields not in (LOG_FIELDS, (*LOG_FIELDS, STRENGTH)):
            raise RunError(f"{self.log} is not a training log.", f"Its first line should be {','.join(LOG_FIELDS)}.")
        try:
            table = np.array(rows[1:], np.float64).reshape(-1, len(fields))
        except ValueError as error:
            raise RunError(f"{self.log} is damaged: {error}.") from None
        return dict(zip(fields, table.T, strict=True))

    def health(self) -> Health:
        """The verdict on the run so far, from its log."""
        losses = self.losses()
        return judge(losses["d_loss"], losses["g_loss"], self.config().training.real_label)

    def write_health(self) -> Health:
        health = self.health()
        write_json(self.path / "health.json", asdict(health))
        return health

    def people(self) -> dict[str, np.ndarray]:
        """Some real faces of each person: uint8 [N, H, W, 3] by name."""
        path = self.path / "people.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read: {error}.", "Train the run anew.") from None


def describe_run(run: Run) -> str:
    """One line a person can read about a run; never fails on a damaged one."""
    try:
        about = run.about()
        people = ", ".join(f"{count} {name}" for name, count in about["faces"].items())
        return f"{run.path}: {people}; seed {about['seed']}"
    except (FacemorphError, KeyError):
        return str(run.path)
