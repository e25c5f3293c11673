"""train-generator inside: rates of learning, judges and what they see, losses."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from generator_runs import LARGER, tiny, write_faces

from facemorph.faces.descriptor_network import load_resnet
from facemorph.metrics.imagenet_features import load_efficientnet
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.training.augment import augment
from facemorph.stylegan.training.config import Network
from facemorph.stylegan.training.judges import Backbones, Judges, SpectralConv
from facemorph.stylegan.training.networks import equalised, new_architecture, new_generator
from facemorph.stylegan.training.start import _old_judges
from facemorph.stylegan.training.state import State
from facemorph.stylegan.training.step import LOSSES, Step

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("toy") / "faces.npy")


def scripts(shared: Path) -> Any:
    """The module of this project's first scripts, from which these were written."""
    place = shared / "reference" / "generator-training" / "train_generator.py"
    if not place.is_file():
        pytest.skip("the scripts are not here")
    spec = importlib.util.spec_from_file_location("train_generator_script", place)
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_a_weight_learns_as_one_with_an_equalised_learning_rate(shared: Path) -> None:
    """Against the generator of the scripts, whose weights are not folded: the same images, the same step of Adam."""
    script = scripts(shared)
    torch.manual_seed(0)
    theirs = script.Generator(16, 256, 16, 16, 16, 2, torch.float32)
    architecture = new_architecture(
        Network(size_px=16, channel_base=256, channel_max=16, w_size=16, mapping_layers=2), "eyes"
    )
    ours = Generator(architecture)
    ours.load_state_dict({name: torch.from_numpy(array) for name, array in theirs.export().items()})
    z, target = torch.randn(4, 16), torch.randn(4, 3, 16, 16)
    groups = [{"params": [p], "lr": 1e-3 * equalised(name, p)} for name, p in ours.named_parameters()]
    adams = torch.optim.Adam(groups, betas=(0.0, 0.99)), torch.optim.Adam(theirs.parameters(), 1e-3, (0.0, 0.99))
    theirs.eval()
    for _ in range(3):
        images = ours.synthesize(ours.map(z)[:, None].repeat(1, 6, 1))
        expected = theirs(z, const_noise=True)
        torch.testing.assert_close(images, expected, atol=1e-4, rtol=1e-4)
        for adam, made in zip(adams, (images, expected), strict=True):
            adam.zero_grad()
            (made * target).sum().backward()
            adam.step()
    for name, array in theirs.export().items():
        torch.testing.assert_close(ours.state_dict()[name], torch.from_numpy(array), atol=2e-5, rtol=2e-4, msg=name)


def test_new_weights_have_the_spread_that_equalisation_expects() -> None:
    network = Network(size_px=32, channel_base=2048, channel_max=128, w_size=128, mapping_layers=2)
    torch.manual_seed(0)
    generator = new_generator(new_architecture(network, "ffhq"))
    with torch.no_grad():
        w = generator.map(torch.randn(512, 128))
        images = generator.synthesize(w[:, None].repeat(1, generator.architecture.num_layers, 1)[:16])
    assert 0.5 < float(w.square().mean().sqrt()) < 2
    assert 0.2 < float(images.std()) < 5 and generator.architecture.alignment.name == "ffhq"


def test_projections_are_fixed_and_only_discriminators_learn() -> None:
    config = tiny(Path("x"), **LARGER)
    chip = (0.007, 0.1, 0.98)
    backbones = Backbones(config, chip)
    torch.manual_seed(5)
    first, second = Judges(config, backbones, 32), Judges(config, backbones, 32)
    for name in ("imagenet", "face"):
        a, b = (judges.over[name].projection for judges in (first, second))
        assert all(torch.equal(getattr(a, f"ccm{n}"), getattr(b, f"ccm{n}")) for n in range(4))
    assert not any("projection" in name or "backbone" in name for name in first.state_dict())
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    logits = first(x.requires_grad_(), backbones, torch.float32)
    assert len(logits) == 9 and all(len(one) == 2 for one in logits)
    torch.stack([one.mean() for one in logits]).sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
    assert not any(parameter.requires_grad for parameter in backbones.parameters())


def test_a_spectral_convolution_has_a_norm_of_one() -> None:
    torch.manual_seed(0)
    layer = SpectralConv(6, 10, 3)
    for _ in range(200):
        layer.refresh()
    largest = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
    assert float(layer.scale * largest) == pytest.approx(1, abs=1e-4)


def test_the_face_features_end_in_dlibs_descriptor() -> None:
    from facemorph.faces.likeness import likeness_of_aligned

    chip = (0.007, 0.1, 0.98)
    face = Backbones(tiny(Path("x"), terms={"features": 0, "identity": 1}), chip).face
    assert face is not None
    x = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(face.descriptors(face(x)), likeness_of_aligned(chip)(x), atol=1e-5, rtol=1e-4)


def test_losses_are_at_their_best_where_the_judges_are_right() -> None:
    sure, unsure = torch.full((8,), 20.0), torch.zeros(8)
    for name, undecided in (("hinge", 2.0), ("logistic", 2 * math.log(2))):
        loss = LOSSES[name]
        assert float(loss.of_d(sure, -sure)) == pytest.approx(0, abs=1e-6)
        assert float(loss.of_d(unsure, unsure)) == pytest.approx(undecided, rel=1e-6)
        assert float(loss.of_g(sure)) < float(loss.of_g(unsure)) < float(loss.of_g(-sure))
        assert loss.pace[0] < loss.pace[1] < undecided


def test_the_judges_pace_gives_way_where_they_win(faces: Path) -> None:
    config = tiny(faces)
    backbones = Backbones(config, (0, 0, 1))
    state = State(config, new_architecture(config.network, "eyes"), backbones, CPU, torch.float32)
    for mean, expected in ((0.1, 0.8), (0.7, 0.8), (1.5, 0.88)):
        state.d_sum.fill_(100 * mean)
        state.set_pace(0.4, 1.0, 100)
        assert state.pace == pytest.approx(expected) and float(state.d_sum) == 0
    state.set_rates(0.0, config)
    assert state.optimize_d.param_groups[0]["lr"] == pytest.approx(1.5e-3 * 0.25 * 0.88)


def test_what_the_judges_see_is_changed_and_lets_gradients_through() -> None:
    x = torch.rand(64, 3, 16, 16) * 2 - 1
    x.requires_grad_()
    torch.manual_seed(1)
    seen = augment(x)
    assert seen.shape == x.shape and not torch.equal(seen, x)
    seen.square().sum().backward()
    assert x.grad is not None and (x.grad.abs().sum((1, 2, 3)) > 0).all()
    torch.manual_seed(1)
    assert torch.equal(augment(x), seen)


def test_drawn_faces_mix_two_latents_and_half_of_the_real_ones_are_mirrored(faces: Path) -> None:
    config = tiny(faces, training={"mixing": 1.0})
    backbones = Backbones(config, (0, 0, 1))
    state = State(config, new_architecture(config.network, "eyes"), backbones, CPU, torch.float32)
    images = torch.from_numpy(np.load(faces)).permute(0, 3, 1, 2)[:1].contiguous()
    step = Step(state, images, config, backbones, torch.float32)
    torch.manual_seed(0)
    assert all(len(torch.unique(one, dim=0)) == 2 for one in step.draw(8))
    real = step.real(64)
    plain = (images.float() / 127.5 - 1)[0]
    same = [bool(torch.equal(one, plain)) for one in real]
    assert 16 < sum(same) < 48
    assert all(torch.equal(one, plain.flip(2)) for one, is_plain in zip(real, same, strict=True) if not is_plain)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_encoder_learns_from_the_judges_as_far_as_they_count_on_rebuilt_faces(faces: Path, weight: float) -> None:
    none = dict.fromkeys(("pixels", "features", "identity", "far", "stray"), 0)
    config = tiny(faces, training={"alone": 0, "warm_up": 1}, terms={**none, "judges_rebuilt": weight})
    backbones = Backbones(config, (0, 0, 1))
    state = State(config, new_architecture(config.network, "eyes"), backbones, CPU, torch.float32)
    images = torch.from_numpy(np.load(faces)).permute(0, 3, 1, 2).contiguous()
    before = [one.clone() for one in state.e.heads.parameters()]
    state.set_rates(0.0, config)
    Step(state, images, config, backbones, torch.float32)()
    after = state.e.heads.parameters()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True)) == (weight == 0)


def test_the_scripts_judges_say_the_same_here(shared: Path, tmp_path: Path) -> None:
    """Judges as train_joint.py saves them, read by their old names, against the scripts' own class."""
    script = scripts(shared)
    script.load_efficient, script.load_face = load_efficientnet, load_resnet
    chip = (0.004, 0.211, 0.69)
    torch.manual_seed(0)
    theirs = script.Judge(64, chip, 64, True, 32).eval()
    saved = {name: one for name, one in theirs.state_dict().items() if name.startswith("heads_")}
    torch.save(saved, tmp_path / "judges.pt")
    config = tiny(Path("x"), judging={"judges": ["imagenet", "face", "pixels"], "imagenet_px": 64, "pixels_width": 48})
    backbones = Backbones(config, chip)
    ours = Judges(config, backbones, 32)
    ours.load_state_dict(_old_judges(tmp_path / "judges.pt"))
    x = torch.rand(2, 3, 32, 32) * 2.4 - 1.2
    with torch.no_grad():
        pairs = list(zip(ours(x, backbones, torch.float32), theirs(x, torch.float32), strict=True))
    assert len(pairs) == 9
    for logits, expected in pairs:
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
