"""Inputs as people have them: names, links, replaced and deleted sources, colour, time, foreign files."""

import contextlib
import os
import shutil
import struct
from fractions import Fraction
from pathlib import Path

import av
import av.sidedata.sidedata
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from facemorph import video
from facemorph.cli import main
from facemorph.clip import Clock
from facemorph.dcgan.config import Data, load_config
from facemorph.dcgan.dataset import find_persons, load_faces
from facemorph.deinterlace import Deinterlacer
from facemorph.errors import ConfigError, ImageError, InputError
from facemorph.faces.align import AlignSettings, align
from facemorph.files import NAME_BYTES, check_name, distinct, fit_name, output_stems, read_jsonl
from facemorph.folders import left_out, list_clips, list_images
from facemorph.frame_image import HLG, PQ, tone_mapped, turn_of
from facemorph.images import TURNS, read_image, write_image


def sketch() -> np.ndarray:
    """An image that none of the eight turns leaves as it is."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:10, :30], image[10:20, :15] = (250, 0, 0), (0, 0, 250)
    return image


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_of_a_picture(tmp_path: Path, orientation: int, suffix: str) -> None:
    undo = {
        **dict(zip(TURNS, TURNS.values(), strict=True)),
        6: Image.Transpose.ROTATE_90,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(sketch())
    stored = stored.transpose(undo[orientation]) if orientation in undo else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    stored.save(path, exif=exif, lossless=True)
    np.testing.assert_array_equal(read_image(path), sketch())


@pytest.mark.parametrize("a,b,c,d", [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1),
                                     (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, 1, 0), (0, -1, -1, 0)])  # fmt: skip
def test_all_eight_display_matrices(a: int, b: int, c: int, d: int) -> None:
    class Frame:
        matrix = struct.pack("9i", *(65536 * x for x in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)
        side_data = {av.sidedata.sidedata.Type.DISPLAYMATRIX: matrix}  # noqa: RUF012

    image = sketch()
    turn = turn_of(Frame())  # type: ignore[arg-type]
    turned = np.asarray(Image.fromarray(image).transpose(turn) if turn is not None else Image.fromarray(image))
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]]
    x, y = a * xs + c * ys, b * xs + d * ys  # where FFmpeg's documentation puts each pixel
    expected = np.zeros_like(turned)
    expected[y - y.min(), x - x.min()] = image
    np.testing.assert_array_equal(turned, expected)


def test_a_clock_that_begins_anew_runs_backwards_or_stands_counts_every_frame() -> None:
    anew = [i / 10 for i in range(30)] * 2
    backwards = [10 - i / 10 for i in range(60)]
    leaping = [*(i / 10 for i in range(30)), *(95_000 + i / 10 for i in range(30))]
    for times in (anew, backwards, leaping, [0.0] * 60, [None] * 60):
        clock = Clock(10)
        seconds = [clock.at(time) for time in times]
        assert seconds == sorted(seconds) and seconds[-1] == pytest.approx(5.9, abs=0.5)
    clock = Clock(10)
    assert [clock.at(t) for t in (0, 0.1, 0.3, 0.2, 0.4)] == pytest.approx([0, 0.1, 0.3, 0.3, 0.4])


def test_hdr_grey_of_a_known_luminance_comes_out_as_its_sdr_code() -> None:
    """A fifth of diffuse white (40.6 cd/m2) is 0.2 ** (1 / 2.4) in SDR, by an independent formula of PQ and HLG."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    y = 0.2 * 203 / 10000
    pq = ((c1 + c2 * y**m1) / (1 + c3 * y**m1)) ** m2
    scene = (0.2 * 203 / 1000) ** (1 / 1.2)
    hlg = np.sqrt(3 * scene) if scene <= 1 / 12 else 0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073
    for signal, transfer in ((pq, PQ), (hlg, HLG)):
        found = tone_mapped(np.full((2, 2, 3), round(65535 * signal), np.uint16), transfer)
        assert abs(int(found[0, 0, 0]) - 255 * 0.2 ** (1 / 2.4)) < 2
        assert tone_mapped(np.full((1, 1, 3), 65535, np.uint16), transfer).max() >= 250


def test_combs_go_and_progressive_frames_stay() -> None:
    frames = []
    for index in range(6):
        image = np.zeros((64, 64, 3), np.uint8)
        image[0::2, 4 * index : 4 * index + 20] = 255
        image[1::2, 4 * index + 8 : 4 * index + 28] = 255  # the second field is later
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        frames.append(frame)
    assert list(Deinterlacer().frames(iter(frames))) == frames  # not flagged


def test_names_are_short_enough_distinct_and_refused_on_windows_only() -> None:
    assert fit_name("anna", ".png") == "anna.png" and fit_name("..", ".png") == "unnamed.png"
    assert len(os.fsencode(fit_name("얼굴" * 100, ".png"))) <= NAME_BYTES
    for name in ("con", "Aux.2", "a:b", "dot."):
        assert check_name(name, windows=False) == name
        with pytest.raises(InputError, match="Windows reserves"):
            check_name(name, windows=True)
    for name in ("", "..", "a/b", "a\0b"):
        with pytest.raises(InputError, match="cannot be the name"):
            check_name(name, windows=False)


NAMES = st.lists(st.text("aAé\u0301.-_ 1:\udcfc", min_size=1, max_size=300), unique=True, max_size=8)


@settings(max_examples=300, deadline=None)
@given(NAMES, NAMES)
def test_no_two_sources_share_an_output_and_known_ones_keep_theirs(names: list[str], more: list[str]) -> None:
    first = output_stems(names, ".png", {})
    both = output_stems({*names, *more}, ".png", first)
    assert len({distinct(stem) for stem in both.values()}) == len(both)
    assert all(both[name] == stem for name, stem in first.items())
    assert all(len(os.fsencode(f"{stem}.png")) <= NAME_BYTES and not stem.startswith(".") for stem in both.values())


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A small face, another framing of it, and no face at all."""
    from skimage import data

    folder = tmp_path_factory.mktemp("portraits")
    for name, image in (("0", data.astronaut()[:200, 120:320]), ("1", data.astronaut()[:220, 110:330])):
        write_image(folder / f"{name}.png", image)
    write_image(folder / "2.png", np.full((40, 40, 3), 90, np.uint8))
    (folder / "3.png").write_bytes(b"\xff\xd8\xff no image")
    return sorted(folder.iterdir())


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "rerun", "kill"]), st.sampled_from(["a.png", "a.jpg", "b.png"]),
              st.integers(0, 3)), min_size=1, max_size=8)  # fmt: skip


def test_manifest_and_folder_agree_with_the_sources_after_any_history(
    portraits: list[Path], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    import facemorph.faces.align_images as module

    whole = module._align_chunk

    def killed(*args: object) -> None:
        whole(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    @settings(
        max_examples=12,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(OPERATIONS)
    def check(operations: list[tuple[str, str, int]]) -> None:
        base = tmp_path_factory.mktemp("history")
        source, output = base / "anna", base / "faces" / "anna"
        source.mkdir()
        for kind, name, which in [*operations, ("rerun", "", 0)]:
            if kind == "put":
                shutil.copy(portraits[which], source / name)
            elif kind == "delete":
                (source / name).unlink(missing_ok=True)
            elif any(source.iterdir()):
                with monkeypatch.context() as patch:
                    if kind == "kill":
                        patch.setattr(module, "_align_chunk", killed)
                    with contextlib.suppress(InputError, KeyboardInterrupt):
                        align(source, output, AlignSettings(min_face_px=60), jobs=1)
        if any(source.iterdir()):
            rows = [row for row in read_jsonl(output / "manifest.jsonl") if "source" in row]
            from facemorph.files import sha256

            assert {row["source"]: row["source_sha256"] for row in rows} == {
                p.name: sha256(p) for p in source.iterdir()
            }
            assert {row["file"] for row in rows if "file" in row} == {p.name for p in output.glob("*.png")}

    check()


CLIP_OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "rerun", "kill"]), st.sampled_from(["a.mp4", "a.mkv", "b.mp4"]),
              st.integers(0, 2)), min_size=1, max_size=8)  # fmt: skip


def test_frames_agree_with_the_clips_after_any_history(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_video import even, make_clip

    from facemorph.files import sha256

    ready = tmp_path_factory.mktemp("clips")
    clips = [make_clip(ready / f"{fps}.mp4", even(1, fps)) for fps in (10, 12)]
    clips.append(ready / "no clip.mp4")
    clips[-1].write_bytes(b"cut")
    whole = video.sample_frames

    def killed(*args: object) -> object:
        yield next(whole(*args))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(CLIP_OPERATIONS)
    def check(operations: list[tuple[str, str, int]]) -> None:
        base = tmp_path_factory.mktemp("history")
        source, output = base / "anna", base / "frames"
        source.mkdir()
        for kind, name, which in [*operations, ("rerun", "", 0)]:
            if kind == "put":
                shutil.copy(clips[which], source / name)
            elif kind == "delete":
                (source / name).unlink(missing_ok=True)
            elif any(source.iterdir()):
                with monkeypatch.context() as patch:
                    if kind == "kill":
                        patch.setattr(video, "sample_frames", killed)
                    with contextlib.suppress(InputError, KeyboardInterrupt):
                        video.extract(video.find_people([source]), output, video.ExtractSettings(per_second=2))
        if any(source.iterdir()):
            found = list(read_jsonl(output / "anna" / "manifest.jsonl"))
            heads = {row["clip"]: row["clip_sha256"] for row in found if row.get("state") == "done"}
            good = {p.name: sha256(p) for p in source.iterdir() if p.stat().st_size > 3}
            assert heads == good and not any(row.get("state") == "begun" for row in found)
            files = [row["file"] for row in found if "file" in row]
            assert len(files) == len(set(files)) == 2 * len(good)
            assert set(files) == {path.name for path in (output / "anna").glob("*.jpg")}

    check()


def test_a_folder_of_clips_is_followed(tmp_path: Path) -> None:
    from test_video import even, make_clip

    clips, out = tmp_path / "anna", tmp_path / "out"
    clips.mkdir()
    make_clip(clips / "one.mp4", even(1, 24))
    make_clip(clips / "one.mkv", even(1, 24))
    (clips / "._one.mp4").write_bytes(b"macOS")
    shutil.copy(clips / "one.mp4", clips / "recording.MTS")  # known by its content and its name
    shutil.copy(clips / "one.mp4", clips / "2021-05-01T10:22:33")
    for _ in range(2):
        video.extract(video.find_people([clips]), out, video.ExtractSettings())
        rows = [row for row in read_jsonl(out / "anna" / "manifest.jsonl") if "file" in row]
        assert {row["file"] for row in rows} == {path.name for path in (out / "anna").glob("*.jpg")}
        assert len(rows) == 4 * len(list_clips(clips))
        (clips / "one.mkv").unlink(missing_ok=True)
    assert len(list_clips(clips)) == 3


def test_a_person_is_named_as_the_user_named_the_folder_and_rejects_stay_out(tmp_path: Path) -> None:
    for disk, person in (("disk1", "anna"), ("disk2", "ben")):
        (tmp_path / disk / "aligned" / "bad").mkdir(parents=True)
        for folder in ("", "bad"):
            write_image(tmp_path / disk / "aligned" / folder / "0.png", sketch())
        (tmp_path / "faces").mkdir(exist_ok=True)
        (tmp_path / "faces" / person).symlink_to(tmp_path / disk / "aligned")
    for faces in ((str(tmp_path / "faces"),), (str(tmp_path / "faces/anna"), str(tmp_path / "faces/ben"))):
        found = find_persons(Data(faces=faces))
        assert {name: len(paths) for name, paths in found.items()} == {"anna": 1, "ben": 1}
    with pytest.raises(InputError, match="would be mixed"):
        find_persons(Data(faces=(str(tmp_path / "disk1/aligned"), str(tmp_path / "disk2/aligned"))))
    assert left_out(tmp_path / "faces/anna", list_images(tmp_path / "faces/anna")) == "1 folder (bad)"


def test_grey_floats_are_right_or_refused(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    for scale in (1, 255, 65535):
        Image.fromarray(ramp * scale).save(tmp_path / "a.tif")
        np.testing.assert_allclose(read_image(tmp_path / "a.tif")[..., 0], 255 * ramp, atol=1)
    Image.fromarray(ramp * 1e6).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="white is not known"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["x.pkl", "folder", "none"])
def test_an_output_without_a_known_suffix_is_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    result = CliRunner().invoke(main, ["generate", "-o", str(tmp_path / name)])
    assert result.exit_code == 2 and "was expected" in result.output


@pytest.mark.parametrize("shape", [(18, 512), (1, 18, 512), (512,), (2, 18, 512)])
def test_a_latent_of_another_tool_is_refused_as_what_it_is(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    words = ["morph", str(tmp_path / "a.npy"), str(tmp_path / "a.npy"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main, words)
    if result.exit_code:
        assert "holds" in result.output and "not an image" not in result.output, result.output


def test_a_setting_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="set twice"):
        load_config("mixed.yaml", ["training.steps=5", "training.steps=6"])
    with pytest.raises(ConfigError, match="not YAML"):
        load_config("mixed.yaml", ["training.steps=[1"])


def test_a_face_that_cannot_be_read_is_left_out_of_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in "abc":
        write_image(tmp_path / f"{name}.png", sketch())
    (tmp_path / "b.png").write_bytes(b"cut")
    with caplog.at_level("WARNING", "facemorph"):
        faces = load_faces(Data(faces=(str(tmp_path),)), 16, 0)
    assert faces.images.shape == (2, 3, 16, 16) and len(faces.labels) == 2 and "b.png" in caplog.text


@pytest.mark.parametrize("name", ["007", "no", "null", "file", "allow_pickle", "2021-05-01", "1e3", "0x10"])
def test_a_person_of_any_name_is_trained(name: str, tmp_path: Path) -> None:
    """YAML takes 007 for 7 and no for false; np.savez has arguments called file and allow_pickle."""
    from facemorph.dcgan import train as training
    from facemorph.dcgan.run import Run

    for person in (name, "ben"):
        for index in range(3):
            write_image(tmp_path / "faces" / person / f"{index}.png", sketch())
    (tmp_path / "own.yaml").write_text(f"data:\n  persons:\n  - {name}\n")
    faces = f"data.faces=[{tmp_path / 'faces'}]"
    small = ["network.size_px=32", "network.channels=8", "training.steps=1", "training.batch_size=2", faces]
    config = load_config(tmp_path / "own.yaml", small)
    assert config.data.persons == (name,) == load_config("mixed.yaml", [f"data.persons=[{name}]"]).data.persons
    training.train(config, tmp_path / "run")
    with np.load(tmp_path / "run" / "people.npz") as stored:
        assert list(stored) == [name] and stored[name].shape == (3, 32, 32, 3)
    assert Run(tmp_path / "run").config() == config


def test_results_never_go_into_the_folder_of_the_sources(portraits: list[Path], tmp_path: Path) -> None:
    """With -o . the face of anna/0.png was written over anna/0.png itself."""
    from test_video import even, make_clip

    pictures, clips = tmp_path / "anna", tmp_path / "ben"
    pictures.mkdir()
    clips.mkdir()
    shutil.copy(portraits[0], pictures / "0.png")
    (pictures / "Thumbs.db").write_bytes(b"Windows")
    make_clip(clips / "a.mp4", even(1, 10))
    before = {path: path.read_bytes() for path in tmp_path.glob("*/*")}
    (tmp_path / "link").symlink_to(pictures)
    for output in (pictures, tmp_path / "link"):
        with pytest.raises(InputError, match="holds the sources"):
            align(pictures, output, AlignSettings())
    with pytest.raises(InputError, match="holds the sources"):
        video.extract(video.find_people([clips]), tmp_path, video.ExtractSettings())
    assert {path: path.read_bytes() for path in tmp_path.glob("[ab]*/*")} == before
    assert left_out(pictures, list_images(pictures)) == ""
