"""The front door to averages, transforms and files of points."""

import dataclasses
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from facemorph.api.inputs import Image, Path_, as_images, known_face, name_of, read
from facemorph.errors import InputError
from facemorph.faces import points as files
from facemorph.faces.average import AverageFace, average_faces, check_weights
from facemorph.faces.locate import locate_face
from facemorph.faces.mask import cut_free, ground_colour
from facemorph.faces.point_checks import as_points, check_template
from facemorph.faces.points import FacePoints, beside, points_of, seen_points
from facemorph.faces.transform import mirrored, remark_on, transform_face, within


def _located(
    images: Sequence[Image | AverageFace], names: Sequence[str], detector: str, landmarks: str
) -> list[AverageFace]:
    """Every face with its points: those that came with it, those in the file beside it, or detected ones."""
    known = [known_face(*one) for one in zip(images, names, strict=True)]
    as_68 = any(_has_68(*one) for one in zip(images, known, strict=True))
    found: list[AverageFace] = []
    for image, face, name in zip(images, known, names, strict=True):
        if face is not None:
            found.append(face)
            continue
        assert not isinstance(image, AverageFace)
        array, _ = read(image)
        if isinstance(image, str | PathLike):
            points = points_of(array, Path(image), detector=detector, landmarks=landmarks, as_68=as_68)
        else:
            points = seen_points(locate_face(array, name, detector=detector, points=landmarks), landmarks, as_68)
        found.append(AverageFace(array, points.points, points.lines))
    origins = [_origin(image, face) for image, face in zip(images, known, strict=True)]
    check_template([FacePoints(face.points, source=source) for face, source in zip(found, origins, strict=True)], names)
    return found


def _has_68(image: Image | AverageFace, known: AverageFace | None) -> bool:
    """Whether an image's points are known, and are dlib's 68: then those of others are detected as such."""
    if known is None and isinstance(image, str | PathLike) and (path := beside(Path(image))):
        return len(files.read_points(path).points) == 68
    return known is not None and len(known.points) == 68


def _origin(image: Image | AverageFace, known: AverageFace | None) -> str:
    """Where the points of a face came from, for messages."""
    if known is not None:
        return "given"
    path = beside(Path(image)) if isinstance(image, str | PathLike) else None
    return str(path) if path else "detected"


def _shown(face: AverageFace, mask: str, background: str) -> AverageFace:
    return dataclasses.replace(face, image=cut_free(face.image, face.points, mask, background)) if mask else face


def average(
    images: Sequence[Image | AverageFace] | Path_,
    *,
    points: Sequence[np.ndarray | None] | None = None,
    weights: Sequence[float] | None = None,
    texture: bool = True,
    size: int | None = None,
    mask: str = "",
    background: str = "#FFFFFF",
    detector: str = "auto",
    landmarks: str = "auto",
) -> AverageFace:
    """The average of faces: `.image`, uint8 RGB [H, W, 3], and its `.points` [N, 2].

    Args:
        images: a list, or the path of a folder. An `AverageFace` brings its points.
        points: of each image, [N, 2]; None takes those in a file beside it, or detects them.
        weights: of each, 0 and above.
        texture: keep the amount of detail that the faces have.
        size: side of a square around the head; None keeps the frame of images of one size.
        mask, background: show the inner "face" or an "oval" alone, on a colour like #808080 or "transparent" (RGBA).
        detector, landmarks: as `facemorph.detect_faces`.

    Raises:
        ImageError, FaceError, InputError: an image cannot be read or shows no face; points, templates or weights do
            not fit.
        ConfigError: no such size, mask or background.
    """
    ground_colour(background)
    many: list[Image | AverageFace] = [*as_images(images)]  # type: ignore[arg-type]
    if not many:
        raise InputError("No faces to average.", "A list of one or more is expected.")
    check_weights(weights, len(many))
    if points is not None and len(points) != len(many):
        raise InputError(f"Points of {len(points)} faces for {len(many)} images.", "One array, or None, for each.")
    names = [name_of(image, number) for number, image in enumerate(many, 1)]
    for index, given in enumerate(points or ()):
        if given is not None:
            one = many[index]
            array = one.image if isinstance(one, AverageFace) else read(one)[0]
            many[index] = AverageFace(array, np.asarray(given))
    faces = _located(many, names, detector, landmarks)
    sizes = [(face.image.shape[1], face.image.shape[0]) for face in faces]
    made = average_faces(
        [face.image for face in faces], [face.points for face in faces], sizes,
        lines=faces[0].lines, weights=weights, texture=texture, size_px=size,
    )  # fmt: skip
    return _shown(made, mask, background)


def transform(
    face: Image | AverageFace,
    start: Image | AverageFace | None = None,
    end: Image | AverageFace | None = None,
    *,
    shape: float = 0.5,
    colour: float = 0.5,
    texture: float = 0.0,
    face_only: bool = False,
    mask: str = "",
    background: str = "#FFFFFF",
    detector: str = "auto",
    landmarks: str = "auto",
) -> AverageFace:
    """A face moved along the difference of two others: `.image` and `.points`.

    Each is an image, or an `AverageFace`, which brings its points. Without `start` and `end` the face moves towards its
    own mirror image, of which 0.5 makes it symmetric.

    Args:
        shape, colour, texture: amounts; 1 is the whole difference, negative is back.
        face_only: change the inner face alone, within the picture.
        mask, background: as `average`.

    Raises:
        ImageError, FaceError, InputError: as `average`; or one of `start` and `end` is missing.
        ConfigError: an amount is no finite number; no such mask or background.
    """
    ground_colour(background)
    if (start is None) != (end is None):
        raise InputError(
            f"A difference needs two faces: {'start' if start is None else 'end'} is missing.",
            "Give both, or neither: without them a face moves towards its mirror image.",
        )
    given = [(one, name) for one, name in ((face, "the face"), (start, "start"), (end, "end")) if one is not None]
    names = [str(one) if isinstance(one, str | PathLike) else name for one, name in given]
    faces = _located([one for one, _ in given], names, detector, landmarks)
    ends = faces[1:] or [faces[0], mirrored(faces[0])]
    made = transform_face(faces[0], *ends, shape=shape, colour=colour, texture=texture)
    remark_on(shape=shape, colour=colour, texture=texture)
    return _shown(within(made, faces[0]) if face_only else made, mask, background)


def read_points(path: Path_) -> np.ndarray:
    """The points of a face in a .tem, .pts, .csv or .json file: float64 [N, 2], x before y in pixels.

    Raises:
        InputError: it is missing, of no known kind, or a line of it is wrong.
    """
    return files.read_points(Path(path)).points


def write_points(path: Path_, points: np.ndarray, *, overwrite: bool = False) -> None:
    """Write points [N, 2] as .tem, .pts, .csv or .json, by the suffix.

    Raises:
        InputError: no known kind, or not points [N, 2] of finite numbers.
        OutputError: the file exists, or cannot be written.
    """
    files.write_points(Path(path), FacePoints(as_points(points, f"the face for {path}")), overwrite)
