"""Features of small aligned faces, real or generated: descriptors, landmarks, and the persons they are nearest to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.expression import expressions
from facemorph.faces.landmarks import landmarks
from facemorph.faces.locate import cached_detector
from facemorph.progress import progress_bar

ENLARGED_PX = 200  # dlib's HOG detector wants a face of at least 80 px
MARGIN = 0.25  # of mirrored image around the crop, as a share of its side
WHOLE = (0.10, 0.15, 0.90, 0.95)  # box of the face in a crop where none is found, as shares of the side


@dataclass(frozen=True)
class FaceFeatures:
    """What aligned faces look like, N rows each.

    Attributes:
        descriptors: float64 [N, 128].
        points: landmarks float64 [N, 68, 2], x before y in pixels of the crop (finer than whole ones in small crops).
        detected: bool [N], whether the detector found a face. Where it did not, the rest is that of the place where an
            aligned face lies, so that a blurred image still has a descriptor.
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
        """The rows of a mask or of indices."""
        return FaceFeatures(self.descriptors[chosen], self.points[chosen], self.detected[chosen])


@dataclass(frozen=True)
class PersonCentroids:
    """Persons as the means of their faces' descriptors: `names` [P] and `means` float64 [P, 128]."""

    names: tuple[str, ...]
    means: np.ndarray

    @classmethod
    def of(cls, faces: FaceFeatures, labels: np.ndarray, names: Sequence[str]) -> "PersonCentroids":
        """From faces with labels [N], indices into `names`. A person of whom no face was detected is left out."""
        groups = {name: faces.descriptors[(labels == i) & faces.detected] for i, name in enumerate(names)}
        groups = {name: group for name, group in groups.items() if len(group)}
        return cls(tuple(groups), np.array([group.mean(0) for group in groups.values()]).reshape(-1, 128))

    def distances(self, descriptors: np.ndarray) -> np.ndarray:
        """How far descriptors [N, 128] are from each person: [N, P]."""
        return np.linalg.norm(descriptors[:, None] - self.means, axis=2)


def features_of_aligned(images: np.ndarray, *, device: str = "cpu", progress: bool = False) -> FaceFeatures:
    """Descriptors and landmarks of aligned faces, uint8 RGB [N, H, H, 3]; descriptors are computed on `device`."""
    chips, points, detected = _find_all(images, progress)
    return FaceFeatures(describe(chips, device=device), points, detected)


def _find_all(images: np.ndarray, progress: bool) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Face chips, landmarks [N, 68, 2] in pixels of the crop, and whether a face was seen [N]."""
    chips, points, seen = [], np.zeros((len(images), 68, 2)), np.zeros(len(images), bool)
    side = ENLARGED_PX
    pad = round(MARGIN * side)
    with progress_bar(progress, total=len(images), unit=" faces", description="describe") as bar:
        for index, image in enumerate(images):
            enlarged = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
            padded = np.pad(enlarged, ((pad, pad), (pad, pad), (0, 0)), "symmetric")
            found = cached_detector("hog")([padded])[0]
            seen[index] = bool(found)
            left, top, right, bottom = (pad + share * side for share in WHOLE)
            box = found[0].box if found else (left, top, right, bottom)
            found_points = landmarks(padded, box)
            chips.append(face_chip(padded, found_points))
            # Pixel centres, not corners, lie on whole numbers: enlarged by f, x becomes f (x + 1/2) - 1/2.
            points[index] = (found_points - pad + 0.5) * (image.shape[0] / side) - 0.5
            bar.update()
    return chips, points, seen
