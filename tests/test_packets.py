"""Frames that are not decoded because nothing needs them: those that are taken stay what they were."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from clips import even, make_clip

from facemorph import clip as module
from facemorph import threads, video
from facemorph.clip import Foresight, Unforeseen, foresee
from facemorph.files import read_jsonl

UNEVEN = [t + (0.01 if i % 3 else 0) for i, t in enumerate(i / 24 for i in range(72))]
# Name, encoder with its pixels and options, and whether some frames can be passed over.
FILMS = [
    ("pyramid.mp4", "libx264", "yuv420p", {"bf": "8", "x264-params": "b-adapt=0"}, True),
    ("flat.mkv", "libx264", "yuv420p", {"bf": "3", "x264-params": "b-pyramid=none:b-adapt=0"}, True),
    ("open.ts", "libx264", "yuv420p", {"x264-params": "open-gop=1:b-adapt=0"}, True),
    ("refresh.mp4", "libx264", "yuv420p", {"x264-params": "intra-refresh=1:b-adapt=0"}, True),
    ("plain.mp4", "libx264", "yuv420p", {"bf": "0"}, False),
    ("h265.mp4", "libx265", "yuv420p", {"x265-params": "log-level=error:keyint=24:b-adapt=0"}, True),
    ("photographs.avi", "mjpeg", "yuvj420p", {}, True),
    ("prores.mov", "prores_ks", "yuv422p10le", {}, True),
]


def sampled(clip: Path, foresight: Foresight | None, key: str = "") -> tuple[list, video.ClipReport]:
    """Number, time and picture of the frames that are chosen, and the report."""
    report = video.ClipReport()
    samples = video.sample_frames(clip, video.ExtractSettings(), report, key, foresight)
    return [(s.number, s.time, s.frame.to_ndarray().tobytes()) for s in samples], report


@pytest.mark.parametrize("large", [False, True])  # of which many threads decode
@pytest.mark.parametrize("film", FILMS, ids=[name for name, *_ in FILMS])
def test_passing_over_frames_changes_no_chosen_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, film: tuple[str, str, str, dict[str, str], bool], large: bool
) -> None:
    name, codec, pixels, options, passed = film
    if codec not in av.codecs_available:
        pytest.skip("this FFmpeg cannot write it")
    if large:
        monkeypatch.setattr(module, "SMALL_PIXELS", 0)
    times = even(3, 24) if name.endswith(".avi") else UNEVEN
    clip = make_clip(tmp_path / name, times, codec=codec, pixels=pixels, options=options)
    foresight = foresee(clip)
    assert len(foresight.times) == len(times)
    decoded, given = 0, module._frames

    def counted(*args: Any) -> Iterator[av.VideoFrame]:
        nonlocal decoded
        for frame in given(*args):
            decoded += 1
            yield frame

    for key in ("a", "b"):
        whole = sampled(clip, None, key)
        with monkeypatch.context() as patch:
            patch.setattr(module, "_frames", counted)
            assert sampled(clip, foresight, key) == whole
    assert (decoded < 2 * len(times)) == passed


def test_frames_are_not_foreseen_where_packets_do_not_tell(tmp_path: Path) -> None:
    """A clock that begins anew, a clip cut before a key frame, no clock or that of decoding, layers of H.265."""
    clip = make_clip(tmp_path / "a.ts", even(2, 24))
    assert foresee(clip).times
    (tmp_path / "joined.ts").write_bytes(2 * clip.read_bytes())
    (tmp_path / "late.ts").write_bytes(clip.read_bytes()[188 * 20 :])
    make_clip(tmp_path / "bare.h264", even(2, 24))
    make_clip(tmp_path / "decoding.avi", even(2, 24), options={"bf": "3", "x264-params": "b-adapt=0"})
    names = ["joined.ts", "late.ts", "bare.h264", "decoding.avi"]
    if "libx265" in av.codecs_available:
        options = {"x265-params": "log-level=error:temporal-layers=3:bframes=7:b-adapt=0"}
        make_clip(tmp_path / "layers.mp4", even(2, 24), codec="libx265", options=options)
        names.append("layers.mp4")
    for name in names:
        foresight = foresee(tmp_path / name)
        assert not foresight.times, name
        assert sampled(tmp_path / name, foresight)[0], name


def test_a_frame_that_was_foreseen_and_is_damaged_is_left_out_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_chosen", 1)  # what libav makes of damage depends on its threads
    clip = make_clip(tmp_path / "a.mp4", even(4, 24), options={"x264-params": "b-adapt=0"})
    with av.open(str(clip)) as container:
        keys = [packet for packet in container.demux(video=0) if packet.is_keyframe]
        sixth = keys[5]  # at 2.5 s
        assert sixth.pos
        start, size = sixth.pos, sixth.size
    data = bytearray(clip.read_bytes())
    data[start + size // 3 : start + size] = bytes(size - size // 3)
    clip.write_bytes(data)
    foresight = foresee(clip)
    with pytest.raises(Unforeseen):
        sampled(clip, foresight)
    people = video.find_people([clip])
    (report,) = video.extract(people, tmp_path / "out", video.ExtractSettings())["a"]
    rows = [row for row in read_jsonl(tmp_path / "out" / "a" / "manifest.jsonl") if "file" in row]
    assert {row["file"] for row in rows} == {path.name for path in (tmp_path / "out" / "a").glob("*.jpg")}
    whole, counted = sampled(clip, None, rows[0]["clip_sha256"])
    assert [row["index"] for row in rows] == [number for number, *_ in whole]
    assert report == counted and report.damaged_packets and report.frames_decoded < len(foresight.times)
