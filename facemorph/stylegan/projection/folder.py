"""A folder of projections: where each image's results lie, which are done already, and the manifest of all."""

import itertools
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facemorph.errors import InputError, OutputError
from facemorph.files import MANIFEST, distinct, output_stems, read_jsonl, sha256, write_jsonl
from facemorph.folders import head_of, what_it_is
from facemorph.shards import Shard, known_rows, parts
from facemorph.stylegan.latents import read_latent
from facemorph.stylegan.projection.report import read_report

log = logging.getLogger("facemorph")


PROJECTED = Path("projected")
LATENT_SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")


def write_manifest(
    folder: Path, targets: Mapping[Path, Path], images: Sequence[Path], failures: Mapping[Path, str], shard: Shard
) -> None:
    """Account for `images`, those of `failures` with the reason, and for what `folder` holds from earlier.

    Of several processes each writes its part; the last one to finish joins them. `targets` are the folders of all
    processes' images.
    """
    rows = [_row(path, targets[path], failures.get(path)) for path in images]
    write_jsonl(shard.manifest(folder), rows if shard.world > 1 else [*_earlier(folder, targets), *rows])
    if shard.world > 1:
        _join_manifests(folder, targets)


def result_folders(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Where each image's results go. Raises InputError where there are no images, or only latents."""
    if not images:
        raise InputError("No images were given.", "Name at least one: facemorph project a.jpg")
    if all(path.is_file() and path.suffix.lower() in LATENT_SUFFIXES for path in images):
        kind = what_it_is(head_of(images[0]))
        if kind:  # before a network is loaded; among images it is left out
            raise InputError(
                f"{images[0]} is {kind}; only images can be projected.",
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
    return os.path.join(folder_of(path), path.name)  # noqa: PTH118, links stay


def folder_of(path: Path) -> str:
    """The folder that an image lies in, as an absolute path in which links stay."""
    return os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120


def is_done(image: Path, folder: Path, key: dict[str, Any]) -> bool:
    """Was this image done before with the same network and settings?

    Raises:
        OutputError: it was done, but from another image, network or settings.
    """
    report = read_report(folder)
    if report is None:
        return False
    changed = _changed(report, image, key)
    if "source_sha256" in changed and _is_of(report, image):
        log.warning("%s has changed since it was projected; it is projected again.", image)
        return False
    if changed:
        words = {"source_sha256": "another picture", "settings": "other settings", "landmarks": "other landmarks"}
        raise OutputError(
            f"{folder} holds a projection with {' and '.join(words.get(n, f'another {n}') for n in changed)}.",
            f"Choose another folder (--latents; of `facemorph project`: -o), or project it again, as you want it now: "
            f"facemorph project {shlex.quote(str(image))} -o {shlex.quote(str(folder.parent))} --overwrite",
        )
    try:
        read_latent(folder / "latent.safetensors")
    except InputError as error:
        log.warning("%s It is made anew.", error.problem)
        return False
    return True


def _changed(report: dict[str, Any], image: Path, key: dict[str, Any]) -> list[str]:
    """What of an image's report is not as expected."""
    report = {"landmarks": "dlib", **report}  # older ones do not say
    expected = {**key, "source_sha256": sha256(image) if image.is_file() else None}
    return [name for name, value in expected.items() if report.get(name) != value]


def _is_of(report: dict[str, Any], image: Path) -> bool:
    """Whether the report is of the file that lies there now."""
    return report.get("source_folder") == folder_of(image) and report.get("source") == image.name and image.is_file()


def free_folder(images: Sequence[Path], key: dict[str, Any]) -> Path:
    """Where projections are kept if no folder is given: `projected`, or projected-2 and so on.

    It is the first that holds none of these images with another network or other settings.
    """
    for number in itertools.count(1):
        folder = PROJECTED if number == 1 else PROJECTED.with_name(f"{PROJECTED.name}-{number}")
        reports = {image: read_report(target) for image, target in result_folders(images, folder).items()}
        if not any(report and _other(report, image, key) for image, report in reports.items()):
            return folder
        log.info("%s holds projections with other settings.", folder)
    raise AssertionError


def _other(report: dict[str, Any], image: Path, key: dict[str, Any]) -> bool:
    changed = _changed(report, image, key)
    return bool(changed) and not ("source_sha256" in changed and _is_of(report, image))


def _row(path: Path, folder: Path, failure: str | None) -> dict[str, Any]:
    digest = sha256(path) if path.is_file() else None
    row = {"source": path.name, "source_folder": folder_of(path), "source_sha256": digest}
    return row | ({"status": "failed", "reason": failure} if failure else {"status": "done", "folder": folder.name})


def _place_of(row: dict[str, Any]) -> str:
    return os.path.join(row.get("source_folder", ""), row["source"])  # noqa: PTH118, links stay


def _earlier(folder: Path, targets: Mapping[Path, Path]) -> list[dict[str, Any]]:
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
        log.warning("%s: %d of the projected images no longer exist; their projections are kept.", folder, gone)
    return kept


def _join_manifests(folder: Path, targets: Mapping[Path, Path]) -> None:
    """Write the manifest from all processes' parts, once they account for every image."""
    rows = {_place_of(row): row for row in known_rows(folder)}
    if all(_place(path) in rows for path in targets):
        ours = {_place(path): rows[_place(path)] for path in targets}
        write_jsonl(folder / MANIFEST, [*_earlier(folder, targets), *ours.values()])
        for part in parts(folder):
            part.unlink(missing_ok=True)
