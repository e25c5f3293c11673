"""Portraits to latents: aligned, projected, written with figures of the reconstruction."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from facemorph.config import plain
from facemorph.errors import FacemorphError, InputError, OutputError
from facemorph.faces.landmarks import chosen_landmarks
from facemorph.files import (
    MANIFEST,
    distinct,
    output_stems,
    read_jsonl,
    replacing_files,
    sha256,
    write_json,
    write_jsonl,
)
from facemorph.folders import head_of, what_it_is
from facemorph.images import grid, to_tensor, to_uint8, write_image
from facemorph.progress import Tell, progress_bar
from facemorph.shards import Shard, known_rows, parts
from facemorph.stylegan.latents import Latent, fingerprint, read_latent, write_latent
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.config import ProjectionConfig
from facemorph.stylegan.projection.optimize import ProjectionResult, synthesize
from facemorph.stylegan.projection.portrait import Portrait, read_portrait
from facemorph.stylegan.projection.projector import Projector, make_projector
from facemorph.stylegan.projection.report import figures, peak_memory_mib, read_report
from facemorph.stylegan.projection.tuning import tune, write_generator

log = logging.getLogger("facemorph")

ALL = Shard()
LATENT_SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")
PROBE_STEPS = 2  # taken, timed and thrown away before a search on a CPU


def project_files(
    images: Sequence[Path],
    folder: Path,
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
    share: Shard = ALL,
    all_or_none: bool = False,
) -> list[Path]:
    """Project each image into a network's latent space, and write what was found to `folder`/<name of the image>/.

    Where two images share a name, their folders have longer ones (`facemorph.files.output_stems`).
    Written are latent.safetensors (`facemorph.stylegan.latents`, with the history of the loss), aligned.png (what was
    projected), reconstruction.png, side_by_side.png and report.json; with tuning also tuned.safetensors and its .json
    (a network for this image alone, for `--network`) and tuned-latent.safetensors (the latent, as that network's).
    An image that is done already, with the same settings, is left as it is. One that cannot be done is reported and
    left out; with `all_or_none` its error is raised before any is projected. manifest.jsonl accounts for all, also for
    what is in `folder` from earlier. With a
    `share` among other processes, only this one's images are done.

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
    targets = _folders(images, folder)
    images = share.mine(images)
    projector = make_projector(network, settings, device, encoder)
    network_id = fingerprint(projector.generator)
    key = {"network": network_id, "settings": plain(settings), "aligned": aligned, "seed": seed}
    asked = key if landmarks == "auto" else {**key, "landmarks": placed_by}
    once = list({targets[path]: path for path in images}.values())  # an image may be named twice
    todo = [path for path in once if overwrite or not _is_done(path, targets[path], asked)]
    for path in once:
        if path not in todo:
            log.info("%s is done already; it is left as it is.", path)
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
            portraits = []
            for path in chunk:
                try:
                    portraits.append(ahead.get(path) or read(path))
                except FacemorphError as error:
                    log.warning("%s", error)
                    failures[path] = error.problem
            if portraits:
                with _enough_memory():
                    if first == 0 and _may_take_long(projector):
                        _tell_estimate(projector, portraits, len(todo))
                    _project_chunk(projector, portraits, targets, {**key, "landmarks": placed_by}, seed, bar)
            bar.update(steps * (first + len(chunk)) - bar.n)
    rows = [_row(path, targets[path], failures.get(path)) for path in once]
    write_jsonl(share.manifest(folder), rows if share.world > 1 else [*_earlier(folder, targets), *rows])
    if share.world > 1:
        _join_manifests(folder, targets)
    elif len(failures) == len(once):
        raise InputError("None of the images could be projected.", "\n".join(failures.values()))
    lost = {targets[path] for path in failures}
    return [targets[path] / "latent.safetensors" for path in images if targets[path] not in lost]


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
            "source_folder": _where(portrait.path),
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


def _folders(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Where each image's results go. Raises InputError where there are no images, or only latents."""
    if not images:
        raise InputError("No images were given.", "Name at least one: facemorph project a.jpg")
    if all(path.is_file() and path.suffix.lower() in LATENT_SUFFIXES for path in images):
        kind = what_it_is(head_of(images[0]))
        if kind:  # said before a network is loaded; among images it is left out, and they go on
            raise InputError(
                f"{images[0]} is {kind}; images are projected.",
                "A latent needs no projection: give it to `facemorph morph` or `child` as it is.",
            )
    return {path: folder / stem for path, stem in _stems(images, folder).items()}


def _stems(images: Sequence[Path], folder: Path) -> dict[Path, str]:
    """What each image's folder is called: as it was, where it was projected before; by `output_stems` otherwise."""
    by_place = {_place(path): path for path in images}
    known: dict[str, str] = {}
    moved: dict[tuple[str, str], str] = {}  # whose image is gone, or lies elsewhere now
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    for inner in inside:
        report = read_report(inner)
        if report is None:
            continue
        place = _place_of({"source": inner.name, **report})
        if place in by_place or Path(place).is_file():
            known[place] = inner.name
        else:
            moved[distinct(Path(place).name), str(report.get("source_sha256"))] = inner.name
    for place, path in by_place.items():
        if place not in known and path.is_file() and (name := moved.get((distinct(path.name), sha256(path)))):
            known[place] = name
    others = [inner.name for inner in inside if inner.name in moved.values() or not inner.is_dir()]
    stems = output_stems(by_place, "", known, others)
    return {path: stems[_place(path)] for path in images}


def _place(path: Path) -> str:
    return os.path.join(_where(path), path.name)  # noqa: PTH118, links stay


def _where(path: Path) -> str:
    return os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120, links stay


def _is_done(image: Path, folder: Path, key: dict[str, Any]) -> bool:
    """Was this image done before with the same network and settings?

    Raises:
        OutputError: it was done, but from another image, network or settings.
    """
    report = read_report(folder)
    if report is None:
        return False
    report = {"landmarks": "dlib", **report}  # older ones do not tell
    expected = {**key, "source_sha256": sha256(image) if image.is_file() else None}
    same_file = report.get("source_folder") == _where(image) and report.get("source") == image.name
    if same_file and report.get("source_sha256") != expected["source_sha256"] and image.is_file():
        log.warning("%s is not the image that it was; it is projected anew.", image)
        return False
    changed = [name for name, value in expected.items() if report.get(name) != value]
    if changed:
        words = {"source_sha256": "another picture", "settings": "other settings", "landmarks": "other landmarks"}
        raise OutputError(
            f"{folder} holds a projection with {' and '.join(words.get(n, f'another {n}') for n in changed)}.",
            f"Choose another folder (--latents; of `facemorph project`: -o), or project it again, as you want it now: "
            f"facemorph project {image} -o {folder.parent} --overwrite",
        )
    try:
        read_latent(folder / "latent.safetensors")
    except InputError as error:
        log.warning("%s It is made anew.", error.problem)
        return False
    return True


def _may_take_long(projector: Projector) -> bool:
    """On a CPU, and more than a hundred steps at 256 px are: long enough to time a few of them first."""
    steps = projector.settings.schedule.steps + projector.settings.tuning.steps
    resolution = projector.generator.architecture.resolution
    return projector.generator.w_avg.device.type == "cpu" and steps * resolution**2 > 100 * 256**2


def _tell_estimate(projector: Projector, portraits: list[Portrait], count: int) -> None:
    """Say how long it will take, after a few steps that are thrown away."""
    image = to_tensor(np.stack([one.image for one in portraits]))
    objective = projector.objective(image, [one.points for one in portraits])
    began = time.perf_counter()
    start = projector.start(image, objective)
    looked = time.perf_counter() - began
    seconds = []
    for _ in range(PROBE_STEPS):
        began = time.perf_counter()
        images = projector.generator.synthesize(start.clone().requires_grad_())
        torch.stack(list(objective.weighted_terms(images).values())).sum().backward()
        seconds.append(time.perf_counter() - began)
    step = min(seconds) / len(portraits)
    each = step * (projector.settings.schedule.steps + projector.settings.tuning.steps)
    log.info(
        "A step takes %.2g s here: about %s an image, %s for all %d. (Looking for a start took %.1f s.)",
        step, _duration(each), _duration(each * count), count, looked,
    )  # fmt: skip


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


@contextmanager
def _enough_memory() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"There is not enough memory on the device: {str(error).splitlines()[0]}",
            "Try --set search.batch_size=1 --set search.size_px=128, or --device cpu.",
        ) from error


def _row(path: Path, folder: Path, failure: str | None) -> dict[str, Any]:
    digest = sha256(path) if path.is_file() else None
    row = {"source": path.name, "source_folder": _where(path), "source_sha256": digest}
    return row | ({"status": "failed", "reason": failure} if failure else {"status": "done", "folder": folder.name})


def _place_of(row: dict[str, Any]) -> str:
    return os.path.join(row.get("source_folder", ""), row["source"])  # noqa: PTH118, links stay


def _earlier(folder: Path, targets: dict[Path, Path]) -> list[dict[str, Any]]:
    """The manifest's rows of images that are not these: done ones whose projections are here, failed ones that are.

    A projection whose image is gone from its folder stays, as it may have taken hours; its row says so.
    """
    places, folders = {_place(path) for path in targets}, {target.name for target in targets.values()}
    kept, gone = [], 0
    for row in read_jsonl(folder / MANIFEST):
        row.pop("source_gone", None)
        missing = "source_folder" in row and not Path(_place_of(row)).exists()
        if _place_of(row) in places or (row["status"] == "failed" and (missing or "source_folder" not in row)):
            continue
        if row["status"] == "done":
            if row["folder"] in folders or read_report(folder / row["folder"]) is None:
                continue
            if missing and Path(row["source_folder"]).is_dir():
                gone, row = gone + 1, row | {"source_gone": True}
        kept.append(row)
    if gone:
        log.warning("%s: images that were projected earlier and are gone: %d. Their projections stay.", folder, gone)
    return kept


def _join_manifests(folder: Path, targets: dict[Path, Path]) -> None:
    """Write the manifest from all processes' parts, once they account for every image."""
    rows = {_place_of(row): row for row in known_rows(folder)}
    if all(_place(path) in rows for path in targets):
        ours = {_place(path): rows[_place(path)] for path in targets}
        write_jsonl(folder / MANIFEST, [*_earlier(folder, targets), *ours.values()])
        for part in parts(folder):
            part.unlink(missing_ok=True)
