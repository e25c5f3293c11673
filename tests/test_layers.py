"""Which room may import which: data flows one way. Stages meet on disk, not in each other's code."""

import ast
import graphlib
from pathlib import Path

from conftest import ROOT

PACKAGE = ROOT / "facemorph"
GROUND = {
    "errors", "progress", "files", "folders", "images", "device", "distributed", "shards", "config", "run_folder",
    "threads", "memory",
}  # fmt: skip
STYLEGAN = {"stylegan.networks", "stylegan.formats", "stylegan"}
TRAINED = {"stylegan.training", "stylegan.projection"}
# What a room may import beside itself and the ground. "stylegan" alone means load, latents and generate.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "progress": set(),
    "files": {"errors"},
    "folders": {"errors", "files"},
    "images": {"errors", "files", "folders"},
    "device": {"errors"},
    "threads": set(),
    "memory": set(),
    "distributed": {"errors", "files"},
    "shards": {"errors", "files"},
    "config": {"errors"},
    "run_folder": {"errors", "files"},
    "frame_sampling": set(),
    "animation": GROUND,
    "frame_image": {"errors", "files", "threads"},
    "clip": GROUND | {"deinterlace", "frame_image", "packets"},
    "deinterlace": set(),
    "packets": set(),
    "batches": GROUND,
    "video": GROUND | {"clip", "frame_image", "frame_sampling"},
    "faces": GROUND | {"animation", "embedded"},
    "embedded": set(),
    "weights": GROUND | {"embedded"},
    "metrics": GROUND | {"weights"},
    "dcgan": GROUND | {"animation", "faces"},
    "stylegan.networks": {"errors"},
    "stylegan.formats": {"errors", "files", "folders", "stylegan.networks", "weights"},
    "stylegan": GROUND | {"stylegan.networks", "stylegan.formats", "embedded", "metrics", "weights"},
    "stylegan.projection": GROUND | STYLEGAN | {"embedded", "faces", "metrics", "weights"},
    "stylegan.editing": GROUND | STYLEGAN | {"stylegan.projection", "animation", "embedded", "faces", "weights"},
    "stylegan.training": GROUND | STYLEGAN | {"stylegan.projection", "faces", "metrics", "weights"},
    "plots": GROUND | {"dcgan", "stylegan.training"},
    "evaluation": GROUND | STYLEGAN | TRAINED | {"animation", "dcgan", "faces", "metrics", "plots", "weights"},
    "morphs": {
        "animation",
        "config",
        "errors",
        "faces",
        "dcgan",
        "stylegan",
        "stylegan.editing",
        "stylegan.projection",
    },
    "web": {"api", "errors"},  # the page, on the front door alone
    "__init__": set(),
}
ON_TOP = {"api", "cli", "__main__"}  # may import anything; nothing below imports them


def room(module: str) -> str:
    """The room of a module, named without `facemorph.`."""
    parts = module.split(".")
    if parts[0] == "stylegan" and len(parts) > 1 and (PACKAGE / "stylegan" / parts[1]).is_dir():
        return f"stylegan.{parts[1]}"
    return parts[0]


def modules() -> dict[str, Path]:
    """Every module of the package by its name without `facemorph.`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """The package's modules that a module imports, those inside functions too; not those for type checkers alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "facemorph":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")[1:] if name.startswith("facemorph.") else []
            prefixes = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
            found |= set([prefix for prefix in prefixes if prefix in known][:1])
    return found


def test_a_room_imports_only_what_it_may() -> None:
    known = modules()
    wrong = [
        f"{name} imports {other}"
        for name, path in known.items()
        if room(name) not in ON_TOP
        for other in imports(path, set(known))
        if room(other) != room(name) and room(other) not in MAY_IMPORT[room(name)]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_is_in_a_cycle_of_imports() -> None:
    known = modules()
    graph = {name: imports(path, set(known)) - {name} for name, path in known.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_library_code_does_not_print_or_exit() -> None:
    wrong = [
        f"{name}, line {node.lineno}: {node.func.id}"
        for name, path in modules().items()
        if room(name) not in ON_TOP
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in ("print", "exit", "quit", "input")
    ]
    assert not wrong, "\n".join(wrong)
