"""Error rates of `facemorph compare` on news photographs: pairs of LFW.

    python experiments/identity/lfw_pairs.py lfw_pairs/pairs.csv

The CSV has a row for each pair: first, second (files beside it) and same (1 or 0). Pairs with an image in which no face
is detected are left out, and the image is named. Results: see README.md beside this file.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from facemorph.errors import FaceError
from facemorph.faces.compare import describe_images
from facemorph.faces.descriptors import SAME_PERSON
from facemorph.faces.detect import DETECTORS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--detector", choices=DETECTORS, default="cnn")
    options = parser.parse_args()
    with options.pairs.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row[side] for row in rows for side in ("first", "second")})
    descriptors: dict[str, np.ndarray] = {}
    for name in names:
        try:
            descriptors[name] = describe_images([options.pairs.parent / name], options.detector)[0].descriptor
        except FaceError:
            print(f"no face detected: {name}")

    distances: dict[str, list[float]] = {"1": [], "0": []}
    for row in rows:
        if row["first"] in descriptors and row["second"] in descriptors:
            distance = np.linalg.norm(descriptors[row["first"]] - descriptors[row["second"]])
            distances[row["same"]].append(float(distance))
    same, different = np.array(distances["1"]), np.array(distances["0"])
    print(f"{len(names)} images, {len(descriptors)} with a face")
    print(f"{len(same)} pairs of one person, {len(different)} of two")
    print(f"\n{'pairs':16}{'min':>8}{'median':>8}{'max':>8}")
    for kind, values in (("one person", same), ("two persons", different)):
        print(f"{kind:16}" + "".join(f"{value:8.3f}" for value in np.quantile(values, [0, 0.5, 1])))
    print(f"\n{'threshold':>9}{'false non-matches':>24}{'false matches':>24}{'accuracy':>10}")
    for threshold in (0.5, 0.55, SAME_PERSON, 0.65):
        missed, taken = int((same >= threshold).sum()), int((different < threshold).sum())
        accuracy = 1 - (missed + taken) / (len(same) + len(different))
        missed_text, taken_text = f"{missed} of {len(same)}", f"{taken} of {len(different)}"
        print(f"{threshold:9.2f}{missed_text:>24}{taken_text:>24}{accuracy:10.1%}")


if __name__ == "__main__":
    main()
