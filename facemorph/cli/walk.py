"""`facemorph walk`: from one face to another through the latent space."""

from pathlib import Path

import click

from facemorph.cli.options import PATH, run_options


@click.command(short_help="From one face to another: strip, GIF, MP4, measures.")
@click.argument("run", type=PATH)
@click.option("--from-person", metavar="NAME", help="Start at this person: the most similar of 256 random faces.")
@click.option("--to-person", metavar="NAME", help="End at this person.")
@click.option("--from-seed", type=click.IntRange(0), help="Start at a random face, the one of this seed.")
@click.option("--to-seed", type=click.IntRange(0), help="End at a random face, the one of this seed.")
@click.option("--diagonal", is_flag=True, help="The 2018 paper's walk: all components of z from 0 to 1 together.")
@click.option("--component", "components", type=int, multiple=True, help="Move component number INTEGER of z from 0 to "
              "1, the others fixed; repeatable, a row each.")  # fmt: skip
@click.option("--steps", type=click.IntRange(2, 64), default=11, show_default=True, help="Faces on the strip.")
@click.option("--frames", type=click.IntRange(2, 1000), default=61, show_default=True, help="Frames of GIF and MP4.")
@click.option("--slerp", is_flag=True, help="Walk on a sphere instead of straight (for normal z).")
@click.option("--measure", is_flag=True, help="Also measure each step: distance to the persons, evenness.")
@run_options(
    "Folder. By default walks/ in the run folder.",
    "Of the 256 random faces, for persons; of the fixed components, for --component.",
)
def walk(
    run: Path,
    from_person: str | None,
    to_person: str | None,
    from_seed: int | None,
    to_seed: int | None,
    diagonal: bool,
    components: tuple[int, ...],
    steps: int,
    frames: int,
    slerp: bool,
    measure: bool,
    output: Path | None,
    overwrite: bool,
    seed: int,
    device: str,
    progress: bool,
) -> None:
    """Walk through the latent space of the trained RUN: strip, GIF and MP4.

    By default from the first person to the second; of a run of one person, along the diagonal. The persons are found
    among random faces by dlib's descriptor.

    \b
    facemorph walk run/
    facemorph walk run/ --from-person man --to-person woman --measure
    facemorph walk run/ --diagonal
    facemorph walk run/ --from-seed 3 --to-seed 8
    facemorph walk run/ --component 0 --component 17 --seed 5
    """
    _check(from_person, to_person, from_seed, to_seed, diagonal, components, measure)
    import numpy as np

    from facemorph import animation, files, plots
    from facemorph.dcgan import walk as library
    from facemorph.dcgan.run import Run
    from facemorph.device import pick_device

    opened = Run.open(run)
    persons = list(opened.about()["faces"])
    if from_person is None and from_seed is None and not components and not diagonal and len(persons) > 1:
        from_person, to_person = persons[:2]
    if from_person:
        name = f"{from_person}-to-{to_person}"
    elif from_seed is not None:
        name = f"seed-{from_seed}-to-{to_seed}"
    else:
        name = f"components-{'-'.join(map(str, components))}" if components else "diagonal"
    stem = (output or run / "walks") / name
    curve, table = (stem.with_name(f"{name}-measure{suffix}") for suffix in (".png", ".json"))
    if output:
        film = [stem.with_name(name + suffix) for suffix in animation.WALK_SUFFIXES]
        for path in [*film, curve, table] if measure else film:
            files.check_free(path, overwrite)
    trained = library.load_generator(opened, pick_device(device))
    people = library.person_centroids(opened) if measure or from_person else None
    if from_person and to_person and people:
        a, b = library.find_ends(trained, people, [from_person, to_person], seed, progress=progress)
        for end in (a, b):
            distances = ", ".join(f"{distance:.2f} to {name}" for name, distance in end.distances.items())
            click.echo(f"End point {end.person}: descriptor distance {distances}")
        route = library.between_latents(a.z, b.z, spherical=slerp)
    elif from_seed is not None and to_seed is not None:
        ends = (trained.draw(1, end)[0] for end in (from_seed, to_seed))
        route = library.between_latents(*ends, spherical=slerp)
    elif components:
        route = library.along_components(trained, components, seed)
    else:
        route = library.along_diagonal(trained)

    strips, films = ([list(trained.images(z)) for z in route(count)] for count in (steps, frames))
    written = animation.write_walk(stem, strips, films)
    if measure and people:
        measures = library.measure(people, np.stack(films[0]), progress=progress)
        plots.save(plots.plot_walk(measures), curve)
        files.write_json(table, {label: values.round(4).tolist() for label, values in measures.items()})
        written += [curve, table]
    for path in written:
        click.echo(f"Written: {path}")


def _check(
    from_person: str | None,
    to_person: str | None,
    from_seed: int | None,
    to_seed: int | None,
    diagonal: bool,
    components: tuple[int, ...],
    measure: bool,
) -> None:
    for kind, pair in (("person", (from_person, to_person)), ("seed", (from_seed, to_seed))):
        if (pair[0] is None) != (pair[1] is None):
            raise click.UsageError(f"--from-{kind} and --to-{kind} go together.")
    if (from_person is not None) + (from_seed is not None) + diagonal + bool(components) > 1:
        raise click.UsageError("Choose one of: two persons, two seeds, --diagonal, --component.")
    if measure and len(components) > 1:
        raise click.UsageError("--measure takes one walk: give one --component.")
