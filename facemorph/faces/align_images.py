"""The face of each of some images, aligned and written, in this process or in several."""

import functools
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.errors import FaceError, ImageError, InputError
from facemorph.faces.crop import find_crop
from facemorph.faces.detect import Detection, make_detector
from facemorph.faces.locate import Face, choose_face
from facemorph.files import sha256
from facemorph.images import read_image, write_image
from facemorph.memory import keep_freed
from facemorph.shards import deaf_to_interrupts, hidden_main
from facemorph.threads import cpus

CHUNK = 16  # images that one process takes at a time
# Above either, a face counts as cut off by the frame. The box is needed too, as landmarks tend to stay in the image.
LANDMARKS_OUTSIDE, BOX_OUTSIDE = 6, 0.25  # of 68; fraction of the box's side


@dataclass(frozen=True)
class AlignSettings:
    """Which faces are taken, and how they are cut out.

    Attributes:
        crop: a name in `facemorph.faces.crop.CROPS`.
        detector: a name in `facemorph.faces.detect.DETECTORS`.
        landmarks: a name in `facemorph.faces.landmarks.LANDMARKS`; a manifest has what "auto" stood for.
        side_px: side of a crop of fixed size, in frame pixels; 0 measures it on the person's own frames.
        person: SHA-256 of the reference image; "" without one.
        min_face_px: narrower faces are not detected.
        follow: track the face from frame to frame (see `facemorph.faces.track`).
    """

    size_px: int = 64
    crop: str = "eyes"
    detector: str = "auto"
    side_px: int = 0
    person: str = ""
    min_face_px: int = 0
    follow: bool = False
    landmarks: str = "auto"


@functools.cache
def loaded_detector(kind: str, min_face_px: int = 0, follow: bool = False, device: str = "cpu") -> Any:
    """The detector of a process, or with `follow` the `Tracker` around it."""
    if follow and kind == "auto":
        kind = "cnn"  # the map of whose scores is followed
    detector = make_detector(kind, device=device, min_face_px=min_face_px)
    if follow:
        from facemorph.faces.track import Tracker

        return Tracker(detector)
    return detector


def detector_for(settings: AlignSettings, device: str) -> Any:
    """The detector that these settings name. Raises ConfigError as `make_detector` and `Tracker`."""
    detector = loaded_detector(settings.detector, settings.min_face_px, settings.follow, device)
    if settings.follow:
        detector.reset()  # the next frames may come from elsewhere
    return detector


def _align_chunk(
    paths: list[Path], outputs: dict[str, Path], settings: AlignSettings, reference: np.ndarray | None, device: str
) -> list[dict[str, Any]]:
    """Align some images and return their manifest rows. Runs in a worker process."""
    rows: list[dict[str, Any]] = []
    images: list[np.ndarray] = []
    readable: list[dict[str, Any]] = []
    for path in paths:
        row: dict[str, Any] = {"source": path.name, "source_sha256": ""}
        rows.append(row)
        try:
            row["source_sha256"] = _digest(path)
            images.append(read_image(path))
            readable.append(row)
        except ImageError as error:
            row |= {"status": "rejected", "reason": "unreadable", "detail": error.problem}
    detected = detector_for(settings, device)(images)
    for row, image, detections in zip(readable, images, detected, strict=True):
        row |= _align_one(image, detections, outputs[row["source"]], settings, reference)
    return rows


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error


def _align_one(
    image: np.ndarray, detections: list[Detection], output: Path, settings: AlignSettings, reference: np.ndarray | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"faces": len(detections)}
    if not detections:
        return row | {"status": "rejected", "reason": "no face"}
    try:
        face = choose_face(image, detections, reference, settings.landmarks)
    except FaceError as error:
        return row | {"status": "rejected", "reason": "not the person", "detail": error.problem}
    row |= {
        "box": [int(side) for side in face.box],
        "score": round(face.score, 4),
        "landmarks": face.landmarks.round(2).tolist(),
    }
    cut = _cut_by_the_frame(face, image.shape[1], image.shape[0])
    if cut:
        return row | {"status": "rejected", "reason": "cut by the frame", "detail": cut}
    crop = find_crop(settings.crop)
    write_image(output, crop.cut(image, face.landmarks, settings.size_px, settings.side_px))
    return row | {"status": "accepted", "file": output.name}


def _cut_by_the_frame(face: Face, width: int, height: int) -> str:
    """How much of the face lies outside the image, in words; empty if only a little."""
    outside = int(((face.landmarks < 0) | (face.landmarks >= [width, height])).any(1).sum())
    left, top, right, bottom = face.box
    beyond = max(-left, -top, right - width, bottom - height) / (right - left)
    if outside > LANDMARKS_OUTSIDE or beyond > BOX_OUTSIDE:
        return f"{outside} of 68 landmarks and {max(beyond, 0):.0%} of the box outside"
    return ""


def align_in_chunks(
    todo: list[Path],
    outputs: dict[str, Path],
    settings: AlignSettings,
    reference: np.ndarray | None,
    jobs: int,
    device: str,
) -> Iterator[list[dict[str, Any]]]:
    """Align the images `todo` in `jobs` processes (0: one per CPU), and yield their manifest rows chunk by chunk.

    Raises:
        InputError: a process was ended from outside.
    """
    size = 4 * CHUNK if settings.follow else CHUNK  # each chunk begins with a search of the whole frame
    chunks = [todo[start : start + size] for start in range(0, len(todo), size)]
    shared = cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    jobs = min(jobs or max(shared, 1), len(chunks))
    if jobs == 1:
        for chunk in chunks:
            yield _align_chunk(chunk, outputs, settings, reference, device)
        return
    # spawn: a fork of a process with threads (tqdm, torch) may hang
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin_worker) as pool:
        try:
            with hidden_main(), deaf_to_interrupts():
                futures = [pool.submit(_align_chunk, chunk, outputs, settings, reference, device) for chunk in chunks]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "A process that aligned faces was ended from outside, as a machine short of memory does.",
                "What is done is kept. Run the same command again, with fewer processes: --jobs 1",
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                if worker not in others:  # or it would go on with up to three chunks
                    worker.terminate()
            raise


def _begin_worker() -> None:
    import torch

    torch.set_num_threads(1)
    keep_freed()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
