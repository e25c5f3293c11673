"""The material of all tables: people measured, families numbered, real children that predictions are held against."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from families import FACES_EACH, Person, Pictures, Triplet, measure_all, read_triplets, usable
from groups import Groups, learn_groups
from intervals import Result, Trial, draws
from measures import Made, Space, measure_latents

from facemorph.errors import InputError
from facemorph.files import write_json
from facemorph.stylegan.editing.directions import Edit, find_directions
from facemorph.stylegan.latents import fingerprint
from facemorph.stylegan.load import find_face_network, load_generator
from facemorph.stylegan.networks.generator import Generator

YEARS_APART = 10  # children of one age group are at most so far apart, as the labeller sees them
LIKE_CORNERS = 0.05
STRANGERS = 20  # couples that a child's pictures are held against, for that
NEAREST_COLOURS = 20  # candidates that are kept where skin and light are matched
SAMPLE_SEED = 0


@dataclass
class Study:
    """What every table needs.

    Attributes:
        out: of all that is kept, outside the repository.
        portraits: a folder of frontal portraits of other people. labelled: faces.pack and labels.csv.
        judge: a folder of another recogniser's weights, see `judge`.
    """

    families: Path
    out: Path
    network: str = "faces-256"
    portraits: Path | None = None
    labelled: Path | None = None
    directions_folder: Path | None = None
    judge: Path | None = None
    faces_each: int = FACES_EACH
    sample: int | None = None  # couples, one a family, in the tables of couples; None for all families
    triplets_name: str = "triplets.csv"
    first: int | None = None  # families of the CSV; None for all
    kinds: tuple[str, ...] = ()  # of predictions, names in `predictions.KINDS`
    recipes: tuple[str, ...] = ()  # of reconstructions; () for all
    kept: dict[str, Made] = field(default_factory=dict)  # predictions by name, once they are made
    scores: dict[str, Result] = field(default_factory=dict)  # AUC that many rows are held against

    def begin(self) -> None:
        """Note in `out` whose measurements it keeps.

        Raises:
            InputError: it keeps those by another network or of other pictures.
        """
        path, now = self.out / "about.json", {"network": fingerprint(self.generator), "pictures": self.pictures.digest}
        if path.exists() and (before := json.loads(path.read_text(encoding="utf-8"))) != now:
            other = "by another network" if before["network"] != now["network"] else "of other pictures"
            raise InputError(f"{self.out} keeps measurements {other}.", "Name another folder with --out.")
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(path, now)

    @cached_property
    def pictures(self) -> Pictures:
        tar = self.families / "faces.tar"
        return Pictures(tar if tar.exists() else self.families)

    @cached_property
    def generator(self) -> Generator:
        return load_generator(find_face_network(self.network))

    @cached_property
    def directions(self) -> dict[str, Edit]:
        return find_directions(self.directions_folder, self.generator)

    @property
    def can_tell(self) -> bool:
        """Whether an age and a gender can be asked of this network."""
        return {"age", "gender"} <= self.directions.keys()

    @cached_property
    def all_triplets(self) -> list[Triplet]:
        every = read_triplets(self.families / self.triplets_name)
        some = list(dict.fromkeys(one.family for one in every))[: self.first]
        return [one for one in every if one.family in set(some)]

    @cached_property
    def people(self) -> dict[str, Person]:
        return measure_all(self.all_triplets, self.pictures, self.out / "faces", self.generator, self.faces_each)

    @cached_property
    def triplets(self) -> list[Triplet]:
        return usable(self.all_triplets, self.people)

    @cached_property
    def couples(self) -> list[tuple[str, str]]:
        """Father and mother, each couple once."""
        return sorted({(one.father, one.mother) for one in self.triplets})

    @cached_property
    def couple_of(self) -> np.ndarray:
        """Of each triplet."""
        return np.array([self.couples.index((one.father, one.mother)) for one in self.triplets])

    @cached_property
    def sampled_couples(self) -> list[tuple[str, str]]:
        """One couple each of `sample` families drawn at random, for the tables of couples."""
        first: dict[str, tuple[str, str]] = {}
        for one in self.triplets:
            first.setdefault(one.family, (one.father, one.mother))
        every = sorted({one.family for one in self.all_triplets})  # so that one without a face changes nothing else
        order = np.random.default_rng(SAMPLE_SEED).permutation(len(every))
        return [first[every[index]] for index in order if every[index] in first][: self.sample]

    @cached_property
    def family_numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(sorted({one.family for one in self.triplets}))}

    @cached_property
    def drawn(self) -> np.ndarray:
        return draws(len(self.family_numbers))

    @cached_property
    def query_families(self) -> np.ndarray:
        return np.array([self.family_numbers[one.family] for one in self.triplets])

    @cached_property
    def children(self) -> list[str]:
        """Every real child once: the candidates."""
        return sorted({one.child for one in self.triplets})

    @cached_property
    def own(self) -> np.ndarray:
        return np.array([self.children.index(one.child) for one in self.triplets])

    @cached_property
    def child_families(self) -> np.ndarray:
        of = {one.child: self.family_numbers[one.family] for one in self.triplets}
        return np.array([of[name] for name in self.children])

    @cached_property
    def child_is_male(self) -> np.ndarray:
        of = {one.child: one.gender == "m" for one in self.triplets}
        return np.array([of[name] for name in self.children])

    @cached_property
    def child_ages(self) -> np.ndarray:
        return np.array([self.people[name].ages.mean() for name in self.children])

    def rebuilt(self) -> Made:
        """The encoder's rebuilding of the first picture of each of `children`."""
        return self.made("rebuilt", np.stack([self.people[name].latents[0] for name in self.children]))

    @cached_property
    def groups(self) -> Groups | None:
        if self.labelled is None:
            return None
        return learn_groups(self.labelled, self.out / "groups.npz", self.generator.architecture.alignment.chip)

    @cached_property
    def child_groups(self) -> np.ndarray | None:
        if self.groups is None:
            return None
        return self.groups.of(np.stack([self.people[name].descriptor for name in self.children]))

    def space(self, measure: str) -> Space:
        return Space(measure, self.people)

    def allowed(self, control: str) -> np.ndarray:
        """Which candidates a triplet's child is compared with: bool [T, C]. `control` is a name in `CONTROLS`."""
        others = self.query_families[:, None] != self.child_families
        for rule in CONTROLS[control]:
            others &= rule(self)
        return others

    def trial(
        self, space: Space, queries: np.ndarray, allowed: np.ndarray, candidates: np.ndarray | None = None
    ) -> Trial:
        """Predictions [T, D] against the real children, or against `candidates` [C, D] in their place."""
        distances = space.distances(queries, space.people(self.children) if candidates is None else candidates)
        return Trial(distances, self.own, allowed, self.query_families, self.child_families)

    def made(self, name: str, latents: np.ndarray) -> Made:
        return measure_latents(self.generator, latents, self.out / "made", name)


def _same_gender(study: Study) -> np.ndarray:
    return study.child_is_male[study.own][:, None] == study.child_is_male


def _same_age(study: Study) -> np.ndarray:
    return np.abs(study.child_ages[study.own][:, None] - study.child_ages) <= YEARS_APART


def _same_group(study: Study) -> np.ndarray:
    groups = study.child_groups
    if groups is None:
        return np.ones((len(study.own), len(study.children)), bool)
    return groups[study.own][:, None] == groups


def _near_colours(study: Study) -> np.ndarray:
    """The `NEAREST_COLOURS` of the same gender, other families, whose skin and light are most like the real child's."""
    space = study.space("colour")
    real = space.people(study.children)
    distances = space.distances(real, real)[study.own]
    distances[~(_same_gender(study) & (study.query_families[:, None] != study.child_families))] = np.inf
    limit = np.sort(distances, 1)[:, [min(NEAREST_COLOURS, distances.shape[1]) - 1]]
    return np.isfinite(distances) & (distances <= limit)


def _unlike_photographs(study: Study) -> np.ndarray:
    """None where the child may be cut from a photograph of a parent: the corners of two of their pictures are
    as much alike as only `LIKE_CORNERS` of children's are to the pictures of another couple."""
    corners = {name: person.around for name, person in study.people.items()}

    def apart(child: str, couple: tuple[str, str]) -> float:
        parents = np.concatenate([corners[name] for name in couple])
        return float(np.linalg.norm(corners[child][:, None] - parents, axis=2).min())

    random = np.random.default_rng(0)
    own = np.array([apart(one.child, (one.father, one.mother)) for one in study.triplets])
    others = [
        apart(one.child, study.couples[couple])
        for one, of in zip(study.triplets, study.couple_of, strict=True)
        for couple in random.choice(np.delete(np.arange(len(study.couples)), of), STRANGERS)
    ]
    return np.repeat(own[:, None] > np.quantile(others, LIKE_CORNERS), len(study.children), 1)


Rule = Callable[[Study], np.ndarray]
CONTROLS: dict[str, tuple[Rule, ...]] = {
    "same gender": (_same_gender,),
    "same gender, age": (_same_gender, _same_age),
    "same gender, age, group": (_same_gender, _same_age, _same_group),
    "same gender, age, other photograph": (_same_gender, _same_age, _unlike_photographs),
    "same gender, nearest colours": (_same_gender, _near_colours),
}
