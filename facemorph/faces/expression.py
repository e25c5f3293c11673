"""What a face does and how it is turned, from its 68 landmarks: numbers in units of the face itself."""

from collections.abc import Callable

import numpy as np

from facemorph.faces.landmarks import LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE

LEAST = 1e-9  # of a length that is divided by: points may fall together


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1) + LEAST


def _height(points: np.ndarray, upper: list[int], lower: list[int]) -> np.ndarray:
    return _length(points[:, upper] - points[:, lower]).mean(1)


def _upright(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 68, 2] turned so that the eyes are level, from the middle between them, in distances of the eyes."""
    left, right = points[:, LEFT_EYE].mean(1), points[:, RIGHT_EYE].mean(1)
    x = right - left
    unit = _length(x)
    x = x / unit[:, None]
    centred = points - ((left + right) / 2)[:, None]
    along = (centred * x[:, None]).sum(2)
    down = centred[..., 1] * x[:, None, 0] - centred[..., 0] * x[:, None, 1]
    return np.stack([along, down], 2) / unit[:, None, None], unit


def mouth_open(points: np.ndarray) -> np.ndarray:
    """Gap between the lips, as a share of the mouth's width: about 0 closed, 0.5 wide open."""
    width = _length(points[:, MOUTH_CORNERS[1]] - points[:, MOUTH_CORNERS[0]])
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
    widths = _length(points[:, 39] - points[:, 36]) + _length(points[:, 45] - points[:, 42])
    return heights / widths


def yaw(points: np.ndarray) -> np.ndarray:
    """How far the nose lies towards one side of the jaw, -1 to 1; above 0 to the right of the image."""
    upright, _ = _upright(points)
    left, right, nose = upright[:, [0, 1, 2], 0].mean(1), upright[:, [16, 15, 14], 0].mean(1), upright[:, 30, 0]
    return (2 * nose - left - right) / (np.abs(right - left) + LEAST)


def pitch(points: np.ndarray) -> np.ndarray:
    """How far down the tip of the nose lies between eyes and mouth, 0 to 1; smaller is looking up."""
    upright, _ = _upright(points)
    mouth = upright[:, MOUTH_CORNERS, 1].mean(1)
    return upright[:, 30, 1] / (np.abs(mouth) + LEAST)


def face_width(points: np.ndarray) -> np.ndarray:
    """Width of the jaw over the height from brows to chin."""
    upright, _ = _upright(points)
    height = np.abs(upright[:, 8, 1] - upright[:, [19, 24], 1].mean(1))
    return (upright[:, 14, 0] - upright[:, 2, 0]) / (height + LEAST)


ATTRIBUTES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "smile": smile,
    "mouth_open": mouth_open,
    "eyes_open": eyes_open,
    "yaw": yaw,
    "pitch": pitch,
    "face_width": face_width,
}


EXPRESSIONS = ("mouth_open", "smile", "eyes_open", "yaw")  # what a face does; the others are more how it is made


def measure_expression(points: np.ndarray) -> dict[str, np.ndarray]:
    """Every one of ATTRIBUTES, [N] each, of faces with landmarks [N, 68, 2]."""
    return {name: function(points) for name, function in ATTRIBUTES.items()}


def expressions(points: np.ndarray) -> np.ndarray:
    """The four of EXPRESSIONS side by side: float [N, 4]."""
    return np.stack([ATTRIBUTES[name](points) for name in EXPRESSIONS], 1)
