"""The front door to averages, transforms and files of points."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from facemorph.api.faces import Image, Path_, read
from facemorph.faces import points as files
from facemorph.faces.average import AverageFace, average_faces
from facemorph.faces.locate import locate_face
from facemorph.faces.points import FacePoints, beside, check_template, points_of, seen_points
from facemorph.faces.transform import mirrored, transform_face


def _located(
    image: Image, points: np.ndarray | None, detector: str, landmarks: str, as_68: bool
) -> tuple[np.ndarray, FacePoints, str]:
    array, name = read(image)
    if points is not None:
        return array, FacePoints(np.asarray(points, np.float64)), name
    if isinstance(image, str | PathLike):
        return array, points_of(array, Path(image), detector=detector, landmarks=landmarks, as_68=as_68), name
    face = locate_face(array, name, detector=detector, points=landmarks)
    return array, seen_points(face, landmarks, as_68), name


def _has_68(image: Image | AverageFace, points: np.ndarray | None = None) -> bool:
    """Whether an image's points are known, and are dlib's 68: then those of others are detected as such."""
    if isinstance(image, AverageFace):
        return len(image.points) == 68
    if points is None and isinstance(image, str | PathLike) and (path := beside(Path(image))):
        points = files.read_points(path).points
    return points is not None and len(points) == 68


def average(
    images: Sequence[Image],
    *,
    points: Sequence[np.ndarray] | None = None,
    weights: Sequence[float] | None = None,
    texture: bool = True,
    size: int | None = None,
    detector: str = "auto",
    landmarks: str = "auto",
) -> AverageFace:
    """The average of faces: `.image`, uint8 RGB [H, W, 3], and its `.points` [N, 2].

    Args:
        points: of each image, [N, 2]; None takes those in a file beside it, or detects them.
        weights: of each, 0 and above.
        texture: keep the amount of detail that the faces have.
        size: side of a square around the head; None keeps the frame of images of one size.
        detector, landmarks: as `facemorph.detect_faces`.

    Raises:
        ImageError, FaceError, InputError: an image cannot be read or shows no face; templates or weights do not fit.
    """
    given = points if points is not None else [None] * len(images)
    pairs = list(zip(images, given, strict=True))
    as_68 = any(_has_68(*one) for one in pairs)
    located = [_located(*one, detector, landmarks, as_68) for one in pairs]
    check_template([face for _, face, _ in located], [name for *_, name in located])
    arrays = [array for array, _, _ in located]
    sizes = [(array.shape[1], array.shape[0]) for array in arrays]
    shapes = [face.points for _, face, _ in located]
    lines = located[0][1].lines
    return average_faces(arrays, shapes, sizes, lines=lines, weights=weights, texture=texture, size_px=size)


def transform(
    face: Image | AverageFace,
    start: Image | AverageFace | None = None,
    end: Image | AverageFace | None = None,
    *,
    shape: float = 0.5,
    colour: float = 0.5,
    texture: float = 0.0,
    detector: str = "auto",
    landmarks: str = "auto",
) -> AverageFace:
    """A face moved along the difference of two others, images or what `average` returned: `.image` and `.points`.

    Without `start` and `end` it moves towards its own mirror image, of which 0.5 makes it symmetric.

    Raises:
        ImageError, FaceError, InputError: as `average`.
    """

    as_68 = any(_has_68(one) for one in (face, start, end) if one is not None)

    def known(one: Image | AverageFace) -> AverageFace:
        if isinstance(one, AverageFace):
            return one
        array, found, _ = _located(one, None, detector, landmarks, as_68)
        return AverageFace(array, found.points, found.lines)

    faces = [known(one) for one in (face, start, end) if one is not None]
    check_template([FacePoints(one.points) for one in faces], ["the face", "start", "end"][: len(faces)])
    if len(faces) != 3:
        faces = [faces[0], faces[0], mirrored(faces[0])]
    return transform_face(*faces, shape=shape, colour=colour, texture=texture)


def read_points(path: Path_) -> np.ndarray:
    """The points of a face in a .tem, .pts, .csv or .json file: float64 [N, 2], x before y in pixels.

    Raises:
        InputError: it is missing, of no known kind, or a line of it is wrong.
    """
    return files.read_points(Path(path)).points


def write_points(path: Path_, points: np.ndarray, *, overwrite: bool = False) -> None:
    """Write points [N, 2] as .tem, .pts, .csv or .json, by the suffix.

    Raises:
        InputError: no known kind.
        OutputError: the file exists, or cannot be written.
    """
    files.write_points(Path(path), FacePoints(np.asarray(points, np.float64)), overwrite)
