"""Pieces of HTML. Every text that a visitor gave is escaped; every picture has a description for screen readers."""

import base64
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from facemorph.web.sessions import Portrait, Session
from facemorph.web.turns import Job, Turns
from facemorph.web.words import Words

FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/,;:'\"]+/)*")  # before the name of a file
IN_PARTS = {"evaluate"}  # long work whose time left is that of its part


def escape(text: object) -> str:
    return html.escape(str(text), quote=True)


def image(pixels: np.ndarray, alt: str, quality: int = 92) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/jpeg;base64,{data}">'


def picture(pixels: np.ndarray, alt: str, caption: str = "", kind: str = "") -> str:
    """An image as a figure."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="fm-face {kind}">{image(pixels, alt)}{below}</figure>'


def stack(images: Sequence[str], caption: str) -> str:
    """Images in one place, of which the middle one is seen."""
    middle = len(images) // 2
    shown = [one if number == middle else one.replace("<img", "<img hidden", 1) for number, one in enumerate(images)]
    return f'<figure class="fm-face fm-way">{"".join(shown)}<figcaption>{escape(caption)}</figcaption></figure>'


def file_picture(path: Path, alt: str) -> str:
    """A PNG file as a figure as wide as there is room."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<figure class="fm-wide"><img alt="{escape(alt)}" src="data:image/png;base64,{data}"></figure>'


def row(figures: Sequence[str], kind: str = "") -> str:
    return f'<div class="fm-row {kind}">{"".join(figures)}</div>'


def note(text: str, kind: str = "") -> str:
    """A line of text that screen readers say when it changes."""
    return f'<p class="fm-note {kind}" role="status">{escape(text)}</p>'


def portrait(words: Words, one: Portrait | None) -> str:
    """What was found in a portrait."""
    if one is None:
        return note(words("no_portrait"))
    if one.error:
        return f'<p class="fm-note fm-error" role="alert">{escape(one.error)}</p>'
    several = len(one.faces) > 1
    text = (
        words("found_several", name=one.name, count=len(one.faces)) if several else words("found_face", name=one.name)
    )
    turned = {1: "was_turned", 3: "was_turned", 2: "was_upside_down"}.get(one.quarter_turns)
    remark = f"{text}. {words(turned)}" if turned else text
    faces = [
        picture(
            face, words("face_number", number=number + 1) if several else text,
            words("face_number", number=number + 1) if several else "",
            "fm-chosen" if several and number == one.chosen else "",
        )
        for number, face in enumerate(one.faces)
    ]  # fmt: skip
    return note(remark) + row(faces, "fm-found")


def progress(words: Words, turns: Turns, job: Job | None) -> str:
    """How far long work is: the place in the queue, the part that is done, the time left."""
    if job is None or job.state == "done":
        return ""
    if job.state == "cancelled":
        return note(words("cancelled"))
    if job.state == "failed":
        return f'<p class="fm-note fm-error" role="alert">{escape(words("failed", why=why(words, job.error)))}</p>'
    what = words(f"working_{job.what}")
    percent = round(100 * job.done / job.total) if job.total else 0
    if job.state == "waiting":
        text = words("waiting", place=turns.place(job))
    elif job.seconds_left is None:
        text = words("starting")
    elif job.seconds_left < 1:
        text = words("almost")
    else:
        text = words("left", seconds=round(job.seconds_left))
    if job.what in IN_PARTS and job.part:
        text = f"{words('part', part=job.part)}, {text}"
    return (
        f'<div class="fm-progress" role="status"><span>{escape(what)} · {escape(text)}</span>'
        f'<progress max="100" value="{percent}" aria-label="{escape(what)}"></progress></div>'
    )


def why(words: Words, error: BaseException | None) -> str:
    """An error in words for a visitor: ours without folders of this server, where the page is in another language its
    kind; a bug without what it says.
    """
    from facemorph.errors import FacemorphError

    if not isinstance(error, FacemorphError):
        return words("bug")
    kind = f"error_{type(error).__name__}"
    return words(kind) if words.language != "en" and words.has(kind) else FOLDERS.sub("", error.problem)


def film(words: Words, session: Session, name: str, title: str) -> str:
    """A film of the session with links to it; nothing where there is none."""
    path = session.files.get(f"{name}.mp4")
    if path is None:
        return ""
    links = [(f"{name}.mp4", "MP4"), (f"{name}.gif", "GIF")]
    version = path.stem
    return (
        f'<figure class="fm-film"><video controls loop autoplay muted playsinline aria-label="{escape(title)}" '
        f'src="/mine/{name}.mp4?v={version}"></video><figcaption>{escape(title)}</figcaption></figure>'
        + downloads(words, [(file, text) for file, text in links if file in session.files], version, title)
    )


def downloads(words: Words, links: Sequence[tuple[str, str]], version: str = "", of: str = "") -> str:
    query = f"?v={version}" if version else ""
    items = "".join(
        f'<li><a href="/mine/{escape(file)}{query}" download="{escape(file)}">{escape(text)}</a></li>'
        for file, text in links
    )
    label = escape(words("downloads") + (f": {of}" if of else ""))
    return f'<nav class="fm-downloads" aria-label="{label}"><ul>{items}</ul></nav>'


def command(words: Words, lines: Sequence[str], remark: str) -> str:
    """Commands to copy."""
    code = escape("\n".join(lines))
    return (
        f'<details class="fm-command"><summary>{escape(words("command"))}</summary><p>{escape(remark)}</p>'
        f'<pre tabindex="0"><code>{code}</code></pre></details>'
    )


def table(rows: Sequence[tuple[str, str]], heads: tuple[str, str]) -> str:
    body = "".join(f"<tr><th scope='row'>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows)
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    return f"<table class='fm-table'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
