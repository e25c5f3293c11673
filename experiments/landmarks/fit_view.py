"""The 68 points of iBUG's scheme as a fixed linear view of the mesh: fitted where dlib and the mesh agree.

    PYTHONPATH=. python experiments/landmarks/fit_view.py ../shared/data facemorph/embedded/face-mesh.safetensors

Each of the 68 points is a sum of the `NEAR` nearest points of the mesh, with weights that sum to one, so the view
turns, scales and moves with the mesh. Of the mean face, the view is exactly where dlib's points are; beyond that, the
weights are least squares over the faces, held near equal weights. Faces are photographs of faces256 and lfw_pairs, none
of the London set, by which landmarks are measured. Those whose two sets of points are far apart, most often dlib's
failures, are left out. Prints the distance on every fifth face, which is held out.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from crops import bordered, packed
from safetensors.torch import load_file, save_file

from facemorph.faces.find_meshes import best_meshes, is_face
from facemorph.faces.landmarks import steady_landmarks
from facemorph.faces.mesh import region_of
from facemorph.images import read_image

NEAR = 12
RIDGE = 1e-4  # times the number of faces, with distances in units of the pupils'
FARTHEST = 0.06  # mean distance between the two sets; the unit is the distance between the pupils
MOST_ROLL = 0.25  # radians; dlib's points are worse beyond
SETS = ("ffhq", "celebahq", "mebeauty", "congress", "aaf", "aaf_children")  # photographs
PARTS = {"jaw": slice(0, 17), "brows": slice(17, 27), "nose": slice(27, 36), "eyes": slice(36, 48),
         "mouth": slice(48, 68)}  # fmt: skip


def faces(data: Path, count: int) -> Iterator[np.ndarray]:
    """Pictures: a quarter of LFW, the rest of faces256."""
    lfw = sorted((data / "lfw_pairs").rglob("*.jpg"))
    for path in lfw[:: max(1, 4 * len(lfw) // count)]:
        yield read_image(path)
    sources = [row for row in csv.DictReader((data / "faces256" / "sources.csv").open()) if row["set"] in SETS]
    sources = sources[:: max(1, 4 * len(sources) // (3 * count))]
    for pack in ("0", "1"):
        rows = [int(row["row"]) for row in sources if row["pack"] == pack]
        for image in packed(data / "faces256" / f"faces-{pack}.pack", rows):
            yield bordered(image, 1)[0]


def pairs(data: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Meshes [N, 478, 2] and dlib's points [N, 68, 2], upright, in units of the pupils' distance."""
    meshes, points = [], []
    for image in faces(data, count):
        middle = np.array(image.shape[1::-1]) / 2
        found = [one for one in best_meshes(image) if is_face(one)]
        if not found:
            continue
        one = min(found, key=lambda mesh: float(np.hypot(*(mesh.points[:, :2].mean(0) - middle))))
        region = region_of(one.points)
        if abs(region.roll) > MOST_ROLL:
            continue
        turn = np.stack(region.axes, 1) / np.linalg.norm(one.points[473, :2] - one.points[468, :2])
        meshes.append((one.points[:, :2] - region.middle) @ turn)
        points.append((steady_landmarks(image, one.box) - region.middle) @ turn)
    return np.array(meshes), np.array(points)


def fit(meshes: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices [68, NEAR] and weights [68, NEAR]."""
    shape, targets = meshes.mean(0), points.mean(0)
    indices = np.argsort(np.linalg.norm(shape[None, :468] - targets[:, None], axis=2), 1)[:, :NEAR]
    weights = np.empty((68, NEAR))
    for j, near in enumerate(indices):
        x = meshes[:, near].transpose(0, 2, 1).reshape(-1, NEAR)  # [2 N, NEAR]
        y = points[:, j].reshape(-1)
        # weights = equal + change; the change sums to zero and takes the mean face's point to where dlib's is
        fixed = np.concatenate([np.ones((1, NEAR)), shape[near].T])  # [3, NEAR]
        system = np.zeros((NEAR + 3, NEAR + 3))
        system[:NEAR, :NEAR] = x.T @ x + RIDGE * len(meshes) * np.eye(NEAR)
        system[NEAR:, :NEAR], system[:NEAR, NEAR:] = fixed, fixed.T
        right = np.concatenate([x.T @ (y - x.mean(1)), [0], targets[j] - shape[near].mean(0)])
        weights[j] = 1 / NEAR + np.linalg.solve(system, right)[:NEAR]
    return indices, weights


def view(meshes: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.einsum("jk,njkc->njc", weights, meshes[:, indices])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--count", type=int, default=800)
    options = parser.parse_args()
    meshes, points = pairs(options.data, options.count)
    total = len(meshes)
    for _ in range(3):
        apart = np.linalg.norm(view(meshes, *fit(meshes, points)) - points, axis=2).mean(1)
        meshes, points = meshes[apart < FARTHEST], points[apart < FARTHEST]
    held_out = np.arange(len(meshes)) % 5 == 0
    indices, weights = fit(meshes[~held_out], points[~held_out])
    difference = view(meshes[held_out], indices, weights) - points[held_out]
    apart = np.linalg.norm(difference, axis=2)
    print(f"{len(meshes)} of {total} faces; held out: {apart.mean():.4f} of the pupils' distance apart in the mean")
    print(
        f"weights: {weights.min():.2f} to {weights.max():.2f}; largest norm {np.linalg.norm(weights, axis=1).max():.2f}"
    )
    for name, part in PARTS.items():
        bias = np.linalg.norm(difference[:, part].mean(0), axis=1).max()
        print(f"  {name}: mean {apart[:, part].mean():.4f}, largest bias of a point {bias:.4f}")
    file = load_file(options.target)
    file["view.indices"], file["view.weights"] = torch.tensor(indices), torch.tensor(weights, dtype=torch.float32)
    save_file(file, options.target)


if __name__ == "__main__":
    main()
