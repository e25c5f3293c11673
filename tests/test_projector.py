"""What projection takes and what leads its search: alignment, perceptual and identity terms, the mask, tuning."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_files import dumps, stylegan1, stylegan2
from random_vgg import write_random_vgg

from facemorph.errors import FaceError, InputError, OutputError
from facemorph.faces.crop import cut, ffhq_quad
from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.likeness import likeness_at
from facemorph.faces.locate import locate_face
from facemorph.images import read_image, to_tensor, to_uint8, write_image
from facemorph.metrics.lpips import load_lpips
from facemorph.stylegan.latents import check_network, read_latent
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.networks.stylegan2 import Activated
from facemorph.stylegan.projection.adam import Adam
from facemorph.stylegan.projection.config import (
    ProjectionConfig,
    ProjectionTerms,
    ScheduleConfig,
    SearchConfig,
    TuningConfig,
)
from facemorph.stylegan.projection.optimize import broadcast_w
from facemorph.stylegan.projection.portrait import face_mask, read_portrait
from facemorph.stylegan.projection.project_images import project_files
from facemorph.stylegan.projection.projector import Projector, make_projector

pytestmark = pytest.mark.usefixtures("empty_cache")

QUICK = ProjectionConfig(search=SearchConfig(loss="pixel", samples=4), schedule=ScheduleConfig(steps=6))


def test_an_unaligned_picture_is_refused_as_aligned_and_an_aligned_one_taken(people: Path, tmp_path: Path) -> None:
    image = read_image(people / "eileen.png")
    with pytest.raises(InputError, match="is not aligned: the face lies") as error:
        read_portrait(people / "eileen.png", 64, aligned=True)
    assert "Leave --aligned out" in str(error.value)
    with pytest.raises(InputError, match="aligned images are square"):
        read_portrait(people / "grace.jpg", 64, aligned=True)
    aligned = tmp_path / "aligned.png"
    write_image(aligned, cut(image, ffhq_quad(locate_face(image, "it").landmarks), 256))
    found = read_portrait(aligned, 64, aligned=True)
    assert found.image.shape == (64, 64, 3) and found.points is not None and not found.remarks
    again = read_portrait(people / "eileen.png", 64)
    assert again.points is not None and np.abs(again.points - found.points).max() < 2  # of 64 px


def test_nonsense_without_a_face_is_let_through_as_aligned_with_a_remark(network: Path, tmp_path: Path) -> None:
    generator, image = load_generator(network), tmp_path / "nonsense.png"
    with torch.no_grad():
        write_image(image, to_uint8(generator(generator.z_from_seeds([3])))[0])
    with pytest.raises(FaceError, match="No face was detected"):
        read_portrait(image, 64)
    (latent,) = project_files([image], tmp_path / "out", network, QUICK, aligned=True)
    report = json.loads((latent.parent / "report.json").read_text())
    assert "no face was found" in report["remarks"][0] and report["descriptor_distance"] is None
    assert np.array_equal(read_image(latent.parent / "aligned.png"), read_image(image))


def test_labelled_networks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labelled.pkl"
    path.write_bytes(dumps(stylegan2(16, label_size=2)))
    with pytest.raises(InputError, match="without a label"):
        make_projector(path, QUICK)


def test_tuning_brings_the_picture_nearer_and_leaves_a_network_that_makes_it(
    people: Path, network: Path, tmp_path: Path
) -> None:
    how = ProjectionConfig(
        search=QUICK.search, schedule=QUICK.schedule, tuning=TuningConfig(steps=40, learning_rate=3e-3)
    )
    (plain,) = project_files([people / "eileen.png"], tmp_path / "plain", network, QUICK)
    (path,) = project_files([people / "eileen.png"], tmp_path / "best", network, how)
    before, after = (json.loads((one.parent / "report.json").read_text()) for one in (plain, path))
    assert after["psnr_db"] > before["psnr_db"] + 1
    tuned = load_generator(path.parent / "tuned.safetensors")
    latent = read_latent(path.parent / "tuned-latent.safetensors")
    check_network(latent, tuned, "the tuned latent")
    with torch.no_grad():
        made = to_uint8(tuned.synthesize(torch.from_numpy(latent.w)[None]))[0]
    assert np.abs(made.astype(int) - read_image(path.parent / "reconstruction.png")).max() <= 1
    check_network(read_latent(path), load_generator(network), "the pivot")
    with pytest.raises(OutputError, match="other settings"):
        project_files([people / "eileen.png"], tmp_path / "best", network, QUICK)
    project_files([people / "eileen.png"], tmp_path / "best", network, QUICK, overwrite=True)
    assert not list(path.parent.glob("tuned*"))  # nothing is left that does not belong to what is there now


def test_the_perceptual_term_leads_the_search(network: Path, tmp_path: Path) -> None:
    """With random weights of VGG16: what is lowered is LPIPS itself."""
    lpips, generator = load_lpips(*write_random_vgg(tmp_path)), load_generator(network)
    with torch.no_grad():
        target = generator.synthesize(broadcast_w(generator.map(generator.z_from_seeds([1])), generator))
    how = ProjectionConfig(
        search=SearchConfig(space="w", samples=4),
        terms=ProjectionTerms(pixels=1e-6, ms_ssim=0),
        schedule=ScheduleConfig(steps=25),
    )
    found = Projector(generator, how, lpips)(target)
    with torch.no_grad():
        reached = float(lpips(generator.synthesize(found.latents), target))
    assert found.history["lpips"][0, 0] > 2 * reached
    assert reached == pytest.approx(float(found.history["lpips"].min()), rel=0.2)


def test_the_identity_term_is_dlibs_distance_and_has_a_gradient(people: Path) -> None:
    portrait = read_portrait(people / "eileen.png", 256)
    assert portrait.points is not None
    expected = describe([face_chip(portrait.image, portrait.points)])[0]
    likeness = likeness_at([portrait.points], 256)
    x = to_tensor(portrait.image[None]).requires_grad_()
    found = likeness(x)
    assert float(np.linalg.norm(found.detach().numpy()[0] - expected)) < 0.03  # bilinear; dlib shrinks first
    found.square().sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all() and float(x.grad.abs().max()) > 0
    other = read_image(people / "grace.jpg")
    there = describe([face_chip(other, locate_face(other, "her").landmarks)])[0]
    assert np.linalg.norm(found.detach().numpy()[0] - there) > 0.4


def test_the_identity_term_takes_part(people: Path, network: Path, tmp_path: Path) -> None:
    how = ProjectionConfig(search=QUICK.search, schedule=QUICK.schedule, terms=ProjectionTerms(identity=1.0))
    (path,) = project_files([people / "eileen.png"], tmp_path, network, how)
    rows = read_latent(path).arrays["loss.identity"]
    assert len(rows) == 6 and np.isfinite(rows).all() and rows.min() > 0


@pytest.mark.parametrize("count", [1, 2])
def test_gradients_through_a_frozen_network_are_those_through_one_in_training(network: Path, count: int) -> None:
    generator = load_generator(network)
    shape = (count, generator.architecture.num_layers, generator.architecture.w_size)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(1))

    def gradient() -> torch.Tensor:
        w = latents.clone().requires_grad_()
        (generator.synthesize(w) ** 3).sum().backward()
        assert w.grad is not None
        return w.grad

    frozen = gradient()
    generator.synthesis.requires_grad_(True)
    trained = gradient()
    assert trained.norm() > 0 and (frozen - trained).norm() < 1e-5 * trained.norm()


@pytest.mark.parametrize("clamp", [None, 0.5])
@pytest.mark.parametrize("plane", [None, (4, 4), (1, 1, 4, 4), (2, 1, 4, 4)])
def test_a_frozen_layer_has_the_gradients_of_what_it_computes(
    network: Path, clamp: float | None, plane: tuple[int, ...] | None
) -> None:
    architecture = replace(load_generator(network).architecture, clamp=clamp)
    random = torch.Generator().manual_seed(2)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_()

    x, demodulation, noise = drawn(2, 3, 4, 4), drawn(2, 3), None if plane is None else drawn(*plane)
    bias = drawn(3).detach()

    def layer(x: torch.Tensor, demodulation: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        return Activated.apply(x.clone(), demodulation.square() + 0.1, bias, noise, architecture)

    before = x * (demodulation.square() + 0.1)[:, :, None, None] + bias[:, None, None] + (0 if noise is None else noise)
    expected = torch.where(before > 0, before, architecture.slope * before)
    expected = expected if clamp is None else expected.clamp(-clamp, clamp)
    assert torch.allclose(layer(x, demodulation, noise), expected)
    if clamp is not None:
        assert 0 < (expected.abs() == clamp).sum() < expected.numel()
    inputs: Any = (x, demodulation, noise)
    assert torch.autograd.gradcheck(layer, inputs)


def test_adam_is_torchs_without_its_compiler(network: Path, tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    start = torch.randn(3, 5, generator=random, dtype=torch.float64)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    adam, reference = Adam((0.8, 0.95)), torch.optim.Adam([theirs], betas=(0.8, 0.95))
    for step in range(20):
        for x in (ours, theirs):
            (x**2 + x).sum().backward()
        rate = reference.param_groups[0]["lr"] = 0.1 * step  # the first steps of a search may have a rate of 0
        adam.step([ours], rate)
        reference.step()
        reference.zero_grad()
        assert torch.allclose(ours, theirs, rtol=1e-12)
    assert not torch.allclose(ours, start)
    image = tmp_path / "a.png"
    write_image(image, np.full((64, 64, 3), 128, np.uint8))
    code = (
        "import sys; from facemorph.cli import main; "
        f"main(['project', {str(image)!r}, '--network', {str(network)!r}, '--aligned', '--preset', 'fast', '-o', "
        f"{str(tmp_path / 'out')!r}, '--set', 'schedule.steps=2'], standalone_mode=False); "
        "assert 'torch._dynamo' not in sys.modules, 'loads a compiler'"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0
    assert (tmp_path / "out" / "a" / "report.json").exists()


def test_the_mask_covers_the_face_softly(people: Path) -> None:
    portrait = read_portrait(people / "eileen.png", 128)
    assert portrait.points is not None
    mask = face_mask(portrait.points, 128, 0.3)
    inner = portrait.points[27:60].round().astype(int)
    assert mask[inner[:, 1], inner[:, 0]].min() > 0.95
    assert np.allclose(mask[[0, 0, -1, -1], [0, -1, 0, -1]], 0.3, atol=0.01)
    assert 0.15 < (mask > 0.65).mean() < 0.6
    assert np.abs(np.diff(mask, axis=0)).max() < 0.2
    assert (face_mask(None, 8, 0.3) == 1).all() and (face_mask(portrait.points, 8, 1.0) == 1).all()


def test_a_stylegan_1_in_batches_gives_what_single_pictures_give(people: Path, tmp_path: Path) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(dumps(stylegan1(32)))
    images = [people / "eileen.png", people / "grace.jpg"]
    together = ProjectionConfig(search=SearchConfig(loss="pixel", samples=4, batch_size=2), schedule=QUICK.schedule)
    one = project_files(images, tmp_path / "one", path, QUICK)
    two = project_files(images, tmp_path / "two", path, together)
    for first, second in zip(one, two, strict=True):
        assert np.allclose(read_latent(first).w, read_latent(second).w, atol=5e-3)
