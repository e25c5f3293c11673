"""The runs behind the figures: what each learns from, and how."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import material

PLAIN: dict[str, object] = {}  # the paper's recipe: what the configuration's defaults are
OURS: dict[str, object] = {"training.augment": ["color", "shift"], "training.ema": 0.99}  # mixed.yaml
FLIPPED = {**OURS, "training.augment": ["color", "shift", "flip"]}  # a quarter of the pictures
HALF_FLIPPED = {**FLIPPED, "training.flip": 0.5}  # as is usual: then G cannot know which way round faces are
RECIPES = {"paper": PLAIN, "ours": OURS}
SPECTRAL_HINGE: dict[str, object] = {"network.d_norm": "spectral", "training.loss": "hinge"}
ADAPTIVE: dict[str, object] = {"training.adaptive": 0.6, "training.adaptive_images": 10_000}
R1: dict[str, object] = {"network.d_norm": "none", "training.r1": 1.0}
FEW: dict[str, dict[str, object]] = {  # what else is said to help with few pictures
    "ema": {},
    "cutout": {"training.augment": ["color", "shift", "cutout"]},
    "flipped": FLIPPED,
    "half-flipped": HALF_FLIPPED,
    "half-flipped-cutout": {**HALF_FLIPPED, "training.augment": ["color", "shift", "flip", "cutout"]},
    "adaptive": {**OURS, **ADAPTIVE},
    "half-flipped-adaptive": {**HALF_FLIPPED, **ADAPTIVE},
    "spectral-hinge": SPECTRAL_HINGE,
    "half-flipped-spectral-hinge": {**SPECTRAL_HINGE, **HALF_FLIPPED},
    "r1": R1,
    "half-flipped-r1": {**R1, **HALF_FLIPPED},
}
JITTER = (0.05, 0.1, 0.2, 0.4)
LONG = 3  # times the steps
ONE_PERSON = ("man-rectangle", "woman-rectangle", "man-aligned", "woman-aligned")


@dataclass(frozen=True)
class Sources:
    """Folders of what goes in; `work` receives all that is made."""

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
        faces: folders.
        settings: beside the scale's.
        goes_on_from: the name of a run which this one is with `LONG` times the steps.
    """

    name: str
    figure: str
    faces: tuple[Path, ...]
    settings: dict[str, object]
    goes_on_from: str = ""

    def is_behind(self, figure: int) -> bool:
        """Does this figure of the paper rest on this run?"""
        first, *rest = [int(number) for number in re.findall(r"\d+", self.figure)] or [0]
        return first <= figure <= (rest[-1] if rest else first)


def plan(sources: Sources) -> list[Planned]:
    """Every run, in the order of what a reader misses most."""
    man, woman = sources.faces("man"), sources.faces("woman")
    both, made = (man, woman), sources.work / "material"
    runs = [Planned(f"mixed-{name}", "13-15", both, recipe) for name, recipe in RECIPES.items()]
    if sources.noise:
        runs += [Planned(f"noise-{name}", "6, 7", (made / "noise",), recipe) for name, recipe in RECIPES.items()]
    for name, recipe in RECIPES.items():
        for person in ("man", "woman"):
            runs.append(Planned(f"{person}-rectangle-{name}", "8-10", (made / f"{person}-rectangle",), recipe))
            runs.append(Planned(f"{person}-aligned-{name}", "11, 12", (sources.faces(person),), recipe))
    for count in (500, 100):
        for name, recipe in RECIPES.items():
            limited = {**recipe, "data.limit": count}
            runs.append(Planned(f"woman-{count}-{name}", "16, 17", (woman,), limited))
    for strength in JITTER:
        folders = tuple(made / f"{person}-jitter-{strength}" for person in ("man", "woman"))
        runs += [Planned(f"jitter-{strength}-{name}", "8-10", folders, recipe) for name, recipe in RECIPES.items()]
    dense = (sources.work / "dense" / "man", sources.work / "dense" / "woman")
    of_its_time = {"network.kernel_px": 5, "network.first_layer": "dense", "training.generator_steps": 2}
    heart: dict[str, tuple[tuple[Path, ...], dict[str, object]]] = {
        "dense": (dense, {}),
        "tensorflow": (both, of_its_time),
        "dense-tensorflow": (dense, of_its_time),
        "smooth-labels": (both, {"training.real_label": 0.9}),
        "instance-noise": (both, {"training.instance_noise": 0.2}),
        "batch-16": (both, {"training.batch_size": 16}),
        "shift-only": (both, {"training.augment": ["shift"]}),
        "color-only": (both, {"training.augment": ["color"]}),
        "flipped": (both, FLIPPED),
        "half-flipped": (both, HALF_FLIPPED),
        "half-flipped-told": (both, {**HALF_FLIPPED, "network.conditional": True}),
        "spectral-hinge": (both, SPECTRAL_HINGE),
        "r1": (both, R1),
    }
    runs += [Planned(f"heart-{name}", "the heart", *what) for name, what in heart.items()]
    for name, recipe in FEW.items():
        runs.append(Planned(f"few-{name}", "16, 17", (woman,), {"data.limit": 100, "training.ema": 0.99, **recipe}))
    longer = ("mixed-paper", "mixed-ours", "heart-half-flipped", "noise-paper", *(f"{one}-paper" for one in ONE_PERSON))
    runs += [replace(run, name=f"{run.name}-long", goes_on_from=run.name) for run in runs if run.name in longer]
    return [*runs, Planned("told-ours", "limits", both, {**OURS, "network.conditional": True})]


def prepare(sources: Sources, planned: Planned) -> None:
    """Make the pictures that this run learns from, where they are not there yet."""
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
