"""What stands before every request: who may ask, for what, how much and how often. Anything not named is refused."""

import base64
import binascii
import hmac
import re
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

from facemorph.web.sessions import COOKIE, PREFIX, TOKEN, new_token
from facemorph.web.words import LANGUAGES

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_UPLOAD_BYTES = 20 << 20
MAX_BODY_BYTES = 1 << 20  # of any other request
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Requests in a minute: uploads of a visitor, of an address (a class behind one router), anything else of a visitor.
UPLOADS, UPLOADS_OF_ADDRESS, REQUESTS = 30, 600, 1500

_ROOT = rf"/(?:{'|'.join(LANGUAGES)})"
ALLOWED = {
    "GET": re.compile(
        rf"/|/mine/[a-z0-9_.-]+|{_ROOT}/?|{_ROOT}/(?:config|theme\.css|favicon\.ico|(?:assets|static|svelte)/[\w./-]+)"
        rf"|{_ROOT}/gradio_api/(?:queue/data|startup-events|upload_progress|info|app_id|heartbeat/\w+)"
        r"|/(?:theme\.css|favicon\.ico|manifest\.json|robots\.txt|(?:assets|static)/[\w./-]+)"
    ),
    "POST": re.compile(rf"{_ROOT}/gradio_api/(?:upload|queue/join|run/predict|run/\w+|cancel|reset)/?"),
}
# The page asks to see each upload again; it is read and deleted by then. Nothing is opened, and it is no error.
PREVIEW = re.compile(rf"{_ROOT}/gradio_api/file=[^?#]*/{PREFIX}[^/]+/uploads/[0-9a-f]{{64}}/[^/]+")
HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
        b"connect-src 'self' data: blob:; "
        b"worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"x-frame-options", b"DENY"),
]


@dataclass(frozen=True)
class Rules:
    """Whom the page serves.

    Attributes:
        auth: (name, password) that every request must bring; None asks for none.
        hosts: the names under which it may be asked for; empty: any. Guards against DNS rebinding.
    """

    auth: tuple[str, str] | None = None
    hosts: tuple[str, ...] = ()
    uploads: int = UPLOADS


class Rates:
    """How often each key came in the last minute."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = defaultdict(deque)

    def too_many(self, key: str, most: int) -> bool:
        now, times = time.monotonic(), self._times[key]
        while times and now - times[0] > 60:
            times.popleft()
        if len(self._times) > 10_000:
            self._times = defaultdict(deque, {k: v for k, v in self._times.items() if v and now - v[-1] < 60})
            times = self._times[key]
        if len(times) >= most:
            return True
        times.append(now)
        return False


class Guard:
    """ASGI middleware."""

    def __init__(self, app: App, rules: Rules) -> None:
        self.app, self.rules, self.rates = app, rules, Rates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        token = cookie_of(headers.get("cookie", ""))
        fresh = None
        if token is None:  # the rest of this request is that of the new visitor already
            token = fresh = new_token()
            kept = [one for one in scope["headers"] if one[0] != b"cookie"]
            scope = {**scope, "headers": [*kept, (b"cookie", f"{COOKIE}={token}".encode())]}
        refusal = self._refusal(scope, headers, token)
        secure = "; Secure" if scope.get("scheme") == "https" else ""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message.get("headers", ())}
                message["headers"] = [*message.get("headers", ()), *(one for one in HEADERS if one[0] not in given)]
                if fresh:
                    value = f"{COOKIE}={fresh}; Path=/; HttpOnly; SameSite=Strict{secure}"
                    message["headers"].append((b"set-cookie", value.encode()))
                if b"cache-control" not in given:
                    fixed = re.search(r"/(assets|static)/", scope["path"])
                    how = b"public, max-age=86400" if fixed else b"private, no-store"
                    message["headers"].append((b"cache-control", how))
            await send(message)

        if refusal:
            status, text = refusal
            extra = [(b"www-authenticate", b'Basic realm="facemorph", charset="UTF-8"')] if status == 401 else []
            body = text.encode()
            start = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body)), *extra]
            await answer({"type": "http.response.start", "status": status, "headers": start})
            return await answer({"type": "http.response.body", "body": body})
        limit = MAX_UPLOAD_BYTES + (64 << 10) if scope["path"].endswith("/upload") else MAX_BODY_BYTES
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:  # who lies about the length is cut off
                return {"type": "http.disconnect"}
            return message

        return await self.app(scope, limited, answer)

    def _refusal(self, scope: Scope, headers: dict[str, str], token: str) -> tuple[int, str] | None:
        """Status and text, or None for what may go on."""
        path, method = scope["path"], "GET" if scope["method"] == "HEAD" else scope["method"]
        host = headers.get("host", "")
        address = str((scope.get("client") or ("",))[0])
        if self.rules.hosts and re.sub(r":\d+$", "", host) not in self.rules.hosts:
            return 421, "This page is not served under that name. See facemorph web --allow-host."
        if self.rules.auth and not self._knows(headers.get("authorization", "")):
            if self.rates.too_many(f"auth {address}", 30):
                return 429, "Too many tries. Wait a minute."
            return 401, "A name and a password are needed."
        if method == "GET" and PREVIEW.fullmatch(path):
            return 204, ""
        allowed = ALLOWED.get(method)
        if allowed is None or not allowed.fullmatch(path) or ".." in path:
            return 404, "There is no such page."
        if method == "POST":
            origin = headers.get("origin")
            if origin is not None and origin.partition("://")[2] != host:
                return 403, "This request comes from another page."
            length = headers.get("content-length", "0")
            upload = path.endswith("/upload")
            if not length.isdigit() or int(length) > (MAX_UPLOAD_BYTES + (64 << 10) if upload else MAX_BODY_BYTES):
                return 413, f"At most {MAX_UPLOAD_BYTES >> 20} MB can be uploaded."
            if upload and self.rates.too_many(f"upload {address}", UPLOADS_OF_ADDRESS):
                return 429, "Too many uploads. Wait a minute."
            if upload and self.rates.too_many(f"upload {address} {token}", self.rules.uploads):
                return 429, "Too many uploads. Wait a minute."
        if self.rates.too_many(f"any {address} {token}", REQUESTS):
            return 429, "Too many requests. Wait a minute."
        return None

    def _knows(self, authorization: str) -> bool:
        assert self.rules.auth is not None
        kind, _, encoded = authorization.partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True) if kind.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        return hmac.compare_digest(given, ":".join(self.rules.auth).encode())


def cookie_of(header: str) -> str | None:
    """The visitor's token in a Cookie header; None where there is none of ours."""
    try:
        cookie = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie and TOKEN.fullmatch(cookie.value) else None
