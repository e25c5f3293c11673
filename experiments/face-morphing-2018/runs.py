"""The runs behind the figures: training data and settings of each."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import material

PLAIN: dict[str, object] = {}  # the paper's recipe is the default configuration
OURS: dict[str, object] = {"training.augment": ["color", "shift"], "training.ema": 0.99}  # mixed.yaml
FLIPPED = {**OURS, "training.augment": ["color", "shift", "flip"]}  # a quarter of the images
HALF_FLIPPED = {**FLIPPED, "training.flip": 0.5}  # usual, but then G cannot distinguish mirrored faces
RECIPES = {"paper": PLAIN, "ours": OURS}
R1: dict[str, object] = {"network.d_norm": "none", "training.r1": 1.0}
FEW: dict[str, dict[str, object]] = {  # other methods for few images
    "ema": {},
    "cutout": {"training.augment": ["color", "shift", "cutout"]},
    "flipped": FLIPPED,
    "half-flipped": HALF_FLIPPED,
    "adaptive": {**OURS, "training.adaptive": 0.6, "training.adaptive_images": 10_000},
    "spectral-hinge": {"network.d_norm": "spectral", "training.loss": "hinge"},
    "r1": R1,
}
JITTER = (0.2, 0.4)
LONG = 3  # times the steps
LONGER = ("mixed-paper", "noise-paper", "man-rectangle-paper", "woman-rectangle-paper", "woman-aligned-paper")


@dataclass(frozen=True)
class Sources:
    """Folders of clips or images; `work` receives all output."""

    man: Path
    woman: Path
    noise: Path | None
    work: Path

    def frames(self, person: str) -> Path:
        return self.work / "frames" / person

    def faces(self, person: str) -> Path:
        return self.work / "faces" / person


@dataclass(frozen=True)
class Planned:
    """One run, before its seed.

    Attributes:
        figure: of the paper.
        faces: folders of faces.
        settings: in addition to those of the scale.
        goes_on_from: the name of a run that this one continues to `LONG` times the steps.
    """

    name: str
    figure: str
    faces: tuple[Path, ...]
    settings: dict[str, object]
    goes_on_from: str = ""

    def is_behind(self, figure: int) -> bool:
        """Whether this figure of the paper needs this run."""
        first, *rest = [int(number) for number in re.findall(r"\d+", self.figure)] or [0]
        return first <= figure <= (rest[-1] if rest else first)


def plan(sources: Sources) -> list[Planned]:
    """Every run, the most important first."""
    man, woman = sources.faces("man"), sources.faces("woman")
    both, made = (man, woman), sources.work / "material"
    runs = [Planned(f"mixed-{name}", "13-15", both, recipe) for name, recipe in RECIPES.items()]
    if sources.noise:
        runs.append(Planned("noise-paper", "6, 7", (made / "noise",), PLAIN))
    for person in ("man", "woman"):
        runs.append(Planned(f"{person}-rectangle-paper", "8-10", (made / f"{person}-rectangle",), PLAIN))
        runs.append(Planned(f"{person}-aligned-paper", "11, 12", (sources.faces(person),), PLAIN))
    for count in (500, 100):
        for name, recipe in RECIPES.items():
            limited = {**recipe, "data.limit": count}
            runs.append(Planned(f"woman-{count}-{name}", "16, 17", (woman,), limited))
    for strength in JITTER:
        folders = tuple(made / f"{person}-jitter-{strength}" for person in ("man", "woman"))
        runs.append(Planned(f"jitter-{strength}-ours", "8-10", folders, OURS))
    dense = (sources.work / "dense" / "man", sources.work / "dense" / "woman")
    of_its_time = {"network.kernel_px": 5, "network.first_layer": "dense", "training.generator_steps": 2}
    heart: dict[str, tuple[tuple[Path, ...], dict[str, object]]] = {
        "dense": (dense, PLAIN),
        "tensorflow": (both, of_its_time),
        "batch-16": (both, {"training.batch_size": 16}),
        "half-flipped": (both, HALF_FLIPPED),
        "r1": (both, R1),
    }
    runs += [Planned(f"heart-{name}", "the heart", *what) for name, what in heart.items()]
    for name, recipe in FEW.items():
        runs.append(Planned(f"few-{name}", "16, 17", (woman,), {"data.limit": 100, "training.ema": 0.99, **recipe}))
    runs += [replace(run, name=f"{run.name}-long", goes_on_from=run.name) for run in runs if run.name in LONGER]
    return [*runs, Planned("told-ours", "limits", both, {**OURS, "network.conditional": True})]


def prepare(sources: Sources, planned: Planned) -> None:
    """Make the training images of this run, if they do not exist yet."""
    for folder in planned.faces:
        person, _, kind = folder.name.partition("-")
        if folder.parent.name != "material":
            continue
        if folder.name == "noise" and sources.noise:
            material.squares(sources.noise, folder)
        elif kind == "rectangle":
            material.rectangle(sources.frames(person), sources.faces(person), folder)
        else:
            strength = float(kind.removeprefix("jitter-"))
            material.jittered(sources.frames(person), sources.faces(person), folder, strength)
