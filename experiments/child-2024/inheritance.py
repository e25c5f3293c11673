"""Table 3: which layers carry likeness to which parent, how much siblings differ, and whom each mix resembles."""

from itertools import combinations

import numpy as np
from intervals import mean_over
from measures import Made, Space
from predictions import SEEDS, encoded
from study import Study
from tables import Row

from facemorph.stylegan.editing.children import ChildrenConfig, make_children
from facemorph.stylegan.editing.mixing import layer_groups

SIBLINGS = 4  # generated of each couple
BY = ("dlib", "imagenet", "shape", "colour")


def layer_rows(study: Study) -> list[Row]:
    """The mother's latent with one group of layers of the father's: how far does the face go towards his?

    0 is the mother's face as the network draws it, 1 the father's: the projection on the way from one to the other.
    """
    latents, couples = encoded(study), study.sampled_couples
    groups = layer_groups(study.generator.architecture.num_layers)
    ends = {
        who: study.made(f"ends-{who}", np.stack([latents[c[i]] for c in couples]))
        for i, who in enumerate(("father", "mother"))
    }
    families = _families(study)
    found: list[Row] = []
    for number, rows in enumerate(groups):
        swapped = np.stack([latents[mother] for _, mother in couples])
        swapped[:, rows] = np.stack([latents[father][rows] for father, _ in couples])
        made = study.made(f"swapped-{number}", swapped)
        line: Row = {"layers": f"{rows.start} to {rows.stop - 1}", "couples": len(couples)}
        for measure in BY:
            share = _way(study.space(measure), made, ends["mother"], ends["father"])
            line[measure] = str(mean_over(share, families, study.drawn))
        found.append(line)
    return found


def _way(space: Space, made: Made, start: Made, end: Made) -> np.ndarray:
    a, b, x = ((space.vector(one) - space.centre) / space.scale for one in (start, end, made))
    return ((x - a) * (b - a)).sum(1) / np.maximum(((b - a) ** 2).sum(1), 1e-12)


def _families(study: Study) -> np.ndarray:
    of = {(t.father, t.mother): study.family_numbers[t.family] for t in study.triplets}
    return np.array([of[couple] for couple in study.sampled_couples])


def mixes(study: Study) -> dict[str, Made]:
    """Each mix's children of the sampled couples, child by child within a couple."""
    latents, made = encoded(study), {}
    configs = {name: ChildrenConfig(0.5, name) for name in ("even", "layers", "mirrored")}
    configs |= {f"siblings, seed {seed}": ChildrenConfig(0.5, "siblings", SIBLINGS, seed) for seed in SEEDS}
    for name, config in configs.items():
        children = [make_children(latents[m], latents[f], config, {}) for f, m in study.sampled_couples]
        w = np.stack([child.w for family in children for child in family])
        made[name] = study.made(f"mix-{name.replace(', ', '-').replace(' ', '')}", w)
    return made


def mix_rows(study: Study) -> list[Row]:
    """Distances by dlib's descriptor from a generated child to the real photographs of its father and mother, and to
    the median of the other couples' parents; and how often it is nearer to its own than to that."""
    space, couples, families = study.space("dlib"), study.sampled_couples, _families(study)
    parents = np.stack([space.people([c[i] for c in couples]) for i in range(2)])  # [2, C, 128]
    found: list[Row] = []
    for name, made in mixes(study).items():
        each = len(made.latents) // len(couples)
        distances = np.stack([space.distances(made.descriptors, parents[i]) for i in range(2)])  # [2, N, C]
        own = np.repeat(np.arange(len(couples)), each)
        to_own = distances[:, np.arange(len(own)), own]
        others = distances.copy()
        others[:, np.arange(len(own)), own] = np.nan
        median = np.nanmedian(others, 2)  # [2, N]
        of = families[own]
        line: Row = {"mix": name, "children": len(own)}
        for i, who in enumerate(("father", "mother")):
            line[f"to the {who}"] = str(mean_over(to_own[i], of, study.drawn))
        line["to other parents"] = str(mean_over(median.mean(0), of, study.drawn))
        line["nearer to the father"] = str(mean_over((to_own[0] < to_own[1]).astype(float), of, study.drawn))
        line["both nearer than the median"] = str(mean_over((to_own < median).all(0).astype(float), of, study.drawn))
        found.append(line)
    return found


def sibling_rows(study: Study) -> list[Row]:
    """How far siblings are apart: real ones in photographs, the same rebuilt by the network, and generated ones."""
    space = study.space("dlib")
    pairs = _real_pairs(study)
    others = _strangers(study, pairs)
    real, rebuilt = space.people(study.children), study.rebuilt().descriptors
    found: list[Row] = []
    for who, some in (("siblings", pairs), ("strangers of the same genders", others)):
        of = study.child_families[[a for a, _ in some]]
        found.append(_spread(study, f"{who}, photographs", _between(space, real, some), of))
        found.append(_spread(study, f"{who}, rebuilt", _between(space, rebuilt, some), of))
    families = _families(study)
    for name, made in mixes(study).items():
        each = len(made.latents) // len(families)
        if each > 1:
            inside = [
                (c * each + a, c * each + b) for c in range(len(families)) for a, b in combinations(range(each), 2)
            ]
            of = np.repeat(families, each * (each - 1) // 2)
            found.append(_spread(study, f"generated, {name}", _between(space, space.vector(made), inside), of))
    return found


def _real_pairs(study: Study) -> list[tuple[int, int]]:
    """Children of one couple and of one gender: indices into `study.children`."""
    of: dict[int, set[int]] = {}
    for couple, own in zip(study.couple_of, study.own, strict=True):
        of.setdefault(int(couple), set()).add(int(own))
    pairs = [pair for some in of.values() for pair in combinations(sorted(some), 2)]
    return [(a, b) for a, b in pairs if study.child_is_male[a] == study.child_is_male[b]]


def _strangers(study: Study, pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    random, male, families = np.random.default_rng(0), study.child_is_male, study.child_families
    return [(a, int(random.choice(np.flatnonzero((male == male[b]) & (families != families[a]))))) for a, b in pairs]


def _between(space: Space, vectors: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    scaled = (vectors - space.centre) / space.scale
    return np.array([np.linalg.norm(scaled[a] - scaled[b]) for a, b in pairs])


def _spread(study: Study, name: str, distances: np.ndarray, families: np.ndarray) -> Row:
    return {"who": name, "pairs": len(distances), "apart": str(mean_over(distances, families, study.drawn))}
