"""Trained DCGAN runs: losses, samples, walk and evaluation, live while one trains. Only those named at the start."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

import facemorph as fm
from facemorph.errors import FacemorphError
from facemorph.web import panels, portraits
from facemorph.web.sessions import remove
from facemorph.web.shop import Shop
from facemorph.web.turns import Job
from facemorph.web.words import Words

REFRESH_SECONDS = 5
SAMPLES = 16
WALK_STEPS = 24


def build(shop: Shop, words: Words, tab: gr.Tab, quiet: dict[str, Any]) -> None:
    """The tab."""
    if not shop.runs:
        gr.HTML(f'<p class="fm-note">{words("no_runs")}</p>')
        return
    plots: dict[str, tuple[float, str]] = {}

    def losses(name: str) -> str:
        """The plot, drawn again only when the log has grown."""
        path = shop.runs[name]
        try:
            log = path / "log.csv"
            changed = log.stat().st_mtime if log.is_file() else 0.0
            if name not in plots or plots[name][0] != changed:
                run, drawn = fm.Run(path), shop.sessions.root / f"loss-{len(plots)}.png"
                health = run.health()
                run.plot(drawn)
                verdict = words("unstable" if health.verdict == "failed" else health.verdict)
                text = f"{words('verdict')}: {verdict} · {words('steps_done', steps=health.steps)}"
                plots[name] = changed, panels.note(text) + panels.file_picture(drawn, text)
                remove(drawn)
            return plots[name][1]
        except FacemorphError as error:
            return panels.note(panels.why(words, error))

    def samples(name: str, seed: float) -> str:
        try:
            images = fm.Run(shop.runs[name]).sample(SAMPLES, seed=max(0, int(seed)))
            figures = [panels.picture(image, words("samples")) for image in images]
            return panels.row(figures, "fm-small")
        except FacemorphError as error:
            return panels.note(panels.why(words, error))

    def evaluation(name: str) -> str:
        report = fm.Run(shop.runs[name]).evaluation()
        if report is None:
            return panels.note(words("no_evaluation"))
        rows = [(words(key), text) for key, text in figures_of(report)]
        return panels.table(rows, (words("measure"), words("value")))

    def everything(name: str | None, seed: float) -> tuple[str, str, str]:
        chosen = name if name in shop.runs else next(iter(shop.runs))
        return shop.quick.submit(lambda: (losses(chosen), samples(chosen, seed), evaluation(chosen))).result()

    names = list(shop.runs)
    run = gr.Dropdown(names, value=names[0], label=words("run"), visible=len(names) > 1)
    gr.HTML(f"<h2>{panels.escape(words('losses'))}</h2><p>{panels.escape(words('live'))}</p>")
    plot = gr.HTML(elem_id="losses")
    gr.HTML(f"<h2>{panels.escape(words('samples'))}</h2>")
    shown = gr.HTML(elem_id="samples")
    seed = gr.Slider(0, 999, 0, step=1, label=words("other_samples"))
    working = gr.HTML()
    with gr.Row():
        walk = gr.Button(words("walk"), elem_id="walk")
        measure = gr.Button(words("evaluate"))
    film = gr.HTML(elem_id="walked")
    gr.HTML(f"<h2>{panels.escape(words('evaluation'))}</h2>")
    measured = gr.HTML(elem_id="evaluation")
    timer = gr.Timer(REFRESH_SECONDS, active=False)

    inputs = [run, seed]
    tab.select(everything, inputs, [plot, shown, measured], **quiet)
    tab.select(lambda: gr.Timer(active=True), None, timer, **quiet)
    run.input(everything, inputs, [plot, shown, measured], **quiet)
    seed.input(
        lambda name, number: shop.quick.submit(samples, name if name in shop.runs else names[0], number).result(),
        inputs, shown, trigger_mode="always_last", **quiet,
    )  # fmt: skip
    timer.tick(
        lambda name: shop.quick.submit(losses, name if name in shop.runs else names[0]).result(), run, plot, **quiet
    )

    def working_on(what: str) -> Any:
        async def start(name: str | None, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
            session = portraits.session_of(shop, request)
            path = shop.runs[name if name in shop.runs else names[0]]
            with session.lock:
                if session.job is None or session.job.finished.is_set():
                    session.job = shop.turns.join(id(session), _work(session, path, what), what)
            async for _ in portraits.follow(session.job):
                yield panels.progress(words, shop.turns, session.job), gr.skip(), gr.skip()
            title = words("walk")
            shown = panels.film(words, session, "walk", title)
            kept = session.files.get("evaluation.html")
            table = kept.read_text(encoding="utf-8") if kept else gr.skip()
            yield panels.progress(words, shop.turns, session.job), shown, table

        return start

    def _work(session: Any, path: Path, what: str) -> Any:
        def walking(job: Job) -> None:
            frames = fm.Run(path).walk(steps=WALK_STEPS)
            large = frames.repeat(4, 1).repeat(4, 2)
            mp4, gif = session.new_file(".mp4"), session.new_file(".gif")
            fm.write_mp4(mp4, large, 12)
            fm.write_gif(gif, list(large))
            session.offer("walk.mp4", mp4)
            session.offer("walk.gif", gif)

        def measuring(job: Job) -> None:
            folder = session.new_file("")
            report = fm.Run(path).evaluate(output=folder)
            rows = [(words(key), text) for key, text in figures_of(report)]
            kept = session.new_file(".html")
            kept.write_text(panels.table(rows, (words("measure"), words("value"))), encoding="utf-8")
            session.offer("evaluation.html", kept)
            remove(folder)

        return walking if what == "walk" else measuring

    walk.click(working_on("walk"), run, [working, film, measured], trigger_mode="once", **quiet)
    measure.click(working_on("evaluate"), run, [working, film, measured], trigger_mode="once", **quiet)


def figures_of(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The key figures of evaluation.json as text."""
    known = [
        ("m_frechet", "{:.4f}", ("distances", "descriptors", "frechet", "value")),
        ("m_seen", "{:.0%}", ("samples_show", "seen")),
        ("m_near", "{:.0%}", ("samples_show", "near_a_person")),
        ("m_diversity", "{:.0%}", ("diversity", "descriptors", "ratio")),
        ("m_copies", "{:.0%}", ("memory", "descriptors", "nearer_share")),
    ]
    rows = []
    for key, form, path in known:
        value: Any = report
        for part in path:
            value = value.get(part, {}) if isinstance(value, dict) else {}
        if isinstance(value, int | float):
            rows.append((key, form.format(value)))
    return rows
