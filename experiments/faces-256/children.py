"""Whom do children of faces-256 resemble? python children.py LATENTS PORTRAITS SHEET.png

LATENTS is a folder of `facemorph project`, PORTRAITS that of the images, by the same names: the first half of them are
fathers, the second mothers. Each couple has two children. Counted is how many are nearer to their own parents than to
the median of all the other people, by dlib's descriptor of the photographs.
"""

import argparse
from pathlib import Path

import numpy as np

from facemorph import embedded
from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.locate import locate_face
from facemorph.images import contact_sheet, read_image, write_image
from facemorph.stylegan.editing.mixing import siblings
from facemorph.stylegan.editing.resolve import render_latents
from facemorph.stylegan.latents import read_latent
from facemorph.stylegan.load import load_generator

EACH = 2
CELL_PX, COLUMNS = 128, 8


def descriptors(images: list[np.ndarray]) -> np.ndarray:
    """[N, 128] of the largest face of each."""
    return describe([face_chip(image, locate_face(image).landmarks) for image in images])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("latents", "portraits", "sheet"):
        parser.add_argument(name, type=Path)
    told = parser.parse_args()
    folders = sorted(path.parent for path in told.latents.glob("*/latent.safetensors"))
    w = [read_latent(folder / "latent.safetensors").w for folder in folders]
    photographs = descriptors([read_image(next(told.portraits.glob(f"{folder.name}.*g"))) for folder in folders])
    half = len(w) // 2
    born = [child for i in range(half) for child in siblings(w[half + i], w[i], 0.5, EACH, seed=0)]
    generator = load_generator(embedded.embedded_path(embedded.FACES_256))
    parents, children = (list(render_latents(generator, np.stack(some))) for some in (w, born))
    found = descriptors(children)
    distances = np.linalg.norm(found[:, None] - photographs, axis=2)  # [children, people]
    means, both = [], []
    for number, row in enumerate(distances):
        own = [number // EACH, half + number // EACH]
        others = np.median(np.delete(row, own))
        means.append((row[own].mean(), row[own].mean() < others))
        both.append((row[own] < others).all())
    apart = [np.linalg.norm(found[EACH * i] - found[EACH * i + 1]) for i in range(half)]
    print(f"nearer to the parents, on average, than to the median of the others: {sum(one for _, one in means)}")
    print(f"nearer to each of them: {sum(both)}; of {len(born)} children")
    print(f"distance to a parent {np.median([mean for mean, _ in means]):.3f}; siblings apart {np.median(apart):.3f}")
    cells, captions = [], []
    for i in range(half):
        cells += [parents[half + i], parents[i], *children[EACH * i : EACH * (i + 1)]]
        captions += ["mother", "father", *[f"child {number}" for number in range(1, EACH + 1)]]
    write_image(told.sheet, contact_sheet(cells, captions, CELL_PX, COLUMNS))


if __name__ == "__main__":
    main()
