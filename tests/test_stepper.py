"""A step that can be captured as a CUDA graph: tested here as far as a CPU goes. What needs CUDA is in test_cuda.py."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from facemorph.dcgan.checkpoint import State
from facemorph.dcgan.config import Config, config_from_dict
from facemorph.dcgan.precision import dtype_of
from facemorph.dcgan.stepper import Stepper, train_step
from facemorph.device import pick_device, settle_cuda
from facemorph.distributed import join_processes
from facemorph.errors import ConfigError

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 255, (20, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
LABELS = torch.arange(20) % 2

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "augmented, EMA": {"training": {"augment": ["color", "shift", "flip", "cutout"], "ema": 0.9}},
    "adaptive": {"training": {"augment": ["color", "shift", "flip"], "adaptive": 0.6}},
    "R1, noise": {"training": {"r1": 1.0, "r1_every": 2, "instance_noise": 0.3}, "network": {"d_norm": "none"}},
    "conditional, spectral": {
        "training": {"loss": "hinge", "generator_steps": 2},
        "network": {"conditional": True, "d_norm": "spectral"},
    },
    "bfloat16": {"training": {"precision": "bfloat16", "augment": ["color"]}},
    "nine products": {"training": {"precision": "bfloat16-winograd"}, "network": {"channels": 32}},
}


def configured(values: dict[str, Any]) -> Config:
    return config_from_dict(
        {
            "network": {"size_px": 16, "z_dim": 8, "channels": 8, **values.get("network", {})},
            "training": {"steps": 12, "batch_size": 8, "precision": "float32", **values.get("training", {})},
        }
    )


class NoWaiting(TorchDispatchMode):
    """Refuses whatever makes the host wait for the device, or copies from it: no step with one can be captured."""

    WAIT = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "lift_fresh")

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        assert not any(name in str(function) for name in self.WAIT), f"{function} waits for the device"
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("name", OPTIONS)
def test_nothing_in_a_step_waits_for_the_device(name: str) -> None:
    config = configured(OPTIONS[name])
    stepper = Stepper(State(config, CPU, 2), IMAGES, LABELS, config, dtype_of(config.training.precision))
    stepper()
    for _ in range(2):  # with R1, and without
        stepper._prepare()
        with NoWaiting():
            numbers = stepper.compute()
        stepper.state.step += 1
        assert torch.isfinite(numbers).all()


def test_the_check_for_waiting_finds_what_waits() -> None:
    with NoWaiting(), pytest.raises(AssertionError, match="waits"):
        torch.ones(2).sum().item()


@pytest.mark.parametrize("name", OPTIONS)
def test_buffers_that_are_kept_give_the_steps_of_fresh_ones(name: str) -> None:
    """To the bit: nothing of a step is left for the next but the state."""
    config = configured(OPTIONS[name])
    dtype, logs = dtype_of(config.training.precision), []
    for kept in (True, False):
        state = State(config, CPU, 2)
        stepper = Stepper(state, IMAGES, LABELS, config, dtype)
        take = stepper if kept else lambda state=state: train_step(state, IMAGES, LABELS, config, dtype)
        logs.append(torch.stack([take() for _ in range(5)]))
        logs.append(torch.cat([parameter.flatten() for parameter in state.g.parameters()]))
    assert torch.equal(logs[0], logs[2]) and torch.equal(logs[1], logs[3])


def test_every_face_is_taken_once_an_epoch_in_an_order_of_its_own() -> None:
    config = configured({})
    stepper = Stepper(State(config, CPU), IMAGES, LABELS, config, torch.float32)
    taken = []
    for step in range(4):  # an epoch is two batches of 8, and four faces are left over
        stepper.state.step = step
        stepper._prepare()
        taken.append(stepper.chosen.tolist())
    assert len({*taken[0], *taken[1]}) == len({*taken[2], *taken[3]}) == 16
    assert taken[:2] != taken[2:]
    stepper.state.step = 1
    stepper._prepare()
    assert stepper.chosen.tolist() == taken[1], "a continued run finds its place"


def test_noise_falls_to_nothing_with_the_steps() -> None:
    config = configured({"training": {"instance_noise": 0.5}})
    stepper = Stepper(State(config, CPU), IMAGES, LABELS, config, torch.float32)
    levels = []
    for stepper.state.step in (0, 6, 12):
        stepper._prepare()
        levels.append(float(stepper.noise))
    assert levels == [0.5, 0.25, 0.0]


def test_on_a_processor_nothing_is_captured() -> None:
    config = configured({})
    assert not Stepper(State(config, CPU), IMAGES, LABELS, config, torch.float32, capture=True).capture


def test_two_processes_on_one_gpu_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"2 processes .* on 1 GPU") as refused, join_processes(torch.device("cuda")):
        pass
    assert "--nproc-per-node 1" in str(refused.value)


def test_cuda_is_told_to_be_exact_and_to_repeat() -> None:
    cudnn: Any = torch.backends.cudnn
    matmul = torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark
    try:
        cudnn.allow_tf32 = matmul.allow_tf32 = cudnn.benchmark = True
        pick_device("cpu")
        assert cudnn.allow_tf32, "a CPU changes nothing"
        settle_cuda()
        assert not cudnn.allow_tf32 and not matmul.allow_tf32 and not cudnn.benchmark and cudnn.deterministic
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark = before
