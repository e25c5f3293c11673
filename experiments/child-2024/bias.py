"""Table 5: reconstruction and prediction by group, age and gender, as the labellers see them."""

import numpy as np
from groups import NAMES
from intervals import auc, mean_over
from likeness import HEAD, parents_mean
from predictions import predict
from study import Study
from tables import Row

AGE_BANDS = ((0, 13), (13, 25), (25, 40), (40, 60), (60, 120))
PREDICTIONS = ("even", "even, alike")


def rows(study: Study) -> list[Row]:
    """How far the rebuilding of a child is from the photograph, and by how many years it looks older; and how well the
    prediction is told from others of its gender and age."""
    space = study.space("dlib")
    people = [study.people[name] for name in study.children]
    rebuilt = study.rebuilt()
    far = np.linalg.norm(rebuilt.descriptors - np.stack([person.descriptors[0] for person in people]), axis=1)
    features = study.space("imagenet")
    real = np.stack([features.vector(person)[0] for person in people])
    unlike = np.linalg.norm((rebuilt.features - real) / features.scale, axis=1) / np.sqrt(real.shape[1])
    older = rebuilt.ages - np.array([person.ages[0] for person in people])
    predicted = {f"AUC, {name}": predict(study, name).descriptors for name in PREDICTIONS}
    predicted["AUC, parents' mean"] = parents_mean(study, space)
    found: list[Row] = []
    for name, members in _kinds(study).items():
        line: Row = {"children": f"{name} ({members.sum()})"}
        for heading, values in (("rebuilt, dlib", far), ("rebuilt, ImageNet", unlike), ("years older rebuilt", older)):
            line[heading] = str(mean_over(np.where(members, values, np.nan), study.child_families, study.drawn))
        allowed = study.allowed(HEAD) & members[study.own][:, None]
        for heading, vectors in predicted.items():
            line[heading] = str(auc(study.trial(space, vectors, allowed), study.drawn))
        found.append(line)
    return found


def _kinds(study: Study) -> dict[str, np.ndarray]:
    found = {"all": np.ones(len(study.children), bool)}
    found |= {"daughters": ~study.child_is_male, "sons": study.child_is_male}
    for low, high in AGE_BANDS:
        found[f"{low} to {high - 1} years"] = (study.child_ages >= low) & (study.child_ages < high)
    if study.child_groups is not None:
        found |= {name: study.child_groups == number for number, name in enumerate(NAMES)}
    return {name: members for name, members in found.items() if members.sum() >= 2}
