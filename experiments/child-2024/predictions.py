"""Children predicted for every triplet, one kind a name; all through the library's own mixes, ages and genders."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from measures import Made
from study import Study

from facemorph.stylegan.editing.age_path import AgePath
from facemorph.stylegan.editing.children import ChildrenConfig, make_children
from facemorph.stylegan.editing.directions import Direction
from facemorph.stylegan.editing.resemblance import resemble

GENDER = 0.5  # asked for a son or a daughter: half of the direction's reach
SIBLINGS = 4
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Kind:
    """A mix of the library's; with `told`, of the child's gender and age as the labeller sees it."""

    mix: str = "even"
    told: bool = False
    seed: int = 0
    alike: bool = False  # moved to the mean of the parents' descriptors


KINDS = {
    "even": Kind(),
    "even, told": Kind(told=True),
    "layers": Kind("layers"),
    "mirrored": Kind("mirrored"),
    **{f"siblings, seed {seed}": Kind("siblings", seed=seed) for seed in SEEDS},
    "even, alike": Kind(alike=True),
    "even, told, alike": Kind(told=True, alike=True),
    "siblings, alike": Kind("siblings", alike=True),
}


def encoded(study: Study) -> dict[str, np.ndarray]:
    """The latent of each person: the mean of the encoder's guesses for their pictures."""
    return {name: person.latents.mean(0) for name, person in study.people.items()}


def mean_descriptors(study: Study) -> np.ndarray:
    """The mean of both parents' descriptors, [T, 128]."""
    return np.stack(
        [(study.people[t.father].descriptor + study.people[t.mother].descriptor) / 2 for t in study.triplets]
    )


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


def child_latents(study: Study, kind: Kind, latents: dict[str, np.ndarray], number: int = 1) -> np.ndarray:
    """The latent of each triplet's predicted child before it is made alike: [T, L, w_size]."""
    found = []
    for triplet, own in zip(study.triplets, study.own, strict=True):
        gender, ages = None, ()
        if kind.told:
            gender = gender_of(study, triplet.gender == "m")
            age = study.directions["age"]
            low, high = age.ages if isinstance(age, AgePath) else (10.0, 50.0)
            ages = (float(np.clip(study.child_ages[own], low, high)),)
        config = ChildrenConfig(0.5, kind.mix, number, kind.seed, ages, gender)
        made = make_children(latents[triplet.mother], latents[triplet.father], config, study.directions)
        found.append(made[number - 1].w)
    return np.stack(found)


def predict(study: Study, name: str, latents: dict[str, np.ndarray] | None = None, prefix: str = "") -> Made:
    """The predictions of a kind for every triplet, measured; equal latents are drawn once."""
    kind = KINDS[name]
    w = child_latents(study, kind, latents or encoded(study))
    target = mean_descriptors(study)
    key = np.concatenate([w.reshape(len(w), -1), target.astype(np.float32)], 1)
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    unique = w[first]
    cache = f"{prefix}{name.replace(', ', '-').replace(' ', '')}"
    if kind.alike:
        unique = remembered(
            study, cache, unique, lambda: resemble(study.generator, unique, target[first], progress=True)
        )
    return study.made(cache, unique).of(inverse.ravel())


def remembered(study: Study, name: str, before: np.ndarray, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What `make` gives, kept in the cache as long as it begins from the same latents."""
    path = study.out / "alike" / f"{name}.npz"
    if path.exists():
        with np.load(path) as arrays:
            if arrays["before"].shape == before.shape and np.allclose(arrays["before"], before, atol=1e-4):
                return arrays["after"]
    after = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, before=before, after=after)
    return after
