"""Published weights: their cards, the cache folder, and how a name becomes a file that can be loaded."""

import difflib
import functools
import logging
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from facemorph.download import download, is_web_page
from facemorph.errors import OutputError, WeightsError
from facemorph.files import replacing, sha256

log = logging.getLogger("facemorph")

CARDS_FILE = Path(__file__).with_name("weights.yaml")
KINDS = ("generator", "file")
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
        resolution: side of the pictures in px; None for what makes none.
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


def cache_folder() -> Path:
    """FACEMORPH_CACHE, or a folder of ours in the platform's cache folder."""
    chosen = os.environ.get("FACEMORPH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "facemorph" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "facemorph"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "facemorph"


def published_path(card: Card) -> Path:
    return cache_folder() / "weights" / card.file


def converted_path(card: Card) -> Path:
    return cache_folder() / "weights" / f"{card.name}.safetensors"


def state(card: Card) -> str:
    """ "ready", "downloaded" (not converted), "begun" (a download to go on with) or "absent"."""
    published, converted = published_path(card), converted_path(card)
    if card.kind == "generator" and converted.exists() and converted.with_suffix(".json").exists():
        return "ready"
    if published.exists():
        return "downloaded" if card.kind == "generator" else "ready"
    return "begun" if published.with_name(published.name + ".part").exists() else "absent"


def fetch(card: Card, show: bool = False) -> Path:
    """Download, check and (a generator) convert. What is here already is not fetched again.

    Returns: the file to load.

    Raises:
        WeightsError: the download failed, or what came is not the published file.
    """
    if state(card) == "ready":
        return ready_path(card)
    published = published_path(card)
    if published.exists():
        return _make_ready(card)
    _check_writable()
    known = {"sha256": card.sha256, "size_bytes": card.size_bytes, "by_hand": card.by_hand}
    download(card.url, published, **known, show=show)  # type: ignore[arg-type]
    try:
        return _make_ready(card)
    except WeightsError:
        published.unlink()  # no hash was known, and it is no network: the next run shall not find it
        raise


def ready_path(card: Card) -> Path:
    return converted_path(card) if card.kind == "generator" else published_path(card)


def _make_ready(card: Card) -> Path:
    if card.kind == "generator":
        from facemorph.stylegan.load import convert

        published = published_path(card)
        log.info("Converting %s.", published.name)
        convert(
            published, converted_path(card), overwrite=True,
            card=card.name, licence=card.licence, sha256=sha256(published),
        )  # fmt: skip
    return ready_path(card)


def add(file: Path, name: str | None = None) -> tuple[Card, Path]:
    """Take a file that the user downloaded into the cache, known by its hash or by `name`.

    Raises:
        WeightsError: it is missing, a web page, no known file, or not the one that `name` has.
    """
    if not file.is_file():
        raise WeightsError(f"No such file: {file}.", "Check the path.")
    with file.open("rb") as opened:
        if is_web_page(opened.read(1024)):
            raise WeightsError(
                f"{file} is a web page, not weights.",
                "The browser saved the host's answer in place of the file: follow its download button.",
            )
    found = sha256(file)
    chosen = card(name) if name else next((each for each in cards().values() if each.sha256 == found), None)
    if chosen is None:
        raise WeightsError(
            f"{file} has the SHA-256 {found}, which is on no card.",
            "Say which it is with --name, or use it without a card: facemorph weights convert FILE",
        )
    if chosen.sha256 not in (None, found):
        raise WeightsError(f"{file} has the SHA-256 {found}; {chosen.name} has {chosen.sha256}.", chosen.by_hand)
    _check_writable()
    target = published_path(chosen)
    if not (target.exists() and target.samefile(file)):
        with replacing(target) as temporary:
            shutil.copyfile(file, temporary)
    return chosen, _make_ready(chosen)


@dataclass(frozen=True)
class Finding:
    """What `verify` saw of one file."""

    path: Path
    good: bool
    remark: str


def verify(card: Card) -> list[Finding]:
    """Read again every file of a card that is here, and compare its hash with the card's or the one noted."""
    from facemorph.stylegan.converted import read_json

    findings: list[Finding] = []
    published, converted = published_path(card), converted_path(card)
    noted: dict[str, object] = {}
    if converted.exists():
        try:
            noted = read_json(converted)[1]
            weights = noted.get("weights")
            expected = weights.get("sha256") if isinstance(weights, dict) else None
            findings.append(_compare(converted, expected))
        except WeightsError as error:
            findings.append(Finding(converted, False, error.problem))
    if published.exists():
        expected = card.sha256 or noted.get("sha256")
        findings.append(_compare(published, expected))
    return findings


def _compare(path: Path, expected: object) -> Finding:
    found = sha256(path)
    if not isinstance(expected, str):
        return Finding(path, True, f"SHA-256 {found}; nothing to compare with")
    return Finding(
        path,
        found == expected,
        "as published" if found == expected else f"SHA-256 {found}; {expected} expected",
    )


def find_network(name_or_path: str | Path) -> Path:
    """The file to load for a card's name or a path. What was downloaded but not converted is converted now.

    Raises:
        WeightsError: there is no such file and no such card, or its weights are not here yet.
    """
    path = Path(name_or_path)
    if path.exists():
        return path
    name = str(name_or_path)
    if name not in cards() and (path.suffix or len(path.parts) > 1):
        raise WeightsError(f"No such file: {path}.", f"Name a file or a card. {LIST}")
    chosen = card(name)
    if chosen.kind != "generator":
        raise WeightsError(f"{name} is no generator: it is for {chosen.use}.", LIST)
    return find_file(name)


def find_file(name: str) -> Path:
    """The file of a card, ready to load.

    Raises:
        WeightsError: there is no such card, or its file is not here yet.
    """
    chosen = card(name)
    now = state(chosen)
    if now == "downloaded":
        return _make_ready(chosen)
    if now != "ready":
        raise WeightsError(
            f"The weights {name} ({chosen.licence}) are not here yet.",
            f"Fetch them: facemorph weights fetch {name}\n{chosen.by_hand}",
        )
    return ready_path(chosen)


def _check_writable() -> None:
    """Raises:
    OutputError: the cache folder cannot be made or written.
    """
    folder = cache_folder() / "weights"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"Cannot make the cache folder {folder}: {error.strerror or error}.",
            "Set FACEMORPH_CACHE=FOLDER.",
        ) from error
