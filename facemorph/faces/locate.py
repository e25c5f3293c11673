"""Locate the face in an image: detection, the choice among several faces, landmarks."""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from facemorph.errors import FaceError
from facemorph.faces.descriptors import SAME_PERSON, describe, face_chip
from facemorph.faces.detect import Detection, Detector, make_detector
from facemorph.faces.landmarks import landmarks, steady_landmarks

log = logging.getLogger("facemorph")

DETECT_PX = 900  # larger images are first scaled down to this longest side, at which a portrait's face is detected

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class LocatedFace:
    """A face in an image.

    Attributes:
        box: left, top, right, bottom in pixels of the image; it may reach beyond the image.
        score: the detector's confidence; see `facemorph.faces.detect.Detection`.
        landmarks: float64 [68, 2], x before y in pixels of the image.
        num_faces: how many faces were detected in the image.
    """

    box: Box
    score: float
    landmarks: np.ndarray
    num_faces: int


@functools.cache
def cached_detector(kind: str = "cnn") -> Detector:
    """The detector of this `kind` on the CPU, loaded once per process."""
    return make_detector(kind)


def locate_face(
    image: np.ndarray, name: str = "the image", *, detector: str = "cnn", steady: bool = True
) -> LocatedFace:
    """The largest face of an image, uint8 RGB [H, W, 3]; `name` is for messages.

    Detection runs on a large image scaled down to `DETECT_PX`, and again at full size if no face is detected; on a
    small image, again at twice its size.

    Args:
        detector: a name in `facemorph.faces.detect.DETECTORS`.
        steady: landmarks that hardly depend on the box, at 15 times the cost (see `steady_landmarks`).

    Raises:
        FaceError: no face is detected.
    """
    detections = locate_all(image, detector=detector)
    if not detections:
        raise FaceError(
            f"No face was detected in {name}.",
            "A frontal face at least 40 pixels wide is expected. --detector hog may detect others.",
        )
    box, score = detections[0]
    if len(detections) > 1:
        log.info(
            "%s shows %d faces; the largest, at %s, is used.",
            name,
            len(detections),
            tuple(round(side) for side in box),
        )
    points = steady_landmarks(image, box) if steady else landmarks(image, box)
    return LocatedFace(box, score, points, len(detections))


def locate_all(image: np.ndarray, *, detector: str = "cnn") -> list[tuple[Box, float]]:
    """Boxes and scores of all faces of an image, uint8 RGB [H, W, 3], the largest first.

    Boxes are in pixels of the image.
    """
    longest = max(image.shape[:2])
    scales = [min(1.0, DETECT_PX / longest)]
    scales += [2.0] if longest <= DETECT_PX / 2 else [1.0] if longest > DETECT_PX else []
    for scale in scales:
        scaled = image
        if scale != 1:
            width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
            scaled = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        detections = by_size(cached_detector(detector)([scaled])[0])
        if detections:
            boxes = [tuple(side / scale for side in one.box) for one in detections]
            return [(box, one.score) for box, one in zip(boxes, detections, strict=True)]  # type: ignore[misc]
    return []


def by_size(detections: Sequence[Detection]) -> list[Detection]:
    """Detections, the largest first."""
    return sorted(detections, key=lambda one: one.width_px * one.height_px, reverse=True)


def choose_face(image: np.ndarray, detections: Sequence[Detection], reference: np.ndarray | None = None) -> LocatedFace:
    """Of the detected faces of an image, the largest, or the one nearest to `reference` (a descriptor [128]).

    Raises:
        FaceError: no face, or none that matches the reference.
    """
    if not detections:
        raise FaceError("no face")
    candidates = by_size(detections)
    points = [landmarks(image, one.box) for one in (candidates if reference is not None else candidates[:1])]
    best = 0
    if reference is not None:
        distances = np.linalg.norm(describe([face_chip(image, p) for p in points]) - reference, axis=1)
        best = int(distances.argmin())
        if distances[best] > SAME_PERSON:
            raise FaceError(f"not the person (descriptor distance {distances[best]:.2f})")
    return LocatedFace(candidates[best].box, candidates[best].score, points[best], len(detections))
