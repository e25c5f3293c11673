"""`facemorph walk`: from one face to another through the latent space."""

from pathlib import Path

import click

from facemorph.cli.common import PATH, output_option, seed_option, verbosity


@click.command()
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
    seed: int,
    show: bool,
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
    people, seeds = (from_person, to_person), (from_seed, to_seed)
    for pair, kind in ((people, "person"), (seeds, "seed")):
        if any(v is not None for v in pair) and None in pair:
            raise click.UsageError(f"--from-{kind} and --to-{kind} go together.")
    if (people[0] is not None) + (seeds[0] is not None) + bool(components) > 1:
        raise click.UsageError("Choose one of: two persons, two seeds, components.")
    from facemorph.cli.walk_output import write_walk
    from facemorph.dcgan import walk as library
    from facemorph.dcgan.run import Run

    opened = Run.open(run)
    trained = library.load_generator(opened)
    known = library.People(opened) if measure or people[0] is not None else None
    ends = []
    if from_person is not None and to_person is not None and known is not None:
        ends = library.find_ends(trained, known, [from_person, to_person], seed, show=show)
        for end in ends:
            told = ", ".join(f"{distance:.2f} to {name}" for name, distance in end.distances.items())
            click.echo(f"End point {end.person}: descriptor distance {told}")
        name, (a, b) = f"{from_person}-to-{to_person}", (end.z for end in ends)
    elif from_seed is not None and to_seed is not None:
        name, a, b = f"seed-{from_seed}-to-{to_seed}", trained.draw(1, from_seed)[0], trained.draw(1, to_seed)[0]
    else:
        a = b = trained.draw(1, seed)[0]
        name = f"components-{'-'.join(map(str, components))}" if components else "diagonal"

    def paths(count: int) -> list:
        if components:
            return [library.along_component(a, component, count) for component in components]
        if name == "diagonal":
            return [library.diagonal(trained.config, count)]
        return [library.between(a, b, count, spherical=slerp)]

    strip, film = ([trained.pictures(z) for z in paths(count)] for count in (steps, frames))
    measures = library.measure(known, film[0], show=show) if measure and known else None
    for path in write_walk((output or run / "walks") / name, strip, film, measures):
        click.echo(f"Written: {path}")
