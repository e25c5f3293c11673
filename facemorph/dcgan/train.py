"""The training loop of the 2018 paper's DCGAN, one function with labelled paragraphs.

Everything random at a step depends on the seed and the step alone, so a run that goes on from a checkpoint gives the
same numbers as one that was never interrupted.
"""

import contextlib
import importlib.metadata
import logging
import platform
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from facemorph import __version__, images
from facemorph.config import Config, plain, to_yaml
from facemorph.dcgan.augment import augment
from facemorph.dcgan.dataset import Faces, load_faces
from facemorph.dcgan.health import Health
from facemorph.dcgan.networks import Discriminator, Generator, draw_z, settle_batch_norm
from facemorph.dcgan.run import LOG_FIELDS, Run
from facemorph.errors import ConfigError, InputError, RunError, TrainingError
from facemorph.files import replacing, write_atomically, write_json, write_text
from facemorph.images import grid, write_image
from facemorph.progress import bar

log = logging.getLogger("facemorph")

GRID = 64  # pictures on a sample grid, as in the paper
FLUSH_EVERY = 25  # steps between writes of the log
PEOPLE_KEPT = 32  # real faces of each person that the run folder keeps


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`; auto is CUDA where there is one.

    Raises:
        ConfigError: it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"Device {name!r} cannot be used: {str(error).splitlines()[0]}", "Try --device cpu."
        ) from None
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """bfloat16 or float32; auto takes bfloat16 where the device has units for it.

    On processors those are Intel's AMX tiles: AVX-512's own bfloat16 instructions were no faster here than float32.
    """
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
        has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        return torch.bfloat16 if has_tiles() else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def _placed(network: Any, device: torch.device) -> Any:
    """On the device, laid out in memory as its convolutions like it best."""
    return network.to(device, memory_format=torch.channels_last)


class State:
    """The two networks, their optimisers, and how many steps they have taken."""

    def __init__(self, config: Config, device: torch.device) -> None:
        torch.manual_seed(config.training.seed)
        self.g = _placed(Generator(config.network), device)
        self.d = _placed(Discriminator(config.network), device)
        betas = (config.training.beta1, 0.999)
        self.optimise_g = torch.optim.Adam(self.g.parameters(), config.training.learning_rate, betas, fused=True)
        self.optimise_d = torch.optim.Adam(self.d.parameters(), config.training.learning_rate, betas, fused=True)
        self.average = None  # G's weights, averaged over the last steps (Yazici et al. 2019)
        if config.training.ema:
            self.average = _placed(Generator(config.network), device)
            self.average.load_state_dict(self.g.state_dict())
        self.step = 0

    @property
    def _parts(self) -> dict[str, torch.nn.Module]:
        return {"g": self.g, "d": self.d} | ({"average": self.average} if self.average else {})

    @torch.no_grad()
    def follow(self, keep: float) -> None:
        """Move the averaged generator towards G."""
        if self.average is not None:
            torch._foreach_lerp_(list(self.average.parameters()), list(self.g.parameters()), 1 - keep)

    def save(self, path: Path) -> None:
        """Everything, as one safetensors file: whole or not at all."""
        tensors = {
            f"{name}.{key}": value for name, part in self._parts.items() for key, value in part.state_dict().items()
        }
        for name, optimiser in (("g", self.optimise_g), ("d", self.optimise_d)):
            for index, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"{name}.adam.{index}.{key}": value for key, value in moments.items()}
        contiguous = {key: value.contiguous() for key, value in tensors.items()}
        data = safetensors.torch.save(contiguous, {"step": str(self.step)})
        write_atomically(path, lambda file: file.write(data))

    def load(self, path: Path) -> None:
        """Raises RunError where the file is damaged or belongs to other networks."""
        try:
            with safe_open(path, "pt", device="cpu") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                step = int(file.metadata()["step"])
            for name, part in self._parts.items():
                part.load_state_dict({key: tensors[f"{name}.{key}"] for key in part.state_dict()})
            for name, optimiser in (("g", self.optimise_g), ("d", self.optimise_d)):
                state = optimiser.state_dict()
                for index, parameter in enumerate(optimiser.param_groups[0]["params"]):
                    moments = {key: tensors[f"{name}.adam.{index}.{key}"] for key in ("exp_avg", "exp_avg_sq")}
                    # Laid out in memory as the parameter: the fused optimiser walks both side by side.
                    moments = {key: torch.empty_like(parameter).copy_(value) for key, value in moments.items()}
                    state["state"][index] = {"step": tensors[f"{name}.adam.{index}.step"], **moments}
                optimiser.load_state_dict(state)
        except (SafetensorError, KeyError, RuntimeError, OSError) as error:
            raise RunError(
                f"{path} cannot be loaded: {error}.", "Delete the run folder, or train into another -o."
            ) from None
        self.step = step


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
    _check_same_config(config, run)
    faces = load_faces(config.data, config.network.size_px, hyper.seed)
    if len(faces.images) < hyper.batch_size:
        raise InputError(
            f"{len(faces.images)} faces do not fill one batch of {hyper.batch_size}.",
            "Give more faces, or --set training.batch_size=" + str(max(2, len(faces.images))),
        )
    _begin(config, run, faces, device, dtype)

    # --- the networks, new or from the last checkpoint
    state = State(config, device)
    if run.checkpoint.exists():
        state.load(run.checkpoint)
        log.info("Going on from step %d.", state.step)
    _cut_log(run, state.step)
    pictures = torch.from_numpy(faces.images).to(device)
    fixed_z = draw_z(GRID, config.network, torch.Generator(device).manual_seed(hyper.seed))

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
            batch = _batch(pictures, state.step, hyper.batch_size, hyper.seed)
            losses = _step(state, batch, config, dtype, random)
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
                _save(state, run, config)

        # --- Ctrl-C: nothing is lost
        stopped = interrupted()
        if stopped and state.step > first_step:
            if pending:
                _write_log(log_file, state.step, torch.stack(pending).cpu().numpy(), time.perf_counter() - started)
            _save(state, run, config)
    return run.write_health(), stopped


def _step(state: State, real: Tensor, config: Config, dtype: torch.dtype, random: torch.Generator) -> Tensor:
    """One step of D and `generator_steps` of G (2018 paper, equation 1, with -log D(G(z)) for G, as in practice).

    Returns the log's numbers [6]: d-loss = real-loss + fake-loss, both of these, g-loss, mean D(x) and D(G(z)).
    """
    hyper = config.training
    g, d = state.g, state.d
    count = len(real)

    def precision() -> torch.autocast:
        # A context for each pass: autocast's cache of cast weights must not outlive an optimiser's step.
        return torch.autocast(real.device.type, dtype, enabled=dtype != torch.float32)

    def seen(pictures: Tensor) -> Tensor:
        """Pictures as D sees them."""
        pictures = augment(pictures.float(), hyper.augment, hyper.shift, random)
        if hyper.instance_noise:
            left = 1 - state.step / hyper.steps
            noise = torch.randn(pictures.shape, generator=random, device=pictures.device)
            pictures = pictures + hyper.instance_noise * left * noise
        return pictures.contiguous(memory_format=torch.channels_last)

    # --- D: real pictures against 1, fake ones against 0
    d.requires_grad_(True)
    with precision():
        fake = g(draw_z(count, config.network, random))
    with precision():
        on_real = d(seen(real)).float()
        on_fake = d(seen(fake.detach())).float()
    real_loss = cross_entropy(on_real, torch.full_like(on_real, hyper.real_label))
    fake_loss = cross_entropy(on_fake, torch.zeros_like(on_fake))
    d_loss = real_loss + fake_loss
    state.optimise_d.zero_grad(set_to_none=True)
    d_loss.backward()
    state.optimise_d.step()

    # --- G: its fakes against 1; D's weights need no gradients here
    d.requires_grad_(False)
    g_loss = torch.zeros((), device=real.device)
    for again in range(hyper.generator_steps):
        with precision():
            if again:
                fake = g(draw_z(count, config.network, random))
            on_g = d(seen(fake)).float()
        g_loss = cross_entropy(on_g, torch.ones_like(on_g))
        state.optimise_g.zero_grad(set_to_none=True)
        g_loss.backward()
        state.optimise_g.step()

    with torch.no_grad():
        likely = on_real.sigmoid().mean(), on_fake.sigmoid().mean()
        return torch.stack([d_loss, real_loss, fake_loss, g_loss, *likely]).detach()


def _batch(pictures: Tensor, step: int, size: int, seed: int) -> Tensor:
    """The batch of this step, float [size, 3, H, W] in -1..1: every face once an epoch, in an order of its own."""
    per_epoch = len(pictures) // size
    epoch, place = divmod(step, per_epoch)
    order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(len(pictures)))
    chosen = pictures[order[place * size : (place + 1) * size].to(pictures.device)]
    return chosen.float().div_(127.5).sub_(1)


def _check_same_config(config: Config, run: Run) -> None:
    if not (run.path / "config.yaml").exists():
        if run.path.exists() and any(run.path.iterdir()):
            raise RunError(f"{run.path} exists and is not a run folder.", "Give another -o.")
        return
    before, now = plain(run.config()), plain(config)
    before["training"]["steps"] = now["training"]["steps"]  # a run may be made longer
    changed = [
        f"{section}.{key} was {before[section][key]}, now {now[section][key]}"
        for section in ("data", "network", "training", "output")
        for key in now[section]
        if now[section][key] != before[section][key]
    ]
    if changed:
        raise RunError(f"{run.path} holds a run with another configuration: {'; '.join(changed)}.", "Give another -o.")


def _begin(config: Config, run: Run, faces: Faces, device: torch.device, dtype: torch.dtype) -> None:
    """Write what explains the run, or check that the run that is there learnt from the same faces."""
    about = {
        "facemorph": __version__,
        "commit": _commit(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy", "pillow")},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "precision": str(dtype).removeprefix("torch."),
        "seed": config.training.seed,
        "faces": faces.counts(),
        "data_sha256": faces.digest,
        "begun": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_text(run.path / "config.yaml", to_yaml(config))  # first: it makes the folder a run's
    if (run.path / "run.json").exists():
        before = run.about()
        if before["data_sha256"] != faces.digest:
            raise RunError(
                f"The faces have changed since {run.path} was begun: {before['faces']} then, {faces.counts()} now.",
                "Bring the old ones back, or give another -o.",
            )
        if before["precision"] != about["precision"]:
            log.warning("The run was begun in %s and goes on in %s.", before["precision"], about["precision"])
    else:
        people = {name: faces.of(name, PEOPLE_KEPT) for name in faces.persons}
        with replacing(run.path / "people.npz") as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **people)
        order = np.random.default_rng(config.training.seed).permutation(len(faces.images))[:GRID]
        write_image(run.path / "real.png", grid(faces.images[order].transpose(0, 2, 3, 1)))
        write_json(run.path / "run.json", about)
    told = ", ".join(f"{count} of {name}" for name, count in faces.counts().items())
    log.info("Learning from %s, on %s in %s. %s", told, about["device"], about["precision"], config.recipe)
    if len(faces.persons) == 1:
        log.info("There is one person: the walk will show expressions, not a change of person.")


def _commit() -> str:
    """The checkout's commit, where there is one."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(git, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return ""


def _cut_log(run: Run, step: int) -> None:
    """Leave the lines up to `step`: those after the checkpoint will be written again."""
    lines = run.log.read_text().splitlines() if run.log.exists() else []
    write_text(run.log, "\n".join([",".join(LOG_FIELDS), *lines[1 : step + 1]]) + "\n")


def _write_log(file: Any, step: int, values: np.ndarray, seconds: float) -> None:
    first = step - len(values)
    for offset, row in enumerate(values):
        file.write(f"{first + offset + 1}," + ",".join(f"{value:.6g}" for value in row) + f",{seconds:.2f}\n")
    file.flush()


def _settled(state: State, config: Config) -> Generator:
    """A copy of G (averaged, if it is) in eval mode, its batch statistics settled; what trains is left as it is."""
    copy = _placed(Generator(config.network), next(state.g.parameters()).device)
    copy.load_state_dict((state.average or state.g).state_dict())
    settle_batch_norm(copy, config.network)
    return copy


@torch.no_grad()
def _write_samples(path: Path, state: State, config: Config, fixed_z: Tensor) -> None:
    with _own_randomness():
        write_image(path, grid(images.to_uint8(_settled(state, config)(fixed_z))))


def _save(state: State, run: Run, config: Config) -> None:
    with _own_randomness():
        weights = {key: value.contiguous() for key, value in _settled(state, config).state_dict().items()}
    data = safetensors.torch.save(weights, {"step": str(state.step)})
    write_atomically(run.generator, lambda file: file.write(data))
    state.save(run.checkpoint)


@contextlib.contextmanager
def _own_randomness() -> Iterator[None]:
    """What is drawn inside (a copy's first weights) leaves the global generator as it was."""
    with torch.random.fork_rng():
        yield


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
