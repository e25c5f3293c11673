"""`facemorph morph`: one face becomes another."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from facemorph.cli.batches import pairs_options, run_pairs
from facemorph.cli.options import (
    PATH,
    TableChoice,
    chosen_network,
    computing,
    detector_option,
    masking,
    network_option,
    output_option,
    overwrite_option,
    seed_option,
    verbosity,
)
from facemorph.cli.projection_options import name_of, projecting

MOST_STILLS = 1000


@click.command(short_help="One face becomes another: by landmarks, a StyleGAN, or a trained run.")
@click.argument("pictures", type=PATH, nargs=-1)
@pairs_options
@click.option("--loop", is_flag=True, help="With three faces or more: return to the first at the end.")
@click.option("--order", type=click.Choice(["given", "name", "date"]), default="given", show_default=True,
              help="Order of the faces: as given, by name (2 before 10), or by the date in EXIF.")  # fmt: skip
@click.option("--at", "percents", metavar="LIST", help="landmarks, two faces: stills at these percentages of the way, "
              "such as 0,25,50 or 0,10,...,100.")  # fmt: skip
@click.option("--even", is_flag=True, help="Two faces: space the steps evenly in identity, by descriptor distance.")
@click.option("--shape", type=float, help="landmarks: hold the shape at this fraction; only the colour changes.")
@click.option("--colour", type=float, help="landmarks: hold the colour at this fraction; only the shape changes.")
@masking
@click.option(
    "--method",
    type=TableChoice("facemorph.morphs:METHODS", "auto"),
    default="auto",
    show_default=True,
    help="stylegan: through a network's latent space; landmarks: warp both faces to the shape between "
    "them and dissolve; dcgan: through a trained run's latent space. auto: dcgan with --run, landmarks with an option "
    "of that method (--size, --at, ...), otherwise stylegan.",
)
@output_option(None, "Folder for the results; by default morphs/<first>-<second>.")
@click.option("--steps", type=click.IntRange(2, 100), help="Stills, both ends included. Default: 9; in a chain, 2 "
              "from each face to the next.")  # fmt: skip
@click.option("--frames", type=click.IntRange(2, 1000), default=30, show_default=True,
              help="Frames of MP4 and GIF from each face to the next.")  # fmt: skip
@click.option("--size", "size_px", type=click.IntRange(64, 2048), default=512, show_default=True,
              help="landmarks: side in pixels.")  # fmt: skip
@click.option("--face-only", is_flag=True, help="landmarks: morph the inner face alone, inside the first image.")
@detector_option
@network_option
@click.option("--interpolation", type=click.Choice(["lerp", "slerp"]), default="lerp", show_default=True,
              help="stylegan, dcgan: in a straight line, or on an arc around the average.")  # fmt: skip
@click.option("--layers", type=click.Choice(["coarse", "middle", "fine"]), multiple=True,
              help="stylegan: change only these layers; may be given several times.")  # fmt: skip
@projecting
@click.option("--run", "run", type=PATH, help="dcgan: the folder of a trained run.")
@seed_option("dcgan: chooses where the search starts.")
@overwrite_option("Replace what is in the folder.")
@verbosity
@computing
def morph(
    pictures: tuple[Path, ...], pairs: Path | None, jobs: int, loop: bool, order: str, percents: str | None, even: bool,
    shape: float | None, colour: float | None, mask: str, background: str, method: str, output: Path | None,
    steps: int | None, frames: int, size_px: int,
    face_only: bool, detector: str, network: str | None, interpolation: str, layers: tuple[str, ...], search: Any,
    run: Path | None, seed: int, overwrite: bool, progress: bool,
) -> None:  # fmt: skip
    """Morph the face in each of PICTURES into the next: a strip of images, a GIF and an MP4.

    Give two pictures, three or more (a chain, in one film), or a folder of them. If a picture shows several faces, the
    largest is taken. --method landmarks uses points in a file beside a picture (.tem, .pts, .csv, .json of the same
    stem) instead of detected ones; --method stylegan also takes latents of `facemorph project` (.safetensors).

    \b
    facemorph morph ann.jpg bob.jpg
    facemorph morph ann.jpg bob.jpg --method landmarks
    facemorph morph ann.jpg bob.jpg --face-only --size 1024 -o morphs/ann-as-bob
    facemorph morph ann.jpg bob.jpg --network stylegan1-ffhq-1024 --interpolation slerp
    facemorph morph ann.jpg bob.jpg --run run/
    facemorph morph ann.jpg bob.jpg cem.jpg --loop --method landmarks
    facemorph morph portraits/ --order date --method landmarks
    facemorph morph ann.jpg bob.jpg --at 0,10,...,100 --colour 0.5
    facemorph morph ann.jpg bob.jpg --even --method landmarks
    facemorph morph --pairs pairs.csv --method landmarks --jobs 2 -o morphs/list

    With --pairs, each pair gives one picture at its amount (0.5 if there is none), or those of --at, and no film.
    """
    from facemorph.faces.pictures import find_pictures

    if bool(pictures) == (pairs is not None):
        raise click.UsageError("Give pictures, or a list of them: --pairs pairs.csv.")
    if pairs and (loop or order != "given" or steps):
        raise click.UsageError("--loop, --order and --steps cannot be used with --pairs.")
    faces = [] if pairs else find_pictures(pictures, order, at_least=2)
    if loop and len(faces) > 2:
        faces = [*faces, faces[0]]
    chain = len(faces) > 2
    method = choose(run) if method == "auto" else method
    stills = per_cents(percents) if percents else None
    steps = steps or (2 if chain else 9)
    landmarks_only = bool(mask or percents or shape is not None or colour is not None)
    _check_method(method, landmarks_only, interpolation, run, jobs if pairs else 1)
    if chain and stills:
        raise click.UsageError("--at needs exactly two faces.")
    if even and (chain or stills or pairs):
        raise click.UsageError("--even needs exactly two faces, and neither --at nor --pairs.")
    from facemorph.animation import write_morph
    from facemorph.faces.morph import Look
    from facemorph.faces.transform import remark_on
    from facemorph.files import check_free, fit_name
    from facemorph.folders import name_of_folder
    from facemorph.morphs import CHAINS, METHODS, MorphOptions

    if method == "stylegan":
        network = chosen_network(network)
    where = {"latents" if key == "folder" else key: value for key, value in search.where.items()}
    options = MorphOptions(
        steps, frames, size_px, face_only, detector, network or "", search.settings(network),
        interpolation=interpolation, layers=layers, run=run, seed=seed, **where,
    )  # fmt: skip
    look = Look(shape, colour, mask, background)
    remark_on(shape=shape, colour=colour)
    if pairs:
        morph_pairs(pairs, output or Path("morphs", pairs.stem), method, options, look, stills, overwrite, jobs,
                    progress)  # fmt: skip
        return
    last = faces[-2 if loop and chain else -1]
    named = f"{name_of(faces[0])}-{'to-' if chain else ''}{name_of(last)}"
    folder = output or Path("morphs", name_of_folder(pictures[0]) if len(pictures) == 1 else fit_name(named))
    check_free(folder, overwrite)
    if chain or landmarks_only:
        made = CHAINS[method](faces, options, look, progress)
    else:
        made = METHODS[method](faces[0], faces[1], options, progress)
    for path, distance in zip(faces, getattr(made, "distances", ()), strict=False):
        click.echo(f"{path}: found in the run at a descriptor distance of {distance:.2f} (0.6: the same person)")
    if even:
        from facemorph.evaluation.even import even_fractions

        stills, variation = even_fractions(made, steps, progress)
        click.echo(f"distances between neighbours vary by {100 * variation:.0f} % of their mean")
    written = write_morph(
        folder, made, steps=steps, frames=frames, overwrite=overwrite, progress=progress,
        stills_at=stills,
    )  # fmt: skip
    kind = "percent_*.png" if stills else "step_*.jpg"
    click.echo(f"{folder}: {', '.join(path.name for path in written[:3])}, and {len(written) - 3} images {kind}")


def _check_method(method: str, landmarks_only: bool, interpolation: str, run: Path | None, jobs: int) -> None:
    """Raises where an option does not go with the method; `jobs` are those of a list."""
    if landmarks_only and method != "landmarks":
        raise click.UsageError("--at, --shape, --colour, --oval and --background need --method landmarks.")
    if interpolation != "lerp" and method == "landmarks":
        raise click.UsageError("--interpolation needs --method stylegan or dcgan.")
    if method == "dcgan" and run is None:
        raise click.UsageError("--method dcgan needs --run: the folder of a trained run.")
    if jobs > 1 and method != "landmarks":
        raise click.UsageError("--jobs needs --method landmarks.")


def morph_pairs(
    table: Path, folder: Path, method: str, options: Any, look: Any, stills: list[float] | None, overwrite: bool,
    jobs: int, progress: bool,
) -> None:  # fmt: skip
    """The pictures of every pair in a list."""
    from dataclasses import asdict

    from facemorph.animation import still_names
    from facemorph.batches import Made, Pair, read_pairs
    from facemorph.errors import InputError
    from facemorph.morphs import CHAINS

    def make(pair: Pair) -> Made:
        if pair.amount is not None and not 0 <= pair.amount <= 1:
            raise InputError(f"the amount {pair.amount:g} lies outside 0 to 1.")
        assert pair.second is not None
        made = CHAINS[method]([pair.first, pair.second], options, look, False)
        fractions = stills if stills and pair.amount is None else [0.5 if pair.amount is None else pair.amount]
        names = [f"{pair.name}.png"]
        if stills and pair.amount is None:
            names = [f"{pair.name}-{name.removeprefix('percent_')}" for name in still_names(stills, named=True)]
        return Made(dict(zip(names, made.frames(fractions), strict=True)), made.manifest())

    kept = {key: value for key, value in asdict(options).items() if key not in ("steps", "frames", "latents", "device")}
    recipe = {"command": "morph", "method": method, "at": stills, "look": asdict(look)}
    recipe |= {key: str(value) if isinstance(value, Path) else value for key, value in kept.items()}
    run_pairs(read_pairs(table), folder, make, recipe, overwrite=overwrite, jobs=jobs, progress=progress)


def choose(run: Path | None) -> str:
    """The method that "auto" stands for, by the options that were given."""
    if run is not None:
        return "dcgan"
    context = click.get_current_context()
    given = (
        context.get_parameter_source(name)
        for name in ("size_px", "face_only", "detector", "percents", "shape", "colour", "oval", "background")
    )
    return "landmarks" if any(source is ParameterSource.COMMANDLINE for source in given) else "stylegan"


def per_cents(text: str) -> list[float]:
    """Fractions from percentages such as 0,25,50 or 0,10,...,100."""
    parts = [part.strip() for part in text.split(",")]
    try:
        if "..." not in parts:
            values = [float(part) for part in parts]
        else:
            start, following, end = float(parts[0]), float(parts[1]), float(parts[3])
            if len(parts) != 4 or parts[2] != "..." or (end - start) * (following - start) <= 0:
                raise ValueError
            step = following - start
            count = int((end - start) / step + 1e-9) + 1
            if count > MOST_STILLS:
                raise click.BadParameter(f"{text!r}: expected {MOST_STILLS:,} stills at most, not {count:,}.")
            values = [start + number * step for number in range(count)]
    except (ValueError, IndexError, OverflowError):
        raise click.BadParameter(f"{text!r}: expected numbers such as 0,25,50 or 0,10,...,100.") from None
    if not all(0 <= value <= 100 for value in values):
        raise click.BadParameter(f"{text!r}: expected percentages from 0 to 100.")
    if len(set(values)) != len(values):
        raise click.BadParameter(f"{text!r} names a percentage twice.")
    return [value / 100 for value in values]
