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
    if shop.runs:
        RunsTab(shop, words, tab, quiet)
    else:
        gr.HTML(f'<p class="fm-note">{words("no_runs")}</p>')


class RunsTab:
    """One run at a time: what its folder shows, and long work on it for a visitor."""

    def __init__(self, shop: Shop, words: Words, tab: gr.Tab, quiet: dict[str, Any]) -> None:
        self.shop, self.words = shop, words
        self.plots: dict[str, tuple[float, str]] = {}  # of each run: when its log last changed, and the plot then
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

        inputs, all_of_it = [run, seed], [timer, plot, shown, measured, film]
        self.following = [working, stop, film, measured]
        tab.select(self.everything, inputs, all_of_it, **quiet)
        run.input(self.everything, inputs, all_of_it, **quiet)
        seed.input(self.other_samples, inputs, shown, trigger_mode="always_last", **quiet)
        timer.tick(self.tick, inputs, [plot, shown], **quiet)
        walk.click(self.starting("walk"), run, self.following, trigger_mode="once", **quiet)
        measure.click(self.starting("evaluate"), run, self.following, trigger_mode="once", **quiet)
        stop.click(self.stop, None, None, queue=False, **quiet)
        tab.select(self.again, run, self.following, **quiet)

    def known(self, name: str | None) -> str:
        """A run that is shown: the one of this name, or else the first."""
        return name if name in self.shop.runs else next(iter(self.shop.runs))

    def losses(self, name: str) -> str:
        """The plot, drawn again only when the log has grown."""
        path, words = self.shop.runs[name], self.words
        try:
            log = path / "log.csv"
            changed = log.stat().st_mtime if log.is_file() else 0.0
            if name not in self.plots or self.plots[name][0] != changed:
                run, drawn = fm.Run(path), self.shop.sessions.root / f"loss-{secrets.token_hex(4)}.png"
                health = run.health()
                run.plot(drawn, title=f"{name}: {', '.join(run.persons)}")
                verdict = words("unstable" if health.verdict == "failed" else health.verdict)
                text = f"{words('verdict')}: {verdict} · {words('steps_done', steps=health.steps)}"
                self.plots[name] = changed, panels.note(text) + panels.file_picture(drawn, text)
                remove(drawn)
            return self.plots[name][1]
        except FacemorphError as error:
            return panels.note(without_path(words, error, path))

    def samples(self, name: str, seed: float) -> str:
        """Generated faces; of a run without weights its newest grid."""
        run = fm.Run(self.shop.runs[name])
        try:
            images = run.sample(SAMPLES, seed=max(0, int(seed)))
            figures = [panels.picture(image, self.words("samples")) for image in images]
            return panels.row(figures, "fm-small")
        except FacemorphError as error:
            grids = run.sample_grids()
            if not grids:
                return panels.note(without_path(self.words, error, run.path))
            text = self.words("newest_grid", step=int(grids[-1].stem.rpartition("-")[2]))
            return panels.note(text) + panels.file_picture(grids[-1], text)

    def evaluation(self, name: str, session: Session) -> str:
        """The figures of the run's own evaluation, or else of the visitor's."""
        report = fm.Run(self.shop.runs[name]).evaluation()
        if report is not None:
            return table_of(self.words, report)
        kept = session.files.get(f"evaluation-{name}.html")
        return kept.read_text(encoding="utf-8") if kept else panels.note(self.words("no_evaluation"))

    def film(self, session: Session) -> str:
        return panels.film(self.words, session, "walk", self.words("walk"))

    def everything(self, name: str | None, seed: float, request: gr.Request) -> tuple[Any, ...]:
        chosen, session = self.known(name), portraits.session_of(self.shop, request)

        def made() -> tuple[Any, ...]:
            return self.losses(chosen), self.samples(chosen, seed), self.evaluation(chosen, session)

        plot, faces, report = self.shop.quick.submit(made).result()
        return gr.Timer(active=True), plot, faces, report, self.film(session)

    def other_samples(self, name: str | None, seed: float) -> str:
        return self.shop.quick.submit(self.samples, self.known(name), seed).result()

    def tick(self, name: str | None, seed: float) -> tuple[Any, Any]:
        """What has changed since the last look."""
        chosen, before = self.known(name), dict(self.plots)
        drawn = self.shop.quick.submit(self.losses, chosen).result()
        if self.plots.get(chosen) == before.get(chosen):
            return gr.skip(), gr.skip()
        return drawn, self.other_samples(chosen, seed)

    async def follow(self, name: str, session: Session, what: str = "") -> AsyncIterator[tuple[Any, ...]]:
        """Updates of `following` until the work ends; first starts `what`, unless work is already going on."""
        turns, make = self.shop.turns, (partial(self.work_on, session, name, what) if what else lambda: None)
        async for _ in work.follow(turns, session, what, make):
            yield panels.progress(self.words, turns, session.job), gr.update(visible=True), gr.skip(), gr.skip()
        yield (
            panels.progress(self.words, turns, session.job), gr.update(visible=False),
            self.film(session), self.evaluation(name, session),
        )  # fmt: skip

    def starting(self, what: str) -> Any:
        """The handler of a button that starts "walk" or "evaluate"."""

        async def start(name: str | None, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
            async for now in self.follow(self.known(name), portraits.session_of(self.shop, request), what):
                yield now

        return start

    async def again(self, name: str | None, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """After a refresh: work on a run that is not done yet."""
        session = portraits.session_of(self.shop, request)
        yield (gr.skip(),) * len(self.following)  # of a generator that yields nothing Gradio shows nothing
        if session.at_work("walk") or session.at_work("evaluate"):
            async for now in self.follow(self.known(name), session):
                yield now

    def stop(self, request: gr.Request) -> None:
        work.stop(portraits.session_of(self.shop, request))

    def work_on(self, session: Session, name: str, what: str) -> Work:
        """The visitor's work, "walk" or "evaluate"; its errors do not tell where the run lies."""
        path = self.shop.runs[name]

        def run_job(job: Job) -> None:
            job.tell(0, None)
            try:
                if what == "walk":
                    walk_through(path, session)
                else:
                    report = evaluated(path, session, job)
                    kept = session.new_file(".html")
                    kept.write_text(table_of(self.words, report), encoding="utf-8")
                    session.offer(f"evaluation-{name}.html", kept)
            except FacemorphError as error:
                raise type(error)(error.problem.replace(str(path), path.name)) from error

        return run_job


def walk_through(path: Path, session: Session) -> None:
    """A walk through a run's latent space, as films that the visitor may download."""
    frames = fm.Run(path).walk(steps=WALK_STEPS)
    large = frames.repeat(4, 1).repeat(4, 2)
    mp4, gif = session.new_file(".mp4"), session.new_file(".gif")
    fm.write_mp4(mp4, large, 12)
    fm.write_gif(gif, list(large))
    session.offer("walk.mp4", mp4)
    session.offer("walk.gif", gif)


def evaluated(path: Path, session: Session, job: Job) -> dict[str, Any]:
    """The report of an evaluation, whose other files are deleted."""
    folder = session.new_file("")
    try:
        return fm.Run(path).evaluate(output=folder, progress=job.tell)
    finally:
        remove(folder)


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
