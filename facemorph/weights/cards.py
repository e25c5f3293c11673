"""A card for each weights file: source, SHA-256, licence, use, and the commands that need it."""

import dataclasses
import difflib
import functools
import logging
from dataclasses import dataclass
from pathlib import Path

import yaml

from facemorph.errors import WeightsError
from facemorph.files import write_text
from facemorph.weights.folder import cache_folder

log = logging.getLogger("facemorph")

CARDS_FILE = Path(__file__).with_name("cards.yaml")
LIST = "facemorph weights list shows the known names."


@dataclass(frozen=True)
class Card:
    """A published file.

    Attributes:
        name: what the user calls it.
        kind: "generator", converted after download, or "file", used as it is.
        file: its published name.
        url: of the file; `page`: of the web page with it. Without a url `page` is a folder of the project's repository.
        sha256, size_bytes: None where nobody has published them.
        resolution: side of the images in px; None for other files.
        use: what it is for.
        alignment: name of the alignment of a generator's faces: ffhq or eyes.
        about_bytes: approximate size, where `size_bytes` is not known.
        embedded: it is inside the package and needs no download.
        own: trained on this machine, or brought from another: `weights add` made the card.
    """

    name: str
    title: str
    kind: str
    file: str
    url: str
    page: str
    sha256: str | None
    size_bytes: int | None
    licence: str
    resolution: int | None
    use: str
    alignment: str | None = None
    about_bytes: int | None = None
    embedded: bool = False
    own: bool = False

    @property
    def size_text(self) -> str:
        """The size, such as "325 MB"; empty if it is not known."""
        size = self.size_bytes or self.about_bytes
        if not size:
            return ""
        about = "" if self.size_bytes else "about "
        return f"{about}{size / 1e6:,.0f} MB" if size >= 1e6 else f"{about}{max(size / 1e6, 0.01):.2f} MB"

    @property
    def by_hand(self) -> str:
        if self.embedded:
            return "It is part of the package: reinstall facemorph-toolkit."
        if self.own:
            return f"It came from {self.page}: facemorph weights add {self.page} --name {self.name} --overwrite"
        if not self.url:
            return f"It lies in the project's repository: facemorph weights add {self.page} --name {self.name}"
        return (
            f"By hand: open {self.page} in a browser, download {self.file}, "
            f"then: facemorph weights add {self.file} --name {self.name}"
        )


@dataclass(frozen=True)
class Need:
    """The weights that a command needs in addition to the package.

    Attributes:
        cards: names, the network first.
        what: what they make possible.
    """

    cards: tuple[str, ...]
    what: str


FFHQ_NETWORK = "stylegan1-ffhq-1024"  # the one that published directions belong to
_PERCEPTUAL = ("vgg16", "lpips-vgg")
_DIRECTIONS = ("stylegan1-ffhq-direction-age", "stylegan1-ffhq-direction-gender")
NEEDS = {
    "generate": Need((FFHQ_NETWORK,), "faces of 1024 px"),
    "project": Need((FFHQ_NETWORK, *_PERCEPTUAL), "portraits projected at 1024 px, with LPIPS"),
    "morph": Need((FFHQ_NETWORK, *_PERCEPTUAL), "morphs at 1024 px"),
    "child": Need((FFHQ_NETWORK, *_PERCEPTUAL, *_DIRECTIONS), "children at 1024 px, by age and gender"),
    "evaluate": Need(_PERCEPTUAL, "evaluation of morphs by LPIPS"),
}


def need(command: str) -> Need:
    """The weights that a command needs.

    Raises:
        WeightsError: it needs none, or there is no such command.
    """
    if command not in NEEDS:
        raise WeightsError(f"No weights are needed for {command!r}.", f"Choose from {', '.join(NEEDS)}.")
    return NEEDS[command]


@functools.cache
def _read_cards(path: Path) -> dict[str, Card]:
    return {name: Card(name=name, **fields) for name, fields in yaml.safe_load(path.read_text()).items()}


def own_card_path(name: str) -> Path:
    """Where the card of a network of one's own lies."""
    return cache_folder() / "cards" / f"{name}.yaml"


def _own_cards() -> dict[str, Card]:
    found = {}
    folder = cache_folder() / "cards"
    for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else ():
        try:
            found[path.stem] = Card(name=path.stem, own=True, **yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, TypeError, UnicodeDecodeError) as error:
            log.warning("%s is not a card and is ignored: %s", path, str(error)[:200])
    return found


def write_own_card(one: Card) -> None:
    """Make a card known on this machine, until the file is deleted.

    Raises:
        OutputError: the cache folder cannot be written.
    """
    fields = {key: value for key, value in dataclasses.asdict(one).items() if key not in ("name", "own", "embedded")}
    write_text(own_card_path(one.name), yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))


def cards() -> dict[str, Card]:
    """All cards, by name: those of the package, then those of one's own networks."""
    shipped = _read_cards(CARDS_FILE)
    return {**shipped, **{name: one for name, one in _own_cards().items() if name not in shipped}}


def card(name: str) -> Card:
    """The card of this name.

    Raises:
        WeightsError: there is none.
    """
    known = cards()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise WeightsError(f"No card is called {name!r}.", f"Did you mean {near[0]}?" if near else LIST)
    return known[name]
