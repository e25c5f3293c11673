"""The outline of a head before a plain background, and the hull of points."""

import numpy as np
import pytest

from facemorph.faces.mask import hull
from facemorph.faces.outline import ANGLES, RAYS, head_outline


def test_the_hull_is_that_of_scipy() -> None:
    from scipy.spatial import ConvexHull

    points = np.random.default_rng(5).integers(0, 40, (60, 2)).astype(float)
    ours, reference = hull(points), points[ConvexHull(points).vertices]
    assert {tuple(point) for point in ours} == {tuple(point) for point in reference}


def head_before(ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A dark ellipse of half-axes 60 and 80 px around (128, 130) on a ground [256, 256, 3], and landmarks for it."""
    y, x = np.mgrid[:256, :256]
    image = ground.copy()
    image[((x - 128) / 60) ** 2 + ((y - 130) / 80) ** 2 < 1] = [90, 60, 50]
    points = np.full((68, 2), 128.0)
    points[:, 1] = 140
    points[27], points[8] = (128, 130), (128, 190)
    return image, points


def test_the_outline_of_a_head_is_found_before_a_ground_that_darkens() -> None:
    y, x = np.mgrid[:256, :256]
    ground = (200 - 0.2 * x - 0.0006 * (y - 100.0) ** 2)[..., None] + np.random.default_rng(0).normal(
        0, 2, (256, 256, 3)
    )
    image, points = head_before(np.clip(ground, 0, 255).astype(np.uint8))
    outline = head_outline(image, points)[: len(ANGLES)]
    assert np.isfinite(outline).all()
    radius = np.hypot((outline[:, 0] - 128) / 60, (outline[:, 1] - 130) / 80)
    assert np.abs(radius - 1).max() < 0.06


@pytest.mark.parametrize("ground", ["noise", "like the head"])
def test_without_a_plain_ground_no_outline_is_claimed(ground: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    image, points = head_before(noise if ground == "noise" else np.full((256, 256, 3), [92, 63, 51], np.uint8))
    assert np.isnan(head_outline(image, points)).all()


def test_what_reaches_the_edge_is_not_taken_for_an_outline() -> None:
    image, points = head_before(np.full((256, 256, 3), 220, np.uint8))
    image[205:] = [30, 30, 90]  # shoulders, from edge to edge
    outline = head_outline(image, points)
    assert outline.shape == (RAYS, 2)
    assert np.isfinite(outline[len(ANGLES) // 2]).all()
    below = outline[np.isfinite(outline[:, 0]) & (outline[:, 1] > 215)]
    assert len(below) == 0
