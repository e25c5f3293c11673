"""Two short clips of moving faces, made from the public-domain portraits in matplotlib and scikit-image.

    python experiments/sample/make_clips.py -o demo/clips

Rear Admiral Grace Hopper (US Navy) and Colonel Eileen Collins (NASA) smile, speak, blink and look around, by
piecewise-affine warps of one portrait each, so that every other command can be tried without any data.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
import numpy as np
from PIL import Image
from puppet import Portrait, Pose, Puppet

from facemorph.animation import write_mp4
from facemorph.errors import InputError
from facemorph.faces.landmarks import steady_landmarks
from facemorph.images import read_image, write_image

FPS = 25
SIZE_PX, MARGIN_PX, DETAIL = 360, 48, 2
FACE_PX = 132  # from brows to chin, in frame pixels; a detector's box has about 150


def grace_hopper() -> Path:
    from matplotlib.cbook import get_sample_data

    return Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))


def eileen_collins() -> Path:
    import importlib.util

    spec = importlib.util.find_spec("skimage")
    if not spec or not spec.submodule_search_locations:
        raise InputError("scikit-image is not installed.", "pip install 'facemorph-toolkit[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data" / "astronaut.png"


PEOPLE: dict[str, tuple[Callable[[], Path], dict[str, float], bool]] = {
    "grace_hopper": (grace_hopper, {"brow": 0.6}, True),  # the rim of the glasses lies between lids and brows
    "eileen_collins": (eileen_collins, {"smile": 0.8}, False),  # smiles already
}


def load(name: str) -> Portrait:
    """The portrait of one of PEOPLE, scaled and cropped so that the face has its size and is in the middle."""
    import dlib

    path, gains, hidden_lids = PEOPLE[name]
    image = read_image(path())
    box = max(dlib.get_frontal_face_detector()(image, 1), key=lambda box: box.area())  # type: ignore[attr-defined]
    box = (box.left(), box.top(), box.right(), box.bottom())
    scale = FACE_PX * DETAIL / float(np.ptp(steady_landmarks(image, box)[:, 1]))
    # Landmarks are whole pixels: detect them again in the enlarged image.
    large = Image.fromarray(image)
    large = large.resize((round(large.width * scale), round(large.height * scale)), Image.Resampling.LANCZOS)
    points = steady_landmarks(np.asarray(large), (box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale))
    side = (SIZE_PX + 2 * MARGIN_PX) * DETAIL
    left = round((points[0, 0] + points[16, 0]) / 2 - side / 2)
    top = round(points[:, 1].max() - (MARGIN_PX + 0.74 * SIZE_PX) * DETAIL)
    rows = _mirrored(np.arange(top, top + side), large.height)
    columns = _mirrored(np.arange(left, left + side), large.width)
    piece = np.asarray(large)[np.ix_(rows, columns)]
    points = (points - [left, top] + 0.5) / DETAIL - 0.5 - MARGIN_PX
    return Portrait(piece, SIZE_PX, MARGIN_PX, DETAIL, points, gains, hidden_lids)


def _mirrored(index: np.ndarray, length: int) -> np.ndarray:
    """Indices with those beyond the ends reflected."""
    index = index % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)


def act(num_frames: int, rng: np.random.Generator) -> Pose:
    """A random performance: every parameter moves smoothly between random values, at its own pace."""
    pose = {
        "smile": _wander(num_frames, rng, -0.8, 1, hold=(0.3, 1.6), travel=(0.3, 0.9)),
        "jaw": _wander(num_frames, rng, 0, 1, hold=(0.0, 0.5), travel=(0.16, 0.5), rest=0.45),
        "pucker": _wander(num_frames, rng, 0, 1, hold=(0.1, 0.6), travel=(0.2, 0.5), rest=0.65),
        "brow": _wander(num_frames, rng, -0.5, 1, hold=(0.3, 1.5), travel=(0.2, 0.6), rest=0.4),
        "yaw": _wander(num_frames, rng, -11, 11, hold=(0.1, 1.0), travel=(0.7, 1.8)),
        "pitch": _wander(num_frames, rng, -7, 7, hold=(0.1, 1.0), travel=(0.7, 1.8)),
        "roll": _wander(num_frames, rng, -6, 6, hold=(0.1, 1.0), travel=(0.8, 2.0)),
        "shift_x": _wander(num_frames, rng, -0.08, 0.08, hold=(0, 0.6), travel=(1, 2.5)),
        "shift_y": _wander(num_frames, rng, -0.05, 0.05, hold=(0, 0.6), travel=(1, 2.5)),
        "blink": _blinks(num_frames, rng),
    }
    pose["pucker"] *= np.clip(1 - np.abs(pose["smile"]), 0, 1)  # not both at once
    return pose


def _wander(
    num_frames: int,
    rng: np.random.Generator,
    low: float,
    high: float,
    hold: tuple[float, float],
    travel: tuple[float, float],
    rest: float = 0.15,
) -> np.ndarray:
    """Random values in [low, high], held, then eased into the next; a fraction `rest` of them is 0, the portrait's."""
    value, values = 0.0, np.zeros(0)
    while len(values) < num_frames:
        following = 0.0 if rng.random() < rest else rng.uniform(low, high)
        moving = np.linspace(0, 1, max(round(rng.uniform(*travel) * FPS), 2))
        eased = moving**3 * (10 - 15 * moving + 6 * moving**2)  # smooth at both ends
        values = np.concatenate(
            [values, np.full(round(rng.uniform(*hold) * FPS), value), value + (following - value) * eased[1:]]
        )
        value = following
    return values[:num_frames]


def _blinks(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Lids that close in 3 frames and open in 5, every 1 to 4 seconds, sometimes closed for longer."""
    values = np.zeros(num_frames)
    at = rng.integers(FPS // 2, 2 * FPS)
    while at < num_frames:
        closed = rng.integers(10, 25) if rng.random() < 0.25 else 1
        depth = rng.uniform(0.9, 1)
        blink = depth * np.concatenate([[0.15, 0.6], np.ones(closed), [0.85, 0.55, 0.25, 0.08]])
        blink = blink[: num_frames - at]
        values[at : at + len(blink)] = blink
        at += len(blink) + rng.integers(FPS, 4 * FPS)
    return values


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("demo/clips"), show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.2), default=40, show_default=True, help="Length of each clip.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def main(output: Path, seconds: float, seed: int) -> None:
    """Make grace_hopper.mp4 and eileen_collins.mp4 in the folder OUTPUT, and beside them both portraits as .jpg."""
    for name, (find, _, _) in PEOPLE.items():
        write_image(output / f"{name}.jpg", read_image(find()))
    with ProcessPoolExecutor(len(PEOPLE), mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(make_clip, output / f"{name}.mp4", name, seconds, seed) for name in PEOPLE]
        for job in jobs:
            click.echo(job.result())


def make_clip(path: Path, name: str, seconds: float, seed: int) -> str:
    """Make the clip of one of PEOPLE on one core; returns a line that describes it."""
    import torch

    torch.set_num_threads(1)
    pose = act(round(seconds * FPS), np.random.default_rng([seed, *name.encode()]))
    write_mp4(path, Puppet(load(name)).frames(pose), FPS)
    return f"{path}: {len(pose['jaw'])} frames, {SIZE_PX} x {SIZE_PX}"


if __name__ == "__main__":
    main()
