"""The morph of the two portraits: a slider through the generator and by landmarks, and the film.

The images of the whole way are made ahead, a few first and then all those between, and kept in the browser. There the
slider chooses among them, so that it follows the finger however far the server is, and whoever else is served.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
import numpy as np

import facemorph as fm
from facemorph.api.morphs import Morph
from facemorph.web import panels, portraits
from facemorph.web.sessions import Session, remove
from facemorph.web.shop import Shop
from facemorph.web.turns import Job, Work
from facemorph.web.words import Words

STEPS, FRAMES = 9, 30
# Images of the way: at first, then, at last. All are places of the slider, which has as many as there are at last.
LEVELS = (3, 11, 26, 51)
AT_ONCE = 3  # images made in one piece: between two pieces others' sliders have their turn
REST_SECONDS = 1.0  # that the children's sliders must have rested before more is made of a way that nobody looks at
QUALITY = 85  # of JPEG; the way is 1 MB

# In the browser: show of each way the image nearest to the slider.
SHOW = """(at) => {
  for (const way of document.querySelectorAll('#morph .fm-way')) {
    const images = way.querySelectorAll('img'), wanted = Math.round(at / 100 * (images.length - 1));
    images.forEach((one, number) => { one.hidden = number !== wanted; });
  }
}"""


class Part:
    """The tab. `view` is all of it for a session."""

    def __init__(self, shop: Shop, words: Words) -> None:
        self.shop, self.words = shop, words
        with gr.Column(visible=False) as self.body:
            self.faces = gr.HTML(elem_id="morph")
            step = 100 // (LEVELS[-1] - 1)
            self.at = gr.Slider(0, 100, 50, step=step, label=words("from_to"), elem_id="at", buttons=[])
            self.layers = gr.CheckboxGroup(
                [(words(one), one) for one in shop.network.layers],
                value=list(shop.network.layers), label=words("layers"), elem_id="layers",
            )  # fmt: skip
            self.make = gr.Button(words("make_film"), elem_id="film")
            self.film = gr.HTML(elem_id="filmed")
        self.nothing = gr.HTML(panels.note(words("nothing_yet")))
        self.outputs = [self.body, self.nothing, self.faces, self.layers, self.film]

    def wire(self, tab: Any, quiet: dict[str, Any]) -> None:
        self.at.input(None, self.at, None, js=SHOW, **quiet)
        self.faces.change(None, self.at, None, js=SHOW, **quiet)
        self.layers.input(self.changed, self.layers, self.faces, trigger_mode="multiple", **quiet)

        async def film(request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
            session = portraits.session_of(self.shop, request)
            async for shown in tab.following(session, "film", lambda: self.filming(session)):
                yield shown

        self.make.click(film, None, tab.outputs, trigger_mode="once", **quiet)

    async def opened(self, request: gr.Request) -> AsyncIterator[Any]:
        """The tab is looked at: make the way, unless the browser has it."""
        session = portraits.session_of(self.shop, request)
        session.morph_open = True
        async for shown in self.way(session):
            yield shown

    def closed(self, request: gr.Request) -> None:
        portraits.session_of(self.shop, request).morph_open = False

    async def again(self, request: gr.Request) -> AsyncIterator[Any]:
        """The portraits may be others: make the way, where it is looked at, and ahead where nobody else waits."""
        session = portraits.session_of(self.shop, request)
        yield gr.skip()
        if session.morph_open or self.shop.turns.idle:
            async for shown in self.way(session):
                yield shown

    async def changed(self, layers: list[str], request: gr.Request) -> AsyncIterator[Any]:
        session = portraits.session_of(self.shop, request)
        known = tuple(one for one in self.shop.network.layers if one in layers)
        session.layers = None if len(known) == len(self.shop.network.layers) else known
        async for shown in self.way(session):
            yield shown

    async def way(self, session: Session) -> AsyncIterator[Any]:
        """The images of the way, more and more; given up once others are asked for, such as other layers."""
        yield gr.skip()  # of a generator that yields nothing Gradio shows nothing
        if session.projections is None or self._has_it(session):
            return
        ticket = session.way = object()
        session.way_shown = self._way_of(session)
        ways: dict[str, Morph] = {"by_network": self._morph(session)}
        made: dict[str, dict[int, str]] = {}
        try:
            for level in LEVELS:
                places = np.linspace(0, 100, level).round().astype(int).tolist()
                for key, morph in ways.items():
                    shown = made.setdefault(key, {})
                    new = [at for at in places if at not in shown]
                    for start in range(0, len(new), AT_ONCE):
                        while not session.morph_open and time.monotonic() - session.moved < REST_SECONDS:
                            await asyncio.sleep(REST_SECONDS / 4)
                        part = self.shop.quick.submit(self._draw, key, morph, new[start : start + AT_ONCE])
                        shown |= await asyncio.wrap_future(part)
                        if session.way is not ticket or session.projections is None:
                            return
                yield panels.row(
                    [panels.stack([made[key][at] for at in places], self.words(key)) for key in ways], "fm-morph"
                )
                if level == LEVELS[0]:
                    landmarks = await asyncio.wrap_future(self.shop.quick.submit(self.shop.landmarks, session))
                    ways |= {"by_landmarks": landmarks} if landmarks else {}
        except BaseException:  # whoever asked is gone
            session.way_shown = ()
            raise

    def view(self, session: Session) -> tuple[Any, ...]:
        there = session.projections is not None
        chosen = list(self.shop.network.layers) if session.layers is None else list(session.layers)
        film = panels.film(self.words, session, "morph", self.words("film_title")) if there else ""
        faces = gr.skip() if there and self._has_it(session) else ""
        return gr.update(visible=there), gr.update(visible=not there), faces, chosen, film

    def filming(self, session: Session) -> Work | None:
        """The work; None where there is no morph."""
        if session.projections is None:
            return None
        morph = self._morph(session)

        def work(job: Job) -> None:
            folder = session.new_file("")
            fm.write_morph(folder, morph, steps=STEPS, frames=FRAMES, progress=job.tell)
            for name in ("morph.mp4", "morph.gif"):
                session.offer(name, (folder / name).rename(session.new_file(name[-4:])))
            remove(folder)

        return work

    def _morph(self, session: Session) -> Morph:
        assert session.projections is not None
        first, second = session.projections
        if session.layers == ():  # nothing changes
            second = first
        return self.shop.network.morph(first, second, layers=session.layers or ())

    def _way_of(self, session: Session) -> tuple[Any, ...]:
        """What the way depends on."""
        return (*(session.projections or ()), session.layers)

    def _has_it(self, session: Session) -> bool:
        """Whether the browser has the images of the way, or they are on their way."""
        now, shown = self._way_of(session), session.way_shown
        return len(shown) == len(now) == 3 and shown[0] is now[0] and shown[1] is now[1] and shown[2] == now[2]

    def _draw(self, key: str, morph: Morph, places: list[int]) -> dict[int, str]:
        texts = [self.words("morph_alt", percent=at, method=self.words(key)) for at in places]
        images = morph.frames([at / 100 for at in places])
        return {at: panels.image(one, text, QUALITY) for at, one, text in zip(places, images, texts, strict=True)}
