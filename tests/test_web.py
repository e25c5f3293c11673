"""The web page: what visitors may see, and both flows in a real browser."""

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
from conftest import ROOT
from test_web_guard import drop
from tiny_runs import make_faces, tiny

import facemorph as fm
from facemorph.web.streams import HOLD_SECONDS

EXAMPLES = ROOT / "facemorph" / "web" / "examples"


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


def started(folder: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """A server in a process of its own, with `folder` for temporary files, and its address."""
    command = [sys.executable, "-m", "facemorph", "web", "--port", "0", *options]
    variables = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
    )
    assert server.stdout is not None
    found = re.search(r"http://\S+:\d+", server.stdout.readline())
    assert found
    return server, found[0]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The page in a process of its own: its address, and the folder for temporary files."""
    pytest.importorskip("gradio")
    scratch, made = tmp_path_factory.mktemp("web"), tmp_path_factory.mktemp("made")
    faces = make_faces(made / "faces")
    fm.train(faces, made / "tiny-run", config=tiny(faces))
    server, address = started(scratch, "--run", str(made / "tiny-run"), "--keep", "90")
    yield address, scratch
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=20)
    assert not list(scratch.glob("facemorph-web-*")), "files were left"


def test_the_page_says_how_long_pictures_are_kept(page: tuple[str, Path]) -> None:
    httpx = pytest.importorskip("httpx")
    assert "deleted 90 minutes after" in httpx.get(f"{page[0]}/en/").text
    assert "90분이 지나면" in httpx.get(f"{page[0]}/ko/").text


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
        with client.stream("GET", "gradio_api/queue/data", params={"session_hash": name}) as shown:
            return next(line for line in shown.iter_lines() if "process_completed" in line)

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


class Asking:
    """A page that asks for what is shown when it is loaded."""

    def __init__(self, address: str) -> None:
        httpx = pytest.importorskip("httpx")
        visitor = httpx.get(f"{address}/en/").cookies
        self.client = httpx.Client(base_url=f"{address}/en/gradio_api/queue/", timeout=60, cookies=visitor)
        dependencies = self.client.get("../../config").json()["dependencies"]
        loading = next(one["id"] for one in dependencies if one["targets"][0][1] == "load")
        self.body = {"data": [], "fn_index": loading, "session_hash": "asking"}

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def ask(self) -> str:
        return self.client.post("join", json=self.body).json()["event_id"]

    def stream(self) -> Any:
        return self.client.stream("GET", "data", params={"session_hash": "asking"})


def told(lines: Iterator[str], event: str) -> bool:
    return any("process_completed" in line and event in line for line in lines)


def test_a_page_is_told_what_it_asks_for_while_its_stream_ends(page: tuple[str, Path]) -> None:
    """Gradio ends the stream where all is answered; what is asked for just then its page would wait for for ever."""
    with Asking(page[0]) as asking:
        first = asking.ask()
        with asking.stream() as shown:
            lines = shown.iter_lines()
            assert told(lines, first)
            assert told(lines, asking.ask()), "a stream lives on after the last answer"
            assert "close_stream" in next(line for line in lines if line)
            began = time.monotonic()
            late = asking.ask()
            assert time.monotonic() - began > HOLD_SECONDS / 2, "the page may not know yet that its stream ended"
            assert not any(lines)
        with asking.stream() as shown:
            assert told(shown.iter_lines(), late)


def test_a_server_that_stops_cuts_its_pages_off_at_once(tmp_path: Path) -> None:
    """So that they notice; and it says nothing of errors."""
    pytest.importorskip("gradio")
    server, address = started(tmp_path)
    with Asking(address) as asking:
        first = asking.ask()
        with asking.stream() as shown:
            lines = shown.iter_lines()
            assert told(lines, first)
            server.send_signal(signal.SIGINT)
            with pytest.raises(Exception, match="without sending complete message body"):
                list(lines)
    _, errors = server.communicate(timeout=20)
    assert server.returncode == 0 and "ERROR" not in errors and "Traceback" not in errors, errors


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
