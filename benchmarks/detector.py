"""Our CNN face detector against dlib's own, taking turns, and against the arithmetic that it needs at least.

    python benchmarks/detector.py frames/*.png
    python benchmarks/detector.py                 # scikit-image's portrait, at three sizes

Wall time is what a user waits for; CPU time is comparable on a busy machine as well. The floor is the multiply-adds of
the seven convolutions over the tiled pyramid, at the speed of a large matrix product in the same run.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine, peak, peak_now
from PIL import Image

from facemorph.device import pick_device
from facemorph.faces.detect import Detection, MmodDetector, make_detector
from facemorph.faces.pyramid import lay_tiles
from facemorph.faces.track import Tracker
from facemorph.images import read_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each image, of which the median is used")
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0 leaves the default")
    parser.add_argument("--min-face", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="where ours runs")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    images = [read_image(path) for path in options.images] or portrait_at_three_sizes()
    device = pick_device(options.device)
    print(f"{describe_machine(device)}; {peak_now(device)}")
    ours, dlibs = MmodDetector(device=options.device), make_detector("dlib-cnn")
    others: dict[str, Callable[[Any], Any]] = {
        "ours": ours,
        "ours, bfloat16": MmodDetector(device=options.device, precision="bfloat16"),
        f"ours, faces from {options.min_face or 150} px": MmodDetector(
            device=options.device, min_face_px=options.min_face or 150
        ),
    }
    multiply = peak(torch.float32, device)
    speeds: list[float] = []  # multiply-adds a second, of a large matrix product
    wall: dict[str, list[float]] = {}
    busy: dict[str, list[float]] = {}
    floors, same, largest_error, boxes = [], 0, 0.0, 0
    for image in images:
        multiply_adds = count_multiply_adds(ours, image)
        runs: dict[str, list[tuple[float, float]]] = {}
        reference: list[Detection] = []
        detected: list[Detection] = []
        for _ in range(options.rounds):
            (reference,), took = timed(dlibs, [image])
            runs.setdefault("dlib", []).append(took)
            for name, detector in others.items():
                detector([image])  # the first call at a size prepares the convolutions
                result, took = timed(detector, [image])
                runs.setdefault(name, []).append(took)
                detected = result[0] if name == "ours" else detected
            speeds.append(multiply() / 2)
        for name, some in runs.items():
            wall.setdefault(name, []).append(statistics.median(w for w, _ in some))
            busy.setdefault(name, []).append(statistics.median(b for _, b in some))
        floors.append(multiply_adds / statistics.median(speeds[-options.rounds :]))
        agree = [one.box for one in detected] == [one.box for one in reference]
        same += agree
        boxes += len(reference)
        if agree:
            errors = [abs(a.score - b.score) for a, b in zip(detected, reference, strict=True)]
            largest_error = max([largest_error, *errors])

    print(f"{len(images)} images, {options.rounds} rounds")
    print(f"same boxes in {same} of {len(images)} ({boxes} faces); largest difference of a score {largest_error:.1e}")
    print(f"{'':28}{'ms per image':>14}{'x dlib':>9}{'CPU ms':>14}{'x dlib':>9}{'x floor':>9}")
    for name in ["dlib", *others]:
        ms, cpu_ms = 1000 * statistics.fmean(wall[name]), 1000 * statistics.fmean(busy[name])
        ratio = sum(wall["dlib"]) / sum(wall[name])
        cpu_ratio = sum(busy["dlib"]) / sum(busy[name])
        to_floor = sum(wall[name]) / sum(floors)
        print(f"{name:28}{ms:14.1f}{ratio:9.1f}{cpu_ms:14.1f}{cpu_ratio:9.1f}{to_floor:9.1f}")
    gigas = [count_multiply_adds(ours, image) / 1e9 for image in images]
    speed = statistics.median(speeds) / 1e9
    print(f"floor: {statistics.fmean(gigas):.2f} G multiply-adds per image at {speed:.0f} G/s")
    if options.images and len({image.shape for image in images}) == 1:
        follow(ours, images)


def follow(detector: MmodDetector, frames: list[np.ndarray]) -> None:
    """Frames of one clip in order: tracking against detection in the whole frame, taking turns."""
    tracker = Tracker(detector)
    whole_s, follow_s, same = 0.0, 0.0, 0
    for frame in frames:
        (whole,), (took, _) = timed(detector, [frame])
        whole_s += took
        (followed,), (took, _) = timed(tracker, [frame])
        follow_s += took
        same += [one.box for one in whole] == [one.box for one in followed]
    print(
        f"tracking: {1000 * follow_s / len(frames):.1f} ms per frame, {whole_s / follow_s:.2f} x as fast as whole "
        f"frames, same boxes in {same} of {len(frames)}, {tracker.whole_searches} whole frames"
    )


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[Any, tuple[float, float]]:
    """The result of `call`, and its wall and CPU seconds."""
    wall, busy = time.perf_counter(), time.process_time()
    result = call(*arguments)
    return result, (time.perf_counter() - wall, time.process_time() - busy)


def count_multiply_adds(detector: MmodDetector, image: np.ndarray) -> int:
    """Of the seven convolutions over the whole tiled pyramid of an image."""
    tiles = lay_tiles(*image.shape[:2])
    height, width, total = tiles.height, tiles.width, 0
    network = detector.network
    for convolution in [*network.body, *network.head]:
        weight = convolution.weight
        assert isinstance(weight, torch.Tensor)
        if convolution in list(network.body):
            height, width = ((side - weight.shape[2]) // 2 + 1 for side in (height, width))
        total += height * width * weight.numel()
    return total + height * width * network.columns.numel()


def portrait_at_three_sizes() -> list[np.ndarray]:
    from skimage import data

    portrait = Image.fromarray(data.astronaut())
    return [np.asarray(portrait.resize((side, side), Image.Resampling.LANCZOS)) for side in (256, 400, 640)]


if __name__ == "__main__":
    main()
