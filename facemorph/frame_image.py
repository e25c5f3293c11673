"""A decoded frame to an image as a player shows it: turned, with square pixels, in standard dynamic range; written."""

import functools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter
from PIL import Image

from facemorph.files import replacing
from facemorph.threads import usable

WAITING = 16  # images that may wait for them, which bounds the memory
JPEG_QUALITY = 95
PQ, HLG = 16, 18  # transfer characteristics of HDR (ITU-T H.273)
MAX_ASPECT = 8  # of a pixel; more is damage
WHITE_NITS = 203  # of diffuse white in HDR (ITU-R BT.2408), which becomes white
HLG_PEAK_NITS = 1000
KNEE = 0.75  # of white, in linear light: what is brighter is compressed
DISPLAY_GAMMA = 2.4  # of SDR (ITU-R BT.1886)
# BT.2020 primaries to BT.709's, linear light (ITU-R BT.2087).
TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)  # fmt: skip


def is_hdr(frame: av.VideoFrame) -> bool:
    return int(frame.color_trc) in (PQ, HLG)


def upright(frame: av.VideoFrame, aspect: float, reformatter: VideoReformatter) -> Image.Image:
    """A decoded frame as a player shows it: with square pixels, the clip's display matrix applied, HDR as SDR.

    `aspect` is the pixel aspect ratio, width over height. The result of SDR has Pillow's mode RGBX, four bytes per
    pixel, as Pillow stores them internally: the decoder's buffer is used without a copy, which saves a third of the
    time. One thread converts: of several, swscale's write over each other's first pixels, now and then.
    """
    if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
        aspect = 1.0
    width = round(frame.width * max(aspect, 1.0))
    height = round(frame.height / min(aspect, 1.0))
    turn = turn_of(frame)
    if is_hdr(frame):
        deep = reformatter.reformat(frame, width=width, height=height, format="rgb48le", threads=1)
        image = Image.fromarray(tone_mapped(deep.to_ndarray(), int(frame.color_trc)))
    else:
        plane = reformatter.reformat(frame, width=width, height=height, format="rgb0", threads=1).planes[0]
        data: Any = plane  # it has the buffer protocol, which Pillow's types do not name
        image = Image.frombuffer("RGBX", (width, height), data, "raw", "RGBX", plane.line_size, 1)
    return image if turn is None else image.transpose(turn)


def turn_of(frame: av.VideoFrame) -> Image.Transpose | None:
    """How the display matrix turns or mirrors a frame, to the nearest quarter; None if it leaves it as it is."""
    sides: Any = frame.side_data  # its key's type is declared too narrowly
    side = sides.get(Type.DISPLAYMATRIX)
    if side is None or len(bytes(side)) < 36:
        return None
    a, b, _, c, d = np.frombuffer(bytes(side), np.int32, 5).astype(float)
    # A pixel at x, y goes to a x + c y, b x + d y.
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return {
            (False, False): None,
            (True, False): Image.Transpose.FLIP_LEFT_RIGHT,
            (False, True): Image.Transpose.FLIP_TOP_BOTTOM,
            (True, True): Image.Transpose.ROTATE_180,
        }[a < 0, d < 0]
    return {
        (False, False): Image.Transpose.TRANSPOSE,
        (True, False): Image.Transpose.ROTATE_270,  # clockwise
        (False, True): Image.Transpose.ROTATE_90,
        (True, True): Image.Transpose.TRANSVERSE,
    }[c < 0, b < 0]


def tone_mapped(signal: np.ndarray, transfer: int) -> np.ndarray:
    """HDR R'G'B' with BT.2020's primaries, uint16 [H, W, 3], as SDR: uint8 [H, W, 3].

    Up to `KNEE` of white nothing changes but the coding; what is brighter approaches white, its hue kept.
    """
    light = _linear(transfer)[signal]  # [H, W, 3], 1 is white
    if transfer == HLG:  # the display's share of the curve (ITU-R BT.2100, gamma 1.2 at 1000 cd/m2)
        luma = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light = light * (HLG_PEAK_NITS / WHITE_NITS * np.power(luma, 0.2))[..., None]
    light = np.maximum(light @ TO_709.T, 0)
    top = light.max(-1, keepdims=True)
    room = 1 - KNEE
    mapped = np.where(top > KNEE, KNEE + room * (1 - np.exp((KNEE - top) / room)), top)
    light *= mapped / np.maximum(top, 1e-6)
    return (255 * np.power(np.clip(light, 0, 1), 1 / DISPLAY_GAMMA) + 0.5).astype(np.uint8)


@functools.cache
def _linear(transfer: int) -> np.ndarray:
    """Linear light of each of the 65,536 levels: PQ relative to white, HLG scene light in 0..1."""
    level = np.linspace(0, 1, 1 << 16)
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(level <= 0.5, level**2 / 3, (np.exp((level - c) / a) + b) / 12).astype(np.float32)
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128  # SMPTE ST 2084
    power = level ** (1 / m2)
    nits = 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return (nits / WHITE_NITS).astype(np.float32)


class Encoders:
    """Writes frames as image files in threads of its own."""

    def __init__(self) -> None:
        # Beside the decoder's own threads: with two CPUs a second one makes it slower.
        self._pool = ThreadPoolExecutor(max(1, min(4, usable() // 2)), "encode")
        self._local = threading.local()
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> "Encoders":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            self.drain(0)

    def drain(self, leave: int) -> None:
        while len(self._waiting) > leave:
            self._waiting.pop(0).result()

    def submit(self, path: Path, frame: av.VideoFrame, aspect: float) -> None:
        self.drain(WAITING)
        self._waiting.append(self._pool.submit(self._write, path, frame, aspect))

    def _write(self, path: Path, frame: av.VideoFrame, aspect: float) -> None:
        if not hasattr(self._local, "reformatter"):
            self._local.reformatter = VideoReformatter()
        image = upright(frame, aspect, self._local.reformatter)
        # Into a file, not into memory first: only so does Pillow let the decoder's thread run meanwhile.
        with replacing(path) as temporary, temporary.open("wb") as file:
            if path.suffix == ".jpg":  # 4:2:0 as in the clip, which has no finer chroma
                image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=2)
            else:
                image.convert("RGB").save(file, "PNG")
