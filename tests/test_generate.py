"""Converted networks, their loading, and the `generate` command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from published_files import ada_from, ada_snapshot, dumps, stylegan1, stylegan2, write_official_stylegan1
from safetensors.numpy import load_file, save_file

from facemorph.cli import main
from facemorph.errors import WeightsError
from facemorph.images import read_image
from facemorph.stylegan.load import convert, load_generator


@pytest.fixture
def pickle_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEMORPH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "network.pkl"
    path.write_bytes(dumps(stylegan1()))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["generate", *map(str, arguments)])


@pytest.mark.parametrize("kind", ["stylegan1", "stylegan2", "ada with a label"])
def test_a_converted_network_makes_the_same_pictures_to_the_bit(kind: str, tmp_path: Path) -> None:
    network: Any = stylegan1() if kind == "stylegan1" else stylegan2(label_size=2, label_kind="embed")
    value = ada_snapshot(ada_from(network, 0.5)) if "ada" in kind else network
    published, converted = tmp_path / "network.pkl", tmp_path / "network.safetensors"
    published.write_bytes(dumps(value))
    convert(published, converted, card="a card")
    first, second = load_generator(published), load_generator(converted)
    assert first.architecture == second.architecture
    z, label = first.z_from_seeds([0, 1]), torch.eye(2) if first.architecture.label_size else None
    with torch.inference_mode():
        assert torch.equal(first(z, label), second(z, label))
    noted = json.loads((tmp_path / "network.json").read_text())["origin"]
    assert noted["file"] == "network.pkl" and noted["card"] == "a card"


def test_latents_of_a_seed_are_those_of_nvidias_tools(pickle_: Path) -> None:
    z = load_generator(pickle_).z_from_seeds([7, 8])
    assert np.allclose(z[1], np.random.RandomState(8).randn(16))


def damaged(path: Path, kind: str) -> str:
    """Damage a converted network; returns what the message must say."""
    beside = path.with_suffix(".json")
    text, arrays = json.loads(beside.read_text()), load_file(path)
    if kind == "no json":
        beside.unlink()
        return "network.json is missing"
    if kind == "json of something else":
        beside.write_text('{"a": 1}')
        return "network.json is refused"
    if kind == "json of another version":
        beside.write_text(json.dumps({**text, "format_version": 99}))
        return "of version 1"
    if kind == "json with an unknown setting":
        text["architecture"]["colour"] = 1
        beside.write_text(json.dumps(text))
        return "unexpected keyword argument 'colour'"
    if kind == "json with an impossible setting":
        text["architecture"]["resolution"] = 17
        beside.write_text(json.dumps(text))
        return "its resolution is not that of a StyleGAN"
    if kind == "json that is nested too deep":
        beside.write_text("[" * 500_000)
        return "network.json is refused"
    if kind == "json that is huge":
        beside.write_text(" " * (2 << 20))
        return "much larger than any"
    if kind == "an array missing":
        del arrays["w_avg"]
        save_file(arrays, path)
        return "its array w_avg is missing"
    if kind == "an array too many":
        save_file({**arrays, "more": np.zeros(1, np.float32)}, path)
        return "'more'"
    if kind == "an array of another shape":
        save_file({**arrays, "w_avg": np.zeros(3, np.float32)}, path)
        return r"of shape \(3,\); \(16,\) was expected"
    if kind == "other numbers":
        save_file({name: array.astype(np.float64) for name, array in arrays.items()}, path)
        return "its dtypes are F64; F32 or F16 was expected"
    path.write_bytes(path.read_bytes()[:-10])
    return "network.safetensors is refused"


KINDS = (
    *("no json", "json of something else", "json of another version", "json with an unknown setting"),
    *("json with an impossible setting", "json that is nested too deep", "json that is huge", "an array missing"),
    *("an array too many", "an array of another shape", "other numbers", "cut short"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_conversion_is_refused(kind: str, pickle_: Path) -> None:
    path = pickle_.with_suffix(".safetensors")
    convert(pickle_, path)
    says = damaged(path, kind)
    with pytest.raises(WeightsError, match=says) as caught:
        load_generator(path)
    assert "weights convert" in caught.value.hint


def test_a_grid_shows_each_seed_at_its_place(pickle_: Path) -> None:
    done = run("--network", pickle_, "--seeds", "3,5-6", "--truncation", "0.5", "--columns", "2", "-q")
    assert done.exit_code == 0, done.output
    assert done.output == "generated.png\n"
    sheet = read_image(Path("generated.png"))
    assert sheet.shape == (2 + 2 * 18, 2 + 2 * 18, 3)
    generator = load_generator(pickle_)
    with torch.inference_mode():
        image = generator(generator.z_from_seeds([6]), psi=0.5)[0]
    expected = (image * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    assert np.array_equal(sheet[20:36, 2:18], expected)
    assert (sheet[20:36, 20:36] == 255).all()


def test_the_truncation_changes_the_picture_as_the_network_does_it(pickle_: Path) -> None:
    sheets = {}
    for name, options in {
        "own": (),
        "0.7": ("--truncation", "0.7"),
        "1": ("--truncation", "1"),
        "cut": ("--cutoff", "0"),
    }.items():
        assert run("--network", pickle_, "--seeds", "1", *options, "--overwrite", "-q").exit_code == 0
        sheets[name] = read_image(Path("generated.png"))
    assert np.array_equal(sheets["own"], sheets["0.7"])  # the network's own is 0.7, in 8 layers
    assert np.array_equal(sheets["1"], sheets["cut"])
    assert not np.array_equal(sheets["own"], sheets["1"])


def test_nothing_is_overwritten_unasked(pickle_: Path) -> None:
    Path("generated.png").write_text("mine")
    done = run("--network", pickle_)
    assert done.exit_code == 1 and "generated.png exists" in done.output and "--overwrite" in done.output
    assert Path("generated.png").read_text() == "mine"


def test_mistakes_are_told(pickle_: Path) -> None:
    labelled = pickle_.with_name("labelled.pkl")
    labelled.write_bytes(dumps(stylegan2(8, label_size=3)))
    for options, code, says in (
        (("--network", "no-such"), 1, "No card is called"),
        (("--network", "stylegan1-ffhq-1024"), 1, "facemorph weights fetch stylegan1-ffhq-1024"),
        (("--network", labelled), 1, "a label from 0 to 2 is needed"),
        (("--network", labelled, "--label", "3"), 1, "a label from 0 to 2 is needed"),
        (("--network", pickle_, "--label", "0"), 1, "takes no label"),
        (("--network", pickle_, "--device", "toaster"), 1, "'toaster' cannot be used"),
        (("--network", pickle_, "--seeds", "5-3"), 2, "no seed or range"),
        (("--network", pickle_, "--seeds", "x"), 2, "no seed or range"),
        (("--network", pickle_, "--seeds", "4294967296"), 2, "no seed or range"),
        (("--network", pickle_, "--noise", "loud"), 2, "Invalid value for '--noise'"),
    ):
        done = run(*options)
        assert done.exit_code == code, (options, done.output)
        assert says in done.output
    assert run("--network", labelled, "--label", "2", "--noise", "random", "-q").exit_code == 0


def test_an_official_file_of_1024_px_is_converted_loaded_and_run(tmp_path: Path) -> None:
    """The layout of karras2019stylegan-ffhq-1024x1024.pkl."""
    published, converted = tmp_path / "karras.pkl", tmp_path / "karras.safetensors"
    write_official_stylegan1(published)
    convert(published, converted)
    generator = load_generator(converted)
    assert sum(parameter.numel() for parameter in generator.parameters()) == 26_219_627
    assert (generator.architecture.num_layers, generator.architecture.w_size) == (18, 512)
    with torch.inference_mode():
        image = generator(generator.z_from_seeds([0]))
    assert image.shape == (1, 3, 1024, 1024) and image.dtype == torch.float32
    assert image.isfinite().all() and 0.1 < image.std() < 10
