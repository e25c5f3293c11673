"""A trained run's samples against real faces: a report as JSON, with remarks in words, and as an image."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from facemorph.dcgan.dataset import Faces
from facemorph.dcgan.run import Run
from facemorph.dcgan.walk import TrainedGenerator, between, load_generator
from facemorph.errors import RunError
from facemorph.evaluation import measures
from facemorph.evaluation.cached_features import face_features, imagenet_features
from facemorph.evaluation.real import other_faces, training_faces
from facemorph.evaluation.report import (
    COLLAPSED,
    COPIED,
    FEW_FACES,
    LEAST_FACES,
    SHOWN,
    Evaluation,
    distance_rows,
    memory_rows,
    write_evaluation,
)
from facemorph.evaluation.report_plot import plot_evaluation
from facemorph.faces.features import FaceFeatures, PersonCentroids
from facemorph.files import sha256
from facemorph.weights.cache import cache_folder

WALKS, WALK_STEPS = 8, 16
MIRRORED = 0.25  # fraction of mirrored samples beyond that of real faces, above which a remark says so


def evaluate(
    run: Run,
    output: Path,
    *,
    samples: int = 1000,
    seed: int = 0,
    against: Path | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> Evaluation:
    """Measure `samples` images generated from `seed`; write evaluation.json, .png and .npz into `output`.

    Raises:
        RunError: no run, no generator in it yet, or too few real faces.
        InputError: no faces in `against`.
        OutputError: `output` cannot be written.
    """
    trained = load_generator(run, device)
    real = training_faces(run)
    other = other_faces(against, trained.config.size_px) if against else None
    for faces in (real, other):
        if faces is not None:
            _check_enough(faces)
    # The features of real faces are shared by many runs; those of samples are this run's.
    common, own = cache_folder() / "studies", output / "studied"
    options: dict[str, Any] = {"device": device, "progress": progress}

    fake = trained.images(trained.draw(samples, seed))
    of_fake = face_features(fake, own, **options)
    found, arrays = compare_faces(real, fake, face_features(real.rgb, common, **options), of_fake, seed)
    walked = face_features(np.concatenate([trained.images(z) for z in _walks(trained, seed)]), own, **options)
    steps, arrays["steps"] = measures.smoothness(walked.descriptors.reshape(WALKS, WALK_STEPS + 1, -1))
    features = imagenet_features(fake, own, **options)
    real_features = imagenet_features(real.rgb, common, **options)
    found["distances"]["imagenet"] = measures.distances(real_features, features, seed)
    against_other = None
    if other:
        of_other = face_features(other.rgb, common, **options), imagenet_features(other.rgb, common, **options)
        against_other = _against(other, *of_other, of_fake, features, seed)
    report = {
        "run": str(run.path),
        "generator_sha256": sha256(run.generator),
        "samples": samples,
        "seed": seed,
        **found,
        "against": against_other,
        "walks": {"walks": WALKS, "steps": WALK_STEPS, **steps},
    }

    return write_evaluation(output, report, arrays, plot_evaluation(report, arrays))


def compare_faces(
    real: Faces, fake: np.ndarray, of_real: FaceFeatures, of_fake: FaceFeatures, seed: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Compare samples (uint8 RGB [N, H, H, 3]) with real faces, by their features and their pixels.

    Returns the report, with remarks in words, and the arrays for the plot.

    Raises:
        RunError: no face is detected in any real image.
    """
    persons = PersonCentroids.of(of_real, real.labels, real.persons)
    if not persons.names:
        raise RunError(f"No face is detected in {real.source}.", "Were they aligned?")
    pixels_real, pixels_fake = _pixels(real.rgb), _pixels(fake)
    in_descriptors, near = measures.memory(of_real.descriptors, of_fake.descriptors, real.labels)
    in_pixels, near_px = measures.memory(pixels_real, pixels_fake, real.labels)
    middle = measures.between_persons(persons, of_fake)
    report: dict[str, Any] = {
        "data": {"source": real.source, "faces": real.counts(), "all_that_it_learnt_from": real.complete},
        "distances": {"descriptors": measures.distances(of_real.descriptors, of_fake.descriptors, seed)},
        "samples_show": measures.person_fractions(persons, of_fake),
        "data_shows": measures.person_fractions(persons, of_real),
        "diversity": {
            "descriptors": measures.diversity(of_real.descriptors, of_fake.descriptors),
            "pixels": measures.diversity(pixels_real, pixels_fake),
        },
        "memory": {"descriptors": in_descriptors, "pixels": in_pixels},
        "mirrored": measures.mirrored(pixels_real, _pixels(real.rgb[:, :, ::-1]), pixels_fake, real.labels),
        "expressions": measures.expression_coverage(of_real, of_fake, seed),
        "expressions_between_persons": measures.expression_coverage(of_real, of_fake.only(middle), seed),
    }
    report["remarks"] = _remarks(report, real, len(fake))
    shown = np.argsort(near["distance"])[np.linspace(0, len(fake) - 1, SHOWN).astype(int)]
    return report, {
        "real_to_persons": persons.distances(of_real.descriptors),
        "samples_to_persons": persons.distances(of_fake.descriptors),
        "samples_detected": of_fake.detected,
        "persons": np.array(persons.names),
        "real_nearest": near["real"],
        "samples_nearest": near["distance"],
        "shown": fake[shown],
        "shown_nearest": real.rgb[near["nearest"][shown]],
        "shown_nearest_in_pixels": real.rgb[near_px["nearest"][shown]],
        "shown_distance": near["distance"][shown],
        "shown_distance_in_pixels": near_px["distance"][shown],
    }


def _check_enough(faces: Faces) -> None:
    if len(faces.images) < LEAST_FACES:
        raise RunError(
            f"{faces.source}: {len(faces.images)} faces; at least {LEAST_FACES} are needed for a comparison.",
            "Give more faces."
            if faces.complete
            else "Run this in the folder where training was started, to find all faces.",
        )


def _walks(trained: TrainedGenerator, seed: int) -> list[torch.Tensor]:
    """Walks between random latents, as `facemorph walk` takes them: each [WALK_STEPS + 1, z_dim]."""
    ends = trained.draw(2 * WALKS, seed + 1)
    spherical = trained.config.z == "normal"
    return [between(a, b, WALK_STEPS + 1, spherical=spherical) for a, b in zip(ends[::2], ends[1::2], strict=True)]


def _pixels(images: np.ndarray) -> np.ndarray:
    """Points whose distance is the root mean square difference of the pixels, in 0..1: [N, 3 H H]."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    return flat / (255 * np.sqrt(flat.shape[1]))


def _against(
    other: Faces,
    of_other: FaceFeatures,
    other_features: np.ndarray,
    of_fake: FaceFeatures,
    features: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    return {
        "data": {"source": other.source, "faces": other.counts()},
        "distances": {
            "descriptors": measures.distances(of_other.descriptors, of_fake.descriptors, seed),
            "imagenet": measures.distances(other_features, features, seed),
        },
        "expressions": measures.expression_coverage(of_other, of_fake, seed),
    }


def _remarks(report: dict[str, Any], real: Faces, samples: int) -> list[str]:
    """What stands out, in words."""
    remarks = []
    count = len(real.rgb)
    if not real.complete:
        remarks.append(f"Compared with only the {count} faces in the run folder, not with all training faces.")
    bias = report["distances"]["descriptors"]["frechet_bias"]
    for kind, number in (("real faces", count), ("samples", samples)):
        if number < FEW_FACES:
            remarks.append(
                f"{number} {kind} are few (fewer than {FEW_FACES}): {bias:.3f} of the Frechet distance is bias."
            )
    detected, detected_real = report["samples_show"]["seen"], report["data_shows"]["seen"]
    if detected < detected_real / 2:
        remarks.append(
            f"A face is detected in {detected:.0%} of the samples and {detected_real:.0%} of the real faces."
        )
    for space, found in report["diversity"].items():
        if found["ratio"] < COLLAPSED:
            remarks.append(
                f"Collapsed: two samples differ by {found['samples']:.3f} in {space}, two real faces by "
                f"{found['data']:.3f} ({found['ratio']:.0%})."
            )
    for space, found in report["memory"].items():
        if found["nearer_share"] > COPIED:
            remarks.append(
                f"Memorised: {found['nearer_share']:.0%} of the samples are nearer to a training image in {space} "
                f"than {1 - measures.RARE:.0%} of the real faces are to another one."
            )
    mirrored = report["mirrored"]
    if detected >= detected_real / 2 and mirrored["samples"] > mirrored["data"] + MIRRORED:
        remarks.append(
            f"Mirrored: {mirrored['samples']:.0%} of the samples and {mirrored['data']:.0%} of the real faces are "
            "nearer to a mirrored training image than to one as it is. A training.flip near 0.5 leaves that to chance."
        )
    return remarks


def has_generator(path: Path) -> Run:
    """The run at `path`, checked before anything slow starts.

    Raises:
        RunError: there is none, or it has no checkpoint yet.
    """
    run = Run.open(path)
    if not run.generator.exists():
        raise RunError(f"{path} has no generator.safetensors yet.", "Train at least to the first checkpoint.")
    return run


def table_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report as lines of a table: label and value."""
    show, walks = report["samples_show"], report["walks"]
    return [
        *distance_rows(report["distances"], with_bias=True),
        ("a face is detected", f"{show['seen']:.0%}"),
        ("nearer than 0.6 to a person", f"{show['near_a_person']:.0%}"),
        ("between two persons", f"{show['between_persons']:.0%}"),
        ("diversity, relative to the real faces'", f"{report['diversity']['descriptors']['ratio']:.0%}"),
        *memory_rows(report["memory"]["descriptors"]),
        ("nearer to a mirrored training face", f"{report['mirrored']['samples']:.0%}"),
        ("expressions covered", f"{report['expressions']['coverage']:.0%}"),
        ("  by as many real faces", f"{report['expressions']['coverage_real']:.0%}"),
        ("  by samples between two persons", f"{report['expressions_between_persons']['coverage']:.0%}"),
        ("walks: mean step", f"{walks['mean_step']:.3f}"),
        ("walks: largest step over the mean", f"{walks['largest_over_mean']:.2f}"),
    ]
