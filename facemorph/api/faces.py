"""The front door to faces: images in, faces, landmarks and comparisons out."""

import contextlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from facemorph.api.inputs import Image, Path_, read
from facemorph.errors import FaceError, ImageError
from facemorph.faces import locate
from facemorph.faces.compare import Comparison, compare_images
from facemorph.faces.crop import find_crop
from facemorph.faces.descriptors import SAME_PERSON
from facemorph.faces.locate import Face, locate_face
from facemorph.images import MAX_PIXELS, read_image
from facemorph.video import ClipReport


@dataclass(frozen=True)
class FoundFace:
    """One of an image's faces.

    Attributes:
        box: left, top, right, bottom in pixels of the image as it was turned.
        score: the detector's confidence.
        aligned: cut out and level, uint8 RGB [S, S, 3].
        surroundings: the image around it, in which it is the largest face: what `project` and `morph` take to mean
            this face. The whole image where it is the only one.
    """

    box: tuple[float, float, float, float]
    score: float
    aligned: np.ndarray
    surroundings: np.ndarray


@dataclass(frozen=True)
class Found:
    """All faces of an image, the largest first, and by how many quarter turns, anticlockwise, it had to be turned."""

    faces: list[FoundFace]
    quarter_turns: int


def read_picture(path: Path_, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> np.ndarray:
    """An image file as uint8 RGB [H, W, 3], upright, as every command reads it.

    Args:
        max_pixels: refused before it is decoded, where it has more.
        name: what messages call it, such as the name that its owner gave it; by default the path.

    Raises:
        ImageError: missing, not an image, damaged, cut short, or too large.
    """
    name = name or str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path) as opened:
                width, height = opened.size
    except Exception:  # read_image finds it again, and says what it is
        width = height = 0
    try:
        if width * height <= max_pixels:
            image = read_image(path)
            height, width = image.shape[:2]
            if width * height <= max_pixels:
                return image
        raise ImageError(
            f"{name} is {width} x {height}; at most {max_pixels / 1e6:g} megapixels are read.", "Scale it down first."
        )
    except ImageError as error:
        problem, hint = (text.replace(str(path), name) for text in (error.problem, error.hint))
        raise ImageError(problem, hint) from None


def find_faces(image: Image, *, crop: str = "eyes", size: int = 256, at_most: int = 8) -> Found:
    """Every face of an image, each aligned; an image that lies on its side or on its head is turned.

    Args:
        crop, size: of `aligned`, as in `align`.
        at_most: the largest ones.

    Returns: an empty list where no face is found, however it is turned.

    Raises:
        ImageError: it cannot be read.
    """
    turned, _ = read(image)
    located = locate.detect_faces(turned)
    turns = round(located[0].roll / 90) % 4 if located else 0
    if turns:
        turned = np.ascontiguousarray(np.rot90(turned, turns))
        located = locate.detect_faces(turned)
    faces = []
    for face in located[:at_most]:
        around = turned if len(located) == 1 else _around(turned, face.box)
        with contextlib.suppress(FaceError):  # it was found in the whole image alone
            faces.append(FoundFace(face.box, face.score, align(around, crop=crop, size=size), around))
    return Found(faces, turns if faces else 0)


MARGINS = (1.0, 0.6, 0.35, 0.15)  # around a face's box, in its sides


def _around(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """The largest of some pieces of an image around a face's box in which no other face is larger."""
    left, top, right, bottom = box
    part = image
    for margin in MARGINS:
        wide, high = margin * (right - left), margin * (bottom - top)
        x, y = max(0, round(left - wide)), max(0, round(top - high))
        part = np.ascontiguousarray(image[y : round(bottom + high), x : round(right + wide)])
        found = locate.detect_faces(part)
        if found:
            a, b, c, d = found[0].box
            if left < x + (a + c) / 2 < right and top < y + (b + d) / 2 < bottom:
                return part
    return part


def detect_faces(image: Image, *, detector: str = "auto", landmarks: str = "auto") -> list[Face]:
    """The faces in an image, the largest first: box, score, presence, mesh, 68 landmarks, roll, yaw and pitch.

    Args:
        detector: "auto" (BlazeFace at any angle, then "cnn"), "cnn" (dlib's network in PyTorch), "hog" or "dlib-cnn".
        landmarks: where the 68 are from: "auto" or "mesh" (MediaPipe's Face Mesh), or "dlib" (its regression trees).

    Raises:
        ImageError: it cannot be read.
    """
    return locate.detect_faces(read(image)[0], detector=detector, points=landmarks)


def find_landmarks(image: Image, *, detector: str = "auto", landmarks: str = "auto") -> Face:
    """The largest face of an image; `.landmarks` are 68 points, float64 [68, 2] in pixels. Arguments as `detect_faces`.

    Raises:
        ImageError: it cannot be read.
        FaceError: there is no face in it.
    """
    array, name = read(image)
    return locate.locate_face(array, name, detector=detector, points=landmarks)


def align(
    image: Image, *, crop: str = "eyes", size: int = 256, detector: str = "auto", landmarks: str = "auto"
) -> np.ndarray:
    """The largest face of an image, cut out so that it lies where the crop puts it: uint8 RGB [size, size, 3].

    Args:
        crop: "eyes" (level, a fixed distance apart), "ffhq" (as StyleGAN's data), or "paper" (upright, fixed size).
        detector, landmarks: as `detect_faces`.

    Raises:
        ImageError: it cannot be read.
        FaceError: there is no face in it.
        ConfigError: an unknown crop.
    """
    kind = find_crop(crop)
    array, name = read(image)
    face = locate_face(array, name, detector=detector, points=landmarks)
    return kind.cut(array, face.landmarks, size)


def align_folder(
    source: Path_,
    output: Path_,
    *,
    crop: str = "eyes",
    size: int = 64,
    detector: str = "auto",
    landmarks: str = "auto",
    jobs: int = 0,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """The face of every image in a folder, aligned and written to `output` as PNG, with a manifest.jsonl.

    Running it again completes what was interrupted.

    Args:
        landmarks: as `detect_faces`; "auto" also keeps the kind that `output` was started with.
        jobs: processes; 0 takes one for each CPU.

    Returns: the manifest's rows: source, status (accepted or rejected, and why), box, score, landmarks.

    Raises:
        InputError: no images, other settings were used in `output` before, or no face was accepted.
    """
    from facemorph.faces.align import AlignSettings
    from facemorph.faces.align import align as run_align

    settings = AlignSettings(size, crop, detector, landmarks=landmarks)
    return run_align(Path(source), Path(output), settings, jobs=jobs, progress=progress)


def compare(
    first: Image,
    second: Image,
    *,
    threshold: float = SAME_PERSON,
    detector: str = "auto",
    landmarks: str = "auto",
) -> Comparison:
    """Are two images of one person? `.distance` between dlib's descriptors (Euclidean), and `.same` below `threshold`.

    Raises:
        ImageError: an image cannot be read.
        FaceError: there is no face in one of them.
    """
    pair = [read(image) for image in (first, second)]
    return compare_images(pair[0], pair[1], threshold=threshold, detector=detector, landmarks=landmarks)


def extract(
    clips: Path_ | Sequence[Path_],
    output: Path_,
    *,
    per_second: int = 4,
    seed: int = 0,
    person: str | None = None,
    progress: bool = False,
) -> dict[str, list[ClipReport]]:
    """Random frames of clips, no two consecutive, written to `output`/<person>/: what was found, by person.

    A clip is a person; so is a folder of clips. With `person` all of them are this one.

    Raises:
        InputError: a clip is missing or cannot be read.
    """
    from facemorph import video

    many = [Path(clips)] if isinstance(clips, str | PathLike) else [Path(clip) for clip in clips]
    settings = video.ExtractSettings(per_second, seed)
    return video.extract(video.find_people(many, person), Path(output), settings, progress=progress)
