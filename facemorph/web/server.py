"""Starts the page: one FastAPI application behind the guard, the page in each language, and each visitor's files."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import facemorph as fm
from facemorph.errors import ConfigError
from facemorph.web.guard import LOCAL_NAMES, MAX_UPLOAD_BYTES, Guard, Rules
from facemorph.web.sessions import KEEP_SECONDS, Sessions, sweeping
from facemorph.web.shop import LIVE, Shop, pack
from facemorph.web.streams import Streams
from facemorph.web.uploads import add_routes
from facemorph.web.words import LANGUAGES, Words, preferred

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


def check_address(host: str, auth: tuple[str, str] | None, allow_hosts: tuple[str, ...], *, open_to_all: bool) -> None:
    """Raises ConfigError where others could reach the page and none would be asked for a password."""
    public = host not in LOCAL_HOSTS or bool(allow_hosts)
    if public and auth is None and not open_to_all:
        raise ConfigError(
            f"At {', '.join(allow_hosts) or host} others can reach this page, so a password is required.",
            "Give --auth NAME:PASSWORD, or set FACEMORPH_WEB_AUTH; --no-auth if a proxy asks for one.",
        )


def make_app(shop: Shop) -> Any:
    """The ASGI application, to stand behind a `Guard` and `Streams`."""
    os.environ.update(GRADIO_TEMP_DIR=str(shop.sessions.scratch), **OFFLINE)
    import gradio as gr
    from fastapi import FastAPI, Request
    from fastapi.responses import FileResponse, RedirectResponse, Response

    from facemorph.web.forgetful import let_html_be, make_forgetful
    from facemorph.web.page import build, look

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/")
    def start(request: Request) -> Response:
        return RedirectResponse(f"/{preferred(request.headers.get('accept-language', ''))}/", 302)

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(ICON, media_type="image/svg+xml")

    @app.get("/mine/{name}")
    def mine(name: str, request: Request) -> Response:
        session = shop.sessions.find(request.cookies.get("facemorph"))
        path = None
        if session:
            path = shop.quick.submit(pack, shop, session, name).result() if name in LIVE else session.files.get(name)
        if path is None or not path.is_file():
            return Response("It is not here (any more).", 404, media_type="text/plain")
        return FileResponse(path, filename=name)

    add_routes(app, shop.sessions)
    let_html_be()
    for language in LANGUAGES:
        words = Words(language)
        blocks = build(shop, words)
        blocks.queue(default_concurrency_limit=None, max_size=2000, api_open=False)
        gr.mount_gradio_app(
            app, blocks, f"/{language}", footer_links=[], run_history=False, show_error=False, ssr_mode=False,
            pwa=False, enable_monitoring=False, mcp_server=False, max_file_size=MAX_UPLOAD_BYTES, blocked_paths=["/"],
            **look(),
        )  # fmt: skip
        make_forgetful(getattr(app.routes[-1], "app"), blocks)  # noqa: B009
    return _Rewritten(app)


OFFLINE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "GRADIO_SSR_MODE": "False",
}


ICON = (  # two faces become one
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="12" cy="16" r="10" fill="#0f766e"/>'
    '<circle cx="20" cy="16" r="10" fill="#5eead4" fill-opacity=".75"/></svg>'
)


class _Rewritten:
    """Gradio's page in the visitor's language, for screen readers, and without its links to other sites."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        parts = scope.get("path", "").strip("/").split("/")
        if scope["type"] != "http" or len(parts) != 1 or parts[0] not in LANGUAGES:
            return await self.app(scope, receive, send)
        started: list[Any] = []
        body = bytearray()

        async def collect(message: Any) -> None:
            if message["type"] == "http.response.start":
                started.append(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            page = _cleaned(bytes(body).decode(), parts[0]).encode()
            start = started[0]
            kept = [one for one in start["headers"] if one[0].lower() != b"content-length"]
            await send({**start, "headers": [*kept, (b"content-length", b"%d" % len(page))]})
            await send({"type": "http.response.body", "body": page})

        await self.app(scope, receive, collect)
        return None


def _cleaned(page: str, language: str) -> str:
    import re

    page = page.replace('lang="en"', f'lang="{language}"', 1)
    page = re.sub(r'<link rel="(?:preconnect|manifest)"[^>]*>', "", page)
    page = re.sub(r'<meta\s+(?:property="og:|name="twitter:)[^>]*>', "", page)
    return page.replace(", shrink-to-fit=no", "")


def serve(
    *,
    network: str | Path | None = None,
    runs: tuple[Path, ...] = (),
    host: str = "127.0.0.1",
    port: int = 7860,
    rules: Rules | None = None,
    keep_seconds: float = KEEP_SECONDS,
    ready: Callable[[str], object] = lambda address: None,
) -> None:
    """Serve the page until it is interrupted; then delete what visitors uploaded and made.

    Args:
        ready: is called with the address, once the page can be opened.

    Raises:
        ConfigError: the port is taken, or another address than this machine's.
        RunError: one of `runs` is no run folder.
        WeightsError: the network is not on this machine.
    """
    import socket

    import uvicorn

    named = {fm.Run(path).path.resolve().name: path for path in runs}
    local = host in LOCAL_HOSTS
    rules = rules or Rules()
    if local and rules.hosts:
        rules = Rules(rules.auth, (*rules.hosts, *LOCAL_NAMES), rules.uploads)
    elif local:
        rules = Rules(rules.auth, LOCAL_NAMES, rules.uploads)
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"Cannot listen on {host}, port {port}: {error.strerror or error}.", "Choose another --port."
        ) from None
    shop = Shop(fm.Network(network), Sessions(keep_seconds), runs=named)
    stop = sweeping(shop.sessions, min(30, keep_seconds / 2))
    try:
        streams = Streams(make_app(shop))
        config = uvicorn.Config(
            Guard(streams, rules), log_level="warning", access_log=False, server_header=False,
            timeout_graceful_shutdown=3, lifespan="on",
        )  # fmt: skip

        class Server(uvicorn.Server):
            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it would call what follows an error
                streams.cut()
                await super().shutdown(sockets)

        server = Server(config)
        shown = "localhost" if local else host
        address = f"http://{shown}:{listening.getsockname()[1]}/"
        threading.Thread(target=_tell_ready, args=(server, ready, address), daemon=True).start()
        if threading.current_thread() is threading.main_thread():
            # uvicorn raises the signal again when it has stopped: then what visitors made must still be deleted
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
    finally:
        stop()
        shop.close()
        listening.close()


def _tell_ready(server: Any, ready: Callable[[str], object], address: str) -> None:
    import time

    while not server.started and not server.should_exit:
        time.sleep(0.05)
    if server.started:
        ready(address)
