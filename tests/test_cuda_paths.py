"""What runs on a GPU, followed without one: on the meta device, which has shapes and no numbers.

There a number that the host asks for is an error, as it is while a CUDA graph is captured, and a tensor that was made
on the processor is told from one of the device: what a test on the processor alone cannot see. Torch has no optimisers
and no autocast for it, and random numbers of a device come from generators of the device: these are stood in for.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from generator_runs import LARGER, tiny, write_faces
from test_stepper import OPTIONS, configured
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import arg_tree_leaves, tree_leaves

from facemorph.dcgan.checkpoint import State
from facemorph.dcgan.step import train_on_batch
from facemorph.dcgan.stepper import Stepper
from facemorph.stylegan.load import build
from facemorph.stylegan.networks.architecture import Architecture
from facemorph.stylegan.networks.ops import Noise
from facemorph.stylegan.projection import optimize
from facemorph.stylegan.projection.config import load_projection_config
from facemorph.stylegan.projection.encoder import Encoder, EncoderShape
from facemorph.stylegan.projection.loss import ProjectionLoss
from facemorph.stylegan.training.judges import Backbones
from facemorph.stylegan.training.networks import new_architecture
from facemorph.stylegan.training.state import State as GeneratorState
from facemorph.stylegan.training.step import Step

DEVICE = torch.device("meta")


class OneDevice(TorchDispatchMode):
    """Refuses what a captured step must not do: numbers for the host, and tensors of the host beside the device's."""

    MADE = "a tensor is made of the host's numbers"
    WAIT = ("_local_scalar_dense", "aten.item", "nonzero", "masked_select", "unique", "aten.equal")

    def __enter__(self) -> "OneDevice":
        self._patch = mock.patch.object(Tensor, "new_tensor", self._new_tensor)  # on this device it is no operation
        self._patch.start()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patch.stop()

    def _new_tensor(self, *words: object, **options: object) -> Tensor:
        raise AssertionError(self.MADE)

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = options or {}
        name = str(function)
        given = {one.device.type for one in arg_tree_leaves(*arguments, **options) if isinstance(one, Tensor)}
        assert not any(word in name for word in self.WAIT), f"{name} waits for the device"
        assert "lift_fresh" not in name, self.MADE
        assert given <= {"meta"}, f"{name} is given a tensor of the processor"
        made = function(*arguments, **options)
        of = {one.device.type for one in tree_leaves(made) if isinstance(one, Tensor)}
        assert of <= {"meta"}, f"{name} makes a tensor on the processor"
        return made


class DeviceGenerator(torch._C.Generator):
    """A generator that says it is the device's."""

    device = DEVICE  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]

    def __new__(cls, device: object = None) -> "DeviceGenerator":
        return super().__new__(cls, "cpu")  # pyright: ignore[reportCallIssue]


class PlainAdam(torch.optim.Optimizer):
    """In place of the fused Adam: it changes the weights by their gradients, on the device."""

    def __init__(self, parameters: Any, *rates: object, **options: object) -> None:
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-0.1)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(torch, "Generator", DeviceGenerator)
    monkeypatch.setattr(torch.optim, "Adam", PlainAdam)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    return DEVICE


@contextlib.contextmanager
def refused(reason: str) -> Iterator[None]:
    with pytest.raises(AssertionError, match=reason), OneDevice():
        yield


# --- The check itself


def test_the_check_finds_what_must_not_be() -> None:
    ours = torch.zeros(3, device=DEVICE)
    with refused("waits for the device"):
        ours.sum().item()
    with refused("waits for the device"):
        bool(ours.sum() > 0)
    with refused("makes a tensor on the processor"):
        torch.add(ours, torch.zeros(3))
    with refused("made of the host's numbers"):
        torch.add(ours, torch.tensor(1.0))
    with refused("made of the host's numbers"):
        ours.new_tensor([1.0, 2.0])
    with refused("made of the host's numbers"):
        torch.from_numpy(np.zeros(3)).to(DEVICE)
    theirs = torch.zeros(3)
    with refused("given a tensor of the processor"):
        theirs.to(DEVICE)
    with pytest.raises(NotImplementedError, match="no data"), OneDevice():
        ours.cpu()


PLANTED: dict[str, Callable[[Tensor], Tensor]] = {
    "waits for the device": lambda numbers: numbers * numbers.sum().item(),
    "makes a tensor on the processor": lambda numbers: numbers + torch.ones(()),
}


@pytest.mark.parametrize("reason", PLANTED)
def test_it_finds_them_in_a_step(reason: str, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    stepper = dcgan("plain", device)
    monkeypatch.setattr(
        "facemorph.dcgan.stepper.train_on_batch", lambda *words: PLANTED[reason](train_on_batch(*words))
    )
    with refused(reason):
        stepper.compute()


# --- The steps that are captured


def dcgan(name: str, device: torch.device) -> Stepper:
    config = configured(OPTIONS[name])
    images = torch.zeros(20, 3, 16, 16, dtype=torch.uint8, device=device)
    labels = torch.zeros(20, dtype=torch.long, device=device)
    return Stepper(State(config, device, 2), images, labels, config, torch.float32)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ("bfloat16", "nine products")])
def test_a_step_of_the_dcgan_stays_on_the_device(name: str, device: torch.device) -> None:
    stepper = dcgan(name, device)
    for _ in range(2):  # with R1, and without
        with OneDevice():
            numbers = stepper.compute()
        assert numbers.device == device
        stepper.state.step += 1


@pytest.mark.parametrize(
    ("alone", "training"), [(True, {}), (False, {"frozen_norm": True, "loss": "logistic"})], ids=["alone", "both"]
)
def test_a_step_of_train_generator_stays_on_the_device(
    alone: bool, training: dict[str, Any], device: torch.device, tmp_path: Path
) -> None:
    config = tiny(write_faces(tmp_path / "faces.npy", 4, 32), training=training, **LARGER)
    architecture = new_architecture(config.network, "eyes")
    backbones = Backbones(config, architecture.alignment.chip).placed(device, torch.float32)
    state = GeneratorState(config, architecture, backbones, device, torch.float32)
    state.alone = alone
    images = torch.zeros(20, 3, 32, 32, dtype=torch.uint8, device=device)
    step = Step(state, images, config, backbones, torch.float32)
    with OneDevice():
        numbers = step()
    assert numbers.device == device


# --- Generators, and the search

STYLEGAN1 = Architecture(
    generation=1, resolution=16, image_channels=3, latent_size=8, mapping_sizes=(8, 8), channels=(8, 8, 4),
    const_channels=8, truncation_psi=0.7, truncation_cutoff=4, blur=(0.25, 0.5, 0.25), to_rgb_lods=(0,),
)  # fmt: skip
STYLEGAN2 = Architecture(
    generation=2, resolution=16, image_channels=3, latent_size=8, mapping_sizes=(8, 8), channels=(8, 8, 4),
    const_channels=8, truncation_psi=0.7, truncation_cutoff=None, clamp=256.0,
)  # fmt: skip


@pytest.mark.parametrize("noise", ["const", "random", "none"])
@pytest.mark.parametrize("a", [STYLEGAN1, STYLEGAN2], ids=["StyleGAN", "StyleGAN2"])
def test_a_generator_stays_on_the_device(a: Architecture, noise: str, device: torch.device) -> None:
    """StyleGAN made its filter anew from the processor's numbers in every layer."""
    generator = build(a, {name: torch.zeros(shape, device=device) for name, shape in a.shapes().items()}, device)
    for count in (1, 2):
        z = torch.zeros(count, a.latent_size, device=device)
        with OneDevice():
            latents = generator.truncate(generator.map(z)).detach().requires_grad_()
            images = generator.synthesize(latents, Noise(noise))
            images.square().mean().backward()
        assert images.device == device and latents.grad is not None


def test_the_steps_of_a_search_stay_on_the_device(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second step's images to the last step's; before (a window is made once) and after, the host may ask."""
    generator = build(
        STYLEGAN2, {name: torch.zeros(shape, device=device) for name, shape in STYLEGAN2.shapes().items()}, device
    )
    monkeypatch.setattr(type(generator), "latent_statistics", lambda _: (torch.zeros(8, device=device), 1.0))
    settings = load_projection_config("balanced", ["schedule.steps=6", "schedule.patience=9", "search.loss=pixel"])
    objective = ProjectionLoss(torch.zeros(2, 3, 16, 16, device=device), settings.terms, 16)
    encoder = Encoder(EncoderShape(16, STYLEGAN2.num_layers, STYLEGAN2.w_size, 4)).to(device).eval()
    start = encoder(torch.zeros(2, 3, 16, 16, device=device)).detach()
    watched, steps = OneDevice(), 0

    def synthesize(*words: Any) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 2:
            watched.__enter__()
        elif steps == settings.schedule.steps:
            watched.__exit__(None, None, None)
        return generator.synthesize(words[1])

    monkeypatch.setattr(optimize, "synthesize", synthesize)
    with pytest.raises(RuntimeError, match="meta"):  # at the end it asks whether all is finite
        optimize.optimize_latents(generator, objective, start, settings)
    assert steps == settings.schedule.steps
