"""A change from one face to another as files: stills, a strip, a film, a GIF, and a manifest. All of it or nothing."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.files import check_free, replacing_files, write_jsonl
from facemorph.images import grid, resize, write_gif, write_image, write_mp4
from facemorph.progress import bar

STRIP_PX, GIF_PX, FILM_PX = 256, 320, 256  # strip and GIF at most, the film at least: players blur small ones
FPS, HOLD_FRAMES = 25, 12
STRIP, FILM, GIF, MANIFEST = "strip.png", "morph.mp4", "morph.gif", "manifest.jsonl"

Pictures = Callable[[Sequence[float]], Iterator[np.ndarray]]


def step_name(number: int) -> str:
    return f"step_{number}.jpg"


def gently(frames: int) -> list[float]:
    """Shares of the way from 0 to 1 that start and end slowly."""
    return (0.5 - 0.5 * np.cos(np.linspace(0, math.pi, frames))).tolist()


def write_change(
    folder: Path,
    at: Pictures,
    rows: Sequence[dict[str, Any]],
    *,
    steps: int,
    frames: int,
    overwrite: bool = False,
    show: bool = False,
) -> list[Path]:
    """Write the pictures that `at` gives for shares of the way, uint8 RGB [S, S, 3] one by one, to `folder`.

    Written are step_0.jpg (share 0) to step_<steps - 1>.jpg (share 1), strip.png with all of them side by side,
    morph.mp4 from the one to the other, morph.gif there and back, and manifest.jsonl with `rows`.

    Returns:
        The files written, the strip first.

    Raises:
        OutputError: `folder` holds something already and `overwrite` is not set, or cannot be written.
    """
    check_free(folder, overwrite)
    with (
        replacing_files(folder, stale="step_*.jpg") as temporary,
        bar(show, total=steps + frames, unit=" pictures", description="morph") as progress,
    ):
        stills = []
        for number, picture in enumerate(at(np.linspace(0, 1, steps).tolist())):
            write_image(temporary / step_name(number), picture)
            stills.append(resize(picture, min(STRIP_PX, len(picture))))
            progress.update()
        write_image(temporary / STRIP, grid(stills, columns=len(stills)))
        small: list[np.ndarray] = []

        def film() -> Iterator[np.ndarray]:
            shares = gently(frames)
            for share, picture in zip(shares, at(shares), strict=True):
                small.append(resize(picture, min(GIF_PX, len(picture))))
                times = -(-FILM_PX // len(picture))
                large = picture.repeat(times, 0).repeat(times, 1)
                yield from [large] * (HOLD_FRAMES if share in (0, 1) else 1)
                progress.update()

        write_mp4(temporary / FILM, film(), FPS)
        write_gif(temporary / GIF, small)
        write_jsonl(temporary / MANIFEST, rows)
    return [folder / name for name in (STRIP, FILM, GIF, *map(step_name, range(steps)))]
