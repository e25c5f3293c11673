"""A run's network becomes one that every command takes by its name: into the cache, with its encoder and a card."""

import json
import re
import shutil
from pathlib import Path

from facemorph.errors import InputError, OutputError, RunError, WeightsError
from facemorph.files import replacing, sha256
from facemorph.stylegan.formats.converted import json_beside
from facemorph.stylegan.latents import fingerprint
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.projection.encoder import encoder_path, read_encoder
from facemorph.stylegan.training.run import GeneratorRun
from facemorph.weights.cache import check_writable, converted_path, directions_path
from facemorph.weights.cards import Card, cards, write_own_card

NAME = r"[a-z0-9][a-z0-9._-]{0,59}"
LICENCE = "as the faces it was trained on allow"


def add_run(path: Path, name: str, licence: str | None = None, overwrite: bool = False) -> tuple[Card, Path, Path]:
    """Copy generator and encoder of the run in `path` into the cache as the network `name`, and directions if any.

    The name of a card of the package goes with that card's own generator alone (`faces-128`, kept in the repository).

    Returns: the card, the network's file, the encoder's file.

    Raises:
        RunError: no run, no network in it yet, or a kill came between its files.
        WeightsError: the name is taken by the package.
        OutputError: the name is taken and may not be overwritten, or the cache cannot be written.
        InputError: the name cannot be one.
    """
    run = GeneratorRun.open(path)
    if not run.generator.exists() or not run.encoder.exists():
        raise RunError(f"{path} has no network yet.", "Train it at least to the first checkpoint.")
    if not re.fullmatch(NAME, name):
        raise InputError(
            f"{name!r} cannot be a network's name.", "Use lower-case letters, digits, '-', '.' and '_', as in faces-ko."
        )
    known = cards().get(name)
    if known and not known.own and known.sha256 != sha256(run.generator):
        raise WeightsError(f"{name} is the name of a published network.", "Choose another --name.")
    if known and known.own and not overwrite:
        raise OutputError(
            f"There is a network {name} already, from {known.page}.", "Choose another --name, or --overwrite."
        )
    generator = load_generator(run.generator)
    try:
        read_encoder(run.encoder, generator)
    except InputError as error:
        raise RunError(
            f"Generator and encoder in {path} do not belong together: {error.problem}",
            "Training was killed between the two; the same train-generator command writes them again.",
        ) from None
    about = run.about()
    a = generator.architecture
    card = known if known and not known.own else Card(
        name=name, kind="generator", file=f"{name}.safetensors", url="", page=str(path.resolve()),
        title=f"a StyleGAN2 trained on {about['faces']['trained_on']} faces, {a.resolution} px, with its encoder",
        sha256=None, size_bytes=run.generator.stat().st_size, licence=licence or LICENCE, resolution=a.resolution,
        use=f"faces as in {about['faces']['source']}, in the {a.alignment.name} crop of `facemorph align`",
        alignment=a.alignment.name, own=True,
    )  # fmt: skip
    check_writable()
    network, encoder = converted_path(card), encoder_path(fingerprint(generator))
    _copy(run.encoder, encoder)  # first: nothing knows it before the network is there
    if run.directions.exists():
        _copy(run.directions, directions_path(fingerprint(generator)))
    _copy(run.generator, network)
    described = json.loads(json_beside(run.generator).read_text(encoding="utf-8"))
    described["origin"] |= {"card": name, "licence": card.licence}
    described["origin"]["weights"] = {"file": network.name, "bytes": network.stat().st_size, "sha256": sha256(network)}
    with replacing(json_beside(network)) as temporary:
        temporary.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    if card.own:
        write_own_card(card)
    return card, network, encoder


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
