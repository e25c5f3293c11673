"""Every fixture that the original authors' code computed, to the limits in its README.

The small ones are in tests/fixtures; the others, 3 MB a file and more, are among the developers' data.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FIXTURES

from facemorph.stylegan.load import load_generator
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.networks.ops import (
    Noise,
    depthwise,
    doubling_kernel,
    kernel_2d,
    normalize,
    up_convolve,
    up_convolve_in_phases,
    upsample,
)

# max abs, relative L2
LIMITS = {"stylegan1-64": (5e-5, 1e-5), "stylegan1-256": (5e-4, 2e-5)}
OTHER = (1e-5, 5e-6)
COMMITTED = FIXTURES / "stylegan"


class Fixture:
    def __init__(self, folder: Path, name: str, suffix: str) -> None:
        self.name = name
        self.generator = load_generator(folder / (name.removesuffix("-random") + suffix))
        self.expected = dict(np.load(folder / f"{name}-expected.npz"))

    def input(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self.expected[key])

    def holds(self, found: Any, key: str) -> None:
        assert found.dtype == torch.float32
        max_abs, relative = LIMITS.get(self.name, OTHER)
        if key.startswith("layer/"):  # up to 36 in size, where TensorFlow's own float32 is 8e-5 off
            max_abs *= max(1.0, float(np.abs(self.expected[key]).max()))
        close(found, self.expected[key], max_abs, relative)


def close(found: Any, expected: np.ndarray, max_abs: float, relative: float) -> None:
    a, b = np.float64(found), np.float64(expected)
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= max_abs
    assert np.linalg.norm(a - b) <= relative * np.linalg.norm(b)


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "fixtures" / "stylegan"


@pytest.fixture(scope="module", params=["stylegan1-64", "stylegan1-256", "stylegan2-64"])
def tensorflow(request: pytest.FixtureRequest, folder: Path) -> Fixture:
    return Fixture(folder, request.param, "-random.pkl")


@pytest.fixture(scope="module")
def ada(folder: Path) -> Fixture:
    return Fixture(folder, "stylegan2ada-64-map8", "-random.pkl")


@pytest.fixture(scope="module")
def rosinality() -> Fixture:
    return Fixture(COMMITTED, "rosinality-64", ".pt")


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.inference_mode():
        yield


def cutoff_of(key: str) -> tuple[float, int | None]:
    psi, _, cutoff = key.split("psi")[1].partition("_cutoff")
    return float(psi), int(cutoff) if cutoff else None


def test_tensorflow_mapping_truncation_and_images(tensorflow: Fixture) -> None:
    generator = tensorflow.generator
    w = generator.map(tensorflow.input("z"))
    tensorflow.holds(w, "w")
    keys = [key for key in tensorflow.expected if key.startswith(("dlatents_psi", "images_psi"))]
    assert len(keys) >= 3
    for key in keys:
        latents = generator.truncate(w, *cutoff_of(key))
        tensorflow.holds(latents if key.startswith("d") else generator.synthesize(latents), key)


def test_tensorflow_defaults_are_those_of_the_file(tensorflow: Fixture) -> None:
    key = "images_psi0.5" if tensorflow.generator.architecture.generation == 2 else "images_psi0.7_cutoff8"
    tensorflow.holds(tensorflow.generator(tensorflow.input("z")), key)


def test_a_missing_cutoff_means_none_in_generation_1_and_all_layers_in_generation_2(
    tensorflow: Fixture,
) -> None:
    generator = tensorflow.generator
    w = generator.map(tensorflow.input("z"))
    latents = generator.truncate(w, 0.5, None)
    whole = generator.truncate(w, 1.0, None)
    if generator.architecture.generation == 1:
        assert torch.equal(latents, whole)
    else:
        assert not torch.isclose(latents, whole).all(2).any()


def test_tensorflow_latents_of_every_layer_and_noise(tensorflow: Fixture) -> None:
    latents = tensorflow.input("dlatents_random")
    tensorflow.holds(tensorflow.generator.synthesize(latents), "images_dlatents_random")
    tensorflow.holds(tensorflow.generator.synthesize(latents, "none"), "images_dlatents_random_zeronoise")


def test_tensorflow_stored_noise(tensorflow: Fixture) -> None:
    stored = [buffer for name, buffer in sorted(tensorflow.generator.named_buffers()) if name.endswith(".noise")]
    expected = [value for key, value in tensorflow.expected.items() if key.startswith("noise")]
    assert len(stored) == len(expected)
    for value in expected:
        assert any(np.array_equal(value[0, 0], plane) for plane in stored)


def test_tensorflow_uint8_is_within_one_step(tensorflow: Fixture) -> None:
    (key,) = (key for key in tensorflow.expected if key.startswith("uint8"))
    images = tensorflow.generator(tensorflow.input("z"))
    pixels = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    difference = np.abs(np.int16(pixels) - np.int16(tensorflow.expected[key]))
    assert difference.max() <= 1
    assert difference.mean() < 0.001


def activations(generator: Generator, latents: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every module of the synthesis network returns for the first latent."""
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            seen[name] = output

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in generator.named_modules()]
    seen["images_out"] = generator.synthesize(latents[:1])
    for hook in hooks:
        hook.remove()
    return seen


def our_name(generation: int, scope: str, resolution: int) -> str:
    if scope == "images_out":
        return scope
    if scope.startswith("ToRGB_lod"):
        return f"synthesis.to_rgb.{scope[9:]}"
    side, place = scope.split("/")
    level = int(np.log2(int(side.split("x")[0]))) - 2
    if generation == 1:
        return f"synthesis.layers.{2 * level + (place in ('Conv', 'Conv1'))}"
    places = {"Conv": "conv1", "Conv1": "conv1", "Conv0_up": "conv0"}
    return f"synthesis.blocks.{level}.{places[place]}"


def test_tensorflow_activations_of_every_layer(tensorflow: Fixture) -> None:
    generator = tensorflow.generator
    architecture = generator.architecture
    seen = activations(generator, tensorflow.input("dlatents_random"))
    compared = 0
    for key in tensorflow.expected:
        scope = key.removeprefix("layer/")
        growing = scope.startswith("ToRGB_lod") and scope != "ToRGB_lod0"  # not evaluated when growing has ended
        summed = scope.endswith(("ToRGB", "Upsample"))  # the image so far, which no module of ours returns
        constant = scope == "4x4/Const" and architecture.generation == 2
        if not key.startswith("layer/") or growing or summed or constant:
            continue
        tensorflow.holds(seen[our_name(architecture.generation, scope, architecture.resolution)], key)
        compared += 1
    assert compared >= (1 if tensorflow.name == "stylegan1-256" else 10)


def test_ada(ada: Fixture) -> None:
    generator = ada.generator
    w = generator.map(ada.input("z"))
    for key in ("psi1", "psi0.5", "psi0.5_cutoff4"):
        latents = generator.truncate(w, *cutoff_of(key))
        ada.holds(latents, f"ws_{key}")
        ada.holds(generator.synthesize(latents), f"img_{key}_const")
    ada.holds(generator.synthesize(generator.truncate(w, 1), "none"), "img_psi1_none")
    ada.holds(generator.synthesize(ada.input("ws_random")), "img_ws_random_const")
    ada.holds(generator.synthesize(ada.input("ws_random"), "none"), "img_ws_random_none")
    ada.holds(generator(ada.input("z")), "img_psi1_const")


def test_ada_activations_of_every_layer(ada: Fixture) -> None:
    seen = activations(ada.generator, ada.input("ws_random"))
    compared = 0
    for key in ada.expected:
        if key.startswith("layer/") and key.endswith(("conv0", "conv1", "torgb")):
            side, place = key.removeprefix("layer/b").split(".")
            level = int(np.log2(int(side))) - 2
            ours = seen[f"synthesis.blocks.{level}.{place.replace('torgb', 'to_rgb')}"]
            ada.holds(ours, key)
            compared += 1
    assert compared == 14


def test_ada_statistics_of_the_latents(ada: Fixture) -> None:
    mean, spread = ada.generator.latent_statistics()
    ada.holds(mean[None, None], "projector_w_avg")
    assert spread == pytest.approx(float(ada.expected["projector_w_std"]), rel=1e-6)


def test_rosinality(rosinality: Fixture) -> None:
    generator = rosinality.generator
    w = generator.map(rosinality.input("z"))
    rosinality.holds(w, "w")
    rosinality.holds(generator.truncate(w, 0.5), "latents_psi0.5")
    for key in ("images_psi1", "images_psi0.5"):
        rosinality.holds(generator.synthesize(generator.truncate(w, *cutoff_of(key))), key)
    rosinality.holds(generator.synthesize(rosinality.input("latents_random")), "images_latents_random")


def test_rosinality_and_tensorflow_files_of_the_same_weights_agree(folder: Path, rosinality: Fixture) -> None:
    tensorflow = load_generator(folder / "stylegan2-64-random.pkl")
    latents = rosinality.input("latents_random")
    close(rosinality.generator.synthesize(latents), tensorflow.synthesize(latents).numpy(), *OTHER)


def test_random_noise_is_new_for_every_picture_and_repeats_with_a_seed(rosinality: Fixture) -> None:
    latents = rosinality.generator.truncate(rosinality.generator.map(rosinality.input("z")))[:1].expand(2, -1, -1)
    noise = Noise("random", torch.Generator().manual_seed(3))
    first = rosinality.generator.synthesize(latents, noise)
    assert not torch.equal(first[0], first[1])
    again = rosinality.generator.synthesize(latents, Noise("random", torch.Generator().manual_seed(3)))
    assert torch.equal(first, again)


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in np.load(path).items()}


def test_operations_of_generation_1() -> None:
    given = tensors(COMMITTED / "stylegan1-ops-expected.npz")
    x, weight = given["in_x"], given["in_w"].permute(3, 2, 0, 1)
    taps = torch.tensor([0.25, 0.5, 0.25])
    close(depthwise(x, kernel_2d(taps), (1, 1)), given["out_blur2d"].numpy(), *OTHER)
    close(normalize(x), given["out_pixel_norm"].numpy(), *OTHER)
    doubled = torch.nn.functional.conv_transpose2d(x, doubling_kernel(weight), stride=2, padding=1)
    mirrored = torch.nn.functional.conv_transpose2d(x, doubling_kernel(weight.flip(2, 3)), stride=2, padding=1)
    gain = scale_between(doubled, given["out_upscale2d_conv2d_unfused"])
    close(gain * doubled, given["out_upscale2d_conv2d_unfused"].numpy(), 2e-5, 5e-6)
    close(gain * mirrored, given["out_upscale2d_conv2d_fused"].numpy(), 2e-5, 5e-6)


def scale_between(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """The equalised learning rate: the published operation applies it, ours leaves it to the reader."""
    return (found * expected).sum() / found.square().sum()


@pytest.mark.parametrize("kind", ["sym", "asym"])
def test_operations_of_generation_2(kind: str) -> None:
    given = tensors(COMMITTED / "stylegan-pytorch-ops-expected.npz")
    taps = given[f"in_f_{kind}"]
    kernel = kernel_2d(taps / taps.sum())
    close(kernel, given[f"out_setup_filter_{kind}"].numpy(), *OTHER)
    close(upsample(given["in_x"], kernel), given[f"out_upsample2d_{kind}"].numpy(), *OTHER)
    up = up_convolve(given["in_x"], given["in_w"], kernel)
    close(up, given[f"out_conv2d_resample_up2_pad1_flipFalse_{kind}"].numpy(), 2e-5, 5e-6)
    mirrored = up_convolve(given["in_x"], given["in_w"].flip(2, 3), kernel)
    close(mirrored, given[f"out_conv2d_resample_up2_pad1_flipTrue_{kind}"].numpy(), 2e-5, 5e-6)


@torch.inference_mode(False)
def test_the_upsampling_convolution_in_phases_is_the_transposed_one() -> None:
    """On CUDA in half precision it goes in phases. Nothing symmetric here: flips and order of phases would show."""
    random = torch.Generator().manual_seed(0)
    x, weight, kernel, bias = (
        torch.randn(*shape, dtype=torch.float64, generator=random)
        for shape in ((2, 5, 7, 6), (4, 5, 3, 3), (4, 4), (4,))
    )
    results = []
    for way in (up_convolve, up_convolve_in_phases):
        inputs = [tensor.clone().requires_grad_() for tensor in (x, weight)]
        out = way(inputs[0], inputs[1], kernel, bias)
        out.square().sum().backward()
        results.append([out.detach(), *(tensor.grad for tensor in inputs)])
    for transposed, phases in zip(*results, strict=True):
        torch.testing.assert_close(phases, transposed, rtol=1e-12, atol=1e-11)
    with pytest.raises(ValueError, match="4 x 4"):
        up_convolve_in_phases(x, weight, kernel[:3, :3])
