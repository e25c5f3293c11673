"""Training images of the runs: aligned faces, and the degraded versions that the 2018 paper describes.

Every function writes a folder of images once; a complete folder is kept.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from facemorph.faces.crop import cut, eyes_quad
from facemorph.faces.landmarks import LEFT_EYE, RIGHT_EYE
from facemorph.files import read_jsonl
from facemorph.folders import IMAGE_SUFFIXES
from facemorph.images import read_image, resize, write_image

SIZE_PX = 64
# Limits of the jitter at strength 1: shift as a fraction of the crop's side, rotation in degrees, scale factor.
SHIFT, DEGREES, SCALE = 0.5, 30.0, 1.5


def accepted(faces: Path) -> list[tuple[str, np.ndarray]]:
    """Name of the frame and landmarks [68, 2] of every face that `facemorph align` accepted."""
    rows = read_jsonl(faces / "manifest.jsonl")
    return [(row["source"], np.array(row["landmarks"])) for row in rows if row.get("status") == "accepted"]


def _once(folder: Path, images: Callable[[], Iterator[tuple[str, np.ndarray]]]) -> Path:
    done = folder / "done.json"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        count = 0
        for name, image in images():
            write_image(folder / f"{Path(name).stem}.png", image)
            count += 1
        done.write_text(json.dumps({"pictures": count}))
    return folder


def rectangle(frames: Path, faces: Path, folder: Path) -> Path:
    """Figures 8 to 10: the same rectangle of every frame, placed on the face in the first one.

    Its side is 1.5 times the extent of that face's landmarks. Clips of different sizes have a rectangle each.
    """

    def images() -> Iterator[tuple[str, np.ndarray]]:
        placed: dict[tuple[int, ...], np.ndarray] = {}
        for name, points in accepted(faces):
            image = read_image(frames / name)
            if image.shape not in placed:
                side = 1.5 * np.ptp(points, axis=0).max()
                left, top = points.mean(0) - side / 2
                corners = [[left, top], [left, top + side], [left + side, top + side], [left + side, top]]
                placed[image.shape] = np.array(corners)
            yield name, cut(image, placed[image.shape], SIZE_PX, 4 * SIZE_PX)

    return _once(folder, images)


def jittered(frames: Path, faces: Path, folder: Path, strength: float) -> Path:
    """The aligned faces with random shift, rotation and scale, uniform up to `strength` times the limits."""

    def images() -> Iterator[tuple[str, np.ndarray]]:
        random = np.random.default_rng(0)
        for name, points in accepted(faces):
            quad = eyes_quad(points)
            centre, side = quad.mean(0), np.hypot(*(quad[3] - quad[0]))
            angle = np.deg2rad(strength * DEGREES * random.uniform(-1, 1))
            factor = SCALE ** (strength * random.uniform(-1, 1))
            turn = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            shift = strength * SHIFT * side * random.uniform(-1, 1, 2)
            moved = (quad - centre) @ turn.T + centre + shift
            yield name, cut(read_image(frames / name), moved, SIZE_PX, 4 * SIZE_PX)

    return _once(folder, images)


def squares(source: Path, folder: Path) -> Path:
    """The central square of every image."""

    def images() -> Iterator[tuple[str, np.ndarray]]:
        for path in sorted(source.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                image = read_image(path)
                side = min(image.shape[:2])
                top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
                yield path.name, resize(np.ascontiguousarray(image[top : top + side, left : left + side]), SIZE_PX)

    return _once(folder, images)


def spread(frames: Path, faces: Path) -> dict[str, float]:
    """The std of the position of the eyes before and after alignment, in distances between the eyes.

    `before`: std of the midpoint of the eyes in the frame, over both axes, from its mean over frames of the same size.
    `after`: the same in the crop, from landmarks detected in it.
    """
    from facemorph.faces.features import features_of_aligned

    by_size: dict[tuple[int, ...], list[np.ndarray]] = {}
    for name, points in accepted(faces):
        left, right = points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0)
        by_size.setdefault(read_image(frames / name).shape, []).append(np.array([*(left + right) / 2, *(right - left)]))
    deviations = []
    for rows in by_size.values():
        table = np.array(rows)
        unit = np.hypot(table[:, 2], table[:, 3]).mean()
        deviations.append((table[:, :2] - table[:, :2].mean(0)) / unit)
    before = float(np.sqrt((np.concatenate(deviations) ** 2).sum(1).mean()))
    images = np.stack([read_image(path) for path in sorted(faces.glob("*.png"))])
    features = features_of_aligned(images)
    points = features.points[features.detected]
    eyes = np.stack([points[:, LEFT_EYE].mean(1), points[:, RIGHT_EYE].mean(1)])  # [2, N, 2]
    middle, between = eyes.mean(0), np.hypot(*(eyes[1] - eyes[0]).T).mean()
    after = float(np.sqrt((((middle - middle.mean(0)) / between) ** 2).sum(1).mean()))
    return {"before": before, "after": after}
