"""What Gradio tells an open page, in a stream that does not end while the page asks for something.

Gradio ends the stream when all that was asked for is answered. Its page may ask for the next thing just then, and takes
the stream that is about to end for one that will tell it the answer: then it waits for ever. So a stream lives a while
longer here than Gradio's, which are strung together in it; and whoever asks just when it ends has to wait.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LINGER_SECONDS = 2.0  # that a stream lives on after the last answer; a browser has six connections for all its pages
HOLD_SECONDS = 1.0  # after the end of a stream, by when its page knows
END = b'data: {"msg":"close_stream"'
ASKS = "facemorph.page"  # the name of the page that asks, in the scope of its request


class Streams:
    """ASGI middleware; wants to know in `scope[ASKS]` which page asks."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._asked: dict[str, asyncio.Event] = {}  # of each page with a stream: something was asked for
        self._asking: Counter[str] = Counter()  # requests for something that are on their way into Gradio's line
        self._ended: dict[str, float] = {}  # when a page's stream ended, of those that did just now
        self._tasks: set[asyncio.Task[Any]] = set()  # one for each stream

    def cut(self) -> None:
        """Cut all streams off: pages say then that the connection is lost, and come again when the server does."""
        for task in self._tasks:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = scope.get(ASKS)
        if page and scope["path"].endswith("/queue/data"):
            return await self._tell(page, scope, receive, send)
        if page and scope["path"].rstrip("/").endswith("/queue/join"):
            return await self._ask(page, scope, receive, send)
        return await self.app(scope, receive, send)

    async def _ask(self, page: str, scope: Scope, receive: Receive, send: Send) -> None:
        if page in self._ended:
            await asyncio.sleep(self._ended[page] + HOLD_SECONDS - time.monotonic())
        if page in self._asked:
            self._asked[page].set()
        self._asking[page] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._asking[page] -= 1
            self._asking += Counter()  # without those that are 0

    async def _tell(self, page: str, scope: Scope, receive: Receive, send: Send) -> None:
        asked = self._asked[page] = asyncio.Event()
        end: Message | None = None
        started = False

        async def onward(message: Message) -> None:
            nonlocal end, started
            if message.get("body", b"").startswith(END):
                end = message
                if not self._asking[page]:
                    asked.clear()
            elif end is None and not (started and message["type"] == "http.response.start"):
                started = True
                await send(message)

        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.app({**scope}, receive, onward)  # which writes into the scope
            while end and await _comes(asked, receive):
                end = None
                await self.app({**scope}, receive, onward)
        finally:
            self._tasks.discard(task)
            if self._asked.get(page) is asked:
                del self._asked[page]
        if end:  # else the page is gone
            now = time.monotonic()
            self._ended = {one: at for one, at in self._ended.items() if now - at < HOLD_SECONDS} | {page: now}
            await send(end)
            await send({"type": "http.response.body", "body": b""})


async def _comes(asked: asyncio.Event, receive: Receive) -> bool:
    """Whether the page asks for something more, before it is closed and before its stream ends."""

    async def closed() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    both = [asyncio.ensure_future(closed()), asyncio.ensure_future(asked.wait())]
    try:
        await asyncio.wait(both, timeout=LINGER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return asked.is_set() and not both[0].done()
    finally:
        for one in both:
            one.cancel()
