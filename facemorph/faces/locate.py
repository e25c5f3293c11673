"""Locate the faces in an image, at any angle: detection, the mesh, the choice among several faces, landmarks."""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from facemorph.errors import FaceError
from facemorph.faces.descriptors import SAME_PERSON, describe, face_chip
from facemorph.faces.detect import Detection, Detector, make_detector
from facemorph.faces.find_meshes import are_enough, as_blazeface_saw, best_meshes, is_face, mesh_in_box
from facemorph.faces.landmarks import DLIB_IN_BOX, chosen_landmarks, landmarks, steady_landmarks, trained_box
from facemorph.faces.mesh import Mesh

log = logging.getLogger("facemorph")

DETECT_PX = 900  # larger images are first scaled down to this longest side, at which a portrait's face is detected

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Face:
    """A face in an image.

    Attributes:
        box: left, top, right, bottom in pixels of the image; it may reach beyond the image.
        score: the detector's confidence; see `facemorph.faces.detect.Detection`.
        landmarks: float64 [68, 2], x before y in pixels of the image.
        num_faces: how many faces were detected in the image.
        presence: the mesh network's own probability, 0 to 1, that this is a face.
        mesh: float64 [478, 3]: x, y in pixels of the image and z in the same unit, negative towards the camera.
        roll, yaw, pitch: in degrees, from the mesh. Roll is clockwise as it is seen; yaw is to the right of the
            picture; pitch is downwards.
    """

    box: Box
    score: float
    landmarks: np.ndarray
    num_faces: int
    presence: float
    mesh: np.ndarray
    roll: float
    yaw: float
    pitch: float


@functools.cache
def cached_detector(kind: str = "auto") -> Detector:
    """The detector of this `kind` on the CPU, loaded once per process."""
    return make_detector(kind)


def detect_faces(image: np.ndarray, *, detector: str = "auto", points: str = "auto", steady: bool = True) -> list[Face]:
    """The faces of an image, uint8 RGB [H, W, 3], the largest first: those in which the mesh sees a face.

    Args:
        detector: a name in `facemorph.faces.detect.DETECTORS`.
        points: a name in `facemorph.faces.landmarks.LANDMARKS`: what the 68 landmarks are from.
        steady: for "dlib", landmarks that hardly depend on the box, at 15 times the cost.
    """
    points = chosen_landmarks(points)
    found = locate_all(image, detector=detector)
    sound = [one for one in found if is_face(one[2])]
    return [_face(image, one, len(sound), points, steady) for one in sound]


def _face(image: np.ndarray, found: tuple[Box, float, Mesh], num_faces: int, points: str, steady: bool) -> Face:
    box, score, mesh = found
    if points == "mesh":
        places = mesh.landmarks
    elif steady:  # these look for the frame themselves
        places = steady_landmarks(image, box)
    else:  # dlib's model was trained on HOG's boxes; those of other detectors lie elsewhere
        places = landmarks(image, box if points == DLIB_IN_BOX else trained_box(mesh.landmarks))
    return Face(box, score, places, num_faces, mesh.presence, mesh.points, *mesh.angles)


def locate_face(
    image: np.ndarray, name: str = "the image", *, detector: str = "auto", points: str = "auto", steady: bool = True
) -> Face:
    """The largest face of an image, uint8 RGB [H, W, 3]; `name` is for messages. Arguments as `detect_faces`.

    Raises:
        FaceError: no face is detected, or what is detected is no face to the mesh.
    """
    faces = detect_faces(image, detector=detector, points=points, steady=steady)
    if not faces:
        raise FaceError(
            f"No face was detected in {name}.",
            "A face at least 40 pixels wide, no further than half aside, is expected. --detector hog may help.",
        )
    if len(faces) > 1:
        box = tuple(round(side) for side in faces[0].box)
        log.info("%s shows %d faces; the largest, at %s, is used.", name, len(faces), box)
    return faces[0]


def locate_all(image: np.ndarray, *, detector: str = "auto") -> list[tuple[Box, float, Mesh]]:
    """Box, score and mesh of all that may be faces in an image, uint8 RGB [H, W, 3], the largest first.

    `auto` asks BlazeFace, at four turns where it is not sure of the upright one, and then the CNN. Another detector
    runs on a large image scaled down to `DETECT_PX`, and again at full size if no face is detected; on a small image,
    again at twice its size. Boxes are in pixels of the image.
    """
    found: list[tuple[Box, float, Mesh]] = []
    if detector == "auto":
        meshes = best_meshes(image)
        found = sorted([(one.box, one.score, one) for one in meshes], key=lambda one: -_area(one[0]))
        if are_enough(meshes, image):
            return found
    kind = "cnn" if detector == "auto" else detector
    longest = max(image.shape[:2])
    scales = [min(1.0, DETECT_PX / longest)]
    scales += [2.0] if longest <= DETECT_PX / 2 else [1.0] if longest > DETECT_PX else []
    for scale in scales:
        scaled = image
        if scale != 1:
            width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
            scaled = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        detections = by_size(cached_detector(kind)([scaled])[0])
        if detections:
            boxes = [tuple(side / scale for side in one.box) for one in detections]
            meshes = as_blazeface_saw(mesh_in_box(image, boxes), [one for *_, one in found])  # type: ignore[arg-type]
            by_cnn = [(box, one.score, mesh) for box, one, mesh in zip(boxes, detections, meshes, strict=True)]
            if not found or any(is_face(mesh) for mesh in meshes):
                return by_cnn  # type: ignore[return-value]
    return found


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def by_size(detections: Sequence[Detection]) -> list[Detection]:
    """Detections, the largest first."""
    return sorted(detections, key=lambda one: one.width_px * one.height_px, reverse=True)


def choose_face(
    image: np.ndarray,
    detections: Sequence[Detection],
    reference: np.ndarray | None = None,
    points: str = "mesh",
) -> Face:
    """Of the detected faces of an image, the largest, or the one nearest to `reference` (a descriptor [128]).

    `points`: as `detect_faces`; dlib's are not steady.

    Raises:
        FaceError: no face, none that the mesh takes for one, or none that matches the reference.
    """
    if not detections:
        raise FaceError("no face")
    candidates = by_size(detections)
    missing = [one.box for one in candidates if one.mesh is None]
    placed = iter(mesh_in_box(image, missing) if missing else [])
    meshes = [one.mesh or next(placed) for one in candidates]
    found = [(one.box, one.score, mesh) for one, mesh in zip(candidates, meshes, strict=True)]
    sound = [one for one in found if is_face(one[2])]
    if not sound:
        raise FaceError(f"landmarks do not fit (presence of a face {max(mesh.presence for mesh in meshes):.2f})")
    chosen = sound if reference is not None else sound[:1]
    faces = [_face(image, one, len(detections), points, steady=False) for one in chosen]
    best = 0
    if reference is not None:
        distances = np.linalg.norm(describe([face_chip(image, face.landmarks) for face in faces]) - reference, axis=1)
        best = int(distances.argmin())
        if distances[best] > SAME_PERSON:
            raise FaceError(f"not the person (descriptor distance {distances[best]:.2f})")
    return faces[best]
