"""The landmark morph on dlib's points, on 68 points of the mesh, and on its 478: the middle pictures compared.

    PYTHONPATH=. python experiments/landmarks/morphs.py ../shared/data/portraits/london [--pairs 10] [-o FOLDER]

Pairs are neighbours in the list of people, in turn with a neutral and a smiling second. Printed are, for each kind of
points, the middle picture's sharpness (mean size of its gradient, in per cent of that of both ends in the same shape),
over the inner face, the eyes and the mouth, and the distance of its descriptor to those of both portraits. With -o, the
middle pictures are written side by side.
"""

import argparse
from pathlib import Path

import numpy as np

from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.frame import common_frame
from facemorph.faces.locate import locate_face
from facemorph.faces.mask import hull, mask_of
from facemorph.faces.morph import LandmarkMorph, Look
from facemorph.images import grid, read_image, write_image

SIZE_PX = 512
KINDS = ("dlib", "68 of the mesh", "mesh")
PLACES = {"face": slice(0, 68), "eyes": slice(36, 48), "mouth": slice(48, 68)}


def gradient(image: np.ndarray) -> np.ndarray:
    grey = image.astype(np.float32).mean(2)
    across, down = np.gradient(grey)
    return np.hypot(across, down)


def within(points: np.ndarray, place: str) -> np.ndarray:
    """Weights [S, S] of a part of the face with these 68 points."""
    if place == "face":
        return mask_of(points, SIZE_PX, SIZE_PX, "face")
    parts = [points[36:42], points[42:48]] if place == "eyes" else [points[48:68]]
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    weight = np.zeros((SIZE_PX, SIZE_PX), np.float32)
    for part in parts:
        (left, top), (right, bottom) = hull(part).min(0), hull(part).max(0)
        pad = 0.25 * (right - left)
        weight[(x >= left - pad) & (x <= right + pad) & (y >= top - pad) & (y <= bottom + pad)] = 1
    return weight


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("portraits", type=Path)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    people = sorted(path.name.removesuffix("_neutral.jpg") for path in options.portraits.glob("*_neutral.jpg"))
    found = {kind: {place: [] for place in (*PLACES, "descriptor")} for kind in KINDS}
    for number in range(options.pairs):
        paths = [
            options.portraits / f"{people[number % len(people)]}_neutral.jpg",
            options.portraits / f"{people[(number + 1) % len(people)]}_{('neutral', 'smiling')[number % 2]}.jpg",
        ]
        images = [read_image(path) for path in paths]
        meshes = [locate_face(image) for image in images]
        by_dlib = [locate_face(image, points="dlib").landmarks for image in images]
        own = describe([face_chip(image, face.landmarks) for image, face in zip(images, meshes, strict=True)])
        points = {
            "dlib": by_dlib,
            "68 of the mesh": [face.landmarks for face in meshes],
            "mesh": [face.mesh[:, :2] for face in meshes],
        }
        middles = []
        for kind in KINDS:
            faces = common_frame((images[0], points[kind][0]), (images[1], points[kind][1]), SIZE_PX)
            middle = LandmarkMorph(*faces).at(0.5)
            ends = [LandmarkMorph(*faces, look=Look(shape=0.5, colour=colour)).at(0.5) for colour in (0.0, 1.0)]
            place = locate_face(middle).landmarks
            for name in PLACES:
                weight = within(place, name)
                sharp, *others = [(gradient(image) * weight).sum() / weight.sum() for image in (middle, *ends)]
                found[kind][name].append(100 * sharp / np.mean(others))
            apart = np.linalg.norm(describe([face_chip(middle, place)])[0] - own, axis=1)
            found[kind]["descriptor"].append(float(apart.mean()))
            middles.append(middle)
        if options.output:
            write_image(options.output / f"{number}.jpg", grid(middles, len(middles)))
    print(f"{options.pairs} pairs; mean, and in how many the kind is better than dlib's")
    for kind in KINDS:
        cells = []
        for name, values in found[kind].items():
            first = np.array(found["dlib"][name])
            better = (np.array(values) < first) if name == "descriptor" else (np.array(values) > first)
            cells.append(f"{name} {np.mean(values):.3f} ({better.sum()})")
        print(f"{kind:15}", ", ".join(cells))


if __name__ == "__main__":
    main()
