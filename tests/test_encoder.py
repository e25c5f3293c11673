"""The encoder: what it learns, that it resumes to the number, where it is found, and what it saves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from published_files import dumps, stylegan2
from random_vgg import write_random_vgg

from facemorph.cli import main
from facemorph.errors import ConfigError, InputError, OutputError
from facemorph.images import read_image, to_uint8, write_image
from facemorph.metrics.lpips import load_lpips
from facemorph.stylegan.latents import fingerprint, read_latent
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.config import (
    EncoderConfig,
    EncoderTerms,
    EncoderTraining,
    ProjectionConfig,
    ScheduleConfig,
    SearchConfig,
    load_encoder_config,
)
from facemorph.stylegan.projection.encoder import encoder_path, new_encoder, read_encoder, write_encoder
from facemorph.stylegan.projection.encoder_training import EncoderTrainer, train_encoder
from facemorph.stylegan.projection.optimize import broadcast_w
from facemorph.stylegan.projection.projector import Projector, make_projector

SHORT = EncoderConfig(lesson=EncoderTraining(steps=6, batch_size=4, width=4, checkpoint_every=3, pictures_every=2))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "small.pkl"
    path.write_bytes(dumps(stylegan2(16)))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEMORPH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def images(generator: Generator, *seeds: int) -> torch.Tensor:
    with torch.no_grad():
        return generator.synthesize(broadcast_w(generator.map(generator.z_from_seeds(seeds)), generator))


def test_an_untrained_encoder_gives_about_the_mean_whatever_the_size(network: Path) -> None:
    generator = load_generator(network)
    encoder = new_encoder(generator, 4).eval()
    a = generator.architecture
    with torch.no_grad():
        small, large = encoder(torch.zeros(2, 3, 16, 16)), encoder(torch.zeros(2, 3, 64, 64))
    assert small.shape == (2, a.num_layers, a.w_size) and torch.equal(small, large)
    assert float((small - generator.latent_statistics()[0]).abs().max()) < float(encoder.deviation)


def test_it_learns_the_latents_of_pictures_it_has_not_seen(network: Path, tmp_path: Path) -> None:
    settings = EncoderConfig(
        lesson=EncoderTraining(steps=80, batch_size=16, width=8, mixing=0), terms=EncoderTerms(lpips=0)
    )
    trainer = EncoderTrainer(load_generator(network), settings)
    before = trainer.evaluate()
    for _ in range(settings.lesson.steps):
        trainer.train_step()
    after = trainer.evaluate()
    assert before["latent_error"] > 0.9
    assert after["latent_error"] < 0.6 * before["latent_error"]
    assert after["psnr_db"] > before["psnr_db"] + 1


def test_mixed_samples_have_two_latents_and_the_picture_belongs_to_them(network: Path) -> None:
    generator = load_generator(network)
    settings = replace(SHORT, lesson=replace(SHORT.lesson, mixing=1.0))
    latents, made = EncoderTrainer(generator, settings).samples(5, torch.Generator().manual_seed(0))
    assert all(len(torch.unique(one, dim=0)) == 2 for one in latents)
    with torch.no_grad():
        assert torch.allclose(generator.synthesize(latents), made, atol=1e-5)
    plain = EncoderTrainer(generator, replace(SHORT, lesson=replace(SHORT.lesson, mixing=0.0)))
    latents, _ = plain.samples(5, torch.Generator().manual_seed(0))
    assert all(len(torch.unique(one, dim=0)) == 1 for one in latents)


def test_an_interrupted_lesson_goes_on_to_the_same_numbers(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = train_encoder(network, SHORT, tmp_path / "whole.safetensors")
    learn, output = EncoderTrainer.train_step, tmp_path / "parts.safetensors"

    def interrupted(trainer: EncoderTrainer) -> torch.Tensor:
        if trainer.step == 4:
            raise KeyboardInterrupt
        return learn(trainer)

    monkeypatch.setattr(EncoderTrainer, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_encoder(network, SHORT, output)
    monkeypatch.undo()
    checkpoint = tmp_path / "parts.checkpoint.pt"
    assert checkpoint.exists() and not output.exists()
    with pytest.raises(InputError, match="other settings"):
        train_encoder(network, replace(SHORT, lesson=replace(SHORT.lesson, seed=1)), output)
    train_encoder(network, SHORT, output)
    assert not checkpoint.exists()
    generator = load_generator(network)
    first, second = (read_encoder(path, generator).state_dict() for path in (whole, output))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["stem.0.weight"], new_encoder(generator, 4).state_dict()["stem.0.weight"])
    with pytest.raises(OutputError, match="exists"):
        train_encoder(network, SHORT, output)


def test_it_is_found_in_the_cache_by_its_network_and_used(network: Path, cache: Path, tmp_path: Path) -> None:
    command = ["train-encoder", "--network", str(network), "--steps", "5", "-q"]
    overrides = ["--set", "lesson.batch_size=4", "--set", "lesson.width=4"]
    result = CliRunner().invoke(main, [*command, *overrides])
    assert result.exit_code == 0, result.output
    generator = load_generator(network)
    path = encoder_path(fingerprint(generator))
    assert path.is_file() and path.parent == cache / "encoders" and str(path) in result.output
    how = ProjectionConfig(search=SearchConfig(loss="pixel", samples=2), schedule=ScheduleConfig(steps=3))
    projector = make_projector(network, how)
    assert projector.encoder is not None and projector.start_name == "encoder"
    target = images(generator, 1)
    with torch.no_grad():
        assert torch.equal(projector.start(target, projector.objective(target)), projector.encoder(target))
    assert make_projector(network, replace(how, search=replace(how.search, start="samples"))).encoder is None

    write_image(tmp_path / "a.png", to_uint8(target)[0])
    words = ["project", str(tmp_path / "a.png"), "--aligned", "--network", str(network), "--loss", "pixel", "-q"]
    words += ["--set", "schedule.steps=3", "-o", str(tmp_path / "out")]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert '"start": "encoder"' in (tmp_path / "out" / "a" / "report.json").read_text()
    assert read_image(tmp_path / "out" / "a" / "reconstruction.png").shape == (16, 16, 3)
    assert read_latent(tmp_path / "out" / "a" / "latent.safetensors").w.shape == (6, 16)


def test_an_encoder_of_another_network_and_other_files_are_refused(network: Path, tmp_path: Path) -> None:
    generator = load_generator(network)
    path = tmp_path / "encoder.safetensors"
    write_encoder(path, new_encoder(generator, 4), "0" * 64, {})
    how = ProjectionConfig(search=SearchConfig(loss="pixel", start="encoder"))
    for chosen, text in ((path, "another network"), (network, "is no encoder"), (None, "No such encoder")):
        with pytest.raises(InputError, match=text) as error:
            make_projector(network, how, encoder=chosen)
        assert "facemorph train-encoder" in str(error.value)
    with pytest.raises(OutputError, match="exists"):
        write_encoder(path, new_encoder(generator, 4), "0" * 64, {})
    with pytest.raises(OutputError, match=r"ends in \.safetensors"):
        train_encoder(network, SHORT, tmp_path / "encoder.pt")


def test_perceptual_and_identity_terms_count_where_their_weights_are(tmp_path: Path) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(dumps(stylegan2(128, 4)))
    lesson = EncoderTraining(steps=2, batch_size=2, width=4)
    losses = {}
    for name, terms in (
        ("pixels", EncoderTerms(lpips=0, identity=0)),
        ("identity", EncoderTerms(lpips=0)),
        ("all", EncoderTerms()),
    ):
        trainer = EncoderTrainer(load_generator(path), EncoderConfig(lesson=lesson, terms=terms))
        assert trainer.lpips is None  # nothing is in the cache
        if name == "all":
            trainer.lpips = load_lpips(*write_random_vgg(tmp_path))
        losses[name] = trainer.train_step()
    assert losses["pixels"] < losses["identity"] < losses["all"]


def test_settings_that_cannot_be_are_told() -> None:
    assert load_encoder_config().lesson.steps == 20_000
    with pytest.raises(ConfigError, match=r"lesson\.batch_size should be from 2"):
        load_encoder_config("encoder", ["lesson.batch_size=1"])
    with pytest.raises(ConfigError, match="should not all be 0"):
        load_encoder_config("encoder", ["terms.latent=0", "terms.pixels=0", "terms.lpips=0"])


@pytest.fixture(scope="module")
def trained(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A 64-px network and its encoder, after four minutes of one core."""
    network = shared / "fixtures" / "stylegan" / "stylegan1-64-random.pkl"
    settings = EncoderConfig(lesson=EncoderTraining(steps=500, batch_size=32, width=16), terms=EncoderTerms(lpips=0))
    return network, train_encoder(network, settings, tmp_path_factory.mktemp("trained") / "encoder.safetensors")[0]


@pytest.mark.slow
@pytest.mark.parametrize("space", ["w", "w+"])
def test_an_encoder_cuts_the_steps_to_the_same_loss_by_half(trained: tuple[Path, Path], space: str) -> None:
    """Against the mean, and against the nearest of 129 samples, the default without an encoder."""
    generator = load_generator(trained[0])
    encoder = read_encoder(trained[1], generator)
    target = images(generator, *range(50, 58))
    curves = {}
    for start in ("mean", "samples", "encoder"):
        how = ProjectionConfig(search=SearchConfig(space=space, loss="pixel", start=start))
        projector = Projector(generator, how, encoder=encoder if start == "encoder" else None)
        curves[start] = np.minimum.accumulate(projector(target).history["loss"], 0)  # [steps, N]
    for start in ("mean", "samples"):
        for step in (40, 80, 120, 160):
            needed = [
                int(np.argmax(ours <= theirs[step])) if ours[-1] <= theirs[step] else len(ours)
                for ours, theirs in zip(curves["encoder"].T, curves[start].T, strict=True)
            ]
            assert np.median(needed) <= step / 2, (start, step, needed)
