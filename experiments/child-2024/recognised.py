"""Are projected people recognised, by dlib's descriptor and by a recogniser that nothing was optimised for?

    python experiments/child-2024/recognised.py PORTRAITS JUDGE PROJECTED...

Each PROJECTED is a folder of `facemorph project`, PORTRAITS that of the images, by the same names, JUDGE that of
FaceRes's weights (see judge.py). Told are the median distance of a reconstruction to its photograph, and
how many reconstructions are nearer to their own photograph than to any other. FaceRes sees all of them in the crop
`eyes`, so that networks with other crops can be compared.
"""

import argparse
from pathlib import Path

import numpy as np
from judge import FaceRes

from facemorph.faces.crop import cut, eyes_quad
from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.locate import locate_face
from facemorph.images import read_image

SIZE_PX = 256


def look(paths: list[Path], judge: FaceRes) -> list[np.ndarray]:
    """Descriptors of the largest face of each image, by dlib [N, 128] and by FaceRes [N, 1024]."""
    images = [read_image(path) for path in paths]
    points = [locate_face(image).landmarks for image in images]
    faces = [cut(image, eyes_quad(one), SIZE_PX, 2 * SIZE_PX) for image, one in zip(images, points, strict=True)]
    chips = [face_chip(*one) for one in zip(images, points, strict=True)]
    return [describe(chips), judge.describe(np.stack(faces))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("judge", type=Path)
    parser.add_argument("projected", type=Path, nargs="+")
    told = parser.parse_args()
    judge = FaceRes(told.judge)
    for projected in told.projected:
        made = sorted(projected.glob("*/reconstruction.png"))
        photographs = look([next(told.portraits.glob(f"{path.parent.name}.*g")) for path in made], judge)
        for name, found, real in zip(("dlib", "FaceRes"), look(made, judge), photographs, strict=True):
            distances = np.linalg.norm(found[:, None] - real, axis=2)
            others = np.median(distances[~np.eye(len(made), dtype=bool)])
            nearest = int((distances.argmin(1) == np.arange(len(made))).sum())
            print(f"{projected}: {name}: {np.median(np.diag(distances)):.3f} to the own photograph, {others:.3f} to "
                  f"another's; {nearest} of {len(made)} are nearest to their own", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
