"""Download, cache, cards and the `weights` command, against a real HTTP server on this machine."""

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from published_files import ada_from, ada_snapshot, dumps, stylegan1, stylegan2

from facemorph import download as download_module
from facemorph import weights
from facemorph.cli import main
from facemorph.download import download
from facemorph.errors import WeightsError

CONTENT = bytes(range(256)) * 8192  # 2 MiB
QUOTA_PAGE = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body></body></html>"


@dataclass
class Host:
    """How the server answers, and what it was asked."""

    content: bytes = CONTENT
    etag: str | None = '"1"'
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes of the next answers after which the line breaks
    statuses: list[int] = field(default_factory=list)  # of the next answers, before any good one
    kind: str = "application/octet-stream"
    redirect: str | None = None
    says_length: bool = True
    lies_about_range: bool = False
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host: Host

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        host = self.host
        self.close_connection = True
        host.asked.append(self.headers.get("Range"))
        if host.statuses:
            self.send_response(host.statuses.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if host.redirect and self.path == "/first":
            self.send_response(302)
            self.send_header("Location", host.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, host.etag)
        if wanted and host.ranges and same:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(host.content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            said = start + 1 if host.lies_about_range else start
            self.send_header("Content-Range", f"bytes {said}-{len(host.content) - 1}/{len(host.content)}")
        else:
            self.send_response(200)
        body = host.content[start:]
        self.send_header("Content-Type", host.kind)
        if host.etag:
            self.send_header("ETag", host.etag)
        if host.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: host.cut_after.pop(0)] if host.cut_after else body)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    host = Host()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"host": host}))
    server.daemon_threads = True
    host.url = f"http://127.0.0.1:{server.server_port}/file"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield host
    server.shutdown()
    thread.join()
    server.server_close()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetch(host: Host, target: Path, **known: Any) -> None:
    download(host.url, target, pause_seconds=0.001, by_hand="By hand: do it.", **known)


def leftovers(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path != target)


# The download


def test_a_file_arrives_whole_and_leaves_nothing_beside(host: Host, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "file.pkl"
    fetch(host, target, sha256=sha(CONTENT), size_bytes=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert leftovers(target) == []
    assert host.asked == [None]


def test_interruptions_are_resumed_where_they_happened(host: Host, tmp_path: Path) -> None:
    host.cut_after = [300_000, 500_000, 10]
    fetch(host, tmp_path / "file.pkl", sha256=sha(CONTENT))
    assert (tmp_path / "file.pkl").read_bytes() == CONTENT
    assert host.asked == [None, "bytes=300000-", "bytes=800000-", "bytes=800010-"]


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(host: Host, tmp_path: Path) -> None:
    target = tmp_path / "file.pkl"
    host.cut_after = [300_000]
    host.statuses = []
    original, host.statuses = host.statuses, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download_module, "ATTEMPTS", 1)
        with pytest.raises(WeightsError, match=r"300,000 bytes are kept, to go on from") as caught:
            fetch(host, target)
    assert "By hand: do it." in caught.value.hint
    assert not target.exists()
    assert original == []
    fetch(host, target)  # no hash is known: the host's ETag vouches for what is held
    assert target.read_bytes() == CONTENT
    assert host.asked == [None, "bytes=300000-"]


def test_a_host_that_knows_no_ranges_begins_anew(host: Host, tmp_path: Path) -> None:
    host.ranges, host.cut_after = False, [300_000]
    fetch(host, tmp_path / "file.pkl", sha256=sha(CONTENT))
    assert (tmp_path / "file.pkl").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_begins_anew(host: Host, tmp_path: Path) -> None:
    target, other = tmp_path / "file.pkl", CONTENT[::-1]
    host.cut_after = [300_000]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(WeightsError):
        patch.setattr(download_module, "ATTEMPTS", 1)
        fetch(host, target)
    host.content, host.etag = other, '"2"'
    fetch(host, target)
    assert target.read_bytes() == other


def test_without_mark_or_hash_an_interrupted_download_begins_anew(host: Host, tmp_path: Path) -> None:
    host.etag, host.cut_after = None, [300_000]
    fetch(host, tmp_path / "file.pkl")
    assert (tmp_path / "file.pkl").read_bytes() == CONTENT
    assert host.asked == [None, None]


def test_a_range_that_begins_elsewhere_is_not_appended(host: Host, tmp_path: Path) -> None:
    host.lies_about_range, host.cut_after = True, [300_000]
    with pytest.raises(WeightsError, match="continues at another place"):
        fetch(host, tmp_path / "file.pkl", sha256=sha(CONTENT))
    assert not (tmp_path / "file.pkl").exists()


def test_what_is_longer_than_the_hosts_file_begins_anew(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file.pkl.part").write_bytes(CONTENT + b"more")
    fetch(host, tmp_path / "file.pkl", sha256=sha(CONTENT))
    assert (tmp_path / "file.pkl").read_bytes() == CONTENT


def test_a_host_that_is_busy_is_asked_again(host: Host, tmp_path: Path) -> None:
    host.statuses = [503, 429, 500]
    fetch(host, tmp_path / "file.pkl")
    assert (tmp_path / "file.pkl").read_bytes() == CONTENT


def test_a_host_that_stays_busy_is_given_up(host: Host, tmp_path: Path) -> None:
    host.statuses = [503] * 50
    with pytest.raises(WeightsError, match="answers 503"):
        fetch(host, tmp_path / "file.pkl")
    assert len(host.asked) == download_module.ATTEMPTS


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_told_at_once_with_what_to_do_by_hand(host: Host, status: int, tmp_path: Path) -> None:
    host.statuses = [status]
    with pytest.raises(WeightsError, match=f"answers {status}") as caught:
        fetch(host, tmp_path / "file.pkl")
    assert caught.value.hint == "By hand: do it."
    assert len(host.asked) == 1


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_quota_page_is_told_apart_from_a_file(host: Host, kind: str, tmp_path: Path) -> None:
    host.content, host.kind = QUOTA_PAGE, kind
    with pytest.raises(WeightsError, match="a web page in place of the file") as caught:
        fetch(host, tmp_path / "file.pkl")
    assert "quota" in caught.value.hint and "By hand: do it." in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_hash_is_refused_and_deleted(host: Host, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"has the SHA-256 {sha(CONTENT)}; {'0' * 64} was expected"):
        fetch(host, tmp_path / "file.pkl", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_size_is_refused_before_anything_is_fetched(host: Host, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="offers 2,097,152 bytes; 99 were expected"):
        fetch(host, tmp_path / "file.pkl", size_bytes=99)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_without_a_length_that_ends_early_is_not_taken_for_whole(host: Host, tmp_path: Path) -> None:
    host.says_length, host.cut_after = False, [300_000]
    fetch(host, tmp_path / "file.pkl", size_bytes=len(CONTENT))
    assert (tmp_path / "file.pkl").read_bytes() == CONTENT
    assert len(host.asked) == 2


def test_redirects_are_followed_to_http_only(host: Host, tmp_path: Path) -> None:
    good, first = host.url, host.url.replace("/file", "/first")
    host.redirect = good
    download(first, tmp_path / "file.pkl")
    assert (tmp_path / "file.pkl").read_bytes() == CONTENT
    for bad in ("file:///etc/hostname", "ftp://127.0.0.1/x"):
        host.redirect = bad
        with pytest.raises(WeightsError, match=r"sends on to .* not followed|answers 302"):
            download(first, tmp_path / "other.pkl", pause_seconds=0.001)
    assert [path.name for path in tmp_path.iterdir()] == ["file.pkl"]


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:text/plain,x", "network.pkl"])
def test_only_http_addresses_are_fetched(url: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no http or https address"):
        download(url, tmp_path / "x")


def test_a_host_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(WeightsError, match=r"no connection to 127\.0\.0\.1:9 \(Connection refused\)"):
        download("http://127.0.0.1:9/x", tmp_path / "x", pause_seconds=0.001)


def test_a_full_disk_is_told_before_the_download(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(WeightsError, match=r"2 MiB are needed in .*, and 1 are free"):
        fetch(host, tmp_path / "file.pkl")


def test_progress_shows_the_rate_and_what_was_there_already(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host.cut_after = [1_048_576]
    fetch(host, tmp_path / "file.pkl", show=True)
    shown = capsys.readouterr().err
    assert "file.pkl" in shown and "2.10M/2.10M" in shown and "B/s" in shown


# Cards and the cache


def test_every_card_is_complete() -> None:
    cards = weights.cards()
    assert {"stylegan1-ffhq-1024", "stylegan2-ffhq-1024", "stylegan2-ada-ffhq-1024"} <= set(cards)
    for card in cards.values():
        assert card.kind in weights.KINDS
        assert card.url.startswith("https://")
        assert card.sha256 is None or len(bytes.fromhex(card.sha256)) == 32
        assert card.licence and card.use and card.title and card.page
        assert (card.kind == "generator") == (card.resolution is not None)
        assert f"--name {card.name}" in card.by_hand
    assert len({card.file for card in cards.values()}) == len(cards)


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
    assert weights.cache_folder() == Path(expected.replace("HOME", str(tmp_path)))


# The command


@pytest.fixture
def shelf(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder and cards whose files the local server has."""
    host.content = dumps(stylegan1(8))
    common = {"url": host.url, "page": "https://example.org/page", "licence": "CC0", "use": "tests"}
    cards = {
        "tiny": {**common, "title": "Tiny", "kind": "generator", "file": "tiny.pkl", "resolution": 8,
                 "sha256": sha(host.content), "size_bytes": len(host.content)},
        "unhashed": {**common, "title": "Unhashed", "kind": "generator", "file": "unhashed.pkl", "resolution": 8,
                     "sha256": None, "size_bytes": None},
        "plain": {**common, "title": "Plain", "kind": "file", "file": "plain.pth", "resolution": None,
                  "sha256": sha(CONTENT), "size_bytes": None},
    }  # fmt: skip
    (tmp_path / "cards.yaml").write_text(yaml.safe_dump(cards, sort_keys=False))
    monkeypatch.setattr(weights, "CARDS_FILE", tmp_path / "cards.yaml")
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
    assert "on no card" in run("weights", "add", mine).output
    assert "; tiny has" in run("weights", "add", mine, "--name", "tiny").output
    assert "is a web page" in run("weights", "add", page, "--name", "unhashed").output
    assert "No such file" in run("weights", "add", tmp_path / "nothing").output
    assert not shelf.exists()
    assert run("weights", "add", mine, "--name", "unhashed", "-q").exit_code == 0
    assert weights.find_network("unhashed") == shelf / "unhashed.safetensors"


def test_verify_finds_what_was_changed(shelf: Path) -> None:
    assert "Nothing is here yet" in run("weights", "verify").output
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
    assert weights.find_network("mine.pkl") == Path("mine.pkl")
    for name, says in (
        ("tiny", "are not here yet"),
        ("plain", "is no generator"),
        ("no/such.pkl", "No such file"),
        ("tyny", "No card is called"),
    ):
        with pytest.raises(WeightsError, match=says):
            weights.find_network(name)
    shelf.mkdir(parents=True)
    (shelf / "tiny.pkl").write_bytes(dumps(stylegan1(8)))  # downloaded by an earlier run that was stopped
    assert weights.find_network("tiny") == shelf / "tiny.safetensors"
    (shelf / "plain.pth").write_bytes(CONTENT)
    assert weights.find_file("plain") == shelf / "plain.pth"
