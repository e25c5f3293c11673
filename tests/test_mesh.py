"""BlazeFace and Face Mesh against what MediaPipe itself answers, at any angle."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facemorph.errors import FaceError
from facemorph.faces import locate
from facemorph.faces.align import AlignSettings, align
from facemorph.faces.mesh import detect_blazeface, place_mesh
from facemorph.faces.sampling import sample_square
from facemorph.images import read_image, write_image

NAMES = [f"{name}_{angle}" for name in ("astronaut", "grace_hopper") for angle in (0, 20, -35, 60, 90)]


@pytest.fixture
def fixtures(shared: Path) -> Path:
    return shared / "fixtures" / "landmarks"


@pytest.mark.parametrize("name", NAMES)
def test_as_mediapipe(fixtures: Path, name: str) -> None:
    image = read_image(fixtures / f"{name}.png")
    expected = np.load(fixtures / "expected.npz")
    face = detect_blazeface(image)[0][0]
    left, top, right, bottom = face.box
    found = np.array([face.score, left, top, right - left, bottom - top, *face.keypoints.ravel()])
    difference = np.abs(found - expected[f"{name}/short"][0])
    assert difference[0] < 0.002 and difference[1:].mean() < 1

    mesh, presence = place_mesh(image, [face.region])[0]
    apart = np.linalg.norm(mesh[:, :2] - expected[f"{name}/attention"][:, :2], axis=1)
    assert (mesh.shape, mesh.dtype) == ((478, 3), np.float64)
    assert apart.mean() < 0.5 and apart.max() < 2
    assert np.abs(mesh[:, 2] - expected[f"{name}/attention"][:, 2]).mean() < 0.5
    assert presence > 0.99


def test_sampling_takes_the_pixels_themselves() -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    corner, right, down = np.array([2.0, 1.0]), np.array([1.0, 0.0]), np.array([0.0, 1.0])
    np.testing.assert_array_equal(sample_square(image, (corner, right, down), 4), image[1:5, 2:6])
    turned = sample_square(image, (np.array([6.0, 1.0]), down, -right), 4)
    np.testing.assert_array_equal(turned, image[1:5, 3:7][:, ::-1].swapaxes(0, 1))
    assert (sample_square(image, (np.array([-9.0, 0.0]), right, down), 4, outside=7)[:, :4] == 7).all()


def test_beyond_the_image_a_square_repeats_the_border() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    right, down = 1.3 * np.array([0.8, 0.6]), 1.3 * np.array([-0.6, 0.8])
    for corner in ([-7.0, -4.5], [20.2, 3.0], [3.0, 14.0]):  # partly outside on each side
        padded = np.pad(image, ((40, 40), (40, 40), (0, 0)), mode="edge")
        inside = sample_square(padded, (np.array(corner) + 40, right, down), 16)
        outside = sample_square(image, (np.array(corner), right, down), 16)
        np.testing.assert_allclose(outside, inside, atol=0.01)


@pytest.mark.parametrize("angle", [0, 45, 90, 135, 180, 225, 270])
def test_a_face_is_found_at_any_angle(angle: int) -> None:
    from skimage import data

    image = data.astronaut()
    upright = locate.locate_face(image)
    turned = np.asarray(Image.fromarray(image).rotate(angle, Image.Resampling.BICUBIC))
    if angle in (135, 225):
        turned = np.pad(turned, ((60, 60), (60, 60), (0, 0)))
    face = locate.locate_face(turned, "it")
    radians = np.deg2rad(angle)
    turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    expected = (upright.landmarks - 255.5) @ turn.T + (np.array(turned.shape[1::-1]) - 1) / 2
    unit = np.linalg.norm(upright.mesh[473, :2] - upright.mesh[468, :2])
    assert np.linalg.norm(face.landmarks - expected, axis=1).mean() / unit < 0.06
    assert (face.roll - upright.roll + angle + 180) % 360 - 180 == pytest.approx(0, abs=4)


def test_the_view_has_the_places_of_dlibs_landmarks() -> None:
    from skimage import data

    image = data.astronaut()
    ours = locate.locate_face(image)
    dlib = locate.locate_face(image, points="dlib")
    unit = np.linalg.norm(ours.mesh[473, :2] - ours.mesh[468, :2])
    apart = np.linalg.norm(ours.landmarks - dlib.landmarks, axis=1) / unit
    assert apart.mean() < 0.05 and apart[36:48].max() < 0.06


def test_noise_is_no_face(tmp_path: Path) -> None:
    from facemorph.errors import InputError

    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    with pytest.raises(FaceError, match="No face was detected in noise"):
        locate.locate_face(noise, "noise")
    write_image(tmp_path / "noise" / "a.png", noise)
    with pytest.raises(InputError, match="No face was accepted"):
        align(tmp_path / "noise", tmp_path / "out", AlignSettings(), jobs=1)


def test_unknown_landmarks_are_refused() -> None:
    from facemorph.errors import ConfigError

    with pytest.raises(ConfigError, match="Unknown landmarks 'foo'"):
        locate.detect_faces(np.zeros((64, 64, 3), np.uint8), points="foo")


def test_points_are_those_of_the_mesh_unless_a_file_has_68(tmp_path: Path) -> None:
    from skimage import data

    from facemorph.faces.points import FacePoints, locate_points, write_points

    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", data.astronaut())
    pictures = [tmp_path / "a.png", tmp_path / "b.png"]
    (first, second), _ = locate_points(pictures)
    assert first.points.shape == (478, 2)
    face = locate.locate_face(data.astronaut())
    write_points(tmp_path / "a.tem", FacePoints(face.landmarks))
    (first, second), _ = locate_points(pictures)
    assert (first.source, second.source) == (str(tmp_path / "a.tem"), "detected")
    np.testing.assert_allclose(first.points, second.points, atol=1e-3)


def test_opposite_points_of_the_mesh_lie_opposite() -> None:
    from skimage import data

    from facemorph.faces.mesh_points import LINES_478, MIRRORED_478

    order = np.array(MIRRORED_478)
    np.testing.assert_array_equal(order[order], np.arange(478))
    image = data.astronaut()
    upright, mirror = locate.locate_face(image), locate.locate_face(np.ascontiguousarray(image[:, ::-1]))
    back = mirror.mesh[order, :2] * [-1, 1] + [image.shape[1] - 1, 0]
    unit = np.linalg.norm(upright.mesh[473, :2] - upright.mesh[468, :2])
    assert np.linalg.norm(back - upright.mesh[:, :2], axis=1).mean() / unit < 0.04
    for line in LINES_478:  # an outline's opposite is an outline as well
        assert any(set(order[list(line)]) == set(other) for other in LINES_478)


def test_the_command_tells_the_mesh(tmp_path: Path) -> None:
    import json

    from click.testing import CliRunner
    from skimage import data

    from facemorph.cli import main
    from facemorph.faces.points import read_points

    write_image(tmp_path / "eileen.png", data.astronaut())
    told = CliRunner().invoke(main, ["landmarks", "-q", "--json", str(tmp_path / "eileen.png")])
    row = json.loads(told.output)
    assert (np.shape(row["points"]), np.shape(row["mesh"]), row["landmarks"]) == ((68, 2), (478, 3), "mesh")
    assert row["presence"] > 0.9 and abs(row["roll"]) < 20
    for options, count in (((), 478), (("--ibug",), 68), (("--landmarks", "dlib"), 68)):
        out = tmp_path / f"out{len(options)}"
        made = CliRunner().invoke(main, ["landmarks", "-q", str(tmp_path / "eileen.png"), "-o", str(out), *options])
        assert made.exit_code == 0, made.output
        face = read_points(out / "eileen.tem")
        assert len(face.points) == count and face.lines
        drawn = read_image(out / "eileen-points.jpg").astype(int)
        assert np.abs(drawn - data.astronaut()).max(2)[60:200, 160:290].mean() > 5


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("_90")])  # these are turned upright
def test_a_second_look_is_taken_only_where_it_is_called_for(fixtures: Path, name: str) -> None:
    image = read_image(fixtures / f"{name}.png")
    apart = locate.locate_face(image).mesh[:, :2] - np.load(fixtures / "expected.npz")[f"{name}/attention"][:, :2]
    assert np.linalg.norm(apart, axis=1).mean() < 0.5


def test_a_tilted_face_is_looked_at_again(shared: Path) -> None:
    path = shared / "data" / "portraits" / "london" / "woman_099_neutral.jpg"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    rows = path.with_suffix(".tem").read_text().split("\n")[1:190]
    truth = np.array([[float(value) for value in row.split()[:2]] for row in rows])
    image = read_image(path)
    middle, turn = (np.array(image.shape[1::-1]) - 1) / 2, np.sqrt(0.5) * np.array([[1, 1], [-1, 1]])
    truth = (truth - middle) @ turn.T + middle
    face = locate.locate_face(np.asarray(Image.fromarray(image).rotate(45, Image.Resampling.BICUBIC)))
    which = {133: 22, 362: 23, 61: 87, 291: 93, 0: 90, 17: 106, 152: 129, 468: 0, 473: 1}
    apart = np.linalg.norm(face.mesh[list(which), :2] - truth[list(which.values())], axis=1)
    assert 100 * apart.mean() / np.linalg.norm(truth[1] - truth[0]) < 5
