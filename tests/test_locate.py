"""The face of a picture and its landmarks: which of several, small and large pictures, dark and light skin."""

import logging
from pathlib import Path

import numpy as np
import pytest
from located_faces import Located, unit
from PIL import Image

from facemorph.errors import FaceError
from facemorph.faces.landmarks import landmarks, steady_landmarks
from facemorph.faces.locate import locate_face
from facemorph.images import read_image


def test_landmarks_that_hardly_depend_on_the_box(grace: Located) -> None:
    image, _ = grace
    face = locate_face(image, "grace", detector="cnn", points="dlib")
    (left, top, right, bottom), points = face.box, face.landmarks
    side = right - left
    boxes = [(left + x * side, top + y * side, right + x * side, bottom + y * side) for x, y in ((0.08, 0), (0, -0.08))]
    boxes.append((left - 0.06 * side, top - 0.06 * side, right + 0.06 * side, bottom + 0.06 * side))
    for box in boxes:
        steady = np.linalg.norm(steady_landmarks(image, box) - points, axis=1).mean() / unit(points)
        plain = np.linalg.norm(landmarks(image, box) - points, axis=1).mean() / unit(points)
        assert steady < 0.015
        assert steady < plain


def test_landmarks_of_dark_and_light_portraits_alike(shared: Path) -> None:
    """The CNN's box made dlib's predictor fail on this man; dlib's own HOG box did not."""
    from facemorph.faces.detect import make_detector

    image = read_image(shared / "data" / "portraits" / "london" / "man_082_neutral.jpg")
    box = make_detector("cnn")([image])[0][0].box
    half = np.asarray(Image.fromarray(image).resize((675, 675)))
    reference = (landmarks(half, make_detector("hog")([half])[0][0].box) + 0.5) * 2 - 0.5
    error = np.linalg.norm(steady_landmarks(image, box) - reference, axis=1).mean() / unit(reference)
    assert error < 0.03


def test_no_face_is_said_with_the_name_of_the_image() -> None:
    with pytest.raises(FaceError, match=r"No face was detected in lake\.jpg\.\nA face at least") as caught:
        locate_face(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8), "lake.jpg")
    assert "--detector hog" in caught.value.hint


@pytest.mark.parametrize("side", [1, 20])
def test_an_image_too_small_for_a_face_is_refused(grace: Located, side: int) -> None:
    tiny = np.asarray(Image.fromarray(grace[0]).resize((side, side)))
    with pytest.raises(FaceError, match=r"No face was detected in tiny\.png"):
        locate_face(tiny, "tiny.png")


def test_the_largest_of_several_faces_is_taken_and_said(
    grace: Located, eileen: Located, caplog: pytest.LogCaptureFixture
) -> None:
    group = np.full((600, 1024, 3), 128, np.uint8)
    group[:, :512] = grace[0]
    group[88:, 512:] = eileen[0]
    logging.getLogger("facemorph").propagate = True
    with caplog.at_level(logging.INFO, "facemorph"):
        face = locate_face(group, "group.png")
        box, points = face.box, face.landmarks
    assert box[2] < 512 and points[:, 0].max() < 512  # Grace's face is the larger
    assert "group.png shows 2 faces; the largest, at" in caplog.text


def test_a_small_image_is_searched_again_enlarged(grace: Located) -> None:
    scale = 0.2
    small = np.asarray(Image.fromarray(grace[0]).resize((102, 120), Image.Resampling.LANCZOS))
    points = locate_face(small, "small.png").landmarks
    assert np.linalg.norm(points - grace[1] * scale, axis=1).mean() < 0.1 * unit(grace[1] * scale)


def test_a_4k_image_gives_the_landmarks_of_its_small_copy(grace: Located) -> None:
    factor = 3840 / 600
    large = np.asarray(Image.fromarray(grace[0]).resize((round(512 * factor), 3840), Image.Resampling.BICUBIC))
    points = locate_face(large, "large.png").landmarks
    assert np.linalg.norm(points / factor - grace[1], axis=1).mean() < 0.03 * unit(grace[1])
