"""The notebook runs as it stands; slow, since it projects two portraits and trains a little."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_the_tour_runs_from_top_to_bottom(tmp_path: Path) -> None:
    cells = json.loads((ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    shutil.copytree(ROOT / "experiments" / "sample", tmp_path / "experiments" / "sample")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "tour.py").write_text("\n".join(code))
    done = subprocess.run(
        [sys.executable, "tour.py"], cwd=tmp_path / "docs", capture_output=True, text=True, timeout=3000
    )
    assert done.returncode == 0, done.stderr
    assert "the same person: False" in done.stdout and done.stdout.count("from the portrait") == 2
    assert (tmp_path / "docs" / "tour" / "run" / "generator.safetensors").exists()
