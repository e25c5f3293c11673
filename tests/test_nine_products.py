"""The convolutions by nine products for sixteen, against torch's."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_runs import make_faces
from torch.nn.functional import conv2d, conv_transpose2d
from torch.utils.flop_counter import FlopCounterMode

from facemorph.dcgan.checkpoint import State
from facemorph.dcgan.config import config_from_dict
from facemorph.dcgan.nine_products import DoubleByNine, HalveByNine
from facemorph.dcgan.precision import dtype_of
from facemorph.dcgan.stepper import train_step
from facemorph.dcgan.train import train
from facemorph.dcgan.winograd import WinogradConv2d, WinogradConvTranspose2d, _way

WAYS = {"halve": (HalveByNine, conv2d, 3, (8, 16)), "double": (DoubleByNine, conv_transpose2d, 5, (4, 8))}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("sides", [1, 3], ids=["small", "large"])
@pytest.mark.parametrize("name", WAYS)
def test_values_and_gradients_are_those_of_torch(name: str, sides: int, layout: torch.memory_format) -> None:
    ours, torchs, channels, (height, width) = WAYS[name]
    random = torch.Generator().manual_seed(0)
    images = torch.randn(2, channels, sides * height, sides * width, generator=random, dtype=torch.float64)
    images, results = images.to(memory_format=layout), []
    weight = torch.randn(5, 3, 4, 4, generator=random, dtype=torch.float64).to(memory_format=layout)
    for way in (ours.apply, lambda x, w: torchs(x, w, stride=2, padding=1)):
        given = [tensor.clone(memory_format=torch.preserve_format).requires_grad_() for tensor in (images, weight)]
        out = way(*given)
        (out * torch.randn(out.shape, generator=random.manual_seed(1), dtype=torch.float64)).sum().backward()
        results.append([out, given[0].grad, given[1].grad])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    assert results[0][0].is_contiguous(memory_format=torch.channels_last), "what comes next wants it dense"


@pytest.mark.parametrize("name", WAYS)
def test_gradients_agree_with_differences(name: str) -> None:
    ours, _, channels, sides = WAYS[name]
    random = torch.Generator().manual_seed(0)
    images = torch.randn(2, channels, *sides, generator=random, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, 4, 4, generator=random, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ours.apply, (images, weight))


@pytest.mark.parametrize(("kind", "channels"), [(WinogradConv2d, (64, 96)), (WinogradConvTranspose2d, (96, 64))])
def test_in_bfloat16_it_errs_at_most_three_times_as_much_as_the_direct_way(kind: type, channels: tuple) -> None:
    """On noise, where neighbours differ most; 0.4 % of the norm is what one rounding to bfloat16 may cost."""
    random = torch.Generator().manual_seed(0)
    errors: dict[str, list[float]] = {}
    images = torch.randn(8, channels[0], 16, 16, generator=random).to(memory_format=torch.channels_last)
    results = {}
    for name, winograds, low in (("exact", False, False), ("direct", False, True), ("nine", True, True)):
        torch.manual_seed(0)
        layer = kind(*channels, 4, 2, 1, bias=False)
        layer.winograd, layer.low = winograds, low
        given = images.clone(memory_format=torch.preserve_format).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            out = layer(given)
        assert out.dtype == (torch.bfloat16 if low else torch.float32)
        (out.float() * torch.randn(out.shape, generator=random.manual_seed(1))).sum().backward()
        results[name] = [out.detach().float(), given.grad, layer.weight.grad]
        assert all(tensor.dtype == torch.float32 for tensor in results[name][1:])
        errors[name] = [
            float((found - exact).norm() / exact.norm())
            for found, exact in zip(results[name], results["exact"], strict=True)
        ]
    for nine, direct in zip(errors["nine"], errors["direct"], strict=True):
        assert direct < nine < min(3 * direct, 0.01)


def test_it_takes_nine_products_for_sixteen() -> None:
    wide, weight = torch.randn(2, 32, 16, 16), torch.randn(64, 32, 4, 4)
    counts = []
    for call in (lambda: conv2d(wide, weight, stride=2, padding=1), lambda: HalveByNine.apply(wide, weight)):
        with FlopCounterMode(display=False) as counter:
            call()
        counts.append(counter.get_total_flops())
    assert counts[1] / counts[0] == 9 / 16


@pytest.mark.parametrize(
    ("shape", "channels", "low", "way"),
    [
        ((64, 64, 32, 32), 128, False, "four"),
        ((64, 256, 8, 8), 512, False, "nine"),  # few tiles for their channels
        ((64, 64, 12, 12), 128, False, "nine"),
        ((64, 64, 32, 32), 128, True, "nine"),
        ((64, 3, 64, 64), 64, True, "low"),
        ((64, 64, 10, 10), 64, True, "low"),
        ((7, 64, 8, 8), 64, False, None),
    ],
)
def test_each_layer_takes_the_way_that_pays(shape: tuple[int, ...], channels: int, low: bool, way: str | None) -> None:
    count, inner, height, width = shape
    for layer in (WinogradConv2d(inner, channels, 4, 2, 1), WinogradConvTranspose2d(channels, inner, 4, 2, 1)):
        layer.winograd = True
        assert _way(layer, low, (count, height / 2, width / 2)) == way


@pytest.mark.parametrize("d_norm", ["batch", "none"])
def test_a_step_is_that_of_float32_but_for_rounding(d_norm: str) -> None:
    images = torch.randint(0, 255, (32, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    found = {}
    for precision in ("float32", "bfloat16-winograd"):
        config = config_from_dict(
            {
                "network": {"size_px": 32, "channels": 32, "d_norm": d_norm},
                "training": {"batch_size": 32, "precision": precision},
            }
        )
        state = State(config, torch.device("cpu"))
        log = train_step(state, images, torch.zeros(32, dtype=torch.long), config, dtype_of(precision))
        found[precision] = [log[:3], torch.cat([p.grad.flatten() for p in state.d.parameters()])]  # pyright: ignore
    for low, exact, part in zip(found["bfloat16-winograd"], found["float32"], (0.01, 0.1), strict=True):
        assert exact.norm() > 0
        assert (low - exact).norm() <= part * exact.norm()


def test_an_interrupted_run_gives_the_same_numbers_to_the_bit(tmp_path: Path) -> None:
    config = config_from_dict(
        {
            "data": {"faces": [str(make_faces(tmp_path / "faces"))]},
            "network": {"size_px": 32, "z_dim": 8, "channels": 32},
            "training": {"steps": 4, "batch_size": 16, "precision": "bfloat16-winograd"},
        }
    )
    train(config, tmp_path / "whole", device_name="cpu")
    for steps in (2, 4):
        train(replace(config, training=replace(config.training, steps=steps)), tmp_path / "parts", device_name="cpu")
    logs = []
    for name in ("whole", "parts"):
        with (tmp_path / name / "log.csv").open() as file:
            logs.append([row[:-1] for row in csv.reader(file)])
    assert logs[0] == logs[1] and len(logs[0]) == 5
    for name in ("generator.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert "bfloat16, by Winograd" in (tmp_path / "whole" / "run.json").read_text()
