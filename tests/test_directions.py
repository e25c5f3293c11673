"""Directions: read, found by three methods, applied; and what the expression numbers mean."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from published_files import dumps, stylegan1, stylegan2

from facemorph.cli import main
from facemorph.errors import ConfigError, InputError, OutputError
from facemorph.faces.expression import ATTRIBUTES
from facemorph.faces.locate import locate_face
from facemorph.images import read_image
from facemorph.stylegan.editing import directions as library
from facemorph.stylegan.editing.find_directions import DirectionSearch, find_new_directions
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.networks.generator import Generator


@pytest.fixture(params=["stylegan1", "stylegan2"])
def generator(request: pytest.FixtureRequest, tmp_path: Path) -> Generator:
    path = tmp_path / "network.pkl"
    path.write_bytes(dumps(stylegan1() if request.param == "stylegan1" else stylegan2()))
    return load_generator(path)


def test_age_strength_is_babygans() -> None:
    assert [library.age_strength(years) for years in (10, 20, 30, 50)] == [4, 2, 0, -4]
    for years in (9, 51):
        with pytest.raises(InputError, match="10 to 50"):
            library.age_strength(years)


def test_published_directions_are_what_is_known_of_them(shared: Path) -> None:
    norms = {"age": 0.670, "gender": 1.104, "smile": 0.942, "eyes_open": 0.587}
    for name, norm in norms.items():
        one = library.read_direction(shared / "data" / "directions" / f"{name}.npy", 18, 512)
        assert (one.name, one.vector.shape, one.vector.dtype, one.layers) == (name, (18, 512), np.float32, 8)
        np.testing.assert_allclose(np.linalg.norm(one.vector, axis=1), norm, atol=5e-4)
        assert np.ptp(one.vector, axis=0).max() == 0, "all rows are one"


@pytest.mark.parametrize("shape", [(6, 5), (1, 5), (5,)])
def test_a_direction_in_w_is_the_same_for_all_layers(shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=shape)
    np.save(tmp_path / "smile.npy", array)
    found = library.read_direction(tmp_path / "smile.npy", 6, 5).vector
    np.testing.assert_allclose(found, np.broadcast_to(array, (6, 5)), rtol=1e-6)


@pytest.mark.parametrize("bad", ["text", "objects", "shape", "infinite"])
def test_what_is_no_direction_is_refused(bad: str, tmp_path: Path) -> None:
    path = tmp_path / "age.npy"
    content = {
        "objects": np.array([{}]), "shape": np.zeros((7, 5)), "infinite": np.full((1, 5), np.inf),
    }  # fmt: skip
    path.write_text("no numbers") if bad == "text" else np.save(path, content[bad])
    with pytest.raises(InputError, match="shape" if bad == "shape" else "is no direction"):
        library.read_direction(path, 6, 5)


def test_factorisation_gives_what_changes_the_styles_most(generator: Generator) -> None:
    weights = library.styles(generator)
    count = sum(1 for name, _ in generator.named_parameters() if name.endswith(("style.weight", "affine.weight")))
    assert count >= generator.architecture.num_layers - 1 and weights.shape[1] == generator.architecture.w_size
    found = library.sefa(generator, 3)
    _, singular, vectors = np.linalg.svd(weights, full_matrices=False)
    for unit, expected, strength in zip(found, vectors, singular, strict=False):
        assert abs(unit @ expected) == pytest.approx(1, abs=1e-6)
        assert np.linalg.norm(weights @ unit) == pytest.approx(strength)


def test_principal_directions_are_those_of_the_decomposition() -> None:
    random = np.random.default_rng(1)
    w = random.normal(size=(500, 6)) * [5, 3, 2, 1, 1, 0.5] @ np.linalg.qr(random.normal(size=(6, 6)))[0] + 4
    _, _, vectors = np.linalg.svd(w - w.mean(0), full_matrices=False)
    for unit, expected in zip(library.ganspace_pca(w, 3), vectors, strict=False):
        assert abs(unit @ expected) == pytest.approx(1, abs=1e-9)
    assert library.scale_to_std(vectors[0], w) == pytest.approx(vectors[0] * (w @ vectors[0]).std())


@pytest.mark.parametrize("labels", ["numbers", "classes"])
def test_regression_recovers_a_known_direction_and_tells_noise_from_it(labels: str) -> None:
    random = np.random.default_rng(2)
    w = random.normal(size=(3000, 24)) * np.linspace(0.5, 2, 24)
    true = random.normal(size=24)
    true /= np.linalg.norm(true)
    values = w @ true + 0.3 * random.normal(size=3000)
    values = values if labels == "numbers" else (values > 0).astype(float)
    unit, correlation = library.ridge_direction(w, values)
    assert unit @ true > (0.99 if labels == "numbers" else 0.98)
    assert correlation > 0.75
    assert abs(library.ridge_direction(w, random.permutation(values))[1]) < 0.1
    with pytest.raises(InputError, match="too few"):
        library.ridge_direction(w, np.ones(3000))


def test_found_directions_are_written_read_and_kept_apart_by_network(generator: Generator, tmp_path: Path) -> None:
    a = generator.architecture
    one = library.Direction("smile", np.ones((a.num_layers, a.w_size), np.float32), 3, {"method": "pca"})
    other = library.Direction("yaw", one.vector * 2, 4, {"method": "sefa"})
    folder = tmp_path / "directions"
    library.write_directions(folder, [one], generator)
    library.write_directions(folder, [other], generator)
    found = library.read_directions(folder, generator)
    assert {name: direction.layers for name, direction in found.items()} == {"smile": 3, "yaw": 4}
    np.testing.assert_array_equal(found["yaw"].vector, other.vector)
    with pytest.raises(OutputError, match=r"smile\.npy exists already"):
        library.write_directions(folder, [one, other], generator)
    generator.w_avg += 1
    with pytest.raises(InputError, match="another network"):
        library.read_directions(folder, generator)
    with pytest.raises(InputError, match="no directions"):
        library.read_directions(tmp_path / "none", generator)


def test_labels_are_read_with_and_without_a_heading(tmp_path: Path) -> None:
    path = tmp_path / "ages.csv"
    for heading in ("", "seed,age\n"):
        path.write_text(heading + "3,20\n5, 31.5\n")
        seeds, values = library.read_labels(path)
        assert seeds == [3, 5] and values.tolist() == [20, 31.5]
    for bad in ("3,x\n4,5\n", "3\n", "-4,3\n"):
        path.write_text("1,2\n" + bad)
        with pytest.raises(InputError, match="not of the form"):
            library.read_labels(path)
    path.write_text("hello\n")
    with pytest.raises(InputError, match="holds no labels"):
        library.read_labels(path)


def face(**changes: float) -> np.ndarray:
    """The portrait's own landmarks [1, 68, 2]."""
    from skimage import data

    return locate_face(data.astronaut(), "astronaut").landmarks[None]


def test_expression_does_not_depend_on_place_size_and_turn() -> None:
    points = face()
    turned = points @ np.array([[0.9, 0.3], [-0.3, 0.9]]) * 2.5 + 40
    for name, values in ((name, attribute(points)) for name, attribute in ATTRIBUTES.items()):
        assert ATTRIBUTES[name](turned) == pytest.approx(values, abs=1e-9), name


def test_expression_goes_the_right_way() -> None:
    points = face()
    opened, shut, smiling = points.copy(), points.copy(), points.copy()
    opened[:, [65, 66, 67], 1] += 20
    shut[:, [37, 38, 43, 44], 1] = shut[:, [41, 40, 47, 46], 1] - 1
    smiling[:, 48] += [-6, -4]
    smiling[:, 54] += [6, -4]
    assert ATTRIBUTES["mouth_open"](opened) > ATTRIBUTES["mouth_open"](points) + 0.2
    assert ATTRIBUTES["eyes_open"](shut) < 0.1 < ATTRIBUTES["eyes_open"](points)
    assert ATTRIBUTES["smile"](smiling) > ATTRIBUTES["smile"](points) + 0.1
    nose = points.copy()
    nose[:, 27:36, 0] += 10
    assert ATTRIBUTES["yaw"](nose) > ATTRIBUTES["yaw"](points)
    mirrored = points * [-1, 1]
    order = np.r_[np.arange(16, -1, -1), np.arange(17, 68)]
    order[36:48] = [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    assert ATTRIBUTES["yaw"](mirrored[:, order]) == pytest.approx(-ATTRIBUTES["yaw"](points), abs=0.02)


@pytest.mark.slow
def test_smiles_of_portraits_are_seen(shared: Path) -> None:
    found = {}
    for path in sorted((shared / "data" / "portraits" / "london").glob("*.jpg")):
        found[path.stem] = float(ATTRIBUTES["smile"](locate_face(read_image(path), path.name).landmarks[None])[0])
    people = [name.removesuffix("_neutral") for name in found if name.endswith("_neutral")]
    assert len(people) == 24
    assert sum(found[f"{one}_smiling"] > found[f"{one}_neutral"] for one in people) >= 23


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["directions", "-q", *map(str, arguments)])


def test_a_seed_that_numpy_does_not_take_is_refused(generator: Generator) -> None:
    with pytest.raises(ConfigError, match="seed should be a whole number from 0 to 4294957296, not 9223"):
        find_new_directions(generator, DirectionSearch(seed=2**63 - 1))


@pytest.mark.parametrize("method", ["sefa", "pca"])
def test_the_command_finds_and_shows(method: str, tmp_path: Path) -> None:
    network, folder = tmp_path / "network.pkl", tmp_path / "out"
    network.write_bytes(dumps(stylegan1()))
    result = run("--network", network, "--method", method, "--count", "2", "-o", folder)
    assert result.exit_code == 0, result.output
    noted = json.loads((folder / "directions.json").read_text())["directions"]
    assert list(noted) == [f"{method}_0", f"{method}_1"]
    sheet = read_image(folder / "sheet.png")
    assert sheet.shape[1] == 7 * (128 + 2) + 2
    refused = run("--network", network, "--method", method, "--count", "1", "--seed", "5", "-o", folder)
    assert refused.exit_code == 1 and f"{method}_0.npy exists already" in refused.output
    assert noted == json.loads((folder / "directions.json").read_text())["directions"]
    replaced = run("--network", network, "--method", method, "--count", "1", "--seed", "5", "-o", folder, "--overwrite")
    assert replaced.exit_code == 0, replaced.output
    noted = json.loads((folder / "directions.json").read_text())["directions"]
    assert {name: about["seed"] for name, about in noted.items()} == {f"{method}_0": 5, f"{method}_1": 0}
    again = run("--network", network, "--from", folder, "-o", tmp_path / "again")
    assert again.exit_code == 0 and (tmp_path / "again" / "sheet.png").exists()


def test_the_command_learns_from_labels(tmp_path: Path) -> None:
    network, labels = tmp_path / "network.pkl", tmp_path / "labels.csv"
    network.write_bytes(dumps(stylegan1()))
    generator = load_generator(network)
    w = library.w_from_seeds(generator, range(200))
    labels.write_text("seed,size\n" + "".join(f"{seed},{row[0]}\n" for seed, row in enumerate(w)))
    result = run("--network", network, "--method", "labels", "--labels", labels, "--name", "size", "-o", tmp_path / "o")
    assert result.exit_code == 0, result.output
    vector = torch.from_numpy(np.load(tmp_path / "o" / "size.npy"))[0]
    moved = (w @ vector.numpy()).std()
    assert np.corrcoef(w @ vector.numpy(), w[:, 0])[0, 1] > 0.98 and moved > 0


def test_what_cannot_be_found_is_said(tmp_path: Path) -> None:
    network = tmp_path / "network.pkl"
    network.write_bytes(dumps(stylegan1()))
    said = {
        ("--method", "labels"): "Labels need a file and a name",
        ("--method", "attributes", "--samples", "100"): "A face was found in ",
        ("--from", str(tmp_path / "none")): "no directions",
        ("--latent", str(tmp_path / "none.safetensors")): "does not exist",
    }
    for options, text in said.items():
        result = run("--network", network, *options, "-o", tmp_path / "out")
        assert result.exit_code == 1 and text in result.output, result.output
    assert run("--network", network, "--attribute", "beard").exit_code == 2
