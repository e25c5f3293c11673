"""train-generator: it learns, resumes to the bit, starts from other networks, and says what befalls it."""

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import ROOT
from generator_runs import LARGER, log_without_time, same_result, tiny, toy_faces, write_faces
from published_files import dumps, stylegan1, stylegan2
from tiny_runs import make_faces
from tiny_runs import tiny as tiny_dcgan

from facemorph.cli import main
from facemorph.config import to_yaml
from facemorph.dcgan.train import train as train_dcgan
from facemorph.errors import InputError, RunError, TrainingError
from facemorph.faces.crop import paper_quad
from facemorph.files import locked
from facemorph.images import read_image
from facemorph.run_folder import in_use
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.networks.alignment import ALIGNMENTS, from_plain, to_plain
from facemorph.stylegan.projection.encoder import read_encoder
from facemorph.stylegan.projection.portrait import aligned_quad
from facemorph.stylegan.training.config import Network
from facemorph.stylegan.training.health import judge
from facemorph.stylegan.training.judges import Backbones, Judges
from facemorph.stylegan.training.networks import new_architecture
from facemorph.stylegan.training.run import FIGURES, LOG_FIELDS, NUMBERS, GeneratorRun
from facemorph.stylegan.training.start import Start, _grown, read_start
from facemorph.stylegan.training.state import State
from facemorph.stylegan.training.step import Step
from facemorph.stylegan.training.train import train

pytestmark = pytest.mark.usefixtures("empty_cache")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("toy") / "faces.npy")


@pytest.fixture(scope="module")
def run(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 steps, of which the first 5 draw alone."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(tiny(faces), folder)
    return folder


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_from_noise_the_figures_fall(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces.npy", 128)
    config = tiny(
        faces,
        training={
            "steps": 160, "batch_size": 16, "alone": 0.3, "warm_up": 10, "ema_images": 400, "g_rate": 4e-3,
            "d_rate": 3e-3, "e_rate": 3e-3, "augment": False,
        },
        output={"figures_every": 80, "figure_images": 48, "sample_every": 1000, "checkpoint_every": 1000},
    )  # fmt: skip
    health, interrupted = train(config, tmp_path / "run")
    found = GeneratorRun.open(tmp_path / "run").figures()
    assert not interrupted and health.verdict == "improving", health
    assert found["step"].tolist() == [0, 80, 160] and np.isnan(found["rebuilt_pixels"][0])
    assert found["frechet_imagenet"][-1] < 0.95 * found["frechet_imagenet"][0], found
    assert found["frechet_faces"][-1] < 0.8 * found["frechet_faces"][0], found
    assert found["rebuilt_pixels"][-1] < 0.8 * found["rebuilt_pixels"][1], found


def test_all_judges_and_terms_take_part_at_32_px(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces.npy", 24, 32)
    train(tiny(faces, training={"steps": 4, "alone": 0.0}, **LARGER), tmp_path / "run")
    losses = GeneratorRun.open(tmp_path / "run").losses()
    assert tuple(losses) == LOG_FIELDS
    assert all((losses[name] != 0).all() for name in NUMBERS if name != "descriptor"), losses
    assert (losses["descriptor"] > 0).all()


def test_the_run_folder_explains_itself(run: Path) -> None:
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert names == {
        ".lock", "checkpoint.safetensors", "config.yaml", "encoder.safetensors", "faces.npz", "figures.csv",
        "generator.json", "generator.safetensors", "health.json", "log.csv", "real.png", "run.json",
        "samples/drawn-000012.png", "samples/rebuilt-000012.png",
    }  # fmt: skip
    opened = GeneratorRun.open(run)
    about = opened.about()
    assert about["faces"]["trained_on"] == 46 and about["faces"]["held_out"] == 2 and about["crop"] == "eyes"
    assert opened.config().network.size_px == 16
    assert {name: faces.shape for name, faces in opened.faces().items()} == {
        "real": (46, 16, 16, 3), "held": (2, 16, 16, 3)
    }  # fmt: skip
    losses = opened.losses()
    assert (losses["pixels"][:5] == 0).all() and (losses["pixels"][5:] > 0).all()  # first only drawing is learnt
    assert losses["rate"][0] == 0.25 and losses["rate"][5] == 1 and losses["rate"][-1] < 0.3
    assert read_image(run / "samples" / "drawn-000012.png").shape == (8 * 18 + 2, 8 * 18 + 2, 3)
    generator = load_generator(run / "generator.safetensors")
    assert generator.architecture.alignment.name == "eyes"
    read_encoder(run / "encoder.safetensors", generator)


@pytest.mark.parametrize("when", [1, 2, 3])
def test_a_continued_run_is_as_one_that_was_not_interrupted(faces: Path, run: Path, tmp_path: Path, when: int) -> None:
    """Stopped after its first step, before and after the encoder begins."""
    calls = []

    def stop(run: GeneratorRun, finished: bool) -> None:
        calls.append(finished)
        if len(calls) == when:
            os.kill(os.getpid(), signal.SIGTERM)  # as `timeout` and schedulers do

    health, interrupted = train(tiny(faces), tmp_path, logged=stop)
    assert interrupted and health.steps == (2, 5, 9)[when - 1]
    train(tiny(faces), tmp_path)
    assert same_result(tmp_path, run)


def test_killed_at_random_times_it_ends_as_if_it_never_was(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tests" / "generator_runs.py"), str(tmp_path), "5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["killed"] >= 3 and len(set(told["reached"])) >= 2, told
    assert same_result(tmp_path / "killed", tmp_path / "whole")
    assert [int(row[0]) for row in log_without_time(tmp_path / "killed")[1:]] == list(range(1, 61))
    left = {path.name for path in (tmp_path / "killed").rglob("*")}
    assert left == {path.name for path in (tmp_path / "whole").rglob("*")}, "torn files were left"


def test_a_finished_run_goes_on_with_more_steps(faces: Path, tmp_path: Path) -> None:
    train(tiny(faces, training={"steps": 4}), tmp_path)
    train(tiny(faces, training={"steps": 6}), tmp_path)
    assert len(GeneratorRun.open(tmp_path).losses()["step"]) == 6
    with pytest.raises(RunError, match=r"training\.g_rate was 0\.0015, now 0\.001"):
        train(tiny(faces, training={"steps": 6, "g_rate": 1e-3}), tmp_path)
    with pytest.raises(RunError, match="The faces have changed since"):
        np.save(tmp_path / "others.npy", toy_faces(48, seed=9))
        config = tiny(faces, training={"steps": 6})
        (tmp_path / "config.yaml").write_text(to_yaml(tiny(tmp_path / "others.npy", training={"steps": 6})))
        train(replace(config, data=replace(config.data, faces=(str(tmp_path / "others.npy"),))), tmp_path)


def test_by_time_it_ends_when_the_time_is_over(faces: Path, tmp_path: Path) -> None:
    train(tiny(faces, training={"steps": 100_000, "seconds": 1.0}), tmp_path)
    losses = GeneratorRun.open(tmp_path).losses()
    assert 1.0 <= losses["seconds"][-1] < 30 and len(losses["step"]) < 100_000
    assert losses["rate"][-1] < 0.5


def test_one_process_a_folder(faces: Path, tmp_path: Path) -> None:
    with locked(tmp_path / ".lock", lambda: in_use(tmp_path)), pytest.raises(RunError, match="Another process is"):
        train(tiny(faces), tmp_path)
    assert not (tmp_path / "config.yaml").exists()
    train(tiny(faces, training={"steps": 1}), tmp_path)


def test_numbers_that_are_none_end_it_and_are_said(faces: Path, tmp_path: Path) -> None:
    train(tiny(faces, training={"steps": 4}), tmp_path)
    before = content(tmp_path)
    state_file = tmp_path / "checkpoint.safetensors"
    config = tiny(faces, training={"steps": 40})
    backbones = Backbones(config, (0, 0, 1))
    state = State(
        config, load_generator(tmp_path / "generator.safetensors").architecture, backbones, CPU, torch.float32
    )
    state.load(state_file)
    with torch.no_grad():
        state.g.synthesis.const[0, 0, 0, 0] = float("nan")  # type: ignore[index, union-attr]
    state.save(state_file)
    broken = state_file.read_bytes()
    with pytest.raises(TrainingError, match=r"NaN or infinite(.|\n)*is from before(.|\n)*training\.g_rate"):
        train(config, tmp_path)
    assert json.loads((tmp_path / "health.json").read_text())["verdict"] == "failed"
    assert state_file.read_bytes() == broken and before[state_file] != broken


def test_the_verdict_tells_a_collapse_and_judges_that_have_won() -> None:
    steps = np.arange(1.0, 201)
    losses = {name: np.ones(200) for name in LOG_FIELDS} | {"step": steps}
    figures = {name: np.array([2.0, 1.0]) for name in FIGURES} | {"step": np.array([100.0, 200.0])}
    figures["diversity"] = np.array([1.0, 0.9])
    assert judge(losses, figures).verdict == "improving"
    collapsed = judge(losses, {**figures, "diversity": np.array([1.0, 0.1])})
    assert collapsed.reason.startswith("the generated faces are nearly identical")
    assert "judges have won" in judge({**losses, "d_loss": np.full(200, 0.01)}, figures).reason
    assert judge(losses, {name: values[::-1] for name, values in figures.items()}).verdict == "worse"
    assert judge({**losses, "pixels": np.full(200, np.nan)}, figures).verdict == "failed"
    assert judge(losses, {name: values[:1] for name, values in figures.items()}).verdict == "undecided"


def test_a_network_of_the_paper_s_crop_takes_portraits_cut_that_way() -> None:
    alignment = ALIGNMENTS["paper"]
    assert from_plain(to_plain(alignment)) == alignment
    points = np.random.default_rng(0).normal(100, 20, (68, 2))
    np.testing.assert_array_equal(aligned_quad(points, alignment), paper_quad(points))


def test_a_published_stylegan2_is_tuned_with_a_new_encoder(faces: Path, tmp_path: Path) -> None:
    network = tmp_path / "small.pkl"
    network.write_bytes(dumps(stylegan2(16)))
    config = replace(tiny(faces, data={"crop": "ffhq"}, training={"steps": 3}), start=str(network))
    train(config, tmp_path / "run")
    run = GeneratorRun.open(tmp_path / "run")
    assert (run.losses()["pixels"] > 0).all()  # nothing is learnt alone: it draws already
    assert run.figures()["step"].tolist() == [0, 3]  # how good it was before
    before, after = load_generator(network), load_generator(run.generator)
    assert after.architecture == before.architecture
    assert not torch.equal(before.synthesis.const, after.synthesis.const)  # type: ignore[arg-type]
    with pytest.raises(RunError, match=r"started from .*small\.pkl, not from noise"):
        train(replace(config, start=""), tmp_path / "run")
    network.unlink()
    train(replace(config, training=replace(config.training, steps=4)), tmp_path / "run")  # the run has all it needs


def test_a_network_grows_and_goes_on_in_another_crop(faces: Path, run: Path, tmp_path: Path) -> None:
    large = write_faces(tmp_path / "large.npy", 12, 32)
    config = replace(tiny(large, data={"crop": "ffhq"}, network={"grow_to_px": 32}), start=str(run))
    small, start = load_generator(run / "generator.safetensors"), read_start(str(run), "ffhq", config.network)
    a = start.generator.architecture
    assert (a.resolution, a.alignment.name) == (32, "ffhq")
    assert a.channels == (*small.architecture.channels, 8)
    # At first the images are those of before, enlarged by the filter of the skips.
    z = small.z_from_seeds(range(3))
    with torch.inference_mode():
        before, after = small(z, noise="none"), start.generator(z, noise="none")
        taps = torch.tensor([1.0, 3, 3, 1]) / 4
        enlarged = torch.nn.functional.conv_transpose2d(
            before.flatten(0, 1)[:, None], (taps[:, None] * taps)[None, None], stride=2, padding=1
        ).reshape(after.shape)
    torch.testing.assert_close(after, enlarged, atol=1e-5, rtol=0)
    train(config, tmp_path / "grown")
    losses = GeneratorRun.open(tmp_path / "grown").losses()
    assert (losses["pixels"][:4] == 0).all() and (losses["pixels"][-4:] > 0).all()  # alone at first, as from noise
    assert load_generator(tmp_path / "grown" / "generator.safetensors").architecture == a
    assert not read_start(str(run), "eyes", replace(config.network, grow_to_px=16)).is_grown
    with pytest.raises(InputError, match=r"makes images of 16 px; network.grow_to_px is 8"):
        read_start(str(run), "ffhq", replace(config.network, grow_to_px=8))
    other = load_generator(run / "generator.safetensors")
    other.architecture = replace(other.architecture, design="resnet")
    with pytest.raises(InputError, match="small cannot grow"):
        _grown(Start(other, None, {}, ""), "small", "ffhq", config.network)


def test_networks_that_cannot_be_trained_are_told(faces: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.pkl", tmp_path / "second.pkl"
    first.write_bytes(dumps(stylegan1(16)))
    second.write_bytes(dumps(stylegan2(16)))
    config = tiny(faces)
    with pytest.raises(InputError, match=r"have the crop eyes(.|\n)*of the crop ffhq(.|\n)*align --crop ffhq"):
        train(replace(config, start=str(second)), tmp_path / "run")
    with pytest.raises(InputError, match="a StyleGAN of the first generation"):
        train(replace(config, start=str(first)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_in_another_with_its_judges(faces: Path, run: Path, tmp_path: Path) -> None:
    start = read_start(str(run), "eyes", Network())
    assert start.encoder is not None and "with its encoder and judges" in start.description
    config = replace(tiny(faces), start=str(run))
    train(replace(config, training=replace(config.training, steps=1, g_rate=1e-9, e_rate=1e-9)), tmp_path / "next")
    before, after = (load_generator(folder / "generator.safetensors") for folder in (run, tmp_path / "next"))
    torch.testing.assert_close(before.synthesis.const, after.synthesis.const, atol=1e-6, rtol=0)


def test_files_of_the_scripts_are_read(run: Path, tmp_path: Path) -> None:
    """generator.npz, an encoder cut in two, judges.pt: as train_joint.py wrote them, written here from a run."""
    generator = load_generator(run / "generator.safetensors")
    encoder = read_encoder(run / "encoder.safetensors", generator)
    a = generator.architecture
    about = {"res": a.resolution, "channels": a.channels, "w": a.w_size, "z": a.latent_size, "depth": 2, "seen": 96}
    arrays = {name: one.numpy() for name, one in generator.state_dict().items()}
    np.savez(tmp_path / "generator.npz", meta=json.dumps(about), allow_pickle=False, **arrays)
    file = io.BytesIO()
    shape = encoder.shape
    state = {name: one.contiguous() for name, one in encoder.state_dict().items()}
    size = [shape.size_px, shape.num_layers, shape.w_size, shape.width]
    torch.save({"state": state, "shape": size, "hidden": shape.hidden, "steps": 1}, file)
    raw = file.getvalue()
    for number, part in enumerate((raw[:5000], raw[5000:])):
        (tmp_path / f"encoder.pt.{number}").write_bytes(part)
    config = tiny(Path("x"))
    judges = Judges(config, Backbones(config, (0, 0, 1)), 16)
    old = {
        name.replace("over.pixels.body.", "heads_pix.").replace(".vector", ".u"): one.half()
        for name, one in judges.state_dict().items()
    }
    torch.save(old, tmp_path / "judges.pt")
    start = read_start(str(tmp_path), "eyes", Network())
    assert start.generator.state_dict().keys() == generator.state_dict().keys()
    assert all(torch.equal(one, start.generator.state_dict()[name]) for name, one in generator.state_dict().items())
    x = torch.rand(2, 3, 16, 16)
    assert start.encoder is not None
    with torch.no_grad():
        torch.testing.assert_close(start.encoder.eval()(x), encoder(x))
    assert start.judges.keys() == judges.state_dict().keys()
    (tmp_path / "generator.npz").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"generator\.npz cannot be read"):
        read_start(str(tmp_path), "eyes", Network())


def test_each_command_tells_the_other_kind_of_run(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "dcgan"
    config = tiny_dcgan(make_faces(tmp_path / "faces"), steps=2)
    train_dcgan(config, other)
    for words in (["sample", str(run)], ["walk", str(run)]):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 1 and "is a run of `train-generator`" in result.output, result.output
    for command in (["plot-loss"], ["evaluate", "run"]):
        result = CliRunner().invoke(main, [*command, str(run), str(other)])
        assert result.exit_code == 1 and "others of `train-generator`" in result.output
    with pytest.raises(RunError, match="is a run of `facemorph train`"):
        train(tiny(tmp_path / "faces"), other)
    with pytest.raises(RunError, match="is a run of `train-generator`"):
        train_dcgan(config, run)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_captured_step_is_as_one_that_is_not(tmp_path: Path, precision: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    from facemorph.stylegan.training.capture import WARM_UP, CapturedStep

    faces = write_faces(tmp_path / "faces.npy", 24, 32)
    config = tiny(faces, training={"precision": precision, "batch_size": 16}, **LARGER)
    device, dtype = torch.device("cuda"), getattr(torch, precision)
    images = torch.from_numpy(np.load(faces)).permute(0, 3, 1, 2).contiguous().to(device)
    told = []
    for captured in (False, True):
        backbones = Backbones(config, (0.007, 0.1, 0.98)).placed(device, dtype)
        state = State(config, new_architecture(config.network, "eyes"), backbones, device, dtype)
        state.alone = False
        step = Step(state, images, config, backbones, dtype)
        take = CapturedStep(step, device) if captured else step
        numbers = []
        for count in range(WARM_UP + 3):
            state.set_rates(0.0, config)
            torch.manual_seed(count)
            numbers.append(take().cpu())
            state.step += 1
        told.append(torch.stack(numbers))
        if isinstance(take, CapturedStep):
            assert take.graph is not None, "it was not captured"
    tolerance = 2e-2 if precision == "float32" else 0.2
    torch.testing.assert_close(told[0], told[1], atol=tolerance, rtol=tolerance)


@pytest.mark.gpu
def test_a_capture_that_fails_changes_no_number(caplog: pytest.LogCaptureFixture) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    from facemorph.stylegan.training.capture import WARM_UP, CapturedStep

    def step() -> torch.Tensor:
        numbers = torch.rand(3, device="cuda")
        return numbers * 1 if numbers.sum().item() else numbers

    told = []
    for take in (CapturedStep(step, torch.device("cuda")), step):
        for count in range(WARM_UP + 3):
            torch.manual_seed(count)
            told.append(take().cpu())
    assert "cannot be captured" in caplog.text
    assert torch.equal(torch.stack(told[: WARM_UP + 3]), torch.stack(told[WARM_UP + 3 :]))
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


@pytest.mark.gpu
def test_it_trains_and_resumes_on_cuda(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    faces = write_faces(tmp_path / "faces.npy", 24, 32)
    config = tiny(faces, training={"steps": 12, "batch_size": 16, "precision": "auto"}, **LARGER)
    train(replace(config, training=replace(config.training, steps=8)), tmp_path / "run")
    health, _ = train(config, tmp_path / "run")
    assert health.steps == 12 and len(GeneratorRun.open(tmp_path / "run").figures()["step"]) >= 1
