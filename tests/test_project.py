"""The `project` command and what it leaves behind, on real portraits and a random network."""

import contextlib
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_files import dumps, stylegan2
from skimage.metrics import peak_signal_noise_ratio

from facemorph.cli import main
from facemorph.errors import InputError, WeightsError
from facemorph.faces.locate import locate_face
from facemorph.files import read_jsonl, sha256
from facemorph.images import read_image, to_tensor, to_uint8, write_image
from facemorph.metrics.image_quality import ms_ssim
from facemorph.shards import Shard
from facemorph.stylegan.latents import check_network, read_latent
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.projection.config import (
    ProjectionConfig,
    ScheduleConfig,
    SearchConfig,
)
from facemorph.stylegan.projection.portrait import misalignment
from facemorph.stylegan.projection.project_images import project_files
from facemorph.stylegan.projection.projector import make_projector

pytestmark = pytest.mark.usefixtures("empty_cache")

QUICK = ProjectionConfig(search=SearchConfig(loss="pixel", samples=4), schedule=ScheduleConfig(steps=6))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["project", *map(str, arguments)])


def quick(network: Path, output: Path, *more: object) -> list[object]:
    steps = ["--set", "schedule.steps=6", "--set", "search.samples=4"]
    return ["--network", network, "--loss", "pixel", "--preset", "fast", *steps, "-o", output, *more]


def holds_together(folder: Path, network: Path, source: Path) -> dict:
    """Recompute all that a projection's folder says of itself; returns its report."""
    report = json.loads((folder / "report.json").read_text())
    latent = read_latent(folder / "latent.safetensors")
    wanted, made = read_image(folder / "aligned.png"), read_image(folder / "reconstruction.png")
    generator = load_generator(network)
    check_network(latent, generator, "the latent")
    with torch.no_grad():
        again = to_uint8(generator.synthesize(torch.from_numpy(latent.w)[None]))[0]
    # Here on a CPU; where there is CUDA the command took that, which rounds otherwise: a grey level at most.
    assert np.abs(again.astype(int) - made).max() <= (1 if torch.cuda.is_available() else 0)
    assert report["psnr_db"] == pytest.approx(peak_signal_noise_ratio(wanted, made), abs=1e-3)
    first, second = to_tensor(wanted[None]), to_tensor(made[None])
    assert report["ms_ssim"] == pytest.approx(float(ms_ssim(first, second)), abs=1e-5)
    assert report["source"] == source.name and len(latent.arrays["loss"]) == report["steps"]
    assert report["loss"] == pytest.approx(float(latent.arrays["loss"].min()))
    assert report["seconds"] > 0 and report["lpips"] is None and "vgg16" in report["lpips_reason"]
    side = generator.architecture.resolution
    assert read_image(folder / "side_by_side.png").shape == (side + 4, 2 * side + 6, 3)
    return report


def test_many_pictures_with_a_broken_one_then_resumed(people: Path, network: Path, tmp_path: Path) -> None:
    broken, out = tmp_path / "broken.jpg", tmp_path / "out"
    broken.write_bytes((people / "grace.jpg").read_bytes()[:2000])
    result = run(broken, people / "eileen.png", people / "grace.jpg", *quick(network, out))
    assert result.exit_code == 1, result.output
    assert "2 of 3 images projected" in result.output and "broken.jpg is damaged" in result.output
    for name in ("eileen.png", "grace.jpg"):
        holds_together(out / Path(name).stem, network, people / name)
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["failed", "done", "done"] and "damaged" in rows[0]["reason"]

    (out / "grace" / "report.json").unlink()  # as if it had been interrupted there
    before = (out / "eileen" / "latent.safetensors").stat().st_mtime_ns
    assert run(people / "eileen.png", people / "grace.jpg", *quick(network, out)).exit_code == 0
    assert (out / "eileen" / "latent.safetensors").stat().st_mtime_ns == before
    assert (out / "grace" / "report.json").exists()

    latent = out / "eileen" / "latent.safetensors"
    latent.write_bytes(latent.read_bytes()[:500])
    again = run(people / "eileen.png", *quick(network, out))
    assert again.exit_code == 0 and "It is made anew." in again.output
    holds_together(out / "eileen", network, people / "eileen.png")

    other = run(people / "eileen.png", *quick(network, out, "--space", "w"))
    assert other.exit_code == 1 and "other settings" in other.output and "--overwrite" in other.output
    assert run(people / "eileen.png", *quick(network, out, "--space", "w", "--overwrite")).exit_code == 0
    assert read_latent(out / "eileen" / "latent.safetensors").space == "w"


def test_a_shard_with_a_broken_picture_ends_well_or_torchrun_would_end_the_others(
    people: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, out = tmp_path / "broken.jpg", tmp_path / "out"
    broken.write_bytes((people / "grace.jpg").read_bytes()[:2000])
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, found in (("0", "0 of 1"), ("1", "1 of 1")):
        monkeypatch.setenv("RANK", rank)
        result = run(broken, people / "grace.jpg", *quick(network, out))
        assert result.exit_code == 0 and f"{found} images of shard" in result.output, result.output
    assert [row["status"] for row in read_jsonl(out / "manifest.jsonl")] == ["failed", "done"]


def test_the_command_that_a_refusal_names_can_be_typed(people: Path, network: Path, tmp_path: Path) -> None:
    image, out = tmp_path / "my picture.jpg", tmp_path / "my results"
    shutil.copy(people / "grace.jpg", image)
    assert run(image, *quick(network, out)).exit_code == 0
    result = run(image, *quick(network, out, "--space", "w"))
    words = shlex.split(result.output.partition("now: facemorph ")[2].strip())
    assert words == ["project", str(image), "-o", str(out), "--overwrite"]


def test_a_projection_keeps_its_landmarks(people: Path, network: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(people / "grace.jpg", *quick(network, out, "--landmarks", "dlib")).exit_code == 0
    assert read_latent(out / "grace" / "latent.safetensors").about["landmarks"] == "dlib"
    report = out / "grace" / "report.json"
    older = {key: value for key, value in json.loads(report.read_text()).items() if key != "landmarks"}
    report.write_text(json.dumps(older))
    assert run(people / "grace.jpg", *quick(network, out)).exit_code == 0
    assert "landmarks" not in json.loads(report.read_text()), "it was done already"
    other = run(people / "grace.jpg", *quick(network, out, "--landmarks", "mesh"))
    assert other.exit_code == 1 and "other landmarks" in other.output
    assert run(people / "grace.jpg", *quick(network, out, "--landmarks", "mesh", "--overwrite")).exit_code == 0
    assert json.loads(report.read_text())["landmarks"] == "mesh"


@pytest.mark.slow
def test_two_london_portraits_in_a_256_px_network(shared: Path, tmp_path: Path) -> None:
    network = shared / "fixtures" / "stylegan" / "stylegan1-256-random.pkl"
    folder = shared / "data" / "portraits" / "london"
    images = [folder / "man_005_neutral.jpg", folder / "woman_002_neutral.jpg"]
    latents = project_files(images, tmp_path, network, QUICK)
    assert [path.parent.name for path in latents] == [path.stem for path in images]
    for path, image in zip(latents, images, strict=True):
        report = holds_together(path.parent, network, image)
        assert misalignment(locate_face(read_image(path.parent / "aligned.png"), "it").landmarks, 256) < 0.02
        assert report["descriptor_distance"] is not None or "no face" in report["descriptor_reason"]


def test_nothing_is_projected_where_no_picture_can_be(network: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "sky.png", np.full((200, 200, 3), 90, np.uint8))
    result = run(tmp_path / "sky.png", tmp_path / "none.jpg", *quick(network, tmp_path / "out"))
    assert result.exit_code == 1 and "None of the images could be projected" in result.output
    assert "No face was detected" in result.output and "No such image" in result.output


def test_missing_weights_are_told_with_what_works_now(people: Path, network: Path, tmp_path: Path) -> None:
    result = run(people / "eileen.png", "--network", "stylegan1-ffhq-1024", "-o", tmp_path / "out")
    assert result.exit_code == 1 and not (tmp_path / "out").exists()
    for part in (
        "facemorph weights fetch stylegan1-ffhq-1024",
        "By hand: open https://drive.google.com",
        str(tmp_path / "cache" / "weights" / "karras2019stylegan-ffhq-1024x1024.pkl"),
        "--network faces-256",
    ):
        assert part in result.output
    with pytest.raises(WeightsError, match="vgg16") as error:
        make_projector(network, ProjectionConfig(search=SearchConfig(loss="vgg16")))
    assert "--loss imagenet" in str(error.value)


def test_pictures_of_one_name_are_all_projected(people: Path, network: Path, tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    for place in ("x/a.png", "y/a.png", "x/b.png", "x/B.webp"):
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        write_image(home / place, read_image(people / "eileen.png"))
    names = ("x/a.png", "y/a.png", "x/b.png", "x/B.webp")
    latents = project_files([home / name for name in names], out, network, QUICK)
    assert [path.parent.name for path in latents] == ["x-a.png", "y-a.png", "b.png", "B.webp"]
    assert {(row["source_folder"], row["source"]): row["folder"] for row in read_jsonl(out / "manifest.jsonl")} == {
        (str(home / "x"), "a.png"): "x-a.png", (str(home / "y"), "a.png"): "y-a.png",
        (str(home / "x"), "b.png"): "b.png", (str(home / "x"), "B.webp"): "B.webp",
    }  # fmt: skip
    times = {path: path.stat().st_mtime_ns for path in latents}
    for name in (*names, "x/../x/a.png"):  # each alone: it keeps its folder
        again = project_files([home / name, home / name], out, network, QUICK)
        assert len(again) == 2 and times[again[0]] == again[0].stat().st_mtime_ns
    (home / "z").mkdir()
    (home / "y/a.png").rename(home / "z/a.png")  # moved: it is still done
    assert project_files([home / "z/a.png"], out, network, QUICK) == [latents[1]]
    write_image(home / "y/a.png", read_image(people / "grace.jpg"))  # another of that name
    assert project_files([home / "y/a.png"], out, network, QUICK) == [latents[1]]  # that folder is the place's
    (other,) = project_files([home / "z/a.png"], out, network, QUICK)
    assert other.parent.name == "z-a.png"
    with pytest.raises(InputError, match="No images"):
        project_files([], tmp_path, network, QUICK)


def test_the_manifest_keeps_what_was_projected_before(
    people: Path, network: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def rows() -> dict[str, str]:
        found = read_jsonl(tmp_path / "manifest.jsonl")
        return {row["source"]: row["status"] + (" gone" if "source_gone" in row else "") for row in found}

    broken, mine = tmp_path / "broken.jpg", tmp_path / "mine.png"
    broken.write_bytes(b"no image")
    write_image(mine, read_image(people / "eileen.png"))
    project_files([mine, broken], tmp_path, network, QUICK)
    assert rows() == {"mine.png": "done", "broken.jpg": "failed"}
    for _ in range(2):
        project_files([people / "grace.jpg"], tmp_path, network, QUICK)
        assert rows() == {"mine.png": "done", "broken.jpg": "failed", "grace.jpg": "done"}
    broken.unlink()
    mine.rename(tmp_path / "away.png")
    project_files([people / "grace.jpg"], tmp_path, network, QUICK)
    assert rows() == {"mine.png": "done gone", "grace.jpg": "done"} and "their projections are kept" in caplog.text
    (tmp_path / "away.png").rename(mine)
    shutil.rmtree(tmp_path / "grace")
    project_files([mine], tmp_path, network, QUICK)
    assert rows() == {"mine.png": "done"}


HISTORY = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "delete", "rerun", "kill"]),
        st.sampled_from(["x/a.png", "y/a.png", "x/a.webp"]),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=7,
)


def test_manifest_and_folders_agree_with_the_pictures_after_any_history(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skimage.data import astronaut

    from facemorph.stylegan.projection import folder, project_images

    ready = tmp_path_factory.mktemp("ready")
    tiny = ready / "tiny.pkl"
    tiny.write_bytes(dumps(stylegan2(16, 8)))
    for number, image in enumerate((astronaut()[:200, 120:320], astronaut()[:220, 110:330])):
        write_image(ready / f"{number}.png", image)
    (ready / "2.png").write_bytes(b"\xff\xd8\xff no image")
    how = ProjectionConfig(search=SearchConfig(loss="pixel", samples=2), schedule=ScheduleConfig(steps=1))

    writers = [(project_images, "write_latent"), (project_images, "write_json"), (folder, "write_jsonl")]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    @settings(
        max_examples=10,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(HISTORY)
    def check(operations: list[tuple[str, str, int]]) -> None:
        base = tmp_path_factory.mktemp("history")
        out = base / "out"

        def sources() -> list[Path]:
            return sorted(path for path in base.glob("[xy]/*") if path.is_file())

        for kind, name, which in [*operations, ("rerun", "", 0)]:
            (base / name).parent.mkdir(exist_ok=True)
            if kind == "put":
                shutil.copy(ready / f"{which}.png", base / name)
            elif kind == "delete":
                (base / name).unlink(missing_ok=True)
            elif sources():
                with monkeypatch.context() as patch:
                    if kind == "kill":  # within the first or the second picture's files
                        patch.setattr(*writers[which], killed)
                    with contextlib.suppress(InputError, KeyboardInterrupt):
                        project_files(sources(), out, tiny, how)
        if not sources():
            return
        rows = {(row["source_folder"], row["source"]): row for row in read_jsonl(out / "manifest.jsonl")}
        for path in sources():
            row = rows.pop((str(path.parent), path.name))
            assert row["source_sha256"] == sha256(path)
            if path.read_bytes().startswith(b"\xff\xd8\xff no"):
                assert row["status"] == "failed"
                continue
            report = json.loads((out / row["folder"] / "report.json").read_text())
            assert row["status"] == "done" and report["source_sha256"] == sha256(path)
            assert read_latent(out / row["folder"] / "latent.safetensors").about["source_sha256"] == sha256(path)
        assert all(row["status"] == "done" and row["source_gone"] for row in rows.values())  # what stays, and says so
        folders = [row["folder"] for row in read_jsonl(out / "manifest.jsonl") if row["status"] == "done"]
        assert len(folders) == len(set(folders))
        assert {path.parent.name for path in out.glob("*/report.json")} >= set(folders)

    check()


def test_two_processes_share_the_pictures_and_one_manifest_accounts_for_all(
    people: Path, network: Path, tmp_path: Path
) -> None:
    (tmp_path / "torn.png").write_bytes(b"no image")
    images = [people / "eileen.png", tmp_path / "torn.png", people / "grace.jpg"]
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    project_files(images, alone, network, QUICK)
    first = project_files(images, shared, network, QUICK, shard=Shard(0, 2))
    assert not (shared / "manifest.jsonl").exists()
    assert project_files(images, shared, network, QUICK, shard=Shard(1, 2)) == []  # only the torn one: no error
    assert first == [shared / "eileen" / "latent.safetensors", shared / "grace" / "latent.safetensors"]
    assert (shared / "manifest.jsonl").read_text() == (alone / "manifest.jsonl").read_text()
    assert not list(shared.glob(".manifest-*"))
    for name in ("eileen", "grace"):
        ours, theirs = (read_latent(folder / name / "latent.safetensors") for folder in (shared, alone))
        assert np.array_equal(ours.w, theirs.w)
