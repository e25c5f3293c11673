"""Uploads: straight into the visitor's own folder, under a name that nobody can guess and only that visitor may use.

Gradio's own way is shut. It gives the page a path on this server and believes whatever path comes back.
"""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from facemorph.web.sessions import COOKIE, Sessions, remove
from facemorph.web.words import LANGUAGES

UPLOAD = re.compile(r"[0-9a-f]{32}")  # the name of an upload, as `Session.take_in` makes it
FOLLOW_SECONDS = 0.1
WAIT_SECONDS = 3.0  # for an upload of which the progress is asked for


class Progress:
    """Of an upload under way: its file's name, and bytes received that were not told yet."""

    def __init__(self) -> None:
        self.name, self.new, self.done = "", 0, False

    def received(self, body: bytes) -> None:
        if not self.name:
            found = re.search(rb'filename="([^"\r\n]{1,300})"', body[:2000])
            self.name = found[1].decode("utf-8", "replace") if found else ""
        self.new += len(body)


def suffix_of(name: str) -> str:
    """The end of a file's name, as far as it is harmless."""
    found = re.search(r"\.[A-Za-z0-9]{1,5}$", name)
    return found[0].lower() if found else ".jpg"


def add_routes(app: Any, sessions: Sessions) -> None:
    """Let a FastAPI application take uploads; before Gradio is mounted, which has routes of the same names."""
    from fastapi import Request
    from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    under_way: dict[str, Progress] = {}

    async def upload(request: Request) -> Response:
        session = sessions.open(request.cookies.get(COOKIE))
        key = _key(request)
        progress = under_way[key] = Progress()

        async def receive() -> Any:
            message = await request.receive()
            progress.received(message.get("body", b""))
            return message

        try:
            async with Request(request.scope, receive).form(max_files=1, max_fields=0) as form:
                file = form.get("files")
                if file is None or isinstance(file, str):
                    return PlainTextResponse("One file was expected.", 400)
                name, path = session.take_in(suffix_of(file.filename or ""))
                await asyncio.to_thread(_copy, file.file, path)
        except ClientDisconnect:  # gone, or more was sent than was said
            return PlainTextResponse("The upload was not complete.", 400)
        except HTTPException as error:
            return PlainTextResponse(str(error.detail), 400)
        except OSError:
            return PlainTextResponse("There is no room for it on this server now.", 507)
        finally:
            progress.done = True
            under_way.pop(key, None)
        return JSONResponse([name])

    async def upload_progress(request: Request) -> Response:
        async def progress() -> AsyncIterator[str]:
            waited, key = 0.0, _key(request)
            while (progress := under_way.get(key)) is None and waited < WAIT_SECONDS:
                waited += FOLLOW_SECONDS
                await asyncio.sleep(FOLLOW_SECONDS)
            while progress is not None and not progress.done:
                if progress.new and progress.name:
                    update = {"msg": "update", "orig_name": progress.name, "chunk_size": progress.new}
                    progress.new = 0
                    yield f"data: {json.dumps(update)}\n\n"
                await asyncio.sleep(FOLLOW_SECONDS)
            yield 'data: {"msg": "done"}\n\n'

        return StreamingResponse(progress(), media_type="text/event-stream")

    for language in LANGUAGES:
        app.add_api_route(f"/{language}/gradio_api/upload", upload, methods=["POST"])
        app.add_api_route(f"/{language}/gradio_api/upload_progress", upload_progress, methods=["GET"])


def _key(request: Any) -> str:
    """Of an upload: the visitor's own name for it, and the visitor."""
    return f"{request.cookies.get(COOKIE)} {request.query_params.get('upload_id', '')[:40]}"


def _copy(source: Any, path: Path) -> None:
    try:
        with path.open("xb") as file:
            shutil.copyfileobj(source, file)
    except OSError:
        remove(path)
        raise
