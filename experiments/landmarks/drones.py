"""What is taken for a face: pictures of drones that pass, and faces that do not.

    PYTHONPATH=. python experiments/landmarks/drones.py ../shared/data [--every 1] [--count 400] [--log FILE]

All pictures of drones show no face; faces128 with a mirrored border, and lfw_pairs, show one each. Printed are, for
each set, how many pictures `detect_faces` finds a face in; then, over all that was proposed, how many of each pass at
several thresholds on the presence. With --log, a line of JSON a picture, from which an interrupted run goes on.
"""

import argparse
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from crops import bordered, packed

from facemorph.faces.find_meshes import is_face
from facemorph.faces.locate import locate_all
from facemorph.images import read_image

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
Read = Callable[[], np.ndarray]


def pictures(data: Path, every: int, count: int) -> Iterator[tuple[str, str, Read]]:
    """Set, name, and what reads the picture."""
    for path in sorted((data / "drones").glob("*.jpg"))[::every]:
        yield "drones", path.name, lambda path=path: read_image(path)
    lfw = sorted((data / "lfw_pairs").rglob("*.jpg"))
    for path in lfw[:: max(1, len(lfw) // count)]:
        yield "lfw", path.name, lambda path=path: read_image(path)
    labels = list(csv.DictReader((data / "faces128" / "labels.csv").open()))
    rows = [row for row in range(0, len(labels), len(labels) // (2 * count)) if labels[row]["source"] == "utkface"]
    faces = packed(data / "faces128" / "faces.pack", rows)
    for row in rows:
        yield "utkface", str(row), lambda: bordered(next(faces), 2)[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--every", type=int, default=1, help="of the drones")
    parser.add_argument("--count", type=int, default=400, help="of each set of faces")
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    done: dict[tuple[str, str], dict] = {}
    if options.log and options.log.is_file():
        for line in options.log.read_text().splitlines():
            row = json.loads(line)
            done[row["set"], row["name"]] = row
    rows = []
    for kind, name, read in pictures(options.data, options.every, options.count):
        image = None if kind != "utkface" and (kind, name) in done else read()  # packs are read in order
        row = done.get((kind, name))
        if row is None and image is not None:
            proposed = [one for *_, one in locate_all(image)]
            best = max((one.presence for one in proposed if one.moved <= 0.1), default=0.0)
            row = {"set": kind, "name": name, "face": any(map(is_face, proposed)), "presence": round(best, 4)}
            if options.log:
                with options.log.open("a") as file:
                    file.write(json.dumps(row) + "\n")
        rows.append(row)
    for kind in dict.fromkeys(row["set"] for row in rows):
        some = [row for row in rows if row["set"] == kind]
        found = sum(row["face"] for row in some)
        passing = [sum(row["presence"] >= threshold for row in some) for threshold in THRESHOLDS]
        cells = ", ".join(f"{threshold}: {count}" for threshold, count in zip(THRESHOLDS, passing, strict=True))
        print(f"{kind}: a face in {found} of {len(some)} ({found / len(some):.1%}); presence at least {cells}")


if __name__ == "__main__":
    main()
