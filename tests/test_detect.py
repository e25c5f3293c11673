"""The face detector: the same boxes and scores as dlib's own, and what goes around it."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from facemorph.errors import ConfigError, InputError
from facemorph.faces.detect import Detector, make_detector
from facemorph.faces.dlibfile import parse_mmod
from facemorph.faces.mmod import lay_tiles
from facemorph.faces.models import DETECTOR, model_path
from facemorph.images import read_image

PEOPLE = ["man_franck", "man_m030", "woman_nicole", "woman_w009"]


def clip_frames(shared: Path, person: str, count: int) -> Iterator[np.ndarray]:
    """`count` frames of a person, evenly spread over their clips: uint8 [H, W, 3]."""
    clips = sorted((shared / "data" / "clips" / person).glob("*.mp4"))
    for clip in clips[:: max(1, len(clips) // count)][:count]:
        with av.open(str(clip)) as container:
            total = sum(1 for packet in container.demux(video=0) if packet.size)
        each = -(-count // len(clips))
        wanted = {round((part + 0.5) * total / each) for part in range(each)}
        with av.open(str(clip)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index in wanted:
                    yield frame.to_ndarray(format="rgb24")


@pytest.fixture(scope="module")
def ours() -> Detector:
    return make_detector("cnn")


@pytest.fixture(scope="module")
def dlibs() -> Detector:
    return make_detector("dlib-cnn")


def assert_same(ours: Detector, dlibs: Detector, images: list[np.ndarray]) -> None:
    for mine, theirs in zip(ours(images), dlibs(images), strict=True):
        assert [one.box for one in mine] == [one.box for one in theirs]
        assert [one.score for one in mine] == pytest.approx([one.score for one in theirs], abs=1e-4)


@pytest.mark.parametrize("person", PEOPLE)
def test_boxes_and_scores_are_dlibs_on_a_frame(shared: Path, ours: Detector, dlibs: Detector, person: str) -> None:
    frames = list(clip_frames(shared, person, 1))
    assert len(frames) == 1
    assert all(ours(frames)), "a clear face"
    assert_same(ours, dlibs, frames)


@pytest.mark.slow
@pytest.mark.parametrize("person", PEOPLE)
def test_boxes_and_scores_are_dlibs_on_fifty_frames(shared: Path, ours: Detector, dlibs: Detector, person: str) -> None:
    frames = list(clip_frames(shared, person, 50))
    assert len(frames) == 50
    assert_same(ours, dlibs, frames)


@pytest.mark.slow
def test_boxes_and_scores_are_dlibs_on_all_portraits(shared: Path, ours: Detector, dlibs: Detector) -> None:
    paths = sorted((shared / "data" / "portraits" / "london").rglob("*.jpg"))
    assert len(paths) == 48
    for path in paths:
        assert_same(ours, dlibs, [read_image(path)])


def test_odd_sizes_and_several_faces_are_dlibs_too(ours: Detector, dlibs: Detector) -> None:
    from skimage import data

    face = data.astronaut()[:240, 100:340]
    two = np.concatenate([face, face[:, ::-1]], axis=1)
    for image in (two, data.astronaut()[3:204, 90:331], face[::3, ::3], np.zeros((20, 20, 3), np.uint8)):
        assert_same(ours, dlibs, [np.ascontiguousarray(image)])
    assert len(ours([two])[0]) == 2


def test_a_batch_of_mixed_sizes_keeps_its_order(ours: Detector) -> None:
    from skimage import data

    pictures = [data.astronaut(), np.zeros((64, 48, 3), np.uint8), data.astronaut()[:, ::-1], data.coffee()]
    together = ours(pictures)
    assert [len(faces) for faces in together] == [1, 0, 1, 0]
    assert together == [ours([picture])[0] for picture in pictures]


def test_narrow_faces_are_left_out(ours: Detector) -> None:
    from skimage import data

    (face,) = ours([data.astronaut()])[0]
    assert make_detector("cnn", min_face_px=face.width_px)([data.astronaut()]) == [[face]]
    assert make_detector("cnn", min_face_px=face.width_px + 1)([data.astronaut()]) == [[]]


def test_hog_finds_the_face_that_the_network_finds(ours: Detector) -> None:
    from skimage import data

    (mine,), (hog,) = ours([data.astronaut()])[0], make_detector("hog")([data.astronaut()])[0]
    assert np.abs(np.subtract(mine.box, hog.box)).max() < 0.25 * mine.width_px


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"kind": "haar"}, "haar"), ({"precision": "int8"}, "int8"), ({"device": "cuda:99"}, "cuda:99")],
)
def test_an_unknown_detector_is_refused_in_plain_words(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_detector(**settings)  # type: ignore[arg-type]


def test_only_pictures_are_taken(ours: Detector) -> None:
    with pytest.raises(ValueError, match="picture 1 is float64"):
        ours([np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 3))])


def test_tiles_lie_apart_and_inside() -> None:
    for height, width in [(1, 1), (20, 20), (288, 360), (360, 640), (1350, 1350), (40, 4000), (4000, 40)]:
        tiles = lay_tiles(height, width)
        taken = np.zeros((tiles.height, tiles.width), bool)
        for left, top, right, bottom in tiles.levels:
            assert 0 <= left <= right < tiles.width and 0 <= top <= bottom < tiles.height
            assert not taken[top : bottom + 1, left : right + 1].any()
            taken[top : bottom + 1, left : right + 1] = True


def test_a_cut_or_changed_model_file_is_refused() -> None:
    data = model_path(DETECTOR).read_bytes()
    assert len(parse_mmod(data, "it").layers) == 19
    for length in (0, 1, 3, 20, 100, 5000, 5111, len(data) // 2, len(data) - 1):
        with pytest.raises(InputError, match="the file ends where"):
            parse_mmod(data[:length], "it")
    with pytest.raises(InputError, match="1 bytes too many"):
        parse_mmod(data + b"0", "it")
    with pytest.raises(InputError, match="'loss_mmxd_' instead of 'loss_mmod_'"):
        parse_mmod(data.replace(b"loss_mmod_", b"loss_mmxd_", 1), "it")
    with pytest.raises(InputError, match="'con_5' instead of 'con_4'"):
        parse_mmod(data.replace(b"con_4", b"con_5", 1), "it")
    with pytest.raises(InputError, match="control byte"):
        parse_mmod(b"<html>" + data, "it")
    huge = data.index(b"con_4") + len(b"con_4") + 2  # the first tensor's first size
    with pytest.raises(InputError, match="the size of a tensor is"):
        parse_mmod(data[:huge] + b"\x08" + b"\xff" * 8 + data[huge + 3 :], "it")
