"""`facemorph evaluate run`: the samples of trained runs against real faces."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from facemorph.cli.options import PATH, run_options

if TYPE_CHECKING:
    from facemorph.evaluation.report import Evaluation


def _or_the_one_here(ctx: click.Context, parameter: click.Parameter, runs: tuple[Path, ...]) -> tuple[Path, ...]:
    """`facemorph evaluate run`, meaning the folder `run`, is parsed as this command without a folder."""
    here = Path("run")
    if not runs and not here.is_dir():
        raise click.MissingParameter(ctx=ctx, param=parameter)
    return runs or (here,)


@click.command(short_help="Samples of trained runs against real faces.")
@click.argument("runs", type=PATH, nargs=-1, callback=_or_the_one_here)
@click.option("--samples", type=click.IntRange(16, 50_000), default=1000, show_default=True, help="Images to generate.")
@click.option("--against", type=PATH, metavar="DIR", help="Also compare with the faces in this folder.")
@run_options(
    "Folder; for several runs it gets a folder for each. By default the run folder itself.",
    "Chooses the samples and the walks.",
)
def run(
    runs: tuple[Path, ...],
    samples: int,
    against: Path | None,
    device: str,
    output: Path | None,
    overwrite: bool,
    seed: int,
    progress: bool,
) -> None:
    """Generate faces with the trained RUNS and compare them with the faces that each was trained on.

    Frechet and kernel distance over dlib's face descriptors and over ImageNet features, diversity, copies of training
    images, coverage of expressions, and how even random walks are. Several runs are compared in one table. For runs
    of train-generator: the same distances, diversity, copies, and how well held-out faces are reconstructed.

    \b
    facemorph evaluate run/
    facemorph evaluate runs/few --against faces --seed 1
    facemorph evaluate run/ runs/paper/ -o compared
    """
    from facemorph.device import pick_device
    from facemorph.evaluation.report import REPORT, output_folders
    from facemorph.files import check_free
    from facemorph.run_folder import STYLEGAN, kind_of_runs

    kind = kind_of_runs(runs)
    folders = output_folders(list(runs), output)
    if output:
        for folder in folders:
            check_free(folder / REPORT, overwrite)
    options = {"samples": samples, "seed": seed, "against": against, "device": str(pick_device(device))}
    if kind == STYLEGAN:
        from facemorph.evaluation.evaluate_generator import evaluate_generator, has_network, table_rows

        networks = [has_network(path) for path in runs]
        done = [
            evaluate_generator(one, to, **options, progress=progress) for one, to in zip(networks, folders, strict=True)
        ]
    else:
        from facemorph.evaluation.evaluate_run import evaluate, has_generator, table_rows

        opened = [has_generator(path) for path in runs]
        done = [evaluate(one, to, **options, progress=progress) for one, to in zip(opened, folders, strict=True)]
    _echo(done, [table_rows(one.report) for one in done])


def _echo(done: "list[Evaluation]", tables: list[list[tuple[str, str]]]) -> None:
    from facemorph.evaluation.report import has_negative_kernel

    click.echo(_columns([Path(one.report["run"]).name for one in done], tables))
    if any(has_negative_kernel(one.report["distances"]) for one in done):
        click.echo(
            "A kernel distance below 0 means 0 within its error: the estimate is unbiased and scatters around 0."
        )
    for one in done:
        for remark in one.report["remarks"]:
            click.echo(f"{one.report['run']}: {remark}")
        click.echo(f"Written: {', '.join(map(str, one.written))}")


def _columns(names: list[str], tables: list[list[tuple[str, str]]]) -> str:
    """Several reports side by side; where labels differ, in their baselines, those of the first one are shown."""
    rows = [("", names)]
    for number, (label, _) in enumerate(max(tables, key=len)):
        rows.append((label, [table[number][1] if number < len(table) else "" for table in tables]))
    label_width = max(len(label) for label, _ in rows)
    widths = [max(len(values[index]) for _, values in rows) for index in range(len(names))]
    return "\n".join(
        f"{label:<{label_width}}  " + "  ".join(f"{value:>{wide}}" for value, wide in zip(values, widths, strict=True))
        for label, values in rows
    )
