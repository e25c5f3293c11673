"""dlib's face descriptor, 128 numbers for identity. Two images of one person are usually less than 0.6 apart."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

SAME_PERSON = 0.6  # Euclidean distance; dlib's published operating point (99.38 % on LFW)
CHIP_SIZE_PX, CHIP_PADDING = 150, 0.25
BATCH = 32  # chips; about 80 MB


@functools.cache
def _network(device: str) -> Any:
    from facemorph.faces.descriptor_network import load_resnet

    return load_resnet().to(device)


def face_chip(
    image: np.ndarray, points: np.ndarray, side_px: int = CHIP_SIZE_PX, padding: float = CHIP_PADDING
) -> np.ndarray:
    """dlib's upright crop of a face, from landmarks [68, 2] in pixels of `image`: uint8 RGB [side_px, side_px, 3].

    By default the one that the descriptor's network takes.
    """
    import dlib

    parts = [dlib.point(round(x), round(y)) for x, y in points]  # type: ignore[attr-defined]
    (left, top), (right, bottom) = points.min(0).round().astype(int), points.max(0).round().astype(int)
    box = dlib.rectangle(int(left), int(top), int(right), int(bottom))  # type: ignore[attr-defined]
    shape = dlib.full_object_detection(box, parts)  # type: ignore[attr-defined]
    return dlib.get_face_chip(np.ascontiguousarray(image), shape, side_px, padding)  # type: ignore[attr-defined]


def describe(chips: Sequence[np.ndarray], *, device: str = "cpu") -> np.ndarray:
    """Descriptors of face chips (uint8 RGB [150, 150, 3] each): float64 [N, 128], within 1e-5 of dlib's."""
    import torch

    descriptors = [np.zeros((0, 128))]
    # without TF32, in which cuDNN rounds the mantissa of float32 to 10 bits
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        for start in range(0, len(chips), BATCH):
            batch = torch.from_numpy(np.stack(chips[start : start + BATCH])).to(device)
            descriptors.append(_network(device)(batch).cpu().numpy())
    return np.concatenate(descriptors).astype(np.float64)
