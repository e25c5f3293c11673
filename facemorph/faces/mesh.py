"""The mesh of a face at any angle: where BlazeFace sees a face, Face Mesh places its points.

Both networks were trained on faces turned by little more than 45 degrees; a face is brought upright for the mesh by
its eyes. `turn` is in quarters of a turn: the image is looked at as if it had been turned clockwise by so many.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    middle, side = _whole(image)
    squares = [(image, _square(middle, side * zoom_out, turn)) for turn in turns]
    return _look(squares, outside=0 if zoom_out == 1 else None)


def _whole(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle and side of the square around an image."""
    height, width = image.shape[:2]
    return np.array([width, height]) / 2, float(max(height, width))


def _square(middle: np.ndarray, side: float, turn: int = 0) -> Frame:
    from facemorph.faces.blazeface import INPUT_PX

    right, down = (axis * side / INPUT_PX for axis in _quarter(turn))
    return middle - (right + down) * INPUT_PX / 2, right, down


def _look(squares: Sequence[tuple[np.ndarray, Frame]], outside: int | None) -> list[list[BlazeDetection]]:
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


# What is believed: of 1,091 pictures of a face all but one, of 666 without one 12 (LFW, UTKFace; drones).
DETECTED, PRESENCE, MOVED = 0.5, 0.5, 0.1
# Of the longest side: smaller faces BlazeFace may miss. The second holds where it is sure of one (`UPRIGHT`) and has
# looked nearer for others.
SMALL, SMALL_AND_SURE = 0.3, 0.15
LYING = 50  # degrees
# Scores of BlazeFace. A face turned by more than 60 degrees gets at most 0.85, and is then fitted wrongly, with a high
# presence; from the right turn it gets at least 0.87 (10 portraits at 6 angles).
UPRIGHT, CLEARLY_BETTER = 0.87, 0.05
ZOOM_OUT = 1.6  # for pictures that a face fills
NEARER, OVERLAP = 0.6, 0.8  # side of the squares, of the longest side of the image, and their distance, of that side
# BlazeFace's square is too small for a tilted face: that of the points found is larger by up to 1.12 of upright
# portraits, by 1.15 to 1.26 of those turned by 30 degrees and more. Where another look then moves the points by more
# than JUMP, in units of the pupils' distance, it is the better one (24 portraits at 8 angles; 0.037 at most where
# MediaPipe's own single look is to be matched).
OUTGROWN, JUMP = 1.15, 0.04


def is_face(mesh: "Mesh") -> bool:
    """Whether the mesh network takes what it was shown for a face, and places the points there again."""
    return mesh.presence >= PRESENCE and mesh.moved <= MOVED


def are_enough(meshes: Sequence["Mesh"], image: np.ndarray) -> bool:
    """Whether BlazeFace's faces will do: one is so large that it hardly missed another, or lies, as no CNN sees it."""
    longest = max(image.shape[:2])

    def is_large(mesh: "Mesh") -> bool:
        return mesh.box[2] - mesh.box[0] >= (SMALL_AND_SURE if mesh.score >= UPRIGHT else SMALL) * longest

    return any(is_face(one) and (is_large(one) or abs(one.angles[0]) > LYING) for one in meshes)


def _within(point: np.ndarray, mesh: "Mesh") -> bool:
    left, top, right, bottom = mesh.box
    return bool(left <= point[0] <= right and top <= point[1] <= bottom)


def as_blazeface_saw(placed: Sequence["Mesh"], seen: Sequence["Mesh"]) -> list["Mesh"]:
    """Meshes in another detector's boxes; of a face that BlazeFace saw too, the mesh that its square gave."""
    found = []
    for one in placed:
        same = [other for other in seen if is_face(other) and _within(one.points[:, :2].mean(0), other)]
        kept = {"points": same[0].points, "presence": same[0].presence, "moved": same[0].moved} if same else {}
        found.append(replace(one, **kept))
    return found


def best_meshes(image: np.ndarray) -> list["Mesh"]:
    """The faces that BlazeFace detects in an image, uint8 RGB [H, W, 3], each with its mesh."""
    return best_meshes_of([image])[0]


def best_meshes_of(images: Sequence[np.ndarray]) -> list[list["Mesh"]]:
    """`best_meshes` of each of some images, in half the time: the networks look at several at a time."""
    chosen = _detections(images)
    together = [(image, one) for image, some in zip(images, chosen, strict=True) for one in some]
    meshes = iter(_meshes(together))
    return [[next(meshes) for _ in some] for some in chosen]


def _detections(images: Sequence[np.ndarray]) -> list[list[BlazeDetection]]:
    """BlazeFace's faces in each image, the best first.

    Where it is not sure of the upright image, it is asked again with the image turned by quarters, and with the image
    zoomed out; the surest answer is taken. Where all are small it looks nearer, for those that it missed.
    """
    upright = _look([(image, _square(*_whole(image))) for image in images], outside=0)
    squares = []
    for index, (image, faces) in enumerate(zip(images, upright, strict=True)):
        if not faces or faces[0].score < UPRIGHT:
            upright[index] = _surest(image, faces)
        elif max(one.box[2] - one.box[0] for one in faces) < SMALL * max(image.shape[:2]):
            squares += [(index, frame) for frame in _nearer(image)]
    seen = _look([(images[index], frame) for index, frame in squares], outside=0)
    nearer: dict[int, list[BlazeDetection]] = {}
    for (index, _), faces in zip(squares, seen, strict=True):
        nearer.setdefault(index, []).extend(faces)
    for index, faces in nearer.items():
        upright[index] = _with_missed(upright[index], faces)
    return [[one for one in faces if one.score >= DETECTED] for faces in upright]


def _surest(image: np.ndarray, upright: list[BlazeDetection]) -> list[BlazeDetection]:
    looks = [*detect_blazeface(image, turns=(1, 2, 3)), *detect_blazeface(image, zoom_out=ZOOM_OUT)]
    surest = max(looks, key=lambda faces: faces[0].score if faces else 0.0)
    better = surest and (not upright or surest[0].score > upright[0].score + CLEARLY_BETTER)
    return surest if better else upright


def _with_missed(found: list[BlazeDetection], nearer: list[BlazeDetection]) -> list[BlazeDetection]:
    """The faces found, and those that only a nearer look is sure of."""
    best = [one for one in found if one.score >= DETECTED]
    for one in sorted(nearer, key=lambda one: -one.score):
        middle = one.region.middle
        known = any(np.all((middle >= other.box[:2]) & (middle <= other.box[2:])) for other in best)
        best = best if known or one.score < UPRIGHT else [*best, one]
    return best


def _nearer(image: np.ndarray) -> list[Frame]:
    """Overlapping squares that cover an image, each at most 0.6 of its longest side."""
    size = np.array([image.shape[1], image.shape[0]])
    side = min(float(size.min()), NEARER * float(size.max()))
    ways = [np.linspace(side / 2, one - side / 2, 1 + int(np.ceil((one - side) / (OVERLAP * side)))) for one in size]
    return [_square(np.array([x, y]), side) for y in ways[1] for x in ways[0]]


def mesh_in_box(image: np.ndarray, boxes: Sequence[tuple[float, float, float, float]]) -> list["Mesh"]:
    """The mesh of the upright face in each box (left, top, right, bottom) of another detector.

    The first look is only for the place: the mesh is of the second, and the third says whether it stays there.
    """
    regions = []
    for left, top, right, bottom in boxes:
        middle = np.array([left + right, top + bottom]) / 2
        regions.append(Region(middle, max(right - left, bottom - top) * REGION, 0.0))
    first = place_mesh(image, regions)
    second = place_mesh(image, [region_of(points) for points, _ in first])
    moved = _moved(second, place_mesh(image, [region_of(points) for points, _ in second]))
    return [Mesh(*placed, by, box, 0.0) for placed, by, box in zip(second, moved, boxes, strict=True)]


def _meshes(found: Sequence[tuple[np.ndarray, BlazeDetection]]) -> list["Mesh"]:
    """The mesh of each face in its image, as MediaPipe places it.

    Where BlazeFace is not sure, or its square was too small, a second look checks it, and is taken if it is far off.
    """
    placed = _place([(image, one.region) for image, one in found])
    meshes = []
    for (image, one), (points, presence) in zip(found, placed, strict=True):
        region, moved = region_of(points), 0.0
        outgrown = region.side_px > OUTGROWN * one.region.side_px
        if outgrown or one.score < UPRIGHT:
            again = place_mesh(image, [region])
            (moved,) = _moved([(points, presence)], again)
            if outgrown and JUMP < moved <= MOVED:
                ((points, presence),) = again
        meshes.append(Mesh(points, presence, moved, one.box, one.score))
    return meshes


def _moved(placed: list[tuple[np.ndarray, float]], again: list[tuple[np.ndarray, float]]) -> list[float]:
    """How far another look at each mesh has moved its points, in units of the pupils' distance."""
    found = []
    for (points, _), (other, presence) in zip(placed, again, strict=True):
        unit = max(float(np.linalg.norm(points[IRISES[1], :2] - points[IRISES[0], :2])), 1e-6)
        by = float(np.linalg.norm(points[:, :2] - other[:, :2], axis=1).mean()) / unit
        found.append(by if presence >= PRESENCE else np.inf)
    return found


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
    return _place([(image, region) for region in regions])


def _place(looks: Sequence[tuple[np.ndarray, Region]]) -> list[tuple[np.ndarray, float]]:
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
