"""How far the crops of faces move between dlib's landmarks and the mesh's.

    PYTHONPATH=. python experiments/landmarks/crops.py ../shared/data [--count 300]

Three kinds of landmarks: "hog", dlib's on the box of its HOG detector, from which FFHQ was cut; "dlib", its steady ones
on the CNN's box; "mesh", the 68 points seen from the mesh. Pictures: portraits of the London set, whole; every n-th
face of faces128, which was cut to `eyes`; every n-th FFHQ picture of faces256, which was cut to `ffhq` by its authors,
so that its whole square is the truth. Printed are medians and 95th percentiles of the move of the crop's centre, of the
change of its side (both in per cent of the side) and of its turn in degrees; then the signed median of the side's.
"""

import argparse
import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from facemorph.faces.crop import CROPS
from facemorph.faces.locate import detect_faces
from facemorph.images import read_image

KINDS = {
    "hog": {"detector": "hog", "points": "dlib", "steady": False},
    "dlib": {"detector": "cnn", "points": "dlib"},
    "mesh": {},
}
PAIRS = (("hog", "dlib"), ("hog", "mesh"), ("dlib", "mesh"))
AROUND = 0.5  # aligned faces get that much of a mirrored border, so that detectors see a whole head


def packed(path: Path, rows: list[int]) -> Iterator[np.ndarray]:
    """Pictures of a pack: a count, the lengths, then the WebP files."""
    data = path.read_bytes()
    total = int(np.frombuffer(data, "<u4", 1)[0])
    ends = 4 + 4 * total + np.cumsum(np.frombuffer(data, "<u4", total, 4).astype(np.int64))
    starts = [4 + 4 * total, *ends[:-1]]
    for row in rows:
        yield np.asarray(Image.open(io.BytesIO(data[starts[row] : ends[row]])).convert("RGB"))


def bordered(image: np.ndarray, times: int) -> tuple[np.ndarray, np.ndarray]:
    """An aligned face, enlarged and with a mirrored border, and its own square's corners [4, 2]."""
    side = len(image) * times
    large = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    pad = round(AROUND * side)
    corners = pad - 0.5 + side * np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
    return np.pad(large, ((pad, pad), (pad, pad), (0, 0)), "symmetric"), corners


def pictures(data: Path, count: int) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """Set, picture, and the corners of the crop as its makers cut it."""
    for path in sorted((data / "portraits" / "london").glob("*.jpg")):
        yield "london", read_image(path), None
    labels = list(csv.DictReader((data / "faces128" / "labels.csv").open()))
    rows = list(range(0, len(labels), len(labels) // count))
    for row, image in zip(rows, packed(data / "faces128" / "faces.pack", rows), strict=True):
        yield f"faces128 {labels[row]['source']}", *bordered(image, 2)
    sources = [row for row in csv.DictReader((data / "faces256" / "sources.csv").open()) if row["set"] == "ffhq"]
    for pack in ("0", "1"):
        some = [int(row["row"]) for row in sources[:: max(1, len(sources) // count)] if row["pack"] == pack]
        for image in packed(data / "faces256" / f"faces-{pack}.pack", some):
            yield "ffhq", *bordered(image, 1)


def apart(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """From one square [4, 2] to another: centre and side in per cent of the side, turn in degrees."""
    across = first[3] - first[0], second[3] - second[0]
    sides = [float(np.hypot(*one)) for one in across]
    angles = [np.arctan2(one[1], one[0]) for one in across]
    turn = (np.degrees(angles[1] - angles[0]) + 180) % 360 - 180
    moved = np.hypot(*(second.mean(0) - first.mean(0))) / sides[0]
    return 100 * float(moved), 100 * (sides[1] / sides[0] - 1), float(turn)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=300, help="pictures of faces128, and of FFHQ")
    options = parser.parse_args()
    found: dict[tuple[str, str, str], list[tuple[float, float, float]]] = {}
    seen: dict[str, int] = {}
    missed: dict[tuple[str, str], int] = {}
    for name, image, truth in pictures(options.data, options.count):
        seen[name] = seen.get(name, 0) + 1
        points = {}
        for kind, how in KINDS.items():
            faces = detect_faces(image, **how)
            if faces:  # the one in the middle: the mirrored border may show another
                middle = np.array(image.shape[1::-1]) / 2
                points[kind] = min((one.landmarks for one in faces), key=lambda p: np.hypot(*(p.mean(0) - middle)))
            else:
                missed[name, kind] = missed.get((name, kind), 0) + 1
        for crop in ("ffhq", "eyes"):
            quads = {kind: CROPS[crop].quad(one) for kind, one in points.items()}
            for first, second in PAIRS:
                if first in quads and second in quads:
                    found.setdefault((name, crop, f"{first} to {second}"), []).append(
                        apart(quads[first], quads[second])
                    )
            made = "eyes" if name.startswith("faces128") else "ffhq"
            if truth is not None and crop == made and len(quads) == len(KINDS):  # the same pictures for all
                for kind, quad in quads.items():
                    found.setdefault((name, crop, f"as cut to {kind}"), []).append(apart(truth, quad))
    print(", ".join(f"{name}: {count}" for name, count in seen.items()))
    print("not found:", ", ".join(f"{name} by {kind} {count}" for (name, kind), count in missed.items()) or "none")
    print(f"{'set':18}{'crop':6}{'':16}{'centre %':>14}{'side %':>14}{'signed':>8}{'turn':>14}")
    for (name, crop, pair), rows in found.items():
        values = np.array(rows)
        middle, high = np.median(np.abs(values), 0), np.percentile(np.abs(values), 95, 0)
        cells = [f"{a:.2f} / {b:.2f}" for a, b in zip(middle, high, strict=True)]
        signed = f"{np.median(values[:, 1]):+.2f}"
        print(f"{name:18}{crop:6}{pair:16}{cells[0]:>14}{cells[1]:>14}{signed:>8}{cells[2]:>14}")


if __name__ == "__main__":
    main()
