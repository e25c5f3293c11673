"""Features of small aligned faces, real or generated: descriptors, landmarks, and the nearest person."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.expression import expressions
from facemorph.faces.landmarks import landmarks
from facemorph.faces.locate import cached_detector
from facemorph.progress import progress_bar

ENLARGED_PX = 200  # dlib's HOG detector needs a face of at least 80 px
MARGIN = 0.25  # mirrored margin around the crop, as a fraction of its side
DEFAULT_BOX = (0.10, 0.15, 0.90, 0.95)  # of the face where none is detected, as fractions of the side


@dataclass(frozen=True)
class FaceFeatures:
    """Features of N aligned faces.

    Attributes:
        descriptors: float64 [N, 128].
        points: landmarks float64 [N, 68, 2], x before y in pixels of the crop, with subpixel resolution.
        detected: bool [N], whether a face was detected. Otherwise descriptor and landmarks are those of `DEFAULT_BOX`,
            so that a blurred image has a descriptor too.
    """

    descriptors: np.ndarray
    points: np.ndarray
    detected: np.ndarray

    def __len__(self) -> int:
        return len(self.detected)

    @property
    def expressions(self) -> np.ndarray:
        """float64 [N, 4], columns as `facemorph.faces.expression.EXPRESSIONS`."""
        return expressions(self.points)

    def only(self, chosen: np.ndarray) -> "FaceFeatures":
        """The rows that a mask or indices select."""
        return FaceFeatures(self.descriptors[chosen], self.points[chosen], self.detected[chosen])


@dataclass(frozen=True)
class PersonCentroids:
    """The mean descriptor of each person's faces: `names` [P] and `means` float64 [P, 128]."""

    names: tuple[str, ...]
    means: np.ndarray

    @classmethod
    def of(cls, faces: FaceFeatures, labels: np.ndarray, names: Sequence[str]) -> "PersonCentroids":
        """From faces with labels [N], indices into `names`. A person without a detected face is left out."""
        groups = {name: faces.descriptors[(labels == i) & faces.detected] for i, name in enumerate(names)}
        groups = {name: group for name, group in groups.items() if len(group)}
        return cls(tuple(groups), np.array([group.mean(0) for group in groups.values()]).reshape(-1, 128))

    def distances(self, descriptors: np.ndarray) -> np.ndarray:
        """Distances of descriptors [N, 128] to each person: [N, P]."""
        return np.linalg.norm(descriptors[:, None] - self.means, axis=2)


def features_of_aligned(images: np.ndarray, *, device: str = "cpu", progress: bool = False) -> FaceFeatures:
    """Descriptors (computed on `device`) and landmarks of aligned faces, uint8 RGB [N, H, H, 3]."""
    chips, points, detected = _landmarks_of_all(images, progress)
    return FaceFeatures(describe(chips, device=device), points, detected)


def detected_in_aligned(images: np.ndarray) -> np.ndarray:
    """In which aligned faces, uint8 RGB [N, H, H, 3], HOG detects one: bool [N]. About 10 ms an image."""
    detector = cached_detector("hog")
    return np.array([bool(detector([_padded(image)])[0]) for image in images])


def _padded(image: np.ndarray) -> np.ndarray:
    """An aligned face, enlarged to `ENLARGED_PX` and with a mirrored margin, so that HOG finds it."""
    enlarged = np.asarray(Image.fromarray(image).resize((ENLARGED_PX, ENLARGED_PX), Image.Resampling.BICUBIC))
    pad = round(MARGIN * ENLARGED_PX)
    return np.pad(enlarged, ((pad, pad), (pad, pad), (0, 0)), "symmetric")


def _landmarks_of_all(images: np.ndarray, progress: bool) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Face chips, landmarks [N, 68, 2] in pixels of the crop, and whether a face was detected [N]."""
    chips, points, detected = [], np.zeros((len(images), 68, 2)), np.zeros(len(images), bool)
    side = ENLARGED_PX
    pad = round(MARGIN * side)
    with progress_bar(progress, total=len(images), unit=" faces", description="describe") as bar:
        for index, image in enumerate(images):
            padded = _padded(image)
            detections = cached_detector("hog")([padded])[0]
            detected[index] = bool(detections)
            left, top, right, bottom = (pad + fraction * side for fraction in DEFAULT_BOX)
            padded_points = landmarks(padded, detections[0].box if detections else (left, top, right, bottom))
            chips.append(face_chip(padded, padded_points))
            # Pixel centres, not corners, have whole coordinates: enlarged by f, x becomes f (x + 1/2) - 1/2.
            points[index] = (padded_points - pad + 0.5) * (image.shape[0] / side) - 0.5
            bar.update()
    return chips, points, detected
