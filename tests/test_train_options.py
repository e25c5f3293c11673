"""The options of training that differ from the paper: each does what its source says, and goes on to the bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from facemorph.cli import main
from facemorph.dcgan import config
from facemorph.dcgan import train as training
from facemorph.dcgan.augment import AUGMENTATIONS, adapt
from facemorph.dcgan.checkpoint import State
from facemorph.dcgan.config import Config, Network, Training, config_from_dict
from facemorph.dcgan.networks import Discriminator, Generator, with_label
from facemorph.dcgan.run import Run
from facemorph.dcgan.step import LOSSES, squared_gradient, train_on_batch
from facemorph.dcgan.walk import load_generator
from facemorph.errors import ConfigError, InputError, RunError
from facemorph.images import read_image

PEOPLE = {"anna": (220, 60, 60), "ben": (60, 60, 220)}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two "persons", each a colour of its own with a little noise: 24 images a person."""
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    for name, colour in PEOPLE.items():
        (folder / name).mkdir()
        for i in range(24):
            image = np.clip(np.array(colour) + rng.normal(0, 12, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(folder / name / f"{i:03d}.png")
    return folder


def small(faces: Path, network: dict[str, object] | None = None, **training_values: object) -> Config:
    return config_from_dict(
        {
            "data": {"faces": [str(faces)]},
            "network": {"size_px": 16, "z_dim": 8, "channels": 8, **(network or {})},
            "training": {"steps": 9, "batch_size": 16, "precision": "float32", **training_values},
            "output": {"sample_every": 50, "checkpoint_every": 50},
        }
    )


OPTIONS = {
    "spectral": ({"d_norm": "spectral"}, {"loss": "hinge"}),
    "r1": ({"d_norm": "none"}, {"r1": 1.0, "r1_every": 3}),
    "adaptive": ({}, {"augment": ["color", "cutout", "flip"], "adaptive": 0.5, "adaptive_images": 500}),
    "conditional": ({"conditional": True}, {"ema": 0.9, "generator_steps": 2}),
    "dense": ({"conditional": True, "first_layer": "dense", "kernel_px": 5}, {}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_trains_and_goes_on_to_the_bit(faces: Path, tmp_path: Path, name: str) -> None:
    config = small(faces, OPTIONS[name][0], **OPTIONS[name][1])
    training.train(config, tmp_path / "whole")
    for steps in (4, 9):
        training.train(replace(config, training=replace(config.training, steps=steps)), tmp_path / "parts")
    for file in ("generator.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "parts" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    plain = small(faces, {k: v for k, v in OPTIONS[name][0].items() if k in ("first_layer", "kernel_px")})
    training.train(plain, tmp_path / "plain")
    a, b = (Run.open(tmp_path / run).losses()["d_loss"] for run in ("whole", "plain"))
    assert not np.array_equal(a, b), "the option changes nothing"


def test_spectral_norm_holds_the_largest_singular_value_at_1() -> None:
    torch.manual_seed(0)
    d = Discriminator(Network(size_px=32, channels=8, d_norm="spectral"))
    for _ in range(30):  # power iterations
        d(torch.randn(2, 3, 32, 32))
    weights = [layer.weight for layer in d.layers if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))]
    assert len(weights) == 4
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_the_penalty_is_the_squared_gradient_of_each_logit() -> None:
    torch.manual_seed(0)
    d = Discriminator(Network(size_px=16, channels=4, d_norm="none")).double()
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)

    def slope(index: int) -> float:
        """By differences, along the gradient's own direction."""
        x = images[index : index + 1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(d(x).sum(), x)
        way = gradient / gradient.norm() * 1e-6
        return ((d(x + way) - d(x - way)) / 2e-6).item()

    shown = images.clone().requires_grad_()
    penalty = squared_gradient(d(shown), shown)
    assert penalty.item() == pytest.approx(np.mean([slope(i) ** 2 for i in range(3)]), rel=1e-4)
    penalty.backward()
    first = d.layers[0].weight
    assert isinstance(first, torch.Tensor)
    assert first.grad is not None and first.grad.abs().sum() > 0


def test_the_losses_of_the_settings_are_those_of_the_table() -> None:
    assert tuple(LOSSES) == config.LOSSES
    assert tuple(AUGMENTATIONS) == config.AUGMENTATIONS
    real, fake = torch.tensor([0.5, -2.0]), torch.tensor([-0.5, 2.0])
    log_d, log_not_d = real.sigmoid().log(), (1 - fake.sigmoid()).log()
    entropy, hinge = LOSSES["cross-entropy"], LOSSES["hinge"]
    torch.testing.assert_close(entropy.of_d(real, fake, 1.0), -log_d.mean() - log_not_d.mean())  # 2018 paper, eq. 1
    torch.testing.assert_close(entropy.of_g(fake), -fake.sigmoid().log().mean())
    assert hinge.of_d(real, fake, 1.0).item() == pytest.approx((0.5 + 3.0) / 2 + (0.5 + 3.0) / 2)
    assert hinge.of_g(fake).item() == pytest.approx(-0.75)


def test_the_hinge_has_no_gradient_where_d_is_sure(faces: Path) -> None:
    config = small(faces, {"d_norm": "none"}, loss="hinge")
    state = State(config, torch.device("cpu"))
    bias = state.d.layers[-2].bias
    with torch.no_grad():
        bias.fill_(50.0)  # every image looks real: only the fakes have something to say
    train_on_batch(
        state, torch.zeros(16, 3, 16, 16), torch.zeros(16, dtype=torch.long), config, torch.float32, seeded()
    )
    assert bias.grad.item() == pytest.approx(1.0)  # of relu(1 + D(G(z))) alone


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("logits", "rises"), [([3.0, 1.0, 2.0, 4.0], True), ([3.0, -1.0, 2.0, -4.0], False)])
def test_strength_rises_while_d_recognises_the_real_images(logits: list[float], rises: bool) -> None:
    cfg = Training(augment=("flip",), adaptive=0.6, adaptive_images=100)
    strength = torch.tensor(0.5)
    adapt(strength, torch.tensor(logits), cfg, lambda value: value, count=4)
    assert strength.item() == pytest.approx(0.54 if rises else 0.46)
    for _ in range(50):
        adapt(strength, torch.tensor(logits), cfg, lambda value: value, count=4)
    assert strength.item() == (1.0 if rises else 0.0)


def test_the_strength_of_each_step_is_in_the_log(faces: Path, tmp_path: Path) -> None:
    config = small(faces, steps=60, learning_rate=2e-3, augment=["flip"], adaptive=0.3, adaptive_images=2000)
    training.train(config, tmp_path)
    strength = Run.open(tmp_path).losses()["strength"]
    assert len(strength) == 60
    steps = np.abs(np.diff(strength))
    assert np.isclose(steps, 16 / 2000, atol=1e-5).any()
    assert strength.max() > 0.1  # D learns the two colours
    for damaged in (b"step,d_loss,other\n", b"\xc6\xff\x00\n"):
        (tmp_path / "log.csv").write_bytes(damaged)
        with pytest.raises(RunError, match="not a training log"):
            Run.open(tmp_path).losses()


def test_d_is_conditional_by_projection() -> None:
    torch.manual_seed(0)
    for first_layer in ("conv", "dense"):
        d = Discriminator(Network(size_px=16, channels=4, first_layer=first_layer), 3).eval()
        x, labels = torch.randn(5, 3, 16, 16), torch.tensor([0, 1, 2, 2, 0])
        end = last(d)
        features = torch.nn.Sequential(*list(d.layers)[: list(d.layers).index(end)])(x).flatten(1)
        weight = end.weight
        assert isinstance(weight, torch.Tensor)
        common, own = weight.flatten(1)[0], weight.flatten(1)[1:]
        expected = features @ common + (features * own[labels]).sum(1)  # Miyato and Koyama 2018, equation 3
        torch.testing.assert_close(d(x, labels), expected, atol=1e-5, rtol=1e-4)


def last(d: Discriminator) -> torch.nn.Module:
    return [layer for layer in d.layers if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))][-1]


def test_the_label_is_the_last_part_of_a_latent() -> None:
    z = torch.randn(2, 8)
    latents = with_label(z, torch.tensor([2, 0]), 3)
    assert torch.equal(latents[:, :8], z)
    assert latents[:, 8:].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert Generator(Network(size_px=16, channels=4, z_dim=8), 3)(latents).shape == (2, 3, 16, 16)


def test_a_conditional_run_generates_the_person_of_the_label(faces: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    network = {"conditional": True, "channels": 16}
    config = small(faces, network, steps=250, learning_rate=1e-3, augment=["shift"], batch_size=24)
    training.train(config, run)
    trained = load_generator(Run.open(run))
    assert trained.persons == ("anna", "ben")
    means = {name: trained.images(trained.draw(64, 0, name)).mean((0, 1, 2)) for name in PEOPLE}
    for name, colour in PEOPLE.items():
        other = next(value for key, value in PEOPLE.items() if key != name)
        assert np.linalg.norm(means[name] - colour) < np.linalg.norm(means[name] - other)
    assert np.linalg.norm(means["anna"] - means["ben"]) > 80

    invoke = CliRunner().invoke
    result = invoke(main, ["sample", str(run), "--person", "ben", "-n", "16"])
    assert result.exit_code == 0, result.output
    red, _, blue = read_image(run / "sample-ben-0.png").reshape(-1, 3).mean(0)
    assert blue > red
    result = invoke(main, ["sample", str(run), "--person", "carl"])
    assert (result.exit_code, "not trained on 'carl'" in result.output) == (1, True)
    result = invoke(main, ["walk", str(run), "--diagonal", "--steps", "5", "--frames", "6"])
    assert result.exit_code == 0, result.output
    result = invoke(main, ["walk", str(run), "--component", "9", "--steps", "5", "--frames", "6"])  # ben's
    assert result.exit_code == 0, result.output
    red, _, blue = np.split(read_image(run / "walks" / "components-9.png").astype(float), 3, axis=2)
    assert (blue - red)[:, -16:].mean() > (blue - red)[:, :16].mean()  # more of ben to the right


def test_a_run_that_is_not_conditional_takes_no_label(faces: Path, tmp_path: Path) -> None:
    training.train(small(faces, steps=2), tmp_path)
    result = CliRunner().invoke(main, ["sample", str(tmp_path), "--person", "ben"])
    assert result.exit_code == 1
    assert "network.conditional=true" in result.output


def test_options_that_make_no_sense_are_refused(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one person only"):
        config = small(faces, {"conditional": True}, batch_size=8)
        training.train(replace(config, data=replace(config.data, persons=("anna",))), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    for values, text in (
        ({"training": {"adaptive": 0.6}}, "needs something to adapt"),
        ({"training": {"loss": "wasserstein"}}, "one of cross-entropy, hinge"),
        ({"network": {"d_norm": "layer"}}, "one of batch, spectral, none"),
        ({"network": {"conditional": "yes please"}}, "network.conditional should be true or false"),
        ({"training": {"cutout": 1.0}}, "training.cutout should be above 0, at most 0.75"),
    ):
        with pytest.raises(ConfigError, match=text):
            config_from_dict(values)
