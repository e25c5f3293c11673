"""docs/extending.md is true: its edits are made in memory, its tests run, its diffs fit the files that they name."""

import copy
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text()
# What the blocks use beside what their modules import already.
IMPORTS = """
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
import numpy as np
import torch
from facemorph.dcgan.step import LOSSES
from facemorph.faces.crop import find_crop
from facemorph.images import read_image, resize, write_image
from facemorph.morphs import METHODS, MorphOptions
from facemorph.stylegan.formats.published import read_published
from facemorph.stylegan.formats.weight_source import WeightSource
from facemorph.stylegan.networks.architecture import Architecture, from_json, to_json
"""
BLOCKS = re.findall(r"^```python\n# (\S+)\n(.*?)^```\n^```python\n# (\S+)\n(.*?)^```", PAGE, re.M | re.S)


def tables(module: ModuleType) -> dict[str, dict[Any, Any]]:
    return {name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, dict)}


@pytest.mark.parametrize(("file", "edit", "test_file", "test"), BLOCKS, ids=[block[0] for block in BLOCKS])
def test_each_edit_and_its_test_work(file: str, edit: str, test_file: str, test: str, tmp_path: Path) -> None:
    assert (ROOT / test_file).is_file()
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    before = {name: copy.copy(table) for name, table in tables(module).items()}
    names: dict[str, Any] = {}
    exec(IMPORTS, names)
    try:
        exec(edit, {**names, **vars(module)})
        exec(test, names)
        (run,) = [value for name, value in names.items() if name.startswith("test_")]
        run(**({"tmp_path": tmp_path} if "tmp_path" in inspect.signature(run).parameters else {}))
    finally:
        for name, table in tables(module).items():
            table.clear()
            table.update(before[name])


def test_the_page_has_an_example_of_each() -> None:
    assert len(BLOCKS) == 4 and PAGE.count("```diff") == 1


def test_the_diffs_fit_their_files() -> None:
    (diff,) = re.findall(r"^```diff\n(.*?)^```", PAGE, re.M | re.S)
    for file, lines in re.findall(r"^--- (\S+)\n((?:[ +].*\n)+)", diff, re.M):
        text = (ROOT / file).read_text()
        assert "".join(f"{line[1:]}\n" for line in lines.splitlines() if line.startswith(" ")) in text, file
