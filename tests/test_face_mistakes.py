"""Mistakes with faces and points, from Python and from the command line: each is said in words before the work."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import facemorph as fm
from facemorph.cli import main
from facemorph.faces.points import FacePoints, write_points
from facemorph.images import read_image, write_image

POINTS = np.random.default_rng(0).uniform(20, 100, (12, 2))
IMAGE = np.random.default_rng(1).integers(0, 255, (128, 128, 3), np.uint8)
FACE = fm.AverageFace(IMAGE, POINTS)
GIVEN: Any = fm  # what is given to it is wrong
BY_POINTS: dict[str, Any] = {"method": "landmarks", "size": 64, "steps": 2}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GIVEN.morph([FACE, "gone.jpg", FACE], **BY_POINTS), r"No such image: gone\.jpg"),
        (lambda: GIVEN.morph([FACE], **BY_POINTS), "two faces or more"),
        (lambda: GIVEN.morph([FACE, None], **BY_POINTS), "An image is None"),
        (lambda: GIVEN.morph([FACE, IMAGE.astype(float)], **BY_POINTS), "array of float64"),
        (lambda: GIVEN.morph([FACE, IMAGE * 0], **BY_POINTS), r"No face was detected in image 2\."),
        (lambda: GIVEN.morph(FACE, FACE, method="landmarks", steps=1), "steps should be a whole number from 2 to 1000"),
        (lambda: GIVEN.morph(FACE, FACE, method="landmarks", size=64.5), "size should be a whole number"),
        (lambda: GIVEN.morph(FACE, FACE, sizze=64), r"no option sizze\.\nIs it size_px"),
        (lambda: GIVEN.morph(FACE, FACE, **BY_POINTS, at=[0, 2]), r"at\[1\] should be from 0 to 1"),
        (lambda: GIVEN.morph(FACE, FACE, **BY_POINTS, mask="square"), "mask 'square' is not known"),
        (lambda: GIVEN.morph(FACE, FACE, method="stylegan", mask="oval"), "are for landmarks, not stylegan"),
        (lambda: GIVEN.morph(FACE, fm.AverageFace(IMAGE, POINTS[:5]), **BY_POINTS), r"image 2 has 5 points \(given\)"),
        (lambda: GIVEN.average([]), "No faces to average"),
        (lambda: GIVEN.average(IMAGE), "One array was given for a list"),
        (lambda: GIVEN.average([IMAGE], points=[POINTS, POINTS]), "Points of 2 faces for 1 images"),
        (lambda: GIVEN.average([IMAGE], points=[POINTS * np.nan]), "Point 0 of image 1 is not finite"),
        (lambda: GIVEN.average([IMAGE], points=[POINTS + 900]), r"lies outside the picture image 1 of 128 x 128"),
        (lambda: GIVEN.average([IMAGE], points=[POINTS[:, :1]]), r"of shape \(12, 1\)"),
        (lambda: GIVEN.average([IMAGE], points=[POINTS[:2]]), "has 2 points"),
        (lambda: GIVEN.average([IMAGE], points=[POINTS * 0 + 5]), "lie at one place"),
        (lambda: GIVEN.average([FACE, FACE], weights=["a", 1]), "are not numbers"),
        (lambda: GIVEN.average([FACE, FACE], weights=[[1, 1], [1, 1]]), "shape"),
        (lambda: GIVEN.average([FACE], size=0), "size should be a whole number"),
        (lambda: GIVEN.average([FACE], background="red"), "background 'red' is not known"),
        (lambda: GIVEN.transform(FACE, FACE), "end is missing"),
        (lambda: GIVEN.transform(FACE, FACE, FACE, shape=np.nan), "shape should be a finite number"),
        (lambda: GIVEN.transform(FACE, FACE, FACE, colour="1"), "colour should be a finite number"),
        (lambda: GIVEN.write_points("x.tem", POINTS * np.nan), "is not finite"),
        (lambda: GIVEN.write_points("x.tem", POINTS[:, 0]), r"of shape \(12,\)"),
        (lambda: GIVEN.write_points("x.tem", np.zeros((0, 2))), "has 0 points"),
        (lambda: GIVEN.read_points("gone.tem"), r"gone\.tem cannot be read"),
    ],
)
def test_what_python_is_given_is_refused_in_words(call: Callable[[], object], words: str) -> None:
    with warnings.catch_warnings(), pytest.raises(fm.FacemorphError, match=words):
        warnings.simplefilter("error")
        call()


def test_arrays_and_points_go_in_and_arrays_come_out() -> None:
    moved = fm.AverageFace(255 - IMAGE, POINTS + np.array([3, 0]))
    chain = fm.morph([FACE, moved, FACE], **BY_POINTS)
    assert chain.shape == (3, 64, 64, 3) and (chain[0] == chain[2]).all() and (chain[0] != chain[1]).mean() > 0.9
    middle = fm.morph(FACE, moved, method="landmarks", size=64, at=[0.5], mask="oval", background="transparent")
    assert middle.shape == (1, 64, 64, 4) and middle[0, 0, 0, 3] == 0 and middle[0, 32, 32, 3] == 255
    mean = fm.average([FACE, moved], texture=False, mask="face", background="#102030")
    assert mean.image[0, 0].tolist() == [16, 32, 48] and mean.points.shape == (12, 2)
    inner = fm.transform(FACE, FACE, moved, shape=0, colour=1, face_only=True)
    assert (inner.image[0] == IMAGE[0]).all() and (inner.image[60, 60] != IMAGE[60, 60]).any()
    whole = fm.transform(FACE, FACE, moved, shape=0, colour=1, mask="oval", background="transparent")
    assert whole.image.shape == (128, 128, 4)


def command(folder: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, [word.replace("DIR", str(folder)) for word in words])
    assert not result.exception or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, level in (("a", 60), ("b", 120), ("c", 180)):
        write_image(tmp_path / f"{name}.png", np.full((120, 120, 3), level, np.uint8))
        write_points(tmp_path / f"{name}.tem", FacePoints(POINTS))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.tem", "3\n1 2\n3 4\n5 6\n0\n", r"c.tem, line 1), "),
        ("c.tem", "12\n1 2\n3 x\n" + "5 6\n" * 10, "c.tem, line 3: 'x' is not a number"),
        ("c.tem", "12\n1 2\n3 4000\n" + "5 6\n" * 10, "c.tem, line 3: point 1 at (3, 4000) lies outside"),
        ("c.tem", "68\n", "c.tem, line 1 announces 68 points; 0 follow"),
        ("c.tem", "", "c.tem, line 1: the file is empty"),
        ("c.pts", "version: 1\nn_points: 4\n{\n1 2\n3 4\n5 6\n}\n", "c.pts, line 2 announces 4 points; 3 follow"),
        ("c.pts", "version: 1\nn_points: 3\n{\n1 2\n3 4\n5 600\n}\n", "c.pts, line 6: point 2"),
        ("c.csv", "x,y\n1,2\n\n3,4\n5,600\n", "c.csv, line 5: point 2"),
        ("c.csv", "1,2\n3,4\n5,600\n", "c.csv, line 3: point 2"),
    ],
)
@pytest.mark.parametrize(
    "words",
    [
        ["morph", "DIR/a.png", "DIR/b.png", "DIR/c.png", "--method", "landmarks", "-o", "DIR/out"],
        ["morph", "DIR/a.png", "DIR/c.png", "--method", "landmarks", "-o", "DIR/out"],
        ["average", "DIR/a.png", "DIR/c.png", "-o", "DIR/out.png"],
        ["transform", "DIR/a.png", "--from", "DIR/b.png", "--to", "DIR/c.png", "-o", "DIR/out.png"],
    ],
)
def test_wrong_points_are_refused_with_file_and_line(
    folder: Path, words: list[str], name: str, text: str, said: str
) -> None:
    (folder / "c.tem").unlink()
    (folder / name).write_text(text)
    code, output = command(folder, *words)
    assert code == 1 and said in output and not (folder / "out").exists() and not (folder / "out.png").exists()


def test_masks_of_all_three_commands(folder: Path) -> None:
    jobs = (
        (["morph", "DIR/a.png", "DIR/b.png", "--size", "64", "--frames", "2", "--steps", "3"], "DIR/out", "step_1.jpg"),
        (["average", "DIR/a.png", "DIR/b.png"], "DIR/out.png", ""),
        (["transform", "DIR/a.png", "--from", "DIR/a.png", "--to", "DIR/b.png"], "DIR/out.png", ""),
    )
    for words, out, still in jobs:
        ground = ["--oval", "--background", "#FF0000", "-q", "--overwrite"]
        assert command(folder, *words, *ground, "-o", out)[0] == 0
        made = read_image(Path(out.replace("DIR", str(folder)), still))
        side = len(made)
        assert made[0, 0, 0] > 240 and made[0, 0, 1] < 15, words
        level = made[side // 2, side // 2].astype(int)
        assert abs(level - 90).max() < 6, words
        code, said = command(folder, *words, "--oval", "--background", "#12", "-o", out)
        assert code == 2 and "The background '#12' is not known" in said


def test_a_large_amount_is_remarked_on(folder: Path) -> None:
    words = ["transform", "DIR/a.png", "--from", "DIR/a.png", "--to", "DIR/b.png", "--shape", "50", "-o", "DIR/out.png"]
    code, said = command(folder, *words)
    assert code == 0 and "For 50 % of it give 0.5" in said
