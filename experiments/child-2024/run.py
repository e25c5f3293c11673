"""Does the predicted child look like the family? All tables on real families, or one of them.

    python experiments/child-2024/run.py --families ../shared/data/families --out work
    python experiments/child-2024/run.py --families ../shared/data/families --out work --table likeness

FAMILIES holds triplets.csv (family, father, mother, child, child_gender) and faces.tar or folders, PERSON/k.jpg. All
that is slow is kept in OUT and not done again; tables go to OUT/results, or to --results. Another network, or other
pictures, want another OUT.
"""

import time
from collections.abc import Callable
from pathlib import Path

import ages
import bias
import click
import inheritance
import judge
import likeness
import paths
import reconstruction
import torch
from predictions import AVERAGE, KINDS
from reconstruction import RECIPES, VGG16
from study import Study
from tables import Row, markdown, write_rows

from facemorph.errors import FacemorphError
from facemorph.files import write_json

PATH = click.Path(path_type=Path)
TABLES: dict[str, Callable[[Study], list[Row]]] = {
    "likeness": likeness.rows,
    "inheritance": inheritance.layer_rows,
    "mixes": inheritance.mix_rows,
    "siblings": inheritance.sibling_rows,
    "ages": ages.rows,
    "bias": bias.rows,
    "paths": paths.rows,
    "reconstruction": reconstruction.rows,
    "judge": judge.rows,
}


@click.command(help=__doc__)
@click.option("--families", type=PATH, required=True, help="Folder of triplets.csv and faces.tar.")
@click.option("--triplets", default="triplets.csv", show_default=True, help="The CSV in it.")
@click.option("--portraits", type=PATH, help="Folder of frontal portraits, *neutral.jpg, for the reconstructions.")
@click.option("--labelled", type=PATH, help="Folder of faces.pack and labels.csv, for the groups.")
@click.option("--network", default="faces-256", show_default=True)
@click.option("--directions", type=PATH, help="Folder of directions for age and gender; by default the network's own.")
@click.option("--judge", "judged_by", type=PATH, help="Folder of faceres.json and .bin, for the second recogniser.")
@click.option("--out", type=PATH, required=True, help="Of all that is kept; outside the repository.")
@click.option("--results", type=PATH, help="Of the tables; by default OUT/results.")
@click.option("--table", "names", type=click.Choice(list(TABLES)), multiple=True, help="By default all.")
@click.option(
    "--kind", "kinds", type=click.Choice([*KINDS, AVERAGE]), multiple=True, help="Predictions; by default all."
)
@click.option(
    "--recipe", "recipes", type=click.Choice([*RECIPES, *VGG16]), multiple=True, help="Reconstructions; by default all."
)
@click.option("--sample", type=click.IntRange(2), help="Couples, or faces; by default all.")
@click.option("--first", type=click.IntRange(2), help="Only the first families of the CSV, for a quick look.")
@click.option("--threads", default=2, show_default=True)
def main(
    families: Path, triplets: str, portraits: Path | None, labelled: Path | None, network: str,
    directions: Path | None, judged_by: Path | None, out: Path, results: Path | None, names: tuple[str, ...],
    kinds: tuple[str, ...], recipes: tuple[str, ...], sample: int | None, first: int | None, threads: int,
) -> None:  # fmt: skip
    torch.set_num_threads(threads)
    study = Study(
        families, out, network, portraits, labelled, directions, judged_by, sample=sample, triplets_name=triplets,
        first=first, kinds=kinds, recipes=recipes,
    )  # fmt: skip
    try:
        study.begin()
        impossible = {} if judged_by else {"judge": "--judge"}
        if not study.can_tell:
            impossible |= dict.fromkeys(["ages", *(name for name, kind in KINDS.items() if kind.told)], "--directions")
        for name in (*names, *kinds):
            if name in impossible:
                raise click.UsageError(f"{name} needs {impossible[name]}.")
        study.kinds = kinds or tuple(name for name in (*KINDS, AVERAGE) if name not in impossible)
        names = names or tuple(name for name in TABLES if name not in impossible)
        make_tables(study, results or out / "results", names)
    except FacemorphError as error:
        raise click.ClickException(str(error)) from error


def make_tables(study: Study, target: Path, names: tuple[str, ...]) -> None:
    counts = {
        "triplets": len(study.all_triplets), "usable": len(study.triplets), "couples": len(study.couples),
        "families": len(study.family_numbers), "children": len(study.children), "people": len(study.people),
        "pictures": sum(len(person.ages) for person in study.people.values()),
    }  # fmt: skip
    if study.groups is not None:
        counts |= {"groups right, %": round(100 * study.groups.right), "groups tested": study.groups.tested}
    write_json(target / "counts.json", counts)
    click.echo(counts)
    for name in names:
        began = time.perf_counter()
        rows = TABLES[name](study)
        write_rows(target / f"{name}.csv", rows)
        seconds = time.perf_counter() - began
        click.echo(f"\n{name}, {seconds:.0f} s: {target / f'{name}.csv'}\n{markdown(rows)}")


if __name__ == "__main__":
    main()
