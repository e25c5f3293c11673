"""Does the predicted child look like the family? All tables on real families, or one of them.

    python experiments/child-2024/run.py --families ../shared/data/families --out work
    python experiments/child-2024/run.py --families ../shared/data/families --out work --table likeness

FAMILIES holds triplets.csv (family, father, mother, child, child_gender) and faces.tar or folders, PERSON/k.jpg. All
that is slow is kept in OUT and not done again; tables go to OUT/results, or to --results.
"""

from collections.abc import Callable
from pathlib import Path

import ages
import bias
import click
import inheritance
import likeness
import paths
import reconstruction
import torch
from predictions import AVERAGE, KINDS
from study import Study
from tables import Row, markdown, write_rows

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
}


@click.command(help=__doc__)
@click.option("--families", type=PATH, required=True, help="Folder of triplets.csv and faces.tar.")
@click.option("--triplets", default="triplets.csv", show_default=True, help="The CSV in it.")
@click.option("--portraits", type=PATH, help="Folder of frontal portraits, *neutral.jpg, for the reconstructions.")
@click.option("--labelled", type=PATH, help="Folder of faces.pack and labels.csv, for the groups.")
@click.option("--network", default="faces-128", show_default=True)
@click.option("--out", type=PATH, required=True, help="Of all that is kept; outside the repository.")
@click.option("--results", type=PATH, help="Of the tables; by default OUT/results.")
@click.option("--table", "names", type=click.Choice(list(TABLES)), multiple=True, help="By default all.")
@click.option(
    "--kind", "kinds", type=click.Choice([*KINDS, AVERAGE]), multiple=True, help="Predictions; by default all."
)
@click.option("--sample", default=100, show_default=True, help="Couples, one a family, in the tables that are slow.")
@click.option("--first", type=click.IntRange(2), help="Only the first families of the CSV, for a quick look.")
@click.option("--threads", default=2, show_default=True)
def main(
    families: Path, triplets: str, portraits: Path | None, labelled: Path | None, network: str, out: Path,
    results: Path | None, names: tuple[str, ...], kinds: tuple[str, ...], sample: int, first: int | None, threads: int,
) -> None:  # fmt: skip
    torch.set_num_threads(threads)
    target = results or out / "results"
    study = Study(
        families, out, target, network, portraits, labelled, sample=sample, triplets_name=triplets, first=first,
        kinds=kinds or (*KINDS, AVERAGE),
    )  # fmt: skip
    counts = {
        "triplets": len(study.all_triplets), "usable": len(study.triplets), "couples": len(study.couples),
        "families": len(study.family_numbers), "children": len(study.children), "people": len(study.people),
        "pictures": sum(len(person.ages) for person in study.people.values()),
    }  # fmt: skip
    if study.groups is not None:
        counts |= {"groups right, %": round(100 * study.groups.right), "groups tested": study.groups.tested}
    write_json(target / "counts.json", counts)
    click.echo(counts)
    for name in names or TABLES:
        rows = TABLES[name](study)
        write_rows(target / f"{name}.csv", rows)
        click.echo(f"\n{name}: {target / f'{name}.csv'}\n{markdown(rows)}")


if __name__ == "__main__":
    main()
