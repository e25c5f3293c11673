"""The page, in one language: what a visitor sees, and what each part does when it is touched."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from facemorph.web import child, explore, morph, panels, portraits, runs, work
from facemorph.web.sessions import COOKIE, remove
from facemorph.web.shop import Shop
from facemorph.web.words import LANGUAGES, Words

STYLE = Path(__file__).with_name("style.css")
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
LIVE: dict[str, Any] = {**QUIET, "queue": False, "trigger_mode": "always_last"}
PRESETS = ("instant", "fast", "balanced")


def look() -> dict[str, Any]:
    """Theme and style; fonts are those of the visitor's own system."""
    system = [gr.themes.Font("system-ui"), gr.themes.Font("Noto Sans KR"), gr.themes.Font("sans-serif")]
    mono = [gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")]
    theme = gr.themes.Base(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="stone",
        font=system,
        font_mono=mono,
        radius_size="lg",
        text_size="md",
    )
    for dark in ("", "_dark"):
        accent = "#5eead4" if dark else "#0f766e"
        theme.set(**{
            f"button_primary_background_fill{dark}": "#0f766e",
            f"button_primary_background_fill_hover{dark}": "#115e59",
            f"button_primary_text_color{dark}": "white", f"slider_color{dark}": accent,
            f"checkbox_background_color_selected{dark}": "#0f766e", f"checkbox_border_color_selected{dark}": "#0f766e",
            f"block_label_text_color{dark}": "#e7e5e4" if dark else "#292524",
            f"block_title_text_color{dark}": "#e7e5e4" if dark else "#292524",
            f"body_text_color_subdued{dark}": "#d6d3d1" if dark else "#57534e",
        })  # fmt: skip
    return {"theme": theme, "css": STYLE.read_text(encoding="utf-8")}


def build(shop: Shop, words: Words) -> gr.Blocks:
    """The page as Gradio knows it."""
    with gr.Blocks(title=f"facemorph: {words('title')}", analytics_enabled=False, fill_width=False) as page:
        other = next(one for one in LANGUAGES if one != words.language)
        gr.HTML(
            f'<header class="fm-head"><h1>{panels.escape(words("title"))}</h1><p>{panels.escape(words("subtitle"))}</p>'
            f'<a class="fm-language" lang="{other}" hreflang="{other}" href="/{other}/">{words("other_language")}</a>'
            f'<p class="fm-consent">{panels.escape(words("consent"))}</p></header>'
        )
        with gr.Tabs():
            with gr.Tab(words("tab_portraits")):
                restore = PortraitsTab(shop, words)
            with gr.Tab(words("tab_explore")):
                explore.build(shop, words, LIVE)
            with gr.Tab(words("tab_runs")) as tab:
                runs.build(shop, words, tab, QUIET)
        with gr.Row(elem_classes="fm-foot"):
            privacy = words("privacy", minutes=round(shop.sessions.keep_seconds / 60))
            gr.HTML(f'<p class="fm-privacy">{panels.escape(privacy)}</p>')
            forget = gr.Button(words("forget"), size="sm", elem_classes="fm-forget")
        message = gr.HTML()

        def forget_all(request: gr.Request) -> tuple[Any, ...]:
            shop.sessions.forget(request.cookies.get(COOKIE))
            return (panels.note(words("forgotten")), *restore.view(portraits.session_of(shop, request)))

        forget.click(forget_all, None, [message, *restore.outputs], **QUIET)
        page.load(restore.load, None, restore.outputs, **QUIET)
    return page


class PortraitsTab:
    """Upload, the long work, and what comes of it: child and morph. A refresh shows all of it again."""

    def __init__(self, shop: Shop, words: Words) -> None:
        self.shop, self.words = shop, words
        found, choices = {}, {}
        drops: dict[str, Any] = {}
        buttons: dict[str, gr.Button] = {}
        with gr.Row(equal_height=False, elem_classes="fm-portraits"):
            for which in ("first", "second"):
                with gr.Column(min_width=280):
                    gr.HTML(f"<h2>{panels.escape(words(which))}</h2>")
                    drops[which] = portraits.drop(
                        sources=["upload", "webcam", "clipboard"], type="filepath", label=words(f"drop_{which}"),
                        height=260, elem_id=f"drop-{which}", elem_classes="fm-drop", buttons=[],
                    )  # fmt: skip
                    buttons[which] = gr.Button(words(f"example_{which}"), size="sm", elem_id=f"example-{which}")
                    found[which] = gr.HTML(elem_id=f"found-{which}")
                    choices[which] = gr.Radio(
                        [], label=words("choose"), visible=False, elem_id=f"choose-{which}", interactive=True
                    )
        with gr.Row(elem_classes="fm-go"):
            quality = gr.Radio(
                [(words(one), one) for one in PRESETS], value="fast", label=words("quality"), elem_id="quality"
            )
            with gr.Column(min_width=240):
                go = gr.Button(words("go"), variant="primary", size="lg", elem_id="go")
                stop = gr.Button(words("cancel"), visible=False, elem_id="stop")
        working = gr.HTML(elem_id="working")
        self.fixed = [found["first"], found["second"], choices["first"], choices["second"], working, stop]
        with gr.Tabs():
            with gr.Tab(words("tab_child")) as child_tab:
                self.child = child.Part(shop, words)
            with gr.Tab(words("tab_morph")) as morph_tab:
                self.morph = morph.Part(shop, words)
        self.outputs = [*self.fixed, *self.child.outputs, *self.morph.outputs]

        for which in ("first", "second"):
            drops[which].input(
                self._taking(which), drops[which], [drops[which], *self.outputs], trigger_mode="multiple", **QUIET
            )
            buttons[which].click(self._example(which), None, self.outputs, **QUIET)
            choices[which].input(self._choosing(which), choices[which], self.outputs, **QUIET)
        done = go.click(self.go, quality, self.outputs, trigger_mode="once", **QUIET)
        done.then(self.morph.again, None, self.morph.faces, **QUIET)
        morph_tab.select(self.morph.opened, None, self.morph.faces, **QUIET)
        child_tab.select(self.morph.closed, None, None, queue=False, **QUIET)
        stop.click(self.stop, None, None, queue=False, **QUIET)
        self.child.wire(self, LIVE, QUIET)
        self.morph.wire(self, QUIET)

    def view(self, session: Any) -> tuple[Any, ...]:
        """All outputs, as the session stands."""
        words = self.words
        shown: list[Any] = [panels.portrait(words, session.portraits.get(which)) for which in ("first", "second")]
        for which in ("first", "second"):
            one = session.portraits.get(which)
            several = one is not None and len(one.faces) > 1
            numbers = (
                [(words("face_number", number=n + 1), n) for n in range(len(one.faces))] if one and several else []
            )
            shown.append(gr.update(choices=numbers, value=one.chosen if one and several else None, visible=several))
        return (*shown, *self.progress(session), *self.child.view(session), *self.morph.view(session))

    def progress(self, session: Any) -> tuple[str, Any]:
        job = session.job
        running = job is not None and not job.finished.is_set()
        return panels.progress(self.words, self.shop.turns, job), gr.update(visible=running)

    def while_working(self, session: Any) -> tuple[Any, ...]:
        """Only the progress: nothing else is drawn again."""
        before = [gr.skip()] * 4
        after = [gr.skip()] * (len(self.outputs) - len(self.fixed))
        return (*before, *self.progress(session), *after)

    async def following(self, session: Any, what: str = "", make: Any = lambda: None) -> AsyncIterator[tuple[Any, ...]]:
        """The progress of the session's work, and of work that begins then, until it ends; then everything."""
        shown = None
        async for _ in work.follow(self.shop.turns, session, what, make):
            now = self.progress(session)
            if now != shown:
                shown = now
                yield self.while_working(session)
        yield await asyncio.to_thread(self.view, session)  # which draws: other visitors must not wait for that

    async def load(self, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """After a refresh: what was made, and work that is not done yet."""
        session = self.shop.sessions.find(request.cookies.get(COOKIE)) or portraits.session_of(self.shop, request)
        session.morph_open, session.way_shown = False, ()
        yield await asyncio.to_thread(self.view, session)
        if session.at_work():
            async for shown in self.following(session):
                yield shown

    def _taking(self, which: str) -> Any:
        def taken(upload: Any, request: gr.Request) -> tuple[Any, ...]:
            session = portraits.session_of(self.shop, request)
            if not upload:
                return (None, *self.view(session))
            known_as, name = upload
            path = session.uploads.pop(known_as, None)  # of the visitor's own uploads: anything else is nothing
            if path is not None:
                try:
                    self.shop.quick.submit(portraits.take, self.words, session, which, path, name).result()
                finally:
                    remove(path)
            return (None, *self.view(session))

        return taken

    def _example(self, which: str) -> Any:
        def taken(request: gr.Request) -> tuple[Any, ...]:
            session = portraits.session_of(self.shop, request)
            name = portraits.EXAMPLES[which]
            path = Path(__file__).with_name("examples") / name
            self.shop.quick.submit(portraits.take, self.words, session, which, path, name).result()
            return self.view(session)

        return taken

    def _choosing(self, which: str) -> Any:
        def chosen(number: int | None, request: gr.Request) -> tuple[Any, ...]:
            session = portraits.session_of(self.shop, request)
            portraits.choose(session, which, -1 if number is None else int(number))
            return self.view(session)

        return chosen

    async def go(self, preset: str, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        session = portraits.session_of(self.shop, request)
        if not portraits.ready(session):
            shown = list(self.while_working(session))
            shown[4] = panels.note(self.words("need_two"), "fm-error")
            yield tuple(shown)
            return
        preset = preset if preset in PRESETS else "fast"
        make = partial(portraits.project_both, self.shop, session, preset)
        async for shown in self.following(session, "project", make):
            yield shown

    def stop(self, request: gr.Request) -> None:
        work.stop(self.shop.sessions.find(request.cookies.get(COOKIE)))
