"""`facemorph walk`: from one face to another through the latent space."""

from pathlib import Path

import click

from facemorph.cli.options import PATH, output_option, overwrite_option, seed_option, verbosity


@click.command(short_help="From one face to another: strip, GIF, MP4, measures.")
@click.argument("run", type=PATH)
@click.option("--from-person", metavar="NAME", help="Start at a face that looks like this person.")
@click.option("--to-person", metavar="NAME", help="End at a face that looks like this one.")
@click.option("--from-seed", type=click.IntRange(0), help="Start at the random z of this seed.")
@click.option("--to-seed", type=click.IntRange(0), help="End at the random z of this seed.")
@click.option("--component", "components", type=int, multiple=True, help="Walk along this component of z; repeatable.")
@click.option("--steps", type=click.IntRange(2, 64), default=11, show_default=True, help="Faces on the strip.")
@click.option("--frames", type=click.IntRange(2, 1000), default=61, show_default=True, help="Frames of GIF and MP4.")
@click.option("--slerp", is_flag=True, help="Walk on a sphere instead of straight (for normal z).")
@click.option("--measure", is_flag=True, help="Also measure each step: distance to the persons, evenness.")
@output_option(None, "Folder. By default walks/ in the run folder.")
@overwrite_option
@seed_option("Chooses the z of a component walk, and the candidates for the persons' end points.")
@verbosity
def walk(
    run: Path,
    from_person: str | None,
    to_person: str | None,
    from_seed: int | None,
    to_seed: int | None,
    components: tuple[int, ...],
    steps: int,
    frames: int,
    slerp: bool,
    measure: bool,
    output: Path | None,
    overwrite: bool,
    seed: int,
    progress: bool,
) -> None:
    """Walk through the latent space of the trained RUN: strip, GIF and MP4.

    Without options, the paper's walk: all of z from 0 to 1. With two persons, end points that dlib's descriptor says
    are them. With two seeds, from one random face to another. With --component, one component from 0 to 1.

    \b
    facemorph walk run/
    facemorph walk run/ --from-person man --to-person woman --measure
    facemorph walk run/ --from-seed 3 --to-seed 8
    facemorph walk run/ --component 0 --component 17 --seed 5
    """
    _check(from_person, to_person, from_seed, to_seed, components, measure)
    import numpy as np

    from facemorph import animation, files
    from facemorph import plots as figures
    from facemorph.dcgan import walk as library
    from facemorph.dcgan.run import Run

    if from_person:
        name = f"{from_person}-to-{to_person}"
    elif from_seed is not None:
        name = f"seed-{from_seed}-to-{to_seed}"
    else:
        name = f"components-{'-'.join(map(str, components))}" if components else "diagonal"
    stem = (output or run / "walks") / name
    curve, table = (stem.with_name(f"{name}-measure{suffix}") for suffix in (".png", ".json"))
    opened = Run.open(run)
    if output:
        film = [stem.with_name(name + suffix) for suffix in animation.WALK_SUFFIXES]
        for path in [*film, curve, table] if measure else film:
            files.check_free(path, overwrite)
    trained = library.load_generator(opened)
    people = library.person_centroids(opened) if measure or from_person else None
    if from_person and to_person and people:
        a, b = library.find_ends(trained, people, [from_person, to_person], seed, progress=progress)
        for end in (a, b):
            told = ", ".join(f"{distance:.2f} to {name}" for name, distance in end.distances.items())
            click.echo(f"End point {end.person}: descriptor distance {told}")
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
        figures.save(figures.plot_walk(measures), curve)
        files.write_json(table, {label: values.round(4).tolist() for label, values in measures.items()})
        written += [curve, table]
    for path in written:
        click.echo(f"Written: {path}")


def _check(
    from_person: str | None,
    to_person: str | None,
    from_seed: int | None,
    to_seed: int | None,
    components: tuple[int, ...],
    measure: bool,
) -> None:
    for kind, pair in (("person", (from_person, to_person)), ("seed", (from_seed, to_seed))):
        if (pair[0] is None) != (pair[1] is None):
            raise click.UsageError(f"--from-{kind} and --to-{kind} go together.")
    if (from_person is not None) + (from_seed is not None) + bool(components) > 1:
        raise click.UsageError("Choose one of: two persons, two seeds, components.")
    if measure and len(components) > 1:
        raise click.UsageError("--measure takes one walk: name one component.")
