"""The training loop of `train-generator`, one function with labelled paragraphs.

Everything random in a step depends on the seed, the step and the process alone, so a run continued from a checkpoint
gives the same numbers as one that was never interrupted (on a CPU, to the bit).
"""

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facemorph.device import pick_device
from facemorph.distributed import ProcessGroup, join_processes
from facemorph.files import locked
from facemorph.images import grid, write_image
from facemorph.memory import keep_all_freed
from facemorph.progress import progress_bar
from facemorph.run_folder import in_use, interruptible
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.encoder import Encoder
from facemorph.stylegan.training.capture import CapturedStep
from facemorph.stylegan.training.config import Config
from facemorph.stylegan.training.faces import Faces
from facemorph.stylegan.training.figures import FigureTaker, draw_faces, rebuild_faces
from facemorph.stylegan.training.health import COLLAPSED, Health
from facemorph.stylegan.training.profile import Stopwatch, profile
from facemorph.stylegan.training.run import NUMBERS, GeneratorRun
from facemorph.stylegan.training.session import (
    DRAWN,
    begin,
    broken,
    check_batch,
    check_folder,
    check_same_faces,
    prepare,
    save,
)
from facemorph.stylegan.training.state import State, own_randomness
from facemorph.stylegan.training.step import LOSSES, Step
from facemorph.threads import keep as keep_threads

log = logging.getLogger("facemorph")

FLUSH_EVERY = 25  # steps between writes of the log
PACE_EVERY = 100  # steps between changes of the judges' pace
REBUILT, COLUMNS = 16, 8  # faces on a grid beside the rebuilt ones; pictures in a row


def train(
    config: Config,
    folder: Path,
    *,
    device_name: str = "auto",
    progress: bool = False,
    logged: Callable[[GeneratorRun, bool], object] = lambda run, finished: None,
) -> tuple[Health, bool]:
    """Train the run in `folder`, or continue it; return its verdict and whether it was interrupted.

    Started by torchrun, each process takes its part of every batch, and the first of them writes.

    Args:
        logged: called after the first step, after grids, figures and checkpoints, and at the end (then with True).

    Raises:
        InputError: no faces, too few, in different crops, or not in the network's; or no such network to start from.
        RunError: the folder holds a run with other settings or faces, or another process trains there.
        OutputError: the folder cannot be written, or the disk is full.
        TrainingError: a loss or weight became NaN or infinite.
    """
    device = pick_device(device_name)
    with join_processes(device) as group, contextlib.ExitStack() as held:
        # --- the faces, the folder, and the networks: new, from --from, or from the last checkpoint
        run = GeneratorRun(folder)
        check_batch(config, group)
        if (folder / "run.json").exists():
            keep_threads(run.about().get("threads"))
        if device.type == "cpu":
            keep_all_freed()
        with group.rank_zero_first() as here:
            if here:
                check_folder(config, run)
        session = prepare(config, run, device)
        state, faces = session.state, session.faces
        with group.rank_zero_first() as here:
            if here:
                held.enter_context(locked(run.lock, lambda: in_use(folder)))
                check_folder(config, run)  # again: another process may have begun it
                check_same_faces(faces, run)
        with group.rank_zero_first() as here:
            if run.checkpoint.exists():
                state.load(run.checkpoint)
                run.log.check(state.step)
            if here:  # everything is checked: now the folder is written
                begin(session, device, group)
        images = torch.from_numpy(faces.images).to(device)
        step = Step(state, images, config, session.backbones, session.dtype, group)
        taker = None
        if group.first:
            chip = state.architecture.alignment.chip
            taker = FigureTaker(faces.images, faces.held, chip, config.output.figure_images, device)

        # --- the loop
        cfg, output = config.training, config.output
        take = _runner(step, device, group)
        pending: list[Tensor] = []
        extra: list[tuple[float, float, float]] = []
        stopped, first, warned = False, state.step + 1, False
        if taker is not None and not state.step:  # how good it is before
            with own_randomness(device):
                warned = _write_figures(run, state, state.networks(), taker, cfg.batch_size, warned)
        with (
            own_randomness(device),
            interruptible("this step" if group.world == 1 else f"at most {FLUSH_EVERY} steps", group.first) as asked,
            progress_bar(
                progress and group.first, total=cfg.steps, unit=" steps", description="train-generator",
                initial=state.step,
            ) as bar,
        ):  # fmt: skip
            clock = _Clock(state.seconds)
            done = _is_over(config, state)
            while not done and not stopped:
                share = _share(config, state)
                if cfg.seconds and group.world > 1:  # each has its own clock
                    share = float(group.mean(torch.tensor(share, device=device)))
                if state.alone and share >= cfg.alone:
                    state.begin_encoder(cfg.seed)
                    take = _runner(step, device, group)
                    log.info("Step %d: the encoder begins.", state.step)
                factor = state.set_rates(share, config)
                torch.manual_seed((cfg.seed << 32) + state.step * group.world + group.rank)
                pending.append(take())
                state.step += 1
                state.seconds = clock.seconds
                extra.append((factor, state.pace, state.seconds))
                if config.terms.judges and state.step % PACE_EVERY == 0:
                    state.set_pace(*LOSSES[cfg.loss].pace, PACE_EVERY)
                bar.update()

                done = group.any(_is_over(config, state), device) if cfg.seconds else _is_over(config, state)
                saving = done or state.step % output.checkpoint_every == 0
                sampling = done or state.step % output.sample_every == 0
                measuring = done or state.step % output.figures_every == 0
                flushing = saving or sampling or measuring or state.step == first or len(pending) == FLUSH_EVERY
                if group.world == 1:
                    stopped = asked()
                elif flushing:  # all processes stop at the same step
                    stopped = group.any(asked(), device)
                saving |= stopped
                if flushing or stopped:
                    values = group.mean(torch.stack(pending)).cpu().numpy()
                    if group.first:
                        run.append_log(state.step, values, extra)
                    bar.set_postfix_str(_told(values), refresh=False)
                    pending.clear()
                    extra.clear()
                    if not np.isfinite(values).all():
                        raise broken(session, here=group.first)
                if saving or sampling or measuring:
                    with group.rank_zero_first() as here:
                        if here:
                            with own_randomness(device):
                                networks = state.networks()
                                if sampling:
                                    _write_samples(run, state, networks, faces)
                                if measuring and taker is not None:
                                    warned = _write_figures(run, state, networks, taker, cfg.batch_size, warned)
                                if saving:
                                    save(session, networks)
                    clock.skip()
                if group.first and (saving or sampling or measuring or state.step == first):
                    logged(run, False)

        # --- what came of it
        with group.rank_zero_first() as here:
            if here:
                run.write_health()
                logged(run, True)
        return run.health(), stopped


def profile_parts(config: Config, *, device_name: str = "auto") -> dict[str, float]:
    """Milliseconds of each part of a step, and of the "whole" step; nothing is written.

    Raises:
        As `train`.
    """
    device = pick_device(device_name)
    session = prepare(config, None, device)
    session.state.alone = False  # all parts
    session.state.set_rates(0.0, config)
    watch = Stopwatch(device)
    images = torch.from_numpy(session.faces.images).to(device)
    with own_randomness(device, config.training.seed):
        return profile(Step(session.state, images, config, session.backbones, session.dtype, watch=watch), watch)


def _runner(step: Step, device: torch.device, group: ProcessGroup) -> Callable[[], Tensor]:
    return CapturedStep(step, device) if device.type == "cuda" and group.world == 1 else step


class _Clock:
    """Seconds of training, with those of earlier sessions and without grids, figures and checkpoints."""

    def __init__(self, before: float) -> None:
        self.before, self.last = before, time.perf_counter()

    @property
    def seconds(self) -> float:
        now = time.perf_counter()
        self.before, self.last = self.before + now - self.last, now
        return self.before

    def skip(self) -> None:
        self.last = time.perf_counter()


def _share(config: Config, state: State) -> float:
    """How much of the run is done, 0 to 1: by steps or by time, whichever is further."""
    seconds = config.training.seconds
    return min(1.0, max(state.step / config.training.steps, state.seconds / seconds if seconds else 0.0))


def _is_over(config: Config, state: State) -> bool:
    return _share(config, state) >= 1


def _told(values: np.ndarray) -> str:
    means = dict(zip(NUMBERS, values.mean(0), strict=True))
    words = [f"judges {means['d_loss']:.2f}"] if means["d_loss"] else []
    words += [f"{name} {means[name]:.3f}" for name in ("pixels", "features", "identity") if means[name]]
    return ", ".join(words)


def _write_samples(
    run: GeneratorRun, state: State, networks: tuple[Generator, Encoder], faces: Faces
) -> None:  # fmt: skip
    generator, encoder = networks
    write_image(run.samples / f"drawn-{state.step:06d}.png", grid(draw_faces(generator, DRAWN, None)))
    if state.alone or not len(faces.held):
        return
    shown = np.linspace(0, len(faces.held) - 1, min(REBUILT, len(faces.held))).astype(int)
    real = np.ascontiguousarray(faces.held[shown].transpose(0, 2, 3, 1))
    pairs = np.stack([real, rebuild_faces(generator, encoder, real)], 1).reshape(-1, *real.shape[1:])
    write_image(run.samples / f"rebuilt-{state.step:06d}.png", grid(pairs, COLUMNS))


def _write_figures(
    run: GeneratorRun, state: State, networks: tuple[Generator, Encoder], taker: FigureTaker, batch: int, warned: bool
) -> bool:
    """Returns whether a collapse was reported: once, and again only after a recovery."""
    found = taker.take(networks[0], None if state.alone else networks[1])
    run.append_figures(state.step, state.step * batch, found, state.seconds)
    listed = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in found.items() if np.isfinite(value))
    log.info("Step %d: %s.", state.step, listed)
    collapsed = found["diversity"] < COLLAPSED
    if collapsed and not warned:
        log.warning(
            "Step %d: the generated faces are nearly identical: their diversity is %.0f %% of the real faces'.",
            state.step, 100 * found["diversity"],
        )  # fmt: skip
    return collapsed
