"""The face detector: the same boxes and scores as dlib's own, and what goes around it."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facemorph.errors import ConfigError, InputError
from facemorph.faces.detect import Detector, MmodDetector, make_detector
from facemorph.faces.dlib_models import DETECTOR, model_path, parse_mmod
from facemorph.faces.mmod import Window, without_overlaps
from facemorph.faces.pyramid import Pyramid, down, lay_tiles, up
from facemorph.faces.track import Tracker
from facemorph.images import read_image

PEOPLE = ["man_franck", "man_m030", "woman_nicole", "woman_w009"]


def clip_frames(shared: Path, person: str, count: int) -> list[np.ndarray]:
    """`count` frames of a person, spread over their clips: uint8 [H, W, 3] each."""
    clips = sorted((shared / "data" / "clips" / person).glob("*.mp4"))
    clips = clips[:: max(1, len(clips) // count)]
    each = -(-count // len(clips))
    frames = []
    for clip in clips:
        with av.open(str(clip)) as container:
            total = sum(1 for packet in container.demux(video=0) if packet.size)
        wanted = {int((part + 0.5) * total / each) for part in range(each)}
        with av.open(str(clip)) as container:
            for index, frame in zip(range(max(wanted) + 1), container.decode(video=0), strict=False):
                if index in wanted:
                    frames.append(frame.to_ndarray(format="rgb24"))
    return frames[:count]


def decode(clip: Path, count: int | None = None) -> list[np.ndarray]:
    with av.open(str(clip)) as container:
        decoded = itertools.islice(container.decode(video=0), count)
        return [frame.to_ndarray(format="rgb24") for frame in decoded]


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


@pytest.fixture(scope="module")
def whole_map() -> tuple[MmodDetector, Pyramid, np.ndarray]:
    """A detector, an image's pyramid and its whole score map [rows, columns]."""
    from skimage import data

    detector = MmodDetector()
    pyramid = detector.pyramid([data.astronaut()[:300, :400]])
    return detector, pyramid, detector.network(pyramid)[0].numpy()


@pytest.mark.parametrize("person", PEOPLE)
def test_boxes_and_scores_are_dlibs_on_a_frame(shared: Path, ours: Detector, dlibs: Detector, person: str) -> None:
    frames = clip_frames(shared, person, 1)
    assert len(frames) == 1
    assert all(ours(frames)), "a clear face"
    assert_same(ours, dlibs, frames)


@pytest.mark.slow
@pytest.mark.parametrize("person", PEOPLE)
def test_boxes_and_scores_are_dlibs_on_fifty_frames(shared: Path, ours: Detector, dlibs: Detector, person: str) -> None:
    frames = clip_frames(shared, person, 50)
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

    images = [data.astronaut(), np.zeros((64, 48, 3), np.uint8), data.astronaut()[:, ::-1], data.coffee()]
    together = ours(images)
    assert [len(faces) for faces in together] == [1, 0, 1, 0]
    assert together == [ours([image])[0] for image in images]


@pytest.mark.parametrize("min_face_px", [100, 137, 138, 200, 400, 5000])
def test_narrow_boxes_are_not_considered_and_the_others_stay_as_they_were(ours: Detector, min_face_px: int) -> None:
    from skimage import data

    image = data.astronaut()
    assert isinstance(ours, MmodDetector)
    pyramid = ours.pyramid([image])
    rows, columns = ours.network.map_size(pyramid.tiles)
    everything = ours.candidates(pyramid, Window(0, rows, 0, columns))[0]
    wide = [one for one in everything if one.box[2] - one.box[0] + 1 >= min_face_px]
    assert len(wide) < len(everything)
    expected = without_overlaps(wide, ours.network.file)
    (found,) = make_detector("cnn", min_face_px=min_face_px)([image])
    assert [one.box for one in found] == [one.box for one in expected]
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-5)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_window_of_the_score_map_holds_the_scores_of_the_whole(
    whole_map: tuple[MmodDetector, Pyramid, np.ndarray], row: int, column: int, height: int, width: int
) -> None:
    detector, pyramid, scores = whole_map
    rows, columns = scores.shape
    top, left = row % (rows - height), column % (columns - width)
    window = Window(top, top + height, left, left + width)
    part = detector.network(pyramid, window)[0].numpy()
    np.testing.assert_allclose(part, scores[top : top + height, left : left + width], atol=2e-5)


@pytest.mark.slow
def test_a_4k_image_takes_less_than_a_gigabyte() -> None:
    code = """
import re
from pathlib import Path
import numpy as np
from facemorph.faces.detect import make_detector
def peak_kib():  # not ru_maxrss, which begins with the parent's
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
detector = make_detector("cnn")
detector([np.zeros((64, 64, 3), np.uint8)])
before = peak_kib()
detector([np.random.default_rng(0).integers(0, 256, (2160, 3840, 3), np.uint8)])
print((peak_kib() - before) / 1024)
"""
    if sys.platform != "linux":
        pytest.skip("/proc is Linux's")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 1024, "MiB"


def test_hog_finds_the_face_that_the_network_finds(ours: Detector) -> None:
    from skimage import data

    (mine,), (hog,) = ours([data.astronaut()])[0], make_detector("hog")([data.astronaut()])[0]
    assert np.abs(np.subtract(mine.box, hog.box)).max() < 0.25 * mine.width_px


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "haar"}, "haar"),
        ({"precision": "int8"}, "int8"),
        ({"device": "cuda:99"}, "cuda:99"),
    ],
)
def test_a_detector_that_there_is_not_is_refused_in_plain_words(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_detector(**settings)


def test_dlibs_own_detectors_do_not_follow() -> None:
    with pytest.raises(ConfigError, match="cannot follow"):
        Tracker(make_detector("hog"))


def test_only_images_are_taken(ours: Detector) -> None:
    with pytest.raises(ValueError, match="image 1 is float64"):
        ours([np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 3))])


def test_tiles_lie_apart_and_inside() -> None:
    for height, width in [(1, 1), (20, 20), (288, 360), (360, 640), (1350, 1350), (40, 4000), (4000, 40)]:
        tiles = lay_tiles(height, width)
        taken = np.zeros((tiles.height, tiles.width), bool)
        for left, top, right, bottom in tiles.levels:
            assert 0 <= left <= right < tiles.width and 0 <= top <= bottom < tiles.height
            assert not taken[top : bottom + 1, left : right + 1].any()
            taken[top : bottom + 1, left : right + 1] = True


@given(st.floats(-5000, 5000), st.integers(0, 30))
def test_up_and_down_the_pyramid_are_inverse(value: float, levels: int) -> None:
    assert up(down(value, levels), levels) == pytest.approx(value, abs=1e-6)


def test_bfloat16_finds_the_same_face_with_nearly_the_same_score(ours: Detector) -> None:
    from skimage import data

    ((mine,),), ((rough,),) = ours([data.astronaut()]), make_detector("cnn", precision="bfloat16")([data.astronaut()])
    assert rough.score == pytest.approx(mine.score, abs=0.01)
    assert rough.score != mine.score, "it did run at another precision"
    assert np.abs(np.subtract(mine.box, rough.box)).max() <= 0.2 * mine.width_px


@pytest.mark.parametrize("person", ["man_franck", pytest.param("woman_nicole", marks=pytest.mark.slow)])
def test_following_a_face_finds_what_the_whole_frame_gives_for_less_work(
    shared: Path, ours: Detector, person: str
) -> None:
    assert isinstance(ours, MmodDetector)
    clip = min((shared / "data" / "clips" / person).glob("*.mp4"))
    frames = decode(clip, 40)
    tracker = Tracker(ours, whole_every=20)
    followed, whole = tracker(frames), ours(frames)
    assert all(len(faces) == 1 for faces in whole)
    assert [[one.box for one in faces] for faces in followed] == [[one.box for one in faces] for faces in whole]
    scores = ([one.score for faces in found for one in faces] for found in (followed, whole))
    assert next(scores) == pytest.approx(next(scores), abs=1e-4)
    assert tracker.whole_searches == 2


def test_a_followed_face_that_is_gone_is_looked_for_everywhere(ours: Detector) -> None:
    from skimage import data

    assert isinstance(ours, MmodDetector)
    left = np.zeros((360, 900, 3), np.uint8)
    left[:240, :240] = data.astronaut()[:240, 100:340]
    right, empty = np.ascontiguousarray(left[:, ::-1]), np.zeros_like(left)
    clip = [left, left, right, right, empty, right]
    tracker = Tracker(ours, whole_every=100)
    assert [[one.box for one in faces] for faces in tracker(clip)] == [
        [one.box for one in faces] for faces in ours(clip)
    ]
    assert tracker.whole_searches == 4, "the first, the jump, the empty one, and the one after it"


def test_a_face_that_comes_in_is_seen_at_the_next_whole_search(ours: Detector) -> None:
    from skimage import data

    assert isinstance(ours, MmodDetector)
    one_face = np.zeros((360, 900, 3), np.uint8)
    one_face[:240, :240] = data.astronaut()[:240, 100:340]
    two_faces = np.maximum(one_face, one_face[:, ::-1])
    tracker = Tracker(ours, whole_every=3)
    assert [len(faces) for faces in tracker([one_face, two_faces, two_faces, two_faces])] == [1, 1, 1, 2]


def test_a_cut_or_changed_model_file_is_refused() -> None:
    data = model_path(DETECTOR).read_bytes()
    assert len(parse_mmod(data, "it").convolutions) == 7
    for length in (0, 1, 3, 20, 100, 5000, 5111, len(data) // 2, len(data) - 1):
        with pytest.raises(InputError, match="the file ends where"):
            parse_mmod(data[:length], "it")
    with pytest.raises(InputError, match="1 extra bytes"):
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
