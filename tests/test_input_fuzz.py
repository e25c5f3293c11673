"""Damaged images and clips: an image, a clip or an error in words; no other exception, no hang, bounded memory.

FACEMORPH_FUZZ_IMAGES and FACEMORPH_FUZZ_CLIPS choose how many; by default few.
"""

import io
import os
import random
import time
from pathlib import Path

import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageCms
from test_video import even, make_clip

from facemorph import video
from facemorph.errors import ImageError, VideoError
from facemorph.frame_image import upright
from facemorph.images import read_image

IMAGES = int(os.environ.get("FACEMORPH_FUZZ_IMAGES", "120"))
CLIPS = int(os.environ.get("FACEMORPH_FUZZ_CLIPS", "16"))
LONGEST_SECONDS, MOST_BYTES = 10, 2 << 30


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, most of them where headers are, sometimes a piece cut out, doubled, or the end cut off."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 4, 30))):
        at = rng.randrange(min(len(result), rng.choice((64, 600, len(result)))))
        result[at] = rng.choice((0, 255, 128, rng.randrange(256)))
    at, size = rng.randrange(len(result)), rng.randrange(1, 2000)
    kind = rng.randrange(5)
    if kind == 0:
        del result[at : at + size]
    elif kind == 1:
        result[at:at] = result[at : at + size]
    elif kind == 2:
        del result[max(at, 40) :]
    return bytes(result)


def peak_bytes() -> int:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    line = next((one for one in lines if one.startswith("VmHWM")), "")
    return int(line.split()[1]) * 1024 if line else 0


def test_damaged_images(tmp_path: Path) -> None:
    before = peak_bytes()  # of the tests that this process has run
    from skimage import data

    picture, originals = Image.fromarray(data.astronaut()[:200, 100:300]), []
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind, mode in (("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"),
                       ("WEBP", "RGB"), ("TIFF", "RGB"), ("TIFF", "F"), ("GIF", "P"), ("BMP", "RGB")):  # fmt: skip
        buffer = io.BytesIO()
        image = Image.fromarray(np.arange(40000, dtype=np.uint16).reshape(200, 200)) if mode == "I;16" else picture
        image = image if mode == "I;16" else image.convert(mode)
        image.save(buffer, kind, **({"exif": exif} if kind in ("JPEG", "WEBP", "PNG") else {}))
        originals.append(buffer.getvalue())
    buffer, profile = io.BytesIO(), ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture.save(buffer, "PNG", icc_profile=profile)
    originals.append(buffer.getvalue())
    rng, path, read, longest = random.Random(21), tmp_path / "fuzzed", 0, 0.0
    for number in range(IMAGES):
        path.write_bytes(mutated(originals[number % len(originals)], rng))
        began = time.perf_counter()
        try:
            image = read_image(path)
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
            read += 1
        except ImageError as error:
            assert str(path) in error.problem
        longest = max(longest, time.perf_counter() - began)
        assert longest < LONGEST_SECONDS, number
    assert 0 < read < IMAGES and peak_bytes() - before < MOST_BYTES
    print(f"{IMAGES} images, {read} of them read; longest {longest:.2f} s, peak {peak_bytes() / 2**20:.0f} MiB")


def test_damaged_clips(tmp_path: Path) -> None:
    names = ("a.mp4", "a.mkv", "a.ts", "a.avi")
    originals = [make_clip(tmp_path / name, even(1, 24)).read_bytes() for name in names]
    rng, read, longest = random.Random(21), 0, 0.0
    before = peak_bytes()  # of the tests that this process has run
    for number in range(CLIPS):
        path = tmp_path / f"fuzzed{Path(names[number % 4]).suffix}"
        path.write_bytes(mutated(originals[number % 4], rng))
        began = time.perf_counter()
        try:
            settings = video.ExtractSettings()
            for sample in video.sample_frames(path, settings, video.ClipReport()):
                upright(sample.frame, 1.0, VideoReformatter())
            read += 1
        except VideoError as error:
            assert str(path) in error.problem
        longest = max(longest, time.perf_counter() - began)
        assert longest < LONGEST_SECONDS, number
    assert read > 0 and peak_bytes() - before < MOST_BYTES
    print(f"{CLIPS} clips, {read} of them read; longest {longest:.2f} s, peak {peak_bytes() / 2**20:.0f} MiB")
