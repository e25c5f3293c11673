"""What is measured of a generated face, and the distances that are taken between faces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

import numpy as np
import torch
from families import Person, colours

from facemorph.faces.age_gender import estimate_age_gender
from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.find_meshes import is_face
from facemorph.faces.mesh import REGION, Mesh, Region, place_mesh, region_of
from facemorph.files import write_atomically
from facemorph.images import to_uint8
from facemorph.metrics.imagenet_features import EfficientNetLite0, load_efficientnet
from facemorph.progress import progress_bar
from facemorph.stylegan.networks.generator import Generator

BOX = (0.12, 0.12, 0.88, 0.96)  # of the face in an aligned image, as fractions of the side
CHUNK = 4
NOSE, EYES = 33, (36, 45)


@dataclass(frozen=True)
class Made:
    """What is measured of N generated faces: latents [N, L, w_size], and the rest as of `families.Person`."""

    latents: np.ndarray
    points: np.ndarray
    seen: np.ndarray  # bool [N], whether the mesh sees a face
    descriptors: np.ndarray
    features: np.ndarray
    ages: np.ndarray
    odds: np.ndarray
    colours: np.ndarray

    def of(self, rows: Sequence[int] | np.ndarray) -> "Made":
        return Made(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def measure_latents(generator: Generator, latents: np.ndarray, folder: Path, what: str = "faces") -> Made:
    """Draw latents [N, L, w_size] and measure the faces; `folder` keeps a file a latent, so that it resumes."""

    def draw(rows: list[int]) -> np.ndarray:
        with torch.inference_mode():
            return to_uint8(generator.synthesize(torch.from_numpy(np.asarray(latents[rows], np.float32))))

    return measure_drawn(draw, latents, folder, what)


def measure_drawn(draw: Callable[[list[int]], np.ndarray], latents: np.ndarray, folder: Path, what: str) -> Made:
    """Measure the images that `draw` gives for some of N rows, whose latents these are, unless `folder` has them."""
    folder.mkdir(parents=True, exist_ok=True)
    latents = np.asarray(latents, np.float32)
    paths = [folder / f"{sha1(latent.tobytes()).hexdigest()}.npz" for latent in latents]
    missing = list({path: row for row, path in enumerate(paths) if not path.exists()}.values())
    if missing:
        imagenet = load_efficientnet()
        with progress_bar(True, total=len(missing), unit=" faces", description=what) as bar:
            for start in range(0, len(missing), CHUNK):
                rows = missing[start : start + CHUNK]
                found = measure_images(draw(rows), imagenet)
                for place, row in enumerate(rows):
                    one = {name: values[place] for name, values in found.items()}
                    write_atomically(paths[row], lambda file, one=one: np.savez(file, **one))
                bar.update(len(rows))
    stacked: dict[str, list[np.ndarray]] = {name: [] for name in Made.__dataclass_fields__ if name != "latents"}
    for path in paths:
        with np.load(path) as arrays:
            for name, values in stacked.items():
                values.append(arrays[name])
    return Made(latents, **{name: np.stack(values) for name, values in stacked.items()})


def measure_images(images: np.ndarray, imagenet: EfficientNetLite0) -> dict[str, np.ndarray]:
    """Aligned faces, uint8 RGB [N, R, R, 3]: all of `Made` but the latents."""
    meshes = [mesh_of_aligned(image) for image in images]
    points = [mesh.landmarks for mesh in meshes]
    ages, odds = estimate_age_gender(list(images), points)
    return {
        "points": np.stack(points).astype(np.float32),
        "seen": np.array([is_face(mesh) for mesh in meshes]),
        "descriptors": describe([face_chip(image, one) for image, one in zip(images, points, strict=True)]),
        "features": imagenet.describe(images),
        "ages": ages,
        "odds": odds,
        "colours": np.stack([colours(image, one) for image, one in zip(images, points, strict=True)]),
    }


def mesh_of_aligned(image: np.ndarray) -> Mesh:
    """The mesh of an aligned face: a first look for the place, a second for the mesh."""
    left, top, right, bottom = tuple(side * len(image) for side in BOX)
    middle = np.array([left + right, top + bottom]) / 2
    ((first, _),) = place_mesh(image, [Region(middle, max(right - left, bottom - top) * REGION, 0.0)])
    ((points, presence),) = place_mesh(image, [region_of(first)])
    return Mesh(points, presence, 0.0, (left, top, right, bottom), 0.0)


def shape_of(points: np.ndarray) -> np.ndarray:
    """Landmarks [N, 68, 2] without place, size and roll: [N, 136]."""
    centred = points - points.mean(1, keepdims=True)
    across = points[:, EYES[1]] - points[:, EYES[0]]
    angle = -np.arctan2(across[:, 1], across[:, 0])
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(-1, 2, 2)
    turned = np.einsum("nij,nkj->nki", turn, centred)
    size = np.sqrt((turned**2).sum((1, 2), keepdims=True))
    return (turned / size).reshape(len(points), -1)


# A vector for each face, of the arrays in a `Made` or of all pictures of a `Person`. Distances are Euclidean; all but
# dlib's, which was trained for it, are first scaled by the spread of real people's.
MEASURES: dict[str, Callable[[Made | Person], np.ndarray]] = {
    "dlib": lambda one: one.descriptors,
    "imagenet": lambda one: one.features,
    "shape": lambda one: shape_of(one.points),
    "colour": lambda one: one.colours[:, :6],
    "latent": lambda one: one.latents.reshape(len(one.latents), -1),
}


class Space:
    """Where people and generated faces lie by one measure: real people are the means of their pictures."""

    def __init__(
        self, measure: str, people: dict[str, Person], vector: Callable[[Made | Person], np.ndarray] | None = None
    ) -> None:
        self.measure, self.vector = measure, vector or MEASURES[measure]
        self.real = {name: self.vector(person).mean(0) for name, person in people.items()}
        stacked = np.stack(list(self.real.values()))
        self.centre = stacked.mean(0)
        self.scale = 1.0 if measure == "dlib" else np.maximum(stacked.std(0), 1e-9)

    def people(self, names: Sequence[str]) -> np.ndarray:
        return np.stack([self.real[name] for name in names])

    def distances(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """[N, D] and [M, D] -> [N, M]."""
        a, b = (first - self.centre) / self.scale, (second - self.centre) / self.scale
        squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
        return np.sqrt(np.maximum(squared, 0))
