"""Children of the two portraits: the sheet, its sliders, the film, the downloads and the equal command."""

import shlex
import time
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

import facemorph as fm
from facemorph.web import panels, portraits
from facemorph.web.sessions import Session
from facemorph.web.shop import Shop
from facemorph.web.turns import Job, Work
from facemorph.web.words import Words

MOST_CHILDREN = 8
FILM_FPS = 16


class Part:
    """The tab. `view` is all of it for a session."""

    def __init__(self, shop: Shop, words: Words) -> None:
        self.shop, self.words = shop, words
        low, high = shop.network.ages or (0.0, 1.0)
        with gr.Column(visible=False) as self.body:
            self.reconstructions = gr.HTML()
            with gr.Row(elem_classes="fm-split"):
                with gr.Column(scale=3, min_width=300):
                    self.sheet = gr.HTML(elem_id="sheet")
                with gr.Column(scale=2, min_width=280):
                    self.count = gr.Slider(1, MOST_CHILDREN, 4, step=1, label=words("count"), elem_id="count")
                    self.age = gr.Slider(
                        low, high, 10, step=1, label=words("age"), visible=shop.network.ages is not None, elem_id="age"
                    )
                    self.gender = gr.Slider(
                        -1, 1, 0, step=0.1, label=words("gender"), visible=shop.network.has_gender, elem_id="gender"
                    )
                    self.share = gr.Slider(0, 1, 0.5, step=0.05, label=words("share"), elem_id="share")
                    self.seed = gr.Slider(0, 50, 0, step=1, label=words("seed"), elem_id="seed")
                    with gr.Row():
                        self.number = gr.Slider(1, MOST_CHILDREN, 1, step=1, label=words("which_child"), min_width=200)
                        self.grow = gr.Button(words("grow"), visible=shop.network.ages is not None, elem_id="grow")
            self.film = gr.HTML(elem_id="growing")
            self.after = gr.HTML(elem_id="downloads")
        self.nothing = gr.HTML(panels.note(words("nothing_yet")))
        self.sliders = [self.count, self.age, self.gender, self.share, self.seed]
        self.outputs = [
            self.body, self.nothing, self.reconstructions, self.sheet, *self.sliders, self.film, self.after
        ]  # fmt: skip

    def wire(self, tab: Any, live: dict[str, Any], quiet: dict[str, Any]) -> None:
        for slider in self.sliders:
            slider.input(self.changed, self.sliders, [self.sheet, self.after], **live)

        async def grow(number: float, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
            session = portraits.session_of(self.shop, request)
            async for shown in tab.following(session, "growing", lambda: self.growing(session, int(number))):
                yield shown

        self.grow.click(grow, self.number, tab.outputs, trigger_mode="once", **quiet)

    def changed(
        self, count: float, age: float, gender: float, share: float, seed: float, request: gr.Request
    ) -> tuple[str, str]:
        session = portraits.session_of(self.shop, request)
        session.moved = time.monotonic()
        network = self.shop.network
        low, high = network.ages or (0.0, 0.0)
        session.family = fm.Family(
            min(max(int(count), 1), MOST_CHILDREN),
            min(max(int(seed), 0), 10_000),
            min(max(float(age), low), high) if network.ages else None,
            min(max(float(gender), -1.0), 1.0) or None if network.has_gender else None,
            share=min(max(float(share), 0.0), 1.0),
        )
        return self.shop.quick.submit(self._sheet, session).result(), self._after(session)

    def view(self, session: Session) -> tuple[Any, ...]:
        there, family = session.projections is not None, session.family
        both = self.shop.quick.submit(self._sheet, session).result() if there else ""
        return (
            gr.update(visible=there), gr.update(visible=not there), self._reconstructions(session), both,
            family.count, family.age or 10, family.gender or 0, family.share, family.seed,
            self._film(session), self._after(session),
        )  # fmt: skip

    def growing(self, session: Session, number: int) -> Work | None:
        """The work; None where there are no children."""
        both, family = session.projections, session.family
        if both is None:
            return None

        def work(job: Job) -> None:
            chosen = min(max(number, 1), family.count)
            frames = self.shop.network.growing_up(*both, family, number=chosen, progress=job.tell)
            mp4, gif = session.new_file(".mp4"), session.new_file(".gif")
            fm.write_mp4(mp4, frames, FILM_FPS)
            fm.write_gif(gif, list(frames[::2]))
            session.offer("growing.mp4", mp4)
            session.offer("growing.gif", gif)

        return work

    def _reconstructions(self, session: Session) -> str:
        both, words = session.projections, self.words
        if both is None:
            return ""
        figures = []
        for which, one in zip(("first", "second"), both, strict=True):
            who, distance = words(which), one.metrics.get("descriptor_distance")
            like = "" if distance is None else words("likeness", distance=distance)
            photo, drawn = words("as_photographed", who=who), words("as_drawn", who=who)
            pair = panels.row(
                [panels.picture(one.image, photo, photo), panels.picture(one.reconstruction, drawn, drawn)]
            )
            figures.append(f'<div class="fm-parent">{pair}<p class="fm-like">{panels.escape(like)}</p></div>')
        return f"<h3>{panels.escape(words('reconstructions'))}</h3>" + panels.row(figures, "fm-parents")

    def _sheet(self, session: Session) -> str:
        both, words = session.projections, self.words
        if both is None:
            return panels.note(words("expired"))
        figures = []
        kind = "fm-siblings fm-few" if session.family.count <= 4 else "fm-siblings"
        for one in self.shop.network.children(*both, session.family):
            key = "child_number" if one.age is None else "child_aged"
            text = words(key, number=one.number, age=one.age or 0)
            figures.append(panels.picture(one.image, text, text))
        return f"<h3>{panels.escape(words('siblings'))}</h3>" + panels.row(figures, kind)

    def _film(self, session: Session) -> str:
        low, high = self.shop.network.ages or (0.0, 0.0)
        title = self.words("growing_title", low=low, high=high)
        return panels.film(self.words, session, "growing", title) if session.projections else ""

    def _after(self, session: Session) -> str:
        """Downloads and the equal command."""
        words = self.words
        if session.projections is None:
            return ""
        links = [(f"{name}", words(f"download_{name.rpartition('.')[2].replace('png', 'sheet')}"))
                 for name in ("family.zip", "sheet.png", "family.json")]  # fmt: skip
        return (
            f"<h3>{panels.escape(words('downloads'))}</h3>"
            + panels.downloads(words, links)
            + panels.command(words, self.commands(session), words("command_why"))
        )

    def commands(self, session: Session) -> list[str]:
        """The lines that make the same children."""
        family = session.family
        options = ["--children", str(family.count)]
        options += ["--age", f"{family.age:g}"] if family.age is not None else []
        options += ["--gender", f"{family.gender:g}"] if family.gender is not None else []
        options += ["--share", f"{family.share:g}", "--seed", str(family.seed)]
        network = ["--network", self.shop.network.name]
        one = session.portraits["first"]
        names = [session.portraits[which].name for which in ("first", "second")]
        start = ["facemorph", "child"]
        return [
            shlex.join([*start, "mother.safetensors", "father.safetensors", *options, *network]),
            shlex.join([*start, *names, *options, *network, "--preset", one.preset]),
        ]
