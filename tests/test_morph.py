"""The landmark morph: on the two public-domain portraits that come inside matplotlib and scikit-image."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from located_faces import Located, unit
from PIL import Image

from facemorph import animation
from facemorph.cli import main
from facemorph.errors import OutputError
from facemorph.faces import morph as library
from facemorph.faces.frame import DETAIL, FramedFace, common_frame, common_quad
from facemorph.faces.landmarks import steady_landmarks
from facemorph.faces.locate import locate_face
from facemorph.faces.morph import LandmarkMorph, LandmarkMorphSettings, face_mask, landmark_morph, source_of
from facemorph.faces.smooth_warp import similarity
from facemorph.images import read_image, write_image

SIZE = 128


@pytest.fixture(scope="module")
def pair(grace: Located, eileen: Located) -> tuple[FramedFace, FramedFace]:
    return common_frame(grace, eileen, SIZE)


@pytest.fixture(scope="module")
def files(grace: Located, eileen: Located, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("portraits")
    paths = folder / "grace.png", folder / "eileen.png"
    for path, (image, _) in zip(paths, (grace, eileen), strict=True):
        write_image(path, image)
    return paths


def halved(face: FramedFace) -> np.ndarray:
    side = face.size_px
    return face.image.reshape(side, DETAIL, side, DETAIL, 3).mean((1, 3))


def test_similarity_recovers_turn_scale_and_shift() -> None:
    points = np.random.default_rng(0).normal(size=(68, 2)) * 50
    angle, scale, shift = 0.4, 1.7, np.array([12.0, -80])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found_turn, found_shift = similarity(points, points @ turn.T + shift)
    np.testing.assert_allclose(found_turn, turn, atol=1e-12)
    np.testing.assert_allclose(found_shift, shift, atol=1e-9)


def test_similarity_is_the_least_squares_one() -> None:
    from skimage.transform import SimilarityTransform

    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(2, 30, 2))
    turn, shift = similarity(source, target)
    reference = SimilarityTransform.from_estimate(source, target).params
    np.testing.assert_allclose(np.column_stack([turn, shift]), reference[:2], atol=1e-9)


def test_the_faces_coincide_in_the_common_frame(pair: tuple[FramedFace, FramedFace]) -> None:
    first, second = pair
    assert first.image.shape == second.image.shape == (SIZE * DETAIL, SIZE * DETAIL, 3)
    assert np.linalg.norm(first.points - second.points, axis=1).mean() < 0.1 * unit(first.points)
    slope = first.points[42:48].mean(0) - first.points[36:42].mean(0)
    assert abs(slope[1] / slope[0]) < 0.05  # level
    for face in pair:  # the landmarks are where the frame shows the face
        again = steady_landmarks(face.image, locate_face(face.image, "frame").box)
        error = np.linalg.norm((again + 0.5) / DETAIL - 0.5 - face.points, axis=1).mean()
        assert error < 0.05 * unit(face.points)


def test_the_ends_of_a_morph_are_the_two_images(pair: tuple[FramedFace, FramedFace]) -> None:
    morph = LandmarkMorph(*pair)
    for share, face in zip((0, 1), pair, strict=True):
        assert np.abs(morph.at(share).astype(float) - halved(face)).max() <= 1


def test_the_face_half_way_has_the_shape_between(pair: tuple[FramedFace, FramedFace]) -> None:
    middle = LandmarkMorph(*pair).at(0.5)
    large = np.asarray(Image.fromarray(middle).resize((512, 512), Image.Resampling.BICUBIC))
    found = (locate_face(large, "middle").landmarks + 0.5) * SIZE / 512 - 0.5
    between = (pair[0].points + pair[1].points) / 2
    errors = [np.linalg.norm(found - points, axis=1).mean() for points in (between, pair[0].points, pair[1].points)]
    assert errors[0] < 0.04 * unit(between)
    assert errors[0] < min(errors[1:])


def test_an_image_morphed_into_itself_stays_itself(pair: tuple[FramedFace, FramedFace]) -> None:
    same = LandmarkMorph(pair[0], pair[0]).at(0.37)
    assert np.abs(same.astype(float) - halved(pair[0])).max() <= 1


def test_face_only_changes_nothing_outside_the_face(pair: tuple[FramedFace, FramedFace]) -> None:
    first, _ = pair
    whole, part = LandmarkMorph(*pair).at(1), LandmarkMorph(*pair, face_only=True).at(1)
    corners = [(slice(0, 12), slice(0, 12)), (slice(0, 12), slice(-12, None))]
    for corner in corners:
        near_first = np.abs(part[corner] - halved(first)[corner]).mean()
        assert near_first < 8
        assert np.abs(whole[corner] - halved(first)[corner]).mean() > 5 * near_first
    mask = face_mask(first)
    assert mask.shape == (SIZE * DETAIL, SIZE * DETAIL)
    assert mask.max() == 1 and mask[:, 0].max() == mask[0].max() == 0
    nose = ((first.points[30] + 0.5) * DETAIL).astype(int)
    assert mask[nose[1], nose[0]] == 1
    gradient = np.abs(np.diff(mask, axis=0)).max()
    assert gradient < 0.25  # feathered


def test_face_only_takes_the_colours_of_the_first_image(pair: tuple[FramedFace, FramedFace]) -> None:
    first, second = pair
    cheeks = np.round(first.points[[2, 14]] * 0.6 + first.points[[30, 30]] * 0.4).astype(int)
    colours = {
        name: np.mean([image[y - 4 : y + 5, x - 4 : x + 5].mean((0, 1)) for x, y in cheeks], 0)
        for name, image in (
            ("first", halved(first)),
            ("plain", halved(second)),
            ("fitted", LandmarkMorph(*pair, face_only=True).at(1)),
        )
    }
    apart = {name: np.abs(colours[name] - colours["first"]).mean() for name in ("plain", "fitted")}
    assert apart["fitted"] < 0.6 * apart["plain"]


def test_colours_are_matched_in_mean_and_gently_in_contrast() -> None:
    rng = torch.Generator().manual_seed(0)
    like = torch.rand(1, 3, 20, 20, generator=rng) * 0.4 - 0.3
    image = torch.rand(1, 3, 20, 20, generator=rng) * 0.04 + torch.tensor([0.2, 0.5, 0.1])[None, :, None, None]
    mask = torch.zeros(1, 1, 20, 20)
    mask[..., 5:15, 5:15] = 1
    matched = library.match_colours(image, mask, like, mask)
    inside = (..., slice(5, 15), slice(5, 15))
    torch.testing.assert_close(matched[inside].mean((2, 3)), like[inside].mean((2, 3)), atol=1e-5, rtol=0)
    spread = matched[inside][:, 0].std() / image[inside][:, 0].std()
    assert spread == pytest.approx(1.3, abs=1e-3)  # the limit: ten times would be needed


def write_morph(
    first: Path, second: Path, folder: Path, settings: LandmarkMorphSettings, overwrite: bool = False
) -> list[Path]:
    morph = landmark_morph(source_of(first), source_of(second), settings)
    return animation.write_morph(folder, morph, steps=settings.steps, frames=settings.frames, overwrite=overwrite)


@pytest.fixture
def quick() -> LandmarkMorphSettings:
    return LandmarkMorphSettings(size_px=64, steps=3, frames=4)


def test_everything_is_written_with_a_manifest(
    files: tuple[Path, Path], quick: LandmarkMorphSettings, tmp_path: Path
) -> None:
    import av

    folder = tmp_path / "a" / "b"
    written = write_morph(*files, folder, quick)
    assert sorted(folder.iterdir()) == sorted([*written, folder / "manifest.jsonl"])
    assert [path.name for path in written[:3]] == ["strip.png", "morph.mp4", "morph.gif"]
    assert read_image(folder / "strip.png").shape == (64 + 4, 3 * 66 + 2, 3)
    assert read_image(folder / "step_2.jpg").shape == (64, 64, 3)
    with Image.open(folder / "morph.gif") as gif:
        assert (gif.size, getattr(gif, "n_frames", 1), gif.info["loop"]) == ((64, 64), 4 + 2, 0)  # there and back
    with av.open(str(folder / "morph.mp4")) as clip:
        assert len(list(clip.decode(video=0))) == 4 + 2 * (animation.HOLD_FRAMES - 1)
    head, first, second = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert head["settings"] == {"size_px": 64, "steps": 3, "frames": 4, "face_only": False, "detector": "auto",
                                "landmarks": "mesh"}  # fmt: skip
    assert [first["source"], second["source"]] == ["grace.png", "eileen.png"]
    assert len(first["source_sha256"]) == 64
    assert np.shape(second["landmarks"]) == (478, 2) and len(second["box"]) == 4
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]  # no temporary folder is left


def test_a_folder_with_something_in_it_is_only_replaced_when_told(
    files: tuple[Path, Path], quick: LandmarkMorphSettings, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "step_7.jpg").write_text("of an earlier morph with more steps")
    with pytest.raises(OutputError, match="exists already") as caught:
        write_morph(*files, tmp_path, quick)
    assert "--overwrite" in caught.value.hint
    assert len(list(tmp_path.iterdir())) == 2
    write_morph(*files, tmp_path, quick, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "step_7.jpg").exists()
    assert (tmp_path / "step_2.jpg").exists()


def test_a_failure_on_the_way_leaves_nothing(
    files: tuple[Path, Path], quick: LandmarkMorphSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(animation, "write_gif", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_morph(*files, tmp_path / "out", quick)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said(
    files: tuple[Path, Path], quick: LandmarkMorphSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"Cannot write .*out"):
        write_morph(*files, tmp_path / "file" / "out", quick)
    with pytest.raises(OutputError, match="exists already"):
        write_morph(*files, tmp_path / "file", quick)


def test_the_command_as_written_works(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["morph", *map(str, files), "-q", "--size", "64", "--steps", "2", "--frames", "2"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "morphs/grace-eileen: strip.png, morph.mp4, morph.gif" in result.output
    assert (tmp_path / "morphs" / "grace-eileen" / "morph.gif").exists()
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "exists already" in again.output and "Traceback" not in again.output
    assert CliRunner().invoke(main, [*arguments, "--overwrite", "--face-only"]).exit_code == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.jpg", None, "No such image"),
        ("text.jpg", b"not an image", "is not an image that can be read"),
        ("empty.png", b"", "is an empty file"),
    ],
)
def test_bad_images_are_said_in_plain_words(
    files: tuple[Path, Path],
    tmp_path: Path,
    name: str,
    content: bytes | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = CliRunner().invoke(main, ["morph", str(files[0]), str(tmp_path / name), "-o", str(tmp_path / "out"), "-q"])
    assert result.exit_code == 1
    assert message in result.output and name in result.output and "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_a_frame_is_drawn_in_where_a_picture_ends_close_around_the_face() -> None:
    from facemorph.faces.average import head_quad
    from facemorph.faces.smooth_warp import similarity

    astronaut = pytest.importorskip("skimage.data").astronaut()
    points = locate_face(astronaut, "eileen").landmarks
    large, side = (1312, 1312), 240
    roomy = points + 400
    np.testing.assert_allclose(common_quad([roomy, roomy], [large, large]), head_quad(roomy))
    left, top = (points.min(0) + points.max(0)) / 2 - side / 2
    tight = points - [left, top]  # of a picture of 240 px, which the face nearly fills
    both = (([tight, roomy], [(side, side), large]), ([roomy, tight], [large, (side, side)]))
    for shapes, sizes in both:
        quad = common_quad(shapes, sizes)
        turn, shift = similarity(shapes[0], tight)
        there = quad @ turn.T + shift
        assert there.min() > -0.15 * side and there.max() < 1.15 * side
        inside = (there.min(0) <= tight.min(0)) & (there.max(0) >= tight.max(0))
        assert inside.all()
