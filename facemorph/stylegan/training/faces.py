"""Faces to train on, in memory as uint8: folders as `align` makes them, or packs; a part of them is held out.

A pack is a file of a count (uint32), that many lengths (uint32), then as many WebP pictures, all little-endian. An .npy
file is uint8 [N, H, W, 3].
"""

import hashlib
import io
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from facemorph.errors import ImageError, InputError
from facemorph.files import MANIFEST, printable, read_jsonl
from facemorph.folders import find_persons, list_images, tell_left_out
from facemorph.images import read_image, resize
from facemorph.stylegan.training.config import Data

log = logging.getLogger("facemorph")

PACKS = {".pack", ".npy"}
MAX_BYTES = 16 << 30  # of faces in memory
MAX_PICTURE_BYTES = 1 << 24  # in a pack
WHOLE_PERSONS = 20  # with so many, whole persons are held out: another picture of one person is no test


@dataclass(frozen=True)
class Faces:
    """Faces in memory.

    Attributes:
        images: uint8 [N, 3, H, H], to train on.
        held: uint8 [M, 3, H, H], for figures alone.
        crop: how they lie, a name in `facemorph.faces.crop.CROPS`.
        digest: SHA-256 of both.
        source: where they come from, in words.
    """

    images: np.ndarray
    held: np.ndarray
    crop: str
    digest: str
    source: str

    @property
    def size_px(self) -> int:
        return self.images.shape[2]

    def __str__(self) -> str:
        return f"{len(self.images)} faces and {len(self.held)} held out, from {self.source}"


@dataclass(frozen=True)
class _Picture:
    """One face that can be read, and whose it is: the folder, or its own number in a pack."""

    read: Callable[[], np.ndarray]
    person: str


def load_faces(config: Data, size_px: int, seed: int) -> Faces:
    """Read every face once, at `size_px`, and hold a part out.

    Raises:
        InputError: a source is missing, empty or damaged, the faces do not fit into memory, are in different crops, or
            their crop is not known.
    """
    pictures, crops = _find(config.faces, "data.faces")
    apart, crops_apart = _find(config.held_out, "data.held_out")
    crop = _one_crop({**crops, **crops_apart}, config.crop)
    rng = np.random.default_rng(seed)
    if config.limit:
        chosen = np.sort(rng.permutation(len(pictures))[: config.limit])
        pictures = [pictures[index] for index in chosen]
    _check_size(len(pictures) + len(apart), size_px)
    if not apart:
        held = _held_out([one.person for one in pictures], config.hold_out, rng)
        apart = [one for one, out in zip(pictures, held, strict=True) if out]
        pictures = [one for one, out in zip(pictures, held, strict=True) if not out]
    images, held_images = (_read_all(some, size_px) for some in (pictures, apart))
    if len(images) < 2:
        raise InputError(
            f"{', '.join(config.faces)}: {len(images)} faces to train on; two at least are needed.",
            "From 50 on it is worth while with --from; from noise, some thousands are needed.",
        )
    digest = hashlib.sha256(images.tobytes() + held_images.tobytes()).hexdigest()
    return Faces(images, held_images, crop, digest, ", ".join(config.faces))


def crop_of(config: Data) -> str:
    """How the faces lie, a name in `facemorph.faces.crop.CROPS`, without reading them.

    Raises:
        InputError: as `load_faces`.
    """
    crops = {**_find(config.faces, "data.faces")[1], **_find(config.held_out, "data.held_out")[1]}
    return _one_crop(crops, config.crop)


def _held_out(persons: Sequence[str], share: float, rng: np.random.Generator) -> np.ndarray:
    """Which faces are held out: bool [N]; at least one, unless the share is 0. Whole persons, where there are many."""
    names = list(dict.fromkeys(persons))
    held = np.zeros(len(persons), bool)
    if not share:
        return held
    order = rng.permutation(len(names))
    if len(names) >= WHOLE_PERSONS:
        chosen = {names[index] for index in order[: max(1, round(share * len(names)))]}
        return np.array([person in chosen for person in persons])
    held[rng.permutation(len(persons))[: max(1, round(share * len(persons)))]] = True
    return held


def _find(sources: Sequence[str], key: str) -> tuple[list[_Picture], dict[str, str]]:
    """All pictures, and the crop of each folder by its name ("" where it is not noted)."""
    pictures: list[_Picture] = []
    crops: dict[str, str] = {}
    for name in sources:
        path = Path(name)
        if path.is_file() and path.suffix in PACKS:
            found = _packed(path)
            pictures += found
            crops[name] = ""
            continue
        if not path.is_dir():
            kind = "is no folder and no pack (.pack, .npy)" if path.exists() else "does not exist"
            raise InputError(f"{name} {kind} ({key}).", "Make faces with `facemorph align`, or check the path.")
        for person, folder in find_persons([path]).items():
            images, crops[str(folder)] = _accepted(folder)
            pictures += [_Picture(lambda image=image: read_image(image), printable(person)) for image in images]
    return pictures, crops


def _accepted(folder: Path) -> tuple[list[Path], str]:
    """The images of a folder that `align` accepted, and their crop; all images and "" without its manifest."""
    images = list_images(folder)
    rows = read_jsonl(folder / MANIFEST)
    crop = ""
    if rows:
        images = [folder / row["file"] for row in rows if "file" in row and (folder / row["file"]).exists()]
        settings = next((row["settings"] for row in rows if isinstance(row.get("settings"), dict)), {})
        crop = str(settings.get("crop", ""))
    tell_left_out(folder, images)
    return images, crop


def _one_crop(crops: dict[str, str], wanted: str) -> str:
    """The crop of all faces. Raises InputError where there are two, or none is known."""
    known = {crop: where for where, crop in crops.items() if crop}
    if wanted != "auto":
        known.setdefault(wanted, "data.crop")
    if len(known) > 1:
        named = ", ".join(f"{crop} ({where})" for crop, where in known.items())
        raise InputError(f"The faces have different crops: {named}.", "Align all of them with the same --crop.")
    if not known:
        raise InputError(
            f"The crop of the faces in {', '.join(crops)} is unknown: there is no manifest of `facemorph align`.",
            "Name it: --set data.crop=eyes (or ffhq, paper)",
        )
    return next(iter(known))


def _check_size(count: int, size_px: int) -> None:
    size = count * 3 * size_px**2
    if size > MAX_BYTES:
        raise InputError(
            f"{count} faces of {size_px} px take {size / 2**30:.1f} GiB of memory; {MAX_BYTES >> 30} are allowed.",
            "Take fewer with --set data.limit=N",
        )


def _read_all(pictures: Sequence[_Picture], size_px: int) -> np.ndarray:
    """uint8 [N, 3, H, H]; what cannot be read is left out, and said."""
    images = np.empty((len(pictures), 3, size_px, size_px), np.uint8)
    readable = np.ones(len(pictures), bool)

    def read(index: int) -> None:
        try:
            images[index] = resize(pictures[index].read(), size_px).transpose(2, 0, 1)
        except ImageError as error:
            readable[index] = False
            log.warning("%s It is left out.", error.problem)

    with ThreadPoolExecutor() as pool:
        list(pool.map(read, range(len(pictures))))
    return images if readable.all() else images[readable]


def _packed(path: Path) -> list[_Picture]:
    """The pictures of a pack, each as a person of its own."""
    if path.suffix == ".npy":
        return _array(path)
    raw = path.read_bytes()
    count = int.from_bytes(raw[:4], "little")
    start = 4 + 4 * count
    lengths = np.frombuffer(raw, "<u4", count, 4).astype(np.int64) if 4 < start <= len(raw) else np.zeros(0, np.int64)
    ends = start + np.cumsum(lengths)
    if not len(lengths) or ends[-1] != len(raw) or lengths.max() > MAX_PICTURE_BYTES:
        raise InputError(
            f"{path} is no pack of faces, or is cut short.",
            "A count, that many lengths (both uint32), then the WebP pictures were expected.",
        )
    return [
        _Picture(lambda a=end - length, b=end, n=number: _decoded(raw[a:b], path, n), f"{path.name}/{number}")
        for number, (length, end) in enumerate(zip(lengths.tolist(), ends.tolist(), strict=True))
    ]


def _decoded(data: bytes, path: Path, number: int) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP", "JPEG", "PNG")) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"Picture {number} of {path} cannot be read: {str(error)[:100]}.") from error


def _array(path: Path) -> list[_Picture]:
    try:
        faces = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}.", "uint8 [N, H, H, 3] was expected.") from None
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[3] != 3 or faces.shape[1] != faces.shape[2]:
        raise InputError(f"{path} holds {faces.dtype} {faces.shape}; uint8 [N, H, H, 3] was expected.")
    return [_Picture(lambda n=number: np.array(faces[n]), f"{path.name}/{number}") for number in range(len(faces))]
