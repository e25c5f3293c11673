"""`facemorph evaluate`: on a small run really trained on the embedded sample, and on faces made to fail it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from matplotlib.text import Text
from PIL import Image

from facemorph.cli import main
from facemorph.dcgan.config import config_from_dict
from facemorph.dcgan.dataset import Faces
from facemorph.dcgan.run import Run
from facemorph.dcgan.train import train
from facemorph.evaluation import evaluate_run, measures
from facemorph.evaluation.cached_features import face_features, imagenet_features
from facemorph.evaluation.real import training_faces
from facemorph.evaluation.report_plot import plot_evaluation
from facemorph.faces.crop import cut, paper_quad
from facemorph.faces.expression import EXPRESSIONS, expressions
from facemorph.faces.features import FaceFeatures, PersonCentroids, features_of_aligned
from facemorph.images import read_image
from facemorph.metrics.distributions import frechet

CROP_PX, SIDE_PX = 230, 64
EACH = 36  # faces of each person
SAMPLES = 24


def crops(puppet: Any, pose: dict[str, np.ndarray]) -> np.ndarray:
    """Aligned faces of a puppet, where it truly is: uint8 [N, 64, 64, 3]."""
    target, _ = puppet.meshes(pose)
    quads = [paper_quad(points[:68], CROP_PX) for points in target]
    cuts = [cut(frame, quad, SIDE_PX, 256) for frame, quad in zip(puppet.frames(pose), quads, strict=True)]
    return np.stack(cuts)


@pytest.fixture(scope="module")
def faces(sample: Any, puppets: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded sample's faces, a folder a person."""
    folder = tmp_path_factory.mktemp("trained") / "faces"
    pose = sample["make_clips"].act(4 * EACH, np.random.default_rng(0))
    for name, puppet in puppets.items():
        (folder / name).mkdir(parents=True)
        for i, image in enumerate(crops(puppet, {key: values[::4] for key, values in pose.items()})):
            Image.fromarray(image).save(folder / name / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def trained(faces: Path) -> Path:
    """A run trained for 60 steps, beside the faces that its configuration names relatively."""
    config = config_from_dict(
        {
            "data": {"faces": [str(faces)]},
            "network": {"channels": 8, "z_dim": 16},
            "training": {"steps": 60, "batch_size": 16, "learning_rate": 1e-3, "augment": ["color", "shift"]},
            "output": {"sample_every": 60, "checkpoint_every": 60},
        }
    )
    folder = faces.parent / "run"
    train(config, folder, device_name="cpu")
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace(str(faces), "faces"))
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same for all tests of a session, so that features of real faces are computed once; never the user's."""
    folder = tmp_path_factory.getbasetemp() / "evaluate-cache"
    monkeypatch.setenv("FACEMORPH_CACHE", str(folder))
    return folder


def invoke(*words: object) -> Any:
    return CliRunner().invoke(main, ["evaluate", *map(str, words)])


@pytest.fixture(scope="module")
def real(trained: Path) -> Faces:
    return training_faces(Run.open(trained))


@pytest.fixture
def known(real: Faces, own_cache: Path) -> FaceFeatures:
    return face_features(real.rgb, own_cache / "studies")


@pytest.fixture(scope="module")
def evaluated(trained: Path, faces: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """What the command said, and the report that it wrote into the run folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEMORPH_CACHE", str(tmp_path_factory.getbasetemp() / "evaluate-cache"))
        result = invoke(trained, "--samples", SAMPLES, "--against", faces / "grace_hopper", "-q")
    assert result.exit_code == 0, result.output
    return result, json.loads((trained / "evaluation.json").read_text())


def test_a_run_is_evaluated_end_to_end(trained: Path, evaluated: tuple[Any, dict[str, Any]]) -> None:
    result, report = evaluated
    assert report["data"]["faces"] == {"eileen_collins": EACH, "grace_hopper": EACH}
    assert report["data"]["all_that_it_learnt_from"]
    assert report["against"]["data"]["faces"] == {"grace_hopper": EACH}
    found = report["distances"]["descriptors"]
    for name in ("frechet", "kernel"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
        assert found[name]["value"] > 2 * abs(found["floor"][name])  # 60 steps make no faces
    assert report["data_shows"]["seen"] == 1 and report["data_shows"]["near_a_person"] == 1
    for where in (report, report["against"]):
        assert where["distances"]["imagenet"]["kernel"]["value"] > 100 * abs(found["floor"]["kernel"])
    assert f"{2 * EACH} real faces are few" in result.output
    assert read_image(trained / "evaluation.png").shape[1] > 1000
    with np.load(trained / "evaluation.npz", allow_pickle=False) as arrays:
        plot_evaluation(report, dict(arrays))  # drawn anew from the files alone
    assert len(list((trained / "studied").iterdir())) == 3  # samples by two networks, walks


def test_runs_are_compared_and_one_that_always_generates_one_image_is_called_collapsed(
    trained: Path, evaluated: tuple[Any, dict[str, Any]], tmp_path: Path
) -> None:
    """The dead run also lies far from the faces that it learnt from, and takes those it kept."""
    report = evaluated[1]
    dead = tmp_path / "a" / "b" / "dead"
    shutil.copytree(trained, dead)
    path = dead / "generator.safetensors"
    weights = safetensors.torch.load_file(path)
    first = next(name for name in weights if name.endswith("weight"))
    safetensors.torch.save_file({**weights, first: torch.zeros_like(weights[first])}, path)
    result = invoke("run", dead, trained, "--samples", SAMPLES, "-q")
    assert result.exit_code == 0, result.output
    assert "are not found: No face folder faces (data.faces). Compared" in result.output
    assert f"Compared with the 64 in the run folder, of {2 * EACH}" in result.output
    assert [line.split() for line in result.output.splitlines() if "dead" in line.split()] == [["dead", trained.name]]

    collapsed = json.loads((dead / "evaluation.json").read_text())
    assert not collapsed["data"]["all_that_it_learnt_from"]
    assert collapsed["diversity"]["pixels"]["samples"] < 1e-6
    assert collapsed["walks"]["mean_step"] < 1e-6
    assert sum("Collapsed" in remark for remark in collapsed["remarks"]) == 2
    assert report["diversity"]["pixels"]["samples"] > 0.01
    again = json.loads((trained / "evaluation.json").read_text())
    assert again == {**report, "against": None}  # the same seed, the same figures


def test_where_no_face_is_detected_the_plot_says_so(trained: Path, evaluated: tuple[Any, dict[str, Any]]) -> None:
    report = json.loads(json.dumps(evaluated[1]))
    with np.load(trained / "evaluation.npz", allow_pickle=False) as stored:
        arrays = dict(stored)

    def texts(report: dict[str, Any]) -> list[str]:
        figure = plot_evaluation(report, {**arrays, "samples_detected": np.ones(SAMPLES, bool)})
        return [text.get_text() for text in figure.findobj(match=Text)]  # pyright: ignore[reportAttributeAccessIssue]

    report["samples_show"]["seen"] = 0.5
    report["distances"]["imagenet"]["floor"]["kernel"] = -0.01
    shown = texts(report)
    assert not any("no face is detected" in text for text in shown)
    assert any("below 0 means 0 within its error" in text for text in shown)
    report["samples_show"]["seen"] = 0.0
    report["distances"]["imagenet"]["floor"]["kernel"] = 0.01
    shown = texts(report)
    assert sum("no face is detected" in text for text in shown) == 5
    assert not any("nearest\nby descriptor" in text for text in shown)


def test_a_walk_between_persons_names_the_real_cause_where_it_cannot_be(trained: Path) -> None:
    result = CliRunner().invoke(main, ["walk", str(trained), "-q"])
    assert result.exit_code == 1
    assert "samples show no face yet: one is detected in" in result.output


def test_faces_that_changed_are_not_taken_for_the_training_faces(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    shutil.copytree(trained.parent / "faces", tmp_path / "faces")
    assert training_faces(Run.open(tmp_path / "run")).complete
    (tmp_path / "faces" / "grace_hopper" / "000.png").unlink()
    assert not training_faces(Run.open(tmp_path / "run")).complete


def test_samples_that_are_training_images_are_called_memorised(real: Faces, known: FaceFeatures) -> None:
    report, arrays = evaluate_run.compare_faces(real, real.rgb, known, known, seed=0)
    assert report["distances"]["descriptors"]["frechet"]["value"] < 1e-6
    assert report["distances"]["descriptors"]["kernel"]["value"] < 0
    for space in ("descriptors", "pixels"):
        assert report["memory"][space]["nearer_share"] > 0.9, space
        assert report["diversity"][space]["ratio"] == pytest.approx(1)
    assert sum("Memorised" in remark for remark in report["remarks"]) == 2
    np.testing.assert_array_equal(arrays["shown"], arrays["shown_nearest"])


def test_other_faces_of_the_same_persons_are_neither_memorised_nor_collapsed(
    sample: Any, puppets: dict[str, Any], real: Faces, known: FaceFeatures, own_cache: Path
) -> None:
    pose = sample["make_clips"].act(4 * EACH, np.random.default_rng(7))  # another performance
    pose = {key: values[::4] for key, values in pose.items()}
    fresh = np.concatenate([crops(puppets[name], pose) for name in real.persons])
    drawn = face_features(fresh, own_cache / "studies")
    report, _ = evaluate_run.compare_faces(real, fresh, known, drawn, seed=0)
    assert [remark for remark in report["remarks"] if "few" not in remark] == []
    assert report["memory"]["descriptors"]["nearer_share"] < 0.25
    assert report["samples_show"]["near_a_person"] == 1
    assert report["samples_show"]["most_like"] == {"eileen_collins": 0.5, "grace_hopper": 0.5}
    covered = report["expressions"]
    assert covered["coverage"] > 0.7 * covered["coverage_real"] > 0.5
    assert min(covered["range"].values()) > 0.6


def test_mirrored_faces_are_called_mirrored(real: Faces, known: FaceFeatures, own_cache: Path) -> None:
    turned = np.ascontiguousarray(real.rgb[:, :, ::-1])
    drawn = face_features(turned, own_cache / "studies")
    report, _ = evaluate_run.compare_faces(real, turned, known, drawn, seed=0)
    assert report["mirrored"]["samples"] == 1
    assert report["mirrored"]["data"] < 0.1
    assert any("Mirrored: 100%" in remark for remark in report["remarks"])


def test_faces_between_two_persons_are_counted_as_such() -> None:
    a, b = np.zeros(128), np.eye(128)[0]
    rng = np.random.default_rng(0)

    def faces(rows: np.ndarray, seen: bool = True) -> FaceFeatures:
        return FaceFeatures(rows, np.zeros((len(rows), 68, 2)), np.full(len(rows), seen))

    own = faces(np.concatenate([np.tile(a, (20, 1)), np.tile(b, (20, 1))]) + rng.normal(0, 0.01, (40, 128)))
    persons = PersonCentroids.of(own, np.repeat([0, 1], 20), ("a", "b"))
    way = np.array([0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 1.0])
    mixed = faces(a + way[:, None] * (b - a))
    np.testing.assert_array_equal(
        measures.between_persons(persons, mixed), [False, False, False, True, True, True, False, False]
    )
    assert not measures.between_persons(persons, faces(mixed.descriptors, seen=False)).any()
    assert measures.person_fractions(persons, own)["between_persons"] == 0
    assert not measures.between_persons(PersonCentroids.of(own, np.zeros(40, int), ("a",)), mixed).any()


def test_an_even_walk_is_distinguished_from_one_that_jumps() -> None:
    even = np.linspace(0, 1, 9)[:, None] * np.eye(128)[:1]
    jump = np.where(np.arange(9) < 4, 0.0, 1.0)[:, None] * np.eye(128)[:1]
    for walk, largest in ((even, 1), (jump, 8)):
        figures, steps = measures.smoothness(np.stack([walk, walk]))
        assert steps.shape == (2, 8)
        assert figures == pytest.approx({"mean_step": 0.125, "largest_over_mean": largest, "detour": 1})
    assert measures.smoothness(np.zeros((2, 9, 128)))[0]["largest_over_mean"] == 0


def test_the_landmarks_of_small_aligned_faces_are_where_they_were_put(puppets: dict[str, Any], sample: Any) -> None:
    for puppet in puppets.values():
        pose = {name: np.zeros(1) for name in sample["puppet"].PARAMETERS}
        found = features_of_aligned(crops(puppet, pose))
        points, seen = found.points, found.detected
        assert points.shape == (1, 68, 2) and seen.all()
        truth = puppet.neutral[:68]
        corner = truth.mean(0) - CROP_PX / 2
        expected = (truth - corner) * SIDE_PX / CROP_PX - 0.5
        apart = (points[0] - expected)[17:]  # without the jaw line, along which points slide
        assert np.median(np.linalg.norm(apart, axis=1)) < 1.3 and np.abs(apart.mean(0)).max() < 1
    assert not features_of_aligned(
        np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    ).detected.any()


@pytest.mark.parametrize(
    ("name", "less", "more"),
    [
        ("mouth_open", {}, {"jaw": 1.0}),
        ("smile", {}, {"smile": 1.0}),
        ("eyes_open", {"blink": 1.0}, {}),
        ("yaw", {"yaw": -11.0}, {"yaw": 11.0}),
    ],
)
def test_an_expression_that_is_made_is_measured_on_64_pixels(
    sample: Any, puppets: dict[str, Any], name: str, less: dict[str, float], more: dict[str, float]
) -> None:
    column = EXPRESSIONS.index(name)
    for who, puppet in puppets.items():
        pose = {key: np.array([less.get(key, 0.0), more.get(key, 0.0)]) for key in sample["puppet"].PARAMETERS}
        low, high = expressions(features_of_aligned(crops(puppet, pose)).points)[:, column]
        assert high > low + 0.03, (who, low, high)


def test_expressions_do_not_depend_on_place_size_or_tilt_and_yaw_has_a_side(puppets: dict[str, Any]) -> None:
    points = next(iter(puppets.values())).neutral[:68]
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    moved = 3.7 * points @ turn.T + [100, -20]
    np.testing.assert_allclose(expressions(moved[None]), expressions(points[None]), atol=1e-6)
    nose = points.copy()
    nose[30, 0] += 0.1 * (points[42:48].mean(0) - points[36:42].mean(0))[0]
    assert expressions(nose[None])[0, 3] - expressions(points[None])[0, 3] == pytest.approx(0.1, abs=0.02)
    assert np.isfinite(expressions(np.zeros((1, 68, 2)))).all()


def test_damaged_caches_are_computed_again(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    first = face_features(images, tmp_path)
    (path,) = tmp_path.iterdir()
    for spoilt in (b"", path.read_bytes()[:-200], b"PK" + path.read_bytes()[2:900]):
        path.write_bytes(spoilt)
        np.testing.assert_array_equal(face_features(images, tmp_path).descriptors, first.descriptors)
    before = path.stat().st_mtime_ns
    face_features(images, tmp_path)
    assert path.stat().st_mtime_ns == before
    face_features(images[:1], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_bad_input_is_refused_with_numbers(
    trained: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*words: object) -> str:
        result = invoke(*words, "-q")
        assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
        return result.output

    assert "does not exist" in refused(tmp_path / "nowhere")
    assert "is not a run folder" in refused(faces)
    untrained = tmp_path / "untrained"
    shutil.copytree(trained, untrained)
    (untrained / "generator.safetensors").unlink()
    assert "has no generator.safetensors yet" in refused(untrained)
    few = tmp_path / "few"
    shutil.copytree(faces / "grace_hopper", few)
    for path in sorted(few.iterdir())[5:]:
        path.unlink()
    assert "5 faces; at least 16" in refused(trained, "--against", few)
    assert "No face folder" in refused(trained, "--against", tmp_path / "gone")
    assert "cannot be used" in refused(trained, "--device", "cuda:99")
    same = tmp_path / "elsewhere" / trained.name
    shutil.copytree(trained, same)
    assert "Two runs have the same name: run, run" in refused(trained, same, "-o", tmp_path / "both")
    assert not (tmp_path / "both").exists()
    assert invoke(trained, "--samples", 3).exit_code == 2
    assert "Missing argument" in invoke("run").output
    assert "RUNS" in invoke("run", "--help").output and "Commands" in invoke("--help").output
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()  # here the word is the folder, whatever options follow
    assert "run is not a run folder" in refused("run", "--samples", 300, "--against", faces)


def test_imagenet_features_are_those_of_the_published_network() -> None:
    """Against the implementation that the weights were published for."""
    import efficientnet_lite_pytorch

    from facemorph.files import find_in_package
    from facemorph.metrics.imagenet_features import FILE, PACKAGE, SHA256, load_efficientnet

    published = efficientnet_lite_pytorch.EfficientNet.from_name("efficientnet-lite0").eval()
    published.load_state_dict(torch.load(find_in_package(PACKAGE, FILE, SHA256), weights_only=True))
    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3)).astype(np.uint8)  # nothing to enlarge
    with torch.inference_mode():
        x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128  # as Google's own code prepares them
        x = published._swish(published._bn0(published._conv_stem(x)))
        for block in published._blocks:
            x = block(x)
    found = load_efficientnet().describe(images)
    assert found.shape == (3, 320) and found.dtype == np.float64
    np.testing.assert_allclose(found, x.mean((2, 3)), atol=1e-4 * float(x.abs().max()))


def test_imagenet_features_tell_persons_apart(real: Faces, own_cache: Path) -> None:
    features = imagenet_features(real.rgb, own_cache / "studies")
    first, second = features[real.labels == 0], features[real.labels == 1]
    between, within = frechet(first, second), frechet(first[::2], first[1::2])
    assert between > 5 * within
