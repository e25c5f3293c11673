"""What needs CUDA: `pytest -m gpu`, all of it, on a machine with one GPU and nothing else prepared.

Everything is generated or in the repository.
"""

import csv
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from located_faces import Located
from test_stepper import IMAGES, LABELS, OPTIONS, configured
from test_stylegan_fixtures import COMMITTED, LIMITS, OTHER
from tiny_runs import make_faces, tiny

from facemorph.cli import main
from facemorph.dcgan.checkpoint import State
from facemorph.dcgan.precision import dtype_of
from facemorph.dcgan.run import Run
from facemorph.dcgan.step import train_on_batch
from facemorph.dcgan.stepper import WARM_UP, Stepper
from facemorph.dcgan.train import train
from facemorph.dcgan.walk import load_generator as load_run
from facemorph.device import pick_device
from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.detect import MmodDetector
from facemorph.metrics.imagenet_features import load_efficientnet
from facemorph.stylegan.generate import Sampling, generate_images
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.networks.ops import Noise, up_convolve, up_convolve_in_phases
from facemorph.stylegan.projection.config import load_projection_config
from facemorph.stylegan.projection.projector import Projector

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
NETWORK = COMMITTED / "rosinality-64.pt"


@pytest.fixture(scope="module")
def cuda() -> torch.device:
    return pick_device("cuda")


@pytest.fixture(scope="module")
def pair(cuda: torch.device) -> tuple[Generator, Generator]:
    return load_generator(NETWORK), load_generator(NETWORK, cuda)


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative distance in L2."""
    a, b = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((a - b).norm() / b.norm())


# --- StyleGAN


def test_images_are_the_original_authors(cuda: torch.device) -> None:
    expected = np.load(COMMITTED / "rosinality-64-expected.npz")
    generator = load_generator(NETWORK, cuda)
    z = torch.from_numpy(expected["z"]).to(cuda) if "z" in expected else generator.z_from_seeds([0, 1])
    on_cpu = load_generator(NETWORK)
    with torch.inference_mode():
        found, wanted = generator(z).cpu(), on_cpu(z.cpu())
    max_abs, relative = LIMITS.get("rosinality-64", OTHER)
    assert float((found - wanted).abs().max()) <= max_abs and far(found, wanted) <= relative


def test_gradients_of_latents_are_those_of_float32(pair: tuple[Generator, Generator]) -> None:
    """With TF32 in the backward pass they were off by 7e-4."""
    gradients = []
    for generator in pair:
        latents = generator.truncate(generator.map(generator.z_from_seeds([3]))).detach().requires_grad_()
        generator.synthesize(latents).square().mean().backward()
        gradients.append(latents.grad)
    assert far(gradients[1], gradients[0]) < 2e-5


def test_random_noise_with_a_seed_repeats_to_the_bit(pair: tuple[Generator, Generator]) -> None:
    generator = pair[1]
    runs = [generate_images(generator, range(5), Sampling(noise="random", batch_size=2)) for _ in range(2)]
    assert np.array_equal(runs[0], runs[1])
    latents = generator.truncate(generator.map(generator.z_from_seeds([0, 1])))
    drawn = []
    for _ in range(2):
        random = torch.Generator(latents.device).manual_seed(7)
        with torch.inference_mode():
            drawn.append(generator.synthesize(latents, Noise("random", random)))
    assert torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_upsampling_convolution_in_phases(cuda: torch.device, dtype: torch.dtype) -> None:
    random = torch.Generator(cuda).manual_seed(0)
    x, weight = (torch.randn(*shape, device=cuda, generator=random) for shape in ((4, 64, 16, 16), (32, 64, 3, 3)))
    kernel = torch.tensor([1.0, 3, 3, 1], device=cuda)
    kernel = kernel[:, None] * kernel[None] / 64
    exact = up_convolve(x, weight, kernel)
    assert far(up_convolve_in_phases(x.to(dtype), weight.to(dtype), kernel), exact) < 1e-2
    assert torch.equal(
        up_convolve(x.to(dtype), weight.to(dtype), kernel), up_convolve_in_phases(x.to(dtype), weight.to(dtype), kernel)
    )


# --- What looks at faces


def test_networks_that_look_at_faces_agree_with_a_processor(cuda: torch.device, eileen: Located) -> None:
    (image, points), device = eileen, str(cuda)
    assert describe_boxes(image, device) == describe_boxes(image, "cpu")
    chip = face_chip(image, points)
    np.testing.assert_allclose(describe([chip], device=device), describe([chip]), atol=1e-5)
    found, expected = (load_efficientnet(name).describe(image[None]) for name in (device, "cpu"))
    assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)


def describe_boxes(image: np.ndarray, device: str) -> list[tuple[float, float, float, float]]:
    return [one.box for one in MmodDetector(device=device)([image])[0]]


def test_a_search_ends_where_it_ends_on_a_processor(pair: tuple[Generator, Generator]) -> None:
    """Not to the bit: other kernels, and some hundred steps that each go on from the last."""
    settings = load_projection_config(
        "balanced", ["schedule.steps=60", "search.loss=pixel", "search.start=mean", "schedule.patience=5"]
    )
    found = []
    for generator in pair:
        target = generator.synthesize(generator.truncate(generator.map(generator.z_from_seeds([3]))))
        result = Projector(generator, settings)(target.detach())
        assert result.latents.device == generator.w_avg.device
        assert result.history["loss"][-1] < 0.7 * result.history["loss"][0]
        found.append(result)
    np.testing.assert_allclose(found[0].history["loss"][:5], found[1].history["loss"][:5], rtol=1e-3)
    assert abs(found[0].loss.item() / found[1].loss.item() - 1) < 0.1


# --- Training


@pytest.mark.parametrize("name", OPTIONS)
def test_captured_steps_are_the_plain_ones(name: str, cuda: torch.device) -> None:
    """To the bit in float32; in bfloat16 as well, since the kernels are the same."""
    config = configured(OPTIONS[name])
    logs, weights = [], []
    for capture in (True, False):
        state = State(config, cuda, 2)
        stepper = Stepper(
            state, IMAGES.to(cuda), LABELS.to(cuda), config, dtype_of(config.training.precision), capture=capture
        )
        logs.append(torch.stack([stepper() for _ in range(WARM_UP + 6)]).cpu())
        weights.append(torch.cat([parameter.flatten() for parameter in state.g.parameters()]).cpu())
        assert stepper.capture is capture, "it fell back"
        assert bool(stepper._graphs) is capture
    assert torch.equal(logs[0], logs[1])
    assert torch.equal(weights[0], weights[1])


def test_a_step_that_cannot_be_captured_goes_on_as_before(
    cuda: torch.device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A capture that fails takes torch's generators with it, also that which it was not told of."""

    def waits(*words: Any, **options: Any) -> torch.Tensor:
        numbers = train_on_batch(*words, **options)
        return numbers * 1 if numbers.sum().item() else numbers

    config = configured(OPTIONS["augmented, EMA"])
    plain = Stepper(State(config, cuda), IMAGES.to(cuda), LABELS.to(cuda), config, torch.float32, capture=False)
    expected = torch.stack([plain() for _ in range(WARM_UP + 4)]).cpu()
    monkeypatch.setattr("facemorph.dcgan.stepper.train_on_batch", waits)
    stepper = Stepper(State(config, cuda), IMAGES.to(cuda), LABELS.to(cuda), config, torch.float32)
    found = torch.stack([stepper() for _ in range(WARM_UP + 4)]).cpu()
    assert not stepper.capture and "cannot be captured" in caplog.text
    assert torch.equal(found, expected)
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.isfinite(torch.rand(3, device=cuda)).all(), "random numbers go on"


def test_it_learns_what_a_processor_learns(cuda: torch.device) -> None:
    config = configured({"training": {"steps": 60, "learning_rate": 1e-3}})
    means = []
    for device in (torch.device("cpu"), cuda):
        stepper = Stepper(State(config, device), IMAGES.to(device), LABELS.to(device), config, torch.float32)
        means.append(torch.stack([stepper() for _ in range(60)])[20:].mean(0).cpu())
    np.testing.assert_allclose(means[0][:4], means[1][:4], rtol=0.25)  # other random numbers: not the same run


def log_of(folder: Path) -> list[list[str]]:
    with (folder / "log.csv").open() as file:
        return [row[:7] for row in csv.reader(file)]


def test_a_continued_run_is_the_uninterrupted_one_to_the_bit(tmp_path: Path) -> None:
    faces = make_faces(tmp_path / "faces")
    config = tiny(faces, steps=16, augment=["color", "shift"], ema=0.9)
    train(config, tmp_path / "whole", device_name="cuda")
    for steps in (5, 16):
        train(replace(config, training=replace(config.training, steps=steps)), tmp_path / "parts", device_name="cuda")
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "parts")
    for name in ("generator.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert "cpu" not in json.loads((tmp_path / "whole" / "run.json").read_text())["device"]


def test_a_run_draws_on_cuda_what_it_draws_on_a_processor(tmp_path: Path) -> None:
    train(tiny(make_faces(tmp_path / "faces")), tmp_path / "run", device_name="cuda")
    run = Run.open(tmp_path / "run")
    images = []
    for device in ("cpu", "cuda"):
        trained = load_run(run, device)
        assert trained.device.type == device
        images.append(trained.images(trained.draw(6, 1)).astype(int))
    assert np.abs(images[0] - images[1]).max() <= 1


def command(*words: Any) -> str:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_commands_take_the_device(tmp_path: Path) -> None:
    train(tiny(make_faces(tmp_path / "faces")), tmp_path / "run", device_name="cuda")
    command("sample", "-q", tmp_path / "run", "--device", "cuda", "-n", 4)
    if find_spec("av"):  # the film's; a machine with a GPU may lack it (benchmarks/gpu_carry.sh)
        command("walk", "-q", tmp_path / "run", "--device", "cuda", "--diagonal", "--steps", 3, "--frames", 3)
    command("generate", "-q", "--seeds", "0-3", "--device", "cuda", "-o", tmp_path / "grid.png")
