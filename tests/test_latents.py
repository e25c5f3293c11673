"""Latents on disk: what is written is read, and belongs to one network."""

from pathlib import Path

import numpy as np
import pytest
from published_files import dumps, stylegan1, stylegan2

from facemorph.errors import InputError, OutputError
from facemorph.stylegan.latents import Latent, check_network, fingerprint, read_latent, write_latent
from facemorph.stylegan.load import convert, load_generator


@pytest.mark.parametrize("network", [stylegan1(), stylegan2()], ids=["stylegan1", "stylegan2"])
def test_a_latent_belongs_to_its_network_published_or_converted(network: object, tmp_path: Path) -> None:
    published, converted = tmp_path / "network.pkl", tmp_path / "network.safetensors"
    published.write_bytes(dumps(network))
    convert(published, converted)
    first, second = load_generator(published), load_generator(converted)
    assert fingerprint(first) == fingerprint(second)
    shape = (first.architecture.num_layers, first.architecture.w_size)
    latent = Latent(np.random.default_rng(0).normal(size=shape).astype(np.float32), "w+", fingerprint(first))
    check_network(latent, second, "a latent")
    second.w_avg += 1
    with pytest.raises(InputError, match="another network"):
        check_network(latent, second, "a latent")


def test_a_latent_is_read_as_it_was_written(tmp_path: Path) -> None:
    w, loss = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32), np.arange(3, dtype=np.float32)
    path = tmp_path / "face.safetensors"
    write_latent(path, Latent(w, "w", "0" * 64, {"steps": 3, "name": "å"}, {"loss": loss}))
    found = read_latent(path)
    assert np.array_equal(found.w, w) and found.w.dtype == np.float32
    assert (found.space, found.network, found.about) == ("w", "0" * 64, {"steps": 3, "name": "å"})
    assert np.array_equal(found.arrays["loss"], loss)
    with pytest.raises(OutputError, match="exists"):
        write_latent(path, found)


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"\x08\0\0\0\0\0\0\0{}      "], ids=["empty", "html", "no tensors"]
)
def test_what_is_no_latent_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "face.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a latent"):
        read_latent(path)
    with pytest.raises(InputError, match="does not exist"):
        read_latent(tmp_path / "none.safetensors")
