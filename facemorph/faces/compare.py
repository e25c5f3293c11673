"""Are two images of one person? The distance between the descriptors of the largest face in each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facemorph.faces.descriptors import SAME_PERSON, describe, face_chip
from facemorph.faces.locate import locate_face
from facemorph.images import read_image


@dataclass(frozen=True)
class Face:
    """The largest face of an image: its box in pixels, how many faces there were, its descriptor float64 [128]."""

    path: Path
    box: tuple[int, int, int, int]
    faces: int
    descriptor: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Two faces, how far apart (Euclidean, 0 to about 1.5), and below which distance they count as one person."""

    first: Face
    second: Face
    distance: float
    threshold: float

    @property
    def same(self) -> bool:
        return self.distance < self.threshold


def compare(first: Path, second: Path, *, threshold: float = SAME_PERSON, detector: str = "cnn") -> Comparison:
    """Compare the largest faces of two images.

    Raises:
        ImageError: an image cannot be read.
        FaceError: there is no face in one of them.
    """
    one, other = describe_images([first, second], detector)
    distance = float(np.linalg.norm(one.descriptor - other.descriptor))
    return Comparison(one, other, distance, threshold)


def describe_images(paths: Sequence[Path], detector: str = "cnn") -> list[Face]:
    """The largest face of each image. Raises as `compare` does."""
    found, chips = [], []
    for path in paths:
        image = read_image(path)
        face = locate_face(image, str(path), detector=detector)
        found.append(face)
        chips.append(face_chip(image, face.landmarks))
    return [
        Face(path, tuple(map(round, face.box)), face.num_faces, descriptor)
        for path, face, descriptor in zip(paths, found, describe(chips), strict=True)
    ]
