"""LPIPS against the published package on the same random weights, and what is said where weights are missing."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_vgg import write_random_vgg

from facemorph.errors import WeightsError
from facemorph.files import sha256
from facemorph.metrics import lpips as perceptual
from facemorph.metrics.lpips import load_lpips
from facemorph.weights.cards import card


@pytest.fixture(scope="session")
def random_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_random_vgg(tmp_path_factory.mktemp("vgg"))


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights anywhere, and no package lpips."""
    monkeypatch.setenv("FACEMORPH_CACHE", str(tmp_path / "cache"))
    find_spec = perceptual.importlib.util.find_spec
    monkeypatch.setattr(
        perceptual.importlib.util, "find_spec", lambda name: None if name == "lpips" else find_spec(name)
    )
    return tmp_path / "cache" / "weights"


def images(side_px: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.Generator().manual_seed(0)
    first = torch.rand(2, 3, side_px, side_px, generator=numbers) * 2 - 1
    return first, (first + 0.3 * torch.randn(first.shape, generator=numbers)).clamp(-1, 1)


def reference(vgg: Path, heads: Path) -> Any:
    published = pytest.importorskip("lpips", reason="the package lpips is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = published.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False)
    features = torch.load(vgg, weights_only=True)
    slices = [network.net.slice1, network.net.slice2, network.net.slice3, network.net.slice4, network.net.slice5]
    for part in slices:
        for name, module in part.named_children():
            if hasattr(module, "weight"):
                module.load_state_dict({kind: features[f"features.{name}.{kind}"] for kind in ("weight", "bias")})
    network.load_state_dict(torch.load(heads, weights_only=True), strict=False)
    return network.eval()


@pytest.mark.parametrize("side_px", [32, 64])
def test_lpips_is_the_published_package_to_1e_5(random_files: tuple[Path, Path], side_px: int) -> None:
    theirs, ours = reference(*random_files), load_lpips(*random_files)
    first, second = images(side_px)
    with torch.inference_mode():
        expected, found = theirs(first, second).flatten(), ours(first, second)
    assert found.dtype == torch.float32 and found.shape == (2,)
    assert float(expected.min()) > 0.01
    assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_lpips_heads_of_the_package_are_found_and_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lpips", reason="the package lpips is not installed")
    monkeypatch.setenv("FACEMORPH_CACHE", "/nowhere")
    path = perceptual.find_heads()
    assert sha256(path) == card("lpips-vgg").sha256


def test_lpips_by_hand_on_one_stage(random_files: tuple[Path, Path]) -> None:
    """The first stage's share, from its definition, in numpy: independent of the package."""
    network = load_lpips(*random_files)
    first, second = images(16)
    state, heads = (torch.load(path, weights_only=True) for path in random_files)
    units = []
    for image in (first, second):
        x = (image - torch.tensor(perceptual.SHIFT)[:, None, None]) / torch.tensor(perceptual.SCALE)[:, None, None]
        for index in (0, 2):
            weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
            x = torch.conv2d(x, weight, bias, padding=1).clamp_min(0)
        features = x.numpy().astype(np.float64)
        units.append(features / (np.sqrt((features**2).sum(1, keepdims=True)) + 1e-10))
    weight = heads["lin0.model.1.weight"].numpy().reshape(1, -1, 1, 1)
    expected = ((units[0] - units[1]) ** 2 * weight).sum(1).mean((1, 2))
    a, b = network.embed(first)[0], network.embed(second)[0]
    assert np.allclose((a - b).square().sum((1, 2, 3)), expected, rtol=1e-5)


def test_equal_images_are_at_0_and_gradients_are_finite_on_black(random_files: tuple[Path, Path]) -> None:
    network = load_lpips(*random_files)
    first, _ = images(32)
    assert float(network(first, first).abs().max()) == 0
    flat = torch.full((1, 3, 32, 32), -1.0, requires_grad=True)
    network(flat, first[:1]).sum().backward()
    assert flat.grad is not None and torch.isfinite(flat.grad).all()


def test_missing_weights_are_told_with_the_way_out(empty_cache: Path) -> None:
    assert not perceptual.is_here()
    with pytest.raises(WeightsError) as error:
        load_lpips()
    told = str(error.value)
    for part in ("facemorph weights fetch vgg16", str(empty_cache / "vgg16-397923af.pth"), "--loss pixel"):
        assert part in told
    with pytest.raises(WeightsError, match="facemorph weights fetch lpips-vgg"):
        perceptual.find_heads()


def test_weights_that_are_not_the_published_ones_are_refused(
    empty_cache: Path, random_files: tuple[Path, Path], tmp_path: Path
) -> None:
    empty_cache.mkdir(parents=True)
    (empty_cache / "vgg16-397923af.pth").write_bytes(random_files[0].read_bytes()[:1000])
    with pytest.raises(WeightsError, match="SHA-256") as error:
        load_lpips(heads=random_files[1])
    assert "--loss pixel" in str(error.value)
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="cannot be read as a VGG16"):
        load_lpips(damaged, random_files[1])
    with pytest.raises(WeightsError, match="another network"):
        load_lpips(random_files[1], random_files[1])
