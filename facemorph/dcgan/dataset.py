"""Face folders to one array in memory: one folder per person."""

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facemorph.dcgan.config import Data
from facemorph.errors import ImageError, InputError
from facemorph.files import MANIFEST, printable, read_jsonl
from facemorph.folders import find_persons as folders_of_persons
from facemorph.folders import list_images, tell_left_out
from facemorph.images import read_image, resize

log = logging.getLogger("facemorph")

MAX_BYTES = 8 << 30  # of faces in memory


@dataclass(frozen=True)
class Faces:
    """Faces in memory, person by person, each in the order of the clip.

    Attributes:
        images: uint8 [N, 3, H, W].
        labels: [N], indices into `persons`.
        digest: SHA-256 of images, labels and names; empty where it is not needed.
        source: where they come from, for messages.
        complete: whether these are all the faces that were asked for.
    """

    images: np.ndarray
    labels: np.ndarray
    persons: tuple[str, ...]
    digest: str
    source: str = ""
    complete: bool = True

    @property
    def rgb(self) -> np.ndarray:
        """The images as uint8 RGB [N, H, W, 3]."""
        return self.images.transpose(0, 2, 3, 1)

    def counts(self) -> dict[str, int]:
        return {name: int((self.labels == i).sum()) for i, name in enumerate(self.persons)}

    def of(self, person: str, count: int) -> np.ndarray:
        """`count` faces of a person, evenly spaced over the clip: uint8 [count, H, W, 3]."""
        mine = np.flatnonzero(self.labels == self.persons.index(person))
        chosen = mine[np.linspace(0, len(mine) - 1, min(count, len(mine))).astype(int)]
        return self.rgb[chosen]


def describe_counts(counts: dict[str, int]) -> str:
    """In words: "120 of anna, 80 of ben"."""
    return ", ".join(f"{count} of {name}" for name, count in counts.items())


def find_persons(config: Data) -> dict[str, list[Path]]:
    """The face images of each person, by the person's name.

    Raises:
        InputError: a folder is missing or has no images, or a person in `config.persons` is not there.
    """
    for name in config.faces:
        if not Path(name).is_dir():
            raise InputError(
                f"No face folder {name} (data.faces).",
                "Make it with `facemorph align frames/*`, or name another: --set data.faces=FOLDER",
            )
    folders = folders_of_persons([Path(name) for name in config.faces])
    found = {printable(name): _accepted(folder) for name, folder in folders.items()}
    found = {name: paths for name, paths in found.items() if paths}
    if not found:
        raise InputError(f"No faces in {', '.join(config.faces)}.", "Make them with `facemorph align frames/*`.")
    for person in config.persons:
        if person not in found:
            raise InputError(f"No person {person!r} among {', '.join(found)}.", "Check data.persons.")
    return {name: paths for name, paths in found.items() if not config.persons or name in config.persons}


def _accepted(folder: Path) -> list[Path]:
    """The images that `facemorph align` accepted; all images of a folder without its manifest."""
    images = list_images(folder)
    rows = read_jsonl(folder / MANIFEST)
    if rows:
        images = [folder / row["file"] for row in rows if "file" in row and (folder / row["file"]).exists()]
    tell_left_out(folder, images)
    return images


def load_faces(config: Data, size_px: int, seed: int) -> Faces:
    """Read every face once, at `size_px`; with `limit`, a seeded choice of that many per person.

    Raises:
        InputError: as `find_persons`, they do not fit into memory, or none of a person's can be read.
    """
    persons = find_persons(config)
    if config.limit:
        for number, (name, paths) in enumerate(persons.items()):
            chosen = np.random.default_rng([seed, number]).permutation(len(paths))[: config.limit]
            persons[name] = [paths[i] for i in sorted(chosen)]
    count = sum(map(len, persons.values()))
    size = count * 3 * size_px**2
    if size > MAX_BYTES:
        raise InputError(
            f"{count} faces of {size_px} px take {size / 2**30:.1f} GiB of memory; {MAX_BYTES >> 30} are allowed.",
            "Take fewer with data.limit.",
        )
    images = np.empty((count, 3, size_px, size_px), np.uint8)
    readable = np.ones(count, bool)

    def read(item: tuple[int, Path]) -> None:
        index, path = item
        try:
            images[index] = resize(read_image(path), size_px).transpose(2, 0, 1)
        except ImageError as error:
            readable[index] = False
            log.warning("%s It is left out.", error.problem)

    with ThreadPoolExecutor() as pool:
        list(pool.map(read, enumerate(path for paths in persons.values() for path in paths)))
    labels = np.repeat(np.arange(len(persons)), [len(paths) for paths in persons.values()])
    lost = [name for index, name in enumerate(persons) if not readable[labels == index].any()]
    if lost:
        raise InputError(f"None of the faces of {', '.join(lost)} can be read.", "Align them again.")
    if not readable.all():
        images, labels = images[readable], labels[readable]
    digest = hashlib.sha256(images.tobytes() + labels.tobytes() + "/".join(persons).encode()).hexdigest()
    return Faces(images, labels, tuple(persons), digest, ", ".join(config.faces))
