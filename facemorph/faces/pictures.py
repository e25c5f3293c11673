"""Which pictures a command was given, and in which order."""

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from facemorph.errors import InputError
from facemorph.faces.points import beside
from facemorph.folders import list_images, tell_left_out

EXIF_IFD, DATE_TAKEN, DATE = 0x8769, 0x9003, 0x0132


def natural(path: Path) -> list[tuple[int, int, str]]:
    """A key that sorts 2 before 10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def date_of(path: Path) -> str:
    """When a picture was taken, as its EXIF says: YYYY:MM:DD HH:MM:SS.

    Raises:
        InputError: it does not say.
    """
    try:
        with Image.open(path) as image:
            exif = image.getexif()
            date = exif.get_ifd(EXIF_IFD).get(DATE_TAKEN) or exif.get(DATE)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.", "An image is expected.") from None
    if not date:
        raise InputError(f"{path} does not say when it was taken (EXIF).", "Try --order name.")
    return str(date)


def find_pictures(given: Sequence[Path], order: str = "given", at_least: int = 1) -> list[Path]:
    """The files among `given`, and the pictures of its folders in natural order.

    Args:
        order: "given", "name" or "date" for all of them.

    Raises:
        InputError: one is missing, a folder is empty, there are fewer than `at_least`, or a date is.
    """
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(list_images(path), key=natural)
            if not inside:
                raise InputError(f"The folder {path} holds no images.", "Portraits are expected in it.")
            tell_left_out(path, [*inside, *(file for one in inside if (file := beside(one)))])
            found += inside
        elif not path.exists():
            if path.suffix == ".safetensors":
                raise InputError(f"{path} does not exist; a latent was expected.", "Check the path.")
            raise InputError(f"No such image: {path}.", "Check the path.")
        else:
            found.append(path)
    if len(found) < at_least:
        raise InputError(f"{len(found)} picture; at least {at_least} are needed.", "Name more, or a folder of them.")
    if order == "name":
        found.sort(key=natural)
    elif order == "date":
        found.sort(key=date_of)
    return found
