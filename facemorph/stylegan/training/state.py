"""The state of training: networks, their averages, judges, optimisers; saved as a whole, loaded bit for bit."""

import contextlib
import copy
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from facemorph.errors import RefusedFile, RunError
from facemorph.files import write_atomically
from facemorph.stylegan.networks.architecture import Architecture, from_json, to_json
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.encoder import Encoder, EncoderShape
from facemorph.stylegan.training.config import Config
from facemorph.stylegan.training.judges import Backbones, Judges
from facemorph.stylegan.training.networks import centre, equalised, fresh_encoder, new_generator, trainable

G_BETAS, E_BETAS = (0.0, 0.99), (0.9, 0.99)  # of Adam: generator and judges; encoder
SMALLEST_RATE = 0.02  # what a learning rate falls to, as a part of it
EMA_START = 500  # images in which half of an EMA is forgotten at the beginning; it grows with the images seen
PACE_RANGE = (0.05, 2.0)


class State:
    """Generator, encoder, their EMAs, judges, optimisers, and how far they have come.

    Args:
        generator, encoder: where training starts from them; new ones otherwise.
        backbones: the frozen networks that the judges look through.

    Attributes:
        slow_g, slow_e: copies with the exponential moving average of the weights: what is used afterwards.
        alone: whether only drawing is learnt so far.
        pace: the judges' learning rate, as a multiple of its setting.
        d_sum: of the judges' losses since the pace was last set.
        seconds: of training so far.
    """

    def __init__(
        self, config: Config, architecture: Architecture, backbones: Backbones, device: torch.device,
        dtype: torch.dtype, generator: Generator | None = None, encoder: Encoder | None = None,
    ) -> None:  # fmt: skip
        with own_randomness(device, config.training.seed):
            self.architecture, self.device = architecture, device
            self.alone = can_draw_alone(config) and generator is None
            started = generator is not None
            self.g = trainable(generator or new_generator(architecture), device, dtype)
            fresh = encoder is None
            self.e = encoder or fresh_encoder(architecture, config.network)
            self.e.to(device, memory_format=torch.channels_last).train().requires_grad_(True)  # type: ignore[call-overload]
            if fresh and started:
                centre(self.e, self.g)
            self.judges = Judges(config, backbones, architecture.resolution)
            self.judges.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.slow_g, self.slow_e = self._average_of(self.g), self._average_of(self.e)
        rates = config.training
        self.optimize_g = self._adam(_by_rate(self.g), rates.g_rate, G_BETAS)
        self.optimize_d = self._adam({1.0: list(self.judges.parameters())}, rates.d_rate, G_BETAS)
        self.optimize_e = self._adam({1.0: list(self.e.parameters())}, rates.e_rate, E_BETAS)
        self.step, self.seconds, self.pace = 0, 0.0, 1.0
        self.d_sum = torch.zeros((), device=device)
        self.forget = torch.zeros((), device=device)  # share of the EMA that a step replaces

    def _average_of(self, network: Any) -> Any:
        average = copy.deepcopy(network).eval().requires_grad_(False)
        for own, now in zip(average.parameters(), network.parameters(), strict=True):
            own.data = torch.empty_like(now.data).copy_(now.data)  # in the same memory layout
        return average

    def _adam(self, groups: dict[float, list[nn.Parameter]], rate: float, betas: tuple[float, float]) -> Any:
        """Groups of parameters by the multiple of `rate` at which they learn. With CUDA, a graph can hold a step."""
        on_cuda = self.device.type == "cuda"

        def number(value: float) -> Any:
            return torch.tensor(value, device=self.device) if on_cuda else value

        parts = [{"params": ps, "lr": number(rate * scale), "base": rate * scale} for scale, ps in groups.items() if ps]
        return torch.optim.Adam(parts, betas=betas, fused=True, capturable=on_cuda) if parts else None

    @property
    def _parts(self) -> dict[str, nn.Module]:
        return {"g": self.g, "e": self.e, "slow_g": self.slow_g, "slow_e": self.slow_e, "judges": self.judges}

    @property
    def _optimizers(self) -> dict[str, tuple[Any, nn.Module]]:
        return {"g": (self.optimize_g, self.g), "d": (self.optimize_d, self.judges), "e": (self.optimize_e, self.e)}

    def set_rates(self, share: float, config: Config) -> float:
        """The learning rates and the EMA's for a step at this share of the run; returns the common factor."""
        cfg = config.training
        factor = min(1.0, (self.step + 1) / cfg.warm_up)
        if share > cfg.decay_from:
            factor *= max(SMALLEST_RATE, (1 - share) / max(1 - cfg.decay_from, 1e-9))
        for name, (optimizer, _) in self._optimizers.items():
            for group in optimizer.param_groups if optimizer else ():
                rate = group["base"] * factor * (self.pace if name == "d" else 1)
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
        half = min(cfg.ema_images, 0.1 * self.step * cfg.batch_size + EMA_START)
        self.forget.fill_(1 - 0.5 ** (cfg.batch_size / half))
        return factor

    @torch.no_grad()
    def follow(self, encoder: bool) -> None:
        """Move the averages towards the weights by the share `forget`, a tensor, so that a CUDA graph can hold it."""
        for slow, now in [(self.slow_g, self.g), *([(self.slow_e, self.e)] if encoder else [])]:
            averages = list(slow.parameters())
            off = torch._foreach_sub(list(now.parameters()), averages)
            torch._foreach_mul_(off, self.forget)
            torch._foreach_add_(averages, off)
            for own, other in zip(slow.buffers(), now.buffers(), strict=True):
                own.copy_(other)

    @torch.no_grad()
    def begin_encoder(self, seed: int) -> None:
        """The generator has learnt to draw: the encoder begins at its mean latent."""
        with own_randomness(self.device, seed):
            centre(self.e, self.g)
        self.slow_e.mean.copy_(self.e.mean)
        self.slow_e.deviation.copy_(self.e.deviation)
        self.alone = False

    def set_pace(self, low: float, high: float, steps: int) -> None:
        """The judges' pace gives way where they win, from their mean loss in the last `steps` steps."""
        mean = float(self.d_sum) / steps
        least, most = PACE_RANGE
        self.pace = min(most, max(least, self.pace * (0.8 if mean < low else 1.1 if mean > high else 1.0)))
        self.d_sum.zero_()

    def networks(self) -> tuple[Generator, Encoder]:
        """Copies of the averages, ready for use: float32, with the mean latent."""
        generator, encoder = copy.deepcopy(self.slow_g).eval(), copy.deepcopy(self.slow_e).eval()
        for layer in generator.synthesis.modules():
            if hasattr(layer, "dtype"):
                layer.dtype = torch.float32  # type: ignore[assignment]
        generator.synthesis.prepare()
        with torch.no_grad():
            generator.w_avg.copy_(generator.latent_statistics()[0])
        return generator, encoder

    def is_finite(self) -> bool:
        weights = [*self.g.parameters(), *self.e.parameters(), *self.judges.parameters()]
        return bool(torch.stack(torch._foreach_norm([one.float() for one in weights])).isfinite().all())

    def save(self, path: Path) -> None:
        """Write everything as one safetensors file, atomically."""
        tensors = {f"{name}.{key}": one for name, part in self._parts.items() for key, one in part.state_dict().items()}
        for name, (optimizer, network) in self._optimizers.items():
            for key, parameter in network.named_parameters():
                for moment, value in (optimizer.state.get(parameter, {}) if optimizer else {}).items():
                    tensors[f"adam.{name}.{key}.{moment}"] = value
        tensors["d_sum"] = self.d_sum
        head = {
            "step": self.step, "seconds": self.seconds, "pace": self.pace, "alone": self.alone,
            "architecture": to_json(self.architecture, {}), "encoder": asdict(self.e.shape),
        }  # fmt: skip
        plain = {key: value.detach().contiguous() for key, value in tensors.items()}
        data = safetensors.torch.save(plain, {key: json.dumps(value) for key, value in head.items()})
        write_atomically(path, lambda file: file.write(data))

    def load(self, path: Path) -> None:
        """Raises RunError if the file is damaged or belongs to other networks."""
        try:
            with safe_open(path, "pt", device="cpu") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                head = {key: json.loads(value) for key, value in file.metadata().items()}
            with torch.no_grad():
                for name, part in self._parts.items():
                    part.load_state_dict({key: tensors[f"{name}.{key}"] for key in part.state_dict()})
                for name, (optimizer, network) in self._optimizers.items():
                    for key, parameter in network.named_parameters():
                        start = f"adam.{name}.{key}."
                        if f"{start}step" not in tensors:  # the encoder has not begun
                            continue
                        # In the parameter's memory layout: the fused optimiser reads both side by side.
                        optimizer.state[parameter] = {
                            moment: torch.empty_like(parameter).copy_(tensors[start + moment])
                            for moment in ("exp_avg", "exp_avg_sq")
                        } | {"step": tensors[f"{start}step"].to(self.device)}
                self.d_sum.copy_(tensors["d_sum"])
            self.step, self.seconds = int(head["step"]), float(head["seconds"])
            self.pace, self.alone = float(head["pace"]), bool(head["alone"])
        except (SafetensorError, KeyError, RuntimeError, ValueError, OSError) as error:
            raise RunError(
                f"{path} cannot be loaded: {str(error)[:300]}.", "Delete the run folder, or train into another -o."
            ) from None


def can_draw_alone(config: Config) -> bool:
    """Whether a run may begin with the generator alone."""
    return bool(config.training.alone and config.terms.judges)


def _by_rate(generator: Generator) -> dict[float, list[nn.Parameter]]:
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in generator.named_parameters():
        groups.setdefault(equalised(name, parameter), []).append(parameter)
    return groups


def shapes_in(path: Path) -> tuple[Architecture, EncoderShape]:
    """Of the networks in a checkpoint.

    Raises:
        RunError: it is damaged.
    """
    try:
        with safe_open(path, "pt", device="cpu") as file:
            head = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
        return from_json(head["architecture"])[0], EncoderShape(**head["encoder"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RefusedFile) as error:
        raise RunError(f"{path} cannot be loaded: {str(error)[:300]}.", "Train into another -o.") from None


def judges_in(path: Path) -> dict[str, Tensor]:
    """The trained weights of the judges in a checkpoint, by their names in `Judges`.

    Raises:
        RunError: it is damaged.
    """
    try:
        with safe_open(path, "pt", device="cpu") as file:
            names = [name for name in file.keys() if name.startswith("judges.")]  # noqa: SIM118
            return {name.removeprefix("judges."): file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} cannot be loaded: {str(error)[:300]}.") from None


@contextlib.contextmanager
def own_randomness(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Random numbers inside leave the global generators as they were; with a seed they are always the same."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if seed is not None:
            torch.manual_seed(seed)
        yield
