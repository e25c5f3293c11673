"""The run folder of `train-generator`: everything that a run writes. Only the networks need torch to be read.

config.yaml             the resolved configuration; its `kind` tells it from a DCGAN's run
run.json                versions, commit, seed, faces and their hash, device
log.csv                 every step's losses
figures.csv             Frechet distances of generated faces, and how held-out faces are reconstructed, at intervals
loss.png                the plot of both
health.json             the verdict
faces.npz               held-out faces, and some of those trained on, for figures
real.png                a grid of faces trained on
samples/                grids: drawn-STEP.png from fixed noise; rebuilt-STEP.png, held-out faces beside the rebuilt ones
checkpoint.safetensors  everything needed to continue
generator.safetensors   the network, with generator.json, as every command takes it
encoder.safetensors     its encoder
.lock                   held by the process that trains
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.errors import FacemorphError, RunError
from facemorph.files import replacing, write_json
from facemorph.run_folder import STYLEGAN, RunLog, kind_of_run, read_about, read_config
from facemorph.stylegan.training.config import Config, config_from_dict
from facemorph.stylegan.training.health import Health, judge

NUMBERS = (
    "d_loss", "d_of_real", "d_of_fake", "g_loss", "pixels", "features", "identity", "descriptor", "latent", "far",
    "stray",
)  # fmt: skip
"""What a step tells; 0 where a term has no part in it."""
LOG_FIELDS = ("step", *NUMBERS, "rate", "pace", "seconds")
FIGURES = ("frechet_faces", "frechet_imagenet", "diversity", "rebuilt_pixels", "rebuilt_features", "rebuilt_descriptor")
"""NaN where they cannot be measured."""
FIGURE_FIELDS = ("step", "images", *FIGURES, "seconds")
KEPT_BYTES = 16 << 20  # of held-out faces, and of those trained on, that the run folder keeps


class GeneratorRun:
    """A run folder at `path`; nothing is read or created before it is needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.safetensors"
        self.generator = path / "generator.safetensors"
        self.encoder = path / "encoder.safetensors"
        self.directions = path / "directions.safetensors"  # ages and gender, of faces-128 alone
        self.log = RunLog(path / "log.csv", LOG_FIELDS)
        self.figure_log = RunLog(path / "figures.csv", FIGURE_FIELDS)
        self.samples = path / "samples"
        self.lock = path / ".lock"

    @classmethod
    def open(cls, path: Path) -> "GeneratorRun":
        """An existing run.

        Raises:
            RunError: there is none of `train-generator` at `path`.
        """
        kind = kind_of_run(path)
        if kind != STYLEGAN:
            raise RunError(
                f"{path} is a run of `facemorph train`; one of `train-generator` was expected.", "Name another folder."
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

    def append_log(self, step: int, values: np.ndarray, extra: list[tuple[float, float, float]]) -> None:
        """Append lines for the last steps up to `step`: their numbers [N, NUMBERS], and rate, pace and seconds of each.

        Raises:
            OutputError: the folder cannot be written, or the disk is full.
        """
        lines = []
        for number, (row, more) in enumerate(zip(values, extra, strict=True), step - len(values) + 1):
            cells = [f"{value:.6g}" for value in (*row, *more[:2])]
            lines.append([str(number), *cells, f"{more[2]:.2f}"])
        self.log.append(lines)

    def append_figures(self, step: int, images: int, figures: dict[str, float], seconds: float) -> None:
        cells = [f"{figures[name]:.6g}" for name in FIGURES]
        self.figure_log.append([[str(step), str(images), *cells, f"{seconds:.2f}"]])

    def cut_figures(self, step: int) -> None:
        """Begin figures.csv, or keep its lines up to `step`."""
        kept = 0
        if step and self.figure_log.path.exists():
            kept = int((self.figure_log.read()["step"] <= step).sum())
        self.figure_log.cut(kept, FIGURE_FIELDS)

    def losses(self) -> dict[str, np.ndarray]:
        """The log's columns, each float64 [steps]; an incomplete last line is left out.

        Raises:
            RunError: no log, or it is damaged.
        """
        return self.log.read()

    def figures(self) -> dict[str, np.ndarray]:
        """The columns of figures.csv, each float64 [times].

        Raises:
            RunError: there is none, or it is damaged.
        """
        return self.figure_log.read()

    def health(self) -> Health:
        """The verdict on the run so far."""
        return judge(self.losses(), self.figures())

    def write_health(self) -> Health:
        health = self.health()
        write_json(self.path / "health.json", asdict(health))
        return health

    def write_faces(self, real: np.ndarray, held: np.ndarray) -> None:
        """Keep some of the faces trained on, evenly spread, and of those held out: uint8 [N, 3, H, H] each."""
        arrays = {}
        for name, faces in (("real", real), ("held", held)):
            most = max(1, KEPT_BYTES // faces[0].nbytes) if len(faces) else 0
            chosen = np.linspace(0, len(faces) - 1, min(most, len(faces))).astype(int)
            arrays[name] = faces[chosen].transpose(0, 2, 3, 1)
        with replacing(self.path / "faces.npz") as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **arrays)

    def faces(self) -> dict[str, np.ndarray]:
        """The faces that the folder keeps: "real" (trained on) and "held", uint8 [N, H, H, 3].

        Raises:
            RunError: they cannot be read.
        """
        path = self.path / "faces.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in ("real", "held")}
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"{path} cannot be read: {error}.", "Train the run again.") from None


def describe_run(run: GeneratorRun) -> str:
    """One line about a run, for a plot; never fails on a damaged one."""
    try:
        about = run.about()
        start = f", from {about['start']}" if about.get("start") else ""
        return f"{run.path}: {about['faces']['trained_on']} faces of {about['size_px']} px{start}; seed {about['seed']}"
    except (FacemorphError, KeyError, TypeError):
        return str(run.path)
