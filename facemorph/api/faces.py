"""The front door to faces: images in, faces, landmarks and comparisons out."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.errors import ImageError
from facemorph.faces import locate
from facemorph.faces.compare import Comparison, compare_images
from facemorph.faces.crop import find_crop
from facemorph.faces.descriptors import SAME_PERSON
from facemorph.faces.locate import Face, locate_face
from facemorph.images import read_image
from facemorph.video import ClipReport

Path_ = str | PathLike[str]
Image = str | PathLike[str] | np.ndarray


def read(image: Image) -> tuple[np.ndarray, str]:
    """An image as uint8 RGB [H, W, 3], and what messages call it."""
    if not isinstance(image, np.ndarray):
        return read_image(Path(image)), str(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(
            f"An image is an array of {image.dtype} of shape {image.shape}; uint8 RGB [H, W, 3] was expected.",
            "Grey images: np.repeat(grey[..., None], 3, 2). Floats in 0..1: (255 * image).round().astype(np.uint8).",
        )
    return np.ascontiguousarray(image), "the array"


def detect_faces(image: Image, *, detector: str = "auto", landmarks: str = "mesh") -> list[Face]:
    """The faces in an image, the largest first: box, score, presence, mesh, 68 landmarks, roll, yaw and pitch.

    Args:
        detector: "auto" (BlazeFace at any angle, then "cnn"), "cnn" (dlib's network in PyTorch), "hog" or "dlib-cnn".
        landmarks: where the 68 are from: "mesh" (MediaPipe's Face Mesh) or "dlib" (its regression trees).

    Raises:
        ImageError: it cannot be read.
    """
    return locate.detect_faces(read(image)[0], detector=detector, points=landmarks)


def find_landmarks(image: Image, *, detector: str = "auto", landmarks: str = "mesh") -> Face:
    """The largest face of an image; `.landmarks` are 68 points, float64 [68, 2] in pixels. Arguments as `detect_faces`.

    Raises:
        ImageError: it cannot be read.
        FaceError: there is no face in it.
    """
    array, name = read(image)
    return locate.locate_face(array, name, detector=detector, points=landmarks)


def align(image: Image, *, crop: str = "eyes", size: int = 256, detector: str = "auto") -> np.ndarray:
    """The largest face of an image, cut out so that it lies where the crop puts it: uint8 RGB [size, size, 3].

    Args:
        crop: "eyes" (level, a fixed distance apart), "ffhq" (as StyleGAN's data), or "paper" (upright, fixed size).

    Raises:
        ImageError: it cannot be read.
        FaceError: there is no face in it.
        ConfigError: an unknown crop.
    """
    kind = find_crop(crop)
    array, name = read(image)
    face = locate_face(array, name, detector=detector)
    return kind.cut(array, face.landmarks, size)


def align_folder(
    source: Path_,
    output: Path_,
    *,
    crop: str = "eyes",
    size: int = 64,
    detector: str = "auto",
    jobs: int = 0,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """The face of every image in a folder, aligned and written to `output` as PNG, with a manifest.jsonl.

    Running it again completes what was interrupted.

    Args:
        jobs: processes; 0 takes one for each CPU.

    Returns: the manifest's rows: source, status (accepted or rejected, and why), box, score, landmarks.

    Raises:
        InputError: no images, other settings were used in `output` before, or no face was accepted.
    """
    from facemorph.faces.align import AlignSettings
    from facemorph.faces.align import align as run_align

    settings = AlignSettings(size, crop, detector)
    return run_align(Path(source), Path(output), settings, jobs=jobs, progress=progress)


def compare(first: Image, second: Image, *, threshold: float = SAME_PERSON, detector: str = "auto") -> Comparison:
    """Are two images of one person? `.distance` between dlib's descriptors (Euclidean), and `.same` below `threshold`.

    Raises:
        ImageError: an image cannot be read.
        FaceError: there is no face in one of them.
    """
    pair = [read(image) for image in (first, second)]
    return compare_images(pair[0], pair[1], threshold=threshold, detector=detector)


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
