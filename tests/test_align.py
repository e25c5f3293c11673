"""align on the public-domain portraits that come inside matplotlib and scikit-image, and on what has no face."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import ROOT
from PIL import Image

from facemorph.cli import main
from facemorph.faces.align import AlignSettings
from facemorph.faces.align import align as align_folder
from facemorph.files import read_jsonl
from facemorph.images import read_image


def hopper() -> np.ndarray:
    from matplotlib.cbook import get_sample_data

    return read_image(Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False))))


def collins() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()[:300, 60:400]


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person's frames, with everything that goes wrong."""
    folder = tmp_path_factory.mktemp("frames") / "grace"
    one, other = hopper()[:400, 50:470], collins()
    save(folder / "a-good.png", one)
    save(folder / "b-mirrored.png", one[:, ::-1])
    save(folder / "c-noise.png", np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    save(folder / "d-cut.png", one[:, 180:])
    both = np.zeros((400, 420 + 340, 3), np.uint8)
    both[:, :420], both[:300, 420:] = one, other
    save(folder / "e-both.png", both)
    (folder / "f-text.jpg").write_text("no image")
    save(folder / "g-other.png", other)
    return folder


def align(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["align", "-q", "--jobs", "1", *map(str, arguments)])


def rows_of(folder: Path) -> dict[str, dict]:
    return {row["source"]: row for row in read_jsonl(folder / "manifest.jsonl") if "source" in row}


def test_every_frame_is_accounted_for(frames: Path, tmp_path: Path) -> None:
    result = align(frames, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "grace")
    assert set(rows) == {path.name for path in frames.iterdir()}
    assert {name[0]: row["status"] for name, row in rows.items()} == {
        "a": "accepted", "b": "accepted", "c": "rejected", "d": "rejected", "e": "accepted", "f": "rejected",
        "g": "accepted",
    }  # fmt: skip
    assert rows["c-noise.png"]["reason"] == "no face"
    assert rows["d-cut.png"]["reason"] in ("cut by the frame", "no face")
    assert rows["f-text.jpg"]["reason"] == "unreadable"
    assert "f-text.jpg is not an image that can be read. Skipped." in result.output
    assert rows["e-both.png"]["faces"] == 2
    assert "several faces in 1 images: the largest was taken" in result.output
    assert "4 of 7 faces accepted (57.1%)" in result.output
    good = rows["a-good.png"]
    assert len(good["landmarks"]) == 68
    assert good["score"] > 0.5
    assert read_image(tmp_path / "grace" / good["file"]).shape == (64, 64, 3)
    assert (tmp_path / "grace-accepted.jpg").exists()
    assert (tmp_path / "grace-rejected.jpg").exists()


def test_mirrored_faces_come_out_mirrored(frames: Path, tmp_path: Path) -> None:
    align(frames, "-o", tmp_path)
    one, mirrored = (read_image(tmp_path / "grace" / f"{name}.png").astype(int) for name in ("a-good", "b-mirrored"))
    assert np.abs(one - mirrored[:, ::-1]).mean() < 12  # landmarks are not quite symmetric
    assert np.abs(one - mirrored).mean() > 15


def test_with_a_reference_the_one_who_matches_is_taken(frames: Path, tmp_path: Path) -> None:
    reference = save(tmp_path / "reference.png", collins())
    result = align(frames, "-o", tmp_path / "out", "--person", reference)
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "out" / "grace")
    accepted = {name for name, row in rows.items() if row["status"] == "accepted"}
    assert accepted == {"e-both.png", "g-other.png"}
    assert rows["a-good.png"]["reason"] == "not the person"
    assert rows["e-both.png"]["box"][0] > 400, "the face on the right is hers"
    assert "the one that matches was taken" in result.output


@pytest.mark.parametrize(("crop", "size"), [("paper", 64), ("ffhq", 128), ("eyes", 32)])
def test_the_crops_and_sizes(frames: Path, tmp_path: Path, crop: str, size: int) -> None:
    result = align(frames, "-o", tmp_path, "--crop", crop, "--size", str(size), "--detector", "hog")
    assert result.exit_code == 0, result.output
    assert read_image(tmp_path / "grace" / "a-good.png").shape == (size, size, 3)


def test_a_rerun_does_only_what_is_missing(frames: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "grace"
    align(frames, "-o", tmp_path / "out")
    manifest = (folder / "manifest.jsonl").read_text()
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.png")}
    (folder / "a-good.png").unlink()
    lines = manifest.splitlines(keepends=True)
    (folder / "manifest.jsonl").write_text("".join(lines[:4]) + lines[4][:30])  # a kill while a row was written
    assert align(frames, "-o", tmp_path / "out").exit_code == 0
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.png")}
    assert {name: content for name, (content, _) in after.items()} == {n: c for n, (c, _) in before.items()}
    assert after["b-mirrored.png"][1] == before["b-mirrored.png"][1]
    assert (folder / "manifest.jsonl").read_text() == manifest


def test_processes_give_the_same_as_one(frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facemorph.faces.align_images.CHUNK", 4)  # two chunks, one for each process
    result = CliRunner().invoke(main, ["align", "-q", str(frames), "-o", str(tmp_path / "two"), "--jobs", "2"])
    assert result.exit_code == 0, result.output
    align(frames, "-o", tmp_path / "one")
    assert (tmp_path / "one/grace/manifest.jsonl").read_text() == (tmp_path / "two/grace/manifest.jsonl").read_text()
    for path in (tmp_path / "one" / "grace").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "two" / "grace" / path.name).read_bytes()


def test_following_the_face_finds_it_where_whole_searches_do(tmp_path: Path) -> None:
    face = hopper()[:400, 50:470]
    for shift in range(4):  # large enough that following pays
        frame = np.full((900, 1200, 3), 90, np.uint8)
        frame[200 + 6 * shift : 600 + 6 * shift, 300 + 9 * shift : 720 + 9 * shift] = face
        save(tmp_path / "frames" / f"{shift}.png", frame)
    assert align(tmp_path / "frames", "-o", tmp_path / "whole", "--detector", "cnn").exit_code == 0
    assert align(tmp_path / "frames", "-o", tmp_path / "followed", "--follow").exit_code == 0
    whole, followed = (rows_of(tmp_path / way / "frames") for way in ("whole", "followed"))
    assert [row["box"] for row in followed.values()] == [row["box"] for row in whole.values()]
    assert {row["status"] for row in followed.values()} == {"accepted"}


def test_faces_narrower_than_asked_are_not_taken(frames: Path, tmp_path: Path) -> None:
    assert align(frames, "-o", tmp_path).exit_code == 0
    boxes = [row["box"] for row in rows_of(tmp_path / "grace").values() if "box" in row]
    widest = max(right - left for left, _, right, _ in boxes)
    result = align(frames, "-o", tmp_path / "large", "--min-face", str(2 * widest))
    assert result.exit_code == 1 and "no face" in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--device", "cuda:77"), "cannot be used"),
        (("--device", "toaster"), "The device 'toaster' cannot be used: torch knows none of this name."),
        (("--device", "meta"), "The device 'meta' cannot be used: "),  # which has no memory
        (("--detector", "hog", "--follow"), "follow"),
    ],
)
def test_what_the_detector_cannot_do_is_said_at_once(
    frames: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    result = align(frames, "-o", tmp_path / "out", *options)
    assert result.exit_code == 1 and said in result.output and not (tmp_path / "out").exists()


def test_faces_of_before_there_was_a_setting_are_completed(frames: Path, tmp_path: Path) -> None:
    assert align(frames, "-o", tmp_path).exit_code == 0
    manifest = tmp_path / "grace" / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace(', "min_face_px": 0, "follow": false', ""))
    assert '"follow"' not in manifest.read_text()
    assert align(frames, "-o", tmp_path).exit_code == 0


def test_a_folder_goes_on_with_its_landmarks(frames: Path, tmp_path: Path) -> None:
    folder = tmp_path / "grace"
    folder.mkdir()
    shutil.copy(frames / "a-good.png", folder)
    assert align(folder, "-o", tmp_path / "out", "--landmarks", "dlib").exit_code == 0
    manifest = tmp_path / "out" / "grace" / "manifest.jsonl"
    assert read_jsonl(manifest)[0]["settings"]["landmarks"] == "dlib"
    by_dlib = rows_of(manifest.parent)["a-good.png"]["landmarks"]
    shutil.copy(frames / "b-mirrored.png", folder)
    assert align(folder, "-o", tmp_path / "out").exit_code == 0
    assert read_jsonl(manifest)[0]["settings"]["landmarks"] == "dlib"
    result = align(folder, "-o", tmp_path / "out", "--landmarks", "mesh")
    assert (result.exit_code, "other settings (landmarks was dlib)" in result.output) == (1, True)

    assert align(folder, "-o", tmp_path / "new").exit_code == 0
    rows = read_jsonl(tmp_path / "new" / "grace" / "manifest.jsonl")
    assert rows[0]["settings"]["landmarks"] == "mesh"
    apart = np.linalg.norm(np.array(rows[1]["landmarks"]) - by_dlib, axis=1)
    assert 0 < apart.mean() < 0.05 * np.ptp(by_dlib, axis=0).max()


def test_a_folder_of_before_landmarks_were_told_keeps_dlibs(frames: Path, tmp_path: Path) -> None:
    folder = tmp_path / "grace"
    folder.mkdir()
    shutil.copy(frames / "a-good.png", folder)
    assert align(folder, "-o", tmp_path / "out", "--detector", "cnn").exit_code == 0
    manifest = tmp_path / "out" / "grace" / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace(', "landmarks": "mesh"', ""))
    shutil.copy(frames / "b-mirrored.png", folder)
    assert align(folder, "-o", tmp_path / "out").exit_code == 0
    from facemorph.faces.landmarks import landmarks

    row = rows_of(manifest.parent)["b-mirrored.png"]
    in_box = landmarks(read_image(folder / "b-mirrored.png"), tuple(row["box"]))
    np.testing.assert_allclose(row["landmarks"], in_box)


def test_other_settings_do_not_mix(frames: Path, tmp_path: Path) -> None:
    align(frames, "-o", tmp_path)
    result = align(frames, "-o", tmp_path, "--size", "32")
    assert (result.exit_code, "other settings (size_px was 64)" in result.output) == (1, True)


def test_when_no_face_is_left_the_exit_code_says_so(frames: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nobody"
    folder.mkdir()
    for name in ("c-noise.png", "f-text.jpg"):
        shutil.copy(frames / name, folder)
    result = align(folder, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "No face was accepted from the 2 images" in result.output
    assert "1 no face" in result.output
    assert "1 unreadable" in result.output


def test_folders_that_cannot_be(frames: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, text in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "empty", "holds no images"),
        (frames / "a-good.png", "a folder of frames was expected.\nPut each person's images into a folder"),
    ):
        result = align(path, "-o", tmp_path / "out")
        assert (result.exit_code, text in result.output) == (1, True), result.output
    twin = tmp_path / "twin" / "grace"
    shutil.copytree(frames, twin)
    assert "would be mixed" in align(frames, twin, "-o", tmp_path / "out").output
    assert align(tmp_path / "twin", "-o", tmp_path / "out").exit_code == 0, "a folder of persons stands for them"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="/proc tells which processes there are")
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_a_command_that_is_killed_or_interrupted(tmp_path: Path, by: signal.Signals) -> None:
    one = hopper()[:400, 50:470]
    for number in range(300):
        save(tmp_path / "frames" / "grace" / f"{number:03d}.jpg", one)
    command = [sys.executable, "-m", "facemorph", "align", "-q", "--jobs", "2", tmp_path / "frames" / "grace"]
    process = subprocess.Popen(
        [*command, "-o", tmp_path / "out"],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_until(lambda: len(children_of(process.pid)) == 3, process)
    children, faces = children_of(process.pid), 0  # two workers, and a tracker of theirs
    if by != signal.SIGKILL:
        wait_until(lambda: any((tmp_path / "out").rglob("*.png")), process)
        faces = len(list((tmp_path / "out").rglob("*.png")))
    if by == signal.SIGINT:  # as a terminal does it: to all of them
        os.killpg(process.pid, by)
    else:
        process.send_signal(by)
    _, said = process.communicate(timeout=60)
    if by != signal.SIGKILL:  # at once: they do not go on with what lies ready for them
        assert (process.returncode, said) == (130, b"Interrupted.\n")
        assert len(list((tmp_path / "out").rglob("*.png"))) < faces + 16
    wait_until(lambda: not any(Path("/proc", child).is_dir() for child in children))


def test_an_interrupt_while_work_is_handed_out_ends_the_workers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM may come just then; the pool would otherwise wait for all that it was given."""
    for number in range(40):
        save(tmp_path / "grace" / f"{number:03d}.jpg", hopper()[:400, 50:470])
    submit, calls = ProcessPoolExecutor.submit, []

    def interrupted(pool: ProcessPoolExecutor, *arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return submit(pool, *arguments)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        align_folder(tmp_path / "grace", tmp_path / "out", AlignSettings(), jobs=2)
    assert len(calls) == 2 and not list((tmp_path / "out").rglob("*.png"))


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def wait_until(true: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end and (process is None or process.poll() is None)
        time.sleep(0.05)
