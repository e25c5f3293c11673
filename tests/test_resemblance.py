"""Children that are moved until they resemble both parents: by the embedded network, whose faces are drawn here."""

from pathlib import Path

import numpy as np
import pytest
import torch

import facemorph as fm
from facemorph.errors import InputError
from facemorph.faces.descriptors import describe, face_chip
from facemorph.faces.find_meshes import is_face, mesh_in_box
from facemorph.stylegan.editing.children import ChildrenConfig, make_babies, mixed
from facemorph.stylegan.editing.mixing import lerp
from facemorph.stylegan.editing.resemblance import CENTRE_SEEDS, descriptors_of, further_out, resemble
from facemorph.stylegan.networks.generator import Generator

BOX = (52.0, 84.0, 204.0, 244.0)  # of the face in an aligned image of 256 px


@pytest.fixture(scope="module")
def generator() -> Generator:
    return fm.load_generator("faces-256")


@pytest.fixture(scope="module")
def parents() -> np.ndarray:
    return fm.Network("faces-256").draw([3, 12])


def seen(generator: Generator, w: np.ndarray) -> tuple[np.ndarray, bool]:
    """The descriptor of the face where the mesh sees it, which the search does not use, and whether it is one."""
    with torch.inference_mode():
        pixels = generator.synthesize(torch.from_numpy(w[None]))[0].clamp(-1, 1)
    image = ((pixels.permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)
    (mesh,) = mesh_in_box(image, [BOX])
    return describe([face_chip(image, mesh.landmarks)])[0], is_face(mesh)


def test_a_face_comes_to_resemble_another_and_stays_a_face(generator: Generator, parents: np.ndarray) -> None:
    mother, father = parents
    plain = lerp(mother, father, 0.5)
    (moved,) = resemble(generator, plain[None], descriptors_of(generator, mother[None]))
    target, before = seen(generator, mother)[0], seen(generator, plain)[0]
    after, is_a_face = seen(generator, moved)
    assert is_a_face
    assert np.linalg.norm(after - target) < 0.9 * np.linalg.norm(before - target)
    assert np.ptp(moved - plain, axis=0).max() < 1e-5  # all layers move alike


def test_a_child_comes_nearer_to_what_lies_beyond_its_parents_mean(generator: Generator, parents: np.ndarray) -> None:
    family = ChildrenConfig(mix="even", likeness=True)
    mother, father = parents
    plain, moved = mixed(mother, father, family), make_babies(generator, mother, father, family)
    drawn = generator.truncate(generator.map(generator.z_from_seeds(CENTRE_SEEDS))).numpy()
    target = further_out(descriptors_of(generator, parents).mean(0), descriptors_of(generator, drawn).mean(0))
    before, after = (np.linalg.norm(descriptors_of(generator, np.stack(w))[0] - target) for w in (plain, moved))
    assert after < 0.85 * before


def test_further_out_is_twice_as_far_from_the_centre() -> None:
    centre, target = np.ones(128), np.full(128, 1.5)
    assert np.allclose(further_out(target, centre), 2.0)


def test_the_same_twice(generator: Generator, parents: np.ndarray) -> None:
    target = descriptors_of(generator, parents[::-1])
    assert np.array_equal(resemble(generator, parents, target, steps=2), resemble(generator, parents, target, steps=2))


def test_no_steps_and_no_latents_change_nothing(generator: Generator, parents: np.ndarray) -> None:
    target = np.zeros((2, 128))
    assert np.array_equal(resemble(generator, parents, target, steps=0), parents)
    assert resemble(generator, parents[:0], target[:0]).shape == (0, *parents.shape[1:])


def test_shapes_that_do_not_fit_are_named(generator: Generator, parents: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"\(3, 128\)"):
        resemble(generator, parents, np.zeros((3, 128)))


def test_without_likeness_babies_are_the_mixes(generator: Generator, parents: np.ndarray) -> None:
    mother, father = parents
    (baby,) = make_babies(generator, mother, father, ChildrenConfig(mix="even"))
    assert np.array_equal(baby, lerp(mother, father, 0.5))


def test_the_command_writes_them_and_says_so(parents: np.ndarray, generator: Generator, tmp_path: Path) -> None:
    import json

    from click.testing import CliRunner

    from facemorph.cli import main
    from facemorph.stylegan.latents import Latent, fingerprint, write_latent

    for name, w in zip(("ann", "bob"), parents, strict=True):
        write_latent(tmp_path / f"{name}.safetensors", Latent(w, "w+", fingerprint(generator), {}))
    words = ["child", *(str(tmp_path / f"{name}.safetensors") for name in ("ann", "bob")), "--network", "faces-256"]
    result = CliRunner().invoke(main, [*words, "--mix", "even", "--likeness", "-o", str(tmp_path / "family")])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "family" / "family.json").read_text())["family"]["likeness"] is True
    assert (tmp_path / "family" / "child_1.png").is_file()
