"""The web page: what the guard refuses, what visitors may see, and both flows in a real browser."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import ROOT
from tiny_runs import make_faces, tiny

import facemorph as fm
from facemorph.cli import main
from facemorph.web.guard import Guard, Rules
from facemorph.web.sessions import Session, Sessions, new_token
from facemorph.web.turns import Job, Turns
from facemorph.web.words import TABLE, preferred
from facemorph.web.work import follow, stop

EXAMPLES = ROOT / "facemorph" / "web" / "examples"


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
        assert result.exit_code == 1 and "wants a password" in result.output


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


SHOW = """
import asyncio, sys
import gradio as gr, httpx
from fastapi import FastAPI
from facemorph.web.forgetful import make_forgetful

with gr.Blocks(analytics_enabled=False) as blocks:
    shown, button = gr.HTML(), gr.Button("show")
    button.click(lambda: "a picture of somebody", None, shown)
app = FastAPI()
gr.mount_gradio_app(app, blocks, "/en", ssr_mode=False)
if sys.argv[1] == "forgetful":
    make_forgetful(app.routes[-1].app, blocks)

async def press():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        body = {"data": [], "fn_index": 0, "session_hash": "page"}
        return (await client.post("/en/gradio_api/run/predict", json=body)).text

assert "a picture of somebody" in asyncio.run(press())
print("kept" if "a picture of somebody" in repr(vars(blocks.state_holder["page"])) else "gone")
"""


@pytest.mark.parametrize(("how", "expected"), [("forgetful", "gone"), ("as it is", "kept")])
def test_gradio_forgets_what_it_showed(how: str, expected: str) -> None:
    """Without `make_forgetful` it remembers, or this would prove nothing."""
    pytest.importorskip("gradio")
    done = subprocess.run(
        [sys.executable, "-c", SHOW, how], cwd=ROOT, capture_output=True, text=True, timeout=200,
        env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.stdout.strip() == expected, done.stderr


def test_without_gradio_it_says_how_to_get_it() -> None:
    code = "import sys; sys.modules['gradio'] = None; from facemorph.cli import main; main(['web'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "facemorph-toolkit[web]" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The page in a process of its own: its address, and the folder for temporary files."""
    pytest.importorskip("gradio")
    scratch, made = tmp_path_factory.mktemp("web"), tmp_path_factory.mktemp("made")
    faces = make_faces(made / "faces")
    fm.train(faces, made / "tiny-run", config=tiny(faces))
    command = [sys.executable, "-m", "facemorph", "web", "--port", "0", "--run", str(made / "tiny-run")]
    variables = {**os.environ, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=variables)
    assert server.stdout is not None
    found = re.search(r"http://\S+:\d+", server.stdout.readline())
    assert found
    yield found[0], scratch
    server.send_signal(signal.SIGTERM)
    server.wait(20)
    assert not list(scratch.glob("facemorph-web-*")), "files were left"
    server.stdout.close()


def test_an_upload_is_its_visitors_alone(page: tuple[str, Path]) -> None:
    httpx = pytest.importorskip("httpx")
    address, scratch = page

    def visitor() -> Any:
        answer = httpx.get(f"{address}/en/")
        return httpx.Client(base_url=f"{address}/en/", timeout=60, cookies=answer.cookies)

    def files() -> set[Path]:
        return {path for path in scratch.rglob("*") if path.is_file()}

    def give(client: Any, name: str, path: str) -> str:
        """What is shown where the page says that the first portrait is at `path`."""
        body = {"data": [drop(path)], "fn_index": taking, "session_hash": name}
        assert client.post("gradio_api/queue/join", json=body).status_code == 200
        shown = client.get("gradio_api/queue/data", params={"session_hash": name}).text
        return next(line for line in shown.splitlines() if "process_completed" in line)

    with visitor() as one, visitor() as two:
        config = one.get("config").json()
        known = {part["id"]: part.get("props", {}).get("elem_id") for part in config["components"]}
        taking = next(
            one["id"] for one in config["dependencies"] if any(known[at] == "drop-first" for at, _ in one["targets"])
        )
        before = files()
        portrait = (EXAMPLES / "eileen_collins.jpg").read_bytes()
        sent = {"files": ("../../etc/me.jpg", portrait)}
        assert one.post("gradio_api/upload", files={"other": ("a.jpg", b"")}).status_code == 400
        (name,) = one.post("gradio_api/upload", files=sent).json()
        (again,) = two.post("gradio_api/upload", files=sent).json()
        assert re.fullmatch("[0-9a-f]{32}", name) and again != name  # the same picture, and both apart
        new = files() - before
        assert len(new) == 2 and len({path.parent for path in new}) == 2
        assert "No picture yet" in give(two, "other", name) and files() - before == new
        assert "The face in me.jpg" in give(one, "own", name)
        assert "The face in me.jpg" in give(two, "theirs", again)
        kept = files() - before
        assert len(kept) == 2 and not kept & new
        root = str(next(iter(kept)).parent.parent)  # which no page is told, but suppose that it is
        for path in (root, f"{root}/gradio", str(next(iter(kept))), "/etc/hostname"):
            body = {"data": [drop(path)], "fn_index": taking, "session_hash": "hostile"}
            assert two.post("gradio_api/queue/join", json=body).status_code == 400
        assert files() - before == kept


def bomb() -> bytes:
    """A PNG of 100 megapixels in a hundred kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (10_000).to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    packed = zlib.compress(b"\x00" * (10_001 * 10_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with api.sync_playwright() as play:
        cut = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost"  # no other machine has an address
        camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        opened = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", cut, *camera])
        yield opened
        opened.close()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "language"), [(1280, "en-US"), (390, "ko-KR")])
def test_both_flows_from_upload_to_download(
    page: tuple[str, Path], browser: Any, width: int, language: str, tmp_path: Path
) -> None:
    address, _ = page
    context = browser.new_context(viewport={"width": width, "height": 844}, locale=language)
    tab, foreign = context.new_page(), []
    tab.on("request", lambda one: foreign.append(one.url) if not one.url.startswith((address, "data:", "blob:")) else 0)
    tab.goto(address + "/")
    tab.wait_for_selector("#found-second .fm-note", timeout=60_000)
    assert tab.get_attribute("html", "lang") == language[:2]
    tab.set_input_files("#drop-first input[type=file]", str(EXAMPLES / "eileen_collins.jpg"))
    tab.wait_for_selector("#found-first img")
    tab.click("#example-second")
    tab.wait_for_selector("#found-second img")
    tab.locator("#quality input").first.check()
    tab.click("#go")
    tab.wait_for_selector("#sheet img", timeout=60_000)
    before = tab.inner_html("#sheet")
    tab.locator("#age input[type=range]").fill("60")
    tab.wait_for_function("before => document.querySelector('#sheet').innerHTML != before", arg=before)
    tab.reload()
    tab.wait_for_selector("#sheet img", timeout=60_000)
    assert tab.locator("#age input[type=range]").input_value() == "60"
    with tab.expect_download() as got:
        tab.locator('#downloads a[download="family.zip"]').click()
    got.value.save_as(tmp_path / "family.zip")
    shutil.unpack_archive(tmp_path / "family.zip", tmp_path / "family")
    assert {"family.json", "sheet.png", "mother.safetensors", "child_4_60_years.png"} <= {
        path.name for path in (tmp_path / "family").iterdir()
    }
    tab.get_by_role("tab").nth(4).click()
    tab.wait_for_function("document.querySelectorAll('#morph img').length == 102", timeout=60_000)
    for _ in range(2):  # what was made is there again when its tab is
        tab.get_by_role("tab").nth(3).click()
        tab.get_by_role("tab").nth(4).click()
        tab.wait_for_timeout(700)
        assert tab.locator("#morph img").count() == 102
    tab.locator("#at input[type=range]").fill("90")
    tab.wait_for_function("document.querySelector('#morph img:not([hidden])').alt.startsWith('90')")
    assert tab.locator("#morph img:not([hidden])").count() == 2
    tab.click("#film")
    tab.wait_for_selector("#filmed video", timeout=60_000)
    with tab.expect_download() as got:
        tab.locator('#filmed a[download="morph.gif"]').click()
    got.value.save_as(tmp_path / "morph.gif")
    assert (tmp_path / "morph.gif").read_bytes()[:3] == b"GIF"
    tab.get_by_role("tab").nth(3).click()
    tab.locator("#downloads summary").click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert not foreign
    other = browser.new_context().request.get(address + "/mine/morph.gif")
    assert other.status == 404  # another visitor's
    context.close()


@pytest.mark.browser
def test_hostile_uploads_are_refused_in_words(page: tuple[str, Path], browser: Any, tmp_path: Path) -> None:
    address, scratch = page
    (tmp_path / "large.png").write_bytes(bomb())
    (tmp_path / "page.jpg").write_text("<html><script>alert(1)</script></html>")
    tab = browser.new_page(locale="en-US")
    tab.goto(address + "/en/")
    tab.wait_for_selector("#found-second .fm-note", timeout=60_000)
    for name in ("large.png", "page.jpg"):
        tab.set_input_files("#drop-first input[type=file]", str(tmp_path / name))
        tab.wait_for_function(
            "name => document.querySelector('#found-first .fm-error')?.textContent.includes(name + ' cannot be used')",
            arg=name, timeout=60_000,
        )  # fmt: skip
    sent = {(tmp_path / name).read_bytes() for name in ("large.png", "page.jpg")}
    assert not [path for path in scratch.rglob("*") if path.is_file() and path.read_bytes() in sent]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/en/gradio_api/file=/etc/passwd")


@pytest.mark.browser
def test_a_run_is_shown_and_what_it_cannot_do_is_told(page: tuple[str, Path], browser: Any) -> None:
    address, _ = page
    tab = browser.new_page(locale="en-US")
    tab.set_default_timeout(60_000)
    tab.goto(address + "/en/")
    tab.wait_for_selector("#found-second .fm-note")
    for _ in range(2):
        tab.get_by_role("tab", name="Runs").click()
        tab.wait_for_selector("#losses img")
        tab.wait_for_selector("#samples img")
        tab.wait_for_timeout(700)
        assert "Not evaluated yet." in tab.inner_text("#evaluation")
        tab.get_by_role("tab", name="Explore").click()
    tab.get_by_role("tab", name="Runs").click()
    tab.click("#walk")  # two colours are no faces to walk between
    tab.wait_for_function("document.querySelector('#working-on-run').innerText.includes('No face is detected')")
    assert "Not evaluated yet." in tab.inner_text("#evaluation") and not tab.locator("#stop-run").is_visible()
    tab.click("#evaluate")
    tab.wait_for_function("!document.querySelector('#working-on-run').innerText.includes('No face is detected')")
    tab.wait_for_selector("#working-on-run .fm-error")
    content = tab.content()
    at = content.find(str(page[1].parent))
    assert at < 0, content[at - 200 : at + 200]  # where it lies on this machine


@pytest.mark.browser
def test_sliders_of_random_faces_show_others_by_keyboard(page: tuple[str, Path], browser: Any) -> None:
    tab = browser.new_page(locale="en-US")
    tab.set_default_timeout(60_000)
    tab.goto(page[0] + "/en/")
    tab.wait_for_selector("#found-second .fm-note")
    tab.get_by_role("tab", name="Explore").click()
    tab.wait_for_selector("#one-face img")
    for slider, shown in (("#first-seed", "#faces"), ("#truncation", "#faces"), ("#age-of", "#one-face")):
        before = tab.get_attribute(f"{shown} img >> nth=0", "src")
        tab.locator(f"{slider} input[type=range]").press("ArrowRight")
        change = "([where, before]) => document.querySelector(`${where} img`)?.src !== before"
        tab.wait_for_function(change, arg=[shown, before])
    assert tab.get_by_label("Change its age").is_checked()
