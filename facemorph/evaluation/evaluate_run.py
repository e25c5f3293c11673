"""A trained run's samples against real faces: one report, for a person, for a script, and as an image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facemorph import plots as figures
from facemorph.dcgan.dataset import Faces
from facemorph.dcgan.run import Run
from facemorph.dcgan.walk import TrainedGenerator, between, load_generator
from facemorph.device import pick_device
from facemorph.errors import InputError, RunError
from facemorph.evaluation import measures
from facemorph.evaluation.cached_features import face_features, imagenet_features
from facemorph.evaluation.real import other_faces, training_faces
from facemorph.faces.features import FaceFeatures, PersonCentroids
from facemorph.files import replacing, sha256, write_json
from facemorph.weights.cache import cache_folder

REPORT = "evaluation.json"
LEAST_FACES = 16  # on either side
FEW_FACES = 256  # twice the descriptor's width: with fewer, covariances are mostly chance
WALKS, WALK_STEPS = 8, 16
SHOWN = 16  # samples in the image beside their nearest neighbours
COLLAPSED = 0.5  # of the data's diversity
MIRRORED = 0.25  # more of the samples than of the real faces
COPIED = 0.25  # of the samples nearer to a training image than all but 5 % of real faces are to another


@dataclass(frozen=True)
class Evaluation:
    """A run's figures: `report` as in evaluation.json, and the `arrays` from which the image is drawn."""

    report: dict[str, Any]
    arrays: dict[str, np.ndarray]
    written: tuple[Path, ...]


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
    """Measure `samples` faces drawn from the run by `seed`; write evaluation.json, .png and .npz into `output`.

    Raises:
        RunError: no run, no generator in it yet, or too few real faces.
        InputError: no faces in `against`.
        OutputError: `output` cannot be written.
    """
    trained = load_generator(run)
    real = training_faces(run)
    other = other_faces(against, trained.config.size_px) if against else None
    for faces in (real, other):
        if faces is not None:
            _check_enough(faces)
    common, own = cache_folder() / "studies", output / "studied"  # real faces serve many runs, samples this one
    options: dict[str, Any] = {"device": device, "progress": progress}

    fake = trained.images(trained.draw(samples, seed))
    drawn = face_features(fake, own, **options)
    found, arrays = compare_faces(real, fake, face_features(real.rgb, common, **options), drawn, seed)
    walked = face_features(np.concatenate([trained.images(z) for z in _walks(trained, seed)]), own, **options)
    steps, arrays["steps"] = measures.smoothness(walked.descriptors.reshape(WALKS, WALK_STEPS + 1, -1))
    features = imagenet_features(fake, own, **options)
    learnt = imagenet_features(real.rgb, common, **options)
    found["distances"]["imagenet"] = measures.distances(learnt, features, seed)
    against_other = None
    if other:
        elsewhere = face_features(other.rgb, common, **options), imagenet_features(other.rgb, common, **options)
        against_other = _against(other, *elsewhere, drawn, features, seed)
    report = {
        "run": str(run.path),
        "generator_sha256": sha256(run.generator),
        "samples": samples,
        "seed": seed,
        **found,
        "against": against_other,
        "walks": {"walks": WALKS, "steps": WALK_STEPS, **steps},
    }

    written = output / REPORT, output / "evaluation.png", output / "evaluation.npz"
    write_json(written[0], _rounded(report))
    figures.save(figures.plot_evaluation(report, arrays), written[1])
    with replacing(written[2]) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)
    return Evaluation(report, arrays, written)


def compare_faces(
    real: Faces, fake: np.ndarray, known: FaceFeatures, drawn: FaceFeatures, seed: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """All that can be said of samples (uint8 RGB [N, H, H, 3]) beside real faces, both studied before.

    Returns the figures, with remarks in words, and the arrays for the image.

    Raises:
        RunError: in no real image is a face recognised.
    """
    persons = PersonCentroids.of(known, real.labels, real.persons)
    if not persons.names:
        raise RunError(f"No face is recognised in {real.source}.", "Were they aligned?")
    pixels_real, pixels_fake = _pixels(real.rgb), _pixels(fake)
    in_descriptors, near = measures.memory(known.descriptors, drawn.descriptors, real.labels)
    in_pixels, near_px = measures.memory(pixels_real, pixels_fake, real.labels)
    middle = measures.between_persons(persons, drawn)
    report: dict[str, Any] = {
        "data": {"source": real.source, "faces": real.counts(), "all_that_it_learnt_from": real.complete},
        "distances": {"descriptors": measures.distances(known.descriptors, drawn.descriptors, seed)},
        "samples_show": measures.person_fractions(persons, drawn),
        "data_shows": measures.person_fractions(persons, known),
        "diversity": {
            "descriptors": measures.diversity(known.descriptors, drawn.descriptors),
            "pixels": measures.diversity(pixels_real, pixels_fake),
        },
        "memory": {"descriptors": in_descriptors, "pixels": in_pixels},
        "mirrored": measures.mirrored(pixels_real, _pixels(real.rgb[:, :, ::-1]), pixels_fake, real.labels),
        "expressions": measures.expression_coverage(known, drawn, seed),
        "expressions_between_persons": measures.expression_coverage(known, drawn.only(middle), seed),
    }
    report["remarks"] = _remarks(report, real, len(fake))
    shown = np.argsort(near["distance"])[np.linspace(0, len(fake) - 1, SHOWN).astype(int)]
    return report, {
        "real_to_persons": persons.distances(known.descriptors),
        "samples_to_persons": persons.distances(drawn.descriptors),
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
            "Give more faces." if faces.complete else "Start this where training was started, to find all faces.",
        )


def _walks(trained: TrainedGenerator, seed: int) -> list[torch.Tensor]:
    """Walks between random latents, as `facemorph walk` takes them: each [WALK_STEPS + 1, z_dim]."""
    ends = trained.draw(2 * WALKS, seed + 1)
    spherical = trained.config.z == "normal"
    return [between(a, b, WALK_STEPS + 1, spherical=spherical) for a, b in zip(ends[::2], ends[1::2], strict=True)]


def _pixels(images: np.ndarray) -> np.ndarray:
    """Points whose distance is the root mean square of the difference of the pixels, in 0..1: [N, 3 H H]."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    return flat / (255 * np.sqrt(flat.shape[1]))


def _against(
    other: Faces,
    known: FaceFeatures,
    known_features: np.ndarray,
    fake: FaceFeatures,
    features: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    return {
        "data": {"source": other.source, "faces": other.counts()},
        "distances": {
            "descriptors": measures.distances(known.descriptors, fake.descriptors, seed),
            "imagenet": measures.distances(known_features, features, seed),
        },
        "expressions": measures.expression_coverage(known, fake, seed),
    }


def _remarks(report: dict[str, Any], real: Faces, samples: int) -> list[str]:
    """What a reader of the figures should know, in words."""
    remarks = []
    count = len(real.rgb)
    if not real.complete:
        remarks.append(f"Compared with {count} faces only, which the run kept: the figures are not those of all faces.")
    bias = report["distances"]["descriptors"]["frechet_bias"]
    for kind, number in (("real faces", count), ("samples", samples)):
        if number < FEW_FACES:
            remarks.append(
                f"{number} {kind} are few ({FEW_FACES} are not): {bias:.3f} of the Frechet distance is bias."
            )
    seen, seen_real = report["samples_show"]["seen"], report["data_shows"]["seen"]
    if seen < seen_real / 2:
        remarks.append(f"A face is seen in {seen:.0%} of the samples, in {seen_real:.0%} of the real faces.")
    for space, figures_ in report["diversity"].items():
        if figures_["ratio"] < COLLAPSED:
            remarks.append(
                f"Collapsed: two samples differ by {figures_['samples']:.3f} in {space}, two real faces by "
                f"{figures_['data']:.3f} ({figures_['ratio']:.0%})."
            )
    for space, figures_ in report["memory"].items():
        if figures_["nearer_share"] > COPIED:
            remarks.append(
                f"Memorised: {figures_['nearer_share']:.0%} of the samples are nearer to a training image in {space} "
                f"than {measures.RARE:.0%} of the real faces are to another one."
            )
    turned = report["mirrored"]
    if seen >= seen_real / 2 and turned["samples"] > turned["data"] + MIRRORED:
        remarks.append(
            f"Mirrored: {turned['samples']:.0%} of the samples are nearer to a training image's mirror image, of the "
            f"real faces {turned['data']:.0%}. Flips of nearly half the images (training.flip) leave that to chance."
        )
    return remarks


def _rounded(value: Any) -> Any:
    """Figures to six digits, which is more than they are worth."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def device_name(name: str) -> str:
    """The device that `name` means, auto being CUDA where there is one.

    Raises:
        ConfigError: it is not there.
    """
    return str(pick_device(name))


def has_generator(path: Path) -> Run:
    """The run at `path`, looked at before anything slow starts.

    Raises:
        RunError: there is none, or it has not come to its first checkpoint.
    """
    run = Run.open(path)
    if not run.generator.exists():
        raise RunError(f"{path} has no generator.safetensors yet.", "Train at least to the first checkpoint.")
    return run


def places(paths: list[Path], output: Path | None) -> list[Path]:
    """Where each run's evaluation goes: into the run, or into `output`, of several runs into a folder of each name.

    Raises:
        InputError: two runs of the same name would go into one folder.
    """
    if output is None:
        return paths
    if len(paths) == 1:
        return [output]
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        raise InputError(f"Two runs are called alike: {', '.join(names)}.", "Evaluate them one at a time.")
    return [output / name for name in names]
