"""Points of a face in files: Psychomorph and WebMorph .tem, iBUG .pts, CSV and JSON; and where a picture's come from.

Points are float64 [N, 2], x before y, in pixels of their picture, pixel centres at whole numbers. A template is what
the points mean; here it is known by their number alone: dlib's 68, a mesh's 478, WebMorph's 189, or anything else.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facemorph.errors import FacemorphError, InputError
from facemorph.faces.contour import lines_of
from facemorph.faces.landmarks import chosen_landmarks
from facemorph.faces.locate import Face, locate_face
from facemorph.faces.mesh import NUM_POINTS
from facemorph.faces.point_checks import as_points, check_inside, check_template, line_of
from facemorph.files import NAME_BYTES, check_free, write_text
from facemorph.images import read_image
from facemorph.progress import progress_bar


@dataclass(frozen=True)
class FacePoints:
    """Points [N, 2] of a face, and the `lines` (indices) that join them where a .tem file says so.

    `source` is the file, or "detected"; `box` that of a detected face.
    """

    points: np.ndarray
    lines: tuple[tuple[int, ...], ...] = ()
    source: str = "detected"
    box: tuple[float, ...] = field(default=())


def _number(text: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise InputError(f"{path}, line {line}: {text.strip()!r} is not a number.", "Two finite numbers, x and y.")
    return value


def _pair(text: str, path: Path, line: int) -> list[float]:
    parts = text.replace(",", " ").replace(";", " ").split()
    if len(parts) != 2:
        raise InputError(
            f"{path}, line {line}: {text.strip()!r} is not a point.", "Two numbers, x and y, are expected."
        )
    return [_number(part, path, line) for part in parts]


def _count(text: str, path: Path, line: int) -> int:
    if not text.strip().isdigit():
        raise InputError(f"{path}, line {line}: {text.strip()!r} is not a number of points.", "A whole number.")
    return int(text)


def _read_tem(lines: list[str], path: Path) -> FacePoints:
    count = _count(lines[0], path, 1)
    rows = lines[1 : count + 1]
    if len(rows) < count:
        raise InputError(f"{path}, line 1 announces {count} points; {len(rows)} follow.", "Is the file whole?")
    points = [_pair(text, path, number) for number, text in enumerate(rows, 2)]
    joined: list[tuple[int, ...]] = []
    rest = [(number, text) for number, text in enumerate(lines[count + 1 :], count + 2) if text.strip()]
    if rest:  # a number of lines; of each: closed or not, how many points, which, and a flag
        announced = _count(rest[0][1], path, rest[0][0])
        for start in range(1, 1 + 3 * announced, 3):
            block = rest[start : start + 3]
            if len(block) < 3:
                raise InputError(
                    f"{path}, line {rest[-1][0]}: {announced} lines between points are announced, the file ends in "
                    f"number {len(joined) + 1}.", "Is the file whole?",
                )  # fmt: skip
            number, text = block[2]
            indices = [_count(part, path, number) for part in text.split()]
            if len(indices) != _count(block[1][1], path, block[1][0]) or max(indices, default=0) >= count:
                raise InputError(
                    f"{path}, line {number}: {text.strip()!r} does not fit {count} points.",
                    f"{block[1][1].strip()} indices below {count} are expected.",
                )
            joined.append(tuple(indices))
    return FacePoints(np.array(points), tuple(joined))


def _read_pts(lines: list[str], path: Path) -> FacePoints:
    announced, points, inside = None, [], False
    for number, text in enumerate(lines, 1):
        text = text.strip()
        if text.startswith("n_points"):
            announced = _count(text.partition(":")[2], path, number)
        elif text in ("{", "}"):
            inside = text == "{"
        elif inside and text:
            points.append(_pair(text, path, number))
    if announced is not None and announced != len(points):
        raise InputError(
            f"{path}{line_of(path)} announces {announced} points; {len(points)} follow.", "Is the file whole?"
        )
    return FacePoints(np.array(points) - 1)  # counted from 1, as MATLAB does


def _read_csv(lines: list[str], path: Path) -> FacePoints:
    rows = [(number, text) for number, text in enumerate(lines, 1) if text.strip()]
    if rows and any(character.isalpha() for character in rows[0][1]):  # a head: x,y or with more columns
        names = [name.strip().lower() for name in rows[0][1].split(",")]
        if "x" not in names or "y" not in names:
            raise InputError(f"{path}, line {rows[0][0]} names no columns x and y.", "A head like x,y is expected.")
        columns = names.index("x"), names.index("y")
        points = []
        for number, text in rows[1:]:
            cells = text.split(",")
            if len(cells) != len(names):
                raise InputError(f"{path}, line {number} has {len(cells)} cells, its head {len(names)}.", "x,y a line.")
            points.append([_number(cells[column], path, number) for column in columns])
        return FacePoints(np.array(points))
    return FacePoints(np.array([_pair(text, path, number) for number, text in rows]))


def _read_json(lines: list[str], path: Path) -> FacePoints:
    try:
        value = json.loads("\n".join(lines))
        value = value if isinstance(value, list) else value.get("points", value.get("landmarks"))
        points = np.array(value, np.float64)
        if points.ndim != 2 or points.shape[1] < 2 or not np.isfinite(points).all():
            raise ValueError("it holds no list of x and y")
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno} is not JSON: {error.msg}.", "A list of [x, y].") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {error}.", 'A list of [x, y], alone or under "points", is expected.') from None
    return FacePoints(points[:, :2])


def _xy(points: np.ndarray, between: str, shift: float = 0) -> list[str]:
    return [f"{x + shift:.6g}{between}{y + shift:.6g}" for x, y in points]


def _write_tem(face: FacePoints) -> str:
    lines = lines_of(len(face.points), face.lines)
    text = [str(len(face.points)), *_xy(face.points, "\t"), str(len(lines))]
    for line in lines:
        text += ["1" if line[0] == line[-1] and len(line) > 2 else "0", str(len(line)), " ".join(map(str, line))]
    return "\n".join(text) + "\n"


def _write_pts(face: FacePoints) -> str:
    rows = _xy(face.points, " ", 1)
    return "\n".join(["version: 1", f"n_points: {len(rows)}", "{", *rows, "}"]) + "\n"


def _write_csv(face: FacePoints) -> str:
    return "\n".join(["x,y", *_xy(face.points, ",")]) + "\n"


def _write_json(face: FacePoints) -> str:
    return json.dumps({"points": np.round(face.points, 3).tolist()}) + "\n"


@dataclass(frozen=True)
class PointsFormat:
    """How a file of points is read (its lines and its path) and written."""

    meaning: str
    read: Callable[[list[str], Path], FacePoints]
    write: Callable[[FacePoints], str]


FORMATS = {
    "tem": PointsFormat("Psychomorph and WebMorph", _read_tem, _write_tem),
    "pts": PointsFormat("iBUG, counted from 1", _read_pts, _write_pts),
    "csv": PointsFormat("x,y a line", _read_csv, _write_csv),
    "json": PointsFormat("a list of [x, y]", _read_json, _write_json),
}


def _format_of(path: Path) -> PointsFormat:
    kind = FORMATS.get(path.suffix[1:].lower())
    if kind is None:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise InputError(f"{path} is not known as a file of points.", f"One of {known} is expected.")
    return kind


def read_points(path: Path) -> FacePoints:
    """The points in a file, by its suffix.

    Raises:
        InputError: it is missing, of no known kind, or a line of it is wrong (named).
    """
    kind = _format_of(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(f"{path} cannot be read: {reason}.", "A file of points is expected.") from None
    if not any(map(str.strip, lines)):
        raise InputError(f"{path}, line 1: the file is empty.", "A file of points is expected.")
    face = kind.read(lines, path)
    return FacePoints(as_points(face.points, str(path)), face.lines, str(path))


def write_points(path: Path, face: FacePoints, overwrite: bool = False) -> None:
    """Write points to a file of the kind that its suffix names, whole or not at all.

    Raises:
        InputError: no known kind, or no points.
        OutputError: it exists and `overwrite` is not set, or it cannot be written.
    """
    kind = _format_of(path)
    as_points(face.points, f"the face for {path}")
    check_free(path, overwrite)
    write_text(path, kind.write(face))


def beside(picture: Path) -> Path | None:
    """The file of points beside a picture, of its whole name and a suffix or of its stem; None without one.

    In the order of `FORMATS`. JSON that holds no points is something else about the picture: phones and shops of
    pictures write such files.
    """
    for kind in FORMATS:
        for stem in (picture.name, picture.stem):
            path = picture.with_name(f"{stem}.{kind}")
            fits = len(os.fsencode(path.name)) <= NAME_BYTES
            if fits and path.is_file() and (kind != "json" or _may_hold_points(path)):
                return path
    return None


def _may_hold_points(path: Path) -> bool:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return True  # its error is reported later
    return isinstance(value, list) or (isinstance(value, dict) and not {"points", "landmarks"}.isdisjoint(value))


def seen_points(face: Face, landmarks: str = "auto", as_68: bool = False) -> FacePoints:
    """The points of a detected face: its mesh [478, 2], or, with `as_68` or by dlib, the landmarks [68, 2]."""
    whole = chosen_landmarks(landmarks) == "mesh" and not as_68
    return FacePoints(face.mesh[:, :2].copy() if whole else face.landmarks, box=tuple(face.box))


def points_of(
    image: np.ndarray,
    picture: Path,
    *,
    detector: str = "auto",
    landmarks: str = "auto",
    as_68: bool = False,
) -> FacePoints:
    """The points of the face in a picture: those in the file beside it, otherwise detected ones (see `seen_points`).

    This is the one place where a picture's points come from.

    Raises:
        InputError: the file beside it is wrong, or its points lie outside the picture.
        FaceError: there is no file, and no face is detected.
    """
    path = beside(picture)
    if path is None:
        face = locate_face(image, str(picture), detector=detector, points=landmarks)
        return seen_points(face, landmarks, as_68)
    found = read_points(path)
    check_inside(found.points, str(picture), image.shape[1], image.shape[0], path)
    return found


def drawn(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A copy of an image with its points as dots, and the lines of a known template: uint8 RGB [H, W, 3]."""
    from PIL import Image, ImageDraw

    picture, extent = Image.fromarray(image), float(np.ptp(points, axis=0).max())
    draw, radius = ImageDraw.Draw(picture), max(1.0, extent / (200 if len(points) < NUM_POINTS else 400))
    for line in lines_of(len(points)):
        draw.line([tuple(points[index]) for index in line], fill=(255, 255, 255), width=max(1, round(extent / 400)))
    for x, y in points:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(0, 255, 0), outline=(0, 0, 0))
    return np.asarray(picture)


def _has_68_beside(picture: Path) -> bool:
    path = beside(picture)
    try:
        return path is not None and len(read_points(path).points) == 68
    except FacemorphError:
        return False  # reported when it is this picture's turn


def locate_points(
    pictures: Sequence[Path],
    detector: str = "auto",
    landmarks: str = "auto",
    progress: bool = False,
    failures: dict[Path, str] | None = None,
) -> tuple[list[FacePoints], list[tuple[int, int]]]:
    """The points of every picture, and their widths and heights; all are looked at before anything is made of one.

    Where a file beside one of them has 68 points, those that are detected are 68 as well.
    What cannot be read or shows no face goes into `failures`, where that is given, with the reason, and is left out.

    Raises:
        ImageError, FaceError, InputError: as `read_image` and `points_of`; or their templates differ.
    """
    found: dict[Path, tuple[FacePoints, tuple[int, int]]] = {}
    as_68 = any(_has_68_beside(picture) for picture in pictures)
    with progress_bar(progress and len(pictures) > 2, total=len(pictures), unit=" faces", description="locate") as bar:
        for picture in pictures:
            try:
                if picture not in found:
                    image = read_image(picture)
                    one = points_of(image, picture, detector=detector, landmarks=landmarks, as_68=as_68)
                    found[picture] = one, (image.shape[1], image.shape[0])
            except FacemorphError as error:
                if failures is None:
                    raise
                failures[picture] = error.problem
            bar.update()
    pictures = [picture for picture in pictures if picture in found]
    points = [found[picture][0] for picture in pictures]
    check_template(points, [str(picture) for picture in pictures])
    return points, [found[picture][1] for picture in pictures]
