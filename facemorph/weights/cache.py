"""The cache folder of published weights: its contents, adding a file, verifying files.

A generator is converted after its download by `facemorph.stylegan.load`; this module is independent of networks.
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from facemorph.embedded import embedded_path
from facemorph.errors import OutputError, WeightsError
from facemorph.files import replacing, sha256
from facemorph.weights.cards import Card, card, cards
from facemorph.weights.download import download, is_web_page
from facemorph.weights.folder import cache_folder

log = logging.getLogger("facemorph")


def published_path(card: Card) -> Path:
    return cache_folder() / "weights" / card.file


def converted_path(card: Card) -> Path:
    if card.embedded:
        return embedded_path(card.name)
    return cache_folder() / "weights" / f"{card.name}.safetensors"


def directions_path(network: str) -> Path:
    """Where the ages and the gender of an added generator lie, by its fingerprint."""
    return cache_folder() / "directions" / f"{network[:16]}.safetensors"


def state(card: Card) -> str:
    """ "ready", "downloaded" (not converted), "begun" (an interrupted download) or "absent"."""
    published, converted = published_path(card), converted_path(card)
    if card.kind == "generator" and converted.exists() and converted.with_suffix(".json").exists():
        return "ready"
    if published.exists():
        return "downloaded" if card.kind == "generator" else "ready"
    return "begun" if published.with_name(published.name + ".part").exists() else "absent"


def fetch(card: Card, progress: bool = False) -> Path:
    """Download and check a card's file, unless it is in the cache.

    Returns: the file as published.

    Raises:
        WeightsError: the download failed, or did not give the published file.
    """
    published = published_path(card)
    if not published.exists():
        if not card.url:
            raise WeightsError(f"{card.name} cannot be downloaded.", card.by_hand)
        check_writable()
        known = {"sha256": card.sha256, "size_bytes": card.size_bytes, "by_hand": card.by_hand}
        download(card.url, published, **known, progress=progress)  # type: ignore[arg-type]
    return published


def ready_path(card: Card) -> Path:
    return converted_path(card) if card.kind == "generator" else published_path(card)


def add(file: Path, name: str | None = None) -> tuple[Card, Path]:
    """Copy a file that the user downloaded into the cache, identified by its SHA-256 or by `name`.

    Returns: its card, and the file in the cache.

    Raises:
        WeightsError: it is missing, a web page, of no card, or not the file of the card `name`.
    """
    if not file.is_file():
        raise WeightsError(f"No such file: {file}.", "Check the path.")
    with file.open("rb") as opened:
        if is_web_page(opened.read(1024)):
            raise WeightsError(
                f"{file} is a web page, not weights.",
                "The browser saved the page instead of the file: use the download button on it.",
            )
    found = sha256(file)
    chosen = card(name) if name else next((each for each in cards().values() if each.sha256 == found), None)
    if chosen is None:
        raise WeightsError(
            f"{file} has the SHA-256 {found}, which no card has.",
            "Name the card with --name, or use the file without a card: facemorph weights convert FILE",
        )
    if chosen.sha256 not in (None, found):
        raise WeightsError(f"{file} has the SHA-256 {found}; {chosen.name} has {chosen.sha256}.", chosen.by_hand)
    if not chosen.url:
        raise WeightsError(f"{file} is one file of {chosen.name}, which has more.", chosen.by_hand)
    check_writable()
    target = published_path(chosen)
    if not (target.exists() and target.samefile(file)):
        with replacing(target) as temporary:
            shutil.copyfile(file, temporary)
    return chosen, target


@dataclass(frozen=True)
class Finding:
    """The result of verifying one file."""

    path: Path
    good: bool
    remark: str


def verify(card: Card, noted_sha256: object = None) -> list[Finding]:
    """Compare the SHA-256 of a card's published file, if it is in the cache, with the card's or the noted one."""
    published = published_path(card)
    if card.own or not published.exists():  # the converted file of a network of one's own is all that there is
        return []
    return [compare_hash(published, card.sha256 or noted_sha256)]


def compare_hash(path: Path, expected: object) -> Finding:
    """Whether a file has the expected SHA-256; without one (not a string) it counts as good."""
    found = sha256(path)
    if not isinstance(expected, str):
        return Finding(path, True, f"SHA-256 {found}; no hash to compare with")
    return Finding(
        path,
        found == expected,
        "as published" if found == expected else f"SHA-256 {found}; {expected} expected",
    )


def find_file(name: str) -> Path:
    """The file of a card, ready to load.

    Raises:
        WeightsError: there is no such card, or its file is not in the cache.
    """
    chosen = card(name)
    if state(chosen) != "ready":
        raise WeightsError(
            f"The weights {name} ({chosen.licence}) have not been downloaded.",
            f"Fetch them: facemorph weights fetch {name}\n{chosen.by_hand}" if chosen.url else chosen.by_hand,
        )
    return ready_path(chosen)


def check_writable() -> None:
    """Create the cache folder.

    Raises:
        OutputError: it cannot be created.
    """
    folder = cache_folder() / "weights"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"Cannot create the cache folder {folder}: {error.strerror or error}.",
            "Choose another one: FACEMORPH_CACHE=FOLDER",
        ) from error
