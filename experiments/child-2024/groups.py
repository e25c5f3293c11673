"""The group that a face is taken for, by UTKFace's labels: a linear guess from dlib's descriptor, for controls."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from facemorph.faces.likeness import likeness_of_aligned
from facemorph.files import write_atomically
from facemorph.images import to_tensor
from facemorph.progress import progress_bar

NAMES = ("White", "Black", "Asian", "Indian")
EACH = 300  # faces of a group, a third of them for the test
RIDGE = 0.1
BATCH = 16


@dataclass(frozen=True)
class Groups:
    """`weights` [129, 4]: descriptor and 1 to a score of each of `NAMES`; `right`, the fraction of held-out faces."""

    weights: np.ndarray
    right: float
    tested: int

    def of(self, descriptors: np.ndarray) -> np.ndarray:
        """Indices into `NAMES`, [N]."""
        return (np.c_[descriptors, np.ones(len(descriptors))] @ self.weights).argmax(1)


def learn_groups(folder: Path, cache: Path, chip: tuple[float, float, float]) -> Groups:
    """From faces.pack and labels.csv (UTKFace's), or read from `cache`."""
    if cache.exists():
        with np.load(cache) as arrays:
            return Groups(arrays["weights"], float(arrays["right"]), int(arrays["tested"]))
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    random = np.random.default_rng(0)
    chosen, labels = [], []
    for number, name in enumerate(NAMES):
        of_it = [
            int(row["row"])
            for row in rows
            if row["group"] == name and (row["age"] or "0").isdigit() and int(row["age"] or 0) >= 5
        ]
        some = random.permutation(of_it)[:EACH]
        chosen += some.tolist()
        labels += [number] * len(some)
    likeness, descriptors = likeness_of_aligned(chip), []
    with progress_bar(True, total=len(chosen), unit=" faces", description="groups") as bar, torch.inference_mode():
        for start in range(0, len(chosen), BATCH):
            faces = read_pack(folder / "faces.pack", chosen[start : start + BATCH])
            descriptors.append(likeness(to_tensor(faces)).numpy())
            bar.update(len(faces))
    x, y = np.concatenate(descriptors).astype(np.float64), np.array(labels)
    test = random.random(len(y)) < 1 / 3
    half = _ridge(x[~test], y[~test])
    right = float((Groups(half, 0, 0).of(x[test]) == y[test]).mean())
    found = Groups(_ridge(x, y), right, int(test.sum()))
    cache.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(cache, lambda file: np.savez(file, **vars(found)))
    return found


def _ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    wide, targets = np.c_[x, np.ones(len(x))], np.eye(len(NAMES))[y]
    return np.linalg.solve(wide.T @ wide + RIDGE * np.eye(wide.shape[1]), wide.T @ targets)


def read_pack(path: Path, rows: list[int]) -> np.ndarray:
    """Some images of a pack (their number, their lengths, then WebP after WebP): uint8 RGB [N, R, R, 3]."""
    raw = np.memmap(path, np.uint8, "r")
    count = int.from_bytes(raw[:4].tobytes(), "little")
    ends = np.cumsum(np.frombuffer(raw[4 : 4 + 4 * count].tobytes(), "<u4").astype(np.int64)) + 4 + 4 * count
    starts = np.concatenate([[4 + 4 * count], ends[:-1]])
    return np.stack(
        [np.asarray(Image.open(io.BytesIO(raw[starts[k] : ends[k]].tobytes())).convert("RGB")) for k in rows]
    )
