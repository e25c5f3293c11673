"""Clips whose frames show their numbers."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

BITS, CELL = 8, 16


def numbered(index: int, corner: bool = False) -> np.ndarray:
    """An image whose top row of cells is `index` in binary; `corner` paints the top left quarter's left side red."""
    image = np.zeros((64, BITS * CELL, 3), np.uint8)
    for bit in range(BITS):
        image[:CELL, bit * CELL : (bit + 1) * CELL] = 255 * (index >> bit & 1)
    if corner:
        image[:32, :32] = (255, 0, 0)
    return image


def number_of(image: np.ndarray) -> int:
    cells = image[CELL // 2, CELL // 2 :: CELL].mean(-1) > 127
    return sum(1 << bit for bit in range(BITS) if cells[bit])


def make_clip(
    path: Path,
    times: Sequence[float],
    *,
    rotation: int = 0,
    corner: bool = False,
    aspect: Fraction | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """A clip with a frame at each of these presentation times in seconds."""
    clock = Fraction(1, 24 if path.suffix == ".avi" else 1200)
    options = {**({"crf": "5", "g": "12"} if codec == "libx264" else {}), **(options or {})}
    with av.open(str(path), "w") as out:
        if title:
            out.metadata["title"] = title
        stream: Any = out.add_stream(codec, rate=24, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = BITS * CELL, 64, pixels, clock
        stream.codec_context.time_base = clock
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered(index, corner), format="rgb24")
            frame.pts, frame.time_base = round(time / clock), clock
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def even(seconds: float, fps: float, start: float = 0.0) -> list[float]:
    return [start + i / fps for i in range(round(seconds * fps))]
