"""Alignment against the outputs of the FFHQ recipe, and against what a similarity must do."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import FIXTURES
from matplotlib.cbook import get_sample_data
from PIL import Image
from skimage import data

from facemorph.errors import ConfigError
from facemorph.faces import crop
from facemorph.images import read_image

CASES = ["grace_hopper_256", "grace_hopper_1024", "grace_hopper_64", "astronaut_corner_256"]


@pytest.mark.parametrize("tag", [*CASES, "grace_hopper_256_transform1024"])
def test_the_ffhq_crop_equals_the_original_pixel_for_pixel(tag: str) -> None:
    folder = FIXTURES / "ffhq_align"
    case = json.loads((folder / "cases.json").read_text())[tag]
    if case["image"] == "astronaut.png":
        image = data.astronaut()
    else:
        image = read_image(Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False))))
    points = np.load(folder / "landmarks.npz")[f"landmarks/{case['landmarks']}"]
    options = case["kwargs"]
    found = crop.cut(image, crop.ffhq_quad(points), options["output_size"], options.get("transform_size", 4096))
    if "sha256_of_pixels" in case:  # 1 MB as a file
        assert found.dtype == np.uint8
        assert hashlib.sha256(found.tobytes()).hexdigest() == case["sha256_of_pixels"]
    else:
        np.testing.assert_array_equal(found, np.asarray(Image.open(folder / f"aligned_{tag}.png")))


def test_gaussian_equals_scipy_to_the_bit_of_float32() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    image = np.random.default_rng(0).normal(size=(40, 31, 3)).astype(np.float32) * 100
    for sigma in (0.7, 3.3, 9.0):
        expected = ndimage.gaussian_filter(image, [sigma, sigma, 0])
        np.testing.assert_allclose(crop.gaussian(image, sigma), expected, rtol=0, atol=2e-5)


def random_face(rng: np.random.Generator) -> np.ndarray:
    """68 points with eyes and mouth about where they belong, turned, scaled and shifted at random."""
    points = rng.normal(0, 3, (68, 2))
    for part, place in ((slice(36, 42), (-20, -15)), (slice(42, 48), (20, -15)), ([48, 54], (0, 25))):
        points[part] += place
    angle, scale = rng.uniform(-0.6, 0.6), rng.uniform(0.8, 2)
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return points @ turn + rng.uniform(100, 200, 2)


@pytest.mark.parametrize("seed", range(5))
def test_the_eyes_land_where_they_should(seed: int) -> None:
    points = random_face(np.random.default_rng(seed))
    quad = crop.eyes_quad(points)
    right, down = quad[3] - quad[0], quad[1] - quad[0]
    inside = np.linalg.inv(np.stack([right, down], 1))  # image -> fractions of the square
    for part, x in ((slice(36, 42), 0.5 - crop.EYE_SPACING / 2), (slice(42, 48), 0.5 + crop.EYE_SPACING / 2)):
        np.testing.assert_allclose(inside @ (points[part].mean(0) - quad[0]), [x, crop.EYE_HEIGHT], atol=1e-9)


def test_the_papers_crop_is_upright_and_of_fixed_size() -> None:
    points = random_face(np.random.default_rng(1))
    quad = crop.paper_quad(points, 80)
    np.testing.assert_allclose(quad - points.mean(0), [[-40, -40], [-40, 40], [40, 40], [40, -40]])


def test_a_square_of_whole_pixels_is_cut_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    quad = np.array([[100, 90], [100, 154], [164, 154], [164, 90]], float)
    found = crop.cut(image, quad, 64, 64)
    # the recipe's half pixel: it samples between pixels, at (x + 0.5) + 0.5
    a = image[90:155, 100:165].astype(float)
    expected = (a[:-1, :-1] + a[1:, :-1] + a[:-1, 1:] + a[1:, 1:]) / 4
    np.testing.assert_allclose(found, expected, atol=1)


def test_beyond_the_border_the_image_is_mirrored_not_black() -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    quad = np.array([[-60, -60], [-60, 60], [60, 60], [60, -60]], float)
    assert crop.cut(image, quad, 64, 256).min() >= 199


@pytest.mark.parametrize("name", crop.CROPS)
def test_every_crop_of_the_table_cuts_a_face(name: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    kind = crop.find_crop(name)
    face = kind.cut(image, random_face(np.random.default_rng(2)), 32)
    assert (face.shape, face.dtype, bool(kind.meaning)) == ((32, 32, 3), np.uint8, True)


def test_only_a_crop_of_fixed_size_heeds_the_side() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    points = random_face(np.random.default_rng(2))
    for kind in crop.CROPS.values():
        small, large = (kind.cut(image, points, 32, side_px) for side_px in (60, 120))
        assert np.array_equal(small, large) != kind.fixed_size


def test_a_crop_much_larger_than_the_image_is_its_blur() -> None:
    quad = crop.paper_quad(np.full((68, 2), 32.0), 99_999_999)
    assert crop.cut(np.full((64, 64, 3), 90, np.uint8), quad, 16, 64).shape == (16, 16, 3)


def test_without_a_side_the_papers_crop_measures_this_face() -> None:
    points = random_face(np.random.default_rng(1))
    side_px = crop.PAPER_MARGIN * (points.max(0) - points.min(0)).max()
    np.testing.assert_allclose(crop.paper_quad(points), crop.paper_quad(points, side_px))


def test_an_unknown_crop_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"Unknown crop 'oval'.\nChoose from eyes, ffhq, paper\."):
        crop.find_crop("oval")
