"""Lists of pairs: what is made, kept, resumed, passed over."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import facemorph as fm
from facemorph.batches import read_pairs
from facemorph.cli import main
from facemorph.errors import InputError
from facemorph.faces.points import FacePoints, write_points
from facemorph.files import read_jsonl, sha256
from facemorph.images import read_image, write_image

LIST = "first,second,amount,name\na.png,b.png,,half\na.png,gone.png,,lost\nb.png,c.png,0.25,\na.png,c.png,x,odd\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    points = rng.uniform(30, 90, (15, 2))
    for name, level in (("a", 60), ("b", 120), ("c", 180)):
        write_image(tmp_path / f"{name}.png", np.full((120, 120, 3), level, np.uint8))
        write_points(tmp_path / f"{name}.tem", FacePoints(points + rng.normal(0, 1, points.shape)))
    (tmp_path / "pairs.csv").write_text(LIST)
    return tmp_path


def run(folder: Path, command: str, *more: str, code: int = 0) -> str:
    words = [command, "--pairs", str(folder / "pairs.csv"), "-q", "-o", str(folder / "out"), *more]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == code, result.output
    return result.output


def test_a_bad_row_is_reported_and_passed_over_and_the_others_are_made(folder: Path) -> None:
    said = run(folder, "morph", "--size", "64", "--jobs", "2", code=1)
    assert "line 3 (lost)" in said and "gone.png cannot be read" in said
    assert "line 5 (odd): the amount 'x' is no fraction" in said and "2 of 4 lines" in said
    assert read_image(folder / "out/half.png")[32, 32, 0] == 90
    assert read_image(folder / "out/b-c-0.25.png")[32, 32, 0] == 135
    rows = read_jsonl(folder / "out/manifest.jsonl")
    assert [row["status"] for row in rows] == ["made", "failed", "made", "failed"]
    assert rows[0]["recipe"]["size_px"] == 64 and len(rows[0]["files"]) == 4
    assert read_image(folder / "out/sheet.png").shape[1] > 2 * 160


def test_a_killed_batch_goes_on_and_does_not_make_again_what_is_there(folder: Path) -> None:
    run(folder, "morph", "--size", "64", code=1)
    manifest, half, other = (folder / "out" / name for name in ("manifest.jsonl", "half.png", "b-c-0.25.png"))
    rows = read_jsonl(manifest)
    # as a kill leaves it: the one done, the other begun with its picture there, and a line cut short
    begun = {**rows[2], "status": "begun", "pictures": {other.name: ""}}
    manifest.write_text(json.dumps(rows[0]) + "\n" + json.dumps(begun) + "\n" + '{"name": "x')
    times = half.stat().st_mtime_ns, other.stat().st_mtime_ns
    write_image(folder / "gone.png", read_image(folder / "c.png"))
    write_points(folder / "gone.csv", FacePoints(np.random.default_rng(1).uniform(30, 90, (15, 2))))
    (folder / "pairs.csv").write_text(LIST.replace(",x,odd", ",1,odd"))
    assert "3 pairs made, 1 already there" in run(folder, "morph", "--size", "64")
    assert half.stat().st_mtime_ns == times[0] and other.stat().st_mtime_ns != times[1]
    assert "0 pairs made, 4 already there" in run(folder, "morph", "--size", "64")


def test_what_was_made_otherwise_is_not_replaced_without_being_asked(folder: Path) -> None:
    (folder / "pairs.csv").write_text("first,second\na.png,b.png\n")
    run(folder, "morph", "--size", "64")
    assert "a-b.png exists, made with other settings" in run(folder, "morph", "--size", "80", code=1)
    assert len(read_image(folder / "out/a-b.png")) == 64
    run(folder, "morph", "--size", "80", "--overwrite")
    assert len(read_image(folder / "out/a-b.png")) == 80


def test_per_cents_of_a_list(folder: Path) -> None:
    (folder / "pairs.csv").write_text("first,second\na.png,b.png\n")
    run(folder, "morph", "--size", "64", "--at", "0,50,100")
    names = sorted(path.name for path in (folder / "out").glob("a-b*"))
    assert names == ["a-b-000.png", "a-b-050.png", "a-b-100.png"]


def test_transforms_of_a_list(folder: Path) -> None:
    (folder / "pairs.csv").write_text("first,amount\na.png,1\nc.png,-0.5\n")
    run(folder, "transform", "--from", str(folder / "a.png"), "--to", str(folder / "b.png"))
    assert read_image(folder / "out/a-1.png")[60, 60, 0] == 120
    assert read_image(folder / "out/c--0.5.png")[60, 60, 0] == 150
    (folder / "pairs.csv").write_text("first,second\na.png,b.png\n")
    run(folder, "transform", "--colour", "0.5")
    assert read_image(folder / "out/a-b.png")[60, 60, 0] == 90


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n", r"line 1 names the columns a, b"),
        ("first\na.png\n", r"should be first,second"),
        ("first,second\n", "holds no pairs"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_pairs(tmp_path / "pairs.csv")


def test_rows_with_a_problem_say_which(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("first,second,name\na,b,x\na,b\na,,y\na,b,X\na,b,../z\n")
    problems = [pair.problem for pair in read_pairs(tmp_path / "pairs.csv")]
    words = ["", "has 2 cells, the head 3", "has no second", "that of line 2 too", "cannot be the name"]
    for problem, word in zip(problems, words, strict=True):
        assert word in problem and bool(problem) == bool(word)


def test_landmarks_as_json_and_the_inner_face_alone(tmp_path: Path) -> None:
    astronaut = pytest.importorskip("skimage.data").astronaut()
    write_image(tmp_path / "eileen.png", astronaut)
    result = CliRunner().invoke(main, ["landmarks", str(tmp_path / "eileen.png"), "--json", "-q"])
    row = json.loads(result.stdout)
    assert (row["width"], row["height"], len(row["points"])) == (512, 512, 68)
    left, top, right, bottom = row["box"]
    nose = row["points"][30]
    assert left < nose[0] < right and top < nose[1] < bottom

    for mask, name in (([], "whole.png"), (["--face-only"], "inner.png")):
        words = ["transform", str(tmp_path / "eileen.png"), "--symmetric", "--shape", "0", "-o", str(tmp_path / name)]
        assert CliRunner().invoke(main, [*words, *mask]).exit_code == 0
    whole, inner = read_image(tmp_path / "whole.png"), read_image(tmp_path / "inner.png")
    x, y = (round(value) for value in nose)
    np.testing.assert_array_equal(inner[y, x], whole[y, x])
    np.testing.assert_array_equal(inner[:20], astronaut[:20])
    assert np.abs(whole[:20].astype(int) - astronaut[:20]).mean() > 1


def test_even_steps_are_more_even_and_old_stills_go(tmp_path: Path) -> None:
    from facemorph.evaluation.morphs import describe_any

    write_image(tmp_path / "eileen.png", pytest.importorskip("skimage.data").astronaut())
    from matplotlib.cbook import get_sample_data

    write_image(tmp_path / "grace.png", read_image(str(get_sample_data("grace_hopper.jpg", asfileobj=False))))
    pair = [str(tmp_path / "grace.png"), str(tmp_path / "eileen.png")]

    def stills(*more: str) -> list[Path]:
        out = tmp_path / "out"
        words = ["morph", *pair, "-q", "--method", "landmarks", "--size", "200", "--frames", "2", "--steps", "5"]
        result = CliRunner().invoke(main, [*words, "-o", str(out), "--overwrite", *more])
        assert result.exit_code == 0, result.output
        return sorted([*out.glob("step_*"), *out.glob("percent_*")])

    def variation(paths: list[Path]) -> float:
        descriptors, _ = describe_any([read_image(path) for path in paths])
        distances = np.linalg.norm(np.diff(descriptors, axis=0), axis=1)
        return float(distances.std() / distances.mean())

    plain = stills()
    before = variation(plain)
    even = stills("--even")
    assert len(plain) == len(even) == 5 and all(path.name.startswith("percent_") for path in even)
    assert variation(even) < 0.5 * before
    assert [path.name for path in stills()] == [f"step_{number}.jpg" for number in range(5)]


def test_names_of_any_bytes_and_length_and_two_of_one_stem(folder: Path) -> None:
    long, odd = "n" * 251, os.fsdecode(b"M\xfcller")
    (folder / "deep").mkdir()
    for name in (f"{long}.png", f"{odd}.png", "-dash.png", "b.webp", "deep/a.png"):
        write_image(folder / name, read_image(folder / "a.png"))
        if name != "b.webp":  # which has b.tem
            shutil.copy(folder / "a.tem", (folder / name).with_suffix(".tem"))
    rows = [
        f"{long}.png,b.png",
        f"{odd}.png,b.png",
        "-dash.png,b.png",
        "a.png,b.png",
        "a.png,b.webp",
        "deep/a.png,b.png",
    ]
    rows += ["a.png,b.png"]
    (folder / "pairs.csv").write_bytes(b"first,second\n" + b"\n".join(map(os.fsencode, rows)))
    said = run(folder, "morph", "--size", "64", code=1)
    assert "1 of 7 lines" in said and "line 8 (" in said and "is that of line" in said
    made = {name for row in read_jsonl(folder / "out/manifest.jsonl") for name in row["pictures"]}
    assert made == {path.name for path in (folder / "out").glob("*.png")} - {"sheet.png"} and len(made) == 6
    assert {f"{odd}-b.png", "-dash-b.png", "a-b.png", "a.png-b.webp.png", "a.png-b.png.png"} <= made
    times = {path: path.stat().st_mtime_ns for path in (folder / "out").glob("*-b*.png")}
    run(folder, "morph", "--size", "64", code=1)
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_a_batch_that_was_killed_makes_the_same_pictures(folder: Path) -> None:
    rng = np.random.default_rng(3)
    for name in "abc":
        noise = rng.integers(0, 255, (120, 120, 3), np.uint8)
        write_image(folder / f"{name}.png", noise)
    amounts = np.linspace(0.05, 0.95, 12).round(2)
    (folder / "pairs.csv").write_text("first,second,amount\n" + "".join(f"a.png,b.png,{one}\n" for one in amounts))

    def pictures(name: str) -> dict[str, str]:
        return {path.name: sha256(path) for path in (folder / name).glob("*.png")}

    words = [sys.executable, "-m", "facemorph", "morph", "--pairs", str(folder / "pairs.csv"), "-q"]
    words += ["--method", "landmarks", "--size", "512", "--jobs", "2", "-o"]
    killed, manifest = subprocess.Popen([*words, str(folder / "killed")]), folder / "killed" / "manifest.jsonl"
    while killed.poll() is None and not (manifest.exists() and manifest.read_text().count('"made"') >= 2):
        time.sleep(0.01)
    killed.kill()  # SIGKILL
    assert killed.wait() == -9 and 2 <= len(pictures("killed")) < 12
    said = subprocess.run([*words, str(folder / "killed")], capture_output=True, text=True, check=True).stdout
    assert "already there" in said
    subprocess.run([*words, str(folder / "whole")], capture_output=True, check=True)
    assert pictures("killed") == pictures("whole") and len(pictures("whole")) == 13


def test_a_picture_can_be_made_again_from_its_row(folder: Path) -> None:
    (folder / "pairs.csv").write_text("first,second,amount\na.png,b.png,0.3\nb.png,c.png,0.6\n")
    run(folder, "morph", "--size", "64", "--oval", "--background", "#305070")
    row = read_jsonl(folder / "out" / "manifest.jsonl")[1]
    recipe, look = row["recipe"], row["recipe"]["look"]
    words = [recipe["command"], row["first"], row["second"], "--method", recipe["method"], "--at", "0,60", "-q"]
    words += ["--size", str(recipe["size_px"]), "--oval", "--background", look["background"]]
    result = CliRunner().invoke(main, [*words, "--frames", "2", "-o", str(folder / "again")])
    assert result.exit_code == 0, result.output
    (name,) = row["pictures"]
    assert (folder / "again" / "percent_060.png").read_bytes() == (folder / "out" / name).read_bytes()


def test_transforms_of_a_list_through_a_network(folder: Path) -> None:
    from facemorph.stylegan.latents import Latent, fingerprint, write_latent
    from facemorph.stylegan.load import find_face_network, load_generator

    generator = load_generator(find_face_network("faces-256"))
    latents = dict(zip("abc", fm.Network("faces-256").draw([1, 2, 3]), strict=True))
    for name, w in latents.items():
        write_latent(folder / f"{name}.safetensors", Latent(w, "w+", fingerprint(generator)))
    (folder / "pairs.csv").write_text(
        "first,second,amount\na.safetensors,b.safetensors,1\nc.safetensors,gone.png,\nb.safetensors,a.safetensors,0\n"
    )
    network = ("--network", "faces-256", "--preset", "instant", "--latents", str(folder / "projected"))
    said = run(folder, "transform", *network, code=1)
    assert "line 3 (c-gone)" in said and "1 of 3 lines" in said
    from facemorph.stylegan.editing.resolve import render_latents

    expected = next(render_latents(generator, latents["b"][None])).astype(int)
    for name in ("a-b-1.png", "b-a-0.png"):  # a moved the whole way to b, b not at all
        assert np.abs(read_image(folder / "out" / name) - expected).max() <= 1, name
    rows = read_jsonl(folder / "out" / "manifest.jsonl")
    assert rows[0]["sources"][0]["parts"] == [1, -1, 1] and rows[0]["recipe"]["network"] == "faces-256"
    assert run(folder, "transform", *network, "--jobs", "2", code=2)
