"""How quickly the sliders of the web page answer, in a browser: from the finger to the picture that is seen.

    python benchmarks/web_sliders.py

Starts the page on this machine, makes the family of both examples in Chromium, and drags sliders with the mouse.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from typing import Any

from machine import describe_machine
from playwright.sync_api import Page, sync_playwright
from web_server import served

CHANGES = {"age": ["60", "5", "30", "50", "12"], "gender": ["1", "-1", "0.5"], "share": ["0.2", "0.8", "0.5"],
           "count": ["8", "2", "4"], "seed": ["3", "7", "1"]}  # fmt: skip

# Milliseconds from the slider's event to the frame of the screen that shows other children.
ANSWER = """([id, value]) => new Promise((done) => {
  const sheet = document.querySelector('#sheet'), slider = document.querySelector(`#${id} input[type=range]`);
  const shown = () => [...sheet.querySelectorAll('img')].map((one) => one.src).join();
  const before = shown(), began = performance.now();
  const look = () => {
    const images = [...sheet.querySelectorAll('img')];
    if (shown() !== before && images.length && images.every((one) => one.complete)) done(performance.now() - began);
    else if (performance.now() - began > 20000) done(NaN);
    else requestAnimationFrame(look);
  };
  slider.value = value;
  slider.dispatchEvent(new Event('input', {bubbles: true}));
  requestAnimationFrame(look);
})"""

# What the morph shows at each frame of the screen, until `stop()`.
WATCH = """() => {
  const seen = [];
  let on = true;
  const look = () => {
    const first = [...document.querySelectorAll('#morph img')].find((one) => one.offsetWidth && one.complete);
    if (first && seen.at(-1) !== first.src) seen.push(first.src);
    if (on) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  window.stopWatching = () => { on = false; return [seen.length - 1, new Set(seen).size]; };
}"""


def drag(tab: Page, seconds: float) -> float:
    """Drag the morph's slider from end to end; how long that took."""
    slider = tab.locator("#at input[type=range]")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box
    y = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + 8, y)
    tab.mouse.down()
    began = time.monotonic()
    while (part := (time.monotonic() - began) / seconds) < 1:
        tab.mouse.move(box["x"] + 8 + part * (box["width"] - 16), y)
        time.sleep(0.01)
    tab.mouse.up()
    return time.monotonic() - began


def measure(address: str, browser: Any) -> None:
    tab = browser.new_page(viewport={"width": 1280, "height": 1100}, locale="en-US")
    tab.goto(address + "/")
    tab.wait_for_selector("#found-second .fm-note", timeout=60_000)
    for which in ("first", "second"):
        began = time.monotonic()
        tab.click(f"#example-{which}")
        tab.wait_for_selector(f"#found-{which} img")
        print(f"Faces found in the {which} example: {1000 * (time.monotonic() - began):.0f} ms")
    tab.locator("#quality input").first.check()
    began = time.monotonic()
    tab.click("#go")
    tab.wait_for_selector("#sheet img", timeout=60_000)
    print(f"Quick family, from the click to the children: {1000 * (time.monotonic() - began):.0f} ms")
    for name, values in CHANGES.items():
        times = [tab.evaluate(ANSWER, [name, value]) for value in values]
        print(f"{name}: median {statistics.median(times):.0f} ms, worst {max(times):.0f} ms, of {len(times)}")
    began = time.monotonic()
    tab.get_by_role("tab", name="Morph").click()
    tab.wait_for_selector("#morph img:not([hidden])")
    print(f"Morph, from the click to the first image: {1000 * (time.monotonic() - began):.0f} ms")
    for seconds in (1, 2, 1, 3, 3):  # the first while the images of the way are being made
        tab.evaluate(WATCH)
        taken = drag(tab, seconds)
        changes, different = tab.evaluate("stopWatching()")
        print(f"Dragged in {taken:.1f} s: {changes / taken:.1f} images a second, {different} different")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(describe_machine())
    chromium = shutil.which("chromium")
    assert chromium, "no Chromium: apt-get install chromium"
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as play, served(scratch) as (address, _):
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            measure(address, browser)
        finally:
            browser.close()


if __name__ == "__main__":
    main()
