"""Error rates of `facemorph compare` on portraits of several people, several of each: every pair.

    python experiments/identity/error_rates.py portraits/*.jpg

A file is called <person>_<anything>.jpg; the last underscore ends the person's name. If names start with `man_` and
`woman_`, pairs of a man and a woman are counted separately. Results on 48 portraits of the Face Research Lab London Set
(24 people, neutral and smiling, one studio): see README.md beside this file.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from facemorph.faces.compare import describe_images
from facemorph.faces.descriptors import SAME_PERSON
from facemorph.faces.detect import DETECTORS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--detector", choices=DETECTORS, default="cnn")
    options = parser.parse_args()
    faces = describe_images(options.images, options.detector)

    kinds: dict[str, list[float]] = {"one person": [], "different, same sex": [], "different, other sex": []}
    for one, other in itertools.combinations(faces, 2):
        (name, sex), (other_name, other_sex) = (person(face.path) for face in (one, other))
        kind = "same" if sex == other_sex else "other"
        kind = "one person" if name == other_name else f"different, {kind} sex"
        kinds[kind].append(float(np.linalg.norm(one.descriptor - other.descriptor)))
    same = np.array(kinds["one person"])
    different = np.array(kinds["different, same sex"] + kinds["different, other sex"])
    if not len(same) or not len(different):
        parser.error("at least two images of one person and one of another are needed")

    print(f"{'pairs':24}{'number':>8}{'min':>9}{'median':>9}{'max':>9}")
    for kind, distances in kinds.items():
        if distances:
            low, middle, high = np.quantile(distances, [0, 0.5, 1])
            print(f"{kind:24}{len(distances):8}{low:9.3f}{middle:9.3f}{high:9.3f}")
    best = min(np.unique(np.concatenate([same, different])), key=lambda t: (same >= t).mean() + (different < t).mean())
    print(f"\n{'threshold':24}{'false non-matches':>30}{'false matches':>30}")
    for name, threshold in [
        ("0.4", 0.4),
        ("0.5", 0.5),
        ("0.55", 0.55),
        ("0.6 (default)", SAME_PERSON),
        ("best here", best),
    ]:
        missed, taken = (same >= threshold).sum(), (different < threshold).sum()
        label = f"{name} {threshold:.3f}" if name == "best here" else name
        left = f"{missed} of {len(same)} ({missed / len(same):.1%})"
        print(f"{label:24}{left:>30}{f'{taken} of {len(different)} ({taken / len(different):.1%})':>30}")


def person(image: Path) -> tuple[str, str]:
    """A person's name, and its first word."""
    name = image.stem.rpartition("_")[0] or image.stem
    return name, name.partition("_")[0]


if __name__ == "__main__":
    main()
