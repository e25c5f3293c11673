"""The run folder: everything that a run writes. Only the weights need torch to be read.

config.yaml             the resolved configuration
run.json                versions, commit, seed, data hash and counts, device
log.csv                 every step's losses
loss.png                its plot, drawn by `facemorph train` from the first step on, and by `plot-loss`
health.json             the loss verdict and its statistics
sample-faces.json       in how many images of the last sample grid a face is detected
people.npz              some real faces of each person, with which a walk's end points are compared
real.png, samples/      a grid of real faces; sample grids from fixed z
checkpoint.safetensors  everything needed to continue
generator.safetensors   the generator alone, with settled batch statistics: what sample and walk load
.lock                   held by the process that trains
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.dcgan.config import Config, config_from_dict
from facemorph.dcgan.health import Health, judge
from facemorph.errors import FacemorphError, RunError
from facemorph.files import write_json
from facemorph.run_folder import DCGAN, RunLog, kind_of_run, read_about, read_config

LOG_FIELDS = ("step", "d_loss", "d_loss_real", "d_loss_fake", "g_loss", "d_of_real", "d_of_fake", "seconds")
STRENGTH = "strength"  # one more column where augmentation adapts
USABLE = 0.5  # fraction of samples with a face, below which a generator is not called usable


@dataclass(frozen=True)
class SampleFaces:
    """In how many images of a sample grid a face is detected. The loss verdict does not say."""

    step: int
    detected: int
    samples: int

    @property
    def usable(self) -> bool:
        return self.detected >= USABLE * self.samples

    def __str__(self) -> str:
        return f"faces detected: {self.detected} of {self.samples}" + ("" if self.usable else ", not usable yet")


class Run:
    """A run folder at `path`; nothing is read or created before it is needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.safetensors"
        self.generator = path / "generator.safetensors"
        self.log = path / "log.csv"
        self._log = RunLog(self.log, LOG_FIELDS, (*LOG_FIELDS, STRENGTH))
        self.samples = path / "samples"
        self.lock = path / ".lock"

    @classmethod
    def open(cls, path: Path) -> "Run":
        """An existing run.

        Raises:
            RunError: there is none at `path`.
        """
        if kind_of_run(path) != DCGAN:
            raise RunError(
                f"{path} is a run of `train-generator`; one of `facemorph train` was expected.",
                f"Its network: facemorph generate --network {path / 'generator.safetensors'}; "
                f"also plot-loss, evaluate, and facemorph weights add {path}.",
            )
        return cls(path)

    def config(self) -> Config:
        """The resolved configuration.

        Raises:
            ConfigError: it was damaged.
        """
        return config_from_dict(read_config(self.path), str(self.path / "config.yaml"))

    def about(self) -> dict[str, Any]:
        return read_about(self.path)

    def check_log(self, step: int) -> None:
        """Raises RunError if the log ends before the checkpoint's `step`."""
        self._log.check(step)

    def cut_log(self, step: int, fields: tuple[str, ...]) -> None:
        """Begin the log, or keep its lines up to `step`: those after the checkpoint will be written again."""
        self._log.cut(step, fields)

    def append_log(self, step: int, values: np.ndarray, seconds: float) -> None:
        """Append lines for the last steps up to `step`, from the numbers [N, 6 or 7] that `train_on_batch` returns.

        Raises:
            OutputError: the folder cannot be written, or the disk is full.
        """
        lines = []
        for number, row in enumerate(values, step - len(values) + 1):
            cells = [f"{value:.6g}" for value in row]
            lines.append([str(number), *cells[:6], f"{seconds:.2f}", *cells[6:]])
        self._log.append(lines)

    def losses(self) -> dict[str, np.ndarray]:
        """The log's columns, each float64 [steps]; an incomplete last line is left out.

        Raises:
            RunError: no log, or it is damaged.
        """
        return self._log.read()

    def health(self) -> Health:
        """The loss verdict on the run so far, from its log."""
        losses = self.losses()
        return judge(losses["d_loss"], losses["g_loss"], self.config().training.real_label)

    def write_health(self) -> Health:
        health = self.health()
        write_json(self.path / "health.json", asdict(health))
        return health

    def sample_faces(self) -> SampleFaces | None:
        """How many faces the last sample grid shows; None if they have not been counted."""
        try:
            return SampleFaces(**json.loads((self.path / "sample-faces.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write_sample_faces(self, counted: SampleFaces) -> None:
        write_json(self.path / "sample-faces.json", asdict(counted))

    def people(self) -> dict[str, np.ndarray]:
        """Some real faces of each person: uint8 [N, H, W, 3] by name."""
        path = self.path / "people.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except Exception as error:  # NumPy and its zip file raise many kinds on a damaged one
            why = error.strerror if isinstance(error, OSError) and error.strerror else "it is damaged"
            raise RunError(f"{path} cannot be read: {why}.", "Train the run again.") from None


def describe_run(run: Run) -> str:
    """One line about a run, for a plot; never fails on a damaged one."""
    try:
        about = run.about()
        people = ", ".join(f"{count} {name}" for name, count in about["faces"].items())
        return f"{run.path}: {people}; seed {about['seed']}"
    except (FacemorphError, KeyError):
        return str(run.path)
