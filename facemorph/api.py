"""The Python front door: `import facemorph as fm`. Arrays and paths in, arrays and dataclasses out.

An image is a path or a uint8 RGB array [H, W, 3]. Nothing is printed; progress bars are off unless `progress=True`.
Every error that a caller can cause is a `facemorph.errors.FacemorphError`, in the words of the command line.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.animation import write_gif, write_mp4
from facemorph.config import from_dict, plain
from facemorph.dcgan.config import Config, load_config
from facemorph.dcgan.health import Health
from facemorph.dcgan.run import Run as RunFolder
from facemorph.errors import ConfigError, ImageError
from facemorph.faces.compare import Comparison, compare_images
from facemorph.faces.crop import find_crop
from facemorph.faces.descriptors import SAME_PERSON
from facemorph.faces.detect import Detection
from facemorph.faces.locate import LocatedFace, cached_detector, locate_face
from facemorph.images import read_image, write_image
from facemorph.morphs import METHODS, MorphOptions

__all__ = [
    "Run",
    "align",
    "align_folder",
    "compare",
    "detect_faces",
    "find_landmarks",
    "list_settings",
    "morph",
    "train",
    "write_gif",
    "write_mp4",
]

Path_ = str | PathLike[str]
Image = str | PathLike[str] | np.ndarray


def _read(image: Image) -> tuple[np.ndarray, str]:
    """An image as uint8 RGB [H, W, 3], and what messages call it."""
    if not isinstance(image, np.ndarray):
        return read_image(Path(image)), str(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(
            f"An image is an array of {image.dtype} of shape {image.shape}; uint8 RGB [H, W, 3] was expected.",
            "Grey images: np.repeat(grey[..., None], 3, 2). Floats in 0..1: (255 * image).round().astype(np.uint8).",
        )
    return np.ascontiguousarray(image), "the array"


def detect_faces(image: Image, *, detector: str = "cnn") -> list[Detection]:
    """The faces in an image, the best score first: boxes (left, top, right, bottom) in pixels, and scores.

    Args:
        detector: "cnn" (dlib's network in PyTorch), "hog", or "dlib-cnn".

    Raises:
        ImageError: it cannot be read.
    """
    return cached_detector(detector)([_read(image)[0]])[0]


def find_landmarks(image: Image, *, detector: str = "cnn") -> LocatedFace:
    """The largest face of an image with its 68 landmarks, float64 [68, 2] in pixels.

    Raises:
        ImageError: it cannot be read.
        FaceError: there is no face in it.
    """
    array, name = _read(image)
    return locate_face(array, name, detector=detector)


def align(image: Image, *, crop: str = "eyes", size: int = 256, detector: str = "cnn") -> np.ndarray:
    """The largest face of an image, cut out so that it lies where the crop puts it: uint8 RGB [size, size, 3].

    Args:
        crop: "eyes" (level, a fixed distance apart), "ffhq" (as StyleGAN's data), or "paper" (upright, fixed size).

    Raises:
        ImageError: it cannot be read.
        FaceError: there is no face in it.
        ConfigError: an unknown crop.
    """
    kind = find_crop(crop)
    array, name = _read(image)
    face = locate_face(array, name, detector=detector)
    return kind.cut(array, face.landmarks, size)


def compare(first: Image, second: Image, *, threshold: float = SAME_PERSON, detector: str = "cnn") -> Comparison:
    """Are two images of one person? `.distance` between dlib's descriptors (Euclidean), and `.same` below `threshold`.

    Raises:
        ImageError: an image cannot be read.
        FaceError: there is no face in one of them.
    """
    pair = [_read(image) for image in (first, second)]
    return compare_images(pair[0], pair[1], threshold=threshold, detector=detector)


def align_folder(
    source: Path_,
    output: Path_,
    *,
    crop: str = "eyes",
    size: int = 64,
    detector: str = "cnn",
    jobs: int = 0,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """The face of every image in a folder, aligned and written to `output` as PNG, with a manifest.jsonl.

    Running it again completes what was interrupted.

    Args:
        jobs: processes; 0 takes one for each CPU.

    Returns: the manifest's rows: source, status (accepted or rejected, and why), box, score, landmarks.

    Raises:
        InputError: no images, other settings were used in `output` before, or no face was accepted.
    """
    from facemorph.faces.align import AlignSettings
    from facemorph.faces.align import align as run_align

    settings = AlignSettings(size, crop, detector)
    return run_align(Path(source), Path(output), settings, jobs=jobs, progress=progress)


def morph(
    first: Image,
    second: Image,
    *,
    method: str = "landmarks",
    steps: int = 9,
    size: int = 512,
    network: Path_ | None = None,
    run: Path_ | None = None,
    progress: bool = False,
    **options: Any,
) -> np.ndarray:
    """The morph of one face into another, both ends included: uint8 RGB [steps, S, S, 3].

    Args:
        method: "landmarks" (warp and dissolve, needs no network), "stylegan" (through a generator's latent space) or
            "dcgan" (through a trained run's).
        size: landmarks: side of the images.
        network: stylegan: a network file or a name; by default the best on this machine.
        run: dcgan: the folder of a trained run.
        options: more of `facemorph.morphs.MorphOptions`.

    Raises:
        ImageError: an image cannot be read.
        FaceError: there is no face in one of them.
        ConfigError: an unknown method.
        WeightsError: the network is not on this machine.
    """
    if method not in METHODS:
        raise ConfigError(f"method should be one of {', '.join(METHODS)}, not {method}.")
    with _as_files(first, second) as (a, b):
        if run is not None:
            options["run"] = Path(run)
        if network is not None:
            options["network"] = network
        made = METHODS[method](a, b, MorphOptions(steps, steps, size, **options), progress)
        return np.stack(list(made.frames(np.linspace(0, 1, steps).tolist())))


@contextlib.contextmanager
def _as_files(*images: Image) -> Iterator[list[Path]]:
    """Images as files: arrays in a temporary folder, as PNG."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, image in enumerate(images):
            if isinstance(image, np.ndarray):
                paths.append(Path(folder, f"image_{number}.png"))
                write_image(paths[-1], _read(image)[0])
            else:
                paths.append(Path(image))
        yield paths


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
            start, end: two seeds, or two persons' names; None for both walks all of z from 0 to 1, as the 2018 paper.
            spherical: on a sphere instead of straight, for normal z.
            seed: of the candidates among which the persons' end points are chosen.

        Raises:
            RunError: as `sample`; no generated face looks like one of the persons.
        """
        from facemorph.dcgan import walk

        trained = self._trained()
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
        self, *, samples: int = 1000, seed: int = 0, output: Path_ | None = None, progress: bool = False
    ) -> dict[str, Any]:
        """Measure generated faces against those that it was trained on; the report of evaluation.json.

        Written into `output`, by default the run folder: evaluation.json, evaluation.png and evaluation.npz.

        Raises:
            RunError: no generator has been saved yet, or there are too few real faces.
        """
        from facemorph.evaluation.evaluate_run import evaluate

        to = self.path if output is None else Path(output)
        return evaluate(self._folder, to, samples=samples, seed=seed, progress=progress).report

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
    """Train a DCGAN on aligned faces, or go on with a run that was interrupted.

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

    chosen = config if isinstance(config, Config) else load_config(Path(config))
    folders = [faces] if isinstance(faces, str | PathLike) else list(faces)
    values = plain(chosen)
    for key, value in {"data.faces": [str(folder) for folder in folders], **(settings or {})}.items():
        section, _, name = key.partition(".")
        values[section] = {**values.get(section, {}), name: value}
    train_run(from_dict(values, "settings", Config), Path(run), device_name=device, progress=progress)
    return Run(run)


def list_settings(kind: str = "train") -> list[dict[str, str]]:
    """Key, default, what is allowed, and meaning of every setting of "train", "project" or "train-encoder"."""
    from facemorph import config
    from facemorph.stylegan.projection.config import EncoderConfig, ProjectionConfig

    tree = {"train": Config, "project": ProjectionConfig, "train-encoder": EncoderConfig}[kind]
    return [dict(zip(("key", "default", "allowed", "meaning"), row, strict=True)) for row in config.list_settings(tree)]
