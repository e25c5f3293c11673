"""`facemorph evaluate run`: the samples of trained runs against real faces."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facemorph.cli.options import (
    PATH,
    computing,
    device_option,
    output_option,
    overwrite_option,
    seed_option,
    verbosity,
)

if TYPE_CHECKING:
    from facemorph.evaluation.evaluate_run import Evaluation


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
@device_option
@output_option(None, "Folder. By default the run folder itself; of several runs, a folder of each name.")
@overwrite_option
@seed_option("Chooses the samples and the walks.")
@verbosity
@computing
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
    images, coverage of expressions, and how even random walks are. Several runs are compared in one table. Of runs of
    train-generator: the same distances, diversity, copies, and how held-out faces are rebuilt.

    \b
    facemorph evaluate run/
    facemorph evaluate runs/few --against faces --seed 1
    facemorph evaluate run/ runs/paper/ -o compared
    """
    from facemorph.errors import RunError
    from facemorph.evaluation import evaluate_run as library
    from facemorph.files import check_free
    from facemorph.run_folder import STYLEGAN, kind_of_run

    kinds = {kind_of_run(path) for path in runs}
    if len(kinds) > 1:
        raise RunError("Some of these are runs of `train`, some of `train-generator`.", "Evaluate each kind alone.")
    folders = library.places(list(runs), output)
    if output:
        for folder in folders:
            check_free(folder / library.REPORT, overwrite)
    options = {"samples": samples, "seed": seed, "against": against, "device": library.device_name(device)}
    if kinds == {STYLEGAN}:
        from facemorph.evaluation import evaluate_generator as generators

        trained = [generators.has_network(path) for path in runs]
        found = [
            generators.evaluate_generator(one, to, **options, progress=progress)
            for one, to in zip(trained, folders, strict=True)
        ]
        click.echo(_columns([Path(path).name for path in runs], [generators.table_rows(one.report) for one in found]))
        _echo_remarks(found)
        return
    opened = [library.has_generator(path) for path in runs]
    done = [library.evaluate(one, to, **options, progress=progress) for one, to in zip(opened, folders, strict=True)]
    click.echo(_table([one.report for one in done]))
    _echo_remarks(done)


def _echo_remarks(done: "list[Evaluation]") -> None:
    for one in done:
        for remark in one.report["remarks"]:
            click.echo(f"{one.report['run']}: {remark}")
        click.echo(f"Written: {', '.join(map(str, one.written))}")


def _columns(names: list[str], tables: list[list[tuple[str, str]]]) -> str:
    """Several reports side by side; each has its own labels where baselines differ, so the first one's are shown."""
    rows = [("", names)]
    for number, (label, _) in enumerate(max(tables, key=len)):
        rows.append((label, [table[number][1] if number < len(table) else "" for table in tables]))
    label_width = max(len(label) for label, _ in rows)
    widths = [max(len(values[index]) for _, values in rows) for index in range(len(names))]
    return "\n".join(
        f"{label:<{label_width}}  " + "  ".join(f"{value:>{wide}}" for value, wide in zip(values, widths, strict=True))
        for label, values in rows
    )


def _table(reports: list[dict[str, Any]]) -> str:
    """Several runs side by side, a line per measure."""
    rows: list[tuple[str, list[str]]] = [("", [Path(report["run"]).name for report in reports])]

    def add(label: str, form: str, *keys: str) -> None:
        values = []
        for report in reports:
            value: Any = report
            for key in keys:
                value = value[key]
            values.append(form.format(value))
        rows.append((label, values))

    def add_distances(space: str, title: str, form: str) -> None:
        for kind in ("frechet", "kernel"):
            found = [report["distances"][space] for report in reports]
            baseline = f"{found[0]['floor'][kind]:{form}}"
            name = f"{kind.capitalize()} distance, {title} (split-half baseline {baseline})"
            bounds = [(one[kind]["value"], one[kind]["low"], one[kind]["high"]) for one in found]
            rows.append((name, [f"{at:{form}} ({low:{form}} to {high:{form}})" for at, low, high in bounds]))
            if kind == "frechet":
                add("  of which bias, about", f"{{:{form}}}", "distances", space, "frechet_bias")

    add_distances("descriptors", "faces", ".4f")
    add_distances("imagenet", "ImageNet", ".2f")
    for name, key in (("a face is detected", "seen"), ("nearer than 0.6 to a person", "near_a_person")):
        add(name, "{:.0%}", "samples_show", key)
    add("between two persons", "{:.0%}", "samples_show", "between_persons")
    add("diversity, relative to the real faces'", "{:.0%}", "diversity", "descriptors", "ratio")
    add("nearest training face, median", "{:.3f}", "memory", "descriptors", "samples_median")
    add("  the same of real faces", "{:.3f}", "memory", "descriptors", "real_median")
    add("nearer than 95 % of real faces", "{:.0%}", "memory", "descriptors", "nearer_share")
    add("nearer to a mirrored training face", "{:.0%}", "mirrored", "samples")
    add("expressions covered", "{:.0%}", "expressions", "coverage")
    add("  by as many real faces", "{:.0%}", "expressions", "coverage_real")
    add("  by samples between two persons", "{:.0%}", "expressions_between_persons", "coverage")
    add("walks: mean step", "{:.3f}", "walks", "mean_step")
    add("walks: largest step over the mean", "{:.2f}", "walks", "largest_over_mean")
    kernels = [value for report in reports for one in report["distances"].values() for value in _kernel_values(one)]
    widths = [max(len(values[i]) for _, values in rows) for i in range(len(reports))]
    label_width = max(len(label) for label, _ in rows)
    lines = [
        f"{label:<{label_width}}  "
        + "  ".join(f"{value:>{width}}" for value, width in zip(values, widths, strict=True))
        for label, values in rows
    ]
    if min(kernels) < 0:
        lines.append(
            "A kernel distance below 0 means 0 within its error: the estimate is unbiased and scatters around 0."
        )
    return "\n".join(lines)


def _kernel_values(distances: dict[str, Any]) -> tuple[float, ...]:
    return distances["kernel"]["value"], distances["kernel"]["low"], distances["floor"]["kernel"]
