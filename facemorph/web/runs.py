"""Trained DCGAN runs: losses, samples, walk and evaluation, live while one trains. Only those named at the start."""

import secrets
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

import facemorph as fm
from facemorph.errors import FacemorphError
from facemorph.web import panels, portraits, work
from facemorph.web.sessions import Session, remove
from facemorph.web.shop import Shop
from facemorph.web.turns import Job, Work
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
                run, drawn = fm.Run(path), shop.sessions.root / f"loss-{secrets.token_hex(4)}.png"
                health = run.health()
                run.plot(drawn, title=f"{name}: {', '.join(run.persons)}")
                verdict = words("unstable" if health.verdict == "failed" else health.verdict)
                text = f"{words('verdict')}: {verdict} · {words('steps_done', steps=health.steps)}"
                plots[name] = changed, panels.note(text) + panels.file_picture(drawn, text)
                remove(drawn)
            return plots[name][1]
        except FacemorphError as error:
            return panels.note(without_path(words, error, path))

    def samples(name: str, seed: float) -> str:
        run = fm.Run(shop.runs[name])
        try:
            images = run.sample(SAMPLES, seed=max(0, int(seed)))
            figures = [panels.picture(image, words("samples")) for image in images]
            return panels.row(figures, "fm-small")
        except FacemorphError as error:
            grids = run.sample_grids()
            if not grids:
                return panels.note(without_path(words, error, run.path))
            text = words("newest_grid", step=int(grids[-1].stem.rpartition("-")[2]))
            return panels.note(text) + panels.file_picture(grids[-1], text)

    def evaluation(name: str, session: Session) -> str:
        report = fm.Run(shop.runs[name]).evaluation()
        kept = session.files.get(f"evaluation-{name}.html")
        if report is None and kept:  # the visitor's own
            return kept.read_text(encoding="utf-8")
        if report is None:
            return panels.note(words("no_evaluation"))
        return table_of(words, report)

    def known(name: str | None) -> str:
        return name if name in shop.runs else names[0]

    def everything(name: str | None, seed: float, request: gr.Request) -> tuple[Any, ...]:
        chosen, session = known(name), portraits.session_of(shop, request)

        def made() -> tuple[Any, ...]:
            return losses(chosen), samples(chosen, seed), evaluation(chosen, session)

        plot, faces, report = shop.quick.submit(made).result()
        return gr.Timer(active=True), plot, faces, report, panels.film(words, session, "walk", words("walk"))

    names = list(shop.runs)
    run = gr.Dropdown(names, value=names[0], label=words("run"), visible=len(names) > 1)
    gr.HTML(f"<h2>{panels.escape(words('losses'))}</h2><p>{panels.escape(words('live'))}</p>")
    plot = gr.HTML(elem_id="losses")
    gr.HTML(f"<h2>{panels.escape(words('samples'))}</h2>")
    shown = gr.HTML(elem_id="samples")
    seed = gr.Slider(0, 999, 0, step=1, label=words("other_samples"))
    working = gr.HTML(elem_id="working-on-run")
    with gr.Row():
        walk = gr.Button(words("walk"), elem_id="walk")
        measure = gr.Button(words("evaluate"), elem_id="evaluate")
        stop = gr.Button(words("cancel"), visible=False, elem_id="stop-run")
    film = gr.HTML(elem_id="walked")
    gr.HTML(f"<h2>{panels.escape(words('evaluation'))}</h2>")
    measured = gr.HTML(elem_id="evaluation")
    timer = gr.Timer(REFRESH_SECONDS, active=False)

    inputs, live = [run, seed], [plot, shown]
    all_of_it = [timer, plot, shown, measured, film]
    tab.select(everything, inputs, all_of_it, **quiet)
    run.input(everything, inputs, all_of_it, **quiet)
    seed.input(
        lambda name, number: shop.quick.submit(samples, known(name), number).result(),
        inputs, shown, trigger_mode="always_last", **quiet,
    )  # fmt: skip

    def tick(name: str | None, number: float) -> tuple[Any, Any]:
        """What has changed since the last look."""
        chosen, before = known(name), dict(plots)
        drawn = shop.quick.submit(losses, chosen).result()
        if plots.get(chosen) == before.get(chosen):
            return gr.skip(), gr.skip()
        return drawn, shop.quick.submit(samples, chosen, number).result()

    timer.tick(tick, inputs, live, **quiet)

    following = [working, stop, film, measured]

    async def follow(name: str, session: Session, what: str = "") -> AsyncIterator[tuple[Any, ...]]:
        make = partial(_work, session, name, what) if what else lambda: None
        async for _ in work.follow(shop.turns, session, what, make):
            yield panels.progress(words, shop.turns, session.job), gr.update(visible=True), gr.skip(), gr.skip()
        yield (
            panels.progress(words, shop.turns, session.job), gr.update(visible=False),
            panels.film(words, session, "walk", words("walk")), evaluation(name, session),
        )  # fmt: skip

    def working_on(what: str) -> Any:
        async def start(name: str | None, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
            async for now in follow(known(name), portraits.session_of(shop, request), what):
                yield now

        return start

    async def again(name: str | None, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """After a refresh: work on a run that still goes on."""
        session = portraits.session_of(shop, request)
        yield (gr.skip(),) * len(following)  # of a generator that yields nothing Gradio shows nothing
        if session.at_work("walk") or session.at_work("evaluate"):
            async for now in follow(known(name), session):
                yield now

    def stopped(request: gr.Request) -> None:
        work.stop(portraits.session_of(shop, request))

    def _work(session: Session, name: str, what: str) -> Work:
        path = shop.runs[name]

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
            try:
                report = fm.Run(path).evaluate(output=folder, progress=job.tell)
            finally:
                remove(folder)
            kept = session.new_file(".html")
            kept.write_text(table_of(words, report), encoding="utf-8")
            session.offer(f"evaluation-{name}.html", kept)

        def run_job(job: Job) -> None:
            job.tell(0, None)
            try:
                (walking if what == "walk" else measuring)(job)
            except FacemorphError as error:
                raise type(error)(error.problem.replace(str(path), path.name)) from error

        return run_job

    walk.click(working_on("walk"), run, following, trigger_mode="once", **quiet)
    measure.click(working_on("evaluate"), run, following, trigger_mode="once", **quiet)
    stop.click(stopped, None, None, queue=False, **quiet)
    tab.select(again, run, following, **quiet)


def without_path(words: Words, error: BaseException, path: Path) -> str:
    """An error in words, without where on this server the run lies."""
    return panels.why(words, error).replace(str(path), path.name)


def table_of(words: Words, report: dict[str, Any]) -> str:
    rows = [(words(key), text) for key, text in figures_of(report)]
    return panels.table(rows, (words("measure"), words("value")))


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
