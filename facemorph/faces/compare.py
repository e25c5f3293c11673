"""Are two images of one person? The distance between the descriptors of the largest face in each."""

from collections.abc import Iterable, Sequence
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
    return compare_images(
        (read_image(Path(first)), str(first)),
        (read_image(Path(second)), str(second)),
        threshold=threshold,
        detector=detector,
    )


def compare_images(
    first: tuple[np.ndarray, str],
    second: tuple[np.ndarray, str],
    *,
    threshold: float = SAME_PERSON,
    detector: str = "cnn",
) -> Comparison:
    """As `compare`, of two images in memory: uint8 RGB [H, W, 3] each, with a name for messages."""
    one, other = _describe([first, second], detector)
    return Comparison(one, other, float(np.linalg.norm(one.descriptor - other.descriptor)), threshold)


def describe_images(paths: Sequence[Path], detector: str = "cnn") -> list[Face]:
    """The largest face of each image. Raises as `compare` does."""
    return _describe(((read_image(path), str(path)) for path in paths), detector)


def _describe(images: Iterable[tuple[np.ndarray, str]], detector: str) -> list[Face]:
    found, chips = [], []
    for image, name in images:
        face = locate_face(image, name, detector=detector)
        found.append((Path(name), face))
        chips.append(face_chip(image, face.landmarks))
    return [
        Face(path, tuple(map(round, face.box)), face.num_faces, descriptor)
        for (path, face), descriptor in zip(found, describe(chips), strict=True)
    ]
