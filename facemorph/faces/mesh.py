"""The mesh of a face at any angle: where BlazeFace sees a face, Face Mesh places its points.

Both networks were trained on faces turned by little more than 45 degrees; a face is brought upright for the mesh by
its eyes. `turn` is in quarters of a turn: the image is looked at as if it had been turned clockwise by so many.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facemorph.faces.sampling import Frame, sample_square

REGION = 1.5  # side of the mesh's square, as a multiple of the face's box
NUM_POINTS = 478
AT_A_TIME = 8  # squares; of fewer or more each takes longer, up to twice as long
MESH_SIDE = 1.5  # the same, as a multiple of the extent of its points
FOREHEAD, CHIN = 10, 152
IRISES = (468, 473)
EYES = (33, 263)  # outer corners of the eyes, left and right in the upright image


@dataclass(frozen=True)
class Region:
    """The square that the mesh is looked for in: its middle [2] and side in pixels, and the angle of its upper side.

    `roll` is in radians, clockwise as it is seen.
    """

    middle: np.ndarray
    side_px: float
    roll: float

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors to the right and down, as the face is seen upright."""
        right = np.array([np.cos(self.roll), np.sin(self.roll)])
        return right, np.array([-right[1], right[0]])


@dataclass(frozen=True)
class BlazeDetection:
    """A face that BlazeFace detects: `score` 0 to 1, `box` (left, top, right, bottom) and keypoints [6, 2] in pixels.

    Of a turned image the box is the one that encloses the turned box. The keypoints are the right eye, the left eye,
    the nose, the mouth, the right ear and the left ear, of the person.
    """

    score: float
    box: tuple[float, float, float, float]
    keypoints: np.ndarray
    region: Region


@functools.cache
def _blazeface() -> Any:
    from facemorph.faces.blazeface import BlazeFace
    from facemorph.faces.mobile_layers import load_embedded

    return load_embedded(BlazeFace(), "face-detector")


@functools.cache
def _face_mesh() -> Any:
    from facemorph.faces.face_mesh import FaceMesh
    from facemorph.faces.mobile_layers import load_embedded

    return load_embedded(FaceMesh(), "face-mesh")


def detect_blazeface(
    image: np.ndarray, *, turns: Sequence[int] = (0,), zoom_out: float = 1.0
) -> list[list[BlazeDetection]]:
    """For each turn, the faces of an image, uint8 RGB [H, W, 3], the best first.

    `zoom_out`: how many times as large as the image the square is that is looked at; the border is then repeated.
    """
    middle, side = whole_image(image)
    squares = [(image, square_around(middle, side * zoom_out, turn)) for turn in turns]
    return detect_in_squares(squares, outside=0 if zoom_out == 1 else None)


def whole_image(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle and side of the square around an image."""
    height, width = image.shape[:2]
    return np.array([width, height]) / 2, float(max(height, width))


def square_around(middle: np.ndarray, side: float, turn: int = 0) -> Frame:
    """The square of `side` pixels around `middle` [2], sampled at BlazeFace's input size."""
    from facemorph.faces.blazeface import INPUT_PX

    right, down = (axis * side / INPUT_PX for axis in _quarter(turn))
    return middle - (right + down) * INPUT_PX / 2, right, down


def detect_in_squares(squares: Sequence[tuple[np.ndarray, Frame]], outside: int | None) -> list[list[BlazeDetection]]:
    """For each square of an image, what BlazeFace detects there, the best first."""
    import torch

    from facemorph.faces.blazeface import INPUT_PX, decode
    from facemorph.faces.mobile_layers import one_thread

    found = []
    for start in range(0, len(squares), AT_A_TIME):
        some = squares[start : start + AT_A_TIME]
        pixels = np.stack([sample_square(image, frame, INPUT_PX, outside=outside) for image, frame in some])
        with one_thread():
            logits, values = _blazeface()(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1)
        for (_, frame), one_logits, one_values in zip(some, logits.numpy(), values.numpy(), strict=True):
            decoded = decode(one_logits, one_values)
            found.append([_detection(score, at, place, frame) for score, at, place in decoded])
    return found


def _detection(score: float, detected: np.ndarray, place: np.ndarray, frame: Frame) -> BlazeDetection:
    """What `decode` gives for a sampled square, in the image."""
    from facemorph.faces.blazeface import INPUT_PX

    points, again = (_in_image(values, frame) for values in (detected, place))
    eyes = again[3] - again[2]
    side = float(np.abs(place[2:4] - place[:2]).max() * INPUT_PX * np.hypot(*frame[1]))
    region = Region(again[:2].mean(0), side * REGION, float(np.arctan2(eyes[1], eyes[0])))
    return BlazeDetection(score, (*points[:2].min(0).tolist(), *points[:2].max(0).tolist()), points[2:], region)


def _in_image(values: np.ndarray, frame: Frame) -> np.ndarray:
    """Places [16], as fractions of a sampled square's side, in pixels of the image: [8, 2]."""
    from facemorph.faces.blazeface import INPUT_PX

    corner, right, down = frame
    points = values.reshape(8, 2) * INPUT_PX
    return points[:, :1] * right + points[:, 1:] * down + corner


@dataclass(frozen=True)
class Mesh:
    """The mesh of a face.

    Attributes:
        points: float64 [478, 3]: x, y in pixels of the image, z in the same unit, negative towards the camera.
        presence: the network's own probability, 0 to 1, that this is a face.
        moved: how far another look moves the points, in the mean, in units of the pupils' distance; 0 where it was not
            needed, infinite where that sees no face.
        box, score: of the detection; see `BlazeDetection`.
    """

    points: np.ndarray
    presence: float
    moved: float
    box: tuple[float, float, float, float]
    score: float

    @property
    def landmarks(self) -> np.ndarray:
        """The 68 points of iBUG's scheme, float64 [68, 2]: a fixed linear view of the mesh."""
        return seen_as_68(self.points)

    @property
    def angles(self) -> tuple[float, float, float]:
        """Roll (clockwise as it is seen), yaw (to the right of the picture) and pitch (downwards), in degrees."""
        across = self.points[EYES[1]] - self.points[EYES[0]]
        down = self.points[CHIN] - self.points[FOREHEAD]
        roll = np.arctan2(across[1], across[0])
        turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
        upright_across, upright_down = turn @ across[:2], turn @ down[:2]
        yaw = np.arctan2(across[2], upright_across[0])
        pitch = np.arctan2(down[2], upright_down[1])
        return float(np.degrees(roll)), float(np.degrees(yaw)), float(np.degrees(pitch))


def seen_as_68(points: np.ndarray) -> np.ndarray:
    """The 68 points of iBUG's scheme, float64 [68, 2], from those of a mesh [478, 2 or 3]."""
    indices, weights = _view()
    return np.einsum("jk,jkc->jc", weights, points[indices, :2])


@functools.cache
def _view() -> tuple[np.ndarray, np.ndarray]:
    from safetensors.numpy import load_file

    from facemorph.embedded import FOLDER

    file = load_file(FOLDER / "face-mesh.safetensors")
    return file["view.indices"], file["view.weights"].astype(np.float64)


def _quarter(turn: int) -> tuple[np.ndarray, np.ndarray]:
    right = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]][turn % 4])
    return right, np.array([-right[1], right[0]])


def place_mesh(image: np.ndarray, regions: Sequence[Region]) -> list[tuple[np.ndarray, float]]:
    """For each region of an image, uint8 RGB [H, W, 3], the mesh and the presence of a face.

    Returns: float64 [478, 3] (x and y in pixels of the image, z in the same unit, towards the camera negative), and
    the network's own probability, 0 to 1, that the region shows a face.
    """
    return place_meshes([(image, region) for region in regions])


def place_meshes(looks: Sequence[tuple[np.ndarray, Region]]) -> list[tuple[np.ndarray, float]]:
    """`place_mesh` of regions of several images."""
    import torch

    from facemorph.faces.face_mesh import INPUT_PX
    from facemorph.faces.mobile_layers import one_thread

    placed = []
    for start in range(0, len(looks), AT_A_TIME):
        frames: list[Frame] = []
        squares = []
        for image, region in looks[start : start + AT_A_TIME]:
            right, down = (axis * region.side_px / INPUT_PX for axis in region.axes)
            frames.append((region.middle - (right + down) * INPUT_PX / 2, right, down))
            squares.append(sample_square(image, frames[-1], INPUT_PX))
        with one_thread():
            meshes, logits = _face_mesh()(torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2) / 255)
            presences = torch.sigmoid(logits).tolist()
        for (corner, right, down), mesh, presence in zip(frames, meshes.double().numpy(), presences, strict=True):
            places = mesh[:, :1] * right + mesh[:, 1:2] * down + corner
            placed.append((np.concatenate([places, mesh[:, 2:] * np.hypot(*right)], 1), presence))
    return placed


def region_of(mesh: np.ndarray) -> Region:
    """The region of a face whose mesh [478, 3] is known: the way from one look, or one frame, to the next."""
    across = mesh[EYES[1], :2] - mesh[EYES[0], :2]
    roll = float(np.arctan2(across[1], across[0]))
    right, down = Region(np.zeros(2), 1.0, roll).axes
    upright = mesh[:, :2] @ np.stack([right, down], 1)  # [478, 2]
    low, high = upright.min(0), upright.max(0)
    middle = (low + high) / 2
    return Region(middle[0] * right + middle[1] * down, float((high - low).max()) * MESH_SIDE, roll)
