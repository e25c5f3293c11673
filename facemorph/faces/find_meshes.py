"""The faces of an image with their meshes: where BlazeFace looks, what is believed, and what is looked at again."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from facemorph.faces.mesh import (
    IRISES,
    REGION,
    BlazeDetection,
    Mesh,
    Region,
    detect_blazeface,
    detect_in_squares,
    place_mesh,
    place_meshes,
    region_of,
    square_around,
    whole_image,
)
from facemorph.faces.sampling import Frame

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


def is_face(mesh: Mesh) -> bool:
    """Whether the mesh network takes what it was shown for a face, and places the points there again."""
    return mesh.presence >= PRESENCE and mesh.moved <= MOVED


def are_enough(meshes: Sequence[Mesh], image: np.ndarray) -> bool:
    """Whether BlazeFace's faces will do: one is so large that it hardly missed another, or lies, as no CNN sees it."""
    longest = max(image.shape[:2])

    def is_large(mesh: Mesh) -> bool:
        return mesh.box[2] - mesh.box[0] >= (SMALL_AND_SURE if mesh.score >= UPRIGHT else SMALL) * longest

    return any(is_face(one) and (is_large(one) or abs(one.angles[0]) > LYING) for one in meshes)


def _within(point: np.ndarray, mesh: Mesh) -> bool:
    left, top, right, bottom = mesh.box
    return bool(left <= point[0] <= right and top <= point[1] <= bottom)


def as_blazeface_saw(placed: Sequence[Mesh], seen: Sequence[Mesh]) -> list[Mesh]:
    """Meshes in another detector's boxes; of a face that BlazeFace saw too, the mesh that its square gave."""
    found = []
    for one in placed:
        same = [other for other in seen if is_face(other) and _within(one.points[:, :2].mean(0), other)]
        kept = {"points": same[0].points, "presence": same[0].presence, "moved": same[0].moved} if same else {}
        found.append(replace(one, **kept))
    return found


def best_meshes(image: np.ndarray) -> list[Mesh]:
    """The faces that BlazeFace detects in an image, uint8 RGB [H, W, 3], each with its mesh."""
    return best_meshes_of([image])[0]


def best_meshes_of(images: Sequence[np.ndarray]) -> list[list[Mesh]]:
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
    upright = detect_in_squares([(image, square_around(*whole_image(image))) for image in images], outside=0)
    squares = []
    for index, (image, faces) in enumerate(zip(images, upright, strict=True)):
        if not faces or faces[0].score < UPRIGHT:
            upright[index] = _surest(image, faces)
        elif max(one.box[2] - one.box[0] for one in faces) < SMALL * max(image.shape[:2]):
            squares += [(index, frame) for frame in _nearer(image)]
    seen = detect_in_squares([(images[index], frame) for index, frame in squares], outside=0)
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
    return [square_around(np.array([x, y]), side) for y in ways[1] for x in ways[0]]


def mesh_in_box(image: np.ndarray, boxes: Sequence[tuple[float, float, float, float]]) -> list[Mesh]:
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


def _meshes(found: Sequence[tuple[np.ndarray, BlazeDetection]]) -> list[Mesh]:
    """The mesh of each face in its image, as MediaPipe places it.

    Where BlazeFace is not sure, or its square was too small, a second look checks it, and is taken if it is far off.
    """
    placed = place_meshes([(image, one.region) for image, one in found])
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
