"""Children predicted for every triplet, one kind a name; all through the library's own mixes, ages and genders."""

from dataclasses import dataclass, replace
from hashlib import sha1

import numpy as np
import torch
from measures import Made, measure_drawn
from study import Study

import facemorph as fm
from facemorph.files import write_atomically
from facemorph.images import read_image, to_tensor, write_image
from facemorph.progress import progress_bar
from facemorph.stylegan.editing.age_path import AgePath
from facemorph.stylegan.editing.children import ChildrenConfig, grown_up, mixed
from facemorph.stylegan.editing.directions import Direction
from facemorph.stylegan.editing.resemblance import BATCH, further_out, resemble
from facemorph.stylegan.projection.encoder import find_encoder, read_encoder

GENDER = 0.5  # asked for a son or a daughter: half of the direction's reach
SEEDS = (0, 1, 2)  # of the siblings; the other mixes draw nothing
AVERAGE = "average by landmarks"


@dataclass(frozen=True)
class Kind:
    """A mix of the library's; `alike`, moved to the mean of the parents' descriptors; `told`, then moved to the child's
    gender, and to its age as the labeller sees it."""

    mix: str = "even"
    seed: int = 0
    alike: bool = False
    told: bool = False


MIXED = {
    "even": Kind(),
    "layers": Kind("layers"),
    "mirrored": Kind("mirrored"),
    **{f"siblings, seed {seed}": Kind("siblings", seed) for seed in SEEDS},
    "even, alike": Kind(alike=True),
}
KINDS = {**MIXED, **{f"{name}, told": replace(kind, told=True) for name, kind in MIXED.items()}}


def encoded(study: Study) -> dict[str, np.ndarray]:
    """The latent of each person: the mean of the encoder's guesses for their pictures."""
    return {name: person.latents.mean(0) for name, person in study.people.items()}


def targets(study: Study) -> np.ndarray:
    """What a child is made alike to: the mean of both parents' descriptors, further out, as the library has it; but of
    their photographs, and from the mean of all parents: [T, 128]."""
    both = np.stack([[study.people[name].descriptor for name in (t.father, t.mother)] for t in study.triplets])
    return further_out(both.mean(1), both.mean((0, 1)))


def gender_of(study: Study, male: bool) -> float:
    """The strength that makes a face more male, or more female: which end is which is the direction's own matter."""
    direction = study.directions["gender"]
    assert isinstance(direction, Direction)
    return GENDER if male == male_end_is_plus(study) else -GENDER


def male_end_is_plus(study: Study) -> bool:
    direction = study.directions["gender"]
    assert isinstance(direction, Direction)
    mean = np.repeat(study.generator.w_avg.cpu().numpy()[None], study.generator.architecture.num_layers, 0)
    made = study.made("gender-ends", np.stack([mean - 2 * direction.vector, mean + 2 * direction.vector]))
    return bool(made.odds[1] > made.odds[0])


def mixes_of(study: Study, kind: Kind) -> np.ndarray:
    """The mix of each triplet's parents: [T, L, w_size]. Of siblings it is the first of that seed."""
    latents, config = encoded(study), ChildrenConfig(0.5, kind.mix, 1, kind.seed)
    return np.stack([mixed(latents[t.mother], latents[t.father], config)[0] for t in study.triplets])


def told(study: Study, babies: np.ndarray) -> np.ndarray:
    """Each with the gender and the age of the triplet's real child."""
    age = study.directions["age"]
    low, high = age.ages if isinstance(age, AgePath) else (10.0, 50.0)
    found = []
    for baby, triplet, years in zip(babies, study.triplets, study.child_ages[study.own], strict=True):
        gender = gender_of(study, triplet.gender == "m")
        family = ChildrenConfig(ages=(float(np.clip(years, low, high)),), gender=gender)
        found.append(grown_up([baby], family, study.directions)[0].w)
    return np.stack(found)


def predict(study: Study, name: str) -> Made:
    """The prediction of a kind for every triplet, measured."""
    if name not in study.kept:
        kind = KINDS[name]
        w = mixes_of(study, kind)
        if kind.alike:
            w = made_alike(study, name.removesuffix(", told"), w, targets(study))
        if kind.told:
            w = told(study, w)
        study.kept[name] = study.made(name, w)
    return study.kept[name]


def made_alike(study: Study, name: str, w: np.ndarray, target: np.ndarray) -> np.ndarray:
    """As `resemble` makes them; kept by content, a file each, so that it resumes."""
    folder = study.out / "alike"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [
        folder / f"{sha1(a.tobytes() + b.astype(np.float32).tobytes()).hexdigest()}.npy"
        for a, b in zip(w, target, strict=True)
    ]
    first = {path: row for row, path in enumerate(paths) if not path.exists()}
    rows = list(first.values())
    with progress_bar(True, total=len(rows), unit=" faces", description=name) as bar:
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            after = resemble(study.generator, w[some], target[some])
            for row, one in zip(some, after, strict=True):
                write_atomically(paths[row], lambda file, one=one: np.save(file, one))
            bar.update(len(some))
    return np.stack([np.load(path) for path in paths])


def landmark_averages(study: Study) -> Made:
    """For every triplet, the average face of both parents by landmarks, which needs no network; the latents are the
    encoder's guesses for it."""
    images = [kept_average(study, couple) for couple in study.couples]
    encoder = read_encoder(find_encoder(study.generator), study.generator)
    with torch.inference_mode():
        latents = np.concatenate([encoder(to_tensor(one[None])).numpy() for one in images])
    made = measure_drawn(lambda rows: np.stack([images[row] for row in rows]), latents, study.out / "averaged", AVERAGE)
    return made.of(study.couple_of)


def kept_average(study: Study, couple: tuple[str, str]) -> np.ndarray:
    path = study.out / "averages" / f"{'-'.join(couple).replace('/', '_')}.png"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, average_of(study, couple))
    return read_image(path)


def average_of(study: Study, couple: tuple[str, str]) -> np.ndarray:
    """The average of all pictures of both, each of the parents half of it: uint8 RGB [R, R, 3]."""
    people = [study.people[name] for name in couple]
    images = [image for person in people for image in person.aligned]
    points = [one.astype(np.float64) for person in people for one in person.points]
    weights = [1 / len(person.ages) for person in people for _ in person.ages]
    return fm.average(images, points=points, weights=weights).image
