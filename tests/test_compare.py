"""`facemorph compare`: distances, words, exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from skimage import data

from facemorph.cli import main
from facemorph.errors import FaceError
from facemorph.faces.compare import compare

PORTRAIT = data.astronaut()[:240, 100:340]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One woman in several guises, an image without a face, one with two faces."""
    folder = tmp_path_factory.mktemp("pictures")
    face = Image.fromarray(PORTRAIT)
    face.save(folder / "one.png")
    face.resize((300, 300)).rotate(8, fillcolor=(90, 90, 90)).save(folder / "turned.jpg", quality=70)
    two = Image.new("RGB", (700, 330))
    two.paste(face.resize((330, 330)), (0, 0))
    two.paste(face.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (400, 0))
    two.save(folder / "two.png")
    Image.new("RGB", (200, 200), "white").save(folder / "empty.png")
    (folder / "text.jpg").write_text("not an image")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_one_person_turned_and_compressed_is_one_person(images: Path) -> None:
    result = run(images / "one.png", images / "turned.jpg")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("one person: distance 0.")
    assert "below 0.6" in result.output and "not below" not in result.output


def test_an_image_is_at_no_distance_from_itself(images: Path) -> None:
    assert compare(images / "one.png", images / "one.png").distance == 0


def test_the_distance_is_symmetric_and_the_threshold_decides(images: Path) -> None:
    one, turned = images / "one.png", images / "turned.jpg"
    there, back = compare(one, turned), compare(turned, one)
    assert there.distance == pytest.approx(back.distance, abs=1e-6)
    assert there.same
    assert not compare(one, turned, threshold=there.distance / 2).same
    result = run(one, turned, "--threshold", there.distance / 2)
    assert result.exit_code == 3
    assert result.output.startswith("different persons: distance") and "not below" in result.output


def test_of_several_faces_the_largest_is_taken_and_it_is_said(images: Path) -> None:
    result = run(images / "two.png", images / "one.png")
    assert "shows 2 faces; the largest, at (" in result.output
    found = compare(images / "two.png", images / "one.png").first
    assert found.faces == 2
    assert found.box[2] < 350, "the left one is larger"
    assert "shows 2 faces" not in run("-q", images / "two.png", images / "one.png").output


def test_json_holds_what_the_sentences_say(images: Path) -> None:
    result = run(images / "two.png", images / "one.png", "--json")
    row = json.loads(result.stdout)
    found = compare(images / "two.png", images / "one.png")
    assert row["distance"] == pytest.approx(found.distance, abs=1e-4)
    assert row["same"] is found.same and row["threshold"] == 0.6
    assert [one["faces"] for one in row["pictures"]] == [2, 1]
    assert row["pictures"][0]["box"] == list(found.first.box)


def test_what_cannot_be_compared_ends_with_1_and_a_reason(images: Path) -> None:
    for name, words in [("empty.png", "No face was detected"), ("text.jpg", "not an image"), ("gone.jpg", "No such")]:
        result = run(images / "one.png", images / name)
        assert result.exit_code == 1
        assert words in result.output and name in result.output
        assert "Traceback" not in result.output
    with pytest.raises(FaceError, match=r"empty\.png"):
        compare(images / "empty.png", images / "one.png")


def test_wrong_usage_ends_with_2(images: Path) -> None:
    assert run(images / "one.png").exit_code == 2
    assert run(images / "one.png", images / "one.png", "--threshold", "0").exit_code == 2


@pytest.mark.slow
def test_portraits_of_one_person_are_nearer_than_those_of_different_persons(shared: Path) -> None:
    from facemorph.faces.compare import describe_images

    london = shared / "data" / "portraits" / "london"
    neutral = sorted(london.glob("*_neutral.jpg"))
    smiling = sorted(london.glob("*_smiling.jpg"))
    assert len(neutral) == len(smiling) == 24
    one = np.array([face.descriptor for face in describe_images(neutral)])
    other = np.array([face.descriptor for face in describe_images(smiling)])
    distances = np.linalg.norm(one[:, None] - other[None], axis=2)  # [24, 24]
    assert (np.diag(distances) < 0.6).all()
    assert (distances.argmin(1) == np.arange(24)).all(), "the nearest smiling portrait is the same person's"
