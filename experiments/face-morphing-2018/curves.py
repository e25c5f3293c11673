"""Loss curves of figures 7, 10, 15, 16 and 17, all seeds; called by reproduce.py, or alone.

python experiments/face-morphing-2018/curves.py work curves.png
"""

from pathlib import Path

import click
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from facemorph import plots as figures
from facemorph.dcgan.health import BAND, smooth
from facemorph.dcgan.run import Run

PERSONS = ("man", "woman")
PANELS = {  # title: runs in one panel; a long run starts as the short one
    "6, 7: drones": ("noise-paper", "noise-paper-long"),
    "8-10: rectangle": [f"{person}-rectangle-paper{long}" for person in PERSONS for long in ("", "-long")],
    "11, 12: aligned": ("man-aligned-paper", "woman-aligned-paper", "woman-aligned-paper-long"),
    "15: both": ("mixed-paper", "mixed-paper-long"),
    "15: both, our recipe": ("mixed-ours",),
    "16: 500 images": ("woman-500-paper",),
    "17: 100 images": ("woman-100-paper",),
    "16, 17: our recipe": ("woman-500-ours", "woman-100-ours"),
}
WINDOW = 20  # steps of the moving average


def draw(work: Path, output: Path, scale: str = "small") -> bool:
    """Write the figure; False if none of its runs exists."""
    panels = {}
    for title, names in PANELS.items():
        runs = [path for name in names for path in sorted((work / "runs" / scale).glob(f"{name}-[0-9]"))]
        panels[title] = [path for path in runs if (path / "log.csv").exists()]
    panels = {title: runs for title, runs in panels.items() if runs}
    if not panels:
        return False
    figure = Figure(figsize=(2.2 * len(panels), 4.2), layout="constrained")
    axes = figure.subplots(2, len(panels), sharex="col", sharey="row", squeeze=False)
    for column, (title, runs) in enumerate(panels.items()):
        top, bottom = axes[0][column], axes[1][column]
        top.set_title(title, fontsize=9)
        top.axhspan(*BAND, color="tab:green", alpha=0.15, linewidth=0)
        for run in runs:
            _curves(run, top, bottom)
        bottom.set_xlabel("step", fontsize=8)
    axes[0][0].set_ylabel("d-loss")
    axes[1][0].set_ylabel("g-loss")
    axes[0][0].set_ylim(0, 2)
    for axis in axes.flat:
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
    figures.save(figure, output)
    return True


def _curves(run: Path, top: Axes, bottom: Axes) -> None:
    losses = Run.open(run).losses()
    colour = "tab:red" if run.name.startswith("woman") else "tab:blue"
    for axis, name in ((top, "d_loss"), (bottom, "g_loss")):
        axis.plot(losses["step"], smooth(losses[name], WINDOW), color=colour, linewidth=0.9, alpha=0.8)


@click.command()
@click.argument("work", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--scale", default="small", show_default=True)
def main(work: Path, output: Path, scale: str) -> None:
    """Plot the losses of the runs in WORK."""
    if not draw(work, output, scale):
        raise click.UsageError(f"No runs of the scale {scale} in {work}.")
    click.echo(f"Written: {output}")


if __name__ == "__main__":
    main()
