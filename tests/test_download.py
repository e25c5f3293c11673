"""The download, against a real HTTP server on this machine."""

from pathlib import Path
from typing import Any

import pytest
from file_host import CONTENT, QUOTA_PAGE, Host, sha

from facemorph.errors import WeightsError
from facemorph.weights import download as download_module
from facemorph.weights.download import download


def fetch(host: Host, target: Path, **known: Any) -> None:
    download(host.url, target, pause_seconds=0.001, by_hand="By hand: do it.", **known)


def leftovers(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path != target)


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
        with pytest.raises(WeightsError, match=r"300,000 bytes are kept for the next attempt") as caught:
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
    with pytest.raises(WeightsError, match="resumes at another place"):
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
    with pytest.raises(WeightsError, match="a web page instead of the file") as caught:
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
        with pytest.raises(WeightsError, match=r"redirects to .* not followed|answers 302"):
            download(first, tmp_path / "other.pkl", pause_seconds=0.001)
    assert [path.name for path in tmp_path.iterdir()] == ["file.pkl"]


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:text/plain,x", "network.pkl"])
def test_only_http_addresses_are_fetched(url: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not an http or https address"):
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
    fetch(host, tmp_path / "file.pkl", progress=True)
    shown = capsys.readouterr().err
    assert "file.pkl" in shown and "2.10M/2.10M" in shown and "B/s" in shown
