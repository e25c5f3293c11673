"""How the faces of one network grow older: a bent path through its latent space, and where a face stands on it.

One direction cannot do it: a face that grows up changes its shape, one that grows old its skin. The path is the mean
latent of faces at each age (prototypes, as Burt and Perrett 1995 had them of images, here of latents, freed of gender
and descent by a joint regression), stretched until the faces look as old as was asked for. A latent is moved by the
difference of two points of the path, its own age's and the target's, so that it keeps what makes it its own.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save

from facemorph.errors import InputError
from facemorph.files import check_free, write_atomically

KIND = "facemorph age path"


@dataclass(frozen=True)
class AgePath:
    """Where faces of an age lie, relative to each other, in one network's space.

    Attributes:
        knots: years, rising, float64 [K]; between them the path is straight, beyond them it is not known.
        points: float32 [K, L, w_size], a point of the path for each.
        readout: float32 [L, w_size]; with `intercept` it tells a latent's own age, in years.
        intercept: years.
        about: anything JSON can hold: how it was found, and its figures.
    """

    knots: np.ndarray
    points: np.ndarray
    readout: np.ndarray
    intercept: float
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def ages(self) -> tuple[float, float]:
        """The youngest and the oldest that can be asked for, years."""
        return float(self.knots[0]), float(self.knots[-1])

    def own_age(self, latent: np.ndarray) -> float:
        """How old the face of a latent [L, w_size] looks, as a regression guesses it, years within `ages`."""
        return float(np.clip((self.readout * latent).sum(dtype=np.float64) + self.intercept, *self.ages))

    def at(self, years: float) -> np.ndarray:
        """The point of the path for so many years: float32 [L, w_size]."""
        upper = int(np.clip(np.searchsorted(self.knots, years), 1, len(self.knots) - 1))
        low, high = self.knots[upper - 1 : upper + 1]
        share = np.float32((np.clip(years, *self.ages) - low) / (high - low))
        return (1 - share) * self.points[upper - 1] + share * self.points[upper]

    def aged(self, latent: np.ndarray, years: float) -> np.ndarray:
        """The latent [L, w_size] of the same face at another age. Raises InputError as `check_years`."""
        self.check_years(years)
        return latent + self.at(years) - self.at(self.own_age(latent))

    def check_years(self, years: float) -> None:
        """Raises InputError where the path does not reach so far."""
        low, high = self.ages
        if not low <= years <= high:
            raise InputError(
                f"An age of {years:g} years was asked for; this network's faces can be made {low:g} to {high:g}.",
                f"Choose --age between {low:g} and {high:g}.",
            )


def write_age_path(
    path: Path, age: AgePath, gender: np.ndarray, network: str, about: dict[str, Any], *, overwrite: bool = False
) -> None:
    """Write an age path and a gender direction [L, w_size] of one network, by fingerprint, as `path` (.safetensors).

    Numbers are kept as float16: an error of a thousandth of w's spread.

    Raises:
        OutputError: it exists and may not be overwritten, or cannot be written.
    """
    check_free(path, overwrite)
    arrays = {"age.points": age.points, "age.readout": age.readout, "gender": gender}
    arrays = {name: np.ascontiguousarray(array, np.float16) for name, array in arrays.items()}
    noted = {"knots": [float(knot) for knot in age.knots], "intercept": age.intercept, **age.about}
    header = {"kind": KIND, "version": "1", "network": network, "age": json.dumps(noted), "gender": json.dumps(about)}
    write_atomically(path, lambda file: file.write(save(arrays, metadata=header)))


def read_age_path(path: Path) -> tuple[AgePath, np.ndarray, dict[str, Any], str]:
    """The age path, the gender direction [L, w_size], what is noted of the latter, and the network's fingerprint.

    Raises:
        InputError: missing, damaged, or something else.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118, no mapping
        if header.get("kind") != KIND:
            raise ValueError("it holds no age path")
        noted = json.loads(header["age"])
        knots = np.array(noted.pop("knots"), np.float64)
        age = AgePath(knots, arrays["age.points"], arrays["age.readout"], float(noted.pop("intercept")), noted)
        fits = len(knots) >= 2 and (np.diff(knots) > 0).all() and len(age.points) == len(knots)
        if not fits or not age.points.shape[1:] == age.readout.shape == arrays["gender"].shape:
            raise ValueError("its arrays do not fit each other")
        return age, arrays["gender"], json.loads(header["gender"]), header["network"]
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no age path: {error}.", "Reinstall facemorph-toolkit.") from error
