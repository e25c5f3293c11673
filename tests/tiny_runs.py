"""Tiny trainings that tests break in every way; run as a script, it is the one that kills them.

python tiny_runs.py FOLDER KILLS STEPS: trains FOLDER/whole in one go, then FOLDER/killed in KILLS processes that get
kill -9 at random times and one that may finish, and prints as JSON how many were killed and where each had got to.
One process that forks: torch is loaded once.
"""

import csv
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from facemorph.dcgan.config import Config, config_from_dict

PEOPLE = {"anna": (220, 60, 60), "ben": (60, 60, 220)}


def make_faces(folder: Path) -> Path:
    """Two "persons", each a colour of its own with a little noise: 24 images a person."""
    rng = np.random.default_rng(0)
    for name, colour in PEOPLE.items():
        (folder / name).mkdir(parents=True)
        for i in range(24):
            image = np.clip(np.array(colour) + rng.normal(0, 12, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(folder / name / f"{i:03d}.png")
    return folder


def tiny(faces: Path, *, every: int = 4, **training_values: object) -> Config:
    return config_from_dict(
        {
            "data": {"faces": [str(faces)]},
            "network": {"size_px": 16, "z_dim": 8, "channels": 4},
            "training": {"steps": 12, "batch_size": 8, "precision": "float32", **training_values},
            "output": {"sample_every": 20 * every, "checkpoint_every": every},
        }
    )


def log_without_time(run: Path) -> list[list[str]]:
    with (run / "log.csv").open() as file:
        return [row[:7] for row in csv.reader(file)]


def kill_often(train: Callable[[str], object], folder: Path, kills: int, share: float) -> None:
    """Train `folder`/whole, then `folder`/killed, which is killed after up to a `share` of the time that took."""
    start = time.monotonic()
    in_a_process(lambda: train("whole"), None)
    whole = time.monotonic() - start
    chance = random.Random(int(os.environ.get("KILL_SEED", "0")))
    killed, reached, log = 0, [], folder / "killed" / "log.csv"
    for number in range(kills):  # every fourth while it starts, the others once it learns
        watched = log if number % 4 else None
        killed += in_a_process(lambda: train("killed"), chance.uniform(0, whole * share), watched)
        reached.append(log.read_text().count("\n") - 1 if log.exists() else -1)
    in_a_process(lambda: train("killed"), None)
    print(json.dumps({"killed": killed, "reached": reached}))


def main(folder: Path, kills: int, steps: int) -> None:
    import torch
    import torch._dynamo  # an optimizer imports it: here once, not in every fork

    from facemorph.dcgan.train import train

    torch.set_num_threads(1)  # and no pool of threads that a fork would lose
    config = tiny(make_faces(folder / "faces"), every=7, steps=steps, augment=["shift"], ema=0.9)
    kill_often(lambda name: train(config, folder / name), folder, kills, share=1 / 10)


def in_a_process(work: object, kill_after: float | None, watched: Path | None = None) -> bool:
    """Whether it had to be killed, so many seconds after it began (or after the file `watched` changed).

    Without `kill_after`, it has to succeed by itself.
    """

    def seen() -> int:
        return watched.stat().st_size if watched and watched.exists() else 0

    before = seen()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()  # type: ignore[operator]
            code = 0
        finally:
            os._exit(code)
    if kill_after is not None:
        while watched and seen() <= before and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            time.sleep(0.002)
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if kill_after is None and status:
        raise SystemExit(f"training ended with {status}")
    return os.WIFSIGNALED(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
