"""The picture of README, by faces-128: children of the two public-domain portraits by each mix, and one made alike.

python experiments/child-2024/pictures.py mother.jpg father.jpg sheet.jpg
"""

from pathlib import Path

import click

import facemorph as fm
from facemorph.images import grid, write_image

PATH = click.Path(path_type=Path)


@click.command(help=__doc__)
@click.argument("mother", type=PATH)
@click.argument("father", type=PATH)
@click.argument("sheet", type=PATH)
def main(mother: Path, father: Path, sheet: Path) -> None:
    network = fm.Network("faces-128")
    first, second = network.project([mother, father], progress=True)
    images = [first.image, first.reconstruction, second.reconstruction, second.image]
    families = [fm.Family(mix=mix) for mix in ("even", "layers", "mirrored")]
    families += [fm.Family(mix="even", likeness=True), fm.Family(mix="siblings", count=4)]
    for family in families:
        images += [child.image for child in network.children(first, second, family)]
    write_image(sheet, grid(images, 4))


if __name__ == "__main__":
    main()
