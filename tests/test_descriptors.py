"""The face descriptor: dlib's numbers, from our network."""

from typing import Any

import dlib
import numpy as np
import pytest
from PIL import Image
from skimage import data

from facemorph.errors import InputError
from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.dlib_models import DESCRIPTOR, model_path, parse_mmod, parse_resnet
from facemorph.faces.landmarks import landmarks

BOX = (180, 60, 270, 150)  # the face in scikit-image's portrait


@pytest.fixture(scope="module")
def chips() -> list[np.ndarray]:
    """One face, upright and mirrored, pure noise, and white."""
    portrait = data.astronaut()
    chip = face_chip(portrait, landmarks(portrait, BOX))
    noise = np.random.default_rng(0).integers(0, 256, chip.shape, np.uint8)
    return [chip, np.ascontiguousarray(chip[:, ::-1]), noise, np.full_like(chip, 255)]


def test_descriptors_are_dlibs(chips: list[np.ndarray]) -> None:
    library: Any = dlib
    reference = library.face_recognition_model_v1(str(model_path(DESCRIPTOR)))
    expected = np.array(reference.compute_face_descriptor(chips))
    ours = describe(chips)
    assert ours.dtype == np.float64 and ours.shape == (4, 128)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_a_batch_is_its_faces_one_by_one_and_may_be_empty_or_long(chips: list[np.ndarray]) -> None:
    many = (chips * 9)[:33]  # over one batch
    together = describe(many)
    np.testing.assert_allclose(together, np.concatenate([describe(chips)] * 9)[:33], atol=2e-6)
    assert describe([]).shape == (0, 128)


def test_a_face_is_near_its_mirror_image_and_far_from_noise(chips: list[np.ndarray]) -> None:
    face, mirrored, noise, _ = describe(chips)
    assert np.linalg.norm(face - mirrored) < 0.4
    assert np.linalg.norm(face - noise) > 0.6


def test_a_smaller_image_of_a_face_is_the_same_person() -> None:
    portrait = data.astronaut()
    small = np.asarray(Image.fromarray(portrait).resize((340, 340)))
    left, top, right, bottom = (side * 340 / 512 for side in BOX)
    shrunken = (left, top, right, bottom)
    one, other = describe([face_chip(p, landmarks(p, b)) for p, b in ((portrait, BOX), (small, shrunken))])
    assert np.linalg.norm(one - other) < 0.3


def test_a_part_of_an_image_needs_no_copy(chips: list[np.ndarray]) -> None:
    """dlib itself refuses an array whose rows are further apart than they are wide."""
    portrait = data.astronaut()
    wide = np.concatenate([portrait, portrait], 1)[:, :512]
    np.testing.assert_array_equal(face_chip(wide, landmarks(portrait, BOX)), chips[0])


def test_a_cut_or_changed_model_file_is_refused() -> None:
    content = model_path(DESCRIPTOR).read_bytes()
    assert len(parse_resnet(content, "it").convolutions) == 29
    for length in (0, 1, 30, 500, 20_000, len(content) // 2, len(content) - 1):
        with pytest.raises(InputError, match="the file ends where"):
            parse_resnet(content[:length], "it")
    with pytest.raises(InputError, match="extra bytes"):
        parse_resnet(content + b"0", "it")
    with pytest.raises(InputError, match="'affinX_' instead of 'affine_' or 'bn_con2'"):
        parse_resnet(content.replace(b"affine_", b"affinX_", 1), "it")
    with pytest.raises(InputError, match="'loss_metric_2' instead of 'loss_mmod_'"):
        parse_mmod(content, "it")
