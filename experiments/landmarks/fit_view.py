"""The 68 points of iBUG's scheme as a fixed linear view of the mesh: fitted where dlib and the mesh agree.

    python experiments/landmarks/fit_view.py FOLDER_OF_PORTRAITS ... facemorph/embedded/face-mesh.safetensors

Each of the 68 points is a mean of the `NEAR` nearest points of the mesh, with weights that sum to one, so the view
turns, scales and moves with the mesh. Weights are least squares over the portraits, held near equal weights. Portraits
whose two sets of points are far apart, most often dlib's failures, are left out. Prints the distance on every fifth
portrait, which is held out.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from facemorph.faces.landmarks import steady_landmarks
from facemorph.faces.mesh import detect_blazeface, place_mesh, region_of
from facemorph.images import read_image

NEAR = 10
RIDGE = 0.02  # times the number of portraits, with distances in units of the pupils'
FARTHEST = 0.06  # mean distance between the two sets; the unit is the distance between the pupils


def pairs(folders: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Meshes [N, 478, 2] and dlib's points [N, 68, 2], upright, in units of the pupils' distance."""
    meshes, points = [], []
    for path in sorted(path for folder in folders for path in folder.rglob("*.jpg")):
        image = read_image(path)
        faces = detect_blazeface(image)[0]
        if not faces or faces[0].score < 0.8:
            continue
        mesh, _ = place_mesh(image, [faces[0].region])[0]
        region = region_of(mesh)
        mesh, presence = place_mesh(image, [region])[0]
        if presence < 0.9 or abs(region.roll) > 0.25:
            continue
        dlib = steady_landmarks(image, faces[0].box)
        turn = np.stack(region.axes, 1) / np.linalg.norm(mesh[473, :2] - mesh[468, :2])
        meshes.append((mesh[:, :2] - region.middle) @ turn)
        points.append((dlib - region.middle) @ turn)
    return np.array(meshes), np.array(points)


def fit(meshes: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices [68, NEAR] and weights [68, NEAR]."""
    shape, targets = meshes.mean(0), points.mean(0)
    indices = np.argsort(np.linalg.norm(shape[None, :468] - targets[:, None], axis=2), 1)[:, :NEAR]
    weights = np.empty((68, NEAR))
    for j, near in enumerate(indices):
        x = meshes[:, near].transpose(0, 2, 1).reshape(-1, NEAR)  # [2 N, NEAR]
        y = points[:, j].reshape(-1)
        # weights = equal + change, where the change sums to zero: 10 unknowns and one multiplier
        system = np.zeros((NEAR + 1, NEAR + 1))
        system[:NEAR, :NEAR] = x.T @ x + RIDGE * len(meshes) * np.eye(NEAR)
        system[NEAR, :NEAR] = system[:NEAR, NEAR] = 1
        right = np.append(x.T @ (y - x.mean(1)), 0)
        weights[j] = 1 / NEAR + np.linalg.solve(system, right)[:NEAR]
    return indices, weights


def main() -> None:
    *folders, target = (Path(name) for name in sys.argv[1:])
    meshes, points = pairs(folders)
    total = len(meshes)
    for _ in range(3):
        indices, weights = fit(meshes, points)
        view = np.einsum("jk,njkc->njc", weights, meshes[:, indices])
        apart = np.linalg.norm(view - points, axis=2).mean(1)
        meshes, points = meshes[apart < FARTHEST], points[apart < FARTHEST]
    held_out = np.arange(len(meshes)) % 5 == 0
    indices, weights = fit(meshes[~held_out], points[~held_out])
    view = np.einsum("jk,njkc->njc", weights, meshes[held_out][:, indices])
    apart = np.linalg.norm(view - points[held_out], axis=2)
    print(f"{len(meshes)} of {total} portraits; held out: {apart.mean():.4f} of the pupils' distance apart in the mean")
    for name, part in (
        ("jaw", slice(0, 17)),
        ("brows", slice(17, 27)),
        ("nose", slice(27, 36)),
        ("eyes", slice(36, 48)),
        ("mouth", slice(48, 68)),
    ):
        bias = np.linalg.norm((view - points[held_out])[:, part].mean(0), axis=1).max()
        print(f"  {name}: mean {apart[:, part].mean():.4f}, largest bias of a point {bias:.4f}")
    file = load_file(target)
    file["view.indices"], file["view.weights"] = torch.tensor(indices), torch.tensor(weights, dtype=torch.float32)
    save_file(file, target)


if __name__ == "__main__":
    main()
