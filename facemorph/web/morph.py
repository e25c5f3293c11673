"""The morph of the two portraits: a slider through the generator and by landmarks, and the film."""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
import numpy as np

import facemorph as fm
from facemorph.web import panels, portraits
from facemorph.web.sessions import Session, remove
from facemorph.web.shop import Shop
from facemorph.web.turns import Job
from facemorph.web.words import Words

STEPS, FRAMES = 9, 30


class Part:
    """The tab. `view` is all of it for a session."""

    def __init__(self, shop: Shop, words: Words) -> None:
        self.shop, self.words = shop, words
        with gr.Column(visible=False) as self.body:
            self.faces = gr.HTML(elem_id="morph")
            self.at = gr.Slider(0, 1, 0.5, step=0.01, label=words("from_to"), elem_id="at", buttons=[])
            self.layers = gr.CheckboxGroup(
                [(words(one), one) for one in shop.network.layers],
                value=list(shop.network.layers), label=words("layers"), elem_id="layers",
            )  # fmt: skip
            self.make = gr.Button(words("make_film"), elem_id="film")
            self.film = gr.HTML(elem_id="filmed")
        self.nothing = gr.HTML(panels.note(words("nothing_yet")))
        self.outputs = [self.body, self.nothing, self.faces, self.film]

    def wire(self, tab: Any, live: dict[str, Any], quiet: dict[str, Any]) -> None:
        for one in (self.at, self.layers):
            one.input(self.changed, [self.at, self.layers], self.faces, **live)

        async def film(layers: list[str], request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
            session = portraits.session_of(self.shop, request)
            if session.projections:
                tab.start(session, self.filming(session, self._layers(layers)), "film")
                async for shown in tab.following(session):
                    yield shown

        self.make.click(film, self.layers, tab.outputs, trigger_mode="once", **quiet)

    def changed(self, at: float, layers: list[str], request: gr.Request) -> str:
        session = portraits.session_of(self.shop, request)
        return self.shop.quick.submit(self._faces, session, float(at), self._layers(layers)).result()

    def view(self, session: Session) -> tuple[Any, ...]:
        there = session.projections is not None
        faces = self.shop.quick.submit(self._faces, session, 0.5, None).result() if there else ""
        title = self.words("film_title")
        film = panels.film(self.words, session, "morph", title) if there else ""
        return gr.update(visible=there), gr.update(visible=not there), faces, film

    def filming(self, session: Session, layers: tuple[str, ...] | None) -> Any:
        both = session.projections

        def work(job: Job) -> None:
            assert both is not None
            chosen = both if layers is None or layers else (both[0], both[0])
            morph = self.shop.network.morph(*chosen, layers=layers or ())
            folder = session.new_file("")
            fm.write_morph(folder, morph, steps=STEPS, frames=FRAMES, progress=job.tell)
            for name in ("morph.mp4", "morph.gif"):
                session.offer(name, (folder / name).rename(session.new_file(name[-4:])))
            remove(folder)

        return work

    def _layers(self, layers: list[str]) -> tuple[str, ...] | None:
        """None for all of them."""
        known = tuple(one for one in self.shop.network.layers if one in layers)
        return None if len(known) == len(self.shop.network.layers) else known

    def _faces(self, session: Session, at: float, layers: tuple[str, ...] | None) -> str:
        both, words, at = session.projections, self.words, min(max(at, 0.0), 1.0)
        if both is None:
            return panels.note(words("expired"))
        where = 0.0 if layers == () else at  # nothing changes
        made: list[tuple[str, np.ndarray]] = []
        made.append(("by_network", next(iter(self.shop.network.morph(*both, layers=layers or ()).frames([where])))))
        if session.landmarks is not None:
            made.append(("by_landmarks", next(iter(session.landmarks.frames([at])))))
        return panels.row(
            [
                panels.picture(image, words("morph_alt", percent=round(100 * at), method=words(key)), words(key))
                for key, image in made
            ],
            "fm-morph",
        )
