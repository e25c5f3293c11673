"""Families: triplets from a CSV, their pictures from a tar or a folder, and what is measured of each face, once."""

import csv
import io
import json
import tarfile
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from facemorph.errors import FaceError
from facemorph.faces.age_gender import estimate_age_gender
from facemorph.faces.crop import cut
from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.locate import locate_face
from facemorph.files import write_atomically
from facemorph.images import to_tensor
from facemorph.metrics.imagenet_features import load_efficientnet
from facemorph.progress import progress_bar
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.encoder import find_encoder, read_encoder
from facemorph.stylegan.projection.portrait import aligned_quad

FACES_EACH = 2  # pictures of a person that are used, the first in which a face is found
CHEEKS = (1, 2, 3, 13, 14, 15, 31, 35)  # landmarks between which the skin of the cheeks lies
COLOUR_NAMES = ("L", "a", "b", "spread of L", "spread of a", "spread of b", "chroma", "background L")


@dataclass(frozen=True)
class Triplet:
    family: str
    father: str
    mother: str
    child: str
    gender: str  # of the child, "f" or "m"


@dataclass(frozen=True)
class Person:
    """What is measured of the faces of one person, an entry a picture.

    Attributes:
        aligned: uint8 RGB [K, R, R, 3], as the generator's faces are.
        points: landmarks in them, float32 [K, 68, 2].
        descriptors: dlib's, of the photographs, [K, 128].
        features: ImageNet features of the aligned faces, [K, 320].
        latents: the encoder's guesses, [K, L, w_size].
        ages, odds: as the labeller sees them, years and log-odds of male over female.
        colours: statistics of skin and light, [K, 8], see `COLOUR_NAMES`.
        around: the mean colours of the picture's four corners, [K, 12], by which crops of one photograph are known.
    """

    aligned: np.ndarray
    points: np.ndarray
    descriptors: np.ndarray
    features: np.ndarray
    latents: np.ndarray
    ages: np.ndarray
    odds: np.ndarray
    colours: np.ndarray
    around: np.ndarray

    @property
    def descriptor(self) -> np.ndarray:
        return self.descriptors.mean(0)


def read_triplets(path: Path) -> list[Triplet]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [Triplet(row["family"], row["father"], row["mother"], row["child"], row["child_gender"]) for row in rows]


class Pictures:
    """The pictures of people, PERSON/k.jpg, in a tar or a folder."""

    def __init__(self, place: Path) -> None:
        self.place, self.tar = place, None
        if place.is_file():
            self.tar = tarfile.open(place)  # noqa: SIM115, as long as this
            sizes = {member.name: member.size for member in self.tar}
        else:
            sizes = {path.relative_to(place).as_posix(): path.stat().st_size for path in place.rglob("*.*")}
        self.sizes = {name: sizes[name] for name in sorted(sizes) if name.lower().endswith((".jpg", ".png"))}
        self.of: dict[str, list[str]] = {}
        for name in self.sizes:
            self.of.setdefault(name.removeprefix("./").rpartition("/")[0], []).append(name)

    @property
    def digest(self) -> str:
        """By which these pictures are known from others: of their names and sizes."""
        return sha1(json.dumps(self.sizes).encode()).hexdigest()

    def read(self, name: str) -> np.ndarray:
        data = (self.place / name).read_bytes() if self.tar is None else self.tar.extractfile(name).read()  # type: ignore[union-attr]
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


class Measuring:
    """Measures faces with networks that stay loaded."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.encoder = read_encoder(find_encoder(generator), generator)
        self.imagenet = load_efficientnet()

    def photograph(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Of the largest face of a photograph. Raises FaceError where there is none."""
        a = self.generator.architecture
        points = locate_face(image).landmarks
        quad = aligned_quad(points, a.alignment)
        aligned = cut(image, quad, a.resolution, 4 * a.resolution)
        right, down = quad[3] - quad[0], quad[1] - quad[0]
        inside = np.linalg.solve(np.stack([right, down], 1), (points - quad[0]).T).T * a.resolution
        with torch.inference_mode():
            latent = self.encoder(to_tensor(aligned[None]))[0].numpy()
        age, odds = estimate_age_gender([image], [points])
        return {
            "aligned": aligned,
            "points": inside.astype(np.float32),
            "descriptors": describe([face_chip(image, points)])[0],
            "features": self.imagenet.describe(aligned[None])[0],
            "latents": latent,
            "ages": age[0],
            "odds": odds[0],
            "colours": colours(aligned, inside),
            "around": corners(image),
        }


def measure_person(measuring: Measuring, pictures: Pictures, name: str, faces: int) -> dict[str, np.ndarray]:
    """The first `faces` pictures of a person that show a face, measured, stacked; empty arrays where none does."""
    found: list[dict[str, np.ndarray]] = []
    for picture in pictures.of.get(name, []):
        if len(found) == faces:
            break
        try:
            found.append(measuring.photograph(pictures.read(picture)))
        except FaceError:
            continue
    return {key: np.stack([one[key] for one in found]) for key in found[0]} if found else {}


def measure_all(
    triplets: list[Triplet], pictures: Pictures, cache: Path, generator: Generator, faces: int = FACES_EACH
) -> dict[str, Person]:
    """Everybody in the triplets, measured or read from `cache` (a file a person); those without a face are left out."""
    names = sorted({name for one in triplets for name in (one.father, one.mother, one.child)})
    cache.mkdir(parents=True, exist_ok=True)
    paths = {name: cache / f"{name.replace('/', '_')}.npz" for name in names}
    missing = [name for name in names if not paths[name].exists()]
    if missing:
        measuring = Measuring(generator)
        with progress_bar(True, total=len(missing), unit=" people", description="measure faces") as bar:
            for name in missing:
                found = measure_person(measuring, pictures, name, faces)
                write_atomically(paths[name], lambda file, found=found: np.savez(file, **found))  # pyright: ignore[reportArgumentType]
                bar.update()
    people = {}
    for name, path in paths.items():
        with np.load(path) as arrays:
            if arrays.files:
                people[name] = Person(**{key: arrays[key] for key in arrays.files})
    return people


def usable(triplets: list[Triplet], people: dict[str, Person]) -> list[Triplet]:
    """Those of whom all three have a face."""
    return [one for one in triplets if all(name in people for name in (one.father, one.mother, one.child))]


def colours(aligned: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Statistics of skin and light of an aligned face, in CIE Lab: float64 [8], see `COLOUR_NAMES`."""
    lab = to_lab(aligned)
    low, high = points[list(CHEEKS)].min(0), points[list(CHEEKS)].max(0)
    side = len(aligned)
    (left, top), (right, bottom) = np.clip(low, 0, side - 2).astype(int), np.clip(high, 1, side - 1).astype(int)
    skin = lab[top : max(bottom, top + 1), left : max(right, left + 1)].reshape(-1, 3)
    edge = np.concatenate([lab[: side // 16].reshape(-1, 3), lab[:, : side // 16].reshape(-1, 3)])
    chroma = np.hypot(lab[..., 1], lab[..., 2]).mean()
    return np.array([*np.median(skin, 0), *skin.std(0), chroma, edge[:, 0].mean()])


def corners(image: np.ndarray) -> np.ndarray:
    """Mean Lab colours of the four corners of a picture: float64 [12]."""
    lab = to_lab(image)
    tall, wide = max(1, lab.shape[0] // 8), max(1, lab.shape[1] // 8)
    parts = [lab[:tall, :wide], lab[:tall, -wide:], lab[-tall:, :wide], lab[-tall:, -wide:]]
    return np.concatenate([part.reshape(-1, 3).mean(0) for part in parts])


def to_lab(image: np.ndarray) -> np.ndarray:
    """sRGB uint8 [H, W, 3] to CIE Lab (D65)."""
    x = image / 255.0
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    )
    xyz = linear @ to_xyz.T / (0.95047, 1.0, 1.08883)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)
