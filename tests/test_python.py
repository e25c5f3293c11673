"""The Python front door: docs/python.md runs as it stands, in a script without a `__main__` guard too."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT
from matplotlib.cbook import get_sample_data
from PIL import Image
from skimage import data

import facemorph as fm
from facemorph.cli import main

PAGE = ROOT / "docs" / "python.md"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two portraits, frames of one person, and small faces of both."""
    home = tmp_path_factory.mktemp("python")
    hopper = Image.open(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    portraits = {"grace": hopper, "eileen": Image.fromarray(data.astronaut())}
    for letter, portrait in zip("ab", portraits.values(), strict=True):
        portrait.convert("RGB").save(home / f"{letter}.jpg", quality=95)
    for name, portrait in portraits.items():
        (home / "faces" / name).mkdir(parents=True)
        face = Image.fromarray(fm.align(np.asarray(portrait.convert("RGB")), size=64))
        for turn in range(8):
            face.rotate(turn - 4, Image.Resampling.BICUBIC).save(home / "faces" / name / f"{turn}.png")
    (home / "frames" / "eileen").mkdir(parents=True)
    for turn in range(18):  # more than one chunk, so that a pool of processes is made
        turned = portraits["eileen"].crop((100, 0, 350, 250)).rotate(turn - 9, fillcolor=(90, 90, 90))
        turned.save(home / "frames" / "eileen" / f"{turn:02d}.jpg")
    return home


def test_the_page_on_python_runs_as_it_stands(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    assert len(blocks) > 5
    (home / "page.py").write_text("\n".join(blocks))
    done = subprocess.run([sys.executable, "page.py"], cwd=home, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "uint8 RGB [H, W, 3] was expected" in done.stdout and "18 of 18" in done.stdout
    shown = re.findall(r"^print\(.*\) +# (\(.*)", PAGE.read_text(), re.M)
    assert len(shown) > 5
    for comment in shown:
        shapes = " ".join(re.findall(r"\([\d, ]+\)", comment))
        assert re.search(rf"^{re.escape(shapes)}", done.stdout, re.M), f"docs/python.md says {comment}"
    for name in ("morph.gif", "morph.mp4", "run/generator.safetensors"):
        assert (home / name).stat().st_size > 1000, name


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, facemorph; facemorph.Run; print('torch' in sys.modules)"
    light = "import sys, facemorph; dir(facemorph); print([m for m in ('torch', 'numpy', 'click') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", light], capture_output=True, text=True).stdout == "[]\n"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).returncode == 0


def test_what_is_exported_is_there_and_says_what_it_does() -> None:
    for name in fm.__all__:
        assert getattr(fm, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        fm.nothing  # noqa: B018


def test_arrays_and_paths_give_the_same(home: Path) -> None:
    from facemorph.images import read_image

    path = home / "a.jpg"
    np.testing.assert_array_equal(fm.align(str(path), size=64), fm.align(read_image(path), size=64))
    assert fm.compare(path, read_image(path)).distance == 0


def test_wrong_values_are_refused_in_words(home: Path, tmp_path: Path) -> None:
    with pytest.raises(fm.FacemorphError, match="Unknown crop"):
        fm.align(home / "a.jpg", crop="round")
    with pytest.raises(fm.FacemorphError, match=r"training\.loss should be one of"):
        fm.train(home / "faces", tmp_path / "run", settings={"training.loss": "wgan"})
    assert not (tmp_path / "run").exists()
    with pytest.raises(fm.FacemorphError, match="does not exist"):
        fm.Run(tmp_path / "run")


def test_latents_are_summed_as_the_command_sums_them(home: Path, tmp_path: Path) -> None:
    first, second = fm.project([home / "a.jpg", home / "b.jpg"], preset="instant")
    moved = fm.combine([first, first, second], [1, -0.25, 0.25])
    np.testing.assert_allclose(moved.latent.w, 0.75 * first.latent.w + 0.25 * second.latent.w, atol=1e-5)
    mean = fm.combine([first, second])
    first.write_latent(tmp_path / "a.safetensors")
    second.write_latent(tmp_path / "b.safetensors")
    files = [str(tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    done = CliRunner().invoke(main, ["average", *files, "--network", "faces-256", "-o", str(tmp_path / "mean.png")])
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(fm.read_picture(tmp_path / "mean.png"), mean.image)
    for parts in ([1], [1, float("nan")], [1, "a"]):
        with pytest.raises(fm.FacemorphError, match="parts"):
            fm.combine([first, second], parts)  # type: ignore[arg-type]
    with pytest.raises(fm.FacemorphError, match="No images"):
        fm.combine([])
