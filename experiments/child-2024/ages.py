"""Table 4: ages and genders that are asked for, those that the labeller sees, and whether the face stays the same."""

import numpy as np
from groups import NAMES
from intervals import mean_over
from measures import Made
from predictions import encoded, gender_of
from study import Study
from tables import Row

from facemorph.stylegan.editing.age_path import AgePath
from facemorph.stylegan.editing.children import ChildrenConfig, make_children

AGES = (5.0, 15.0, 30.0, 60.0)
MALE_ODDS = 0.0


def asked(study: Study) -> tuple[Made, dict[str, Made]]:
    """The even child of each sampled couple as it comes out, and with each age and gender."""
    latents = encoded(study)
    age = study.directions["age"]
    low, high = age.ages if isinstance(age, AgePath) else (10.0, 50.0)

    def of(config: ChildrenConfig) -> np.ndarray:
        return np.stack(
            [make_children(latents[m], latents[f], config, study.directions)[0].w for f, m in study.sampled_couples]
        )

    plain = study.made("asked-nothing", of(ChildrenConfig(0.5, "even")))
    made = {}
    for years in sorted({float(np.clip(years, low, high)) for years in AGES}):
        made[f"{years:g} years"] = study.made(f"asked-{years:g}", of(ChildrenConfig(0.5, "even", ages=(years,))))
    for name, male in (("a daughter", False), ("a son", True)):
        strength = gender_of(study, male)
        made[name] = study.made(f"asked-{name.split()[1]}", of(ChildrenConfig(0.5, "even", gender=strength)))
    return plain, made


def rows(study: Study) -> list[Row]:
    plain, made = asked(study)
    families = np.array(
        [
            {(t.father, t.mother): study.family_numbers[t.family] for t in study.triplets}[c]
            for c in study.sampled_couples
        ]
    )
    strangers = np.linalg.norm(plain.descriptors[:, None] - plain.descriptors, axis=2)
    strangers[np.diag_indices(len(strangers))] = np.nan
    found: list[Row] = []
    for group, members in _groups(study).items():
        for name, one in made.items():
            moved = np.linalg.norm(one.descriptors - plain.descriptors, axis=1)
            line: Row = {"couples": f"{group} ({members.sum()})", "asked": name}
            if name.endswith("years"):
                wanted = float(name.split()[0])
                line["obtained"] = _told(study, one.ages, members, families)
                line["mean error"] = _told(study, np.abs(one.ages - wanted), members, families)
            else:
                right = (one.odds > MALE_ODDS) == (name == "a son")
                line["obtained"] = _told(study, right.astype(float), members, families)
            line["moved"] = _told(study, moved, members, families)
            line["the same face"] = _told(study, (moved < np.nanmin(strangers, 1)).astype(float), members, families)
            found.append(line)
    return found


def _told(study: Study, values: np.ndarray, members: np.ndarray, families: np.ndarray) -> str:
    return str(mean_over(np.where(members, values, np.nan), families, study.drawn))


def _groups(study: Study) -> dict[str, np.ndarray]:
    """All couples, and those whose father and mother are both taken for one group."""
    couples = study.sampled_couples
    found = {"all": np.ones(len(couples), bool)}
    if study.groups is None:
        return found
    of = [study.groups.of(np.stack([study.people[c[i]].descriptor for c in couples])) for i in range(2)]
    for number, name in enumerate(NAMES):
        both = (of[0] == number) & (of[1] == number)
        if both.sum() >= 2:
            found[name] = both
    return found
