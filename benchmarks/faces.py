"""The time of each stage for a face: reading, detection, landmarks, crop, writing, descriptor.

    python benchmarks/faces.py frames/*.png
    python benchmarks/faces.py                  # scikit-image's portrait at 400 px

Every stage runs on every image in turn, in one process with one thread; CPU time in milliseconds per image.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine
from PIL import Image

from facemorph.faces import crop
from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.detect import make_detector
from facemorph.faces.landmarks import landmarks
from facemorph.images import read_image, write_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dlib", action="store_true", help="also time dlib's own CNN detector, seconds per image")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {}

    def timed(stage: str, call: Callable[..., Any], *arguments: Any) -> Any:
        start = time.process_time()
        result = call(*arguments)
        seconds.setdefault(stage, []).append(time.process_time() - start)
        return result

    with tempfile.TemporaryDirectory() as scratch:
        paths = options.images
        if not paths:
            paths = [Path(scratch) / "portrait.png"]
            write_image(paths[0], portrait())
        detectors = {"detect, cnn": make_detector("cnn"), "detect, hog": make_detector("hog")}
        if options.dlib:
            detectors["detect, dlib-cnn"] = make_detector("dlib-cnn")
        for path in [paths[0], *paths * options.rounds]:  # the first image only loads the models
            image = timed("read", read_image, path)
            detected = {name: timed(name, detector, [image])[0] for name, detector in detectors.items()}
            if not detected["detect, cnn"]:
                raise SystemExit(f"No face was detected in {path}.")
            points = timed("landmarks", landmarks, image, detected["detect, cnn"][0].box)
            cut = timed("crop, eyes 64", crop.cut, image, crop.eyes_quad(points), 64, 256)
            timed("crop, ffhq 256", crop.cut, image, crop.ffhq_quad(points), 256, 4096)
            timed("write", write_image, Path(scratch) / "face.png", cut)
            chip = timed("chip", face_chip, image, points)
            timed("describe", describe, [chip])
            timed("describe, 8 at once: each", lambda chip=chip: describe([chip] * 8))

    print(describe_machine())
    print(f"{len(paths)} images, {options.rounds} rounds; median CPU ms per image, one thread")
    for stage, some in seconds.items():
        batch = 8 if "each" in stage else 1
        print(f"{stage:28}{1000 * float(np.median(some[1:])) / batch:9.2f}")


def portrait() -> Image.Image:
    from skimage import data

    return Image.fromarray(data.astronaut()).resize((400, 400), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
