"""Landmarks against points placed by experts, and time a face.

    PYTHONPATH=. python benchmarks/landmarks.py ../shared/data/portraits/london [--turned]
        [--lfw ../shared/data/lfw_pairs] [--mediapipe PYTHON]

Prints, for dlib's landmarks and for the mesh, the distance to the experts' points in per cent of the distance between
the pupils (median / worst), the portraits that are right when they are turned (mean error below 6), the accuracy of
`compare` on pairs, and milliseconds a face on one and on two threads. With --mediapipe, the same of the package
mediapipe (0.10.21, whose models the mesh's are), in a Python that has it: it wants numpy below 2.
"""

import argparse
import csv
import json
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
from machine import describe_machine
from PIL import Image

from facemorph.errors import FaceError
from facemorph.faces.compare import compare_images
from facemorph.faces.locate import Face, locate_face
from facemorph.images import read_image

# point: of the mesh, of the 68, of the .tem
POINTS = {
    "inner corners of the eyes": ([133, 362], [39, 42], [22, 23]),
    "corners of the mouth": ([61, 291], [48, 54], [87, 93]),
    "upper lip": ([0], [51], [90]),
    "lower lip": ([17], [57], [106]),
    "chin": ([152], [8], [129]),
    "pupils": ([468, 473], None, [0, 1]),
}

MEDIAPIPE = """
import json, sys, time
import mediapipe, numpy
from PIL import Image
made = mediapipe.solutions.face_mesh.FaceMesh(
    static_image_mode=True, refine_landmarks=True, max_num_faces=1, min_detection_confidence=0.3)
for path in sys.argv[1:]:
    image = numpy.ascontiguousarray(Image.open(path).convert("RGB"))
    times, found = [], None
    for _ in range(3):
        began = time.perf_counter()
        found = made.process(image).multi_face_landmarks
        times.append(time.perf_counter() - began)
    height, width = image.shape[:2]
    points = [[one.x * width, one.y * height] for one in found[0].landmark] if found else None
    print("ROW", json.dumps({"points": points, "ms": 1000 * min(times)}))
"""


def by_mediapipe(python: Path, paths: list[Path], cpus: str) -> list[dict]:
    """What the package mediapipe answers for each picture, on these CPUs: `points` [478, 2] or null, and `ms`."""
    command = ["taskset", "-c", cpus, str(python), "-c", MEDIAPIPE, *map(str, paths)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line[4:]) for line in text.splitlines() if line.startswith("ROW ")]


def read_tem(path: Path) -> np.ndarray:
    count, *rest = path.read_text().split("\n")
    return np.array([[float(value) for value in line.split()[:2]] for line in rest[: int(count)]])


def errors(face: Face, truth: np.ndarray, kind: str) -> dict[str, list[float]]:
    return errors_of(face.mesh, face.landmarks, truth, kind)


def errors_of(whole: np.ndarray, landmarks: np.ndarray, truth: np.ndarray, kind: str) -> dict[str, list[float]]:
    unit = np.linalg.norm(truth[1] - truth[0])
    found = {}
    for name, (mesh, points, tem) in POINTS.items():
        if kind == "mesh":
            places = whole[mesh, :2]
        elif points is None:
            places = np.array([landmarks[36:42].mean(0), landmarks[42:48].mean(0)])
        else:
            places = landmarks[points]
        found[name] = (np.linalg.norm(places - truth[tem], axis=1) / unit * 100).tolist()
    return found


def turned(image: np.ndarray, truth: np.ndarray, degrees: int) -> tuple[np.ndarray, np.ndarray]:
    radians, middle = np.deg2rad(degrees), (np.array(image.shape[1::-1]) - 1) / 2
    turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    rotated = Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC)
    return np.asarray(rotated), (truth - middle) @ turn.T + middle


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("portraits", type=Path)
    parser.add_argument("--turned", action="store_true")
    parser.add_argument("--lfw", type=Path)
    parser.add_argument("--mediapipe", metavar="PYTHON", type=Path)
    options = parser.parse_args()
    print(describe_machine())
    paths = sorted(options.portraits.rglob("*_neutral.jpg"))
    kinds = {"dlib": ("cnn", "dlib"), "mesh": ("auto", "mesh"), "68 of the mesh": ("auto", "mesh")}
    gathered: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in POINTS} for kind in kinds}
    right = {degrees: 0 for degrees in (15, 45, 90, 135, 180, 270)}
    for path in paths:
        image, truth = read_image(path), read_tem(path.with_suffix(".tem"))
        for kind, (detector, points) in kinds.items():
            for name, values in errors(locate_face(image, detector=detector, points=points), truth, kind).items():
                gathered[kind][name] += values
        for degrees in right if options.turned else ():
            try:
                other, places = turned(image, truth, degrees)
                found = errors(locate_face(other), places, "mesh")
                right[degrees] += bool(np.mean([value for some in found.values() for value in some]) < 6)
            except FaceError:
                pass
    if options.mediapipe:
        gathered["mediapipe"] = {name: [] for name in POINTS}
        rows = by_mediapipe(options.mediapipe, paths, "0,1")
        for path, row in zip(paths, rows, strict=True):
            if row["points"]:
                points = np.array(row["points"])
                for name, values in errors_of(points, points, read_tem(path.with_suffix(".tem")), "mesh").items():
                    gathered["mediapipe"][name] += values
    for name in POINTS:
        cells = [
            f"{kind} {statistics.median(some[name]):.1f} / {max(some[name]):.1f}" for kind, some in gathered.items()
        ]
        print(f"{name}: {', '.join(cells)}")
    if options.turned:
        print(", ".join(f"{degrees} degrees: {count} of {len(paths)}" for degrees, count in right.items()))
    if options.lfw:
        verdicts = []
        for row in csv.DictReader((options.lfw / "pairs.csv").open()):
            pair = [(read_image(options.lfw / row[side]), row[side]) for side in ("first", "second")]
            verdicts.append((compare_images(*pair).same, row["same"] == "1"))
        missed = sum(truth and not said for said, truth in verdicts)
        wrong = sum(said and not truth for said, truth in verdicts)
        print(f"compare: {1 - (missed + wrong) / len(verdicts):.1%} of {len(verdicts)}; {missed} missed, {wrong} false")
    image = read_image(paths[0])
    for threads in (1, 2):
        torch.set_num_threads(threads)
        times = []
        for _ in range(11):
            began = time.perf_counter()
            locate_face(image)
            times.append(time.perf_counter() - began)
        print(f"{threads} threads: {statistics.median(times[1:]) * 1000:.1f} ms a face of {image.shape[1]} px")
    for cpus in ("0", "0,1") if options.mediapipe else ():
        median = statistics.median(row["ms"] for row in by_mediapipe(options.mediapipe, paths[:8], cpus))
        print(f"mediapipe on CPUs {cpus}: {median:.1f} ms")


if __name__ == "__main__":
    main()
