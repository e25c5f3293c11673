"""What is on disk is a format: files written at commit 7fc688e are read, and what is written now looks the same.

`fixtures/formats` holds a random 8-px generator as `weights convert` wrote it, a latent and a direction of it, and a
run of four steps. A constant here changes only together with a version.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from conftest import ROOT

from facemorph.animation import write_mp4
from facemorph.config import to_yaml
from facemorph.dcgan.run import LOG_FIELDS, Run
from facemorph.dcgan.walk import load_generator as load_trained
from facemorph.errors import InputError
from facemorph.faces.align import AlignSettings, align
from facemorph.files import read_jsonl
from facemorph.stylegan.editing.directions import read_directions
from facemorph.stylegan.formats.converted import read_json
from facemorph.stylegan.latents import Latent, check_network, fingerprint, fingerprint_1, read_latent, write_latent
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.networks.architecture import to_json
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.encoder import Encoder, EncoderShape, write_encoder
from facemorph.video import ExtractSettings, extract, find_people

FORMATS = ROOT / "tests" / "fixtures" / "formats"
FINGERPRINT_1 = "0f2d7a0e5a91cf047e64b91880d56eaf566028e08a04b466d53296210483f3d7"
FINGERPRINT_2 = "2c84438590f762a4e0d94157c104f69f922b4779e032311076b0730a00822514"
DRAWN_CORNER = [-0.82511, -0.717727, 0.986899]
ENCODER_NAMES_SHA256 = "1c87f08ec43a9235dd3bb24cbfddbe9102de5ebe66b7120928ef791f815dacb3"


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator(FORMATS / "generator.safetensors")


def test_fingerprints_of_both_versions_are_what_they_were(generator: Generator) -> None:
    assert fingerprint_1(generator) == FINGERPRINT_1
    assert fingerprint(generator) == FINGERPRINT_2


def test_a_converted_generator_is_read_and_its_json_is_written_alike() -> None:
    architecture, origin = read_json(FORMATS / "generator.safetensors")
    assert json.loads(to_json(architecture, origin)) == json.loads((FORMATS / "generator.json").read_text())


def test_what_a_generator_draws_is_what_it_drew(generator: Generator) -> None:
    image = generator(generator.z_from_seeds([0]))[0]
    assert image.dtype == torch.float32
    np.testing.assert_allclose(image[:, 0, 0].tolist(), DRAWN_CORNER, atol=1e-5)


def test_a_latent_of_an_old_fingerprint_is_read_and_written_alike(generator: Generator, tmp_path: Path) -> None:
    latent = read_latent(FORMATS / "latent.safetensors")
    check_network(latent, generator, "latent")
    assert latent.network == FINGERPRINT_1 and latent.space == "w+" and latent.about["psnr_db"] == 20
    assert latent.w.shape == (4, 16) and latent.arrays["loss"].tolist() == [2, 1]
    write_latent(tmp_path / "again.safetensors", latent)
    headers = []
    for path in (tmp_path / "again.safetensors", FORMATS / "latent.safetensors"):
        with safetensors.safe_open(path, "np") as file:
            headers.append(file.metadata())
    assert headers[0] == headers[1]
    other = Latent(latent.w, "w+", "0" * 64)
    with pytest.raises(InputError, match="was made with another network"):
        check_network(other, generator, "latent")


def test_directions_of_an_old_fingerprint_are_read(generator: Generator) -> None:
    (direction,) = read_directions(FORMATS / "directions", generator).values()
    assert direction.name == "smile" and direction.layers == 2 and direction.about["method"] == "labels"


def test_an_encoder_has_the_names_and_the_header_that_it_had(tmp_path: Path) -> None:
    encoder = Encoder(EncoderShape(16, 4, 8, width=4))
    write_encoder(tmp_path / "encoder.safetensors", encoder, "0" * 64, {"seed": 1})
    with safetensors.safe_open(tmp_path / "encoder.safetensors", "pt") as file:
        header, names = file.metadata(), sorted(file.keys())
    assert header["kind"] == "facemorph encoder" and header["network"] == "0" * 64
    shape = {"size_px": 16, "num_layers": 4, "w_size": 8, "width": 4}
    assert shape.items() <= json.loads(header["shape"]).items() and json.loads(header["about"]) == {"seed": 1}
    assert hashlib.sha256("\n".join(names).encode()).hexdigest() == ENCODER_NAMES_SHA256


def test_a_run_folder_is_read_and_its_config_is_written_alike(tmp_path: Path) -> None:
    run = Run.open(FORMATS / "run")
    assert to_yaml(run.config()) == (FORMATS / "run" / "config.yaml").read_text()
    assert tuple(run.losses()) == LOG_FIELDS and len(run.losses()["step"]) == 4
    assert run.about()["faces"] == {"anna": 24, "ben": 24}
    shutil.copytree(FORMATS / "run", tmp_path / "run")
    health = json.loads((FORMATS / "run" / "health.json").read_text())
    written = Run.open(tmp_path / "run").write_health()
    assert json.loads((tmp_path / "run" / "health.json").read_text()).keys() == health.keys()
    assert written.verdict == health["verdict"]


def test_what_a_run_draws_is_what_it_drew() -> None:
    trained = load_trained(Run.open(FORMATS / "run"))
    images = trained.images(trained.draw(2, 0))
    assert images.dtype == np.uint8 and images.shape == (2, 16, 16, 3)
    assert abs(float(images.mean()) - 126.137) < 0.5


def test_the_manifests_have_the_keys_that_they_had(tmp_path: Path) -> None:
    from skimage import data

    frames = [np.roll(data.astronaut()[:240, 100:340], shift, 1) for shift in (0, 1, 2, 3, 4, 5)]
    write_mp4(tmp_path / "eileen.mp4", frames, fps=6)
    extract(find_people([tmp_path / "eileen.mp4"]), tmp_path / "frames", ExtractSettings(per_second=1))
    head, frame = read_jsonl(tmp_path / "frames" / "eileen" / "manifest.jsonl")
    assert set(head) == {"clip", "clip_sha256", "state", "settings", "report"}
    assert head["state"] == "done" and head["settings"] == {"per_second": 1, "seed": 0, "format": "jpg"}
    assert set(frame) == {"file", "clip", "clip_sha256", "index", "time", "seed"}
    align(tmp_path / "frames" / "eileen", tmp_path / "faces" / "eileen", AlignSettings(), jobs=1)
    head, face = read_jsonl(tmp_path / "faces" / "eileen" / "manifest.jsonl")
    assert head["from"] == "eileen" and head["settings"] == {
        "size_px": 64, "crop": "eyes", "detector": "auto", "side_px": 0, "person": "", "min_face_px": 0,
        "follow": False, "landmarks": "mesh",
    }  # fmt: skip
    keys = {"source", "source_sha256", "faces", "box", "score", "landmarks", "status", "file"}
    assert set(face) == keys and face["status"] == "accepted" and np.shape(face["landmarks"]) == (68, 2)
