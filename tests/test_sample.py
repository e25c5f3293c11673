"""The sample clips: two portraits that come with dependencies, brought to life."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from facemorph.faces.warp import signed_areas

ROOT = Path(__file__).resolve().parents[1]


def poses(sample: Any, rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    return {name: np.array([row.get(name, 0.0) for row in rows]) for name in sample["puppet"].PARAMETERS}


def test_no_triangle_turns_over_in_any_corner_of_the_parameter_range(sample: Any, puppets: dict[str, Any]) -> None:
    ranges = sample["puppet"].PARAMETERS
    corners = [dict(zip(ranges, values, strict=True)) for values in itertools.product(*ranges.values())]
    rng = np.random.default_rng(0)
    inside = [{name: rng.uniform(low, high) for name, (low, high) in ranges.items()} for _ in range(300)]
    for name, puppet in puppets.items():
        for part in np.array_split(np.array(corners + inside), 8):
            target, _ = puppet.meshes(poses(sample, list(part)))
            areas = signed_areas(target, puppet.triangles)
            assert areas.min() > -1e-6, name  # closed lips have no area at all


def test_the_neutral_pose_is_the_portrait(sample: Any, puppets: dict[str, Any]) -> None:
    for puppet in puppets.values():
        portrait = puppet.portrait
        (frame,) = puppet.frames(poses(sample, [{}]))
        size, margin = portrait.size_px * portrait.detail, portrait.margin_px * portrait.detail
        piece = portrait.image[margin : margin + size, margin : margin + size].astype(float)
        halved = piece.reshape(portrait.size_px, portrait.detail, portrait.size_px, portrait.detail, 3).mean((1, 3))
        assert np.abs(frame - halved).max() <= 1  # each frame pixel lies between detail x detail portrait pixels


@pytest.mark.parametrize(
    ("pose", "moving", "still"),
    [
        ({"jaw": 1.0}, [8, 57], [19, 27]),
        ({"smile": 1.0}, [48, 54], [27, 8]),
        ({"brow": 1.0}, [19, 24], [8, 57]),
        ({"shift_x": 0.08}, [8, 27, 48], []),
        ({"yaw": 11.0}, [30], []),
    ],
)
def test_each_parameter_moves_its_own_part_of_the_face(
    sample: Any, puppets: dict[str, Any], pose: dict[str, float], moving: list[int], still: list[int]
) -> None:
    for puppet in puppets.values():
        target, _ = puppet.meshes(poses(sample, [{}, pose]))
        moved = np.linalg.norm(target[1] - target[0], axis=1) / puppet.height
        assert moved[moving].min() > 0.02
        assert not still or moved[still].max() < 0.005
        border = slice(len(puppet.neutral) - 32, len(puppet.neutral))
        assert moved[border].max() == 0


def test_blinking_closes_the_eyes_on_the_screen(sample: Any, puppets: dict[str, Any]) -> None:
    """The dark of the pupils is gone when the lids are down."""
    for name, puppet in puppets.items():
        opened, closed = puppet.frames(poses(sample, [{}, {"blink": 1.0}]))
        for eye in (puppet.neutral[36:42], puppet.neutral[42:48]):
            left, top = np.floor(eye.min(0)).astype(int) + 1
            right, bottom = np.ceil(eye.max(0)).astype(int)
            darkest = [np.percentile(frame[top:bottom, left:right].sum(2), 15) for frame in (opened, closed)]
            assert darkest[1] > darkest[0] + 30, name


def test_the_script_writes_two_clips_in_which_a_face_is_found_and_moves(sample: Any, tmp_path: Path) -> None:
    import av
    import dlib

    result = CliRunner().invoke(sample["make_clips"].main, ["-o", str(tmp_path), "--seconds", "2", "--seed", "3"])
    assert result.exit_code == 0, result.output
    names = [f"{name}.{suffix}" for name in ("eileen_collins", "grace_hopper") for suffix in ("jpg", "mp4")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    detector = dlib.get_frontal_face_detector()  # type: ignore[attr-defined]
    for path in tmp_path.glob("*.mp4"):
        with av.open(str(path)) as clip:
            stream = clip.streams.video[0]
            assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 360, 360)
            assert stream.average_rate == 25
            # without padded rows, over which dlib finds other scores
            frames = [np.ascontiguousarray(frame.to_ndarray(format="rgb24")) for frame in clip.decode(video=0)]
        assert len(frames) == 50
        for frame in frames[::12]:
            boxes = detector(frame, 0)
            assert len(boxes) == 1
            assert 120 < boxes[0].width() < 220
        steps = [np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(frames)]
        assert max(steps) < 12  # no jumps
        assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 0.5  # but movement


def test_a_performance_stays_in_range_is_smooth_and_follows_its_seed(sample: Any) -> None:
    act, ranges = sample["make_clips"].act, sample["puppet"].PARAMETERS
    pose = act(2000, np.random.default_rng(1))
    for name, (low, high) in ranges.items():
        assert pose[name].shape == (2000,)
        assert low <= pose[name].min() and pose[name].max() <= high
        used = (pose[name].max() - pose[name].min()) / (high - low)
        assert used > 0.75, name  # variety
        if name != "blink":
            assert np.abs(np.diff(pose[name])).max() < 0.55 * (high - low)
    assert 0.05 < (pose["blink"] > 0.5).mean() < 0.35
    np.testing.assert_array_equal(pose["jaw"], act(2000, np.random.default_rng(1))["jaw"])
    assert (pose["jaw"] != act(2000, np.random.default_rng(2))["jaw"]).any()
