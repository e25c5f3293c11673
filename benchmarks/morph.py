"""The landmark morph against the usual implementation, and the time of the whole command.

    python benchmarks/morph.py
    python benchmarks/morph.py a.jpg b.jpg --size 1024 --frames 30
    python benchmarks/morph.py --film faces/ --facemorph OTHER/bin/python --morphace THIRD/bin/python

The usual implementation is a loop over triangles: an affine warp of the triangle's bounding box, a polygon as mask, a
paste; here by Pillow, in C. Both make the same frames from the same meshes, taking turns, on all cores; the result is
the ratio of medians, since the machine may be busy. Then all of `facemorph morph` is timed once: reading, detection,
stills, strip, MP4, GIF. Without images: Grace Hopper (matplotlib) and Eileen Collins (scikit-image, needed for this).

With `--film`, a film through all faces of a folder, and nothing else, is made by us and by two packages of PyPI:
`facemorph` 0.1.0 (another project) and `morphace` 1.0.4, which takes two faces at a time. Each runs in the environment
whose python is named, from the start of the process, at equal size and frames, taking turns. `morphace` needs Python
3.12, dlib (a build of many minutes; `dlib-bin` with `pip install --no-deps morphace` is enough), ffmpeg on the PATH or
beside its python, and a landmark model: ours is lent to it. It makes a film of its pictures' size, so that it gets them
scaled to `--size`, which is not timed, and 30 frames a second: give `--frames 30` to compare with it.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from PIL import Image, ImageDraw

from facemorph.__main__ import end_at_once
from facemorph.animation import FPS, film_fractions, write_morph, write_mp4
from facemorph.faces.chain import LandmarkChain
from facemorph.faces.dlib_models import LANDMARKS, model_path
from facemorph.faces.frame import DETAIL, FramedFace, common_frame
from facemorph.faces.locate import locate_face
from facemorph.faces.morph import LandmarkMorph, LandmarkMorphSettings, landmark_morph, source_of
from facemorph.faces.pictures import find_pictures
from facemorph.faces.warp import signed_areas
from facemorph.images import read_image, write_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=Path, help="two images")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=7, help="frames that both make in turn")
    parser.add_argument("--film", type=Path, help="a folder of faces")
    parser.add_argument("--facemorph", type=Path, help="--film: the python beside PyPI's facemorph 0.1.0")
    parser.add_argument("--morphace", type=Path, help="--film: the python beside morphace")
    parser.add_argument("--ours", type=Path, help="--film: make our film there, and tell its parts; for the benchmark")
    options = parser.parse_args()
    if options.ours:
        make_film(options.film, options.ours, options.size, options.frames)
        return
    if options.film:
        compare_films(options)
        return
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

    print(describe_machine())
    print(f"{len(morph.triangles)} triangles, {options.size} px")
    for name, values in seconds.items():
        print(f"{name:<20} {1000 * statistics.median(values):8.1f} ms per frame (median of {len(values)})")
    slow, fast = (statistics.median(seconds[name]) for name in ("loop over triangles", "one map"))
    print(f"ratio                {slow / fast:8.1f}   mean difference {np.mean(differences):.2f} grey levels")
    print(f"whole command        {1000 * whole:8.0f} ms for {options.frames} frames and 9 stills, models loaded")


def make_film(folder: Path, output: Path, size_px: int, frames: int) -> None:
    """Our film, alone, and the parts of its time on stdout."""
    start = time.perf_counter()
    chain = LandmarkChain(find_pictures([folder]), LandmarkMorphSettings(size_px=size_px, frames=frames))
    found = time.perf_counter()
    waited = [0.0]

    def images() -> Iterator[np.ndarray]:
        """The frames; `waited` is what the film waits for them."""
        made = chain.frames([fraction for fraction, _ in film_fractions(chain.legs, frames)])
        while True:
            before = time.perf_counter()
            image = next(made, None)
            waited[0] += time.perf_counter() - before
            if image is None:
                return
            yield image

    write_mp4(output, images(), FPS)
    whole = time.perf_counter() - found
    parts = {"points": found - start, "waiting for frames": waited[0], "encoding": whole - waited[0]}
    print(", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in parts.items()))
    end_at_once(0)  # as the command does


def compare_films(options: argparse.Namespace) -> None:
    pictures = find_pictures([options.film])
    size, frames = str(options.size), options.frames
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        ours: list[Any] = [sys.executable, Path(__file__).absolute(), "--film", options.film.absolute()]
        ours += ["--size", size, "--frames", str(frames)]
        commands: dict[str, list[list[Any]]] = {"ours": [[*ours, "--ours", scratch / "ours.mp4"]]}
        if options.facemorph:
            other = ["--input-dir", options.film.absolute(), "--output", scratch / "other.mp4"]
            shape = ["--fps", str(FPS), "--duration", str(frames / FPS), "--output-size", size]
            head = [options.facemorph.absolute().with_name("facemorph"), *other, *shape, "--aligned-dir"]
            for workers in (1, 2):
                commands[f"facemorph 0.1.0, {workers} workers"] = [
                    [*head, scratch / f"aligned{workers}", "--workers", str(workers)]
                ]
        if options.morphace:
            head = [options.morphace.absolute().with_name("morphace"), "morph"]
            scaled = [scaled_copy(picture, scratch, options.size) for picture in pictures]
            commands["morphace"] = [
                [
                    *head,
                    *pair,
                    "--output",
                    scratch / f"leg{leg}.mp4",
                    "--duration",
                    "1",
                    "--fps",
                    str(frames),
                    "--force",
                ]
                for leg, pair in enumerate(itertools.pairwise(scaled))
            ]
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, runs in commands.items():
                start = time.perf_counter()
                said = [run_in(scratch, run) for run in runs]
                seconds[name].append(time.perf_counter() - start)
                if name == "ours":
                    print(said[0].strip(), flush=True)
    print(describe_machine())
    print(f"a film of {len(pictures)} faces, {frames} frames a leg, {size} px")
    best = statistics.median(seconds["ours"])
    for name, values in seconds.items():
        middle = statistics.median(values)
        print(f"{name:<28} {1000 * middle:7.0f} ms (median of {len(values)}), {middle / best:5.2f} of ours")


def scaled_copy(picture: Path, folder: Path, size_px: int) -> Path:
    path = folder / f"{picture.stem}.png"
    Image.open(picture).convert("RGB").resize((size_px, size_px), Image.Resampling.LANCZOS).save(path)
    return path


def run_in(folder: Path, command: list[Any]) -> str:
    """Run a command in a folder; what it printed."""
    theirs = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    theirs["PATH"] = f"{Path(command[0]).parent}{os.pathsep}{theirs['PATH']}"
    theirs.setdefault("MORPHACE_LANDMARK_MODEL", str(model_path(LANDMARKS)))
    env = dict(os.environ) if command[0] == sys.executable else theirs
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def by_triangles(morph: LandmarkMorph, faces: tuple[FramedFace, FramedFace], fraction: float) -> np.ndarray:
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
