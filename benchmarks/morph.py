"""The landmark morph against the usual implementation, and the time of the whole command.

    python benchmarks/morph.py
    python benchmarks/morph.py a.jpg b.jpg --size 1024 --frames 30

The usual implementation is a loop over triangles: an affine warp of the triangle's bounding box, a polygon as mask, a
paste; here by Pillow, in C. Both make the same frames from the same meshes, taking turns, on all cores; the result is
the ratio of medians, since the machine may be busy. Then all of `facemorph morph` is timed once: reading, detection,
stills, strip, MP4, GIF. Without images: Grace Hopper (matplotlib) and Eileen Collins (scikit-image, needed for this).
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from facemorph.animation import write_morph
from facemorph.faces.locate import locate_face
from facemorph.faces.morph import (
    DETAIL,
    Face,
    LandmarkMorph,
    LandmarkMorphSettings,
    common_frame,
    landmark_morph,
    source_of,
)
from facemorph.faces.warp import signed_areas
from facemorph.images import read_image, write_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=Path, help="two images")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=7, help="frames that both make in turn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        first, second = options.images or portraits(Path(scratch))
        start = time.perf_counter()
        settings = LandmarkMorphSettings(size_px=options.size, frames=options.frames)
        made = landmark_morph(source_of(first), source_of(second), settings)
        write_morph(Path(scratch) / "out", made, frames=options.frames)
        whole = time.perf_counter() - start

        located = []
        for path in (first, second):
            image = read_image(path)
            located.append((image, locate_face(image, path.name).landmarks))
        faces = common_frame(located[0], located[1], options.size)
        morph = LandmarkMorph(*faces)

        seconds: dict[str, list[float]] = {"one map": [], "loop over triangles": []}
        differences = []
        morph.at(0.5)
        for fraction in np.linspace(0.1, 0.9, options.rounds):
            start = time.perf_counter()
            ours = morph.at(float(fraction))
            between = time.perf_counter()
            theirs = by_triangles(morph, faces, float(fraction))
            seconds["one map"].append(between - start)
            seconds["loop over triangles"].append(time.perf_counter() - between)
            differences.append(np.abs(ours.astype(int) - theirs).mean())

    print(f"{len(morph.triangles)} triangles, {options.size} px")
    for name, values in seconds.items():
        print(f"{name:<20} {1000 * statistics.median(values):8.1f} ms per frame (median of {len(values)})")
    slow, fast = (statistics.median(seconds[name]) for name in ("loop over triangles", "one map"))
    print(f"ratio                {slow / fast:8.1f}   mean difference {np.mean(differences):.2f} grey levels")
    print(f"whole command        {whole:8.1f} s  for {options.frames} frames and 9 stills, with loading the models")


def by_triangles(morph: LandmarkMorph, faces: tuple[Face, Face], fraction: float) -> np.ndarray:
    """The frame at a fraction of the way, triangle by triangle."""
    shape = (1 - fraction) * morph.shapes[0] + fraction * morph.shapes[1]
    warped = []
    for face, source in zip(faces, morph.sources, strict=True):
        image, source = Image.fromarray(face.image), (source + 0.5) * DETAIL
        canvas = Image.new("RGB", (morph.size_px, morph.size_px))
        for corners in morph.triangles[signed_areas(shape, morph.triangles) > 0]:
            target = shape[corners] + 0.5  # Pillow counts from the corner of a pixel
            left, top = np.maximum(np.floor(target.min(0)).astype(int), 0)
            right, bottom = np.minimum(np.ceil(target.max(0)).astype(int), morph.size_px)
            if right <= left or bottom <= top:
                continue
            box = target - [left, top]
            matrix = np.linalg.solve(np.column_stack([box, np.ones(3)]), source[corners]).T
            size = (int(right - left), int(bottom - top))
            piece = image.transform(size, Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BILINEAR)
            mask = Image.new("1", size)
            ImageDraw.Draw(mask).polygon([tuple(point) for point in box - 0.5], fill=1)
            canvas.paste(piece, (int(left), int(top)), mask)
        warped.append(canvas)
    return np.asarray(Image.blend(warped[0], warped[1], fraction))


def portraits(folder: Path) -> list[Path]:
    from matplotlib.cbook import get_sample_data
    from skimage.data import astronaut

    write_image(folder / "eileen.png", astronaut())
    return [Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False))), folder / "eileen.png"]


if __name__ == "__main__":
    main()
