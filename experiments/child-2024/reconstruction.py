"""Table 1: how near the network comes to a face, by the encoder alone, by searches with several losses, by tuning."""

from pathlib import Path

import numpy as np
from families import Pictures
from study import Study
from tables import Row

from facemorph.faces.descriptors import SAME_PERSON
from facemorph.images import write_image
from facemorph.metrics.lpips import is_here
from facemorph.stylegan.projection.config import load_projection_config
from facemorph.stylegan.projection.project_images import project_files
from facemorph.stylegan.projection.report import read_report

PARENTS = 12  # of the families, one a family
REPEATS = 1000
WITHOUT = ["terms.identity=0"]
RECIPES: dict[str, tuple[str, list[str]]] = {  # preset, and what is changed in it
    "encoder alone": ("instant", []),
    "+ pixels": ("balanced", ["search.loss=pixel", *WITHOUT]),
    "+ ImageNet features": ("balanced", WITHOUT),
    "+ identity": ("balanced", []),
    "+ tuning": ("balanced", ["tuning.steps=60", "tuning.learning_rate=0.001"]),
}
VGG16 = {"+ VGG16 (LPIPS)": ("balanced", ["search.loss=vgg16", *WITHOUT])}
FIGURES = {
    "psnr_db": "PSNR, dB", "ms_ssim": "MS-SSIM", "descriptor_distance": "dlib, aligned",
    "descriptor_distance_to_photograph": "dlib, photograph",
}  # fmt: skip


def portraits(study: Study) -> dict[str, list[Path]]:
    """Files by where they are from: neutral portraits, and some parents' first pictures, which are copied out."""
    found: dict[str, list[Path]] = {}
    if study.portraits is not None:
        found["portraits"] = sorted(study.portraits.glob("*neutral.jpg"))
    folder = study.out / "parents"
    folder.mkdir(parents=True, exist_ok=True)
    tar = study.families / "faces.tar"
    pictures = Pictures(tar if tar.exists() else study.families)
    parents = []
    for number, couple in enumerate(study.sampled_couples[:PARENTS]):
        name = couple[number % 2]  # a father, a mother, a father, ...
        path = folder / f"{name.replace('/', '_')}.png"
        if not path.exists():
            write_image(path, pictures.read(pictures.of[name][0]))
        parents.append(path)
    found["parents"] = parents
    return found


def rows(study: Study) -> list[Row]:
    found: list[Row] = []
    for source, files in portraits(study).items():
        for name, (preset, changes) in {**RECIPES, **(VGG16 if is_here() else {})}.items():
            config = load_projection_config(preset, changes, study.network)
            folder = study.out / "projected" / f"{source}-{list(RECIPES | VGG16).index(name)}"
            done = project_files(files, folder, study.network, config, progress=True)
            reports = [report for path in done if (report := read_report(path.parent)) is not None]
            line: Row = {"of": f"{source} ({len(reports)})", "recipe": name}
            for key, heading in FIGURES.items():
                line[heading] = interval([report[key] for report in reports])
            far = np.array([report["descriptor_distance_to_photograph"] for report in reports], np.float64)
            line["below 0.6"] = f"{(far < SAME_PERSON).mean():.2f}"
            found.append(line)
    return found


def interval(values: list[float | None]) -> str:
    """The mean, with a bootstrap interval over people."""
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return ""
    random = np.random.default_rng(0)
    means = random.choice(known, (REPEATS, len(known))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{known.mean():.2f} ({low:.2f} to {high:.2f})"
