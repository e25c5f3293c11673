"""Portraits to latents: aligned, projected, written with figures of the reconstruction."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from facemorph.config import plain
from facemorph.errors import FacemorphError, InputError
from facemorph.faces.landmarks import chosen_landmarks
from facemorph.files import replacing_files, write_json
from facemorph.images import grid, to_tensor, to_uint8, write_image
from facemorph.progress import Tell, progress_bar
from facemorph.shards import Shard
from facemorph.stylegan.latents import Latent, fingerprint, write_latent
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.config import ProjectionConfig
from facemorph.stylegan.projection.estimate import log_estimate, may_take_long
from facemorph.stylegan.projection.folder import (
    PROJECTED,
    folder_of,
    free_folder,
    is_done,
    result_folders,
    write_manifest,
)
from facemorph.stylegan.projection.optimize import ProjectionResult, synthesize
from facemorph.stylegan.projection.portrait import Portrait, read_portrait
from facemorph.stylegan.projection.projector import Projector, make_projector
from facemorph.stylegan.projection.report import figures, peak_memory_mib
from facemorph.stylegan.projection.tuning import tune, write_generator

log = logging.getLogger("facemorph")

ALL = Shard()


def project_files(
    images: Sequence[Path],
    folder: Path | None,
    network: str | Path,
    settings: ProjectionConfig,
    *,
    aligned: bool = False,
    landmarks: str = "auto",
    overwrite: bool = False,
    progress: bool | Tell = False,
    device: str | None = None,
    encoder: Path | None = None,
    seed: int = 0,
    shard: Shard = ALL,
    all_or_none: bool = False,
) -> list[Path]:
    """Project each image into a network's latent space, and write what was found to `folder`/<name of the image>/.

    Without a folder they go to `projected`, or to the first of projected-2 and so on that holds none of these images
    with other settings.
    Where two images share a name, their folders have longer ones (`facemorph.files.output_stems`).
    Written are latent.safetensors (`facemorph.stylegan.latents`, with the history of the loss), aligned.png (what was
    projected), reconstruction.png, side_by_side.png and report.json; with tuning also tuned.safetensors and its .json
    (a network for this image alone, for `--network`) and tuned-latent.safetensors (the latent, as that network's).
    An image that is done already, with the same settings, is left as it is. One that cannot be done is reported and
    left out; with `all_or_none` its error is raised before any is projected. manifest.jsonl accounts for all, also for
    what `folder` holds from earlier. With a `shard` among other processes only this one's images are done.

    Args:
        landmarks: a name in `facemorph.faces.landmarks.LANDMARKS`. With "auto" an image that is done already keeps
            those that its report tells, or dlib's where an older one tells none.

    Returns:
        The latent files of the images that this process did or found done, in their order.

    Raises:
        WeightsError, InputError: as `make_projector`; there are no images, or none could be done.
        ImageError, FaceError: with `all_or_none`, as `read_portrait`.
        OutputError: a result of other settings is there and may not be overwritten, or `folder` cannot be written.
    """
    placed_by = chosen_landmarks(landmarks)
    targets = result_folders(images, folder or PROJECTED)
    projector = make_projector(network, settings, device, encoder)
    network_id = fingerprint(projector.generator)
    key = {"network": network_id, "settings": plain(settings), "aligned": aligned, "seed": seed}
    asked = key if landmarks == "auto" else {**key, "landmarks": placed_by}
    if folder is None:
        folder = free_folder(images, asked)
        targets = result_folders(images, folder)
    images = shard.mine(images)
    once = list({targets[path]: path for path in images}.values())  # an image may be named twice
    todo = [path for path in once if overwrite or not is_done(path, targets[path], asked)]
    for path in once:
        if path not in todo:
            log.info("%s is already done; it is left as it is.", path)
    a = projector.generator.architecture

    def read(path: Path) -> Portrait:
        return read_portrait(path, a.resolution, aligned, a.alignment, placed_by)

    ahead = {path: read(path) for path in todo} if all_or_none else {}
    failures: dict[Path, str] = {}
    steps = settings.schedule.steps + settings.tuning.steps
    total = steps * len(todo)
    with progress_bar(progress if total else False, total=total, unit=" steps", description="project") as bar:
        for first in range(0, len(todo), projector.batch_size):
            chunk = todo[first : first + projector.batch_size]
            portraits = _readable(chunk, lambda path: ahead.get(path) or read(path), failures)
            if portraits:
                with _enough_memory():
                    if first == 0 and may_take_long(projector):
                        log_estimate(projector, portraits, len(todo))
                    _project_chunk(projector, portraits, targets, {**key, "landmarks": placed_by}, seed, bar)
            bar.update(steps * (first + len(chunk)) - bar.n)
    write_manifest(folder, targets, once, failures, shard)
    if shard.world == 1 and len(failures) == len(once):
        raise InputError("None of the images could be projected.", "\n".join(failures.values()))
    lost = {targets[path] for path in failures}
    return [targets[path] / "latent.safetensors" for path in images if targets[path] not in lost]


def _readable(images: Sequence[Path], read: Callable[[Path], Portrait], failures: dict[Path, str]) -> list[Portrait]:
    """The portraits that can be read. Why others cannot goes into `failures`, and into the log."""
    portraits = []
    for path in images:
        try:
            portraits.append(read(path))
        except FacemorphError as error:
            log.warning("%s", error)
            failures[path] = error.problem
    return portraits


def _project_chunk(
    projector: Projector,
    portraits: list[Portrait],
    folders: dict[Path, Path],
    key: dict[str, Any],
    seed: int,
    bar: tqdm,
) -> None:
    began = time.perf_counter()
    device = projector.generator.w_avg.device
    targets = to_tensor(np.stack([one.image for one in portraits])).to(device)
    found = projector(targets, [one.points for one in portraits], seed, bar)
    seconds = (time.perf_counter() - began) / len(portraits)
    for index, portrait in enumerate(portraits):
        one = found.only(index)
        generator, began = projector.generator, time.perf_counter()
        pivot = _image(generator, one)
        if projector.settings.tuning.steps:
            objective = projector.objective(targets[index : index + 1], [portrait.points])
            generator = tune(generator, objective, one, projector.settings.tuning, bar)
        image = _image(generator, one)
        report = {
            "source": portrait.path.name,
            "source_sha256": portrait.sha256,
            "source_folder": folder_of(portrait.path),
            **key,
            **figures(portrait.image, image, portrait.points, projector.lpips, portrait.chip),
            "identity_optimised": "identity" in one.history and one.steps > 0,
            "loss_used": projector.loss_name,
            "alignment": generator.architecture.alignment.name,
            "start": projector.start_name,
            "loss": float(one.loss[0]),
            "steps": one.steps,
            "seconds": round(seconds + time.perf_counter() - began, 2),
            "peak_memory_mib": peak_memory_mib(device),
            "remarks": list(portrait.remarks),
        }
        _write(folders[portrait.path], one, portrait, pivot, image, generator, report)


def _image(generator: Generator, found: ProjectionResult) -> np.ndarray:
    """uint8 RGB [R, R, 3]."""
    with torch.no_grad():
        return to_uint8(synthesize(generator, found.latents, found.noise))[0]


def _write(
    folder: Path,
    found: ProjectionResult,
    portrait: Portrait,
    pivot: np.ndarray,
    image: np.ndarray,
    generator: Generator,
    report: dict[str, Any],
) -> None:
    arrays = {"loss" if name == "loss" else f"loss.{name}": rows[:, 0] for name, rows in found.history.items()}
    arrays |= {f"noise.{name}": plane[0, 0].cpu().numpy() for name, plane in found.noise.items()}
    about = {
        name: report[name]
        for name in ("source", "source_sha256", "settings", "landmarks", "psnr_db", "ms_ssim", "lpips")
    }
    space = report["settings"]["search"]["space"]
    latent = Latent(found.latents[0].cpu().numpy(), space, report["network"], about, arrays)
    tuned = report["settings"]["tuning"]["steps"] > 0
    for name in ("report.json", "tuned.safetensors", "tuned.json", "tuned-latent.safetensors"):  # of an earlier run
        (folder / name).unlink(missing_ok=True)
    with replacing_files(folder) as temporary:
        write_latent(temporary / "latent.safetensors", latent)
        write_image(temporary / "aligned.png", portrait.image)
        write_image(temporary / "reconstruction.png", image)
        if tuned:
            path = temporary / "tuned.safetensors"
            write_generator(path, generator, tuned_for=portrait.path.name, tuned_from=report["network"])
            own = Latent(latent.w, space, fingerprint(generator), about, arrays)
            write_latent(temporary / "tuned-latent.safetensors", own)
        row = [portrait.image, pivot, image] if tuned else [portrait.image, image]
        write_image(temporary / "side_by_side.png", grid(row, len(row)))
    write_json(folder / "report.json", report)  # last: it says that all is there


@contextmanager
def _enough_memory() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"There is not enough memory on the device: {str(error).splitlines()[0]}",
            "Try --set search.batch_size=1 --set search.size_px=128, or --device cpu.",
        ) from error
