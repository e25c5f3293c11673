"""The front door to one network that stays loaded: for pages and notebooks, where only the generator should run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.animation import Morph
from facemorph.api.inputs import Image, Path_
from facemorph.api.portraits import ChildImage, Projection, project
from facemorph.errors import InputError
from facemorph.images import captioned, resize
from facemorph.progress import Tell
from facemorph.stylegan.editing.children import (
    GENDER_STRENGTH,
    Child,
    ChildrenConfig,
    aged,
    check_directions,
    grown_up,
    make_babies,
    write_children,
)
from facemorph.stylegan.editing.directions import AgePath, Direction, find_directions, scale_to_std, sefa, w_from_seeds
from facemorph.stylegan.editing.mixing import RANGES, add, by_ranges
from facemorph.stylegan.editing.morph import LatentMorph, LatentMorphSettings
from facemorph.stylegan.editing.resolve import render_latents
from facemorph.stylegan.latents import check_network, fingerprint
from facemorph.stylegan.load import default_network, find_face_network, load_generator

UNNAMED = 4  # directions that the network's own weights give (SeFa), beside those for age and gender
STATISTICS_SEEDS = range(1000)


@dataclass(frozen=True)
class Family:
    """How children are made; as the options of `facemorph child`.

    Attributes:
        count, seed: how many siblings, and which.
        age: years; None leaves it as it comes out.
        gender: -1 to 1, the ends of the gender direction; None leaves it.
        mix: "siblings", "even", "layers" or "mirrored".
        share: the second parent's fraction, 0 to 1.
        likeness: move each child until its face resembles both parents', by dlib's descriptor.
    """

    count: int = 4
    seed: int = 0
    age: float | None = None
    gender: float | None = None
    mix: str = "siblings"
    share: float = 0.5
    likeness: bool = False

    def config(self, ages: Sequence[float] = ()) -> ChildrenConfig:
        own = () if self.age is None else (self.age,)
        return ChildrenConfig(
            self.share, self.mix, self.count, self.seed, tuple(ages) or own, self.gender, self.likeness
        )


class Network:
    """A StyleGAN that stays loaded; every method but `project` runs the generator alone.

    A latent is float32 [L, w_size]; an image uint8 RGB [R, R, 3]. May be called from several threads at once.

    Args:
        network: a name or a file; by default the best on this machine.

    Raises:
        WeightsError: it is not on this machine, is damaged, or is no known generator.
    """

    layers = tuple(RANGES)  # coarse, middle, fine

    def __init__(self, network: Path_ | None = None, *, device: str = "cpu") -> None:
        self.name, self.device = str(network or default_network()), device
        self._generator = load_generator(find_face_network(self.name), device)
        self._fingerprint = fingerprint(self._generator)
        self._directions = find_directions(None, self._generator)

    def __repr__(self) -> str:
        return f"Network({self.name!r})"

    @property
    def resolution(self) -> int:
        """Side of its images, pixels."""
        return self._generator.architecture.resolution

    @property
    def ages(self) -> tuple[float, float] | None:
        """The youngest and the oldest that can be asked for, years; None where there is no direction for ages."""
        age = self._directions.get("age")
        return age.ages if isinstance(age, AgePath) else None if age is None else (10.0, 50.0)

    @property
    def has_gender(self) -> bool:
        return "gender" in self._directions

    def project(
        self,
        images: Sequence[Image],
        *,
        preset: str = "balanced",
        settings: Mapping[str, Any] | None = None,
        progress: bool | Tell = False,
    ) -> list[Projection]:
        """As `facemorph.project`. A function in place of `progress` is called with (steps done, all steps)."""
        return project(
            list(images), self.name, preset=preset, settings=settings, device=self.device, progress=progress
        )  # fmt: skip

    def children(self, mother: Projection, father: Projection, family: Family) -> list[ChildImage]:
        """Children of two projected people, as `facemorph.children`. Raises InputError as it does."""
        return self._rendered(self._made(mother, father, family.config()))

    def growing_up(
        self,
        mother: Projection,
        father: Projection,
        family: Family,
        *,
        number: int = 1,
        ages: tuple[float, float] | None = None,
        frames: int = 48,
        size: int = 256,
        progress: Tell | None = None,
    ) -> np.ndarray:
        """One child, by number, at `frames` ages from the first to the last: uint8 RGB [frames, H, size, 3].

        Below each stands its age. `ages` are all that the network knows, where they are not given.

        Raises:
            InputError: there is no such child, or the network has no direction for ages.
        """
        ages = ages or self.ages
        if ages is None:
            raise InputError(f"{self.name} has no direction for ages.", "Take a network that has, such as faces-256.")
        years = np.linspace(*ages, frames).tolist()
        made = self._made(mother, father, family.config(years))
        chosen = [child for child in made if child.number == number]
        if not chosen:
            raise InputError(f"There is no child {number} among {family.count}.", "They are counted from 1.")
        film = []
        for image, age in zip(render_latents(self._generator, np.stack([c.w for c in chosen])), years, strict=True):
            film.append(captioned(resize(image, size), f"{age:.0f}"))
            if progress:
                progress(len(film), frames)
        return np.stack(film)

    def write_children(
        self,
        folder: Path_,
        mother: Projection,
        father: Projection,
        family: Family,
        *,
        names: tuple[str, str] = ("mother", "father"),
        overwrite: bool = False,
    ) -> list[Path]:
        """Write what `facemorph child` writes: sheet.png, images, latents, and family.json, which tells how.

        Raises:
            InputError: as `children`.
            OutputError: `folder` holds something already and `overwrite` is not set, or cannot be written.
        """
        parents = list(zip(names, (mother.latent, father.latent), strict=True))
        self._parents(mother, father)
        return write_children(
            Path(folder), self._generator, parents, family.config(), self._directions, overwrite=overwrite
        )

    def morph(
        self, first: Projection, second: Projection, *, layers: Sequence[str] = (), interpolation: str = "lerp"
    ) -> Morph:
        """The morph between two projected people; `.frames([0.5])` is its middle.

        Args:
            layers: which of "coarse", "middle" and "fine" change; empty changes all.
            interpolation: "lerp" straight, or "slerp" around the average face.
        """
        self._parents(first, second)
        settings = LatentMorphSettings(interpolation=interpolation, layers=tuple(layers))
        return LatentMorph(self._generator, first.latent, second.latent, settings)

    def draw(self, seeds: Sequence[int], *, truncation: float = 0.7) -> np.ndarray:
        """The latents [N, L, w_size] of seeds, all layers truncated: 0 is the average face, 1 none."""
        w = w_from_seeds(self._generator, seeds)  # [N, w_size]
        mean = self._generator.w_avg.cpu().numpy()
        latents = mean + truncation * (w - mean)
        return np.repeat(latents[:, None], self._generator.architecture.num_layers, 1).astype(np.float32)

    def mix_styles(self, first: np.ndarray, second: np.ndarray, layers: Sequence[str]) -> np.ndarray:
        """The first latent with the second's "coarse", "middle" or "fine" layers."""
        return by_ranges(first, second, dict.fromkeys(layers, 1.0))

    def move(
        self, latent: np.ndarray, *, age: float | None = None, gender: float = 0, unnamed: Sequence[float] = ()
    ) -> np.ndarray:
        """A latent moved to an age in years, along the gender direction (-1 to 1), and along the first of `UNNAMED`
        directions of the network's weights (SeFa; in spreads of its faces, -3 to 3).

        Raises:
            InputError: there is no such direction, or the age is out of range.
        """
        if gender:
            direction = self._directions.get("gender")
            if not isinstance(direction, Direction):
                raise InputError(f"{self.name} has no direction for gender.", "Leave it at 0.")
            latent = add(latent, direction.vector, GENDER_STRENGTH * gender, direction.rows)
        if age is not None:
            if "age" not in self._directions:
                raise InputError(f"{self.name} has no direction for ages.", "Leave it out.")
            latent = aged(latent, age, self._directions["age"])
        for direction, strength in zip(self._unnamed, unnamed, strict=False):
            latent = latent + np.float32(strength) * direction
        return latent

    def render(self, latents: np.ndarray) -> np.ndarray:
        """The images [N, R, R, 3] of latents [N, L, w_size]."""
        return np.stack(list(render_latents(self._generator, latents)))

    @cached_property
    def _unnamed(self) -> list[np.ndarray]:
        w = w_from_seeds(self._generator, STATISTICS_SEEDS)
        return [scale_to_std(one, w).astype(np.float32) for one in sefa(self._generator, UNNAMED)]

    def _parents(self, first: Projection, second: Projection) -> tuple[np.ndarray, np.ndarray]:
        for one, who in ((first, "The first latent"), (second, "The second latent")):
            if one.latent.network != self._fingerprint:  # older files may still belong to it
                check_network(one.latent, self._generator, who)
        return first.latent.w, second.latent.w

    def _made(self, mother: Projection, father: Projection, config: ChildrenConfig) -> list[Child]:
        check_directions(config, self._directions)
        babies = make_babies(self._generator, *self._parents(mother, father), config)
        return grown_up(babies, config, self._directions)

    def _rendered(self, made: Sequence[Child]) -> list[ChildImage]:
        images = render_latents(self._generator, np.stack([child.w for child in made]))
        return [ChildImage(child.number, child.age, child.w, image) for child, image in zip(made, images, strict=True)]
