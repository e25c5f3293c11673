"""extract on clips made here: every frame carries its own number in its pixels."""

import itertools
import json
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from click.testing import CliRunner
from clips import even, make_clip, number_of, numbered

from facemorph import video
from facemorph.cli import main
from facemorph.errors import FacemorphError, InputError, VideoError
from facemorph.files import read_jsonl
from facemorph.frame_image import upright
from facemorph.images import read_image


def run(clip: Path, output: Path, **settings: int | str) -> list[dict]:
    """Rows of the images that extract makes of one clip, after checking each against its image."""
    options = video.ExtractSettings(**{"format": "png", **settings})  # type: ignore[arg-type]
    video.extract(video.find_people([clip]), output, options)
    rows = [row for row in read_jsonl(output / clip.stem / "manifest.jsonl") if "file" in row]
    for row in rows:
        assert number_of(read_image(output / clip.stem / row["file"])) == row["index"]
    return rows


def by_second(rows: list[dict]) -> dict[int, list[int]]:
    return {s: [r["index"] for r in group] for s, group in itertools.groupby(rows, lambda row: int(row["time"]))}


def apart(rows: list[dict]) -> bool:
    return all(b["index"] - a["index"] > 1 for a, b in itertools.pairwise(rows))


@pytest.mark.parametrize("seed", range(4))
def test_four_a_second_and_never_two_in_a_row(tmp_path: Path, seed: int) -> None:
    rows = run(make_clip(tmp_path / "a.mp4", even(5, 24)), tmp_path / "out", seed=seed)
    assert {second: len(taken) for second, taken in by_second(rows).items()} == dict.fromkeys(range(5), 4)
    assert apart(rows)


def test_the_seed_decides(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", even(3, 24))
    choices = [
        tuple(row["index"] for row in run(clip, tmp_path / str(i), seed=seed)) for i, seed in enumerate((0, 0, 1))
    ]
    assert choices[0] == choices[1] != choices[2]


def test_seconds_go_by_presentation_time_at_a_variable_rate(tmp_path: Path) -> None:
    times = [*even(1, 30), *(1 + t for t in even(1, 8)), *(2 + t for t in even(1, 50))]
    rows = run(make_clip(tmp_path / "a.mp4", times), tmp_path / "out")
    assert {s: len(taken) for s, taken in by_second(rows).items()} == {0: 4, 1: 4, 2: 4}
    assert apart(rows)
    for row in rows:
        assert row["time"] == pytest.approx(times[row["index"]], abs=2e-3)


def test_a_clip_that_does_not_start_at_zero(tmp_path: Path) -> None:
    rows = run(make_clip(tmp_path / "a.mkv", even(2, 24, start=7.3)), tmp_path / "out")
    assert {s: len(taken) for s, taken in by_second(rows).items()} == {0: 4, 1: 4}


@pytest.mark.parametrize("name,times", [("late.mkv", even(2, 24, start=36000.0)), ("slow.mp4", even(50, 0.1))])
def test_a_late_start_or_a_slow_rate_is_not_falsely_called_damage(
    tmp_path: Path, name: str, times: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    clip = make_clip(tmp_path / name, times)
    (reports,) = video.extract(video.find_people([clip]), tmp_path / "out", video.ExtractSettings()).values()
    assert reports[0].frames_decoded == len(times) and not reports[0].seconds_lost and not caplog.records


def test_transparent_parts_of_a_clip_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "facemorph")
    for alpha in (255, 0):
        with av.open(str(tmp_path / f"{alpha}.mov"), "w") as out:
            stream = out.add_stream("qtrle", rate=24)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "argb"
            image = np.full((48, 64, 4), (200, 100, 50, alpha), np.uint8)
            for _ in range(24):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgba")))
            out.mux(stream.encode())
    video.extract(video.find_people(sorted(tmp_path.glob("*.mov"))), tmp_path / "out", video.ExtractSettings())
    assert [record.args for record in caplog.records if "transparent" in record.msg] == [(str(tmp_path / "0.mov"),)]


def test_a_title_that_is_no_utf_8_spoils_no_clip(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", even(1, 24), title="QQQQ")
    content = path.read_bytes()
    assert b"QQQQ" in content
    path.write_bytes(content.replace(b"QQQQ", b"\xff\xe9\xfeQ"))
    assert len(run(path, tmp_path / "out")) == 4


def test_a_short_last_second_gives_what_fits(tmp_path: Path) -> None:
    rows = run(make_clip(tmp_path / "a.mp4", even(2 + 3 / 24, 24)), tmp_path / "out")
    assert len(by_second(rows)[2]) in (1, 2)  # of three frames, the first may lie beside one taken before
    assert apart(rows)


def test_too_few_frames_a_second_are_said_once(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", even(6, 5))
    result = CliRunner().invoke(main, ["extract", str(clip), "-o", str(tmp_path / "out"), "--per-second", "4"])
    assert result.exit_code == 0
    assert result.output.count("too few images for 4 frames") == 1
    rows = [r for r in read_jsonl(tmp_path / "out" / "a" / "manifest.jsonl") if "file" in r]
    assert apart(rows)
    assert all(len(taken) in (2, 3) for taken in by_second(rows).values())  # 5 in a row hold 3, or 2 after a taken one


def test_a_frame_becomes_the_same_image_every_time() -> None:
    """360 px wide: where several threads convert, swscale writes over each other's first pixels in 1 of some 1,000."""
    noise = np.random.default_rng(0).integers(0, 256, (288, 360, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format="yuv420p", threads=1)
    reformatter = VideoReformatter()
    images = {upright(frame, 1.0, reformatter).tobytes() for _ in range(4000)}
    assert len(images) == 1


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_the_rotation_flag_is_obeyed(tmp_path: Path, rotation: int) -> None:
    clip = make_clip(tmp_path / "a.mp4", even(1, 24), rotation=rotation, corner=True)
    video.extract(video.find_people([clip]), tmp_path / "out", video.ExtractSettings(format="png"))
    image = read_image(next((tmp_path / "out" / "a").glob("*.png"))).astype(int)
    # Phones write a matrix that turns the stored image counter-clockwise by the angle.
    expected = np.rot90(numbered(0, corner=True), rotation // 90)
    assert image.shape == expected.shape
    red = (image[..., 0] > 200) & (image[..., 1] < 60)
    assert (red == ((expected[..., 0] > 200) & (expected[..., 1] < 60))).mean() > 0.98


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", even(1, 24), aspect=Fraction(3, 2))
    video.extract(video.find_people([clip]), tmp_path / "out", video.ExtractSettings())
    assert read_image(next((tmp_path / "out" / "a").glob("*.jpg"))).shape == (64, 192, 3)


def test_a_truncated_clip_keeps_what_decodes_and_says_how_much_was_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Without B-frames: cut before two of them, the frame that they need comes next, and would have the number of one.
    whole = make_clip(tmp_path / "whole.mkv", even(8, 24), options={"bf": "0"})
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with caplog.at_level("WARNING", "facemorph"):
        rows = run(cut, tmp_path / "out")
    assert 8 <= len(rows) < 30
    assert "cut.mkv is damaged" in caplog.text
    assert " of 8.0 s were read" in caplog.text


def make_sound(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def test_what_is_not_a_clip_is_refused_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("This is no clip.\n" * 100)
    (tmp_path / "folder").mkdir()
    make_sound(tmp_path / "sound.wav")
    expected = {
        "empty.mp4": "is empty",
        "text.mp4": "cannot be read as a clip",
        "sound.wav": "has no video stream",
        "missing.mp4": "No such clip or folder",
        "folder": "holds no clips",
    }
    for name, text in expected.items():
        result = CliRunner().invoke(main, ["extract", str(tmp_path / name), "-o", str(tmp_path / "out")])
        assert result.exit_code == 1, name
        assert text in result.output, result.output
        assert "Traceback" not in result.output
    assert not list((tmp_path / "out").rglob("*.*"))


def test_one_bad_clip_does_not_stop_the_others_but_shows_in_the_exit_code(tmp_path: Path) -> None:
    clips = tmp_path / "anna"
    clips.mkdir()
    make_clip(clips / "good.mp4", even(2, 24))
    (clips / "bad.mp4").write_text("no clip")
    result = CliRunner().invoke(main, ["extract", str(clips), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "1 of 2 clips could not be read" in result.output
    assert len(list((tmp_path / "out" / "anna").glob("good-*.jpg"))) == 8


def test_a_rerun_completes_what_was_interrupted_and_touches_nothing_else(tmp_path: Path) -> None:
    clip, folder = make_clip(tmp_path / "a.mp4", even(4, 24)), tmp_path / "out" / "a"
    run(clip, tmp_path / "out")
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.glob("*.png")}
    manifest = (folder / "manifest.jsonl").read_text()
    lost = sorted(before)[3:9]
    for name in lost:  # as a kill in the middle leaves it: some images, and a manifest that only began
        (folder / name).unlink()
    head = json.loads(manifest.splitlines()[0])
    begun = {key: head[key] for key in ("clip", "clip_sha256", "settings")} | {"state": "begun"}
    (folder / "manifest.jsonl").write_text(json.dumps(begun) + "\n")
    run(clip, tmp_path / "out")
    after = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.glob("*.png")}
    assert {name: content for name, (content, _) in after.items()} == {n: c for n, (c, _) in before.items()}
    assert all(after[name][1] == before[name][1] for name in before if name not in lost)
    assert (folder / "manifest.jsonl").read_text() == manifest
    stamps = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    run(clip, tmp_path / "out")
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == stamps


def test_a_finished_clip_shows_no_rate_when_it_is_extracted_again(tmp_path: Path) -> None:
    words = ["extract", str(make_clip(tmp_path / "a.mp4", even(4, 24))), "-o", str(tmp_path / "out")]
    first, again = (CliRunner().invoke(main, words).stderr for _ in range(2))
    assert re.search(r"96/96 .* frames/s", first) and "? frames/s" not in first.splitlines()[-1]
    assert "96/96 " in again and not re.search(r"\d frames/s", again)


def test_many_clips_without_a_name_get_a_hint(tmp_path: Path) -> None:
    clips = [str(make_clip(tmp_path / f"{name}.mp4", even(1, 24))) for name in "abc"]
    words = ["extract", *clips, "-o", str(tmp_path / "out")]
    hint = "3 people; if these clips show one person, add --person NAME."
    assert hint in CliRunner().invoke(main, words).stderr
    assert hint not in CliRunner().invoke(main, [*words[:3], "-o", str(tmp_path / "out")]).stderr


def test_other_settings_do_not_mix_and_a_replaced_clip_is_followed(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", even(2, 24))
    run(clip, tmp_path / "out")
    with pytest.raises(InputError, match="other settings"):
        run(clip, tmp_path / "out", seed=1)
    make_clip(clip, even(3, 24))
    rows = run(clip, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out" / "a").glob("*.png")} == {row["file"] for row in rows}
    assert len(rows) == 12
    with pytest.raises(InputError, match="would mix"):
        (tmp_path / "b").mkdir()
        video.find_people([clip, make_clip(tmp_path / "b" / "a.mp4", even(1, 24))])


def test_clips_of_one_person_share_a_folder(tmp_path: Path) -> None:
    one, two = (make_clip(tmp_path / name, even(2, 24)) for name in ("one.mp4", "two.mp4"))
    people = video.find_people([one, two], "anna")
    reports = video.extract(people, tmp_path / "out", video.ExtractSettings())
    assert [report.frames_taken for report in reports["anna"]] == [8, 8]
    assert len(list((tmp_path / "out" / "anna").glob("*.jpg"))) == 16


def test_an_unwritable_folder_is_said(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", even(1, 24))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FacemorphError, match="Cannot write"):
        video.extract(video.find_people([clip]), tmp_path / "file", video.ExtractSettings())


def test_real_clips_decode_to_the_expected_counts(shared: Path, tmp_path: Path) -> None:
    clips = shared / "data" / "clips" / "man_m030"
    reports = video.extract(video.find_people([clips]), tmp_path, video.ExtractSettings())["man_m030"]
    assert [r.frames_decoded for r in reports] == [98, 94, 91, 101, 94, 94, 95, 94]
    # 25 a second: four seconds of four frames, and of the one of 101 frames also the first of the fifth, or not
    assert [r.frames_taken - 16 for r in reports] in ([0] * 8, [0, 0, 0, 1, 0, 0, 0, 0])
    assert not any(r.seconds_lost or r.damaged_packets for r in reports)


def test_nothing_to_decode_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="No such clip"):
        list(video.sample_frames(tmp_path / "none.mp4", video.ExtractSettings(), video.ClipReport()))
