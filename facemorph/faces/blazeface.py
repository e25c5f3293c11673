"""BlazeFace: faces and six keypoints of each, in an image scaled to 128 x 128.

Source: Bazarevsky, Kartynnik, Vakunov, Raveendran and Grundmann, "BlazeFace: sub-millisecond neural face detection on
mobile GPUs", 2019 (arXiv:1907.05047). Weights: MediaPipe's "short range" model, see embedded/face-mesh.json.
"""

import numpy as np
import torch
from torch import nn

from facemorph.faces.mobile_layers import Block, Stem

INPUT_PX = 128
# Anchors: two in each cell of 16 x 16, six in each of 8 x 8, all of them in its middle.
GRIDS = ((16, 2), (8, 6))
# channels of the blocks; a block of another width than the one before it follows
BACKBONE = (24, 28, "down", 32, 36, 42, "down", 48, 56, 64, 72, 80, 88)
DEEP = ("down", 96, 96, 96, 96, 96)
NUM_VALUES = 16  # centre, size, six keypoints
OVERLAP = 0.3  # boxes that overlap by more are one face
POSSIBLE, SURE = 0.3, 0.5  # scores of an anchor


class BlazeFace(nn.Module):
    """An image [N, 3, 128, 128] in -1 to 1 to logits [N, 896] and values [N, 896, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem(24, 5, nn.ReLU())
        self.backbone, channels = _blocks(24, BACKBONE)
        self.deep, deep_channels = _blocks(channels, DEEP)
        self.logits = nn.ModuleList([nn.Conv2d(channels, GRIDS[0][1], 1), nn.Conv2d(deep_channels, GRIDS[1][1], 1)])
        self.values = nn.ModuleList(
            [
                nn.Conv2d(channels, GRIDS[0][1] * NUM_VALUES, 1),
                nn.Conv2d(deep_channels, GRIDS[1][1] * NUM_VALUES, 1),
            ]
        )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine = self.backbone(self.stem(image))  # [N, 88, 16, 16]
        coarse = self.deep(fine)  # [N, 96, 8, 8]
        count = len(image)
        logits = [
            layer(x).movedim(1, 3).reshape(count, -1) for layer, x in zip(self.logits, (fine, coarse), strict=True)
        ]
        values = [
            layer(x).movedim(1, 3).reshape(count, -1, NUM_VALUES)
            for layer, x in zip(self.values, (fine, coarse), strict=True)
        ]
        return torch.cat(logits, 1), torch.cat(values, 1)


def _blocks(channels: int, widths: tuple[int | str, ...]) -> tuple[nn.Sequential, int]:
    layers, down = [], False
    for width in widths:
        if isinstance(width, str):
            down = True
            continue
        layers.append(Block(channels, width, nn.ReLU(inplace=True), down=down))
        channels, down = width, False
    return nn.Sequential(*layers), channels


def anchors() -> np.ndarray:
    """Centres of the anchors, float32 [896, 2], x before y, as fractions of the side."""
    found = []
    for side, per_cell in GRIDS:
        rows, columns = np.mgrid[:side, :side]
        centres = (np.stack([columns, rows], -1).reshape(-1, 2) + 0.5) / side
        found.append(np.repeat(centres, per_cell, 0))
    return np.concatenate(found).astype(np.float32)


def decode(logits: np.ndarray, values: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """The faces of one image from what the network gives for it, the best first: score, detection, the mesh's place.

    Either is float32 [16]: left, top, right, bottom, then x, y of the right eye, the left eye, the nose, the mouth, the
    right and the left ear (of the person), as fractions of the side. Anchors of one face are averaged, weighted by
    their scores: for the detection those of at least `SURE`, for the mesh's place, as MediaPipe does, all of them.

    Args:
        logits, values: [896] and [896, 16].
    """
    scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    chosen = np.flatnonzero(scores >= POSSIBLE)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    scores = scores[chosen]
    values = values[chosen].reshape(-1, 8, 2) / INPUT_PX
    centre, half = values[:, 0] + _ANCHORS[chosen], values[:, 1] / 2
    points = (values[:, 2:] + _ANCHORS[chosen, None]).reshape(-1, 12)
    faces = np.concatenate([centre - half, centre + half, points], 1)

    kept = []
    while len(faces):
        same = overlaps(faces[0, :4], faces[:, :4]) > OVERLAP
        same[0] = True
        sure = same & (scores >= min(SURE, scores[0]))
        means = [np.average(faces[of], 0, scores[of]).astype(np.float32) for of in (sure, same)]
        kept.append((float(scores[0]), means[0], means[1]))
        faces, scores = faces[~same], scores[~same]
    return kept


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of `box` [4] (left, top, right, bottom) with each of `boxes` [N, 4]."""
    shared = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return shared / np.maximum((box[2:] - box[:2]).prod() + areas - shared, 1e-9)


_ANCHORS = anchors()
