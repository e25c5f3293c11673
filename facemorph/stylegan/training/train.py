"""The training loop of `train-generator`, one function with labelled paragraphs.

Everything random in a step depends on the seed, the step and the process alone, so a run continued from a checkpoint
gives the same numbers as one that was never interrupted (on a CPU, to the bit).
"""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facemorph.config import plain, to_yaml
from facemorph.device import pick_device, pick_precision
from facemorph.distributed import ProcessGroup, join_processes
from facemorph.errors import InputError, RunError, TrainingError
from facemorph.files import locked, remove_torn, write_json, write_text
from facemorph.images import grid, write_image
from facemorph.progress import progress_bar
from facemorph.run_folder import about_this_machine, check_new, check_same_settings, in_use, interruptible
from facemorph.stylegan.formats.converted import write_converted
from facemorph.stylegan.latents import fingerprint
from facemorph.stylegan.networks.architecture import GeneratorWeights
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.encoder import Encoder, write_encoder
from facemorph.stylegan.training.capture import CapturedStep
from facemorph.stylegan.training.config import Config
from facemorph.stylegan.training.faces import Faces, crop_of, load_faces
from facemorph.stylegan.training.figures import FigureTaker, draw_faces, rebuild_faces
from facemorph.stylegan.training.health import COLLAPSED, Health
from facemorph.stylegan.training.judges import Backbones
from facemorph.stylegan.training.networks import new_architecture
from facemorph.stylegan.training.profile import Stopwatch, profile
from facemorph.stylegan.training.run import LOG_FIELDS, NUMBERS, GeneratorRun
from facemorph.stylegan.training.start import Start, read_start, rebuilt
from facemorph.stylegan.training.state import State, own_randomness, shapes_in
from facemorph.stylegan.training.step import LOSSES, Step

log = logging.getLogger("facemorph")

FLUSH_EVERY = 25  # steps between writes of the log
PACE_EVERY = 100  # steps between changes of the judges' pace
DRAWN, REBUILT, COLUMNS = 64, 16, 8  # faces on the grids
MAY_CHANGE = ("training.steps", "training.seconds", "output.sample_every", "output.figures_every")  # of a begun run


@dataclass
class _Session:
    """What one call of `train` holds."""

    config: Config
    run: GeneratorRun
    faces: Faces
    state: State
    backbones: Backbones
    dtype: torch.dtype
    start: Start | None


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
        _check_batch(config, group)
        with group.rank_zero_first() as here:
            if here:
                _check_folder(config, run)
        session = _prepare(config, run, device)
        state, faces = session.state, session.faces
        with group.rank_zero_first() as here:
            if here:
                held.enter_context(locked(run.lock, lambda: in_use(folder)))
                _check_folder(config, run)  # again: another process may have begun it
                _check_same_faces(faces, run)
        with group.rank_zero_first() as here:
            if run.checkpoint.exists():
                state.load(run.checkpoint)
                run.log.check(state.step)
            if here:  # everything is checked: now the folder is written
                _begin(session, device, group)
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
                        raise _broken(session, here=group.first)
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
                                    _save(session, networks)
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
    session = _prepare(config, None, device)
    session.state.alone = False  # all parts
    session.state.set_rates(0.0, config)
    watch = Stopwatch(device)
    images = torch.from_numpy(session.faces.images).to(device)
    with own_randomness(device, config.training.seed):
        return profile(Step(session.state, images, config, session.backbones, session.dtype, watch=watch), watch)


def _prepare(config: Config, run: GeneratorRun | None, device: torch.device) -> _Session:
    """Read what a run needs: faces, frozen networks, and its networks; a checkpoint's weights come later."""
    dtype = _precision(config, device)
    checkpoint = run.checkpoint if run is not None and run.checkpoint.exists() else None
    start: Start | None = None
    if checkpoint is not None:
        architecture, shape = shapes_in(checkpoint)
        generator, encoder = rebuilt(architecture, shape)
        faces = load_faces(config.data, architecture.resolution, config.training.seed)
    else:
        generator = encoder = None
        crop = crop_of(config.data)
        architecture = new_architecture(config.network, crop)
        if config.start:
            start = read_start(config.start, crop)
            generator, encoder, architecture = start.generator, start.encoder, start.generator.architecture
        faces = load_faces(config.data, architecture.resolution, config.training.seed)
    backbones = Backbones(config, architecture.alignment.chip).placed(device, dtype)
    state = State(config, architecture, backbones, device, dtype, generator, encoder)
    if start is not None and start.judges and config.terms.judges:
        _take_judges(state, start.judges)
    return _Session(config, run or GeneratorRun(Path()), faces, state, backbones, dtype, start)


def _precision(config: Config, device: torch.device) -> torch.dtype:
    """As `pick_precision`, but auto takes bfloat16 on CPUs with AVX-512's instructions for it, too: 1.7 times as fast
    here, where most of the work is in large convolutions."""
    if config.training.precision == "auto" and device.type == "cpu":
        has_it = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        if has_it():
            return torch.bfloat16
    return pick_precision(config.training.precision, device)


def _take_judges(state: State, judges: dict[str, Tensor]) -> None:
    own = state.judges.state_dict()
    if any(key not in judges or judges[key].shape != value.shape for key, value in own.items()):
        log.warning("The judges that came with it are of other settings; new ones begin.")
        return
    state.judges.load_state_dict({key: judges[key] for key in own})


def _check_batch(config: Config, group: ProcessGroup) -> None:
    size = config.training.batch_size
    if size % (2 * group.world) or size // group.world < 4:
        raise InputError(
            f"A batch of {size} cannot be shared by {group.world} processes.",
            f"Give a training.batch_size that is a multiple of {2 * group.world}, and 4 for each at least.",
        )


def _check_folder(config: Config, run: GeneratorRun) -> None:
    if not (run.path / "config.yaml").exists():
        check_new(run.path)
        return
    GeneratorRun.open(run.path)  # it may be another command's
    before = run.config()
    check_same_settings(run.path, plain(before), plain(config), MAY_CHANGE)
    if before.start != config.start:
        told = [f"from {one.start}" if one.start else "from noise" for one in (before, config)]
        raise RunError(f"{run.path} holds a run that began {told[0]}, not {told[1]}.", "Give another -o.")


def _check_same_faces(faces: Faces, run: GeneratorRun) -> None:
    if (run.path / "run.json").exists() and run.about().get("data_sha256") != faces.digest:
        before = run.about().get("faces", {})
        raise RunError(
            f"The faces have changed since {run.path} was begun: {before.get('trained_on')} and "
            f"{before.get('held_out')} held out then, {len(faces.images)} and {len(faces.held)} now.",
            "Restore the old ones, or give another -o.",
        )


def _begin(session: _Session, device: torch.device, group: ProcessGroup) -> None:
    """Write what explains the run, except what is there already, and cut the logs where the checkpoint is."""
    config, run, faces, state = session.config, session.run, session.faces, session.state
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    precision = str(session.dtype).removeprefix("torch.")
    for folder in (run.path, run.samples):
        remove_torn(folder)
    write_text(run.path / "config.yaml", to_yaml(config))  # first: it makes the folder a run folder
    if not (run.path / "run.json").exists():
        run.write_faces(faces.images, faces.held)
        chosen = np.linspace(0, len(faces.images) - 1, min(DRAWN, len(faces.images))).astype(int)
        write_image(run.path / "real.png", grid(faces.images[chosen].transpose(0, 2, 3, 1)))
        write_json(
            run.path / "run.json",
            {
                **about_this_machine(name, group.world),
                "kind": config.kind,
                "precision": precision,
                "seed": config.training.seed,
                "start": config.start,
                "size_px": state.architecture.resolution,
                "crop": faces.crop,
                "faces": {"trained_on": len(faces.images), "held_out": len(faces.held), "source": faces.source},
                "data_sha256": faces.digest,
            },
        )
    run.log.cut(state.step, LOG_FIELDS)
    run.cut_figures(state.step)
    log.info("Training on %s, crop %s, on %s in %s. %s", faces, faces.crop, name, precision, config.recipe)
    if session.start is not None:
        log.info("From %s.", session.start.told)
    if state.step:
        log.info("Continuing from step %d.", state.step)
        _export(session, state.networks())  # a kill may have come between them and the checkpoint


def _runner(step: Step, device: torch.device, group: ProcessGroup) -> Callable[[], Tensor]:
    return CapturedStep(step) if device.type == "cuda" and group.world == 1 else step


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
    """Returns whether a collapse has been said, which is done once and again after it was better."""
    found = taker.take(networks[0], None if state.alone else networks[1])
    run.append_figures(state.step, state.step * batch, found, state.seconds)
    told = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in found.items() if np.isfinite(value))
    log.info("Step %d: %s.", state.step, told)
    collapsed = found["diversity"] < COLLAPSED
    if collapsed and not warned:
        log.warning(
            "Step %d: the drawn faces are nearly one: their diversity is %.0f %% of the real faces'.",
            state.step, 100 * found["diversity"],
        )  # fmt: skip
    return collapsed


def _save(session: _Session, networks: tuple[Generator, Encoder]) -> None:
    if not session.state.is_finite():
        raise _broken(session)
    _export(session, networks)
    session.state.save(session.run.checkpoint)


def _export(session: _Session, networks: tuple[Generator, Encoder]) -> None:
    """Write generator and encoder as every command takes them."""
    run, state, (generator, encoder) = session.run, session.state, networks
    arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in generator.state_dict().items()}
    about = run.about()
    origin = {
        "made_by": f"facemorph train-generator, {about['facemorph']}", "run": run.path.resolve().name,
        "data_sha256": session.faces.digest, "steps": state.step, "start": session.config.start,
    }  # fmt: skip
    write_converted(run.generator, GeneratorWeights(generator.architecture, arrays, origin), overwrite=True)
    write_encoder(run.encoder, encoder, fingerprint(generator), {"steps": state.step}, overwrite=True)


def _broken(session: _Session, here: bool = True) -> TrainingError:
    """The error for numbers that are no longer finite."""
    run, state = session.run, session.state
    if here:
        run.write_health()
    kept = run.checkpoint if run.checkpoint.exists() else "No checkpoint"
    return TrainingError(
        f"A loss or weight became NaN or infinite before step {state.step}.",
        f"{kept} is from before. Try training.precision=float32, or smaller rates (training.g_rate, d_rate, e_rate), "
        "in another -o.",
    )
