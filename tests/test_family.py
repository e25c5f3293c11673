"""Morphs through a StyleGAN, children, and the measures of both, on random networks and generated portraits."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from published_files import dumps, stylegan1
from skimage import data

from facemorph.animation import write_morph
from facemorph.cli import main
from facemorph.cli.evaluate_morph import evaluate_morph as evaluate_command
from facemorph.dcgan.config import config_from_dict
from facemorph.dcgan.projection import RunMorphSettings, invert
from facemorph.dcgan.run import Run
from facemorph.dcgan.train import train
from facemorph.dcgan.walk import load_generator as load_run
from facemorph.errors import InputError
from facemorph.evaluation.morphs import evaluate_family, evaluate_morph
from facemorph.faces.morph import LandmarkMorphSettings, landmark_morph, source_of
from facemorph.files import read_jsonl
from facemorph.images import caption_height, read_image, write_image
from facemorph.stylegan.editing.children import ChildrenConfig, growing_up, make_children, mixed
from facemorph.stylegan.editing.directions import Direction
from facemorph.stylegan.editing.mixing import slerp
from facemorph.stylegan.editing.morph import LatentMorphSettings, latents_of_way
from facemorph.stylegan.latents import Latent, fingerprint, read_latent, write_latent
from facemorph.stylegan.load import load_generator


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network and two latents of it, in which commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEMORPH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "net.pkl").write_bytes(dumps(stylegan1()))
    generator = load_generator(tmp_path / "net.pkl")
    shape = (generator.architecture.num_layers, generator.architecture.w_size)
    for seed, name in enumerate(("ann", "bob")):
        w = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        write_latent(tmp_path / f"{name}.safetensors", Latent(w, "w+", fingerprint(generator)))
    return tmp_path


def run(*arguments: str | Path | float) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "-q"])


def test_a_morph_of_latents_takes_the_way_it_says(home: Path) -> None:
    result = run("morph", "ann.safetensors", "bob.safetensors", "--network", "net.pkl", "--steps", 5, "--frames", 4,
                 "--interpolation", "slerp")  # fmt: skip
    assert result.exit_code == 0, result.output
    folder = home / "morphs" / "ann-bob"
    ann, bob = (read_latent(home / f"{name}.safetensors").w for name in ("ann", "bob"))
    way = read_latent(folder / "way.safetensors").arrays["way"]
    centre = load_generator(home / "net.pkl").w_avg.numpy()
    for number, share in enumerate(np.linspace(0, 1, 5)):
        np.testing.assert_allclose(way[number], slerp(ann, bob, float(share), centre), rtol=1e-5, atol=1e-5)
    assert read_jsonl(folder / "manifest.jsonl")[0]["method"] == "stylegan"
    assert {path.name for path in folder.iterdir()} >= {"strip.png", "morph.gif", "morph.mp4", "step_4.jpg"}
    again = run("morph", "ann.safetensors", "bob.safetensors", "--network", "net.pkl")
    assert again.exit_code == 1 and "exists already" in again.output


def test_averages_and_transforms_of_latents_are_sums(home: Path) -> None:
    made = run(
        "average", "ann.safetensors", "bob.safetensors", "--weights", "3,1", "--network", "net.pkl", "-o", "m.png"
    )
    assert made.exit_code == 0, made.output
    ann, bob = (read_latent(home / f"{name}.safetensors").w for name in ("ann", "bob"))
    np.testing.assert_allclose(read_latent(home / "m.safetensors").w, 0.75 * ann + 0.25 * bob, rtol=1e-5, atol=1e-6)
    ends = ["--from", "bob.safetensors", "--to", "m.safetensors"]
    moved = run("transform", "ann.safetensors", *ends, "--shape", "2", "--network", "net.pkl", "-o", "t.png")
    assert moved.exit_code == 0, moved.output
    wanted = ann + 2 * (0.75 * ann + 0.25 * bob - bob)
    np.testing.assert_allclose(read_latent(home / "t.safetensors").w, wanted, rtol=1e-5, atol=1e-5)


def test_layers_that_are_not_named_stay_the_first_ones() -> None:
    first, second = np.zeros((12, 3)), np.ones((12, 3))
    (last,) = latents_of_way(first, second, [1.0], LatentMorphSettings(layers=("middle",)), np.zeros(3))
    np.testing.assert_array_equal(last[:, 0], [0] * 4 + [1] * 4 + [0] * 4)


def test_a_run_gives_back_its_own_pictures_and_walks_between_them(home: Path) -> None:
    """Inversion: an image that the run drew is found again."""
    training = {"steps": 2, "batch_size": 8}
    network = {"size_px": 16, "z_dim": 4, "channels": 8}
    faces = home / "faces" / "one"
    for number in range(8):
        write_image(faces / f"{number}.png", np.full((16, 16, 3), 20 * number, np.uint8))
    train(config_from_dict({"network": network, "training": training}), home / "run")
    trained = load_run(Run.open(home / "run"))
    drawn = trained.images(trained.draw(2, seed=5))
    z, distances = invert(trained, drawn, RunMorphSettings(search_steps=200))
    again = trained.images(z)
    apart = np.abs(again.astype(float) - drawn).mean()
    random = np.abs(trained.images(trained.draw(2, seed=6)).astype(float) - drawn).mean()
    assert apart < 0.1 * random and z.abs().max() <= 1 and distances.shape == (2,)
    write_image(home / "a.png", data.astronaut()[:300, 60:400])
    result = run("morph", "a.png", "a.png", "--run", "run", "--steps", 3, "--frames", 4, "-o", "out")
    assert result.exit_code == 0 and "descriptor distance of" in result.output, result.output
    assert read_jsonl(home / "out" / "manifest.jsonl")[0]["method"] == "dcgan"
    assert len(json.loads((home / "out" / "ends.json").read_text())["z"][0]) == 4
    assert read_image(home / "out" / "step_1.jpg").shape == (16, 16, 3)
    write_image(home / "b.png", data.astronaut()[:310, 60:400])
    chain = run("morph", "a.png", "b.png", "a.png", "--run", "run", "--frames", 3, "-o", "chain")
    assert chain.exit_code == 0, chain.output
    z = json.loads((home / "chain" / "ends.json").read_text())["z"]
    assert len(z) == 3 and z[0] == z[2] and (home / "chain" / "face_2.png").is_file()
    middle = trained.images(torch.tensor([z[1]]))[0]
    assert np.abs(read_image(home / "chain" / "step_1.jpg").astype(float) - middle).mean() < 6  # of JPEG
    missing = run("morph", "a.png", "a.png", "--method", "dcgan")
    assert missing.exit_code == 2 and "--run" in missing.output


def test_options_of_the_landmark_morph_choose_it(home: Path) -> None:
    astronaut = data.astronaut()[:300, 60:400]
    write_image(home / "a.png", astronaut)
    write_image(home / "b.png", np.ascontiguousarray(astronaut[:, ::-1]))
    result = CliRunner().invoke(main, ["morph", "a.png", "b.png", "--size", "64", "--steps", "2", "--frames", "2"])
    assert result.exit_code == 0, result.output
    assert read_jsonl(home / "morphs" / "a-b" / "manifest.jsonl")[0]["method"] == "landmarks"


def test_a_named_network_that_is_not_here_is_explained(home: Path) -> None:
    for command in (("morph", "--method", "stylegan"), ("child",)):
        named = (*command[1:], "--network", "stylegan1-ffhq-1024")
        result = run(command[0], "ann.safetensors", "bob.safetensors", *named)
        assert result.exit_code == 1
        for text in ("have not been downloaded", "weights fetch", "It belongs to", "--network faces-256"):
            assert text in result.output, result.output


def test_latents_of_another_network_and_missing_files_are_refused(home: Path) -> None:
    other = read_latent(home / "bob.safetensors")
    write_latent(home / "other.safetensors", Latent(other.w, "w+", "0" * 64))
    for name, text in (("other.safetensors", "another network"), ("no.safetensors", "does not exist"),
                       ("no.jpg", "No such image")):  # fmt: skip
        result = run("morph", "ann.safetensors", name, "--network", "net.pkl")
        assert result.exit_code == 1 and text in result.output, result.output
    assert not (home / "morphs").exists()


def test_children_are_drawn_written_and_explained(home: Path) -> None:
    result = run("child", "ann.safetensors", "bob.safetensors", "--network", "net.pkl", "--children", 3, "--seed", 7)
    assert result.exit_code == 0, result.output
    folder = home / "children" / "ann-bob"
    family = json.loads((folder / "family.json").read_text())
    assert family["parents"] == ["ann", "bob"] and len(family["children"]) == 3
    ann, bob = (read_latent(home / f"{name}.safetensors").w for name in ("ann", "bob"))
    expected = make_children(ann, bob, ChildrenConfig(children=3, seed=7), {})
    for row, child in zip(family["children"], expected, strict=True):
        np.testing.assert_allclose(read_latent(folder / row["latent"]).w, child.w, rtol=1e-5)
        assert (folder / row["picture"]).exists()
    side = 192
    assert read_image(folder / "sheet.png").shape == (2 * (side + caption_height(side) + 2) + 2, 3 * (side + 2) + 2, 3)
    assert not (folder / "growing.gif").exists(), "no ages, no growing"
    fewer = run("child", "ann.safetensors", "bob.safetensors", "--network", "net.pkl", "--mix", "even", "--overwrite")
    assert fewer.exit_code == 0 and not (folder / "child_2.png").exists() and (folder / "child_1.png").exists()


def test_ages_and_gender_move_the_first_layers_by_the_published_strengths() -> None:
    mother, father = np.zeros((10, 4)), np.ones((10, 4))
    age = Direction("age", np.full((10, 4), 0.5, np.float32), 8, {})
    gender = Direction("gender", np.full((10, 4), 0.25, np.float32), 8, {})
    family = ChildrenConfig(mix="even", share=0.5, ages=(10, 50), gender=-1)
    young, old = make_children(mother, father, family, {"age": age, "gender": gender})
    assert (young.name, old.name) == ("child_1_10_years", "child_1_50_years")
    np.testing.assert_allclose(young.w[:8], 0.5 + 4 * 0.5 - 2 * 0.25)
    np.testing.assert_allclose(old.w[:8], 0.5 - 4 * 0.5 - 2 * 0.25)
    np.testing.assert_allclose(old.w[8:], 0.5)


@pytest.mark.parametrize(
    "ages", [("--age", 10, "--age", 30, "--age", 50), ("--ages", 10, 30, 50), ("--ages", "10,30,50")]
)
def test_a_sheet_has_a_row_a_child_and_a_column_an_age(home: Path, ages: tuple[str | int, ...]) -> None:
    a = load_generator(home / "net.pkl").architecture
    (home / "known").mkdir()
    np.save(home / "known" / "age.npy", np.zeros((1, a.w_size)))
    result = run("child", "ann.safetensors", "bob.safetensors", "--network", "net.pkl", "--directions", "known",
                 *ages, "--children", 2)  # fmt: skip
    assert result.exit_code == 0, result.output
    folder, side = home / "children" / "ann-bob", 192
    sheet = read_image(folder / "sheet.png")
    assert sheet.shape == (3 * (side + caption_height(side) + 2) + 2, 3 * (side + 2) + 2, 3)
    with Image.open(folder / "growing.gif") as film:
        assert film.size == (side, side + caption_height(side)) and getattr(film, "n_frames", 1) > 1
    fewer = run("child", "ann.safetensors", "bob.safetensors", "--network", "net.pkl", "--directions", "known",
                "--age", 10, "--overwrite")  # fmt: skip
    assert fewer.exit_code == 0 and not (folder / "growing.gif").exists(), "an older film is of other children"


def test_the_first_child_grows_from_the_youngest_to_the_oldest() -> None:
    mother, father = np.zeros((10, 4)), np.ones((10, 4))
    age = Direction("age", np.ones((10, 4), np.float32), 8, {})
    config = ChildrenConfig(children=3, ages=(50, 10, 20), seed=1)
    growing = growing_up(mixed(mother, father, config), config, {"age": age})
    first = make_children(mother, father, config, {"age": age})
    np.testing.assert_allclose(growing[-1].w, first[0].w, rtol=1e-6)  # 50 years
    np.testing.assert_allclose(growing[0].w, first[1].w, rtol=1e-6)  # 10 years
    assert growing_up([mother], ChildrenConfig(ages=(10,)), {"age": age}) == []


def test_without_a_direction_no_age_is_pretended(home: Path) -> None:
    write_image(home / "a.png", data.astronaut()[:300, 60:400])
    result = run("child", "a.png", "bob.safetensors", "--network", "net.pkl", "--age", 10)
    assert result.exit_code == 1 and not (home / "projected").exists(), "said before the search"
    (home / "known").mkdir()
    np.save(home / "known" / "age.npy", np.zeros((1, load_generator(home / "net.pkl").architecture.w_size)))
    for options, text in ((("--age", 10), "no direction for age"), (("--gender", 1), "no direction for gender"),
                          (("--age", 5, "--directions", "known"), "10 to 50")):  # fmt: skip
        result = run("child", "ann.safetensors", "bob.safetensors", "--network", "net.pkl", *options)
        assert result.exit_code == 1 and text in result.output, result.output
    assert not (home / "children").exists()


def test_portraits_are_found_first_and_kept(home: Path) -> None:
    astronaut = data.astronaut()[:300, 60:400]
    write_image(home / "a.png", astronaut)
    write_image(home / "b.png", np.ascontiguousarray(astronaut[:, ::-1]))
    options = ("--network", "net.pkl", "--loss", "pixel", "--preset", "fast", "--set", "schedule.steps=3")
    result = run("child", "a.png", "b.png", *options, "--children", 1)
    assert result.exit_code == 0, result.output
    kept = home / "projected" / "a" / "latent.safetensors"
    before = kept.stat().st_mtime_ns
    result = run("morph", "a.png", "b.png", *options, "--steps", 3, "--frames", 2)
    assert result.exit_code == 0, result.output
    assert kept.stat().st_mtime_ns == before, "not searched for again"
    way = read_latent(home / "morphs" / "a-b" / "way.safetensors").arrays["way"]
    np.testing.assert_allclose(way[0], read_latent(kept).w, rtol=1e-6)


@pytest.fixture(scope="module")
def morphed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A landmark morph from one face to another."""
    from matplotlib.cbook import get_sample_data

    folder = tmp_path_factory.mktemp("morph")
    write_image(folder / "a.png", data.astronaut())
    shutil.copy(Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False))), folder / "b.jpg")
    sources = source_of(folder / "a.png"), source_of(folder / "b.jpg")
    write_morph(folder / "out", landmark_morph(*sources, LandmarkMorphSettings(256, 5, 2)), steps=5, frames=2)
    return folder / "out"


def test_a_morph_that_convinces_is_near_both_ends_in_its_middle(morphed: Path) -> None:
    found = evaluate_morph(morphed)
    assert found["faces_seen"] == found["steps"] == 5
    assert found["to_first"][0] == found["to_last"][-1] == 0
    assert found["ends_apart"] > 0.6 > found["middle_to_farther_end"] and found["middle_convinces"]
    assert found["rises_and_falls"][0] > 0.95 and found["rises_and_falls"][1] > 0.95
    assert len(found["perceptual_steps"]["sizes"]) == 4
    assert found["perceptual_steps"]["mean"] == pytest.approx(np.mean(found["perceptual_steps"]["sizes"]), abs=1e-3)


def test_a_jump_is_no_even_morph(morphed: Path, tmp_path: Path) -> None:
    for number in range(5):
        shutil.copy(morphed / f"step_{0 if number < 3 else 4}.jpg", tmp_path / f"step_{number}.jpg")
    even, jump = evaluate_morph(morphed), evaluate_morph(tmp_path)
    assert jump["perceptual_steps"]["variation"] > 1.5 > 2 * even["perceptual_steps"]["variation"]
    assert not jump["middle_convinces"]


def test_the_command_writes_figures_and_a_picture(morphed: Path, home: Path) -> None:
    result = CliRunner().invoke(evaluate_command, ["-q", str(morphed)])
    assert result.exit_code == 0 and "near both ends" in result.output, result.output
    assert json.loads((morphed / "evaluation.json").read_text())["steps"] == 5
    assert read_image(morphed / "evaluation.png").shape[2] == 3


def test_a_path_has_a_length_where_its_network_is_given(home: Path) -> None:
    for name in ("bob", "ann"):
        result = run("morph", "ann.safetensors", f"{name}.safetensors", "--network", "net.pkl", "--steps", 3,
                     "--frames", 2, "--overwrite", "-o", name)  # fmt: skip
        assert result.exit_code == 0, result.output
    way, still = (evaluate_morph(home / name, home / "net.pkl")["path_length"] for name in ("bob", "ann"))
    assert way["mean"] > 0 and way["largest"] >= way["mean"]
    assert still["mean"] == pytest.approx(0, abs=1e-3), "nothing moves"


def test_children_are_measured_against_both_parents(tmp_path: Path) -> None:
    from matplotlib.cbook import get_sample_data

    hopper = Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    write_image(tmp_path / "mother.png", data.astronaut()[:300, 60:400])
    write_image(tmp_path / "father.png", read_image(hopper)[:400, 50:470])
    write_image(tmp_path / "child_1.png", np.ascontiguousarray(data.astronaut()[:300, 60:400][:, ::-1]))
    (tmp_path / "family.json").write_text(json.dumps({"children": [{"picture": "child_1.png"}]}))
    found = evaluate_family(tmp_path)
    (child,) = found["children"]
    assert child["to_mother"] < 0.4 < 0.6 < child["to_father"]
    assert found["parents_apart"] > found["one_person"]["farthest"]
    result = CliRunner().invoke(evaluate_command, ["-q", str(tmp_path)])
    assert result.exit_code == 0 and "to the mother" in result.output
    assert (tmp_path / "evaluation.png").exists()


def test_what_is_no_morph_and_no_family_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 steps of a morph"):
        evaluate_morph(tmp_path)
    with pytest.raises(InputError, match="holds no children"):
        evaluate_family(tmp_path)
