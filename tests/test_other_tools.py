"""Files of other tools: latents and checkpoints are read right, or refused as what they are, before anything slow."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from published_files import Module, ada_from, ada_snapshot, dumps, rosinality_from, stylegan2, torch_bytes

from facemorph.cli import main
from facemorph.errors import InputError, WeightsError
from facemorph.stylegan.latents import as_latent, read_array
from facemorph.stylegan.load import convert, load_generator

LATENT = np.random.default_rng(0).standard_normal((18, 512)).astype(np.float32)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def pt(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


READ: dict[str, tuple[str, bytes, np.ndarray]] = {
    "W": ("a.npy", npy(LATENT[0]), LATENT[0]),
    "W in a batch": ("a.npy", npy(LATENT[None, :1]), LATENT[0]),
    "W+": ("a.npy", npy(LATENT), LATENT),
    "W+ in a batch": ("a.NPY", npy(LATENT[None]), LATENT),
    "doubles": ("a.npy", npy(LATENT.astype(np.float64)), LATENT),
    "big-endian": ("a.npy", npy(LATENT.astype(">f4")), LATENT),
    "Fortran's order": ("a.npy", npy(np.asfortranarray(LATENT)), LATENT),
    "projected_w.npz of NVIDIA": ("a.npz", npz(w=LATENT[None]), LATENT),
    "one array of any name": ("a.npz", npz(arr_0=LATENT), LATENT),
    "a tensor": ("a.pt", pt(torch.from_numpy(LATENT[None])), LATENT),
    "a parameter with a gradient": ("a.pth", pt(torch.nn.Parameter(torch.from_numpy(LATENT))), LATENT),
    "rosinality's projector": (
        "a.pt", pt({"a.png": {"img": torch.zeros(3, 8, 8), "latent": torch.from_numpy(LATENT), "noise": []}}), LATENT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
def test_a_latent_of_another_tool_is_read_to_the_bit(kind: str, tmp_path: Path) -> None:
    name, content, expected = READ[kind]
    (tmp_path / name).write_bytes(content)
    found = read_array(tmp_path / name)
    assert found.dtype == np.float32 and np.array_equal(found, expected)


def test_bfloat16_is_read_as_its_numbers(tmp_path: Path) -> None:
    wanted = torch.from_numpy(LATENT).bfloat16()
    torch.save(wanted, tmp_path / "a.pt")
    assert np.array_equal(read_array(tmp_path / "a.pt"), wanted.float().numpy())


def bomb() -> bytes:
    """An .npz of 30 kB that unpacks to 300 MB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("w.npy", "w") as inner:
        inner.write(npy(np.zeros(1, np.float32)))
        for _ in range(300):
            inner.write(bytes(1 << 20))
    return file.getvalue()


class Hostile:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('a line of a file was run')",)


REFUSED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "several": ("a.npy", lambda: npy(np.zeros((3, 18, 512), np.float32)), "holds 3 latents"),
    "an image": ("a.npy", lambda: npy(np.zeros((64, 64, 3), np.uint8)), "no plain finite numbers"),
    "not a number": ("a.npy", lambda: npy(np.full((18, 512), np.nan, np.float32)), "no plain finite numbers"),
    "nothing": ("a.npy", lambda: npy(np.zeros((0, 512), np.float32)), "no plain finite numbers"),
    "objects": ("a.npy", lambda: npy(np.array([Hostile()], object)), "Object arrays cannot be loaded"),
    "cut short": ("a.npy", lambda: npy(LATENT)[:3000], "Failed to read all data|cannot reshape"),
    "cut short in torch": ("a.pt", lambda: pt(torch.from_numpy(LATENT))[:3000], "central directory"),
    "two arrays": ("a.npz", lambda: npz(a=LATENT, b=LATENT), "holds 2 arrays"),
    "a bomb": ("a.npz", bomb, "far too large"),
    "a list": ("a.pt", lambda: pt([torch.from_numpy(LATENT)]), "holds 0 arrays"),
    "code": ("a.pt", lambda: pickle.dumps(Hostile()), "not a latent"),
    "a web page": ("a.pt", lambda: b"<html>", "not a latent"),
    "empty": ("a.npz", lambda: b"", "not a latent"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_single_latent_is_refused_with_the_reason(kind: str, tmp_path: Path) -> None:
    name, content, words = REFUSED[kind]
    path = tmp_path / name
    path.write_bytes(content())
    with pytest.raises(InputError, match=words) as caught:
        read_array(path)
    assert str(path) in caught.value.problem and "\n" not in caught.value.problem


@pytest.mark.parametrize("command", ["morph", "child"])
def test_a_latent_is_told_before_a_network_is_asked_for(command: str, tmp_path: Path) -> None:
    """The network named here does not exist, and is not what the message is about."""
    (tmp_path / "a.npy").write_bytes(npy(np.zeros((2, 18, 512), np.float32)))
    (tmp_path / "b.jpg").write_bytes(npy(LATENT))
    for name, words in (("a.npy", "holds 2 latents"), ("b.jpg", "a NumPy array")):
        file = str(tmp_path / name)
        method = ["--method", "stylegan"] if command == "morph" else []
        result = CliRunner().invoke(main, [command, file, file, *method, "--network", "gone.pkl"])
        assert result.exit_code == 1 and words in result.output, result.output


def test_project_says_that_a_latent_needs_no_projection(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy(LATENT))
    result = CliRunner().invoke(main, ["project", str(tmp_path / "a.npy"), "--network", "gone.pkl"])
    assert result.exit_code == 1 and "a NumPy array; only images can be projected" in result.output, result.output


def test_a_foreign_latent_fits_its_network_or_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n.pkl").write_bytes(dumps(stylegan2(16, 8)))
    generator = load_generator(tmp_path / "n.pkl")
    shape = (generator.architecture.num_layers, generator.architecture.w_size)
    w = LATENT[0, : shape[1]]
    assert (
        as_latent(w, generator, tmp_path).space
        == "w"
        == as_latent(np.tile(w, (shape[0], 1)), generator, tmp_path).space
    )
    assert as_latent(LATENT[: shape[0], : shape[1]], generator, tmp_path).space == "w+"
    with pytest.raises(InputError, match=r"shape \(18, 512\); this network's"):
        as_latent(LATENT, generator, tmp_path)


def changed(change: Callable[[dict[str, torch.Tensor]], object]) -> bytes:
    """A checkpoint of rosinality's with something done to its state dictionary."""
    state = rosinality_from(stylegan2(16, 8))
    change(state)
    return torch_bytes({"g_ema": state})


def grown(place: str, name: str) -> bytes:
    """A StyleGAN2-ADA with another child in one of its modules."""
    network = ada_from(stylegan2(16, 8))
    module = network.attributes["_modules"]["synthesis"]
    for part in place.split("."):
        module = module.attributes["_modules"][part]
    module.attributes["_modules"] = {**module.attributes.get("_modules", {}), name: Module("Attention")}
    return dumps(ada_snapshot(network))


def stylegan3() -> bytes:
    network = ada_from(stylegan2(16, 8))
    synthesis = network.attributes["_modules"]["synthesis"]
    synthesis.attributes["_modules"] = {"input": Module("SynthesisInput"), "L0_36_512": Module("SynthesisLayer")}
    return dumps(ada_snapshot(network))


def tensorflow(name: str) -> bytes:
    network = stylegan2(16, 8)
    network.components["synthesis"].variables.append((name, np.zeros((3, 3), np.float32)))
    return dumps(network)


NEARLY: dict[str, tuple[Callable[[], bytes], str]] = {
    "SWAGAN": (lambda: changed(lambda s: s.update({"to_rgb1.iwt.ll": torch.ones(2, 2)})), "'to_rgb1.iwt.ll'"),
    "attention": (lambda: changed(lambda s: s.update({"convs.1.attn.weight": torch.ones(2)})), "convs.1.attn.weight"),
    "a layer missing": (lambda: changed(lambda s: s.pop("convs.1.conv.weight")), "'convs.1.conv.weight' is missing"),
    "a level missing": (lambda: changed(lambda s: s.pop("convs.2.conv.weight")), "which no generator of this kind has"),
    "StyleGAN-Human": (
        lambda: changed(lambda s: s.update({"input.input": torch.ones(1, 8, 8, 4)})), "shape.*was expected",
    ),
    "attention in ADA": (lambda: grown("b8", "attn"), "'attn', which no StyleGAN2 has"),
    "attention in a layer of ADA": (lambda: grown("b8.conv1", "attn"), "'attn', which no StyleGAN2 has"),
    "StyleGAN3": (stylegan3, "StyleGAN3 is not supported"),
    "attention in TensorFlow": (lambda: tensorflow("8x8/Attention/weight"), "'synthesis/8x8/Attention/weight'"),
    "GFPGAN": (lambda: torch_bytes({"params_ema": {"stylegan_decoderRGB.conv.weight": torch.ones(2)}}), "a GFPGAN"),
    "a DCGAN": (
        lambda: torch_bytes({"main.0.weight": torch.ones(2), "main.1.weight": torch.ones(2)}), "contains a DCGAN",
    ),
    "an encoder alone": (
        lambda: torch_bytes({"state_dict": {"encoder.input_layer.0.weight": torch.ones(2)}}), "an encoder of e4e",
    ),
    "rosinality's StyleGAN 1": (
        lambda: torch_bytes({"generator": {"progression.0.conv1.conv.weight_orig": torch.ones(2)}}), "older repository",
    ),
    "a latent": (lambda: pt(torch.from_numpy(LATENT)), "which may be a latent"),
    "an array": (lambda: npy(LATENT), "a NumPy array, not a network"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NEARLY)
def test_what_looks_nearly_like_a_known_format_is_refused_as_what_it_is(kind: str, tmp_path: Path) -> None:
    content, words = NEARLY[kind]
    (tmp_path / "network").write_bytes(content())
    with pytest.raises(WeightsError, match=words):
        load_generator(tmp_path / "network")
    with pytest.raises(WeightsError, match=words):
        convert(tmp_path / "network", tmp_path / "out.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network"]


def four_channels(state: dict[str, torch.Tensor]) -> None:
    for name in [name for name in state if "to_rgb" in name and name.endswith(("conv.weight", "bias"))]:
        if "modulation" not in name:
            state[name] = torch.cat([state[name], state[name][:, :1]], 1)


def test_convert_refuses_what_generate_cannot_draw(tmp_path: Path) -> None:
    network = tmp_path / "rgba.pt"
    network.write_bytes(changed(four_channels))
    for words in (["generate", "--network", str(network), "-o", str(tmp_path / "a.png")],
                  ["weights", "convert", str(network), "-o", str(tmp_path / "a.safetensors")]):  # fmt: skip
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 1 and "images of 4 channels" in result.output, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rgba.pt"]
