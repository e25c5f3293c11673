"""What the front door takes for an image: a path, an array, or a face that brings its points."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from facemorph.errors import FacemorphError, ImageError, InputError
from facemorph.faces.average import AverageFace
from facemorph.faces.pictures import find_pictures
from facemorph.faces.point_checks import as_points, check_inside
from facemorph.faces.points import FacePoints, write_points
from facemorph.images import read_image, write_image

Path_ = str | PathLike[str]
Image = str | PathLike[str] | np.ndarray


def read(image: Image) -> tuple[np.ndarray, str]:
    """An image as uint8 RGB [H, W, 3], and what messages call it."""
    if isinstance(image, str | PathLike):
        return read_image(Path(image)), str(image)
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"An image is {repr(image)[:40]}, a {type(image).__name__}.",
            "A path or a uint8 RGB array [H, W, 3] is expected.",
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(
            f"An image is an array of {image.dtype} of shape {image.shape}; uint8 RGB [H, W, 3] was expected.",
            "Grey images: np.repeat(grey[..., None], 3, 2). Floats in 0..1: (255 * image).round().astype(np.uint8).",
        )
    return np.ascontiguousarray(image), "the array"


def as_images(images: Sequence[Image]) -> list[Image]:
    """A list of images; of the path of a folder, the pictures in it in natural order.

    Raises:
        InputError: it is one image, or a folder without any.
    """
    if isinstance(images, str | PathLike):
        if Path(images).is_dir():
            return [*find_pictures([Path(images)])]
        raise InputError(f"{images} is one image.", "A list of images, or the path of a folder of them, is expected.")
    if isinstance(images, np.ndarray) and images.ndim < 4:
        raise InputError("One array was given for a list of images.", "A list, or uint8 [N, H, W, 3], is expected.")
    return list(images)


def known_face(image: object, name: str) -> AverageFace | None:
    """A face whose points came with it, checked; None for an image, whose points are not known yet."""
    if not isinstance(image, AverageFace):
        return None
    array, _ = read(image.image)
    points = as_points(image.points, name)
    check_inside(points, name, array.shape[1], array.shape[0])
    return AverageFace(array, points, image.lines)


def name_of(image: Image | AverageFace, number: int) -> str:
    """What messages call an image: its path, or its number in the list, from 1."""
    return str(image) if isinstance(image, str | PathLike) else f"image {number}"


@contextlib.contextmanager
def as_files(*images: Image | AverageFace) -> Iterator[list[Path]]:
    """Images as files, arrays as PNG in a temporary folder, with their points beside them if known; and the folder."""
    names: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths: list[Path] = []
        for number, image in enumerate(images, 1):
            if isinstance(image, str | PathLike):
                paths.append(Path(image))
                continue
            face = known_face(image, name_of(image, number))
            paths.append(Path(folder, f"image_{number}.png"))
            names |= {str(paths[-1]): name_of(image, number), paths[-1].name: name_of(image, number)}
            write_image(paths[-1], read(image)[0] if face is None else face.image)  # type: ignore[arg-type]
            if face is not None:
                write_points(paths[-1].with_suffix(".json"), FacePoints(face.points))
                names |= {str(paths[-1].with_suffix(".json")): "given", f"image_{number}.json": "given"}
        try:
            yield [*paths, Path(folder)]
        except FacemorphError as error:  # which names no file that the caller never saw
            for path, name in names.items():
                error.problem = error.problem.replace(path, name)
            raise
