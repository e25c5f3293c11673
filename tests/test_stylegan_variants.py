"""Sizes, depths and settings beyond the fixtures, against a float64 re-computation (stylegan_truth.py)."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_files import (
    Network,
    ada_from,
    ada_snapshot,
    dumps,
    rosinality_from,
    stylegan1,
    stylegan2,
    torch_bytes,
)
from stylegan_truth import mapping, synthesis1, synthesis2

from facemorph.errors import InputError
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.networks.architecture import Architecture
from facemorph.stylegan.networks.generator import Generator


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.inference_mode():
        yield


def load(folder: Path, content: bytes) -> Generator:
    path = folder / "network"
    path.write_bytes(content)
    return load_generator(path)


def relative(found: torch.Tensor, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.linalg.norm(np.float64(found.numpy()) - expected) / np.linalg.norm(expected))


def codes(network: Network, generator: Generator) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """z, a label where there is one, and latents that differ from layer to layer."""
    a, numbers = generator.architecture, np.random.default_rng(1)
    z = torch.from_numpy(numbers.standard_normal((3, a.latent_size), np.float32))
    label = torch.eye(a.label_size)[[0, a.label_size - 1, 0]] if a.label_size else None
    return z, label, torch.from_numpy(numbers.standard_normal((3, a.num_layers, a.w_size), np.float32))


STYLEGAN1: dict[str, dict[str, Any]] = {
    "the official settings": {},
    "the smallest": {"resolution": 8},
    "mapping of 1 layer": {"mapping_layers": 1},
    "mapping of 11 layers, other widths": {"mapping_layers": 11, "mapping_fmaps": 24, "latent": 20, "w": 28},
    "a faster mapping": {"mapping_lrmul": 0.1},
    "latents as they come": {"normalize_latents": False},
    "a label": {"label_size": 3},
    "plain ReLU": {"nonlinearity": "relu", "mapping_nonlinearity": "relu"},
    "fused everywhere": {"fused_scale": True},
    "fused nowhere": {"fused_scale": False},
    "fused from 128 px, at 128 px": {"resolution": 128, "fmap_base": 64, "fmap_max": 8},
    "no blur": {"blur_filter": None},
    "a blur that is not symmetric": {"blur_filter": [1, 2, 4]},
    "a blur of an even length": {"blur_filter": [1, 3, 3, 1]},
    "pixel norm too": {"use_pixel_norm": True},
    "no instance norm": {"use_instance_norm": False},
    "plain learning rates": {"use_wscale": False, "mapping_lrmul": 0.001},
    "growing: half the resolution": {"lod": 1.0},
    "growing: between two resolutions": {"lod": 0.3},
    "growing: between two lower resolutions": {"resolution": 32, "lod": 1.75},
    "without noise": {"use_noise": False},
}


@pytest.mark.parametrize("variant", STYLEGAN1)
def test_stylegan1(variant: str, tmp_path: Path) -> None:
    network = stylegan1(**STYLEGAN1[variant])
    if STYLEGAN1[variant].get("use_noise") is False:
        drop_noise(network)
    generator = load(tmp_path, dumps((network, network, network)))
    z, label, latents = codes(network, generator)
    assert (
        relative(generator.map(z, label), mapping(network, z.numpy(), None if label is None else label.numpy())) < 5e-6
    )
    for mode in ("const", "none"):
        truth = synthesis1(network, np.float64(latents.numpy()), mode == "const")
        assert relative(generator.synthesize(latents, mode), truth) < 1e-5


def drop_noise(network: Network) -> None:
    part = network.components["synthesis"]
    part.variables = [(name, value) for name, value in part.variables if "oise" not in name]


STYLEGAN2: dict[str, dict[str, Any]] = {
    "the official settings": {},
    "the smallest": {"resolution": 8},
    "64 px": {"resolution": 64, "width": 6},
    "mapping of 1 layer": {"mapping_layers": 1},
    "mapping of 11 layers": {"mapping_layers": 11, "latent": 20, "w": 28},
    "a label": {"label_size": 3},
    "a label as ADA embeds it": {"label_size": 3, "label_kind": "embed"},
    "a label as ADA embeds it, latents as they come": {
        "label_size": 2,
        "label_kind": "embed",
        "normalize_latents": False,
    },
    "clamped": {"conv_clamp": 0.5},
    "plain ReLU": {"nonlinearity": "relu", "mapping_nonlinearity": "relu"},
    "box filter": {"resample_kernel": None},
    "an odd filter that is not symmetric": {"resample_kernel": [1, 2, 5]},
    "an even filter that is not symmetric": {"resample_kernel": [1, 2, 4, 3]},
    "a filter of 6": {"resample_kernel": [1, 2, 4, 3, 2, 1]},
    "without skip connections": {"design": "orig"},
    "residual": {"design": "resnet"},
}


@pytest.mark.parametrize("variant", STYLEGAN2)
def test_stylegan2(variant: str, tmp_path: Path) -> None:
    network = stylegan2(**STYLEGAN2[variant])
    generator = load(tmp_path, dumps((network, network, network)))
    z, label, latents = codes(network, generator)
    assert (
        relative(generator.map(z, label), mapping(network, z.numpy(), None if label is None else label.numpy())) < 5e-6
    )
    for mode in ("const", "none"):
        truth = synthesis2(network, np.float64(latents.numpy()), mode == "const")
        assert relative(generator.synthesize(latents, mode), truth) < 5e-6


def test_stylegan2_of_configurations_b_to_d(tmp_path: Path) -> None:
    network = stylegan2(design="orig")
    part = network.components["synthesis"]
    part.variables = [(name.replace("16x16/ToRGB", "ToRGB_lod0"), value) for name, value in part.variables]
    part.variables.append(("lod", np.float32(0)))
    generator = load(tmp_path, dumps(network))
    _, _, latents = codes(network, generator)
    assert relative(generator.synthesize(latents), synthesis2(stylegan2(design="orig"), latents.numpy())) < 5e-6


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("old_numpy", [True, False])
def test_every_protocol_and_spelling_reads_the_same(protocol: int, old_numpy: bool, tmp_path: Path) -> None:
    ada_network = stylegan2(label_size=2, label_kind="embed")
    for network, value in (
        (stylegan1(), stylegan1()),
        (stylegan2(), (stylegan2(), stylegan2(), stylegan2())),
        (ada_network, ada_snapshot(ada_from(ada_network))),
    ):
        generator = load(tmp_path, dumps(value, protocol, old_numpy))
        _, _, latents = codes(network, generator)
        truth = (synthesis1 if generator.architecture.generation == 1 else synthesis2)(network, latents.numpy())
        assert relative(generator.synthesize(latents), truth) < 1e-5


@pytest.mark.parametrize("clamp", [None, 0.5])
def test_ada_with_label_and_clamp(clamp: float | None, tmp_path: Path) -> None:
    network = stylegan2(32, label_size=3, label_kind="embed", mapping_layers=2)
    generator = load(tmp_path, dumps(ada_snapshot(ada_from(network, clamp)), 3))
    z, label, latents = codes(network, generator)
    assert label is not None
    assert relative(generator.map(z, label), mapping(network, z.numpy(), label.numpy())) < 5e-6
    assert relative(generator.synthesize(latents), synthesis2(network, latents.numpy(), clamp=clamp)) < 5e-6
    with pytest.raises(InputError, match=r"conditional: a label of shape \[3, 3\] was expected"):
        generator(z)


OPTIONS = argparse.Namespace(channel_multiplier=2)
ROSINALITY = {
    "converted": lambda state, average: {"g_ema": state, "latent_avg": average},
    "training checkpoint": lambda state, average: {"g": state, "g_ema": state, "d": {}, "args": OPTIONS},
    "e4e": lambda state, average: {
        "state_dict": {f"decoder.{name}": value for name, value in state.items()},
        "latent_avg": average.repeat(6, 1),
    },
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("form", ROSINALITY)
def test_rosinality(form: str, legacy: bool, tmp_path: Path) -> None:
    network = stylegan2(mapping_layers=3)
    average = torch.from_numpy(dict(network.variables)["dlatent_avg"])
    content = torch_bytes(ROSINALITY[form](rosinality_from(network), average), legacy)
    generator = load(tmp_path, content)
    z, _, latents = codes(network, generator)
    assert relative(generator.map(z), mapping(network, z.numpy())) < 5e-6
    assert relative(generator.synthesize(latents), synthesis2(network, latents.numpy())) < 5e-6
    if form == "training checkpoint":  # the average is computed, from other latents than these
        others = np.random.default_rng(5).standard_normal((20_000, 16))
        assert relative(generator.w_avg, mapping(network, others).mean(0)) < 0.1
    else:
        assert torch.equal(generator.w_avg, average)


def test_half_precision_and_strided_tensors_are_read(tmp_path: Path) -> None:
    network = stylegan2()
    state = rosinality_from(network)
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        stored = {name: value.to(kind) for name, value in state.items()}
        for name, value in stored.items():
            if value.ndim == 2:
                stored[name] = torch.cat([value.T, value.T])[: value.shape[1]].T  # the middle of a storage, transposed
        generator = load(tmp_path, torch_bytes({"g_ema": stored}))
        expected = state["style.1.weight"].to(kind).float() * (0.01 / 4 * np.sqrt(2))
        found = generator.state_dict()["mapping.layers.0.weight"]
        assert torch.allclose(found, expected, rtol=1e-6)


def test_a_bare_network_and_a_pair_of_settings(tmp_path: Path) -> None:
    """What the top network was given overrides its components'; None is no truncation."""
    network = stylegan1(truncation_psi=None)
    network.components["mapping"].static_kwargs["mapping_lrmul"] = 7
    network.static_kwargs["mapping_lrmul"] = 0.01
    generator = load(tmp_path, dumps(network))
    z, _, _ = codes(network, generator)
    assert relative(generator.map(z), mapping(network, z.numpy())) < 5e-6
    assert generator.architecture.truncation_psi == 1


def test_truncation_pulls_the_first_layers_to_the_average(tmp_path: Path) -> None:
    generator = load(tmp_path, dumps(stylegan2()))
    w = torch.ones(1, 16)
    latents = generator.truncate(w, 0.25, 2)
    assert torch.allclose(latents[0, 0], 0.25 * w[0] + 0.75 * generator.w_avg)
    assert torch.equal(latents[0, 2:], w.expand(4, -1))
    assert torch.equal(generator.truncate(w, 0.25, 0), w[:, None].expand(-1, 6, -1))


def test_gradients_reach_the_latents(tmp_path: Path) -> None:
    for network in (stylegan1(), stylegan2()):
        with torch.inference_mode(False), torch.enable_grad():
            generator = load(tmp_path, dumps(network))
            latents = torch.randn(1, 6, 16, requires_grad=True)
            generator.synthesize(latents).square().mean().backward()
            assert latents.grad is not None and (latents.grad.abs().amax((0, 2)) > 0).all()


def test_shapes_of_the_description_are_those_of_the_module(tmp_path: Path) -> None:
    for network in (stylegan1(label_size=2), stylegan2(design="resnet", label_size=2, label_kind="embed")):
        generator = load(tmp_path, dumps(network))
        found = {name: tuple(value.shape) for name, value in generator.state_dict().items()}
        assert found == generator.architecture.shapes()


def test_wrong_latents_are_told_apart(tmp_path: Path) -> None:
    generator = load(tmp_path, dumps(stylegan1()))
    with pytest.raises(InputError, match=r"\[N, 6, 16\] was expected"):
        generator.synthesize(torch.zeros(1, 18, 512))
    with pytest.raises(InputError, match=r"\[N, 16\] was expected"):
        generator.map(torch.zeros(1, 512))
    assert isinstance(generator.architecture, Architecture)
