"""The piecewise-affine warp, against closed forms and against scikit-image."""

import numpy as np
import pytest
import torch

from facemorph.faces.warp import border_points, sample, sampling_map, signed_areas, triangulate
from facemorph.images import to_tensor, to_uint8


def image(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def warp(
    pixels: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    triangles: np.ndarray,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """An image [H, W, 3] with its mesh points moved from `source` to `target`; `size` is (width, height)."""
    where = sampling_map(target, source, triangles, *(size or (pixels.shape[1], pixels.shape[0])))
    return to_uint8(sample(to_tensor(pixels[None]), where))[0]


def mesh(width: int, height: int, moved_px: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inner points, the same moved at random, and triangles; the border stays."""
    rng = np.random.default_rng(seed)
    inner = rng.uniform([0.15 * width, 0.15 * height], [0.85 * width, 0.85 * height], (40, 2))
    border = border_points(width, height)
    source = np.concatenate([inner, border])
    target = np.concatenate([inner + rng.normal(0, moved_px, inner.shape), border])
    return source, target, triangulate((source + target) / 2)


@pytest.mark.parametrize("size", [(64, 64), (97, 61), (360, 201)])
def test_an_unmoved_mesh_leaves_every_pixel_as_it_was(size: tuple[int, int]) -> None:
    pixels = image(*size)
    source, _, triangles = mesh(*size, 0)
    np.testing.assert_array_equal(warp(pixels, source, source, triangles), pixels)


def test_the_map_of_an_affine_movement_is_that_movement() -> None:
    source, _, triangles = mesh(120, 90, 0)
    matrix, shift = np.array([[0.9, 0.2], [-0.15, 1.1]]), np.array([7.5, -3.25])
    where = sampling_map(source, source @ matrix.T + shift, triangles, 120, 90)
    y, x = np.mgrid[:90, :120]
    expected = np.stack([x, y], -1) @ matrix.T + shift
    assert where.dtype == np.float32
    np.testing.assert_allclose(where, expected, atol=2e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_map_agrees_with_scikit_image(seed: int) -> None:
    """PiecewiseAffineTransform builds its own Delaunay mesh of the target points, so ours is built there too."""
    from skimage.transform import PiecewiseAffineTransform

    source, target, _ = mesh(80, 70, 2.0, seed)
    triangles = triangulate(target)
    reference = PiecewiseAffineTransform.from_estimate(target, source)
    y, x = np.mgrid[:70, :80]
    expected = reference(np.stack([x.ravel(), y.ravel()], 1)).reshape(70, 80, 2)
    ours = sampling_map(target, source, triangles, 80, 70)
    inside = (expected != -1).all(2)
    assert inside.mean() > 0.99
    np.testing.assert_allclose(ours[inside], expected[inside], atol=1e-3)


def test_samples_agree_with_scipy_and_keep_to_the_edge_outside() -> None:
    from scipy.ndimage import map_coordinates

    planes = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    where = np.random.default_rng(0).uniform(-8, 58, (30, 20, 2)).astype(np.float32)
    ours = sample(planes, where)[0].numpy()
    for channel in range(3):
        reference = map_coordinates(planes[0, channel].numpy(), [where[..., 1], where[..., 0]], order=1, mode="nearest")
        np.testing.assert_allclose(ours[channel], reference, atol=2e-5)


def test_vertices_land_where_the_target_says() -> None:
    source, target, _ = mesh(100, 100, 2.0)
    target[:40] = np.round(target[:40])
    where = sampling_map(target, source, triangulate(target), 100, 100)
    _, first, times = np.unique(target, axis=0, return_index=True, return_counts=True)
    apart = first[(times == 1) & (first < 40)]  # rounding may lay one point on another
    assert len(apart) > 30
    x, y = target[apart].astype(int).T
    np.testing.assert_allclose(where[y, x], source[apart], atol=1e-4)


@pytest.mark.parametrize("moved_px", [4, 15, 60])
def test_a_mesh_that_folds_over_still_covers_the_image(moved_px: float) -> None:
    source, target, triangles = mesh(150, 110, moved_px, seed=3)
    assert moved_px < 10 or (signed_areas(target, triangles) < 0).any()
    where = sampling_map(target, source, triangles, 150, 110)
    assert np.isfinite(where).all()
    assert where[..., 0].min() >= -0.51 and where[..., 0].max() <= 149.51
    assert where[..., 1].min() >= -0.51 and where[..., 1].max() <= 109.51


def test_coinciding_and_collinear_points_do_no_harm() -> None:
    source, target, _ = mesh(100, 100, 1.0)
    source, target = np.concatenate([source[:6], source]), np.concatenate([target[:6], target])
    line = np.stack([np.arange(20, 80, 5), np.full(12, 50)], 1)
    source, target = np.concatenate([source, line]), np.concatenate([target, line])
    pixels = image(100, 100)
    np.testing.assert_array_equal(warp(pixels, source, source, triangulate(source)), pixels)
    assert np.isfinite(sampling_map(target, source, triangulate(source), 100, 100)).all()


def test_a_mesh_smaller_than_the_image_is_refused() -> None:
    points = border_points(50, 50)
    with pytest.raises(ValueError, match="does not cover the 60 x 50 image"):
        sampling_map(points, points, triangulate(points), 60, 50)


def test_the_result_may_have_another_size_than_the_image() -> None:
    pixels = np.repeat(np.repeat(image(20, 20), 2, 0), 2, 1)  # 40 x 40 in even blocks
    source, target = border_points(40, 40), border_points(20, 20)
    half = warp(pixels, source, target, triangulate(target), size=(20, 20))
    np.testing.assert_array_equal(half, pixels[::2, ::2])


def test_border_points_lie_on_the_outer_edges() -> None:
    points = border_points(10, 6, per_side=4)
    assert points.shape == (16, 2)
    assert len(np.unique(points, axis=0)) == 16
    on_edge = np.isin(points[:, 0], [-0.5, 9.5]) | np.isin(points[:, 1], [-0.5, 5.5])
    assert on_edge.all()
    np.testing.assert_array_equal(border_points(10, 6, 1, margin_px=2)[0], [-2.5, -2.5])
