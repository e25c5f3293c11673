"""Expression and pose of faces from their 68 landmarks, in units of the face itself. `points` are [N, 68, 2]."""

from collections.abc import Callable

import numpy as np

from facemorph.faces.landmarks import LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE

EPSILON = 1e-9  # added to lengths before division: points may coincide


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1) + EPSILON


def _height(points: np.ndarray, upper: list[int], lower: list[int]) -> np.ndarray:
    return _length(points[:, upper] - points[:, lower]).mean(1)


def _upright(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 68, 2] relative to the eyes (level, midpoint 0, distance 1), and the distance of the eyes [N]."""
    left, right = points[:, LEFT_EYE].mean(1), points[:, RIGHT_EYE].mean(1)
    x = right - left
    unit = _length(x)
    x = x / unit[:, None]
    centred = points - ((left + right) / 2)[:, None]
    along = (centred * x[:, None]).sum(2)
    down = centred[..., 1] * x[:, None, 0] - centred[..., 0] * x[:, None, 1]
    return np.stack([along, down], 2) / unit[:, None, None], unit


def mouth_open(points: np.ndarray) -> np.ndarray:
    """Gap between the lips over the width of the mouth, [N]: about 0 closed, 0.5 wide open."""
    width = _length(points[:, MOUTH_CORNERS[1]] - points[:, MOUTH_CORNERS[0]])
    return _height(points, [61, 62, 63], [67, 66, 65]) / width


def smile(points: np.ndarray) -> np.ndarray:
    """Width of the mouth plus the height of its corners above its middle, in distances of the eyes, [N]."""
    upright, _ = _upright(points)
    corners = upright[:, MOUTH_CORNERS]
    middle = upright[:, [51, 57, 62, 66], 1].mean(1)
    return (corners[:, 1, 0] - corners[:, 0, 0]) + (middle - corners[..., 1].mean(1))


def eyes_open(points: np.ndarray) -> np.ndarray:
    """Height over width of both eyes (eye aspect ratio, Soukupova and Cech 2016), [N]: 0.1 shut, 0.3 open."""
    heights = _height(points, [37, 38], [41, 40]) + _height(points, [43, 44], [47, 46])
    widths = _length(points[:, 39] - points[:, 36]) + _length(points[:, 45] - points[:, 42])
    return heights / widths


def yaw(points: np.ndarray) -> np.ndarray:
    """Place of the nose between the sides of the jaw, -1 to 1, [N]; above 0 towards the right of the image."""
    upright, _ = _upright(points)
    left, right, nose = upright[:, [0, 1, 2], 0].mean(1), upright[:, [16, 15, 14], 0].mean(1), upright[:, 30, 0]
    return (2 * nose - left - right) / (np.abs(right - left) + EPSILON)


def pitch(points: np.ndarray) -> np.ndarray:
    """Place of the tip of the nose from the eyes (0) to the mouth (1), [N]; smaller is looking up."""
    upright, _ = _upright(points)
    mouth = upright[:, MOUTH_CORNERS, 1].mean(1)
    return upright[:, 30, 1] / (np.abs(mouth) + EPSILON)


def face_width(points: np.ndarray) -> np.ndarray:
    """Width of the jaw over the height from brows to chin, [N]."""
    upright, _ = _upright(points)
    height = np.abs(upright[:, 8, 1] - upright[:, [19, 24], 1].mean(1))
    return (upright[:, 14, 0] - upright[:, 2, 0]) / (height + EPSILON)


ATTRIBUTES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "smile": smile,
    "mouth_open": mouth_open,
    "eyes_open": eyes_open,
    "yaw": yaw,
    "pitch": pitch,
    "face_width": face_width,
}


EXPRESSIONS = ("mouth_open", "smile", "eyes_open", "yaw")  # the others depend more on the identity


def expressions(points: np.ndarray) -> np.ndarray:
    """The four of `EXPRESSIONS` as columns: float [N, 4]."""
    return np.stack([ATTRIBUTES[name](points) for name in EXPRESSIONS], 1)
