"""`extract` against decoding the same clip with PyAV alone, taking turns.

    python benchmarks/extract.py CLIP [--rounds 5]

Decoding takes every frame, in as many threads as there are CPUs, and nothing is done with the frames. `extract` passes
over frames that it does not take and that no other refers to, so it may be faster.
"""

import statistics
import tempfile
import time
from pathlib import Path

import av
import click
from machine import describe_machine

from facemorph import video
from facemorph.threads import cpus


def bare_decode(clip: Path) -> int:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", cpus()  # one more, as by itself, is slower
        return sum(1 for _ in container.decode(stream))


@click.command()
@click.argument("clip", type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=5, show_default=True)
@click.option("--format", type=click.Choice(["jpg", "png"]), default="jpg", show_default=True)
def main(clip: Path, rounds: int, format: str) -> None:
    """Print the ratio of the time of `extract` to that of decoding alone."""
    click.echo(describe_machine())
    ratios = []
    frames = bare_decode(clip)  # warm the file cache
    for _ in range(rounds):
        started = time.perf_counter()
        bare_decode(clip)
        bare = time.perf_counter() - started
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            video.extract(video.find_people([clip]), Path(folder), video.ExtractSettings(format=format))
            ours = time.perf_counter() - started
        ratios.append(ours / bare)
        click.echo(
            f"bare decode {1000 * bare:7.1f} ms ({frames / bare:.0f} frames/s), extract {1000 * ours:7.1f} ms "
            f"({frames / ours:.0f}), x {ours / bare:.2f}"
        )
    click.echo(f"extract takes {statistics.median(ratios):.2f} times a bare decode (median of {rounds} rounds)")


if __name__ == "__main__":
    main()
