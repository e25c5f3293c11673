"""Which room may import which. Stages meet on disk, not in each other's code."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "facemorph"
GROUND = {"errors", "files", "progress", "images", "device"}
MAY_IMPORT = {
    "errors": set(),
    "progress": set(),
    "files": {"errors"},
    "images": {"errors", "files"},
    "device": {"errors"},
    "sampling": set(),
    "config": {"errors"},
    "sequence": {"errors", "files", "images", "progress"},
    "video": GROUND | {"sampling"},
    "faces": GROUND | {"sequence"},
    "dcgan": GROUND | {"sequence", "config", "faces"},
    "figures": GROUND | {"dcgan"},
    "download": GROUND,
    "stylegan": GROUND | {"sequence", "config", "faces", "weights", "download", "metrics"},
    "weights": GROUND | {"stylegan", "download"},
    "metrics": GROUND | {"weights"},
    "evaluation": GROUND | {"config", "dcgan", "faces", "figures", "metrics", "sequence", "stylegan", "weights"},
    "cli": {"evaluation", "sequence", "config", "video", "faces", "dcgan", "figures", "stylegan", "weights"} | GROUND,
    "__main__": {"cli"},
    "__init__": set(),
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "facemorph" and len(parts) > 1 and parts[1] != "__version__":
                found.add(parts[1])
    return found - {room(path)}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    assert imported_rooms(path) <= MAY_IMPORT[room(path)]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_library_code_does_not_print_or_exit(path: Path) -> None:
    if room(path) in ("cli", "__main__"):
        return
    called = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"print", "exit", "quit", "input"}
