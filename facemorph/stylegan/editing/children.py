"""Children of two latents at several ages: the product of the 2024 paper."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.errors import InputError
from facemorph.files import check_free, replacing_files, write_json
from facemorph.images import contact_sheet, resize, write_image
from facemorph.progress import progress_bar
from facemorph.stylegan.editing.directions import Direction, age_strength
from facemorph.stylegan.editing.mixing import add, babygan_mix, lerp, siblings
from facemorph.stylegan.editing.resolve import render_latents
from facemorph.stylegan.latents import Latent, fingerprint, write_latent
from facemorph.stylegan.networks.generator import Generator

MIXES = ("siblings", "even", "layers", "mirrored")
GENDER_STRENGTH = 2.0  # of the gender direction at -1 and 1: BabyGAN's sliders reach -3 to 2
SHEET_PX = 256


@dataclass(frozen=True)
class ChildrenConfig:
    """How children are made.

    Attributes:
        share: the father's, 0 to 1.
        mix: "siblings", every child its own layers; "even", every layer alike; "layers" and "mirrored" as BabyGAN's.
            All but siblings make one child.
        children, seed: how many siblings, and which.
        ages: years; empty leaves the age as it comes out.
        gender: -1 to 1, the ends of the gender direction; None leaves it.
    """

    share: float = 0.5
    mix: str = "siblings"
    children: int = 4
    seed: int = 0
    ages: tuple[float, ...] = ()
    gender: float | None = None


@dataclass(frozen=True)
class Child:
    """A child's latent [L, w_size], number and age (None: as it came out)."""

    number: int
    age: float | None
    w: np.ndarray

    @property
    def name(self) -> str:
        return f"child_{self.number}" + ("" if self.age is None else f"_{self.age:g}_years")


def check_directions(family: ChildrenConfig, directions: dict[str, Direction]) -> None:
    """Raises InputError where an age or gender is asked for without its direction, or an age out of range."""
    for age in family.ages:
        age_strength(age)
    wanted = {"age": bool(family.ages), "gender": family.gender is not None}
    for name, is_wanted in wanted.items():
        if is_wanted and name not in directions:
            raise InputError(
                f"There is no direction for {name} in this network's latent space.",
                f"Give a folder with {name}.npy as --directions, or leave --{name} out. The published ones belong to "
                "stylegan1-ffhq-1024; `facemorph directions --labels` learns one for any network.",
            )


def make_children(
    mother: np.ndarray, father: np.ndarray, family: ChildrenConfig, directions: dict[str, Direction]
) -> list[Child]:
    """Every child at every age, child by child. Raises InputError as `check_directions`."""
    check_directions(family, directions)
    if family.mix == "siblings":
        babies = siblings(mother, father, family.share, family.children, family.seed)
    elif family.mix == "even":
        babies = [lerp(mother, father, family.share)]
    else:
        babies = [babygan_mix(mother, father, family.share, mirrored=family.mix == "mirrored")]
    made = []
    for number, baby in enumerate(babies, 1):
        if family.gender is not None:
            gender = directions["gender"]
            baby = add(baby, gender.vector, GENDER_STRENGTH * family.gender, gender.rows)
        for age in family.ages or (None,):
            grown = baby
            if age is not None:
                grown = add(baby, directions["age"].vector, age_strength(age), directions["age"].rows)
            made.append(Child(number, age, grown))
    return made


def write_children(
    folder: Path,
    generator: Generator,
    parents: Sequence[tuple[str, Latent]],
    family: ChildrenConfig,
    directions: dict[str, Direction],
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> list[Path]:
    """Draw the children of two named latents and write all of it to `folder` or nothing.

    Written are sheet.png (parents above, a row a child, a column an age), each child's image and latent, both
    parents' images as the network draws them, and family.json: how each was made.

    Raises:
        InputError: as `make_children`.
        OutputError: `folder` holds something already and `overwrite` is not set, or cannot be written.
    """
    check_free(folder, overwrite)
    (_, mother), (_, father) = parents
    children = make_children(mother.w, father.w, family, directions)
    known, count = fingerprint(generator), len(children)
    rows: list[dict[str, Any]] = []
    with (
        replacing_files(folder, stale="child_*") as temporary,
        progress_bar(progress, total=count + 2, unit=" images", description="child") as bar,
    ):
        drawn: list[np.ndarray] = []
        names = ["mother", "father", *(child.name for child in children)]
        latents = np.stack([mother.w, father.w, *(child.w for child in children)])
        for name, image in zip(names, render_latents(generator, latents), strict=True):
            write_image(temporary / f"{name}.png", image)
            drawn.append(resize(image, min(SHEET_PX, len(image))))
            bar.update()
        for child in children:
            about = {"child": child.number, "age": child.age, "family": asdict(family)}
            write_latent(temporary / f"{child.name}.safetensors", Latent(child.w, "w+", known, about))
            rows.append({"picture": f"{child.name}.png", "latent": f"{child.name}.safetensors", **about})
        write_image(temporary / "sheet.png", sheet(drawn, [name for name, _ in parents], children))
        used = {name: one.about for name, one in directions.items() if name in ("age", "gender")}
        about = {"network": known, "parents": [name for name, _ in parents], "family": asdict(family)}
        write_json(temporary / "family.json", {**about, "directions": used, "children": rows})
    return [folder / "sheet.png", *(folder / f"{child.name}.png" for child in children)]


def sheet(drawn: Sequence[np.ndarray], parents: Sequence[str], children: Sequence[Child]) -> np.ndarray:
    """Images [2 + N] of parents and children with captions: parents above, below a row a child (or all in one)."""
    ages = len({child.age for child in children})
    columns = max(2, ages if ages > 1 else len(children))
    blank = np.full_like(drawn[0], 255)
    captions = [f"mother: {parents[0]}", f"father: {parents[1]}", *[""] * (columns - 2)]
    images = [*drawn[:2], *[blank] * (columns - 2)]
    for child, image in zip(children, drawn[2:], strict=True):
        images.append(image)
        captions.append(f"child {child.number}" + ("" if child.age is None else f", {child.age:g} years"))
    return contact_sheet(images, captions, len(drawn[0]), columns)
