"""Expressions in figures: mouth, smile, eyes and yaw from the 68 landmarks."""

import numpy as np

from facemorph.faces.landmarks import LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE

NAMES = ("mouth open", "smile", "eyes open", "yaw")
INNER_CORNERS, INNER_LIPS = [60, 64], ([61, 62, 63], [67, 66, 65])  # of the mouth: upper and lower
NOSE_TIP = 30
LEAST = 1e-9  # of a length: points that fall together are divided by


def expressions(points: np.ndarray) -> np.ndarray:
    """What landmarks float [N, 68, 2] express: float [N, 4], one column for each of `NAMES`.

    All four are ratios of lengths, so that neither place, size nor tilt of the face matters:
    mouth open: gap between the lips over the inner mouth's width, 0 for a closed one, about 0.5 for a vowel;
    smile: width of the mouth over the distance of the eyes, about 0.8 at rest;
    eyes open: height of the eyes over their width, mean of both, about 0.3 open and below 0.15 closed;
    yaw: how far the tip of the nose lies to the right (in the picture) of the middle between the eyes, over their
        distance, 0 from the front.
    Mouth and smile depend on the person as well, which is why a comparison wants the same persons on both sides.
    """
    left, right = points[:, LEFT_EYE], points[:, RIGHT_EYE]  # [N, 6, 2]
    between = right.mean(1) - left.mean(1)  # [N, 2]
    spacing = _length(between)
    upper, lower = (points[:, part] for part in INNER_LIPS)  # [N, 3, 2]
    gap = _length(lower - upper).mean(1)
    inner_width = _length(np.diff(points[:, INNER_CORNERS], axis=1)[:, 0])
    mouth_width = _length(np.diff(points[:, MOUTH_CORNERS], axis=1)[:, 0])
    nose = points[:, NOSE_TIP] - (left.mean(1) + right.mean(1)) / 2
    columns = [
        gap / inner_width,
        mouth_width / spacing,
        (_openness(left) + _openness(right)) / 2,
        (nose * between).sum(1) / spacing**2,
    ]
    return np.stack(columns, axis=1)


def _openness(eye: np.ndarray) -> np.ndarray:
    """Height over width of an eye [N, 6, 2], its points going round from the left corner (Soukupova and Cech 2016)."""
    heights = _length(eye[:, 1] - eye[:, 5]) + _length(eye[:, 2] - eye[:, 4])
    return heights / 2 / _length(eye[:, 3] - eye[:, 0])


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1) + LEAST
