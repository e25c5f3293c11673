"""The training loop of the 2018 paper's DCGAN, one function with labelled paragraphs.

Everything random in a step depends on the seed and the step alone, so a run continued from a checkpoint gives the same
numbers as one that was never interrupted.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facemorph.dcgan.checkpoint import State, broken, inference_copy, own_randomness, save
from facemorph.dcgan.config import Config
from facemorph.dcgan.dataset import Faces, load_faces
from facemorph.dcgan.health import Health
from facemorph.dcgan.monitor import TrainingMonitor, spread
from facemorph.dcgan.networks import draw_z, with_label
from facemorph.dcgan.precision import dtype_of, noted_precision, with_precision
from facemorph.dcgan.run import LOG_FIELDS, STRENGTH, Run, SampleFaces
from facemorph.dcgan.start import GRID, begin, check_same_config, check_same_faces
from facemorph.dcgan.stepper import Stepper
from facemorph.dcgan.trial import fastest_precision
from facemorph.device import pick_device
from facemorph.distributed import ProcessGroup, join_processes, synchronize
from facemorph.errors import InputError
from facemorph.faces.features import detected_in_aligned
from facemorph.files import locked
from facemorph.images import grid, to_uint8, write_image
from facemorph.memory import keep_all_freed
from facemorph.progress import progress_bar
from facemorph.run_folder import in_use, interruptible
from facemorph.threads import keep as keep_threads

log = logging.getLogger("facemorph")

FLUSH_EVERY = 25  # steps between writes of the log
LEAST_PX = 32  # side of the images; in smaller ones no face can be detected


def train(
    config: Config,
    folder: Path,
    *,
    device_name: str = "auto",
    progress: bool = False,
    logged: Callable[[Run, bool], object] = lambda run, finished: None,
) -> tuple[Health, bool]:
    """Train the run in `folder`, or continue it; return its loss verdict and whether it was interrupted.

    Started by torchrun, the processes share each batch, and the first of them writes.

    Args:
        logged: called after the first step, after each sample grid and checkpoint, and at the end (then with True),
            when the log is up to date: to plot it.

    Raises:
        InputError: no faces, or too few of them for a batch.
        RunError: the folder holds a run with other settings or faces, or another process trains there.
        OutputError: the folder cannot be written, or the disk is full.
        TrainingError: a loss or weight became NaN or infinite.
    """
    device = pick_device(device_name)
    with join_processes(device) as group, contextlib.ExitStack() as held:
        # --- the faces and the folder
        cfg, run = config.training, Run(folder)
        with group.rank_zero_first() as here:
            if here:
                check_same_config(config, run)
        faces = load_faces(config.data, config.network.size_px, cfg.seed)
        _check_faces(config, faces, group)
        with group.rank_zero_first() as here:
            if here:
                held.enter_context(locked(run.lock, lambda: in_use(folder)))
                check_same_config(config, run)  # again: another process may have begun it
                check_same_faces(faces, run)

        # --- the networks, new or from the last checkpoint
        if (run.path / "run.json").exists():
            keep_threads(run.about().get("threads"))
        if device.type == "cpu":
            keep_all_freed()
        with group.rank_zero_first() as here:
            precision = _precision(config, run, device, len(faces.persons)) if here else ""
        precision = group.agree(precision)
        asked, config = config, with_precision(config, precision)
        state = State(config, device, len(faces.persons))
        if cfg.sync_batch_norm:
            synchronize(state.g, state.d)
        with group.rank_zero_first() as here:
            if run.checkpoint.exists():
                state.load(run.checkpoint)
                run.check_log(state.step)
            if here:  # everything is checked: now the folder is written
                begin(asked, run, faces, device, precision, group.world)
                run.cut_log(state.step, LOG_FIELDS if state.strength is None else (*LOG_FIELDS, STRENGTH))
                if state.step:
                    log.info("Continuing from step %d.", state.step)
        images, labels = torch.from_numpy(faces.images).to(device), torch.from_numpy(faces.labels).to(device)
        fixed_z = _grid_latents(config, state.g.persons, device)
        monitor = TrainingMonitor(cfg.real_label, _real_spread(faces, state.g.persons))

        take_step = Stepper(state, images, labels, config, dtype_of(precision), group)

        # --- the loop
        when = "this step" if group.world == 1 else f"at most {FLUSH_EVERY} steps"
        pending: list[Tensor] = []
        samples: list[np.ndarray] = []
        stopped, started, first = False, time.perf_counter(), state.step + 1
        with (
            interruptible(when, group.first) as interrupted,
            progress_bar(
                progress and group.first, total=cfg.steps, unit=" steps", description="train", initial=state.step
            ) as bar,
        ):
            while state.step < cfg.steps and not stopped:
                pending.append(take_step())
                bar.update()

                last = state.step == cfg.steps
                saving = last or state.step % config.output.checkpoint_every == 0
                sampling = last or state.step % config.output.sample_every == 0
                flushing = saving or sampling or state.step == first or len(pending) == FLUSH_EVERY
                if group.world == 1:
                    stopped = interrupted()
                elif flushing:  # all processes stop at the same step
                    stopped = group.any(interrupted(), device)
                saving |= stopped
                if flushing or stopped:
                    values = group.mean(torch.stack(pending)).cpu().numpy()
                    pending.clear()
                    if group.first:
                        run.append_log(state.step, values, time.perf_counter() - started)
                        monitor.losses(values[:, 4], values[:, 5], state.step)
                    bar.set_postfix_str(
                        f"d-loss {values[:, 0].mean():.2f}, g-loss {values[:, 3].mean():.2f}", refresh=False
                    )
                    if not np.isfinite(values).all():
                        if group.first:
                            run.write_health()
                        raise broken(state, run)
                with group.rank_zero_first() if saving else contextlib.nullcontext(group.first) as here:
                    if here and sampling:
                        samples = _write_samples(run, state, config, fixed_z)
                        monitor.samples(samples, state.step)
                    if here and saving:
                        save(state, run, config)
                    if here and (saving or sampling or state.step == first):
                        logged(run, False)

        # --- what came of it
        with group.rank_zero_first() as here:
            if here:
                run.write_health()
                if samples and not stopped and config.network.size_px >= LEAST_PX:
                    detected = detected_in_aligned(np.concatenate(samples))
                    run.write_sample_faces(SampleFaces(state.step, int(detected.sum()), len(detected)))
                logged(run, True)
        return run.health(), stopped


def _precision(config: Config, run: Run, device: torch.device, persons: int) -> str:
    """What the configuration names; where it says auto, what the run was begun in; otherwise the fastest."""
    if config.training.precision != "auto":
        return config.training.precision
    noted = noted_precision(run.about()) if (run.path / "run.json").exists() else None
    return noted or fastest_precision(config, device, persons)


def _check_faces(config: Config, faces: Faces, group: ProcessGroup) -> None:
    size = config.training.batch_size
    if len(faces.images) < 2:
        raise InputError(
            f"There is one face, in {faces.source}; two at least are needed to train.",
            "A few hundred of a person are usual: `facemorph align` makes them from frames.",
        )
    if len(faces.images) < size:
        raise InputError(
            f"{len(faces.images)} faces do not fill one batch of {size}.",
            "Give more faces, or --set training.batch_size=" + str(max(2, len(faces.images))),
        )
    if size % group.world or size // group.world < 2:
        raise InputError(
            f"A batch of {size} cannot be shared by {group.world} processes.",
            f"Give a training.batch_size that is a multiple of {group.world}, and twice that at least.",
        )
    if config.network.conditional and len(faces.persons) < 2:
        raise InputError(
            "There is one person only; network.conditional needs at least two.",
            "Give faces of more, or --set network.conditional=false.",
        )


def _grid_latents(config: Config, persons: int, device: torch.device) -> Tensor:
    """The latents of every sample grid; of a conditional run, person by person."""
    z = draw_z(GRID, config.network, torch.Generator(device).manual_seed(config.training.seed))
    return with_label(z, torch.arange(GRID, device=device) * persons // GRID, persons) if persons else z


def _real_spread(faces: Faces, persons: int) -> float:
    return spread([faces.of(name, GRID) for name in faces.persons] if persons else [_evenly(faces.images)])


def _evenly(images: np.ndarray) -> np.ndarray:
    """Evenly spaced among all faces [N, 3, H, W], at most four grids of them: [M, H, W, 3]."""
    chosen = np.linspace(0, len(images) - 1, min(4 * GRID, len(images))).astype(int)
    return images[chosen].transpose(0, 2, 3, 1)


@torch.no_grad()
def _write_samples(run: Run, state: State, config: Config, fixed_z: Tensor) -> list[np.ndarray]:
    """Write the sample grid, and return its images; of a conditional run, a group for each person."""
    with own_randomness():
        images = to_uint8(inference_copy(state, config)(fixed_z))
    write_image(run.samples / f"step-{state.step:06d}.png", grid(images))
    persons = max(state.g.persons, 1)
    return [images[np.arange(GRID) * persons // GRID == person] for person in range(persons)]
