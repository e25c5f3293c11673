"""The front door to morphs: one face into another, or a chain of faces."""

import difflib
from collections.abc import Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np

from facemorph.animation import Morph
from facemorph.animation import write_morph as write_a_morph
from facemorph.api.inputs import Image, Path_, as_files, as_images
from facemorph.config import check_number
from facemorph.errors import ConfigError, InputError
from facemorph.evaluation.even import even_fractions
from facemorph.faces.average import AverageFace
from facemorph.faces.mask import ground_colour
from facemorph.faces.morph import Look
from facemorph.morphs import CHAINS, METHODS, MorphOptions
from facemorph.progress import Tell


def morph(
    first: Image | AverageFace | Sequence[Image | AverageFace],
    second: Image | AverageFace | None = None,
    *,
    method: str = "stylegan",
    steps: int = 9,
    at: Sequence[float] | None = None,
    even: bool = False,
    size: int = 512,
    shape: float | None = None,
    colour: float | None = None,
    mask: str = "",
    background: str = "#FFFFFF",
    network: Path_ | None = None,
    run: Path_ | None = None,
    progress: bool = False,
    **options: Any,
) -> np.ndarray:
    """The morph of one face into another, both ends included: uint8 RGB [steps, S, S, 3].

    A list of faces, or a folder, makes a chain, in which `steps` are those from each face to the next:
    [legs (steps - 1) + 1, ...].

    Args:
        first, second: images. For landmarks an `AverageFace` brings its points.
        method: "stylegan" (through a generator's latent space), "landmarks" (warp and dissolve, without any network) or
            "dcgan" (through a trained run's latent space).
        at: images at these fractions of the whole way instead of at `steps`.
        even: two faces: steps evenly spaced in identity, by descriptor distance.
        size: landmarks: side of the images.
        shape, colour: landmarks: held at this fraction, so that only the other changes.
        mask, background: landmarks: show the inner "face" or an "oval" alone, on a colour like #808080 or "transparent"
            (RGBA).
        network: stylegan: a network file or a name; by default the best on this machine.
        run: dcgan: the folder of a trained run.
        options: more of `facemorph.morphs.MorphOptions`, such as face_only.

    Raises:
        ImageError: an image cannot be read.
        FaceError: there is no face in one of them.
        InputError: fewer than two faces; points do not fit.
        ConfigError: an unknown method or option, or a value that it cannot have.
        WeightsError: the network is not on this machine.
    """
    _check_options(method, options)
    faces = _as_list(first, second)
    for number, fraction in enumerate(at if at is not None else ()):
        check_number(f"at[{number}]", fraction, 0, 1)
    if even and (at is not None or len(faces) > 2):
        raise ConfigError("even needs exactly two faces, and no at.", "Leave one of them out.")
    ground_colour(background)
    look = Look(shape, colour, mask, background)
    if method != "landmarks" and look != Look():
        raise ConfigError(f"shape, colour, mask and background are for landmarks, not {method}.", 'method="landmarks"')
    with as_files(*faces) as (*paths, scratch):
        options.setdefault("latents", scratch)
        if run is not None:
            options["run"] = Path(run)
        if network is not None:
            options["network"] = network
        chosen = MorphOptions(steps, steps, size, **options)
        if len(paths) == 2 and look == Look():
            made = METHODS[method](paths[0], paths[1], chosen, progress)
        else:
            made = CHAINS[method](paths, chosen, look, progress)
        fractions = np.linspace(0, 1, (len(paths) - 1) * (steps - 1) + 1).tolist() if at is None else list(at)
        if even:
            fractions, _ = even_fractions(made, steps, progress)
        return np.stack(list(made.frames(fractions)))


def _check_options(method: str, options: dict[str, Any]) -> None:
    if method not in METHODS:
        raise ConfigError(f"method should be one of {', '.join(METHODS)}, not {method}.")
    known = [field.name for field in fields(MorphOptions)]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise ConfigError(f"A morph has no option {name}.", f"Is it {near[0]}?" if near else ", ".join(known))


def _as_list(
    first: Image | AverageFace | Sequence[Image | AverageFace], second: Image | AverageFace | None
) -> list[Image | AverageFace]:
    is_one = isinstance(first, np.ndarray | AverageFace) or (
        isinstance(first, str | PathLike) and not Path(first).is_dir()
    )
    faces: list[Image | AverageFace] = [first] if is_one else [*as_images(first)]  # type: ignore[list-item, arg-type]
    faces += [second] if second is not None else []
    if len(faces) < 2:
        raise InputError("A morph needs two faces or more.", "fm.morph(a, b), or fm.morph([a, b, c]).")
    return faces


def landmark_morph(first: Image, second: Image, *, size: int = 512) -> Morph:
    """The morph by landmarks, ready to be asked for any image of it: `.frames([0.5])` is its middle.

    Raises:
        ImageError, FaceError: an image cannot be read, or shows no face.
    """
    with as_files(first, second) as (a, b, _):
        return METHODS["landmarks"](a, b, MorphOptions(size_px=size), False)


def write_morph(
    folder: Path_, morph: Morph, *, steps: int = 9, frames: int = 30, overwrite: bool = False,
    progress: bool | Tell = False,
) -> list[Path]:  # fmt: skip
    """Write what `facemorph morph` writes: strip.png, morph.mp4, morph.gif, stills, manifest.jsonl. The strip first.

    Raises:
        OutputError: `folder` holds something already and `overwrite` is not set, or cannot be written.
    """
    passed_on = cast(bool, progress)  # to `progress_bar`, which takes a function as well
    return write_a_morph(Path(folder), morph, steps=steps, frames=frames, overwrite=overwrite, progress=passed_on)
