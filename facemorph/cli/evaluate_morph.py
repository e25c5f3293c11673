"""`facemorph evaluate morph`: measures of a morph, or of children."""

from pathlib import Path

import click

from facemorph.cli.options import PATH, computing, device_option, verbosity


@click.command("morph", short_help="Measures of a morph step by step, or of children.")
@click.argument("folder", type=PATH)
@click.option("--network", type=PATH, help="The morph's network, for the path length.")
@device_option
@verbosity
@computing
def evaluate_morph(folder: Path, network: Path | None, device: str, progress: bool) -> None:
    """Measure what `facemorph morph` or `facemorph child` wrote to FOLDER.

    For a morph: each step's descriptor distance to both ends (a convincing one is below 0.6 to both in the middle),
    the perceptual size of each step, and how even the steps are. For children: the distance of each to both parents,
    beside those of unrelated people. Writes evaluation.json and evaluation.png into the folder.

    \b
    facemorph evaluate morph morphs/ann-bob
    facemorph evaluate morph children/ann-bob
    """
    from facemorph import plots
    from facemorph.evaluation.morphs import evaluate_family, evaluate_morph
    from facemorph.files import write_json
    from facemorph.stylegan.load import find_network

    if (folder / "family.json").exists():
        found = evaluate_family(folder, progress=progress)
        figure = plots.plot_family(found)
        for child in found["children"]:
            click.echo(f"{child['picture']}: {child['to_mother']} to the mother, {child['to_father']} to the father")
        click.echo(f"parents {found['parents_apart']} apart; unrelated people at least {found['unrelated']['nearest']}")
    else:
        found = evaluate_morph(folder, find_network(network) if network else None, device=device, progress=progress)
        figure = plots.plot_morph(found)
        verdict = "is" if found["middle_convinces"] else "is not"
        click.echo(
            f"The middle {verdict} near both ends: distance {found['middle_to_farther_end']} to the farther one "
            f"(below 0.6: the same person; the ends are {found['ends_apart']} apart).\n"
            f"Steps in {found['perceptual_distance']}: variation {found['perceptual_steps']['variation']} (0 is even). "
            f"Faces detected in {found['faces_seen']} of {found['steps']} steps."
        )
    write_json(folder / "evaluation.json", found)
    plots.save(figure, folder / "evaluation.png")
    click.echo(f"Written: {folder / 'evaluation.json'}, {folder / 'evaluation.png'}")
