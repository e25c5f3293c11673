"""Photographs found in a trained run's latent space, and the walk between them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facemorph.dcgan.run import Run
from facemorph.dcgan.walk import TrainedGenerator, between_at, load_generator
from facemorph.faces.crop import find_crop
from facemorph.faces.features import features_of_aligned
from facemorph.faces.locate import locate_face
from facemorph.files import read_jsonl, sha256, write_json
from facemorph.images import read_image, to_tensor, write_image
from facemorph.progress import progress_bar

LIMIT = 2.5  # of a normal z; uniform ones have limits of their own


@dataclass(frozen=True)
class RunMorphSettings:
    """`steps` stills and `frames` of a film; the search takes `search_steps` of Adam from each of `starts` random z."""

    steps: int = 9
    frames: int = 30
    spherical: bool = False
    seed: int = 0
    starts: int = 12
    search_steps: int = 300
    learning_rate: float = 0.05


def invert(
    trained: TrainedGenerator, targets: np.ndarray, settings: RunMorphSettings, progress: bool = False
) -> tuple[Tensor, np.ndarray]:
    """The z [N, z_dim] whose images are nearest to `targets` (uint8 [N, H, H, 3]), and their distances [N].

    From several random starts, by the difference of pixels at three sizes; z stays where training drew it. Of the best
    half by pixels, the one that dlib's descriptor finds nearest is taken, and that distance returned.
    """
    count, starts = len(targets), settings.starts
    wanted = to_tensor(targets).repeat_interleave(starts, 0)  # [N * starts, 3, H, H]
    low, high = {"uniform": (-1.0, 1.0), "uniform01": (0.0, 1.0)}.get(trained.config.z, (-LIMIT, LIMIT))
    z = trained.draw(count * starts, settings.seed).requires_grad_()
    optimizer = torch.optim.Adam([z], settings.learning_rate)
    with progress_bar(progress, total=settings.search_steps, unit=" steps", description="search") as bar:
        for step in range(settings.search_steps):
            for group in optimizer.param_groups:  # down to 0 along a cosine
                group["lr"] = settings.learning_rate * (1 + np.cos(np.pi * step / settings.search_steps)) / 2
            optimizer.zero_grad()
            _difference(trained.network(z), wanted).sum().backward()
            optimizer.step()
            with torch.no_grad():
                z.clamp_(low, high)
            bar.update()
    found = z.detach()
    with torch.no_grad():
        difference = _difference(trained.network(found), wanted).view(count, starts)
    chosen, distances = [], []
    aims = features_of_aligned(targets).descriptors
    for index in range(count):
        best = difference[index].argsort()[: max(1, starts // 2)] + index * starts
        descriptors = features_of_aligned(trained.images(found[best])).descriptors
        apart = np.linalg.norm(descriptors - aims[index], axis=1)
        chosen.append(found[best[int(apart.argmin())]])
        distances.append(float(apart.min()))
    return torch.stack(chosen), np.array(distances)


def _difference(images: Tensor, wanted: Tensor) -> Tensor:
    """Mean square of the difference at full, half and quarter size, summed: [N]."""
    total = torch.zeros(len(images))
    for level in range(3):
        if level:
            images, wanted = F.avg_pool2d(images, 2), F.avg_pool2d(wanted, 2)
        total = total + (images - wanted).square().mean((1, 2, 3))
    return total


def align_as(run: Run, path: Path) -> np.ndarray:
    """The face in a photograph, cut as the run's own faces were: uint8 [H, H, 3].

    How they were is read from the manifest of `facemorph align` where the run's faces still lie; otherwise its default
    is taken.

    Raises:
        ImageError, FaceError: no image, or no face in it.
    """
    config = run.config()
    settings: dict[str, object] = {}
    for folder in map(Path, config.data.faces):
        for manifest in [folder / "manifest.jsonl", *sorted(folder.glob("*/manifest.jsonl"))]:
            for row in read_jsonl(manifest)[:1]:
                settings = settings or row.get("settings", {})
    image = read_image(path)
    points = locate_face(image, str(path)).landmarks
    # A crop of fixed size belongs to frames of one size: here its side is measured on this face.
    return find_crop(str(settings.get("crop", "eyes"))).cut(image, points, config.network.size_px)


class RunMorph:
    """The walk between two photographs that were projected into a trained run.

    Attributes:
        distances: descriptor distance of each end to its photograph, [2].
    """

    def __init__(self, first: Path, second: Path, run_folder: Path, settings: RunMorphSettings, progress: bool) -> None:
        """Project both.

        Raises:
            RunError: no run, or it has no generator yet.
            ImageError, FaceError: a photograph cannot be read or shows no face.
        """
        run = Run.open(run_folder)
        self.trained = load_generator(run)
        self.settings = settings
        self.aligned = [align_as(run, path) for path in (first, second)]
        self.z, self.distances = invert(self.trained, np.stack(self.aligned), settings, progress)
        self.rows: list[dict[str, Any]] = [{"method": "dcgan", "settings": asdict(settings), "run": str(run_folder)}]
        self.rows += [{"source": path.name, "source_sha256": sha256(path)} for path in (first, second)]

    def frames(self, fractions: Sequence[float]) -> Iterator[np.ndarray]:
        z = between_at(self.z[0], self.z[1], torch.tensor(fractions), spherical=self.settings.spherical)
        yield from self.trained.images(z)

    def manifest(self) -> list[dict[str, Any]]:
        return self.rows

    def write_extras(self, folder: Path, fractions: Sequence[float]) -> None:
        """first.png and second.png, the aligned photographs, and ends.json, how near to them the ends are."""
        for name, face in zip(("first.png", "second.png"), self.aligned, strict=True):
            write_image(folder / name, face)
        write_json(
            folder / "ends.json", {"descriptor_distance": self.distances.round(4).tolist(), "z": self.z.tolist()}
        )
