"""The alignment of the faces that a network was trained on. It is stored with the network."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from facemorph.errors import RefusedFile

CROPS = ("ffhq", "eyes", "paper")  # as `facemorph.faces.crop` makes them


@dataclass(frozen=True)
class Alignment:
    """The crop, and the place of the face in it.

    Attributes:
        name: "ffhq", the oriented square of the FFHQ data set; "eyes", both eyes at fixed places; or "paper", an
            upright square around the landmarks.
        eye_height, eye_spacing: of "eyes": height and distance of the eyes, as fractions of the side; None of others.
        chip: the place of dlib's face chip, in coordinates from -1 to 1: centre x, centre y, half its side.
    """

    name: str
    eye_height: float | None
    eye_spacing: float | None
    chip: tuple[float, float, float]

    def check(self) -> None:
        """Raises:
        RefusedFile: the crop is unknown, or its geometry is out of range.
        """
        if self.name not in CROPS:
            raise RefusedFile(f"its alignment {str(self.name)[:40]!r} is not one of {', '.join(CROPS)}")
        eyes = (self.eye_height, self.eye_spacing)
        if self.name == "eyes":
            holds = all(value is not None and _number(value) and 0.05 <= value <= 0.95 for value in eyes)
        else:
            holds = eyes == (None, None)
        holds = holds and type(self.chip) is tuple and len(self.chip) == 3 and all(map(_number, self.chip))
        if not (holds and abs(self.chip[0]) <= 1 and abs(self.chip[1]) <= 1 and 0.1 <= self.chip[2] <= 2):
            raise RefusedFile(f"the geometry of its alignment {self.name} is not that of a face")


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


# dlib's chip in the crops of FFHQ and of the 2018 paper: means over 24 people, with a spread of 0.02. In the eyes crop:
# measured on the training faces of faces-128.
FFHQ = Alignment("ffhq", None, None, (0.01, 0.2, 0.68))
EYES = Alignment("eyes", 0.37, 0.36, (0.007, 0.10, 0.98))
PAPER = Alignment("paper", None, None, (0.006, -0.05, 0.83))
ALIGNMENTS = {one.name: one for one in (FFHQ, EYES, PAPER)}


def to_plain(alignment: Alignment) -> dict[str, Any]:
    """As a dictionary for JSON, without None."""
    return {key: value for key, value in dataclasses.asdict(alignment).items() if value is not None}


def from_plain(value: Any) -> Alignment:
    """The inverse of `to_plain`.

    Raises:
        RefusedFile: it is not an alignment.
    """
    if not isinstance(value, dict) or not {"name", "chip"} <= set(value) <= {
        "name",
        "chip",
        "eye_height",
        "eye_spacing",
    }:
        raise RefusedFile("its alignment is not described as this version knows it")
    alignment = Alignment(
        value["name"], value.get("eye_height"), value.get("eye_spacing"), tuple(value["chip"])
    )  # fmt: skip
    alignment.check()
    return alignment
