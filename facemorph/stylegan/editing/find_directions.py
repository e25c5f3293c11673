"""Directions found for a network, by name of the method; and the sheet that shows what they do."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facemorph.config import check_whole
from facemorph.errors import FaceError, InputError
from facemorph.faces.age_gender import age_gender_installed, estimate_age_gender
from facemorph.faces.expression import ATTRIBUTES
from facemorph.faces.locate import locate_face
from facemorph.images import contact_sheet, resize
from facemorph.progress import progress_bar
from facemorph.stylegan.editing.directions import (
    PUBLISHED_LAYERS,
    Direction,
    ganspace_pca,
    read_labels,
    ridge_direction,
    scale_to_std,
    sefa,
    w_from_seeds,
)
from facemorph.stylegan.editing.mixing import add
from facemorph.stylegan.editing.resolve import render_latents
from facemorph.stylegan.networks.generator import Generator

log = logging.getLogger("facemorph")

METHODS = ("sefa", "pca", "attributes", "labels")
STRENGTHS = (-3, -2, -1, 0, 1, 2, 3)
CALIBRATION, PCA_SAMPLES = 2_000, 10_000  # w sampled to measure their spread, and to find its axes
SHEET_PX = 128
LABELLED = ("age", "gender")  # attributes that need the networks of `facemorph.faces.age_gender`
CONFIDENT = 4.0  # log-odds of gender beyond which more hardly counts
WEAK = 0.3  # correlation below which a direction from labels is not to be trusted


def known_attributes() -> tuple[str, ...]:
    """What faces can be scored by: landmarks, and where its networks are installed how old and how male they look."""
    return (*ATTRIBUTES, *LABELLED)


@dataclass(frozen=True)
class DirectionSearch:
    """How directions are found.

    Attributes:
        method: "sefa" and "pca" need no labels; "attributes" scores the network's own faces by their landmarks;
            "labels" takes values for seeds from a file.
        count: directions of sefa and pca.
        samples: generated faces that are scored.
        attributes: which of `known_attributes`; empty is all that can be scored on this machine.
        labels, name: the CSV file of seed,value lines, and what it is about.
        psi: truncation of the faces that are scored, so that most can be found.
        layers: the first layers that a direction is added to; 0 is all for sefa and pca, else 8.
        seed: of the samples.
    """

    method: str = "sefa"
    count: int = 8
    samples: int = 1_000
    attributes: tuple[str, ...] = ()
    labels: Path | None = None
    name: str = ""
    psi: float = 0.7
    layers: int = 0
    seed: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """What the directions will be called."""
        if self.method == "labels":
            return (self.name,)
        if self.method == "attributes":
            here = known_attributes() if age_gender_installed() else tuple(ATTRIBUTES)
            return self.attributes or here
        return tuple(f"{self.method}_{i}" for i in range(self.count))


def find_new_directions(generator: Generator, how: DirectionSearch, progress: bool = False) -> list[Direction]:
    """The directions that the method finds, strongest first.

    Raises:
        InputError: too few labels, or too few faces found in the network's own images.
        ConfigError: a seed so large that those after it are none for NumPy, which takes 32 bits.
    """
    check_whole("seed", how.seed, 0, 2**32 - max(CALIBRATION, PCA_SAMPLES, how.samples))
    spread = w_from_seeds(generator, range(how.seed, how.seed + CALIBRATION))
    if how.method in ("sefa", "pca"):
        if how.method == "sefa":
            units = sefa(generator, how.count)
        else:
            units = ganspace_pca(w_from_seeds(generator, range(how.seed, how.seed + PCA_SAMPLES)), how.count)
        named = zip(how.names, units, strict=False)  # there are no more than w has components
        return [_direction(name, unit, spread, generator, how, {}) for name, unit in named]
    if how.method == "labels":
        if how.labels is None or not how.name:
            raise InputError("Labels need a file and a name.", "For example --labels ages.csv --name age")
        seeds, values = read_labels(how.labels)
        return [_from_values(how.name, w_from_seeds(generator, seeds), values, spread, generator, how)]
    w, scores = score_faces(generator, how, progress)
    found = [_from_values(name, w, scores[name], spread, generator, how) for name in how.names]
    return _freed_of_each_other(found, w, scores, spread)


def score_faces(generator: Generator, how: DirectionSearch, progress: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """w [N, w_size] of the faces that are found in the network's own images, and the score [N] of each attribute.

    Ages are in years; gender is -1 for surely female to 1 for surely male, as a network sees it.
    """
    labelled = bool(set(how.names) & set(LABELLED))
    if labelled:
        estimate_age_gender([], [])  # says what is missing before anything slow
    w = w_from_seeds(generator, range(how.seed, how.seed + how.samples))
    w = generator.w_avg.double().cpu().numpy() * (1 - how.psi) + w * how.psi
    latents = np.repeat(w[:, None], generator.architecture.num_layers, 1)
    kept, points, ages, odds = [], [], [np.zeros(0)], [np.zeros(0)]
    with progress_bar(progress, total=how.samples, unit=" faces", description="score") as bar:
        for index, image in enumerate(render_latents(generator, latents)):
            try:
                points.append(locate_face(image, f"seed {how.seed + index}").landmarks)
                kept.append(index)
                if labelled:
                    for values, value in zip((ages, odds), estimate_age_gender([image], points[-1:]), strict=True):
                        values.append(value)
            except FaceError:
                pass
            bar.update()
    if len(kept) < 100:
        raise InputError(
            f"A face was found in {len(kept)} of {how.samples} images of this network; 100 are needed to learn from.",
            "Is it a network of faces? --samples draws more; --method sefa and pca need no faces.",
        )
    log.info("A face was found in %d of %d images.", len(kept), how.samples)
    landmarks = np.stack(points)
    scores = {name: function(landmarks) for name, function in ATTRIBUTES.items()}
    if labelled:
        scores |= {"age": np.concatenate(ages), "gender": np.tanh(np.concatenate(odds) / CONFIDENT)}
    return w[kept], scores


def _freed_of_each_other(
    found: list[Direction], w: np.ndarray, scores: dict[str, np.ndarray], spread: np.ndarray
) -> list[Direction]:
    """Age without what also changes gender, and gender without age, where both are asked for.

    Of an age direction it is also noted what a strength of 1 adds, so that `child --age` can be given in years.
    """
    by_name = {one.name: one for one in found}
    if not by_name.keys() >= set(LABELLED):
        return found
    units = {name: by_name[name].vector[0].astype(np.float64) for name in LABELLED}
    units = {name: unit / np.linalg.norm(unit) for name, unit in units.items()}
    freed = []
    for one in found:
        if one.name in LABELLED:
            other = units["gender" if one.name == "age" else "age"]
            unit = units[one.name] - (units[one.name] @ other) * other
            vector = scale_to_std(unit / np.linalg.norm(unit), spread)
            about = dict(one.about)
            if one.name == "age":
                # Least squares of years on both scores: what moving along one adds while the other stays.
                other_score = (w - w.mean(0)) @ units["gender"]
                design = np.stack([(w - w.mean(0)) @ vector / (vector @ vector), other_score, np.ones(len(w))], 1)
                slope = np.linalg.lstsq(design, scores["age"], rcond=None)[0][0]
                about |= {"years_per_strength": round(float(slope), 3)}
                about |= {"mean_years": round(float(scores["age"].mean()), 2)}
            about |= {"freed_of": "gender" if one.name == "age" else "age", "length": float(np.linalg.norm(vector))}
            one = Direction(one.name, np.repeat(vector[None], len(one.vector), 0).astype(np.float32), one.layers, about)
        freed.append(one)
    return freed


def _from_values(
    name: str, w: np.ndarray, values: np.ndarray, spread: np.ndarray, generator: Generator, how: DirectionSearch
) -> Direction:
    unit, correlation = ridge_direction(w, values)
    if correlation < WEAK:
        log.warning(
            "%s can hardly be predicted from w (correlation %.2f): do not trust its direction.", name, correlation
        )
    about = {"correlation": round(correlation, 3), "labelled": len(values)}
    return _direction(name, unit, spread, generator, how, about)


def _direction(
    name: str, unit: np.ndarray, spread: np.ndarray, generator: Generator, how: DirectionSearch, about: dict[str, float]
) -> Direction:
    num_layers = generator.architecture.num_layers
    default = num_layers if how.method in ("sefa", "pca") else PUBLISHED_LAYERS
    vector = np.repeat(scale_to_std(unit, spread)[None], num_layers, 0).astype(np.float32)
    noted = {"method": how.method, "seed": how.seed, "length": float(np.linalg.norm(vector[0])), **about}
    return Direction(name, vector, min(how.layers or default, num_layers), noted)


def direction_sheet(
    generator: Generator, found: Sequence[Direction], latent: np.ndarray | None = None, progress: bool = False
) -> np.ndarray:
    """What each direction does at -3..3 to a latent [L, w_size], by default the average: uint8 RGB, a row each."""
    if latent is None:
        latent = np.repeat(generator.w_avg.cpu().numpy()[None], generator.architecture.num_layers, 0)
    images, captions = [], []
    with progress_bar(progress, total=len(found) * len(STRENGTHS), unit=" images", description="sheet") as bar:
        for one in found:
            moved = np.stack([add(latent, one.vector, strength, one.rows) for strength in STRENGTHS])
            for strength, image in zip(STRENGTHS, render_latents(generator, moved), strict=True):
                images.append(resize(image, min(SHEET_PX, len(image))))
                captions.append(f"{one.name} {strength:+d}" if strength else one.name)
                bar.update()
    return contact_sheet(images, captions, SHEET_PX, len(STRENGTHS))
