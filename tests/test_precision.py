"""Choosing how a run computes: what is tried, that trying leaves no trace, and that a run keeps what it took."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import make_faces

from facemorph.dcgan import trial
from facemorph.dcgan.bfloat16 import FromPixel, ToPixel
from facemorph.dcgan.checkpoint import State
from facemorph.dcgan.config import Config, config_from_dict
from facemorph.dcgan.networks import down, up
from facemorph.dcgan.precision import PRECISIONS, dtype_of, noted_precision
from facemorph.dcgan.stepper import train_step
from facemorph.dcgan.train import train
from facemorph.dcgan.trial import candidates, fastest_precision, try_precisions

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_faces(tmp_path_factory.mktemp("faces"))


def small(faces: Path, **training: object) -> Config:
    return config_from_dict(
        {
            "data": {"faces": [str(faces)]},
            "network": {"size_px": 16, "z_dim": 8, "channels": 8},
            "training": {"steps": 4, "batch_size": 16, **training},
        }
    )


def prefer(name: str) -> Callable[..., dict[str, float]]:
    return lambda config, device, persons, names: {other: 1.0 if other == name else 2.0 for other in names}


def weights(run: Path) -> list[bytes]:
    return [(run / name).read_bytes() for name in ("generator.safetensors", "checkpoint.safetensors")]


def test_every_way_that_the_settings_allow_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "bfloat16_is_hopeless", lambda _: False)
    config = config_from_dict({"network": {"size_px": 16, "channels": 8}, "training": {"batch_size": 8}})
    assert sorted(candidates(config, CPU)) == sorted(PRECISIONS)
    assert set(try_precisions(config, CPU, 0, candidates(config, CPU), 60)) == set(PRECISIONS)
    without = {"float32", "bfloat16"}
    assert set(candidates(replace(config, training=replace(config.training, r1=1.0)), CPU)) == without
    assert set(candidates(replace(config, network=replace(config.network, kernel_px=5)), CPU)) == without


def test_bfloat16_is_not_tried_where_a_product_of_matrices_rules_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_from_dict({"network": {"size_px": 16, "channels": 8}, "training": {"batch_size": 8}})
    names = candidates(config, CPU)
    monkeypatch.setattr(trial, "bfloat16_is_hopeless", lambda _: True)
    assert set(try_precisions(config, CPU, 0, names, 60)) == {"float32", "float32-winograd"}


def test_the_full_networks_are_tried_within_the_time() -> None:
    config = Config()
    began = time.process_time()
    times = try_precisions(config, CPU, 0, candidates(config, CPU), 0.2)
    spent = (time.process_time() - began) / torch.get_num_threads()
    assert len(times) >= 1
    assert spent < 2 + 0.2, "one step may be begun within the time, and building the networks is not counted"


def test_a_tie_goes_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config()
    monkeypatch.setattr(trial, "try_precisions", lambda *_: {"bfloat16": 0.97, "float32": 1.0})
    assert fastest_precision(config, CPU, 0) == "float32"
    monkeypatch.setattr(trial, "try_precisions", lambda *_: {"bfloat16": 0.9, "float32": 1.0})
    assert fastest_precision(config, CPU, 0) == "bfloat16"


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_choice_leaves_no_trace_in_the_numbers(
    name: str, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = try_precisions

    def really_try(config: Config, device: torch.device, persons: int, names: list[str]) -> dict[str, float]:
        assert len(tried(config, device, persons, names)) > 1
        return prefer(name)(config, device, persons, names)

    monkeypatch.setattr(trial, "try_precisions", really_try)
    before = torch.get_rng_state()
    train(small(faces), tmp_path / "auto", device_name="cpu")
    torch.set_rng_state(before)
    train(small(faces, precision=name), tmp_path / "forced", device_name="cpu")
    assert weights(tmp_path / "auto") == weights(tmp_path / "forced")
    assert json.loads((tmp_path / "auto" / "run.json").read_text())["precision"] == PRECISIONS[name]
    assert "precision: auto" in (tmp_path / "auto" / "config.yaml").read_text()


def test_a_continued_run_keeps_its_way_and_does_not_try(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "try_precisions", prefer("bfloat16"))
    train(small(faces), tmp_path / "whole", device_name="cpu")
    train(small(faces, steps=2), tmp_path / "parts", device_name="cpu")
    monkeypatch.setattr(trial, "try_precisions", prefer("float32"))
    train(small(faces), tmp_path / "parts", device_name="cpu")
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    train(small(faces), tmp_path / "other", device_name="cpu")
    assert weights(tmp_path / "other") != weights(tmp_path / "whole")


def test_runs_of_earlier_versions_keep_theirs() -> None:
    assert noted_precision({"precision": "float32, by Winograd's convolutions"}) == "float32-winograd"
    assert noted_precision({"precision": "float32"}) == "float32"
    assert noted_precision({"precision": "bfloat16"}) == "bfloat16"
    assert noted_precision({}) is None


def test_few_images_of_large_networks_many_of_small_ones() -> None:
    sides = [config_from_dict({"network": {"size_px": side, "channels": 64}}) for side in (16, 64, 256)]
    counts = [trial._images(config) for config in sides]
    assert counts == sorted(counts, reverse=True)
    assert counts[1] == 16
    assert np.array(counts).min() >= 2


# --- The convolutions in bfloat16


def layers(kind: str, inner: int, outer: int, side: int) -> tuple[torch.nn.Module, torch.nn.Module, torch.Tensor]:
    """The same layer in our way and in torch's, and what goes in, in the layout of a run."""
    made: list[torch.nn.Module] = []
    for _ in range(2):
        torch.manual_seed(0)
        if kind == "up":
            made.append(up(inner, outer, 4))
        elif kind == "down":
            made.append(down(inner, outer, 4, bias=True))
        elif kind == "from pixel":
            made.append(FromPixel(inner, outer, 4, bias=False))
        else:
            made.append(ToPixel(inner, outer, 4))
        made[-1].to(memory_format=torch.channels_last)
    made[0].low = True  # pyright: ignore[reportArgumentType]
    return made[0], made[1], torch.randn(6, inner, side, side).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "layer",
    [
        ("down", 3, 16, 32), ("down", 16, 24, 16), ("down", 16, 24, 8), ("up", 16, 3, 16), ("up", 24, 16, 8),
        ("up", 24, 16, 4), ("from pixel", 20, 24, 1), ("to pixel", 24, 3, 4),
    ],
)  # fmt: skip
def test_convolutions_in_bfloat16_are_torchs_in_float32_within_its_rounding(layer: tuple[str, int, int, int]) -> None:
    ours, direct, x = layers(*layer)
    results = []
    for network, low in ((ours, True), (direct, False)):
        given = x.clone(memory_format=torch.preserve_format).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            out = network(given)
        assert out.dtype == (torch.bfloat16 if low else torch.float32)
        weights_of_sum = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        (out.float() * weights_of_sum).sum().backward()
        gradients = [parameter.grad for parameter in network.parameters()]
        assert all(one is not None and one.dtype == torch.float32 for one in gradients)
        results.append([out.detach().float(), given.grad, *gradients])
    for low, exact in zip(*results, strict=True):
        assert low is not None and exact is not None
        assert (low - exact).norm() <= 5e-3 * exact.norm()  # bfloat16 has 8 bits: 0.4 %


def test_a_step_in_bfloat16_has_the_gradients_of_float32() -> None:
    """Within a few per cent of their norm: a step of both networks is some twenty layers of rounding."""
    images = torch.randint(0, 255, (32, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    found = {}
    for precision in ("float32", "bfloat16"):
        config = config_from_dict(
            {
                "network": {"size_px": 32, "channels": 16},
                "training": {"batch_size": 32, "precision": precision},
            }
        )
        state = State(config, CPU)
        log = train_step(state, images, torch.zeros(32, dtype=torch.long), config, dtype_of(precision))
        found[precision] = [log[:3], torch.cat([p.grad.flatten() for p in state.d.parameters()])]  # pyright: ignore
    for low, exact, part in zip(found["bfloat16"], found["float32"], (0.01, 0.1), strict=True):
        assert (low - exact).norm() <= part * exact.norm()


def test_r1_takes_torchs_own_convolutions_which_differentiate_twice() -> None:
    values = {"network": {"size_px": 16, "channels": 8, "d_norm": "none"}}
    for r1, low in ((0.0, True), (1.0, False)):
        config = config_from_dict({**values, "training": {"precision": "bfloat16", "r1": r1}})
        flags = {layer.low for layer in State(config, CPU).d.modules() if hasattr(layer, "low")}
        assert flags == {low}
