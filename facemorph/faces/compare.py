"""Do two images show the same person? The distance between the descriptors of their largest faces."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from facemorph.config import check_number
from facemorph.faces.descriptors import SAME_PERSON, describe, face_chip
from facemorph.faces.locate import locate_face
from facemorph.images import read_image


@dataclass(frozen=True)
class ComparedFace:
    """The largest face of an image.

    Attributes:
        path: of the image.
        box: left, top, right, bottom in pixels.
        faces: how many faces were detected.
        descriptor: float64 [128].
    """

    path: Path
    box: tuple[int, int, int, int]
    faces: int
    descriptor: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Two faces, the Euclidean distance of their descriptors (0 to about 1.5), and the threshold for `same`."""

    first: ComparedFace
    second: ComparedFace
    distance: float
    threshold: float

    @property
    def same(self) -> bool:
        return self.distance < self.threshold


def compare(
    first: str | PathLike[str],
    second: str | PathLike[str],
    *,
    threshold: float = SAME_PERSON,
    detector: str = "auto",
    landmarks: str = "auto",
) -> Comparison:
    """Compare the largest faces of two images.

    Raises:
        ImageError: an image cannot be read.
        FaceError: no face is detected in one of them.
        ConfigError: the threshold is no finite number.
    """
    return compare_images(
        (read_image(first), str(first)),
        (read_image(second), str(second)),
        threshold=threshold,
        detector=detector,
        landmarks=landmarks,
    )


def compare_images(
    first: tuple[np.ndarray, str],
    second: tuple[np.ndarray, str],
    *,
    threshold: float = SAME_PERSON,
    detector: str = "auto",
    landmarks: str = "auto",
) -> Comparison:
    """As `compare`, for images in memory: uint8 RGB [H, W, 3] each, with a name for messages."""
    check_number("threshold", threshold, 0)
    one, other = _describe([first, second], detector, landmarks)
    return Comparison(one, other, float(np.linalg.norm(one.descriptor - other.descriptor)), threshold)


def describe_images(paths: Sequence[str | PathLike[str]], detector: str = "auto") -> list[ComparedFace]:
    """The largest face of each image, with its descriptor. Raises as `compare` does."""
    return _describe(((read_image(path), str(path)) for path in paths), detector, "auto")


def _describe(images: Iterable[tuple[np.ndarray, str]], detector: str, landmarks: str) -> list[ComparedFace]:
    located, chips = [], []
    for image, name in images:
        face = locate_face(image, name, detector=detector, points=landmarks)
        located.append((Path(name), face))
        chips.append(face_chip(image, face.landmarks))
    return [
        ComparedFace(path, tuple(map(round, face.box)), face.num_faces, descriptor)
        for (path, face), descriptor in zip(located, describe(chips), strict=True)
    ]
