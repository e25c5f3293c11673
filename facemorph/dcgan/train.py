"""The training loop of the 2018 paper's DCGAN, one function with labelled paragraphs.

Everything random at a step depends on the seed and the step alone, so a run that goes on from a checkpoint gives the
same numbers as one that was never interrupted.
"""

import contextlib
import logging
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facemorph import images
from facemorph.config import Config
from facemorph.dcgan.checkpoint import State, own_randomness, save, settled
from facemorph.dcgan.dataset import load_faces
from facemorph.dcgan.device import pick_device, pick_precision
from facemorph.dcgan.health import Health
from facemorph.dcgan.networks import draw_z, with_label
from facemorph.dcgan.run import LOG_FIELDS, STRENGTH, Run
from facemorph.dcgan.start import GRID, begin, check_same_config
from facemorph.dcgan.step import take_step
from facemorph.errors import InputError, TrainingError
from facemorph.files import write_text
from facemorph.images import grid, write_image
from facemorph.progress import bar

log = logging.getLogger("facemorph")

FLUSH_EVERY = 25  # steps between writes of the log


def train(config: Config, folder: Path, *, device_name: str = "auto", show: bool = False) -> tuple[Health, bool]:
    """Train, or go on training, the run in `folder`; return its health and whether it was interrupted.

    Raises:
        InputError: no faces, or too few of them for a batch.
        RunError: the folder holds a run with another configuration or other faces.
        TrainingError: a loss became NaN or infinite.
    """
    # --- what is learnt, on what, and where to
    hyper, run = config.training, Run(folder)
    device = pick_device(device_name)
    dtype = pick_precision(hyper.precision, device)
    check_same_config(config, run)
    faces = load_faces(config.data, config.network.size_px, hyper.seed)
    if len(faces.images) < hyper.batch_size:
        raise InputError(
            f"{len(faces.images)} faces do not fill one batch of {hyper.batch_size}.",
            "Give more faces, or --set training.batch_size=" + str(max(2, len(faces.images))),
        )
    if config.network.conditional and len(faces.persons) < 2:
        raise InputError(
            "There is one person only, and network.conditional tells persons apart.",
            "Give faces of more, or --set network.conditional=false.",
        )
    begin(config, run, faces, device, dtype)

    # --- the networks, new or from the last checkpoint
    state = State(config, device, len(faces.persons))
    if run.checkpoint.exists():
        state.load(run.checkpoint)
        log.info("Going on from step %d.", state.step)
    _cut_log(run, state)
    pictures = torch.from_numpy(faces.images).to(device)
    labels = torch.from_numpy(faces.labels).to(device)
    fixed_z = draw_z(GRID, config.network, torch.Generator(device).manual_seed(hyper.seed))
    if state.g.persons:  # person by person
        fixed_z = with_label(fixed_z, torch.arange(GRID, device=device) * state.g.persons // GRID, state.g.persons)

    # --- the loop
    pending: list[Tensor] = []
    started, first_step = time.perf_counter(), state.step
    with (
        _interruptible() as interrupted,
        bar(show, total=hyper.steps, unit=" steps", description="train", initial=state.step) as progress,
        run.log.open("a") as log_file,
    ):
        while state.step < hyper.steps and not interrupted():
            random = torch.Generator(device).manual_seed((hyper.seed << 32) + state.step)
            chosen = _chosen(len(pictures), state.step, hyper.batch_size, hyper.seed).to(device)
            batch = pictures[chosen].float().div_(127.5).sub_(1)
            losses = take_step(state, batch, labels[chosen], config, dtype, random)
            state.follow(hyper.ema)
            state.step += 1
            pending.append(losses)
            progress.update()

            if (
                len(pending) == FLUSH_EVERY
                or state.step == hyper.steps
                or state.step % config.output.checkpoint_every == 0
            ):
                values = torch.stack(pending).cpu().numpy()
                _write_log(log_file, state.step, values, time.perf_counter() - started)
                pending.clear()
                progress.set_postfix_str(
                    f"d-loss {values[:, 0].mean():.2f}, g-loss {values[:, 3].mean():.2f}", refresh=False
                )
                if not np.isfinite(values).all():
                    run.write_health()
                    raise TrainingError(
                        f"A loss became NaN or infinite before step {state.step}.",
                        f"{run.checkpoint if run.checkpoint.exists() else 'No checkpoint'} is from before. "
                        "Try training.precision=float32, or a smaller training.learning_rate, in another -o.",
                    )
            if state.step % config.output.sample_every == 0 or state.step == hyper.steps:
                _write_samples(run.samples / f"step-{state.step:06d}.png", state, config, fixed_z)
            if state.step % config.output.checkpoint_every == 0 or state.step == hyper.steps:
                save(state, run, config)

        # --- Ctrl-C: nothing is lost
        stopped = interrupted()
        if stopped and state.step > first_step:
            if pending:
                _write_log(log_file, state.step, torch.stack(pending).cpu().numpy(), time.perf_counter() - started)
            save(state, run, config)
    return run.write_health(), stopped


def _chosen(count: int, step: int, size: int, seed: int) -> Tensor:
    """The faces of this step's batch [size]: every face once an epoch, in an order of its own."""
    epoch, place = divmod(step, count // size)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return torch.from_numpy(order[place * size : (place + 1) * size])


def _cut_log(run: Run, state: State) -> None:
    """Leave the lines up to the state's step: those after the checkpoint will be written again."""
    fields = LOG_FIELDS if state.strength is None else (*LOG_FIELDS, STRENGTH)
    lines = run.log.read_text().splitlines() if run.log.exists() else []
    write_text(run.log, "\n".join([",".join(fields), *lines[1 : state.step + 1]]) + "\n")


def _write_log(file: Any, step: int, values: np.ndarray, seconds: float) -> None:
    first = step - len(values)
    for offset, row in enumerate(values):
        told = [*(f"{value:.6g}" for value in row[:6]), f"{seconds:.2f}", *(f"{value:.6g}" for value in row[6:])]
        file.write(f"{first + offset + 1},{','.join(told)}\n")
    file.flush()


@torch.no_grad()
def _write_samples(path: Path, state: State, config: Config, fixed_z: Tensor) -> None:
    with own_randomness():
        write_image(path, grid(images.to_uint8(settled(state, config)(fixed_z))))


@contextlib.contextmanager
def _interruptible() -> Iterator[Any]:
    """Ctrl-C and a polite kill end the loop after the current step; a second Ctrl-C ends it at once."""
    caught: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread
        before = {}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
