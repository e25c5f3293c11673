"""Train and evaluate every run behind the figures of the 2018 paper, in one command that can be resumed.

    python experiments/face-morphing-2018/reproduce.py --man clips/man --woman clips/woman --noise drones -o work
    python experiments/face-morphing-2018/reproduce.py --sample -o work   # the embedded sample: no data needed
    python experiments/face-morphing-2018/reproduce.py ... --figure 15 --figure 7 --seeds 1
    python experiments/face-morphing-2018/reproduce.py ... --scale paper  # 5,000 steps at full width, for a GPU

Every run is trained with its first seed before any second seed. Written to the working folder: runs/, results.jsonl
(one row per run and seed), table.md, few.md, back.md, curves.png, walks.json (figures 12, 13) and spread.json (figure
11). It may be stopped and started again at any time.
"""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import curves
import material
import numpy as np
import scipy.stats
import yaml
from report import Row, write_tables
from runs import LONG, Planned, Sources, plan, prepare
from walks import walk_all

from facemorph.dcgan.run import Run
from facemorph.files import sha256, write_json, write_jsonl

# With half the paper's width and few steps, two CPU cores take hours for all of it.
SCALES: dict[str, dict[str, Any]] = {
    "small": {"network.channels": 32, "training.steps": 1000, "output.checkpoint_every": 200},
    "full": {"training.steps": 1500},
    "paper": {"training.steps": 5000},
}
SAMPLES = 500  # generated faces for the evaluation of a run
AT_ZERO = 0.1  # d-loss below which D recognises every fake
BLOCK = 20  # steps averaged to one point of the fit to g-loss


def facemorph(*arguments: str | Path, threads: int = 0) -> str:
    """Echo and run a facemorph command and return its output; `threads` 0 is all."""
    command = ["facemorph", *map(str, arguments)]
    click.echo("$ " + " ".join(command))
    limits = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    done = subprocess.run(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True, env={**os.environ, **limits}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    return done.stdout


def frames_and_faces(sources: Sources) -> None:
    """Clips to frames and faces, sampled as in the paper."""
    for person, clips in (("man", sources.man), ("woman", sources.woman)):
        facemorph("extract", "-q", clips, "--person", person, "-o", sources.work / "frames")
        facemorph("align", "-q", sources.frames(person), "-o", sources.work / "faces")


def dense_faces(sources: Sources) -> None:
    for person, clips in (("man", sources.man), ("woman", sources.woman)):
        folder = sources.work / "dense-frames"
        facemorph("extract", "-q", clips, "--person", person, "--per-second", "7", "-o", folder)
        facemorph("align", "-q", folder / person, "-o", sources.work / "dense")


def train_and_judge(planned: Planned, sources: Sources, scale: str, seed: int, threads: int) -> Row:
    """Train and evaluate a run, unless that is done, and return its row of results."""
    folder = folder_of(planned, sources, scale, seed)
    faces = [str(path.resolve()) for path in planned.faces]
    settings = {**SCALES[scale], **planned.settings, "data.faces": faces, "training.seed": seed}
    settings = {**settings, "output.sample_every": 200, "training.steps": steps_of(planned, scale)}
    tree: dict[str, dict[str, object]] = {}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = value
    folder.parent.mkdir(parents=True, exist_ok=True)
    config, text = config_of(folder), yaml.safe_dump({"recipe": f"figure {planned.figure}: {planned.name}", **tree})
    before = folder.with_name(f"{planned.goes_on_from}-{seed}")
    if planned.goes_on_from and not folder.exists() and is_trained(before):
        copy = folder.with_name(f".{folder.name}")
        shutil.rmtree(copy, ignore_errors=True)  # left by an interruption
        shutil.copytree(before, copy, ignore=shutil.ignore_patterns("walks", "evaluation.*"))
        copy.replace(folder)
    if folder.exists() and config.exists() and config.read_text() != text:
        raise SystemExit(f"{folder} was trained with other settings than {planned.name} has now: move it away.")
    if not is_trained(folder):
        config.write_text(text)
        facemorph("train", "-q", "--config", config, "-o", folder, threads=threads)
    run = Run.open(folder)
    if not is_evaluated(run):
        whole = ["--against", planned.faces[0]] if "data.limit" in planned.settings else []  # trained on some faces
        facemorph("evaluate", "run", folder, "-q", "--samples", str(SAMPLES), *whole, threads=threads)
    losses = run.losses()
    slope, low, high = slope_of(losses["g_loss"])
    row = {"name": planned.name, "figure": planned.figure, "scale": scale, "seed": seed, **asdict(run.health())}
    row |= {"g_slope": slope, "g_slope_low": low, "g_slope_high": high, "seconds": round(seconds_of(losses["seconds"]))}
    row |= {"back_after": back_after(losses["d_loss"]), "faces": run.about()["faces"]}
    row |= {"evaluation": json.loads((folder / "evaluation.json").read_text())}
    return row | {"date": run.about()["begun"][:10], "commit": run.about().get("commit", "")}


def folder_of(planned: Planned, sources: Sources, scale: str, seed: int) -> Path:
    return sources.work / "runs" / scale / f"{planned.name}-{seed}"


def config_of(folder: Path) -> Path:
    """Beside the run folder, whose name may contain a dot (jitter-0.2-ours-0)."""
    return folder.with_name(f"{folder.name}.yaml")


def steps_of(planned: Planned, scale: str) -> int:
    return SCALES[scale]["training.steps"] * (LONG if planned.goes_on_from else 1)


def seconds_of(clock: np.ndarray) -> float:
    """The total time of a run, whose clock [N] starts at 0 again whenever it is resumed."""
    ends = np.append(clock[1:] < clock[:-1], True)
    return float(clock[ends].sum())


def is_trained(folder: Path) -> bool:
    """Whether this run has reached its last step."""
    health, config = folder / "health.json", config_of(folder)
    if not health.exists() or not config.exists():
        return False
    return json.loads(health.read_text())["steps"] == yaml.safe_load(config.read_text())["training"]["steps"]


def is_evaluated(run: Run) -> bool:
    """Whether there is an evaluation of the current generator."""
    path = run.path / "evaluation.json"
    return path.exists() and json.loads(path.read_text())["generator_sha256"] == sha256(run.generator)


def slope_of(g_loss: np.ndarray) -> tuple[float, float, float]:
    """Slope of g-loss over the second half, per 1,000 steps, with its 95 % interval (least squares on block means)."""
    half = g_loss[len(g_loss) // 2 :]
    count = len(half) // BLOCK
    means = half[: count * BLOCK].reshape(count, BLOCK).mean(1)
    x = (np.arange(count) - (count - 1) / 2) * BLOCK / 1000
    slope = float(x @ means / (x @ x))
    rest = means - means.mean() - slope * x
    error = float(np.sqrt(rest @ rest / max(count - 2, 1) / (x @ x)))
    student = float(scipy.stats.t.ppf(0.975, max(count - 2, 1)))
    return slope, slope - student * error, slope + student * error


def back_after(d_loss: np.ndarray, window: int = 100) -> int | None:
    """The step after which the mean of d-loss over `window` steps stays above 0; None if it is 0 at the end."""
    means = np.convolve(d_loss, np.full(window, 1 / window), "valid")
    low = np.flatnonzero(means < AT_ZERO)
    if not len(low):
        return 0
    return None if low[-1] == len(means) - 1 else int(low[-1]) + window


@click.command()
@click.option("--man", type=click.Path(exists=True, path_type=Path), help="A clip, or a folder of clips.")
@click.option("--woman", type=click.Path(exists=True, path_type=Path), help="A clip, or a folder of clips.")
@click.option("--noise", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Images without people.")
@click.option("--sample", is_flag=True, help="Use the embedded sample instead of --man and --woman.")
@click.option("-o", "--output", "work", type=click.Path(path_type=Path), default=Path("work"), show_default=True)
@click.option("--scale", type=click.Choice(list(SCALES)), default="small", show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--jobs", default=1, show_default=True, help="Runs in parallel, with equal parts of the CPUs.")
@click.option("--figure", "figures", type=click.IntRange(6, 17), multiple=True, help="Only runs behind this figure.")
@click.option("--only", multiple=True, help="Only runs whose name starts with this.")
@click.option("--report", is_flag=True, help="Train nothing: evaluate the finished runs.")
def main(
    man: Path | None,
    woman: Path | None,
    noise: Path | None,
    sample: bool,
    work: Path,
    scale: str,
    seeds: int,
    jobs: int,
    figures: tuple[int, ...],
    only: tuple[str, ...],
    report: bool,
) -> None:
    """Train and evaluate every run behind the figures of the 2018 paper."""
    work.mkdir(parents=True, exist_ok=True)
    if sample:
        script = Path(__file__).resolve().parents[1] / "sample" / "make_clips.py"
        if not (work / "clips").exists():
            subprocess.run([sys.executable, script, "-o", work / "clips", "--seconds", "100"], check=True)
        man, woman = work / "clips" / "grace_hopper.mp4", work / "clips" / "eileen_collins.mp4"
    if not man or not woman:
        raise click.UsageError("Give --man and --woman, or --sample.")
    sources = Sources(man, woman, noise, work)
    frames_and_faces(sources)
    runs = plan(sources)
    chosen = [one for one in runs if not only or one.name.startswith(only)]
    chosen = [one for one in chosen if not figures or any(map(one.is_behind, figures))]
    if not (work / "spread.json").exists():
        spreads = {one: material.spread(sources.frames(one), sources.faces(one)) for one in ("man", "woman")}
        write_json(work / "spread.json", spreads)

    every = [(one, size, seed) for size in SCALES for seed in range(seeds) for one in runs]
    trained = [job for job in every if is_trained(folder_of(job[0], sources, *job[1:]))]
    planned = [] if report else [(one, scale, seed) for one, size, seed in every if size == scale and one in chosen]
    missing = [job for job in planned if job not in trained]
    if any("dense" in one.name for one, _, _ in missing):
        dense_faces(sources)
    for one, _, _ in missing:
        prepare(sources, one)
    rows: list[Row] = []
    order = [one.name for one in runs]
    threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else 0
    with ThreadPoolExecutor(jobs) as pool:
        todo = [*trained, *missing]
        futures = [pool.submit(train_and_judge, one, sources, size, seed, threads) for one, size, seed in todo]
        try:
            for number, row in enumerate(as_completed(futures), 1):
                rows.append(row.result())
                rows.sort(key=lambda row: (order.index(row["name"]), row["scale"], row["seed"]))
                write_jsonl(work / "results.jsonl", rows)
                write_tables(rows, work)
                click.echo(f"[{number} of {len(todo)}] {row.result()['name']}, seed {row.result()['seed']}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    curves.draw(work, work / "curves.png", scale)
    write_json(work / "walks.json", walk_all(sources, scale, seeds, facemorph))
    click.echo(f"{len(rows)} runs evaluated: {work / 'results.jsonl'}, {work / 'table.md'}")


if __name__ == "__main__":
    main()
