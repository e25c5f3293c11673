"""The quick convolutions against torch's, and what a training run does with them."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import conv2d, conv_transpose2d
from torch.utils.flop_counter import FlopCounterMode

from facemorph.dcgan import winograd
from facemorph.dcgan.checkpoint import State
from facemorph.dcgan.config import Config, Network, Training, config_from_dict
from facemorph.dcgan.stepper import train_step
from facemorph.dcgan.train import train
from facemorph.dcgan.winograd import WinogradConv2d, WinogradConvTranspose2d
from facemorph.errors import ConfigError

CPU = torch.device("cpu")


def layer_pair(
    kind: type[WinogradConv2d] | type[WinogradConvTranspose2d], channels: tuple[int, int], bias: bool
) -> tuple:
    """The same layer twice, in float64: quick and direct."""
    quick, direct = (kind(*channels, 4, 2, 1, bias=bias).double() for _ in range(2))
    direct.load_state_dict(quick.state_dict())
    quick.winograd = True
    return quick, direct


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20], ids=["many chunks", "one chunk"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 32), (24, 8)])
@pytest.mark.parametrize("kind", [WinogradConv2d, WinogradConvTranspose2d])
def test_values_and_gradients_are_those_of_torch(
    kind: type, height: int, width: int, layout: torch.memory_format, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "CHUNK_BYTES", chunk_bytes)
    random = torch.Generator().manual_seed(height + width)
    halves = kind is WinogradConv2d
    quick, direct = layer_pair(kind, (32, 40) if halves else (40, 32), bias=False)
    sides = (height, width) if halves else (height // 2, width // 2)
    images = torch.randn(32, 32 if halves else 40, *sides, generator=random, dtype=torch.float64)
    told = {}
    for name, layer in (("quick", quick), ("direct", direct)):
        read = images.clone(memory_format=layout).requires_grad_()
        written = layer(read)
        (written * torch.randn(written.shape, generator=random.manual_seed(1), dtype=torch.float64)).sum().backward()
        told[name] = written, read.grad, layer.weight.grad
    for ours, torchs in zip(told["quick"], told["direct"], strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-11, atol=1e-11)
    assert told["quick"][0].is_contiguous(memory_format=torch.channels_last), "what comes next wants it dense"


@pytest.mark.parametrize("function", [winograd._Halve, winograd._Double])
def test_gradients_agree_with_differences(function: type[torch.autograd.Function]) -> None:
    random = torch.Generator().manual_seed(0)
    shape = (2, 3, 8, 16) if function is winograd._Halve else (2, 5, 4, 8)
    images = torch.randn(shape, generator=random, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, 4, 4, generator=random, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function.apply, (images, weight))


def test_in_float32_it_errs_by_rounding_alone() -> None:
    random = torch.Generator().manual_seed(0)
    wide, weight = torch.randn(4, 128, 16, 16, generator=random), torch.randn(256, 128, 4, 4, generator=random)
    exact = conv2d(wide.double(), weight.double(), stride=2, padding=1)
    ours = winograd._Halve.apply(wide, weight)
    assert (ours - exact).norm() / exact.norm() < 5e-6
    narrow = torch.randn(4, 256, 8, 8, generator=random)
    exact = conv_transpose2d(narrow.double(), weight.double(), stride=2, padding=1)
    ours = winograd._Double.apply(narrow, weight)
    assert (ours - exact).norm() / exact.norm() < 5e-6


def test_a_bias_is_added() -> None:
    quick, direct = layer_pair(WinogradConv2d, (32, 8), bias=True)
    wide = torch.randn(32, 32, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(quick(wide), direct(wide))


@pytest.mark.parametrize(("count", "channels", "side"), [(7, 32, 8), (32, 31, 8), (32, 32, 10)])
def test_where_it_does_not_pay_it_is_the_direct_one(count: int, channels: int, side: int) -> None:
    quick, direct = layer_pair(WinogradConv2d, (channels, 8), bias=False)
    wide = torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(quick(wide), direct(wide))


def test_it_takes_25_products_for_64() -> None:
    wide, weight = torch.randn(2, 32, 16, 16), torch.randn(64, 32, 4, 4)
    v, u = winograd._from_wide(wide), winograd._from_weight(weight)
    counts = []
    for call in (lambda: conv2d(wide, weight, stride=2, padding=1), lambda: torch.bmm(v, u.transpose(1, 2))):
        with FlopCounterMode(display=False) as counter:
            call()
        counts.append(counter.get_total_flops())
    assert counts[1] / counts[0] == 25 / 64


def test_it_has_no_gradients_of_gradients_and_says_so() -> None:
    with pytest.raises(ConfigError, match="gradients of gradients"):
        Training(r1=1.0, precision="float32-winograd")
    with pytest.raises(ConfigError, match="kernels of 4 px"):
        Config(network=Network(kernel_px=5), training=Training(precision="float32-winograd"))


# --- In a run

FACES = 40


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    (folder / "anna").mkdir()
    for i in range(FACES):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(folder / "anna" / f"{i:03d}.png")
    return folder


def small(faces: Path, **training: object) -> Config:
    return config_from_dict(
        {
            "data": {"faces": [str(faces)]},
            "network": {"size_px": 32, "z_dim": 8, "channels": 32},
            "training": {"steps": 6, "batch_size": 32, **training},
            "output": {"checkpoint_every": 3},
        }
    )


@pytest.mark.parametrize("d_norm", ["batch", "spectral", "none"])
def test_a_step_is_that_of_the_direct_way(d_norm: str) -> None:
    """Losses but for rounding. In gradients, where rounding moves one activation in a million over its kink at 0, that
    one shows; in G's more so, after Adam's first step, which is of the sign's size."""
    images = torch.randint(0, 255, (FACES, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    told = {}
    for precision in ("float32-winograd", "float32"):
        config = config_from_dict(
            {
                "network": {"size_px": 32, "channels": 32, "d_norm": d_norm},
                "training": {"batch_size": 32, "precision": precision},
            }
        )
        state = State(config, CPU)
        quick = [layer.winograd for layer in state.d.modules() if isinstance(layer, WinogradConv2d)]
        assert quick == [precision == "float32-winograd"] * 3
        log = train_step(state, images, torch.zeros(FACES, dtype=torch.long), config, torch.float32)
        gradients = [torch.cat([p.grad.flatten() for p in part.parameters()]) for part in (state.d, state.g)]
        told[precision] = [log[:3], *gradients]
    for ours, direct, share in zip(told["float32-winograd"], told["float32"], (1e-5, 0.01, 0.03), strict=True):
        assert direct.norm() > 0
        assert (ours - direct).norm() <= share * direct.norm()


def test_an_interrupted_run_gives_the_same_numbers_to_the_bit(faces: Path, tmp_path: Path) -> None:
    way = {"precision": "float32-winograd"}
    train(small(faces, **way), tmp_path / "whole", device_name="cpu")
    train(small(faces, steps=3, **way), tmp_path / "parts", device_name="cpu")
    train(small(faces, **way), tmp_path / "parts", device_name="cpu")
    logs = []
    for name in ("whole", "parts"):
        with (tmp_path / name / "log.csv").open() as file:
            logs.append([row[:-1] for row in csv.reader(file)])
    assert logs[0] == logs[1]
    assert len(logs[0]) == 7
    whole, parts = ((tmp_path / name / "generator.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    assert "Winograd" in (tmp_path / "whole" / "run.json").read_text()
