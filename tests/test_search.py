"""The search: a generated image is found again; schedules, terms and noise maps do what they say."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FIXTURES
from published_files import dumps, stylegan1, stylegan2

from facemorph.errors import ConfigError, InputError
from facemorph.metrics.image_quality import psnr
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.config import (
    PRESETS,
    ProjectionConfig,
    ProjectionTerms,
    ScheduleConfig,
    SearchConfig,
    load_projection_config,
)
from facemorph.stylegan.projection.loss import ProjectionLoss, log_cosh, noise_correlation
from facemorph.stylegan.projection.optimize import broadcast_w, learning_rate, optimize_latents, synthesize
from facemorph.stylegan.projection.projector import Projector

STEPS = 300


def settings(space: str = "w", steps: int = STEPS, **terms: float) -> ProjectionConfig:
    return ProjectionConfig(
        search=SearchConfig(space=space, loss="pixel"),
        terms=ProjectionTerms(**terms),
        schedule=ScheduleConfig(steps=steps),
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    path = tmp_path_factory.mktemp("network") / "small.pkl"
    path.write_bytes(dumps(stylegan2(32)))
    return load_generator(path)


def of_seed(generator: Generator, *seeds: int) -> torch.Tensor:
    """Images [N, 3, R, R] and nothing else of them."""
    with torch.no_grad():
        return generator.synthesize(broadcast_w(generator.map(generator.z_from_seeds(seeds)), generator))


def recovered(generator: Generator, how: ProjectionConfig, seed: int = 0) -> float:
    target = of_seed(generator, seed)
    found = Projector(generator, how)(target)
    assert found.steps <= STEPS
    with torch.no_grad():
        return float(psnr(generator.synthesize(found.latents), target)[0])


@pytest.mark.slow
def test_a_picture_of_a_published_stylegan_1_is_found_again_in_w(shared: Path) -> None:
    assert recovered(load_generator(shared / "fixtures" / "stylegan" / "stylegan1-64-random.pkl"), settings()) > 30


@pytest.mark.slow
def test_a_picture_of_a_published_stylegan_2_is_found_again_in_w() -> None:
    assert recovered(load_generator(FIXTURES / "stylegan" / "rosinality-64.pt"), settings()) > 30


@pytest.mark.parametrize("network", [stylegan1(64, 512, 16, seed=5), stylegan2(64, seed=5)], ids=["1", "2"])
def test_a_picture_of_a_random_64_px_network_is_found_again_in_w(network: object, tmp_path: Path) -> None:
    (tmp_path / "network.pkl").write_bytes(dumps(network))
    assert recovered(load_generator(tmp_path / "network.pkl"), settings(steps=250)) > 30


def test_in_w_all_layers_share_one_latent_and_in_w_plus_they_do_not(small: Generator) -> None:
    target = of_seed(small, 1)
    assert float((w := Projector(small, settings("w", 30))(target).latents).std(1).max()) == 0
    plus = Projector(small, settings("w+", 30))(target).latents
    assert plus.shape == w.shape and float(plus.std(1).max()) > 0.01


def test_pictures_searched_for_together_are_found_as_each_alone(small: Generator) -> None:
    targets, how = of_seed(small, 1, 2), settings("w+", 12)
    both = Projector(small, how)(targets)
    for index in range(2):
        alone = Projector(small, how)(targets[index : index + 1])
        assert torch.allclose(both.only(index).latents, alone.latents, atol=2e-3)
        assert np.allclose(both.only(index).history["loss"], alone.history["loss"], rtol=2e-3)


def test_the_best_latent_is_kept_and_its_loss_is_the_least_of_the_history(small: Generator) -> None:
    how = ProjectionConfig(
        search=SearchConfig(space="w", loss="pixel"), schedule=ScheduleConfig(steps=25, learning_rate=5.0)
    )  # wild
    projector, target = Projector(small, how), of_seed(small, 3)
    found = projector(target)
    history = found.history["loss"][:, 0]
    assert history[-1] > history.min() and np.isclose(float(found.loss[0]), history.min())
    with torch.no_grad():
        parts = projector.objective(target).weighted_terms(small.synthesize(found.latents))
    mean, spread = small.latent_statistics()
    prior = how.terms.prior * float((found.latents[0, 0] - mean).square().sum()) / spread**2
    assert np.isclose(sum(float(part[0]) for part in parts.values()) + prior, history.min(), rtol=1e-4)
    assert np.allclose(sum(found.history[name] for name in ("pixels", "ms_ssim", "prior")), found.history["loss"])


def test_patience_ends_a_search_early_with_the_whole_fall_of_the_learning_rate(small: Generator) -> None:
    target = of_seed(small, 1)
    schedule = ScheduleConfig(
        steps=200, patience=3, gain=0.9, ramp_down=0.1
    )  # no search gains 90 % in 3 steps for long
    found = Projector(small, ProjectionConfig(search=SearchConfig(loss="pixel"), schedule=schedule))(target)
    assert 20 + 3 <= found.steps < 80


def test_the_learning_rate_rises_stays_and_falls_to_nothing() -> None:
    schedule = ScheduleConfig(steps=100, ramp_up=0.1, ramp_down=0.2)
    rates = [learning_rate(schedule, step, 80) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:81] == pytest.approx([1.0] * 72)
    assert all(a > b for a, b in itertools.pairwise(rates[80:])) and rates[99] < 0.01


def test_log_cosh_is_what_it_says() -> None:
    x = torch.linspace(-40, 40, 999, dtype=torch.float64)
    expected = np.logaddexp(x.numpy(), -x.numpy()) - np.log(2)
    assert np.allclose(float(log_cosh(x[None, None, None])[0]), expected.mean(), rtol=1e-12)


def test_noise_maps_are_optimised_kept_regular_and_needed_for_the_reconstruction(small: Generator) -> None:
    target = of_seed(small, 1)
    how = ProjectionConfig(
        search=SearchConfig(space="w", loss="pixel", noise_maps=True), schedule=ScheduleConfig(steps=40)
    )
    projector = Projector(small, how)
    found = projector(target, seed=1)
    assert len(found.noise) == 7  # two a resolution, one at 4 px
    for plane in found.noise.values():
        assert abs(float(plane.mean())) < 1e-5 and abs(float(plane.std()) - 1) < 0.05
    with torch.no_grad():
        made, plain = synthesize(small, found.latents, found.noise), small.synthesize(found.latents)
        loss = sum(float(part[0]) for part in projector.objective(target).weighted_terms(made).values())
    assert not torch.allclose(made, plain)
    assert loss < float(found.loss[0])  # the rest is the prior and the noise's regularity
    regularity = found.history["noise"][:, 0]
    assert regularity[int(found.history["loss"][:, 0].argmin())] < 0.1 * regularity[0]


def test_noise_correlation_is_that_of_the_paper() -> None:
    numbers = np.random.default_rng(0)
    plane = numbers.normal(size=(16, 16))
    half = plane.reshape(8, 2, 8, 2).mean((1, 3))
    expected = sum((x * np.roll(x, 1, axis)).mean() ** 2 for x in (plane, half) for axis in (0, 1))
    assert np.isclose(float(noise_correlation([torch.from_numpy(plane)[None, None]])[0]), expected)


def test_what_the_mask_leaves_out_changes_no_term() -> None:
    target, other = torch.rand(2, 1, 3, 32, 32) * 2 - 1
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24] = 1
    outside = torch.where(mask > 0, target, other)
    assert all(
        float(part) < 1e-6
        for part in ProjectionLoss(target, ProjectionTerms(), 32, mask).weighted_terms(outside).values()
    )
    assert all(
        float(part) > 1e-3
        for part in ProjectionLoss(target, ProjectionTerms(), 32, mask).weighted_terms(other).values()
    )


def test_pictures_are_compared_at_the_size_that_was_asked_for() -> None:
    target = torch.rand(1, 3, 64, 64) * 2 - 1
    objective = ProjectionLoss(target, ProjectionTerms(), 16)
    assert objective.targets.shape == (1, 3, 16, 16)
    checkerboard = torch.tensor([1.0, -1.0]).repeat(32)[:, None] * torch.tensor([1.0, -1.0]).repeat(32)
    assert all(float(part.abs()) < 1e-6 for part in objective.weighted_terms(target + 0.3 * checkerboard).values())


def test_the_prior_holds_the_latent_near_the_mean(small: Generator) -> None:
    target = of_seed(small, 1)
    mean, _ = small.latent_statistics()
    far = [
        float((Projector(small, settings("w", 60, prior=prior))(target).latents[0, 0] - mean).norm())
        for prior in (0.0, 10.0)
    ]
    assert far[1] < 0.3 * far[0]


def test_targets_of_another_size_are_refused(small: Generator) -> None:
    with pytest.raises(InputError, match=r"\[N, 3, 32, 32\] was expected"):
        Projector(small, settings())(torch.zeros(1, 3, 64, 64))


def test_a_network_without_finite_pictures_is_told(small: Generator) -> None:
    objective = Projector(small, settings(steps=2)).objective(of_seed(small, 0))
    start = torch.full((1, small.architecture.num_layers, small.architecture.w_size), torch.nan)
    with pytest.raises(InputError, match="not finite"):
        optimize_latents(small, objective, start, settings(steps=2))


def test_presets_load_and_wrong_settings_are_told() -> None:
    assert [load_projection_config(name).schedule.steps for name in PRESETS] == [0, 100, 300, 450]
    assert load_projection_config("best").tuning.steps and load_projection_config("fast").search.size_px == 128
    for override, text in (
        ("search.space=z", "search.space should be one of w, w\\+"),
        ("schedule.steps=-1", "schedule.steps should be from 0"),
        ("terms.lpip=1", "Did you mean terms.lpips"),
        ("search.noise_maps=3", "search.noise_maps should be true or false"),
    ):
        with pytest.raises(ConfigError, match=text):
            load_projection_config("fast", [override])
    with pytest.raises(ConfigError, match="should not both be 0"):
        load_projection_config("fast", ["terms.pixels=0", "terms.ms_ssim=0"])
