"""What D is shown in place of an image: colours, shifts, flips and cutouts, by chance."""

from dataclasses import replace

import pytest
import torch

from facemorph.dcgan.augment import AugmentSampler, augment
from facemorph.dcgan.config import Training


def changed_by(images: torch.Tensor, seed: int, *names: str, strength: float | None = None) -> torch.Tensor:
    sampler = AugmentSampler(torch.Generator().manual_seed(seed), len(images))
    if strength is not None:
        sampler = replace(sampler, strength=torch.tensor(strength))
    return augment(images, Training(augment=names), sampler)


def test_augmentation_is_what_it_says() -> None:
    torch.manual_seed(0)
    images = torch.rand(200, 3, 16, 16) * 2 - 1
    assert torch.equal(changed_by(images, 0), images)

    flipped = changed_by(images, 0, "flip")
    same, mirrored = (torch.isclose(flipped, x).all((1, 2, 3)) for x in (images, images.flip(3)))
    assert (same | mirrored).all()
    assert 30 < mirrored.sum() < 70

    shifted = changed_by(images, 1, "shift")
    offsets = set()
    for before, after in zip(images, shifted, strict=True):
        matches = [
            (dy, dx)
            for dy in range(-4, 5)
            for dx in range(-4, 5)
            if torch.equal(after[:, max(-dy, 0) : 16 - max(dy, 0), max(-dx, 0) : 16 - max(dx, 0)],
                           before[:, max(dy, 0) : 16 - max(-dy, 0), max(dx, 0) : 16 - max(-dx, 0)])
        ]  # fmt: skip
        assert len(matches) == 1
        offsets |= set(matches)
    assert {dy for dy, _ in offsets} == {dx for _, dx in offsets} == set(range(-4, 5))

    coloured = changed_by(images, 3, "color")
    b, s, c = torch.rand(3, 200, 1, 1, 1, generator=torch.Generator().manual_seed(3))
    step_by_step = images + (b - 0.5)  # in the words of Zhao et al.
    grey = step_by_step.mean(1, keepdim=True)
    step_by_step = grey + (step_by_step - grey) * (2 * s)
    level = step_by_step.mean((1, 2, 3), keepdim=True)
    step_by_step = level + (step_by_step - level) * (c + 0.5)
    torch.testing.assert_close(coloured, step_by_step)

    holes = (changed_by(torch.ones_like(images), 0, "cutout") == 0).all(1)  # [N, H, W]
    for hole in holes:
        rows, columns = hole.any(1), hole.any(0)
        assert torch.equal(hole, rows.unsqueeze(1) & columns)  # a rectangle
        assert 4 <= rows.sum() <= 8 and 4 <= columns.sum() <= 8  # of half the side, or cut by the border
    assert 0.15 < holes.float().mean() < 0.25


@pytest.mark.parametrize("name", ["color", "shift", "flip", "cutout"])
def test_strength_is_the_fraction_of_images_that_are_changed(name: str) -> None:
    images = torch.rand(400, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.allclose(changed_by(images, 1, name, strength=0.0), images, atol=1e-6)
    assert torch.equal(changed_by(images, 1, strength=1.0), images)

    def fraction(strength: float) -> float:
        same = torch.isclose(changed_by(images, 1, name, strength=strength), images, atol=1e-6).all((1, 2, 3))
        return 1 - same.float().mean().item()

    assert fraction(0.3) == pytest.approx(0.3 * fraction(1.0), abs=0.06)


def test_a_part_of_a_batch_is_changed_as_within_the_whole() -> None:
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    cfg = Training(augment=("color", "shift", "flip", "cutout"), adaptive=0.6)
    whole, parts = (
        torch.cat(
            [
                augment(images[p], cfg, AugmentSampler(torch.Generator().manual_seed(1), 8, p, torch.tensor(0.7)))
                for p in split
            ]
        )
        for split in ([slice(None)], [slice(0, 4), slice(4, 8)])
    )
    torch.testing.assert_close(whole, parts)


def test_gradients_pass_through_the_augmentation() -> None:
    images = (torch.rand(4, 3, 16, 16, dtype=torch.float64) * 2 - 1).requires_grad_()

    def changed(x: torch.Tensor) -> torch.Tensor:
        return changed_by(x, 5, "color", "shift", "flip", "cutout")

    assert torch.autograd.gradcheck(changed, (images[:1],))
