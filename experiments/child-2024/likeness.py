"""Table 2: is a predicted child nearer to the real one than to other families' children of its gender and age?"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha1

import numpy as np
from families import Person
from intervals import Result, auc, median_rank, scores
from measures import Space
from predictions import AVERAGE, landmark_averages, predict
from study import CONTROLS, Study
from tables import Row

HEAD = "same gender, age"  # the control of the main table
OF_STRANGERS = ("even", "even, alike")  # predictions that another couple's are held against as well


def rows(study: Study) -> list[Row]:
    """Each predictor under the main control by every measure, and by dlib's descriptor under every control."""
    found: list[Row] = []
    for measure in ("dlib", "imagenet", "shape", "latent", "colour"):
        space = study.space(measure)
        for one in predictors(study, space):
            found += [row(study, space, one, control) for control in (CONTROLS if measure == "dlib" else (HEAD,))]
    space = WithoutColours(study.people)
    found += [row(study, space, one, HEAD) for one in predictors(study, space)]
    return [line for line in found if line["triplets"]]


@dataclass(frozen=True)
class Predictor:
    """A vector for each triplet, [T, D].

    Attributes:
        candidates: [C, D], where it is not held against the means of all pictures of the children.
        counts: bool [T], which triplets count; None for all.
    """

    name: str
    vectors: np.ndarray
    candidates: np.ndarray | None = None
    counts: np.ndarray | None = None


class WithoutColours(Space):
    """dlib's descriptors without what statistics of skin and light tell of them linearly, over all real pictures."""

    def __init__(self, people: dict[str, Person]) -> None:
        every = [(person.descriptors, person.colours) for person in people.values()]
        descriptors, colours = (np.concatenate(part) for part in zip(*every, strict=True))
        self.weights = np.linalg.lstsq(np.c_[colours, np.ones(len(colours))], descriptors, rcond=None)[0]
        super().__init__("dlib", people, lambda one: one.descriptors - self.told_by_colours(one.colours))
        self.measure = "dlib without colours"

    def told_by_colours(self, colours: np.ndarray) -> np.ndarray:
        return np.c_[colours, np.ones(len(colours))] @ self.weights


def row(study: Study, space: Space, one: Predictor, control: str) -> Row:
    allowed = study.allowed(control)
    if one.counts is not None:
        allowed = allowed & one.counts[:, None]
    trial = study.trial(space, one.vectors, allowed, one.candidates)
    area, top = scores(trial, study.drawn)
    place, of = median_rank(trial)
    low, high = area.interval
    gain = area - _of_parents(study, space, allowed, one.candidates)
    return {
        "measure": space.measure, "candidates": control, "predictor": one.name, "triplets": int(allowed.any(1).sum()),
        "auc": round(area.value, 4), "low": round(low, 4), "high": round(high, 4),
        "top 10 %": round(top.value, 3), "median place": place, "of": of,
        "against the parents' mean": round(gain.value, 4),
        "gain low": round(gain.interval[0], 4), "gain high": round(gain.interval[1], 4),
    }  # fmt: skip


def _of_parents(study: Study, space: Space, allowed: np.ndarray, candidates: np.ndarray | None) -> Result:
    """The AUC of the mean of the parents for the same triplets and candidates; kept, since many rows ask for it."""
    key = f"{space.measure} {sha1(allowed.tobytes()).hexdigest()} {candidates is not None}"
    if key not in study.scores:
        study.scores[key] = auc(study.trial(space, parents_mean(study, space), allowed, candidates), study.drawn)
    return study.scores[key]


def parents_mean(study: Study, space: Space) -> np.ndarray:
    father, mother = (space.people([getattr(t, who) for t in study.triplets]) for who in ("father", "mother"))
    return (father + mother) / 2


def predictors(study: Study, space: Space) -> Iterator[Predictor]:
    triplets = study.triplets
    yield Predictor("father", space.people([t.father for t in triplets]))
    yield Predictor("mother", space.people([t.mother for t in triplets]))
    yield Predictor("mean of the parents", parents_mean(study, space))
    mean = np.repeat(study.generator.w_avg.cpu().numpy()[None], study.generator.architecture.num_layers, 0)
    average = space.vector(study.made("average-face", mean[None]))
    yield Predictor("average face", np.repeat(average, len(triplets), 0))
    for name in study.kinds:
        made = space.vector(landmark_averages(study) if name == AVERAGE else predict(study, name))
        yield Predictor(name, made)
        if name in OF_STRANGERS:
            yield Predictor(f"another couple's, {name}", made[strangers(study)])
    yield from rebuilt(study, space)


def strangers(study: Study, seed: int = 0) -> np.ndarray:
    """For each triplet, another of another family, whose child has the same gender where there is one: [T]."""
    random = np.random.default_rng(seed)
    others = study.query_families[:, None] != study.query_families
    alike = others & study.allowed("same gender")[:, study.own]
    return np.array(
        [random.choice(np.flatnonzero(one if one.any() else any_)) for one, any_ in zip(alike, others, strict=True)]
    )


def rebuilt(study: Study, space: Space) -> Iterator[Predictor]:
    """What the encoder alone loses: the first picture of a child, rebuilt, against the first ones of all children; then
    against the second ones, of which it knows nothing, as it is and rebuilt."""
    pictures = np.stack([space.vector(study.people[name])[[0, -1]] for name in study.children])  # [C, 2, D]
    two = np.array([len(study.people[one.child].ages) > 1 for one in study.triplets])
    made = space.vector(study.rebuilt())[study.own]
    yield Predictor("the child rebuilt, same picture", made, pictures[:, 0])
    yield Predictor("the child rebuilt, other picture", made, pictures[:, 1], two)
    yield Predictor("the child in another picture", pictures[study.own, 0], pictures[:, 1], two)
