"""The front door to the DCGAN: train one, open what was trained."""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np

from facemorph.api.inputs import Path_
from facemorph.config import from_dict, plain
from facemorph.dcgan.config import Config, load_config
from facemorph.dcgan.health import Health
from facemorph.dcgan.run import Run as RunFolder
from facemorph.progress import Tell


class Run:
    """A trained run: the folder that `train` made.

    Attributes:
        path: the folder.

    Raises:
        RunError: there is no run at `path`.
    """

    def __init__(self, path: Path_) -> None:
        self.path = Path(path)
        self._folder = RunFolder.open(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def config(self) -> Config:
        """The resolved settings."""
        return self._folder.config()

    @property
    def persons(self) -> tuple[str, ...]:
        """The persons that it was trained on."""
        return tuple(self._folder.about()["faces"])

    def losses(self) -> dict[str, np.ndarray]:
        """The columns of log.csv, float64 [steps] each: step, d_loss, g_loss, ..."""
        return self._folder.losses()

    def health(self) -> Health:
        """The loss verdict: stable, failed or undecided, with its figures."""
        return self._folder.health()

    def plot(self, path: Path_, *, title: str | None = None) -> None:
        """Draw the losses with the verdict to `path` (.png, .svg or .pdf), as `facemorph plot-loss` does.

        Above stands `title`, by default the run's path and what it was trained on.

        Raises:
            RunError: there are no steps yet, or another suffix.
        """
        from facemorph.plots import plot_losses, save

        figure = plot_losses([self._folder])
        if title is not None:
            figure.axes[0].set_title(title, fontsize=8, wrap=True)
        save(figure, Path(path))

    def sample_grids(self) -> list[Path]:
        """The grids that were written while it trained, the oldest first."""
        return sorted((self.path / "samples").glob("step-*.png"))

    def evaluation(self) -> dict[str, Any] | None:
        """The report that `evaluate` wrote into the run folder; None where there is none."""
        try:
            return json.loads((self.path / "evaluation.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def sample(self, count: int = 16, *, seed: int = 0, person: str | None = None) -> np.ndarray:
        """Generated faces: uint8 RGB [count, H, W, 3]; `person` is for conditional runs.

        Raises:
            RunError: no generator has been saved yet, or it is not conditional.
        """
        trained = self._trained()
        return trained.images(trained.draw(count, seed, person))

    def walk(
        self,
        start: int | str | None = None,
        end: int | str | None = None,
        *,
        steps: int = 11,
        spherical: bool = False,
        seed: int = 0,
    ) -> np.ndarray:
        """Faces along a walk through the latent space: uint8 RGB [steps, H, W, 3].

        Args:
            start, end: two seeds, or two persons' names. Without them, from the first person to the second; in a run of
                one person, all of z from 0 to 1, as in the 2018 paper.
            spherical: on a sphere instead of straight, for normal z.
            seed: of the candidates among which the persons' end points are chosen.

        Raises:
            RunError: as `sample`; no generated face looks like one of the persons.
        """
        from facemorph.dcgan import walk

        trained = self._trained()
        if start is None and end is None and len(self.persons) > 1:
            start, end = self.persons[:2]
        if start is None or end is None:
            (z,) = walk.along_diagonal(trained)(steps)
        elif isinstance(start, str) and isinstance(end, str):
            a, b = walk.find_ends(trained, walk.person_centroids(self._folder), [start, end], seed)
            z = walk.between(a.z, b.z, steps, spherical=spherical)
        else:
            a, b = (trained.draw(1, int(one))[0] for one in (start, end))
            z = walk.between(a, b, steps, spherical=spherical)
        return trained.images(z)

    def evaluate(
        self, *, samples: int = 1000, seed: int = 0, output: Path_ | None = None, progress: bool | Tell = False
    ) -> dict[str, Any]:
        """Measure generated faces against those that it was trained on; the report of evaluation.json.

        Written into `output`, by default the run folder: evaluation.json, evaluation.png and evaluation.npz.

        Raises:
            RunError: no generator has been saved yet, or there are too few real faces.
        """
        from facemorph.evaluation.evaluate_run import evaluate

        to = self.path if output is None else Path(output)
        passed_on = cast(bool, progress)  # to `progress_bar`, which takes a function as well
        return evaluate(self._folder, to, samples=samples, seed=seed, progress=passed_on).report

    def _trained(self) -> Any:
        from facemorph.dcgan.walk import load_generator

        return load_generator(self._folder)


def train(
    faces: Path_ | Sequence[Path_],
    run: Path_,
    *,
    config: str | PathLike[str] | Config = "mixed.yaml",
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    progress: bool = False,
) -> Run:
    """Train a DCGAN on aligned faces, or continue an interrupted run.

    Args:
        faces: folders of a person each, or a folder of such folders, as `facemorph align` makes them.
        run: the run folder.
        config: the name of a shipped config, a YAML file, or a `Config`.
        settings: what to change in it, such as {"training.steps": 500}.

    Returns: the run.

    Raises:
        ConfigError: an unknown setting or a wrong value.
        InputError: no faces, or too few for a batch.
        RunError: the folder holds a run with other settings or faces.
    """
    from facemorph.dcgan.train import train as train_run
    from facemorph.plots import LivePlot

    chosen = config if isinstance(config, Config) else load_config(Path(config))
    folders = [faces] if isinstance(faces, str | PathLike) else list(faces)
    values = plain(chosen)
    for key, value in {"data.faces": [str(folder) for folder in folders], **(settings or {})}.items():
        section, _, name = key.partition(".")
        values[section] = {**values.get(section, {}), name: value}
    train_run(
        from_dict(values, "settings", Config), Path(run), device_name=device, progress=progress, logged=LivePlot()
    )
    return Run(run)


def list_settings(kind: str = "train") -> list[dict[str, str]]:
    """Key, default, what is allowed, and meaning of every setting of "train", "project" or "train-encoder"."""
    from facemorph import config
    from facemorph.stylegan.projection.config import EncoderConfig, ProjectionConfig

    tree = {"train": Config, "project": ProjectionConfig, "train-encoder": EncoderConfig}[kind]
    return [dict(zip(("key", "default", "allowed", "meaning"), row, strict=True)) for row in config.list_settings(tree)]
