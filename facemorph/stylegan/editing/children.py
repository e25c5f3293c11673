"""Children of two latents at several ages: the product of the 2024 paper."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.animation import write_gif
from facemorph.config import check_number
from facemorph.errors import ConfigError, InputError
from facemorph.files import check_free, replacing_files, write_json
from facemorph.images import captioned, contact_sheet, resize, write_image
from facemorph.progress import Tell, progress_bar
from facemorph.stylegan.editing.age_path import AgePath
from facemorph.stylegan.editing.directions import Direction, Edit, age_strength
from facemorph.stylegan.editing.mixing import add, babygan_mix, lerp, siblings
from facemorph.stylegan.editing.resemblance import resemble_both
from facemorph.stylegan.editing.resolve import render_latents
from facemorph.stylegan.latents import Latent, fingerprint, write_latent
from facemorph.stylegan.networks.generator import Generator

GENDER_STRENGTH = 2.0  # of the gender direction at -1 and 1: BabyGAN's sliders reach -3 to 2
SMALLEST_CELL_PX, LARGEST_CELL_PX = 192, 256  # of the sheet and the film: captions need room
GROWING_FRAMES = 32
ROW = 6  # children beside each other
GROWING = "growing.gif"


@dataclass(frozen=True)
class ChildrenConfig:
    """How children are made.

    Attributes:
        share: the father's fraction, 0 to 1.
        mix: "siblings", every child its own groups of layers; "even", every layer alike; "layers" and "mirrored" as
            BabyGAN's. All but siblings make one child.
        children, seed: how many siblings, and which.
        ages: years; empty leaves the age as it comes out.
        gender: -1 to 1, the ends of the gender direction; None leaves it.
        likeness: move each mix until its face resembles both parents' (see `resemblance`), before age and gender.
    """

    share: float = 0.5
    mix: str = "siblings"
    children: int = 4
    seed: int = 0
    ages: tuple[float, ...] = ()
    gender: float | None = None
    likeness: bool = False

    def __post_init__(self) -> None:
        check_number("share", self.share, 0, 1)
        check_number("gender", self.gender, -1, 1)
        for years in self.ages:
            check_number("age", years)
        names = [f"{years:g}" for years in self.ages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"Each age can be given only once: {twice[0]} years is given twice.")


@dataclass(frozen=True)
class Child:
    """A child's latent [L, w_size], number and age (None: as it came out)."""

    number: int
    age: float | None
    w: np.ndarray

    @property
    def name(self) -> str:
        return f"child_{self.number}" + ("" if self.age is None else f"_{self.age:g}_years")


def check_directions(family: ChildrenConfig, directions: dict[str, Edit]) -> None:
    """Raises InputError where an age or gender is asked for without its direction, or an age out of range."""
    needed = {"age": bool(family.ages), "gender": family.gender is not None}
    for name, is_needed in needed.items():
        if is_needed and name not in directions:
            raise InputError(
                f"There is no direction for {name} in this network's latent space.",
                f"Give a folder with {name}.npy as --directions, or leave out --{name}. faces-256 has its own, the "
                "published ones belong to stylegan1-ffhq-1024, and `facemorph directions --method attributes "
                f"--attribute {name}` learns one for any network of faces.",
            )
    for years in family.ages:
        age = directions["age"]
        if isinstance(age, AgePath):
            age.check_years(years)
        else:
            age_strength(years, age)


def aged(latent: np.ndarray, years: float, age: Edit) -> np.ndarray:
    """A latent [L, w_size] at an age: along a network's path of ages, or by a direction from the age it has."""
    if isinstance(age, AgePath):
        return age.aged(latent, years)
    return add(latent, age.vector, age_strength(years, age), age.rows)


def make_children(
    mother: np.ndarray, father: np.ndarray, family: ChildrenConfig, directions: dict[str, Edit]
) -> list[Child]:
    """Every child at every age, child by child, as they are mixed: `likeness` needs the network, see `make_babies`.

    Raises InputError as `check_directions`.
    """
    check_directions(family, directions)
    return grown_up(mixed(mother, father, family), family, directions)


def mixed(mother: np.ndarray, father: np.ndarray, family: ChildrenConfig) -> list[np.ndarray]:
    """The latent of each child before age and gender."""
    if family.mix == "siblings":
        return siblings(mother, father, family.share, family.children, family.seed)
    if family.mix == "even":
        return [lerp(mother, father, family.share)]
    return [babygan_mix(mother, father, family.share, mirrored=family.mix == "mirrored")]


def make_babies(
    generator: Generator,
    mother: np.ndarray,
    father: np.ndarray,
    family: ChildrenConfig,
    *,
    progress: bool | Tell = False,
) -> list[np.ndarray]:
    """As `mixed`, and made to resemble both parents where `family.likeness` is set."""
    babies = mixed(mother, father, family)
    if not family.likeness:
        return babies
    return list(resemble_both(generator, np.stack(babies), mother, father, family.share, progress=progress))


def grown_up(babies: Sequence[np.ndarray], family: ChildrenConfig, directions: dict[str, Edit]) -> list[Child]:
    """Every baby at every age and with the gender that is asked for."""
    made = []
    for number, baby in enumerate(babies, 1):
        if family.gender is not None:
            gender = directions["gender"]
            assert isinstance(gender, Direction), "only ages have paths"
            baby = add(baby, gender.vector, GENDER_STRENGTH * family.gender, gender.rows)
        for age in family.ages or (None,):
            grown = baby if age is None else aged(baby, age, directions["age"])
            made.append(Child(number, age, grown))
    return made


def write_children(
    folder: Path,
    generator: Generator,
    parents: Sequence[tuple[str, Latent]],
    family: ChildrenConfig,
    directions: dict[str, Edit],
    *,
    overwrite: bool = False,
    progress: bool | Tell = False,
) -> list[Path]:
    """Draw the children of two named latents and write all of it to `folder` or nothing.

    Written are sheet.png (parents above, a row a child, a column an age), each child's image and latent, both
    parents' images as the network draws them, and family.json: how each was made. With two ages or more, growing.gif
    shows the first child growing from the youngest to the oldest, and back.

    Raises:
        InputError: as `make_children`.
        OutputError: `folder` holds something already and `overwrite` is not set, or cannot be written.
    """
    check_free(folder, overwrite)
    (_, mother), (_, father) = parents
    check_directions(family, directions)
    babies = make_babies(generator, mother.w, father.w, family, progress=progress)
    children = grown_up(babies, family, directions)
    known, count = fingerprint(generator), len(children)
    rows: list[dict[str, Any]] = []
    growing = growing_up(babies, family, directions)
    cell_px = min(max(generator.architecture.resolution, SMALLEST_CELL_PX), LARGEST_CELL_PX)
    with (
        replacing_files(folder, "child_*") as temporary,
        progress_bar(progress, total=count + 2 + len(growing), unit=" images", description="child") as bar,
    ):
        rendered: list[np.ndarray] = []
        names = ["mother", "father", *(child.name for child in children)]
        latents = np.stack([mother.w, father.w, *(child.w for child in children)])
        for name, image in zip(names, render_latents(generator, latents), strict=True):
            write_image(temporary / f"{name}.png", image)
            rendered.append(resize(image, cell_px))
            bar.update()
        for child in children:
            about = {"child": child.number, "age": child.age, "family": asdict(family)}
            write_latent(temporary / f"{child.name}.safetensors", Latent(child.w, "w+", known, about))
            rows.append({"picture": f"{child.name}.png", "latent": f"{child.name}.safetensors", **about})
        write_image(temporary / "sheet.png", sheet(rendered, [name for name, _ in parents], children))
        if growing:
            frames = []
            for child, image in zip(growing, render_latents(generator, np.stack([c.w for c in growing])), strict=True):
                frames.append(captioned(resize(image, cell_px), f"{child.age:.0f} years"))
                bar.update()
            write_gif(temporary / GROWING, frames)
        used = {name: one.about for name, one in directions.items() if name in ("age", "gender")}
        about = {"network": known, "parents": [name for name, _ in parents], "family": asdict(family)}
        write_json(temporary / "family.json", {**about, "directions": used, "children": rows})
    if not growing:
        (folder / GROWING).unlink(missing_ok=True)  # of an earlier run with more ages
    extra = [folder / GROWING] if growing else []
    return [folder / "sheet.png", *extra, *(folder / f"{child.name}.png" for child in children)]


def growing_up(babies: Sequence[np.ndarray], family: ChildrenConfig, directions: dict[str, Edit]) -> list[Child]:
    """The first child at every age between the youngest and the oldest that were asked for; nothing for one age."""
    if len(set(family.ages)) < 2:
        return []
    ages = tuple(np.linspace(min(family.ages), max(family.ages), GROWING_FRAMES).tolist())
    return grown_up(babies[:1], replace(family, ages=ages), directions)


def sheet(rendered: Sequence[np.ndarray], parents: Sequence[str], children: Sequence[Child]) -> np.ndarray:
    """Images [2 + N] of parents and children with captions: parents above, below a row a child (or all in one).

    Many children without ages stand in rows of `ROW` at most.
    """
    ages = len({child.age for child in children})
    columns = max(2, ages if ages > 1 else min(len(children), ROW))
    before = (columns - 2) // 2  # the parents stand in the middle
    blank = np.full_like(rendered[0], 255)
    captions = [*[""] * before, f"mother: {parents[0]}", f"father: {parents[1]}", *[""] * (columns - 2 - before)]
    images = [*[blank] * before, *rendered[:2], *[blank] * (columns - 2 - before)]
    for child, image in zip(children, rendered[2:], strict=True):
        images.append(image)
        captions.append(f"child {child.number}" + ("" if child.age is None else f", {child.age:g} years"))
    return contact_sheet(images, captions, len(rendered[0]), columns)
