"""Strips, GIFs and MP4s: the one place that writes a change from one face to another. All of it or nothing."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from facemorph.files import check_free, replacing, replacing_files, write_jsonl
from facemorph.images import grid, resize, write_image
from facemorph.progress import progress_bar

STRIP_PX, GIF_PX, FILM_PX = 256, 320, 256  # strip and GIF at most, the film at least: players blur small ones
FPS, HOLD_FRAMES = 25, 12
STRIP_FACES, GIF_FRAMES = 10, 150  # of a chain: in a row, and at most
STRIP, FILM, GIF, MANIFEST = "strip.png", "morph.mp4", "morph.gif", "manifest.jsonl"

WALK_SUFFIXES = (".png", ".gif", ".mp4")  # what `write_walk` writes


class Morph(Protocol):
    """A change from one face to another, whatever makes it: landmarks, a StyleGAN, a trained run.

    A chain through several faces, which lie at even fractions of the way, also has `legs`: how many faces follow the
    first.
    """

    def frames(self, fractions: Sequence[float]) -> Iterator[np.ndarray]:
        """The images at fractions of the way, 0 to 1, one by one: uint8 RGB [S, S, 3]."""
        ...

    def manifest(self) -> list[dict[str, Any]]:
        """Rows of manifest.jsonl: how it is made, then both sources."""
        ...

    def write_extras(self, folder: Path, fractions: Sequence[float]) -> None:
        """Write what this kind of morph has beside its images; `fractions` are those of the stills."""
        ...


def step_name(number: int) -> str:
    return f"step_{number}.jpg"


def eased(frames: int) -> list[float]:
    """Fractions of the way from 0 to 1 that start and end slowly."""
    return (0.5 - 0.5 * np.cos(np.linspace(0, math.pi, frames))).tolist()


def write_morph(
    folder: Path,
    morph: Morph,
    *,
    steps: int = 9,
    frames: int = 30,
    overwrite: bool = False,
    progress: bool = False,
    stills_at: list[float] | None = None,
) -> list[Path]:
    """Write a morph to `folder`, all of it or nothing.

    Written are step_0.jpg (the first face) to step_<steps - 1>.jpg (the second), strip.png with all of them side by
    side, morph.mp4 from the one to the other, morph.gif there and back, manifest.jsonl, and the morph's own extras.
    Of a chain, `steps` and `frames` are those from each face to the next; its film rests at each face, and its GIF, of
    150 frames at most, goes on rather than back. With `stills_at`, fractions, the stills are those, as percent_<n>.png.

    Returns:
        The files written, the strip first.

    Raises:
        OutputError: `folder` holds something already and `overwrite` is not set, or cannot be written.
    """
    check_free(folder, overwrite)
    legs: int = getattr(morph, "legs", 1)
    total = (len(stills_at) if stills_at else legs * (steps - 1) + 1) + len(film_fractions(legs, frames))
    with (
        replacing_files(folder, "step_*.jpg", "step_*.png", "percent_*.png") as temporary,
        progress_bar(progress, total=total, unit=" images", description="morph") as bar,
    ):
        fractions = stills_at or np.linspace(0, 1, legs * (steps - 1) + 1).tolist()
        stills = Kept(len(fractions), STRIP_PX)
        names = still_names(fractions, named=stills_at is not None)
        for index, image in enumerate(morph.frames(fractions)):
            if image.shape[2] == 4:
                names[index] = str(Path(names[index]).with_suffix(".png"))
            write_image(temporary / names[index], image)
            image = on_white(image)
            stills.add(image)
            bar.update()
        write_image(
            temporary / STRIP, grid(stills.images, columns=len(names) if legs == 1 else min(len(names), STRIP_FACES))
        )
        way = film_fractions(legs, frames)
        every = -(-len(way) // GIF_FRAMES) if legs > 1 else 1  # a GIF is held in memory whole
        small = Kept(-(-len(way) // every), GIF_PX)

        def film() -> Iterator[np.ndarray]:
            for index, image in enumerate(morph.frames([fraction for fraction, _ in way])):
                image = on_white(image)
                if index % every == 0:
                    small.add(image)
                large = enlarged(image, -(-FILM_PX // len(image)))
                yield from [large] * (HOLD_FRAMES if way[index][1] else 1)
                bar.update()

        write_mp4(temporary / FILM, film(), FPS)
        write_gif(temporary / GIF, small.images, back=legs == 1)
        write_jsonl(temporary / MANIFEST, morph.manifest())
        morph.write_extras(temporary, fractions)
    return [folder / name for name in (STRIP, FILM, GIF, *names)]


class Kept:
    """Small copies of `count` equal-sized images, in one piece of memory.

    Each in a piece of its own, between the large ones that come and go, they kept those pieces from being used again:
    a film of a hundred faces at 1,024 px needed 0.6 GB more.
    """

    def __init__(self, count: int, most_px: int) -> None:
        self.images = np.empty((count, 0, 0, 3), np.uint8)
        self._most_px, self._filled = most_px, 0

    def add(self, image: np.ndarray) -> None:
        copy = resize(image, min(self._most_px, len(image)))
        if not self._filled:
            self.images = np.empty((len(self.images), *copy.shape), np.uint8)
        self.images[self._filled] = copy
        self._filled += 1


def still_names(fractions: Sequence[float], named: bool) -> list[str]:
    """step_0.jpg and so on; with `named`, percent_000.png by the fraction."""
    if not named:
        return [step_name(number) for number in range(len(fractions))]
    percents = [f"{100 * fraction:.4g}" for fraction in fractions]
    return [f"percent_{'-' * percent.startswith('-')}{_padded(percent.lstrip('-'))}.png" for percent in percents]


def _padded(number: str) -> str:
    whole, point, rest = number.partition(".")
    return whole.zfill(3) + point + rest


def film_fractions(legs: int, frames: int) -> list[tuple[float, bool]]:
    """Fractions of the whole way, and whether a face lies there; each leg starts and ends slowly."""
    one = eased(frames)
    way = [(0.0, True)]
    for leg in range(legs):
        way += [((leg + fraction) / legs, fraction == 1) for fraction in one[1:]]
    return way


def on_white(image: np.ndarray) -> np.ndarray:
    """An image without its transparency, where it has any: uint8 RGB [H, W, 3]."""
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:].astype(np.uint16)
    return ((alpha * image[..., :3] + (255 - alpha) * 255 + 127) // 255).astype(np.uint8)


def write_walk(stem: Path, strips: Sequence[Sequence[np.ndarray]], films: Sequence[Sequence[np.ndarray]]) -> list[Path]:
    """One or more walks: `stem`.png with a row per strip, `stem`.gif and `stem`.mp4 with the films stacked.

    Returns the paths written.
    """
    columns = max(len(strip) for strip in strips)
    times = max(1, FILM_PX // (len(films) * len(films[0][0])))
    frames = [np.concatenate([enlarged(image, times) for image in rows]) for rows in zip(*films, strict=True)]
    png, gif, mp4 = (stem.with_name(stem.name + suffix) for suffix in WALK_SUFFIXES)
    write_image(png, grid([image for strip in strips for image in strip], columns))
    write_gif(gif, frames)
    write_mp4(mp4, [*frames, *frames[::-1]])
    return [png, gif, mp4]


def enlarged(image: np.ndarray, times: int) -> np.ndarray:
    """A small image, bicubically resampled to a multiple of its size."""
    height, width = image.shape[:2]
    if times == 1:
        return image
    return np.asarray(Image.fromarray(image).resize((times * width, times * height), Image.Resampling.BICUBIC))


def write_gif(
    path: str | PathLike[str],
    frames: Sequence[np.ndarray] | np.ndarray,
    seconds_per_frame: float = 0.08,
    *,
    back: bool = True,
) -> None:
    """An endless GIF of equal-sized frames, there and back again (without `back`: only there), 256 colours a frame."""
    images = [Image.fromarray(frame) for frame in frames]
    octrees = [image.quantize(256, Image.Quantize.FASTOCTREE) for image in images]  # median cut loses red lips
    there = [image.quantize(palette=octree) for image, octree in zip(images, octrees, strict=True)]
    duration = round(1000 * seconds_per_frame)
    with replacing(Path(path)) as temporary:
        there[0].save(
            temporary,
            save_all=True,
            append_images=[*there[1:], *(there[-2:0:-1] if back else [])],
            duration=duration,
            loop=0,
        )


def write_mp4(path: str | PathLike[str], frames: Iterable[np.ndarray], fps: float = 25) -> None:
    """An H.264 clip that browsers and phones play; an odd side loses its last pixel row or column.

    `frames` (equal-sized, at least one) are taken one at a time, so a generator of any length needs little memory.
    """
    import av

    frames = iter(frames)
    first = next(frames)
    height, width = (side - side % 2 for side in first.shape[:2])
    options = {"crf": "16", "preset": "veryfast"}
    with (
        replacing(Path(path)) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as out,
    ):
        stream = out.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in itertools.chain([first], frames):
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
            out.mux(stream.encode(image.reformat(format="yuv420p", threads=1)))  # of several, swscale's bytes vary
        out.mux(stream.encode())
