"""A real HTTP server on this machine that has one file, and answers as badly as it is told to."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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


@contextmanager
def serving() -> Iterator[Host]:
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
