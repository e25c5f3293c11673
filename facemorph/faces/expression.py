"""What a face does and how it is turned, from its 68 landmarks: numbers in units of the face itself."""

from collections.abc import Callable

import numpy as np

from facemorph.faces.landmarks import LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE


def _height(points: np.ndarray, upper: list[int], lower: list[int]) -> np.ndarray:
    return np.linalg.norm(points[:, upper] - points[:, lower], axis=2).mean(1)


def _upright(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 68, 2] turned so that the eyes are level, from the middle between them, in distances of the eyes."""
    left, right = points[:, LEFT_EYE].mean(1), points[:, RIGHT_EYE].mean(1)
    x = right - left
    unit = np.linalg.norm(x, axis=1)
    x = x / unit[:, None]
    centred = points - ((left + right) / 2)[:, None]
    along = (centred * x[:, None]).sum(2)
    down = centred[..., 1] * x[:, None, 0] - centred[..., 0] * x[:, None, 1]
    return np.stack([along, down], 2) / unit[:, None, None], unit


def mouth_open(points: np.ndarray) -> np.ndarray:
    """Gap between the lips, as a share of the mouth's width: about 0 closed, 0.5 wide open."""
    width = np.linalg.norm(points[:, MOUTH_CORNERS[1]] - points[:, MOUTH_CORNERS[0]], axis=1)
    return _height(points, [61, 62, 63], [67, 66, 65]) / width


def smile(points: np.ndarray) -> np.ndarray:
    """Width of the mouth in distances between the eyes, and how far its corners are drawn up: larger is more."""
    upright, _ = _upright(points)
    corners = upright[:, MOUTH_CORNERS]
    middle = upright[:, [51, 57, 62, 66], 1].mean(1)
    return (corners[:, 1, 0] - corners[:, 0, 0]) + (middle - corners[..., 1].mean(1))


def eyes_open(points: np.ndarray) -> np.ndarray:
    """Height of the eyes over their width, both together (Soukupova and Cech 2016): 0.1 shut, 0.3 open."""
    heights = _height(points, [37, 38], [41, 40]) + _height(points, [43, 44], [47, 46])
    widths = np.linalg.norm(points[:, 39] - points[:, 36], axis=1) + np.linalg.norm(
        points[:, 45] - points[:, 42], axis=1
    )
    return heights / widths


def yaw(points: np.ndarray) -> np.ndarray:
    """How far the nose lies towards one side of the jaw, -1 to 1; above 0 to the right of the picture."""
    upright, _ = _upright(points)
    left, right, nose = upright[:, [0, 1, 2], 0].mean(1), upright[:, [16, 15, 14], 0].mean(1), upright[:, 30, 0]
    return (2 * nose - left - right) / (right - left)


def pitch(points: np.ndarray) -> np.ndarray:
    """How far down the tip of the nose lies between eyes and mouth, 0 to 1; smaller is looking up."""
    upright, _ = _upright(points)
    mouth = upright[:, MOUTH_CORNERS, 1].mean(1)
    return upright[:, 30, 1] / mouth


def face_width(points: np.ndarray) -> np.ndarray:
    """Width of the jaw over the height from brows to chin."""
    upright, _ = _upright(points)
    return (upright[:, 14, 0] - upright[:, 2, 0]) / (upright[:, 8, 1] - upright[:, [19, 24], 1].mean(1))


ATTRIBUTES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "smile": smile,
    "mouth_open": mouth_open,
    "eyes_open": eyes_open,
    "yaw": yaw,
    "pitch": pitch,
    "face_width": face_width,
}


def measure_expression(points: np.ndarray) -> dict[str, np.ndarray]:
    """Every one of ATTRIBUTES, [N] each, of faces with landmarks [N, 68, 2]."""
    return {name: function(points) for name, function in ATTRIBUTES.items()}
