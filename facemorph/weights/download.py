"""Downloads over HTTP: resumed after an interruption, checked before the file gets its name, with clear errors."""

import hashlib
import http.client
import json
import logging
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from facemorph.errors import WeightsError
from facemorph.files import write_json
from facemorph.progress import progress_bar

log = logging.getLogger("facemorph")

CHUNK_BYTES = 1 << 18
MAX_BYTES = 4 << 30
ATTEMPTS = 6  # in a row without a new byte
TIMEOUT_SECONDS = 30.0
WEB_PAGE_HINT = (
    "Hosts do this when a quota is used up or a confirmation is needed (Google Drive does both): "
    "try again in a day, or open the link in a browser."
)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        scheme = urllib.parse.urlsplit(newurl).scheme.lower()
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise WeightsError(f"{req.full_url} redirects to {newurl[:200]}, which is not followed.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """urllib's opener without its handlers for file:, ftp: and data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener


@dataclass
class _Partial:
    """A partial download, PATH.part, with its URL and the host's ETag or date in PATH.part.json."""

    path: Path
    url: str

    @property
    def notes(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def held(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def mark(self) -> str | None:
        """The host's ETag or date of the partial file, if it is from the same URL."""
        try:
            notes = json.loads(self.notes.read_text())
            return str(notes["mark"]) if notes["url"] == self.url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, mark: str | None) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")
        if mark:
            write_json(self.notes, {"url": self.url, "mark": mark})
        else:
            self.notes.unlink(missing_ok=True)

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)


class _Broken(Exception):
    """The connection failed; the partial file is kept."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size_bytes: int | None = None,
    by_hand: str = "",
    progress: bool = False,
    pause_seconds: float = 1.0,
) -> None:
    """Fetch `url` to `target`, which exists afterwards whole and checked, or not at all.

    An interrupted download, also of an earlier run, is resumed (HTTP Range) if the host sends an ETag or a date, or the
    SHA-256 is known; otherwise it starts again.

    Args:
        sha256, size_bytes: of the file, where known.
        by_hand: how the user can get the file otherwise; part of every message.
        pause_seconds: before the second attempt; doubled for each further one.

    Raises:
        WeightsError: the host cannot be reached, refuses, or sends a web page or another file.
    """
    if urllib.parse.urlsplit(url).scheme.lower() not in ("http", "https"):
        raise WeightsError(f"{url} is not an http or https address.", by_hand)
    partial = _Partial(target.with_name(target.name + ".part"), url)
    failures = 0
    try:
        while True:
            before = partial.held()
            try:
                _continue(partial, sha256, size_bytes, by_hand, progress)
                break
            except _Broken as broken:
                failures = 1 if partial.held() > before else failures + 1
                if failures >= ATTEMPTS:
                    kept = f" {partial.held():,} bytes are kept for the next attempt." if partial.held() else ""
                    raise WeightsError(f"{url} cannot be fetched: {broken}.{kept}", by_hand) from broken
                log.info("%s; trying again.", broken)
                time.sleep(pause_seconds * 2 ** (failures - 1))
        _check(partial, sha256, by_hand)
        partial.path.replace(target)
        partial.notes.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(
            f"Cannot write {partial.path}: {error.strerror or error}.", "Check space and permissions."
        ) from error


def _continue(partial: _Partial, sha256: str | None, size_bytes: int | None, by_hand: str, progress: bool) -> None:
    """One connection: request the missing bytes and append them."""
    held, mark = partial.held(), partial.mark()
    if held and held == size_bytes:
        return
    headers = {"User-Agent": "facemorph", "Accept-Encoding": "identity"}
    if held and (mark or sha256):
        headers["Range"] = f"bytes={held}-"
        if mark:
            headers["If-Range"] = mark
    try:
        response = _opener().open(urllib.request.Request(partial.url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        _explain(error, partial, by_hand)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"no connection to {urllib.parse.urlsplit(partial.url).netloc} ({_reason(error)})") from error
    with response:
        kind = response.headers.get_content_type()
        if kind in ("text/html", "application/xhtml+xml"):
            raise WeightsError(f"{partial.url} sends a web page instead of the file.", f"{WEB_PAGE_HINT}\n{by_hand}")
        start, total = _extent(response, held)
        if total is not None and size_bytes is not None and total != size_bytes:
            raise WeightsError(f"{partial.url} offers {total:,} bytes; {size_bytes:,} were expected.", by_hand)
        if start == 0:
            partial.begin(response.headers.get("ETag") or response.headers.get("Last-Modified"))
        _room(partial.path.parent, (total or size_bytes or 0) - start)
        _receive(response, partial.path, start, total or size_bytes, progress)
    if total is not None and partial.held() > total:  # two runs wrote at once
        partial.drop()
        raise _Broken("more bytes arrived than the file has")


def _explain(error: urllib.error.HTTPError, partial: _Partial, by_hand: str) -> NoReturn:
    """Raise `_Broken` for an HTTP status that may pass, WeightsError for any other."""
    if error.code == 416:  # the partial file is larger than the host's
        partial.drop()
        raise _Broken("the host's file has changed since the download began") from error
    if error.code in (408, 425, 429) or error.code >= 500:
        raise _Broken(f"{urllib.parse.urlsplit(partial.url).netloc} answers {error.code} {error.reason}") from error
    raise WeightsError(f"{partial.url} answers {error.code} {error.reason}.", by_hand) from error


def _extent(response: Any, held: int) -> tuple[int, int | None]:
    """Offset of the response's content in the file, and the size of the whole file (None if unknown)."""
    length = response.headers.get("Content-Length")
    if response.status != 206:
        return 0, int(length) if length and length.isdigit() else None
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if not match or int(match[1]) != held:
        raise _Broken("the host resumes at another place than requested")
    return held, None if match[2] == "*" else int(match[2])


def _room(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise WeightsError(
            f"{needed_bytes / 2**20:,.0f} MiB are needed in {folder}, and {free / 2**20:,.0f} are free.",
            "Free some space, or choose another folder: FACEMORPH_CACHE=FOLDER",
        )


def _receive(response: Any, path: Path, start: int, total: int | None, progress: bool) -> None:
    received = start
    with (
        path.open("ab") as file,
        progress_bar(
            progress, total=total, unit="B", description=path.name.removesuffix(".part"), initial=start
        ) as bar,
    ):
        bar.unit_scale = True
        while True:
            try:
                chunk = response.read(CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise _Broken(f"the connection broke after {received:,} bytes ({_reason(error)})") from error
            if not chunk:
                break
            file.write(chunk)
            received += len(chunk)
            bar.update(len(chunk))
            if received > MAX_BYTES:
                raise WeightsError(f"The host sends more than {MAX_BYTES >> 30} GiB; no published file is that large.")
    if total is not None and received < total:
        raise _Broken(f"the connection ended after {received:,} of {total:,} bytes")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(getattr(reason, "strerror", None) or reason or type(error).__name__)


def _check(partial: _Partial, sha256: str | None, by_hand: str) -> None:
    """Check the downloaded file; what is not the expected file is deleted.

    Raises:
        WeightsError: it is a web page or another file.
    """
    with partial.path.open("rb") as file:
        head = file.read(1024)
        file.seek(0)
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if is_web_page(head):
        partial.drop()
        raise WeightsError(f"{partial.url} sends a web page instead of the file.", f"{WEB_PAGE_HINT}\n{by_hand}")
    if sha256 is not None and found != sha256:
        partial.drop()
        raise WeightsError(
            f"The file from {partial.url} has the SHA-256 {found}; {sha256} was expected. It was deleted.",
            f"It was changed on the host or on the way. {by_hand}",
        )


def is_web_page(head: bytes) -> bool:
    """Whether the first bytes of a file are those of HTML or XML."""
    start = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return bool(re.match(rb"<(!doctype|html|head|\?xml|!--|body|error)", start))
