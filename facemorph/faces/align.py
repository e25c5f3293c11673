"""A folder of frames to a folder of aligned faces, resumed; every frame is accounted for in a manifest."""

import contextlib
import json
import logging
import os
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.errors import FaceError, ImageError, InputError
from facemorph.faces.align_images import AlignSettings, align_in_chunks, detector_for, loaded_detector
from facemorph.faces.crop import PAPER_MARGIN, find_crop
from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.landmarks import chosen_landmarks, landmarks_in
from facemorph.faces.locate import choose_face, locate_face
from facemorph.files import fit_name, output_stems, remove_torn, sha256, write_json, write_jsonl
from facemorph.folders import find_persons, list_images, name_of_folder, refuse_same, tell_left_out
from facemorph.images import contact_sheet, read_image, write_image
from facemorph.progress import progress_bar
from facemorph.shards import Shard, known_rows, parts

log = logging.getLogger("facemorph")

SIDE_SAMPLE = 15  # frames that decide the side of a crop of fixed size
BEGUN = ".begun.json"  # the faces that a process is about to write
SHEET = 100  # images on a contact sheet
ALL = Shard()


def reference_descriptor(path: Path, detector: str = "auto", landmarks: str = "auto") -> np.ndarray:
    """The descriptor [128] of the largest face in the image `path`.

    Raises:
        ImageError, FaceError: the image cannot be read, or shows no face.
    """
    image = read_image(path)
    face = locate_face(image, str(path), detector=detector, points=landmarks)
    return describe([face_chip(image, face.landmarks)])[0]


def find_folders(sources: list[Path]) -> list[Path]:
    """The folders of images among `sources`; a folder of folders stands for its subfolders (see `find_persons`).

    Raises:
        InputError: missing, not a folder, without images, or two of the same name.
    """
    return list(find_persons(sources).values())


def align(
    source: Path,
    output: Path,
    settings: AlignSettings,
    *,
    person: Path | None = None,
    jobs: int = 0,
    device: str = "cpu",
    shard: Shard = ALL,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Write the aligned face of every image in `source` to `output`, with a manifest.jsonl; return its rows.

    Each row has the source and its hash, `status` accepted or rejected and why, how many faces were detected, and the
    box, score and landmarks of the one taken, in pixels of the source. Images in the manifest are not aligned again.

    Args:
        source: folder of images.
        output: folder for one PNG of `size_px` per face.
        settings: which faces, and how they are cut out; see `AlignSettings`.
        person: image of the person to keep; other faces are rejected.
        jobs: processes; 0 is one per CPU.
        device: where the CNN detector runs.
        shard: where several processes align the same folder, which of its images are this one's. Only their rows are
            returned, except by the process that finishes last, which returns all.

    Raises:
        InputError: `output` is `source`, other settings were used in it before, or no face was accepted.
        ConfigError: an unknown crop or detector, a device that is missing, or a detector that cannot follow faces.
    """
    refuse_same(source, output)
    detector_for(settings, device)
    chosen_landmarks(settings.landmarks)
    known = known_rows(output)
    settings, reference = _settled(settings, person, known, output)
    _check_source(source, known, output)
    paths = list_images(source)
    tell_left_out(source, paths)
    if find_crop(settings.crop).fixed_size and not settings.side_px:
        settings = replace(settings, side_px=_measured_side(paths, settings))

    here = {path.name: path for path in paths}
    rows_before = {row["source"]: row for row in known if "source" in row}
    done = {name: row for name, row in rows_before.items() if name in here and _still_holds(row, here[name], output)}
    if shard.world == 1:
        _remove_stale(rows_before, done, output)
    stems = {name: Path(row["file"]).stem for name, row in done.items() if "file" in row}
    outputs = {name: output / f"{stem}.png" for name, stem in output_stems(here, ".png", stems).items()}
    mine = shard.mine(paths)
    todo = [path for path in mine if path.name not in done]
    head = {"settings": asdict(settings), "from": source.name, "folder": os.path.abspath(source)}  # noqa: PTH100
    name, before = name_of_folder(source), len(mine) - len(todo)
    with progress_bar(progress, total=len(mine), unit=" frames", description=f"align {name}", initial=before) as bar:
        if todo:
            manifest = shard.manifest(output)
            write_jsonl(manifest, [head, *done.values()])
            if shard.world == 1:  # what a kill may leave without a row
                write_json(output / BEGUN, [outputs[path.name].name for path in todo])
            with manifest.open("a") as file:  # chunk by chunk: an interruption loses little
                for rows in align_in_chunks(todo, outputs, settings, reference, jobs, device):
                    done |= {row["source"]: row for row in rows}
                    file.writelines(json.dumps(row) + "\n" for row in rows)
                    file.flush()
                    bar.update(len(rows))
    if shard.world > 1:
        done |= {row["source"]: row for row in known_rows(output) if "source" in row}
        if any(path.name not in done for path in paths):
            return [done[path.name] for path in mine]  # another process will finish last
    if todo or parts(output) or rows_before.keys() != here.keys():
        write_jsonl(output / "manifest.jsonl", [head, *(done[path.name] for path in paths)])
        for part in parts(output):
            part.unlink(missing_ok=True)
    (output / BEGUN).unlink(missing_ok=True)
    rows = [done[path.name] for path in paths]
    _show_results(rows, source, output)
    return rows


def _settled(
    settings: AlignSettings, person: Path | None, known: list[dict[str, Any]], output: Path
) -> tuple[AlignSettings, np.ndarray | None]:
    """The settings as the manifest will have them, and the descriptor of the person to keep, if one is named."""
    if person is None:
        return _same_settings(settings, known, output), None
    read_image(person)  # which says what is wrong with it
    settings = _same_settings(replace(settings, person=sha256(person)), known, output)
    return settings, reference_descriptor(person, settings.detector, settings.landmarks)


def _show_results(rows: list[dict[str, Any]], source: Path, output: Path) -> None:
    """Warn of unreadable images, and write the contact sheets. Raises InputError if no face was accepted."""
    for row in rows:
        if row.get("reason") == "unreadable":
            log.warning("%s Skipped.", row["detail"])
    _write_sheets(rows, source, output)
    if not any(row["status"] == "accepted" for row in rows):
        reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(r["reason"] for r in rows).items())
        raise InputError(
            f"No face was accepted from the {len(rows)} images in {source}: {reasons}.",
            "Is it the right folder? With --person, is it the right person? --detector hog may detect other faces.",
        )


def _same_settings(settings: AlignSettings, known: list[dict[str, Any]], output: Path) -> AlignSettings:
    before = next((row["settings"] for row in known if "settings" in row), None)
    if before is None:
        return replace(settings, landmarks=chosen_landmarks(settings.landmarks))
    # old manifests lack the newer settings
    before = {**asdict(AlignSettings()), **before, "landmarks": landmarks_in(before)}
    now = {**asdict(settings), "landmarks": chosen_landmarks(settings.landmarks, before["landmarks"])}
    if find_crop(settings.crop).fixed_size and not settings.side_px:
        now["side_px"] = before["side_px"]  # measured then
    if now["detector"] == "auto":
        now["detector"] = before["detector"]  # a folder keeps the detector that it was started with
    if before != now:
        changed = ", ".join(f"{key} was {before[key]}" for key in now if before.get(key) != now[key])
        raise InputError(
            f"{output} was made with other settings ({changed}).", "Choose another -o, or delete the folder."
        )
    return AlignSettings(**before)


def _still_holds(row: dict[str, Any], source: Path, output: Path) -> bool:
    """Whether a row is about what its source is now, and its face is there, whole."""
    try:
        known = row.get("source_sha256")
        if known is not None and sha256(source) != known:
            return False
        if row["status"] == "rejected":
            return True
        with (output / row["file"]).open("rb") as file:
            file.seek(-8, os.SEEK_END)
            return file.read(4) == b"IEND"
    except OSError:
        return False


def _check_source(source: Path, known: list[dict[str, Any]], output: Path) -> None:
    """Raises InputError where `output` holds the faces of another folder, which is still there."""
    before = next((row["folder"] for row in known if "folder" in row), None)
    if before is not None and Path(before).is_dir() and not Path(before).samefile(source):
        raise InputError(
            f"{output} holds the faces of {before}, not of {source}.", "Choose another -o, or delete the folder."
        )


def _remove_stale(before: dict[str, dict[str, Any]], done: dict[str, dict[str, Any]], output: Path) -> None:
    """Remove the faces of sources that are gone or have changed, and those that a kill left without a row."""
    kept = {row["file"] for row in done.values() if "file" in row}
    stale = {row["file"] for row in before.values() if "file" in row}
    with contextlib.suppress(OSError, ValueError):
        stale |= set(json.loads((output / BEGUN).read_text(encoding="utf-8")))
    changed = sorted(name for name in before.keys() - done.keys() if "file" in before[name])
    if changed:
        log.warning("%s: %d faces are removed, whose images were replaced or deleted.", output, len(changed))
    for name in stale - kept:
        (output / name).unlink(missing_ok=True)
    remove_torn(output)


def _measured_side(paths: list[Path], settings: AlignSettings) -> int:
    """The side of a crop of fixed size, in px: from the median extent of the landmarks in some of the frames."""
    extents = []
    for path in paths[:: max(1, len(paths) // SIDE_SAMPLE)]:
        try:
            image = read_image(path)
            points = choose_face(
                image, loaded_detector(settings.detector)([image])[0], None, settings.landmarks
            ).landmarks
        except (ImageError, FaceError):
            continue
        extents.append((points.max(0) - points.min(0)).max())
    return round(PAPER_MARGIN * float(np.median(extents))) if extents else 128


def _write_sheets(rows: list[dict[str, Any]], source: Path, output: Path) -> None:
    for status in ("accepted", "rejected"):
        chosen = [row for row in rows if row["status"] == status]
        sheet = output.with_name(fit_name(output.name, f"-{status}.jpg"))
        if not chosen:
            sheet.unlink(missing_ok=True)
            continue
        chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, min(SHEET, len(chosen))).astype(int)]
        images = []
        for row in chosen:
            try:
                images.append(read_image(output / row["file"] if status == "accepted" else source / row["source"]))
            except ImageError:
                images.append(np.full((64, 64, 3), 200, np.uint8))
        captions = [row.get("reason") or f"{row['score']:.2f}" for row in chosen]
        write_image(sheet, contact_sheet(images, captions))
