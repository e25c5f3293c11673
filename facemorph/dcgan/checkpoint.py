"""The state of training: networks, optimisers, steps; saved as a whole, loaded bit for bit."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from facemorph.dcgan.config import Config
from facemorph.dcgan.networks import Discriminator, Generator, settle_batch_norm
from facemorph.dcgan.precision import placed, prepare
from facemorph.dcgan.run import Run
from facemorph.errors import RunError, TrainingError
from facemorph.files import write_atomically


class State:
    """The two networks, their optimisers, and how many steps they have taken.

    Attributes:
        ema: a copy of G with the exponential moving average of its weights (Yazici et al. 2019); None without EMA.
        strength: fraction of augmented images, where it adapts; else None.
    """

    def __init__(self, config: Config, device: torch.device, persons: int = 0) -> None:
        torch.manual_seed(config.training.seed)
        persons = persons if config.network.conditional else 0
        self.g = placed(Generator(config.network, persons), device)
        self.d = placed(Discriminator(config.network, persons), device)
        prepare(config.training, config.training.precision, self.g, self.d)
        self.optimize_g, self.optimize_d = (
            torch.optim.Adam(
                part.parameters(), config.training.learning_rate, (config.training.beta1, 0.999), fused=True,
                capturable=device.type == "cuda",
            )
            for part in (self.g, self.d)
        )  # fmt: skip
        self.ema = None
        if config.training.ema:
            self.ema = placed(Generator(config.network, persons), device)
            self.ema.load_state_dict(self.g.state_dict())
        self.strength = torch.zeros((), device=device) if config.training.adaptive else None
        self.step = 0

    @property
    def _parts(self) -> dict[str, torch.nn.Module]:
        return {"g": self.g, "d": self.d} | ({"average": self.ema} if self.ema else {})

    @torch.no_grad()
    def update_ema(self, decay: float) -> None:
        if self.ema is not None:
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.g.parameters()), 1 - decay)

    def save(self, path: Path) -> None:
        """Write everything as one safetensors file, atomically."""
        tensors = {
            f"{name}.{key}": value for name, part in self._parts.items() for key, value in part.state_dict().items()
        }
        for name, optimizer in (("g", self.optimize_g), ("d", self.optimize_d)):
            for index, moments in optimizer.state_dict()["state"].items():
                tensors |= {f"{name}.adam.{index}.{key}": value for key, value in moments.items()}
        if self.strength is not None:
            tensors["augment.strength"] = self.strength
        contiguous = {key: value.contiguous() for key, value in tensors.items()}
        data = safetensors.torch.save(contiguous, {"step": str(self.step)})
        write_atomically(path, lambda file: file.write(data))

    def load(self, path: Path) -> None:
        """Raises RunError if the file is damaged or belongs to other networks."""
        try:
            with safe_open(path, "pt", device="cpu") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                step = int(file.metadata()["step"])
            for name, part in self._parts.items():
                part.load_state_dict({key: tensors[f"{name}.{key}"] for key in part.state_dict()})
            for name, optimizer in (("g", self.optimize_g), ("d", self.optimize_d)):
                state = optimizer.state_dict()
                for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
                    moments = {key: tensors[f"{name}.adam.{index}.{key}"] for key in ("exp_avg", "exp_avg_sq")}
                    # In the memory layout of the parameter: the fused optimiser reads both side by side.
                    moments = {key: torch.empty_like(parameter).copy_(value) for key, value in moments.items()}
                    state["state"][index] = {"step": tensors[f"{name}.adam.{index}.step"], **moments}
                optimizer.load_state_dict(state)
            if self.strength is not None:
                self.strength.copy_(tensors["augment.strength"])
        except (SafetensorError, KeyError, RuntimeError, OSError) as error:
            raise RunError(
                f"{path} cannot be loaded: {str(error)[:300]}.", "Delete the run folder, or train into another -o."
            ) from None
        self.step = step


def inference_copy(state: State, config: Config) -> Generator:
    """A copy of G (of its EMA, where there is one) in eval mode, with settled batch statistics."""
    device = next(state.g.parameters()).device
    copy = placed(Generator(config.network, state.g.persons), device)
    copy.load_state_dict((state.ema or state.g).state_dict())
    prepare(config.training, config.training.precision, copy)
    settle_batch_norm(copy, config.network)
    return copy


def save(state: State, run: Run, config: Config) -> None:
    """Write the checkpoint, and before it the generator that sample and walk load.

    Raises:
        TrainingError: a weight is NaN or infinite; the last checkpoint stays.
        OutputError: the folder cannot be written, or the disk is full.
    """
    weights = [*state.g.parameters(), *state.d.parameters()]
    if not torch.stack(torch._foreach_norm(weights)).isfinite().all():
        raise broken(state, run)
    with own_randomness():
        tensors = {key: value.contiguous() for key, value in inference_copy(state, config).state_dict().items()}
    data = safetensors.torch.save(tensors, {"step": str(state.step)})
    write_atomically(run.generator, lambda file: file.write(data))
    state.save(run.checkpoint)


def broken(state: State, run: Run) -> TrainingError:
    """The error for numbers that are no longer finite."""
    return TrainingError(
        f"A loss or weight became NaN or infinite before step {state.step}.",
        f"{run.checkpoint if run.checkpoint.exists() else 'No checkpoint'} is from before. "
        "Try training.precision=float32, or a smaller training.learning_rate, in another -o.",
    )


@contextlib.contextmanager
def own_randomness() -> Iterator[None]:
    """Random numbers used inside (a copy's initial weights) leave the global generator as it was."""
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_initialized() else []):
        yield
