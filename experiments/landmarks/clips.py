"""Faces in clips: BlazeFace against the CNN, box by box; and how still the points are in still stretches.

    PYTHONPATH=. python experiments/landmarks/clips.py ../shared/data [--frames 40] [--still 100]

First, of frames spread over each of the four clips at their own size, at half and at a quarter of it in a frame of the
same size, and of UTKFace with a border: in how many the CNN, BlazeFace alone and both in turn ("auto") see a face that
the mesh confirms, and how far BlazeFace's and the CNN's boxes agree (intersection over union once the offset between
the two kinds of boxes, the median over the set, is taken away). Then, of consecutive frames, the jitter: the median
size of the points' second difference, in per cent of the pupils' distance, over the stillest half of the frames, where
each frame is looked at anew, and where its region follows from the last frame's points.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from crops import bordered, packed
from PIL import Image

from facemorph.faces.find_meshes import best_meshes, is_face, mesh_in_box
from facemorph.faces.locate import cached_detector
from facemorph.faces.mesh import place_mesh, region_of, seen_as_68

SCALES = (1.0, 0.5, 0.25)


def frames_of(clip: Path) -> Iterator[np.ndarray]:
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def spread(clips: list[Path], count: int) -> Iterator[np.ndarray]:
    """`count` frames, from as many of the clips as there are."""
    chosen = clips[:: max(1, len(clips) // count)][:count]
    each = -(-count // len(chosen))
    for clip in chosen:
        frames = list(frames_of(clip))[:1200]
        yield from (frames[index] for index in np.linspace(0, len(frames) - 1, each).astype(int))


def smaller(image: np.ndarray, scale: float) -> np.ndarray:
    """An image scaled down, in the middle of a mid-grey frame of its own size."""
    if scale == 1:
        return image
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((round(width * scale), round(height * scale)), Image.Resampling.BOX)
    frame = Image.new("RGB", (width, height), (128, 128, 128))
    frame.paste(small, ((width - small.width) // 2, (height - small.height) // 2))
    return np.asarray(frame)


def compare(name: str, images: Iterator[np.ndarray]) -> None:
    seen: dict[str, list[bool]] = {"cnn": [], "blazeface": [], "auto": []}
    boxes = []
    for image in images:
        by_cnn = cached_detector("cnn")([image])[0]
        meshes = mesh_in_box(image, [one.box for one in by_cnn]) if by_cnn else []
        sound = [one for one in meshes if is_face(one)]
        blaze = [one for one in best_meshes(image) if is_face(one)]
        auto = [one for one in cached_detector("auto")([image])[0] if one.mesh is not None and is_face(one.mesh)]
        for kind, found in (("cnn", sound), ("blazeface", blaze), ("auto", auto)):
            seen[kind].append(bool(found))
        if sound and blaze:
            boxes.append((np.array(sound[0].box), np.array(blaze[0].box)))
    cells = ", ".join(f"{kind} {sum(found)}" for kind, found in seen.items())
    missed = sum(a and not b for a, b in zip(seen["cnn"], seen["blazeface"], strict=True))
    lost = sum(a and not b for a, b in zip(seen["cnn"], seen["auto"], strict=True))
    print(f"{name}: of {len(seen['cnn'])}, {cells}; of the CNN's, BlazeFace misses {missed}, auto {lost}")
    if boxes:
        theirs, ours = (np.array(some) for some in zip(*boxes, strict=True))
        sides = theirs[:, 2:] - theirs[:, :2]
        offset = np.median((ours - theirs) / np.tile(sides, 2), 0)
        moved = theirs + offset * np.tile(sides, 2)
        low, high = np.maximum(moved[:, :2], ours[:, :2]), np.minimum(moved[:, 2:], ours[:, 2:])
        shared = np.clip(high - low, 0, None).prod(1)
        areas = (moved[:, 2:] - moved[:, :2]).prod(1) + (ours[:, 2:] - ours[:, :2]).prod(1) - shared
        overlap = shared / areas
        print(f"    boxes: width {np.median(sides[:, 0]):.0f} px; median overlap {np.median(overlap):.2f}, "
              f"5th percentile {np.percentile(overlap, 5):.2f}")  # fmt: skip


def jitter(name: str, frames: list[np.ndarray]) -> None:
    ways: dict[str, list[np.ndarray]] = {"anew": [], "followed": []}
    last = None
    for frame in frames:
        faces = [one for one in best_meshes(frame) if is_face(one)]
        if not faces:
            print(f"{name}: a frame without a face; not measured")
            return
        ways["anew"].append(faces[0].points)
        followed = faces[0].points
        if last is not None:
            ((points, presence),) = place_mesh(frame, [region_of(last)])
            followed = points if presence >= 0.5 else followed
        ways["followed"].append(followed)
        last = followed
    unit = np.median([np.linalg.norm(one[473, :2] - one[468, :2]) for one in ways["anew"]])
    moved = np.linalg.norm(np.diff([one[:, :2] for one in ways["anew"]], axis=0), axis=2).mean(1)
    still = np.flatnonzero((moved[1:] + moved[:-1]) <= np.median(moved[1:] + moved[:-1]))
    cells = []
    for kind, meshes in ways.items():
        shapes = {"mesh": np.array([one[:, :2] for one in meshes]), "68": np.array([seen_as_68(one) for one in meshes])}
        shapes["eyes"] = np.stack([shapes["68"][:, 36:42].mean(1), shapes["68"][:, 42:48].mean(1)], 1)
        for part, points in shapes.items():
            second = np.linalg.norm(points[2:] - 2 * points[1:-1] + points[:-2], axis=2).mean(1)[still]
            cells.append(f"{kind}, {part} {100 * np.median(second) / unit:.2f}")
    print(f"{name}: {'; '.join(cells)} % of {unit:.0f} px")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--still", type=int, default=100)
    options = parser.parse_args()
    clips = {
        folder.name: sorted(path for path in folder.iterdir() if path.suffix in (".mp4", ".avi"))
        for folder in sorted((options.data / "clips").iterdir())
    }
    for name, some in clips.items():
        long = max(some, key=lambda path: path.stat().st_size)
        jitter(name, [frame for frame, _ in zip(frames_of(long), range(options.still), strict=False)])
    for scale in SCALES:
        for name, some in clips.items():
            compare(f"{name} at {scale:g}", (smaller(image, scale) for image in spread(some, options.frames)))
    labels = list(csv.DictReader((options.data / "faces128" / "labels.csv").open()))
    rows = [row for row, one in enumerate(labels) if one["source"] == "utkface"]
    rows = rows[:: max(1, len(rows) // (4 * options.frames))]
    some = packed(options.data / "faces128" / "faces.pack", rows)
    compare("utkface", (bordered(image, 2)[0] for image in some))


if __name__ == "__main__":
    main()
