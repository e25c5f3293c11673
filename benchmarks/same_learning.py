"""Does our loop train like the plain one? Loss curves of both on the same faces, several seeds each.

Prints the mean distance of the smoothed curves between the two loops and between two seeds of one loop; plots them.
Both sample z from a normal distribution, without augmentation.

    python benchmarks/same_learning.py FACES -o curves.png
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from facemorph import plots as figures
from facemorph.dcgan.config import config_from_dict
from facemorph.dcgan.health import smooth
from facemorph.dcgan.run import Run
from facemorph.dcgan.train import train as our_training
from facemorph.device import pick_device

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe_machine
from train import plain_loop

WINDOW = 50  # steps of the moving average
LOSSES = ("d_loss", "g_loss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("same-learning.png"))
    parser.add_argument(
        "--runs", type=Path, default=Path("same-learning"), help="folder for our runs, which can be resumed"
    )
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", default="auto", help="of ours")
    options = parser.parse_args()
    device = pick_device()
    curves: dict[tuple[str, int], np.ndarray] = {}  # each [steps, 2]
    for seed in range(options.seeds):
        config = config_from_dict(
            {
                "data": {"faces": [str(options.faces)]},
                "network": {"channels": options.channels, "z": "normal"},
                "training": {
                    "steps": options.steps,
                    "batch_size": options.batch,
                    "precision": options.precision,
                    "seed": seed,
                },
            }
        )
        plain = list(itertools.islice(plain_loop(config, device, 0), options.steps))
        curves["plain", seed] = np.array(plain)
        folder = options.runs / f"{options.precision}-{seed}"
        our_training(config, folder, progress=True)
        losses = Run.open(folder).losses()
        curves["ours", seed] = np.stack([losses[name] for name in LOSSES], 1)
    figure = Figure(figsize=(7, 6), layout="constrained")
    for column, (axis, name) in enumerate(zip(figure.subplots(2, 1, sharex=True), LOSSES, strict=True)):
        smoothed = {key: smooth(curve[:, column], WINDOW) for key, curve in curves.items()}
        for (loop, seed), values in smoothed.items():
            axis.plot(values, color="#1f6fb4" if loop == "ours" else "#d1602c", lw=1, label=f"{loop}, seed {seed}")
        axis.set_ylabel(name.replace("_", "-"))
        axis.legend(fontsize=7)
        axis.set_xlabel("step")
        gaps: dict[bool, list[float]] = {True: [], False: []}
        for (a, one), (b, other) in itertools.combinations(smoothed.items(), 2):
            gaps[a[0] == b[0]].append(float(np.abs(one - other).mean()))
        print(f"{name}: {np.mean(gaps[False]):.3f} between the loops, {np.mean(gaps[True]):.3f} between seeds of one "
              f"({len(gaps[False])} and {len(gaps[True])} pairs; mean distance of smoothed curves)")  # fmt: skip
    figures.save(figure, options.output)
    print(f"{describe_machine(device)}; {options.steps} steps: {options.output}")


if __name__ == "__main__":
    main()
