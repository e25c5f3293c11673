"""What the package brings along works without a download: the network, its encoder, its alignment, the defaults."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from published_files import dumps, stylegan2
from safetensors import safe_open

from facemorph.cli import main
from facemorph.embedded import FACES_256, FOLDER, NETWORKS, embedded_path
from facemorph.errors import InputError, RefusedFile, WeightsError
from facemorph.faces.crop import cut, eyes_quad, ffhq_quad
from facemorph.faces.descriptors import describe
from facemorph.faces.likeness import chip_places
from facemorph.faces.locate import locate_face
from facemorph.files import read_jsonl
from facemorph.images import read_image, resize, to_tensor, to_uint8, write_image
from facemorph.metrics import lpips
from facemorph.metrics.imagenet_features import FeatureDistance, load_feature_distance
from facemorph.stylegan.formats import converted
from facemorph.stylegan.formats.converted import read_json, write_converted
from facemorph.stylegan.latents import fingerprint, read_latent
from facemorph.stylegan.load import convert, default_network, find_network, load_generator, verify_weights
from facemorph.stylegan.networks.alignment import EYES, FFHQ, Alignment, from_plain, to_plain
from facemorph.stylegan.networks.architecture import GeneratorWeights, from_json, to_json
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.config import PRESETS, SearchConfig, load_projection_config
from facemorph.stylegan.projection.encoder import (
    Encoder,
    EncoderShape,
    encoder_path,
    find_encoder,
    read_encoder,
    write_encoder,
)
from facemorph.stylegan.projection.portrait import misalignment, read_portrait
from facemorph.stylegan.projection.projector import make_projector
from facemorph.weights import cards

MAX_BYTES = 40_000_000  # with the networks that find faces


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMORPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    find_spec = lpips.importlib.util.find_spec
    monkeypatch.setattr(lpips.importlib.util, "find_spec", lambda name: None if name == "lpips" else find_spec(name))


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator(embedded_path(FACES_256))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two public-domain portraits that come with the packages: eileen.png and grace.png."""
    from matplotlib import cbook
    from skimage.data import astronaut

    folder = tmp_path_factory.mktemp("people")
    write_image(folder / "eileen.png", astronaut()[:300, 60:400])
    grace = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    write_image(folder / "grace.png", read_image(Path(str(grace)))[:450])
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_files_fit_and_belong_together(generator: Generator) -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < MAX_BYTES
    assert fingerprint(generator) == NETWORKS[FACES_256]
    assert find_encoder(generator) == embedded_path(FACES_256, "encoder")
    card = cards.card(FACES_256)
    assert card.embedded and card.resolution == generator.architecture.resolution == 256
    files = (embedded_path(FACES_256), embedded_path(FACES_256, "encoder"))
    assert card.size_bytes == sum(path.stat().st_size for path in files)
    assert generator.architecture.alignment == FFHQ and card.alignment == "ffhq"
    assert [one.good for one in verify_weights(card)] == [True]
    with safe_open(files[0], "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16", "F32"}  # noqa: SIM118


def test_half_precision_on_disk_is_float32_in_memory(generator: Generator) -> None:
    encoder = read_encoder(find_encoder(generator), generator)
    for network in (generator, encoder):
        assert {one.dtype for one in network.state_dict().values() if one.is_floating_point()} == {torch.float32}
    image = generator(generator.z_from_seeds([0]))
    assert image.dtype == torch.float32 and torch.isfinite(image).all()


def test_a_network_of_half_precision_draws_nearly_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converted, "SMALL", 16)  # this network is tiny
    (tmp_path / "network.pkl").write_bytes(dumps(stylegan2(32)))
    exact = load_generator(tmp_path / "network.pkl")
    arrays = {name: one.numpy() for name, one in exact.state_dict().items()}
    weights = GeneratorWeights(replace(exact.architecture, alignment=EYES), arrays, {})
    write_converted(tmp_path / "half.safetensors", weights, half=True)
    half = load_generator(tmp_path / "half.safetensors")
    z = exact.z_from_seeds([1])
    assert float((exact(z) - half(z)).abs().max()) < 0.05
    assert half.architecture.alignment == EYES and exact.architecture.alignment == FFHQ
    plain = [(tmp_path / name).stat().st_mode for name in ("network.pkl", "half.safetensors", "half.json")]
    assert len(set(plain)) == 1  # who may read other files may read these
    with safe_open(tmp_path / "half.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16", "F32"}  # noqa: SIM118


def test_the_encoder_guesses_the_person(generator: Generator) -> None:
    """What it makes of a drawn face is nearer to it than the mean face is."""
    encoder = read_encoder(find_encoder(generator), generator)
    with torch.no_grad():
        drawn = generator(generator.z_from_seeds(range(4)))
        made = generator.synthesize(encoder(drawn))
        mean = generator.synthesize(generator.w_avg.expand(1, generator.architecture.num_layers, -1))
    off = (made - drawn).square().mean((1, 2, 3))
    assert (off < 0.5 * (mean - drawn).square().mean((1, 2, 3))).all()


def test_an_encoder_may_have_fewer_hidden_numbers(generator: Generator, tmp_path: Path) -> None:
    encoder = Encoder(EncoderShape(256, 14, 256, width=4, hidden=8)).eval()
    write_encoder(tmp_path / "e.safetensors", encoder, fingerprint(generator), {}, half=True)
    again = read_encoder(tmp_path / "e.safetensors", generator)
    image = torch.zeros(1, 3, 256, 256)
    assert again.shape.hidden == 8 and torch.allclose(again(image), encoder(image), atol=1e-2)


def test_an_encoder_may_look_at_the_descriptor_too(generator: Generator, people: Path, tmp_path: Path) -> None:
    """The network of descriptors is not saved with it, and what it sees is where the crop has the face."""
    shape = EncoderShape(256, 14, 256, width=4, hidden=8, face=FFHQ.chip)
    write_encoder(tmp_path / "e.safetensors", Encoder(shape), fingerprint(generator), {})
    encoder = read_encoder(tmp_path / "e.safetensors", generator)
    assert encoder.shape == shape and (tmp_path / "e.safetensors").stat().st_size < 1_000_000
    found = read_portrait(people / "eileen.png", 256, alignment=FFHQ)
    assert found.chip is not None
    image = to_tensor(found.image[None])
    near = np.linalg.norm(encoder.describe(image).numpy() - describe([found.chip]))
    assert near < 0.25, "0.6 is another person"
    before = encoder(image)
    assert torch.allclose(before, copy.deepcopy(encoder)(image), atol=1e-5)
    names = set(encoder.state_dict())
    assert not [name for name in names if "likeness" in name]
    with torch.no_grad():
        encoder.hidden[0].weight[:, -128:] = 0  # type: ignore[index, union-attr]
    assert not torch.allclose(before, encoder(image), atol=1e-2)


def test_an_encoder_of_ones_own_goes_before_the_embedded_one(generator: Generator) -> None:
    own = encoder_path(fingerprint(generator))
    write_encoder(own, Encoder(EncoderShape(256, 14, 256, width=4)), fingerprint(generator), {})
    assert find_encoder(generator) == own


def test_alignment_is_written_where_it_is_not_ffhqs_and_read_back(generator: Generator) -> None:
    ffhq, origin = read_json(embedded_path(FACES_256))
    eyes = replace(ffhq, alignment=EYES)
    plain = json.loads(to_json(eyes, origin))["architecture"]["alignment"]
    assert plain == {"name": "eyes", "eye_height": 0.37, "eye_spacing": 0.36, "chip": [0.007, 0.1, 0.98]}
    assert from_json(to_json(eyes, origin))[0] == eyes
    assert "alignment" not in json.loads(to_json(ffhq, {}))["architecture"] and from_json(to_json(ffhq, {}))[0] == ffhq
    assert from_plain(json.loads(json.dumps(to_plain(FFHQ)))) == FFHQ


@pytest.mark.parametrize(
    "value",
    [
        "eyes",
        {"name": "eyes", "chip": [0, 0, 1]},
        {"name": "nose", "chip": [0, 0, 1]},
        {"name": "ffhq", "chip": [0, 0, float("nan")]},
        {"name": "ffhq", "chip": [0, 0, 1], "eye_height": 0.4},
        {"name": "ffhq", "chip": [0, 0, 1], "run": "x"},
    ],
)
def test_an_alignment_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(RefusedFile, match="alignment"):
        from_plain(value)


def test_a_fingerprint_does_not_see_the_alignment(generator: Generator) -> None:
    before, architecture = fingerprint(generator), generator.architecture
    generator.architecture = replace(architecture, alignment=EYES)
    try:
        assert fingerprint(generator) == before
    finally:
        generator.architecture = architecture


def test_a_converted_file_gets_the_alignment_that_it_is_said_to_have(tmp_path: Path) -> None:
    (tmp_path / "network.pkl").write_bytes(dumps(stylegan2(8)))
    convert(tmp_path / "network.pkl", tmp_path / "ffhq.safetensors")
    assert run("weights", "convert", "network.pkl", "-o", "eyes.safetensors", "--alignment", "eyes").exit_code == 0
    assert read_json(tmp_path / "ffhq.safetensors")[0].alignment == FFHQ
    assert read_json(tmp_path / "eyes.safetensors")[0].alignment == EYES


@pytest.mark.parametrize("alignment", [FFHQ, EYES], ids=lambda one: one.name)
def test_portraits_are_aligned_as_the_network_wants_them(people: Path, alignment: Alignment) -> None:
    found = read_portrait(people / "eileen.png", 256, alignment=alignment)
    assert misalignment(locate_face(found.image, "it").landmarks, 256, alignment) < 0.03
    assert found.points is not None and found.chip is not None and found.chip.shape == (150, 150, 3)
    assert misalignment(found.points, 256, alignment) < 0.01
    places = chip_places(found.points, 256)  # dlib's chip lies where the alignment says it does
    x, y, half = alignment.chip
    np.testing.assert_allclose(places.mean((0, 1)), [x, y], atol=0.05)
    assert np.ptp(places[..., 0]) / 2 == pytest.approx(half, abs=0.06)


def test_aligned_faces_of_lane_1_are_taken_as_they_are_and_enlarged(people: Path, tmp_path: Path) -> None:
    image = read_image(people / "eileen.png")
    points = locate_face(image, "it").landmarks
    write_image(tmp_path / "small.png", cut(image, eyes_quad(points), 64, 256))
    found = read_portrait(tmp_path / "small.png", 128, aligned=True, alignment=EYES)
    assert found.image.shape == (128, 128, 3) and "enlarged from 64 px" in found.remarks[0]
    write_image(tmp_path / "ffhq.png", cut(image, ffhq_quad(points), 128, 512))
    with pytest.raises(InputError, match="aligned as ffhq; this network needs eyes") as refused:
        read_portrait(tmp_path / "ffhq.png", 128, aligned=True, alignment=EYES)
    assert "facemorph align --crop eyes" in refused.value.hint


def test_the_default_network_is_the_embedded_one_until_a_published_one_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "facemorph")
    assert default_network() == FACES_256 and find_network(FACES_256) == embedded_path(FACES_256)
    assert "inside the package" in caplog.text and "weights fetch --for" in caplog.text
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    for name in ("stylegan1-ffhq-1024.safetensors", "stylegan1-ffhq-1024.json"):
        (folder / name).write_bytes(b"")
    assert default_network() == FACES_256  # without its perceptual loss it would take hours for little
    for name in ("vgg16", "lpips-vgg"):
        (folder / cards.card(name).file).write_bytes(b"")
    assert default_network() == "stylegan1-ffhq-1024"


def test_the_perceptual_loss_without_vgg16(generator: Generator, people: Path) -> None:
    distance = load_feature_distance()
    face = to_tensor(resize(read_image(people / "eileen.png")[:300, :300], 128)[None])
    noisy = (face + 0.1 * torch.randn(face.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    grey = torch.zeros_like(face)
    near, far = float(distance(face, noisy)), float(distance(face, grey))
    assert float(distance(face, face)) == 0 and 0 < near < far < 2
    black = torch.full_like(face, -1.0, requires_grad=True)
    distance(black, face).sum().backward()
    assert black.grad is not None and torch.isfinite(black.grad).all()
    for loss, name in (("auto", "imagenet"), ("perceptual", "imagenet"), ("imagenet", "imagenet"), ("pixel", "pixel")):
        settings = load_projection_config("balanced", [f"search.loss={loss}"], FACES_256)
        assert make_projector(FACES_256, settings).loss_name == name
    with pytest.raises(WeightsError, match="vgg16"):
        make_projector(FACES_256, load_projection_config("balanced", ["search.loss=vgg16"], FACES_256))
    assert SearchConfig(loss="perceptual").loss == "auto"
    assert isinstance(make_projector(FACES_256, settings=load_projection_config("fast")).perceptual, FeatureDistance)


def test_presets_of_the_network_go_before_those_for_any() -> None:
    steps = [load_projection_config(name, network=FACES_256).schedule.steps for name in PRESETS]
    assert steps[0] == 0 and steps == sorted(steps) and steps[2] < load_projection_config("balanced").schedule.steps
    assert load_projection_config("best", network=FACES_256).tuning.steps


def test_project_at_one_look_and_as_aligned(people: Path, tmp_path: Path, generator: Generator) -> None:
    done = run("project", people / "eileen.png", "--preset", "instant")
    assert done.exit_code == 0, done.output
    assert "faces-256, inside the package" in done.output and "descriptor distance" in done.output
    report = json.loads((tmp_path / "projected" / "eileen" / "report.json").read_text())
    assert report["steps"] == 0 and report["start"] == "encoder" and report["alignment"] == "ffhq"
    assert not report["identity_optimised"] and report["loss_used"] == "pixel"
    assert 0.2 < report["descriptor_distance_to_photograph"] < 0.8
    latent = read_latent(tmp_path / "projected" / "eileen" / "latent.safetensors")
    with torch.no_grad():
        again = to_uint8(generator.synthesize(torch.from_numpy(latent.w)[None]))[0]
    assert np.array_equal(again, read_image(tmp_path / "projected" / "eileen" / "reconstruction.png"))

    aligned = tmp_path / "projected" / "eileen" / "aligned.png"
    few = ("--set", "schedule.steps=3", "-o", "again")
    done = run("project", aligned, "--aligned", "--preset", "fast", *few)
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "again" / "aligned" / "report.json").read_text())
    assert report["identity_optimised"] and "optimised for" in done.output


def test_the_plain_morph_goes_through_the_embedded_network(people: Path, tmp_path: Path) -> None:
    few = ("--steps", 3, "--frames", 3, "--preset", "instant")
    done = run("morph", people / "eileen.png", people / "grace.png", *few)
    assert done.exit_code == 0, done.output
    assert done.output.count("faces-256, inside the package") == 1
    rows = read_jsonl(tmp_path / "morphs" / "eileen-grace" / "manifest.jsonl")
    assert rows[0]["method"] == "stylegan" and rows[0]["network_id"] == NETWORKS[FACES_256]


def test_another_preset_keeps_its_latents_in_a_folder_of_its_own(people: Path, tmp_path: Path) -> None:
    def latents() -> dict[str, bytes]:
        found = tmp_path.glob("projected*/eileen/latent.safetensors")
        return {path.parent.parent.name: path.read_bytes() for path in found}

    def child(*options: object) -> Result:
        few = ("--children", 1, "--overwrite", *options)
        return run("child", people / "eileen.png", people / "eileen.png", *few)

    assert child("--preset", "instant").exit_code == 0
    first = latents()
    done = child("--preset", "fast", "--set", "schedule.steps=3")
    assert done.exit_code == 0 and "projected holds projections with other settings" in done.output, done.output
    second = latents()
    assert list(first) == ["projected"] and second.keys() == {"projected", "projected-2"}
    assert second["projected"] == first["projected"] != second["projected-2"]
    assert child("--preset", "fast", "--set", "schedule.steps=3").exit_code == 0
    assert child("--preset", "instant").exit_code == 0 and latents() == second  # none is made again
    done = child("--preset", "fast", "--set", "schedule.steps=3", "--latents", "projected")
    assert done.exit_code == 1 and "projected/eileen holds a projection with other settings" in done.output


def test_generate_without_options_draws_sixteen_faces(tmp_path: Path) -> None:
    done = run("generate")
    assert done.exit_code == 0, done.output
    assert read_image(tmp_path / "generated.png").shape == (4 * 258 + 2, 4 * 258 + 2, 3)
    assert run("generate", "--network", FACES_256, "--seeds", 3, "-o", "one.png").exit_code == 0
    assert read_image(tmp_path / "one.png").shape == (260, 260, 3)


def test_weights_list_tells_what_each_command_needs() -> None:
    shown = run("weights", "list").output
    assert "faces-256  [inside the package]" in shown and "32.6 MB" not in shown and "33 MB" in shown
    for line in ("child: works now with faces-256", "facemorph weights fetch --for child", "vgg16 (about 553 MB)"):
        assert line in shown
    assert run("weights", "fetch", FACES_256).output.startswith(str(embedded_path(FACES_256)))
    both = run("weights", "fetch", "vgg16", "--for", "child")
    assert both.exit_code == 2 and "either a NAME" in both.output
    assert "Choose from generate" in run("weights", "fetch", "--for", "juggle").output
