"""Table 1: how near the network comes to a face, by the encoder alone, by searches with several losses, by tuning."""

import re
from pathlib import Path

import numpy as np
from study import SAMPLE_SEED, Study
from tables import Row

from facemorph.faces.descriptors import SAME_PERSON
from facemorph.images import read_image, write_image
from facemorph.metrics.imagenet_features import EfficientNetLite0, load_efficientnet
from facemorph.metrics.lpips import is_here
from facemorph.stylegan.projection.config import load_projection_config
from facemorph.stylegan.projection.project_images import project_files
from facemorph.stylegan.projection.report import read_report

PARENTS = 24  # of the families, one a family
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
AGAINST = {  # whose distances each is held against, face by face: what it buys
    "+ pixels": "encoder alone", "+ ImageNet features": "+ pixels", "+ identity": "+ ImageNet features",
    "+ tuning": "+ identity", "+ VGG16 (LPIPS)": "+ ImageNet features",
}  # fmt: skip
PSNR, PHOTOGRAPH = "PSNR, dB", "dlib, photograph"
FIGURES = {
    "psnr_db": PSNR, "ms_ssim": "MS-SSIM", "descriptor_distance": "dlib, aligned",
    "descriptor_distance_to_photograph": PHOTOGRAPH, "seconds": "seconds",
}  # fmt: skip


def files_of(study: Study) -> dict[str, list[Path]]:
    """Files by where they are from, of each at most as many as the study samples: neutral portraits, in an order drawn
    once, and the first pictures of some parents, which are copied out."""
    found: dict[str, list[Path]] = {}
    if study.portraits is not None:
        every = sorted(study.portraits.glob("*neutral.jpg"))
        order = np.random.default_rng(SAMPLE_SEED).permutation(len(every))
        found["portraits"] = [every[index] for index in order][: study.sample]
    found["parents"] = []
    for number, couple in enumerate(study.sampled_couples[:PARENTS]):
        name = couple[number % 2]  # a father, a mother, a father, ...
        path = study.out / "parents" / f"{name.replace('/', '_')}.png"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_image(path, study.pictures.read(study.pictures.of[name][0]))
        found["parents"].append(path)
    return found


def rows(study: Study) -> list[Row]:
    found: list[Row] = []
    imagenet = load_efficientnet()
    for source, files in files_of(study).items():
        before: dict[str, dict[str, np.ndarray]] = {}
        for name, (preset, changes) in {**RECIPES, **(VGG16 if is_here() else {})}.items():
            if study.recipes and name not in study.recipes:
                continue
            config = load_projection_config(preset, changes, study.network)
            folder = study.out / "projected" / re.sub("[^a-z0-9]+", "-", f"{source} {name}".lower())
            done = project_files(files, folder, study.network, config, progress=True)
            figures = _figures([path.parent for path in done], imagenet)
            line: Row = {"of": f"{source} ({len(done)})", "recipe": name}
            line |= {heading: interval(values) for heading, values in figures.items() if heading != "seconds"}
            line["below 0.6"] = f"{(figures[PHOTOGRAPH] < SAME_PERSON).mean():.2f}"
            line["seconds"] = f"{np.median(figures['seconds']):.1f}"
            if AGAINST.get(name) in before:
                against = before[AGAINST[name]]
                line["buys, dlib"] = interval(against[PHOTOGRAPH] - figures[PHOTOGRAPH])
                line["buys, PSNR"] = interval(figures[PSNR] - against[PSNR])
            before[name] = figures
            found.append(line)
    return found


def _figures(folders: list[Path], imagenet: EfficientNetLite0) -> dict[str, np.ndarray]:
    """By heading, a number of each projected face."""
    reports = [report for folder in folders if (report := read_report(folder)) is not None]
    found = {heading: np.array([report[key] for report in reports], np.float64) for key, heading in FIGURES.items()}
    aligned, rebuilt = (
        imagenet.describe(np.stack([read_image(folder / f"{name}.png") for folder in folders]))
        for name in ("aligned", "reconstruction")
    )
    return found | {"ImageNet": np.linalg.norm(aligned - rebuilt, axis=1)}


def interval(values: np.ndarray) -> str:
    """The mean, with a bootstrap interval over people."""
    random = np.random.default_rng(0)
    means = random.choice(values, (REPEATS, len(values))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"
