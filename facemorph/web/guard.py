"""What stands before every request: who may ask, for what, how much and how often. Anything not named is refused."""

import base64
import binascii
import hmac
import json
import re
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from facemorph.web.rates import Open, Pages, Rates
from facemorph.web.sessions import COOKIE, TOKEN, new_token
from facemorph.web.streams import ASKS, App, Message, Receive, Scope, Send
from facemorph.web.uploads import UPLOAD
from facemorph.web.words import LANGUAGES

MAX_UPLOAD_BYTES = 20 << 20
MAX_BODY_BYTES = 1 << 20  # of any other request
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Requests in a minute of a visitor, and of an address (a class behind one router): uploads, anything, and first visits.
UPLOADS, UPLOADS_OF_ADDRESS = 30, 600
REQUESTS, REQUESTS_OF_ADDRESS, VISITORS_OF_ADDRESS = 1500, 30_000, 600
JOINS = 240  # times in a minute that a visitor asks for something in the queue
MOST_OPEN, MOST_OPEN_OF_ADDRESS = 40, 1000  # requests being answered at once
WRONG_PASSWORDS = 30  # in a minute, of an address
MOST_INSIDE = 2000
MOST_UNREAD = 40  # answers that a page may leave lying
DEEPEST = 8

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
PREVIEW = re.compile(rf"{_ROOT}/gradio_api/file={UPLOAD.pattern}")
PAGE = re.compile(r"\w{1,64}")  # the name of an open page, as it chose it
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


class Guard:
    """ASGI middleware."""

    def __init__(self, app: App, rules: Rules) -> None:
        self.app, self.rules = app, rules
        self.rates, self.open, self.pages = Rates(), Open(), Pages()
        self.inside: dict[str, None] = {}  # visitors who gave the password

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
        refusal = self._refusal(scope, headers, token, bool(fresh))
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
            return await _refuse(refusal, answer)
        address, stream = address_of(scope), page_of(scope) or ""
        here = {f"visitor {address} {token}": MOST_OPEN, f"address {address}": MOST_OPEN_OF_ADDRESS}
        if not self.open.enter(here):
            return await _refuse((429, "Too many requests at once."), answer)
        self.pages.opened(stream)
        scope = {**scope, ASKS: stream}
        upload = scope["path"].endswith("/upload")
        limit = MAX_UPLOAD_BYTES + (64 << 10) if upload else MAX_BODY_BYTES
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:  # who lies about the length is cut off
                return {"type": "http.disconnect"}
            return message

        try:
            body: Receive = limited
            if scope["method"] == "POST" and not upload:
                refusal, body = await self._body(scope, limited, token)
            if refusal:
                return await _refuse(refusal, answer)
            return await self.app(scope, body, answer)
        finally:
            self.open.leave(here)
            self.pages.closed(stream)

    async def _body(self, scope: Scope, receive: Receive, token: str) -> tuple[tuple[int, str] | None, Receive]:
        """What is wrong with what a page asks Gradio for, and the body to be received once more."""
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                break
            body += message.get("body", b"")
            more = message.get("more_body", False)
        given = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again() -> Message:
            return given.pop() if given else await receive()

        try:
            asked = json.loads(body)
            page = asked.get("session_hash")
        except (ValueError, AttributeError, RecursionError):
            return (400, "That is no request of this page."), again
        if not is_plain(asked) or (page is not None and not (isinstance(page, str) and PAGE.fullmatch(page))):
            return (400, "That is no request of this page."), again
        if page is not None and not self.pages.is_own(page, token):
            return (403, "This page is another visitor's."), again
        scope[ASKS] = page
        joins = scope["path"].rstrip("/").endswith("/queue/join")
        if joins and (self.rates.too_many(f"join {token}", JOINS) or not self.pages.asked(page or "", MOST_UNREAD)):
            return (429, "Too many requests. Wait a minute."), again
        return None, again

    def _refusal(self, scope: Scope, headers: dict[str, str], token: str, fresh: bool) -> tuple[int, str] | None:
        """Status and text of a refusal, or None for a request that may pass."""
        path, method = scope["path"], "GET" if scope["method"] == "HEAD" else scope["method"]
        host = headers.get("host", "")
        address = address_of(scope)
        if self.rules.hosts and re.sub(r":\d+$", "", host) not in self.rules.hosts:
            return 421, "This page is not served under that name. See facemorph web --allow-host."
        if self.rules.auth and (refused := self._no_entry(address, token, headers.get("authorization", ""))):
            return refused
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
        if fresh and self.rates.too_many(f"fresh {address}", VISITORS_OF_ADDRESS):
            return 429, "Too many requests. Wait a minute."
        if self.rates.too_many(f"any {address} {token}", REQUESTS):
            return 429, "Too many requests. Wait a minute."
        if self.rates.too_many(f"any {address}", REQUESTS_OF_ADDRESS):
            return 429, "Too many requests. Wait a minute."
        page = page_of(scope) or heartbeat_of(scope)
        if page is not None and not self.pages.is_own(page, token):
            return 403, "This page is another visitor's."
        return None

    def _no_entry(self, address: str, token: str, authorization: str) -> tuple[int, str] | None:
        """Asks for the password; after too many wrong ones the right one does not count either, but for who is in."""
        if not authorization:
            return 401, "A name and a password are needed."
        tries = f"auth {address}"
        if token not in self.inside and self.rates.count(tries) >= WRONG_PASSWORDS:
            return 429, "Too many tries. Wait a minute."
        if not self._knows(authorization):
            self.rates.too_many(tries, WRONG_PASSWORDS)
            return 401, "A name and a password are needed."
        self.inside[token] = None
        while len(self.inside) > MOST_INSIDE:
            del self.inside[next(iter(self.inside))]
        return None

    def _knows(self, authorization: str) -> bool:
        assert self.rules.auth is not None
        kind, _, encoded = authorization.partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True) if kind.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        return hmac.compare_digest(given, ":".join(self.rules.auth).encode())


def address_of(scope: Scope) -> str:
    return str((scope.get("client") or ("",))[0])


def page_of(scope: Scope) -> str | None:
    """The page that asks for what is shown to it; None for any other request."""
    if not scope["path"].endswith("/queue/data"):
        return None
    return parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_hash", [""])[-1]


def heartbeat_of(scope: Scope) -> str | None:
    """The page that tells that it is open; None for any other request."""
    before, _, page = scope["path"].rpartition("/")
    return page if before.endswith("/gradio_api/heartbeat") else None


async def _refuse(refusal: tuple[int, str], send: Send) -> None:
    status, text = refusal
    extra = [(b"www-authenticate", b'Basic realm="facemorph", charset="UTF-8"')] if status == 401 else []
    body = text.encode()
    start = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a request names no file and no address: Gradio opens any path that it is sent, and fetches any URL."""
    if depth > DEEPEST:
        return False
    if isinstance(value, dict):
        path = value.get("path")
        named = path is None or (isinstance(path, str) and UPLOAD.fullmatch(path) is not None)
        return named and all(is_plain(one, depth + 1) for one in value.values())
    return all(is_plain(one, depth + 1) for one in value) if isinstance(value, list) else True


def cookie_of(header: str) -> str | None:
    """The visitor's token in a Cookie header; None where there is none of ours."""
    try:
        cookie = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie and TOKEN.fullmatch(cookie.value) else None
