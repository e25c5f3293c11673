"""Projection of photographs into a trained run's latent space, and the walk between them."""

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
from facemorph.device import pick_device
from facemorph.faces.crop import find_crop
from facemorph.faces.features import features_of_aligned
from facemorph.faces.landmarks import landmarks_in
from facemorph.faces.locate import locate_face
from facemorph.files import read_jsonl, sha256, write_json
from facemorph.images import read_image, to_tensor, write_image
from facemorph.progress import progress_bar

LIMIT = 2.5  # of a normal z, either side of 0


@dataclass(frozen=True)
class RunMorphSettings:
    """`steps` stills and `frames` of a film; `search_steps` of Adam for the projection, from `starts` random z each."""

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
    """Project `targets` (uint8 [N, H, H, 3]): the z [N, z_dim] whose images are nearest, and descriptor distances [N].

    Minimises the difference of pixels at three sizes from several random starts; z stays within its training range. Of
    the better half by pixels, the one nearest by dlib's descriptor is returned, with that distance.
    """
    count, starts = len(targets), settings.starts
    target = to_tensor(targets).to(trained.device).repeat_interleave(starts, 0)  # [N * starts, 3, H, H]
    low, high = {"uniform": (-1.0, 1.0), "uniform01": (0.0, 1.0)}.get(trained.config.z, (-LIMIT, LIMIT))
    z = trained.draw(count * starts, settings.seed).to(trained.device).requires_grad_()
    optimizer = torch.optim.Adam([z], settings.learning_rate)
    with progress_bar(progress, total=settings.search_steps, unit=" steps", description="project") as bar:
        for step in range(settings.search_steps):
            for group in optimizer.param_groups:  # cosine decay to 0
                group["lr"] = settings.learning_rate * (1 + np.cos(np.pi * step / settings.search_steps)) / 2
            optimizer.zero_grad()
            _difference(trained.network(z), target).sum().backward()
            optimizer.step()
            with torch.no_grad():
                z.clamp_(low, high)
            bar.update()
    with torch.no_grad():
        difference = _difference(trained.network(z), target).view(count, starts).cpu()
    projected = z.detach().cpu()
    chosen, distances = [], []
    target_descriptors = features_of_aligned(targets).descriptors
    for index in range(count):
        best = difference[index].argsort()[: max(1, starts // 2)] + index * starts
        descriptors = features_of_aligned(trained.images(projected[best])).descriptors
        apart = np.linalg.norm(descriptors - target_descriptors[index], axis=1)
        chosen.append(projected[best[int(apart.argmin())]])
        distances.append(float(apart.min()))
    return torch.stack(chosen), np.array(distances)


def _difference(images: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference at full, half and quarter size, summed: [N]."""
    total = images.new_zeros(len(images))
    for level in range(3):
        if level:
            images, target = F.avg_pool2d(images, 2), F.avg_pool2d(target, 2)
        total = total + (images - target).square().mean((1, 2, 3))
    return total


def align_as(run: Run, path: Path) -> np.ndarray:
    """The face in a photograph, aligned as the run's training faces: uint8 [H, H, 3].

    The crop, and what landmarks are from, are read from the manifest of `facemorph align` if the run's faces are still
    there; otherwise they are the default ones.

    Raises:
        ImageError, FaceError: no image, or no face in it.
    """
    config = run.config()
    settings: dict[str, Any] = {}
    for folder in map(Path, config.data.faces):
        for manifest in [folder / "manifest.jsonl", *sorted(folder.glob("*/manifest.jsonl"))]:
            for row in read_jsonl(manifest)[:1]:
                settings = settings or row.get("settings", {})
    image = read_image(path)
    points = locate_face(image, str(path), points=landmarks_in(settings) if settings else "auto").landmarks
    # A crop of fixed size belongs to frames of one size: here its side is measured on this face.
    return find_crop(str(settings.get("crop", "eyes"))).cut(image, points, config.network.size_px)


class RunMorph:
    """The walk between two photographs or more that were projected into a trained run, at even fractions of the way.

    Attributes:
        legs: from one to the next, how many.
        distances: descriptor distance of each face to its photograph, [N].
    """

    def __init__(
        self,
        faces: Sequence[Path],
        run_folder: Path,
        settings: RunMorphSettings,
        progress: bool,
        device: str | None = None,
    ) -> None:
        """Project all.

        Raises:
            RunError: no run, or it has no generator yet.
            ImageError, FaceError: a photograph cannot be read or shows no face.
        """
        run = Run.open(run_folder)
        self.trained = load_generator(run, pick_device(device))
        self.settings, self.legs = settings, len(faces) - 1
        unique = list(dict.fromkeys(faces))  # of a loop, the first is the last as well
        aligned = [align_as(run, path) for path in unique]
        z, distances = invert(self.trained, np.stack(aligned), settings, progress)
        order = [unique.index(path) for path in faces]
        self.aligned, self.z, self.distances = [aligned[index] for index in order], z[order], distances[order]
        self.rows: list[dict[str, Any]] = [{"method": "dcgan", "settings": asdict(settings), "run": str(run_folder)}]
        self.rows += [{"source": path.name, "source_sha256": sha256(path)} for path in faces]

    def frames(self, fractions: Sequence[float]) -> Iterator[np.ndarray]:
        for fraction in fractions:
            place = fraction * self.legs
            leg = max(min(int(place + 1e-9), self.legs - 1), 0)
            at = torch.tensor([place - leg])
            z = between_at(self.z[leg], self.z[leg + 1], at, spherical=self.settings.spherical)
            yield from self.trained.images(z)

    def manifest(self) -> list[dict[str, Any]]:
        return self.rows

    def write_extras(self, folder: Path, fractions: Sequence[float]) -> None:
        """The aligned photographs (first.png and second.png; of a chain face_0.png and so on), and ends.json."""
        names = ["first.png", "second.png"] if self.legs == 1 else [f"face_{n}.png" for n in range(self.legs + 1)]
        for name, face in zip(names, self.aligned, strict=True):
            write_image(folder / name, face)
        write_json(
            folder / "ends.json", {"descriptor_distance": self.distances.round(4).tolist(), "z": self.z.tolist()}
        )
