"""Averages against WebMorph's own of the same people (shared fixtures), points in files, transforms."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click import BadParameter

from facemorph.errors import ImageError, InputError
from facemorph.faces.average import AverageFace, average_files, check_weights, mean_shape
from facemorph.faces.mask import hull, mask_of
from facemorph.faces.points import FORMATS, FacePoints, beside, check_template, points_of, read_points, write_points
from facemorph.faces.smooth_warp import similarity, smooth_map
from facemorph.faces.texture import Texture, bands_of, local_mean
from facemorph.faces.transform import MIRRORED, mirrored, transform_face
from facemorph.images import read_image, write_image

# Of WebMorph's points those of the brows and along the jaw. Inside their hull a plain warp and mean has the difference
# that the issue tells (3.6 to 6.9); with a cubic warp and detail finer than 2 px also its correlation and amount.
FACE = [*range(71, 87), 109, 185, 110, 186, 111, *range(125, 134), 114, 188, 113, 187, 112]
MEMBERS = ["f_white", "f_african", "f_easian", "m_easian", "m_wasian"]


def inside(points: np.ndarray, width: int, height: int) -> np.ndarray:
    from PIL import Image, ImageDraw

    mask = Image.new("1", (width, height))
    ImageDraw.Draw(mask).polygon([(x, y) for x, y in hull(points)], fill=1)
    return np.asarray(mask)


def detail(image: np.ndarray, finer_px: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    grey = image.mean(2)
    return grey - gaussian_filter(grey, finer_px)


@pytest.mark.parametrize("name", MEMBERS)
def test_an_average_is_as_webmorphs(shared: Path, name: str) -> None:
    folder = shared / "fixtures" / "average"
    members = {row[0]: row[1:] for row in csv.reader((folder / "members.csv").read_text().splitlines())}[name]
    made = average_files([folder / f"{member}_03.jpg" for member in members])
    theirs, points = read_image(folder / f"{name}.jpg"), read_points(folder / f"{name}.tem").points
    assert np.linalg.norm(made.points - points, axis=1).mean() < 0.5
    face = inside(points[FACE], 1350, 1350)
    ours, theirs = made.image.astype(float), theirs.astype(float)
    difference = (ours - theirs)[face]
    assert np.abs(difference - difference.mean()).mean() < 3.5
    for finer_px, least in ((3, 0.75), (2, 0.7)):
        fine, their_fine = detail(ours, finer_px)[face], detail(theirs, finer_px)[face]
        assert np.corrcoef(fine, their_fine)[0, 1] > least
        assert 0.9 < fine.std() / their_fine.std() < 1.1


def test_the_mean_shape_is_that_of_turned_copies() -> None:
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(20, 2)) * 40 + 200
    copies = []
    for angle in (-0.2, 0.0, 0.2):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        copies.append((shape - 200) @ turn.T + 200)
    mean = mean_shape(copies, np.full(3, 1 / 3))
    turn, shift = similarity(mean, shape)
    np.testing.assert_allclose(mean @ turn.T + shift, shape, atol=1e-6)


def test_the_smooth_map_leads_points_to_points_and_is_a_similarity_where_that_is_enough() -> None:
    rng = np.random.default_rng(0)
    target = rng.uniform(20, 180, (12, 2)).round()
    source = target + rng.normal(0, 3, target.shape)
    where = smooth_map(target, source, 200, 200)
    assert np.abs(where[target[:, 1].astype(int), target[:, 0].astype(int)] - source).max() < 0.3
    turn = 1.1 * np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    where = smooth_map(target, target @ turn.T + 5, 200, 200)
    np.testing.assert_allclose(where[150, 30], turn @ [30, 150] + 5, atol=1e-3)


def test_an_average_of_noise_has_the_strength_of_its_members() -> None:
    rng = torch.Generator().manual_seed(0)
    members = [128 + 20 * torch.randn(1, 1, 128, 128, generator=rng).expand(1, 3, -1, -1) for _ in range(4)]
    texture = Texture()
    for member in members:
        texture.add(member)
    plain = torch.cat(members).mean(0, keepdim=True)
    assert float(plain.std()) == pytest.approx(10, rel=0.05)
    assert float(texture.give(plain).std()) == pytest.approx(20, rel=0.1)
    torch.testing.assert_close(sum(bands_of(plain)), plain)
    assert float(local_mean(torch.ones(1, 3, 50, 40), 20.0).std()) < 1e-5


def test_weights_that_do_not_fit_are_refused() -> None:
    for weights, words in (([1, 2], "2 weights for 3"), ([1, -1, 1], "cannot be used"), ([0, 0, 0], "cannot be used")):
        with pytest.raises(InputError, match=words):
            check_weights(weights, 3)


@pytest.mark.parametrize("kind", FORMATS)
def test_points_survive_their_file(tmp_path: Path, kind: str) -> None:
    points = np.random.default_rng(0).uniform(0, 500, (68, 2)).round(2)
    write_points(tmp_path / f"a.{kind}", FacePoints(points))
    np.testing.assert_allclose(read_points(tmp_path / f"a.{kind}").points, points, atol=0.006)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.tem", "3\n1 2\n3 x\n5 6\n", r"a\.tem, line 3: 'x' is not a number"),
        ("a.tem", "4\n1 2\n3 4\n5 6\n", "line 1 announces 4 points; 3 follow"),
        ("a.pts", "version: 1\nn_points: 4\n{\n1 2\n3 4\n5 6\n}\n", r"a\.pts, line 2 announces 4 points; 3 follow"),
        ("a.csv", "x,y\n1,2\n3\n", "line 3 has 1 cells"),
        ("a.json", "{", "line 1 is not JSON"),
        ("a.txt", "", "not known as a file of points"),
    ],
)
def test_what_is_wrong_in_a_file_of_points_is_said_with_its_line(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        read_points(tmp_path / name)


def test_points_outside_the_picture_and_other_templates_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tem").write_text("3\n10 10\n20 10\n900 20\n0\n")
    with pytest.raises(InputError, match=r"a\.tem, line 4: point 2 at \(900, 20\) lies outside"):
        points_of(np.zeros((50, 50, 3), np.uint8), tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"b has 4 points .*, a has 3"):
        check_template([FacePoints(np.ones((3, 2))), FacePoints(np.ones((4, 2)))], ["a", "b"])


def test_a_transform_of_nothing_is_the_face_and_of_one_the_shape_of_the_end() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(10, 90, (20, 2))
    image = np.full((100, 100, 3), 90, np.uint8)
    face = AverageFace(image, points)
    other = AverageFace(image + 20, points + rng.normal(0, 1, points.shape))
    same = transform_face(face, face, other, shape=0, colour=0)
    np.testing.assert_array_equal(same.image, image)
    moved = transform_face(face, face, other, shape=1, colour=-1)
    assert moved.image[50, 50, 0] == 70
    turn, shift = similarity(other.points, points)
    np.testing.assert_allclose(moved.points, other.points @ turn.T + shift)


@pytest.mark.parametrize("count", MIRRORED)
def test_a_mirror_image_twice_is_the_face(count: int) -> None:
    face = AverageFace(
        np.arange(300, dtype=np.uint8).reshape(10, 10, 3), np.random.default_rng(0).normal(size=(count, 2))
    )
    again = mirrored(mirrored(face))
    np.testing.assert_array_equal(again.image, face.image)
    np.testing.assert_allclose(again.points, face.points)


def test_an_oval_shows_its_middle_and_hides_the_corners() -> None:
    points = np.array([[30.0, 30], [70, 30], [50, 80], [50, 20]])
    mask = mask_of(points, 100, 100, "oval")
    assert mask[50, 50] == 1 and mask[0, 0] == 0


def test_webmorphs_inner_face_holds_eyes_and_mouth_and_no_hair(shared: Path) -> None:
    points = read_points(shared / "fixtures" / "average" / "f_white.tem").points
    for shape in ("face", "oval"):
        mask = mask_of(points, 1350, 1350, shape)
        across, down = points.round().astype(int).T
        there = mask[down, across]
        assert (there[[0, 1, 55, 90, 106]] == 1).all(), shape  # eyes, nose, lips
        assert (there[[117, 122, 149, 151, 153, 183, 184]] == 0).all(), shape  # ears, hair, neck


def test_a_chain_goes_through_its_faces_and_names_one_that_is_missing(tmp_path: Path) -> None:
    from facemorph.animation import write_morph
    from facemorph.cli.morph import per_cents
    from facemorph.faces.chain import LandmarkChain
    from facemorph.faces.morph import LandmarkMorphSettings
    from facemorph.faces.pictures import find_pictures
    from facemorph.images import write_image

    rng = np.random.default_rng(0)
    points = rng.uniform(30, 90, (15, 2))
    for name, level in (("f1", 60), ("f2", 120), ("f10", 180)):
        write_image(tmp_path / f"{name}.png", np.full((120, 120, 3), level, np.uint8))
        write_points(tmp_path / f"{name}.tem", FacePoints(points + rng.normal(0, 1, points.shape)))
    pictures = find_pictures([tmp_path])
    assert [path.stem for path in pictures] == ["f1", "f2", "f10"]
    chain = LandmarkChain(pictures, LandmarkMorphSettings(size_px=64))
    levels = [int(image[32, 32, 0]) for image in chain.frames([0, 0.25, 0.5, 0.75, 1])]
    assert levels == [60, 90, 120, 150, 180]
    chain = LandmarkChain(pictures, LandmarkMorphSettings(size_px=64))
    away = pictures[2].rename(tmp_path / "away")  # after it was looked at
    assert chain.at(0.4)[32, 32, 0] == 108
    with pytest.raises(ImageError, match=r"No such image: .*f10\.png"):
        chain.at(0.8)
    away.rename(pictures[2])
    assert chain.at(0.75)[32, 32, 0] == 150
    written = write_morph(tmp_path / "out", chain, steps=2, frames=4)
    assert len(written) == 3 + 3
    with pytest.raises(InputError, match=r"No such image: .*gone\.jpg"):
        find_pictures([*pictures, tmp_path / "gone.jpg"])
    assert per_cents("0,25,...,100") == [0, 0.25, 0.5, 0.75, 1]
    for text, said in (
        ("0,1e-7,...,100", "expected 1,000 stills at most, not 1,000,000,001"),
        ("0,1,...,inf", "expected numbers"),
    ):
        with pytest.raises(BadParameter, match=said):
            per_cents(text)


def test_a_folder_is_averaged_without_what_is_no_face_in_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    points = np.random.default_rng(0).uniform(20, 60, (9, 2))
    for name, level in (("a", 50), ("b", 150)):
        write_image(tmp_path / f"{name}.png", np.full((80, 80, 3), level, np.uint8))
        write_points(tmp_path / f"{name}.tem", FacePoints(points))
    (tmp_path / "c.png").write_bytes(b"no image")
    pictures = [tmp_path / f"{name}.png" for name in "cab"]
    with pytest.raises(ImageError, match=r"c\.png is not an image"):
        average_files(pictures)
    face = average_files(pictures, weights=[5, 3, 1], texture=False, skip_bad=True)
    assert (
        face.image[40, 40].tolist() == [75] * 3
        and "c.png is not an image that can be read. It is left out" in caplog.text
    )
    with pytest.raises(InputError, match="None of the pictures"):
        average_files(pictures[:1], skip_bad=True)


def test_a_file_beside_a_picture_is_taken_for_points_if_it_holds_some(tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    assert beside(picture) is None
    (tmp_path / "a.jpg.json").write_text('{"title": "a.jpg", "photoTakenTime": {}}')  # as a shop of pictures writes it
    assert beside(picture) is None
    (tmp_path / "a.json").write_text('{"points": [[1, 2], [3, 4], [5, 6]]}')
    assert beside(picture) == tmp_path / "a.json"
    write_points(tmp_path / "a.jpg.tem", FacePoints(np.eye(3)[:, :2]))
    assert beside(picture) == tmp_path / "a.jpg.tem" and beside(tmp_path / "a.png") == tmp_path / "a.json"
    assert beside(tmp_path / ("n" * 251 + ".jpg")) is None


def test_a_long_chain_needs_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    """Three faces of 512 px with what they need are 60 MB; 36 more at once would be 600 MB."""
    rng = np.random.default_rng(0)
    points = rng.uniform(150, 450, (30, 2))
    for number in range(40):
        write_image(tmp_path / f"f{number:02d}.jpg", np.full((600, 600, 3), 4 * number, np.uint8))
        write_points(tmp_path / f"f{number:02d}.tem", FacePoints(points + rng.normal(0, 2, points.shape)))
    code = """
import resource, sys
from pathlib import Path
from facemorph.animation import film_fractions, write_mp4
from facemorph.faces.chain import LandmarkChain
from facemorph.faces.morph import LandmarkMorphSettings
pictures = sorted(Path(sys.argv[1]).glob("f*.jpg"))[: int(sys.argv[2])]
chain = LandmarkChain(pictures, LandmarkMorphSettings(size_px=512))
write_mp4(Path(sys.argv[1], "film.mp4"), chain.frames([at for at, _ in film_fractions(chain.legs, 3)]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

    def peak_mib(count: int) -> float:
        words = [sys.executable, "-c", code, str(tmp_path), str(count)]
        (tmp_path / "film.mp4").unlink(missing_ok=True)
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout) / 1024

    few, many = peak_mib(4), peak_mib(40)
    assert many < few + 300, (few, many)  # seen: 113 to 202, by which thread allocates when
