"""What points of a face have to be: numbers, enough of them, within their picture, of the same template as others'."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facemorph.errors import InputError

if TYPE_CHECKING:
    from facemorph.faces.points import FacePoints

MIN_POINTS = 3
OUTSIDE = 0.05  # of the side of a picture: points further outside it are not those of this picture


def as_points(values: object, whose: str) -> np.ndarray:
    """Points as float64 [N, 2]; `whose` they are is for messages.

    Raises:
        InputError: another shape, too few, not finite, or all at one place.
    """
    points: np.ndarray = np.zeros(1)
    with contextlib.suppress(TypeError, ValueError):
        points = np.array(values, np.float64)
    if points.shape == (0,):
        points = points.reshape(0, 2)
    if points.ndim != 2 or points.shape[1] != 2:
        shape = getattr(values, "shape", None)
        is_what = f"of shape {tuple(shape)}" if shape is not None else repr(values)[:40]
        raise InputError(f"The points of {whose} are {is_what}.", "Numbers [N, 2] are expected, x before y.")
    if len(points) < MIN_POINTS:
        raise InputError(f"{whose} has {len(points)} points.", f"At least {MIN_POINTS} are expected.")
    if not np.isfinite(points).all():
        index = int(np.flatnonzero(~np.isfinite(points).all(1))[0])
        raise InputError(f"Point {index} of {whose} is not finite.", "Numbers of pixels are expected.")
    if np.ptp(points, axis=0).max() == 0:
        raise InputError(f"All {len(points)} points of {whose} lie at one place.", "Points of a face are expected.")
    return points


def check_inside(points: np.ndarray, picture: str, width: int, height: int, path: Path | None = None) -> None:
    """Raises InputError where points lie outside their picture; with `path`, the file that they are from, its line."""
    size = np.array([width, height])
    outside = np.flatnonzero(((points < -OUTSIDE * size) | (points > (1 + OUTSIDE) * size)).any(1))
    centre = points.mean(0)
    if not len(outside) and (centre >= 0).all() and (centre <= size).all():
        return
    worst = int(outside[0]) if len(outside) else int(np.abs(points - size / 2).sum(1).argmax())
    x, y = points[worst]
    place = f"point {worst} at ({x:.0f}, {y:.0f}) lies outside the picture {picture} of {width} x {height} pixels"
    raise InputError(
        f"{path}{line_of(path, worst)}: {place}." if path else f"{place[0].upper()}{place[1:]}.",
        "Do the points belong to this picture, at this size?",
    )


def line_of(path: Path, index: int | None = None) -> str:
    """Where a file says a point, or, without an index, how many there are: ", line N" for messages, or nothing."""
    kind = path.suffix.lower()
    if kind not in (".tem", ".pts", ".csv"):
        return ""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    if kind == ".tem":
        return f", line {1 if index is None else 2 + index}"
    if kind == ".pts":
        start = "n_points" if index is None else "{"
        found = next((number for number, text in enumerate(lines, 1) if text.strip().startswith(start)), None)
        return f", line {found + (0 if index is None else 1 + index)}" if found else ""
    rows = [number for number, text in enumerate(lines, 1) if text.strip()]
    if index is None:
        return f", line {rows[-1]}"
    return f", line {rows[index + any(character.isalpha() for character in lines[rows[0] - 1])]}"


def check_template(faces: "Sequence[FacePoints]", names: Sequence[str]) -> None:
    """Raises InputError unless all faces have the same number of points."""

    def source(face: "FacePoints") -> str:
        path = Path(face.source)
        return f"{face.source}{line_of(path) if path.is_file() else ''}"

    for face, name in zip(faces, names, strict=True):
        if len(face.points) != len(faces[0].points):
            raise InputError(
                f"{name} has {len(face.points)} points ({source(face)}), {names[0]} has {len(faces[0].points)} "
                f"({source(faces[0])}).",
                "All pictures need points of the same template. Without files beside them, all are detected.",
            )
