"""What is known of each published file: where it comes from, its hash, its licence, what it is for."""

import difflib
import functools
from dataclasses import dataclass
from pathlib import Path

import yaml

from facemorph.errors import WeightsError

CARDS_FILE = Path(__file__).with_name("cards.yaml")
LIST = "facemorph weights list shows the known names."


@dataclass(frozen=True)
class Card:
    """A published file.

    Attributes:
        name: what the user calls it.
        kind: "generator", converted after download, or "file", used as it is.
        file: its published name.
        url: where it is fetched; `page`: where a person finds it.
        sha256, size_bytes: None where nobody has published them.
        resolution: side of the images in px; None for what makes none.
        use: what it is for.
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

    @property
    def by_hand(self) -> str:
        return (
            f"By hand: open {self.page} in a browser, download {self.file}, "
            f"then: facemorph weights add {self.file} --name {self.name}"
        )


@functools.cache
def _read_cards(path: Path) -> dict[str, Card]:
    return {name: Card(name=name, **fields) for name, fields in yaml.safe_load(path.read_text()).items()}


def cards() -> dict[str, Card]:
    """All cards, by name."""
    return _read_cards(CARDS_FILE)


def card(name: str) -> Card:
    """Raises:
    WeightsError: there is no such card.
    """
    known = cards()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise WeightsError(f"No card is called {name!r}.", f"Did you mean {near[0]}?" if near else LIST)
    return known[name]
