"""Behind the web page: what the guard refuses, sessions, turns and languages."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from facemorph.cli import main
from facemorph.web.guard import Guard, Rules
from facemorph.web.sessions import Session, Sessions, new_token
from facemorph.web.turns import Job, Turns
from facemorph.web.words import TABLE, preferred
from facemorph.web.work import follow, stop


def ask(rules: Rules | Guard, method: str, path: str, body: bytes = b"{}", query: str = "", **headers: str) -> int:
    """The status that the guard gives; 200 for what it lets through."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    given: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        given.append(message)

    raw = [
        (name.replace("_", "-").encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()
    ]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "client": ("127.0.0.1", 1),
             "query_string": query.encode()}  # fmt: skip
    guard = rules if isinstance(rules, Guard) else Guard(app, rules)
    guard.app = app
    asyncio.run(guard(scope, receive, send))
    return given[0]["status"]


def guarded(rules: Rules | None = None) -> Guard:
    """A guard that remembers from one request to the next."""
    return Guard(lambda scope, receive, send: asyncio.sleep(0), rules or Rules())


@pytest.mark.parametrize("path", [
    "/en/gradio_api/file=/etc/passwd", "/en/gradio_api/proxy=http://example.org/", "/mine/../../etc/passwd",
    "/mine/a/b", "/en/assets/../../../etc/passwd", "/etc/passwd", "/en/monitoring", "/en/gradio_api/deep_link",
])  # fmt: skip
def test_what_is_not_named_is_refused(path: str) -> None:
    assert ask(Rules(), "GET", path) == 404


def test_the_preview_of_an_upload_is_nothing() -> None:
    assert ask(Rules(), "GET", f"/en/gradio_api/file={'0a' * 16}") == 204
    assert ask(Rules(), "GET", f"/en/gradio_api/file=/tmp/{'0a' * 16}") == 404


def drop(path: str, **more: Any) -> dict[str, Any]:
    """An uploaded file, as Gradio's page names it."""
    return {"path": path, "orig_name": "me.jpg", "meta": {"_type": "gradio.FileData"}, **more}


@pytest.mark.parametrize(("data", "status"), [
    ([drop("0a" * 16)], 200), ([4, 10.0, 0, "fast", ["coarse"], None, True], 200),
    ([drop("/etc/passwd")], 400), ([drop("")], 400), ([drop(".")], 400), ([drop("../" + "0a" * 16)], 400),
    ([drop("http://127.0.0.1/")], 400), ([[{"deep": drop("/etc")}]], 400), ([drop("0a" * 16, url=drop("/etc"))], 400),
    ([[[[[[[[[[]]]]]]]]]], 400),
])  # fmt: skip
@pytest.mark.parametrize("way", ["queue/join", "run/predict"])
def test_a_request_names_uploads_and_no_path(way: str, data: list[Any], status: int) -> None:
    body = json.dumps({"data": data, "fn_index": 0, "session_hash": "page"}).encode()
    assert ask(Rules(), "POST", f"/en/gradio_api/{way}", body) == status


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"[" * 100_000, b"\xff\xff", b'{"session_hash": "../x"}'])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    assert ask(Rules(), "POST", "/en/gradio_api/queue/join", body) == 400


def test_a_page_is_its_visitors() -> None:
    guard, one, two = guarded(), f"facemorph={new_token()}", f"facemorph={new_token()}"
    body = b'{"data": [], "fn_index": 1, "event_id": "known", "session_hash": "page"}'
    assert ask(guard, "POST", "/en/gradio_api/queue/join", body, cookie=one) == 200
    for way in ("queue/join", "run/predict", "cancel"):
        assert ask(guard, "POST", f"/en/gradio_api/{way}", body, cookie=two) == 403
    for path in ("queue/data", "heartbeat/page"):
        assert ask(guard, "GET", f"/en/gradio_api/{path}", query="session_hash=page", cookie=two) == 403
        assert ask(guard, "GET", f"/en/gradio_api/{path}", query="session_hash=page", cookie=one) == 200


def test_floods_are_refused() -> None:
    cookie = f"facemorph={new_token()}"
    guard = guarded()  # answers that nobody comes for
    seen = [
        ask(guard, "POST", "/en/gradio_api/queue/join", b'{"session_hash": "page"}', cookie=cookie) for _ in range(41)
    ]
    assert seen == [200] * 40 + [429]
    assert ask(guard, "GET", "/en/gradio_api/queue/data", query="session_hash=page", cookie=cookie) == 200
    assert ask(guard, "POST", "/en/gradio_api/queue/join", b'{"session_hash": "page"}', cookie=cookie) == 200
    guard = guarded()  # who brings no cookie is a new visitor each time
    assert [ask(guard, "GET", "/robots.txt") for _ in range(601)] == [200] * 600 + [429]
    assert ask(guard, "GET", "/robots.txt", cookie=cookie) == 200


def test_streams_that_are_open_are_counted() -> None:
    async def flood() -> list[int]:
        guard, answers = guarded(), []

        async def stays(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.sleep(60)

        async def send(message: Any) -> None:
            answers.extend([message["status"]] if "status" in message else [])

        guard.app = stays
        headers = [(b"host", b"localhost"), (b"cookie", f"facemorph={new_token()}".encode())]
        scope = {"type": "http", "method": "GET", "path": "/en/gradio_api/heartbeat/page", "headers": headers}

        async def receive() -> Any:
            await asyncio.sleep(60)

        tasks = [asyncio.create_task(guard(scope, receive, send)) for _ in range(45)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert guard.open.enter({"any": 1}) and not guard.open.enter({"any": 1})
        assert guard.open.enter({"visitor": 1})  # those that ended count no more
        return answers

    assert sorted(asyncio.run(flood())) == [200] * 40 + [429] * 5


def test_a_password_cannot_be_guessed_in_a_minute() -> None:
    guard, inside = guarded(Rules(auth=("a", "secret-word"))), f"facemorph={new_token()}"
    right, wrong = "Basic YTpzZWNyZXQtd29yZA==", "Basic YTp3cm9uZw=="
    assert ask(guard, "GET", "/en/", authorization=right, cookie=inside) == 200
    assert [ask(guard, "GET", "/en/", authorization=wrong) for _ in range(31)] == [401] * 30 + [429]
    assert ask(guard, "GET", "/en/", authorization=right) == 429  # or the guess would have been told
    assert ask(guard, "GET", "/en/", authorization=right, cookie=inside) == 200
    assert ask(guard, "GET", "/en/", authorization=wrong, cookie=inside) == 401


def test_the_guard_lets_through_the_page_and_asks_for_what_it_should() -> None:
    assert ask(Rules(), "GET", "/en/") == 200
    assert ask(Rules(hosts=("localhost",)), "GET", "/en/", host="evil.example") == 421
    assert ask(Rules(auth=("a", "secret-word")), "GET", "/en/") == 401
    assert ask(Rules(auth=("a", "secret-word")), "GET", "/en/", authorization="Basic YTpzZWNyZXQtd29yZA==") == 200
    assert ask(Rules(), "POST", "/en/gradio_api/upload", origin="http://evil.example") == 403
    assert ask(Rules(), "POST", "/en/gradio_api/upload", content_length=str(1 << 30)) == 413
    assert ask(Rules(), "DELETE", "/en/") == 404


def test_an_address_for_others_wants_a_password() -> None:
    for words in (["--host", "0.0.0.0"], ["--allow-host", "faces.example.org"]):
        result = CliRunner().invoke(main, ["web", *words])
        assert result.exit_code == 1 and "a password is required" in result.output


def test_sessions_are_apart_and_leave_nothing(tmp_path: Path) -> None:
    sessions = Sessions(0.05, tmp_path)
    one, two = (sessions.open(new_token()) for _ in range(2))
    one.new_file(".png").write_bytes(b"mine")
    made = one.new_file(".mp4")
    made.write_bytes(b"film")
    one.offer("morph.mp4", made)
    assert "morph.mp4" not in two.files and one.folder != two.folder
    with pytest.raises(ValueError):
        sessions.open("../../etc")
    time.sleep(0.1)
    sessions.sweep()
    assert len(sessions) == 0 and not one.folder.exists()
    sessions.close()
    assert not list(tmp_path.iterdir())


def test_visitors_take_turns_and_can_stop() -> None:
    turns, order = Turns(), []
    first = turns.join("a", lambda job: time.sleep(0.3), "film")
    time.sleep(0.1)

    def work(name: str) -> Any:
        return lambda job: order.append(name)

    jobs = [turns.join(who, work(name), "film") for who, name in (("a", "a1"), ("a", "a2"), ("b", "b1"))]
    assert [turns.place(job) for job in jobs] == [1, 3, 2]
    jobs[1].cancel()
    for job in (first, *jobs):
        assert job.finished.wait(5)
    assert order == ["a1", "b1"] and jobs[1].state == "cancelled"
    turns.close()


async def press(turns: Turns, session: Session, what: str, done: list[str], seconds: float = 0.4) -> None:
    """A button that begins long work; followed to the end."""

    def work(job: Job) -> None:
        for _ in range(round(seconds / 0.05)):
            time.sleep(0.05)
            job.tell(1, 2)
        done.append(what)

    async for _ in follow(turns, session, what, lambda: work):
        pass


def test_what_is_asked_for_during_other_work_is_done_after_it(tmp_path: Path) -> None:
    async def visit(*buttons: str, stop_after: float = 0.0) -> list[str]:
        turns, session, done = Turns(), Session(tmp_path), []
        tasks = []
        for what in buttons:
            tasks.append(asyncio.create_task(press(turns, session, what, done)))
            await asyncio.sleep(0.05)
        if stop_after:
            await asyncio.sleep(stop_after)
            stop(session)
        await asyncio.wait_for(asyncio.gather(*tasks), 20)
        assert not session.at_work() and turns.idle
        turns.close()
        return done

    assert asyncio.run(visit("project", "film", "growing")) == ["project", "film", "growing"]
    assert asyncio.run(visit("project", "project")) == ["project"]
    assert asyncio.run(visit("project", "film", stop_after=0.1)) == []  # what waits is stopped too


def test_time_left_follows_the_rate() -> None:
    job = Job(lambda job: None, "film")
    job.state = "running"
    job.tell(0, 10)
    time.sleep(0.2)
    job.tell(5, 10)
    left = job.seconds_left
    assert left is not None and 0.1 < left < 0.5


def test_the_browsers_language_is_taken() -> None:
    assert [preferred(text) for text in ("ko-KR,ko;q=0.9,en;q=0.8", "de,en;q=0.5,ko;q=0.2", "", "ko;q=x")] == [
        "ko", "en", "en", "en",
    ]  # fmt: skip
    for key, (english, korean) in TABLE.items():
        names = [set(re.findall(r"\{(\w+)", text)) for text in (english, korean)]
        assert names[0] == names[1], key
