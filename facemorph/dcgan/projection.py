"""Photographs found in a trained run's latent space, and the walk between them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facemorph.animation import write_morph_files
from facemorph.dcgan.run import Run
from facemorph.dcgan.walk import TrainedGenerator, between_at, load_generator
from facemorph.faces import crop
from facemorph.faces.features import features_of_aligned
from facemorph.faces.locate import locate_face
from facemorph.files import check_free, read_jsonl, sha256, write_json
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
    kind = settings.get("crop", "eyes")
    if kind == "paper":  # its fixed side belongs to frames of one size: here as a multiple of the face
        quad = crop.paper_quad(points, 1.5 * float(np.ptp(points, axis=0).max()))
    else:
        quad = crop.ffhq_quad(points) if kind == "ffhq" else crop.eyes_quad(points)
    size = config.network.size_px
    return crop.cut(image, quad, size, 4096 if kind == "ffhq" else 4 * size)


def write_run_morph(
    first: Path,
    second: Path,
    folder: Path,
    run_folder: Path,
    settings: RunMorphSettings,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> tuple[list[Path], np.ndarray]:
    """Find two photographs in a run and write the walk between them (files as `facemorph.animation` says).

    Beside them: first.png and second.png, the faces that were looked for, and ends.json, how near they were found.

    Returns:
        The files written, the strip first, and the descriptor distances [2] of the ends to the photographs.

    Raises:
        RunError: no run, or it has no generator yet.
        ImageError, FaceError: a photograph cannot be read or shows no face.
        OutputError: `folder` holds something already and `overwrite` is not set, or cannot be written.
    """
    check_free(folder, overwrite)
    run = Run.open(run_folder)
    trained = load_generator(run)
    faces = np.stack([align_as(run, path) for path in (first, second)])
    z, distances = invert(trained, faces, settings, progress)

    def at(shares: Sequence[float]) -> Iterator[np.ndarray]:
        yield from trained.images(between_at(z[0], z[1], torch.tensor(shares), spherical=settings.spherical))

    rows = [{"method": "dcgan", "settings": asdict(settings), "run": str(run_folder)}]
    rows += [{"source": path.name, "source_sha256": sha256(path)} for path in (first, second)]
    written = write_morph_files(
        folder, at, rows, steps=settings.steps, frames=settings.frames, overwrite=overwrite, progress=progress
    )
    for name, face in zip(("first.png", "second.png"), faces, strict=True):
        write_image(folder / name, face)
    ends = {"descriptor_distance": distances.round(4).tolist(), "z": z.tolist()}
    write_json(folder / "ends.json", ends)
    return written, distances
