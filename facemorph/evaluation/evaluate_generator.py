"""A run of `train-generator` against real faces: what it draws, and how it rebuilds faces that it has not seen."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from facemorph.device import pick_device
from facemorph.errors import FacemorphError, RunError
from facemorph.evaluation import measures
from facemorph.evaluation.cached_features import face_features, imagenet_features
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
from facemorph.files import sha256
from facemorph.images import grid, to_tensor
from facemorph.metrics.image_quality import ms_ssim, psnr
from facemorph.stylegan.generate import Sampling, generate_images
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.projection.encoder import read_encoder
from facemorph.stylegan.training.faces import load_faces
from facemorph.stylegan.training.figures import rebuild_faces
from facemorph.stylegan.training.run import GeneratorRun
from facemorph.weights.cache import cache_folder

log = logging.getLogger("facemorph")

COLUMNS = 8  # pictures in a row: samples beside their nearest training faces, held-out faces beside rebuilt ones
TOGETHER = 16  # images of seeds at a time
SEEDS = 1 << 20  # seeds of one --seed


def has_network(path: Path) -> GeneratorRun:
    """The run at `path`, checked before anything slow starts.

    Raises:
        RunError: there is none, or it has no checkpoint yet.
    """
    run = GeneratorRun.open(path)
    if not run.generator.exists() or not run.encoder.exists():
        raise RunError(f"{path} has no network yet.", "Train at least to the first checkpoint.")
    return run


def evaluate_generator(
    run: GeneratorRun, output: Path, *, samples: int = 1000, seed: int = 0, against: Path | None = None,
    device: str = "cpu", progress: bool = False,
) -> Evaluation:  # fmt: skip
    """Measure `samples` faces drawn without truncation, and the held-out faces rebuilt by encoder and generator alone.

    Writes evaluation.json, .png and .npz into `output`. At most as many real faces as samples are compared.

    Raises:
        RunError: no network in the run, too few real faces, or generator and encoder do not belong together.
        OutputError: `output` cannot be written.
    """
    generator = load_generator(run.generator, pick_device(device))
    encoder = read_encoder(run.encoder, generator)
    real, held, complete = _real_faces(run)
    if against is not None:
        data = dataclasses.replace(run.config().data, faces=(str(against),), held_out=(), hold_out=0.0)
        real, complete = load_faces(data, generator.architecture.resolution, 0).images.transpose(0, 2, 3, 1), True
    if len(real) < LEAST_FACES:
        raise RunError(f"{len(real)} real faces; at least {LEAST_FACES} are needed for a comparison.", "Give more.")
    total = len(real)
    real = real[np.linspace(0, total - 1, min(samples, total)).astype(int)]
    common, own = cache_folder() / "studies", output / "studied"
    options: dict[str, Any] = {"device": device, "progress": progress}

    seeds = [(seed * SEEDS + number) % 2**32 for number in range(samples)]
    fake = generate_images(generator, seeds, Sampling(psi=1.0, batch_size=TOGETHER), progress)
    of_real, of_fake = face_features(real, common, **options), face_features(fake, own, **options)
    features, real_features = (imagenet_features(some, at, **options) for some, at in ((fake, own), (real, common)))
    labels = np.zeros(len(real), int)
    memory, near = measures.memory(of_real.descriptors, of_fake.descriptors, labels)
    made = rebuild_faces(generator, encoder, held) if len(held) else held
    report: dict[str, Any] = {
        "run": str(run.path),
        "generator_sha256": sha256(run.generator),
        "samples": samples,
        "seed": seed,
        "real": {"compared": len(real), "of": total, "source": str(against) if against else "trained on"},
        "distances": {
            "descriptors": measures.distances(of_real.descriptors, of_fake.descriptors, seed),
            "imagenet": measures.distances(real_features, features, seed),
        },
        "detected": {"samples": float(of_fake.detected.mean()), "real": float(of_real.detected.mean())},
        "diversity": {
            "descriptors": measures.diversity(of_real.descriptors, of_fake.descriptors),
            "imagenet": measures.diversity(real_features, features),
        },
        "memory": memory,
        "rebuilt": _rebuilding(held, made, common, own, options) if len(held) else None,
    }
    report["remarks"] = _remarks(report, complete)
    shown = np.argsort(near["distance"])[np.linspace(0, samples - 1, SHOWN).astype(int)]
    arrays = {
        "samples": fake[shown], "nearest": real[near["nearest"][shown]], "distance": near["distance"][shown],
        "held": held[:SHOWN], "rebuilt": made[:SHOWN],
    }  # fmt: skip
    return write_evaluation(output, report, arrays, plot_generator_evaluation(report, arrays))


def _real_faces(run: GeneratorRun) -> tuple[np.ndarray, np.ndarray, bool]:
    """Faces trained on and held out, uint8 [N, H, H, 3] each, and whether these are all: else those in the folder."""
    config, about = run.config(), run.about()
    try:
        faces = load_faces(config.data, about["size_px"], config.training.seed)
        if faces.digest == about["data_sha256"]:
            return faces.images.transpose(0, 2, 3, 1), faces.held.transpose(0, 2, 3, 1), True
        problem = "they have changed"
    except FacemorphError as error:
        problem = error.problem
    kept = run.faces()
    log.warning(
        "The faces that %s was trained on are not found here (%s); those in the run folder are used.", run.path, problem
    )
    return kept["real"], kept["held"], False


def _rebuilding(
    held: np.ndarray, made: np.ndarray, common: Path, own: Path, options: dict[str, Any]
) -> dict[str, float]:
    """How held-out faces come out of encoder and generator alone; descriptors as found in the pictures."""
    real, rebuilt = to_tensor(held), to_tensor(made)
    first, second = face_features(held, common, **options), face_features(made, own, **options)
    apart = np.linalg.norm(first.descriptors - second.descriptors, axis=1)
    recognised = np.linalg.norm(second.descriptors[:, None] - first.descriptors[None], axis=2).argmin(1)
    return {
        "faces": len(held),
        "pixels": float((real - rebuilt).square().mean()),
        "psnr_db": float(psnr(real, rebuilt).mean()),
        "ms_ssim": float(ms_ssim(real, rebuilt).mean()) if held.shape[1] >= 16 else float("nan"),
        "descriptor_median": float(np.median(apart)),
        "nearest_is_itself": float((recognised == np.arange(len(held))).mean()),
    }


def _remarks(report: dict[str, Any], complete: bool) -> list[str]:
    """What stands out, in words."""
    remarks = []
    if not complete:
        remarks.append(f"Compared with only the {report['real']['of']} faces in the run folder, not with all of them.")
    for kind, number in (("real faces", report["real"]["compared"]), ("samples", report["samples"])):
        if number < FEW_FACES:
            remarks.append(f"With {number} {kind}, Frechet distances are mostly noise: compare, do not quote.")
    ratio = report["diversity"]["imagenet"]["ratio"]
    if ratio < COLLAPSED:
        remarks.append(f"Collapse: the samples' diversity is {ratio:.0%} of the real faces'.")
    if report["memory"]["nearer_share"] > COPIED:
        remarks.append(
            f"{report['memory']['nearer_share']:.0%} of the samples are nearer to a training face than 95 % of real "
            "faces are to another: copies?"
        )
    if report["rebuilt"] is None:
        remarks.append("No faces were held out (data.hold_out): how unknown faces are rebuilt is not known.")
    return remarks


def table_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report as lines of a table: label and value."""
    rows = [
        *distance_rows(report["distances"]),
        ("a face is detected (of real faces)", "{samples:.0%} ({real:.0%})".format(**report["detected"])),
        ("diversity, relative to the real faces'", f"{report['diversity']['imagenet']['ratio']:.0%}"),
        *memory_rows(report["memory"]),
    ]
    if report["rebuilt"]:
        made = report["rebuilt"]
        rows.append((f"held-out faces rebuilt ({made['faces']}): squared difference", f"{made['pixels']:.4f}"))
        rows.append(("  PSNR", f"{made['psnr_db']:.1f} dB"))
        rows.append(("  MS-SSIM", f"{made['ms_ssim']:.3f}"))
        rows.append(("  descriptor distance, median", f"{made['descriptor_median']:.3f}"))
        rows.append(("  nearest among the held-out is itself", f"{made['nearest_is_itself']:.0%}"))
    return rows


def plot_generator_evaluation(report: dict[str, Any], arrays: dict[str, np.ndarray]) -> Figure:
    """The report as a table, beside samples and their nearest training faces, and held-out faces and rebuilt ones."""
    figure = Figure(figsize=(15, 9), layout="constrained")
    figure.suptitle(f"{report['run']}: {report['samples']} samples, seed {report['seed']}", fontsize=11)
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=(1, 1.6)))
    axis = left.subplots()
    axis.axis("off")
    table = axis.table([list(row) for row in table_rows(report)], loc="upper left", cellLoc="left", edges="open")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    table.auto_set_column_width([0, 1])
    panels = [("Samples, each beside the nearest training face", "samples", "nearest")]
    if len(arrays["held"]):
        panels.append(("Held-out faces, each beside what encoder and generator make of it", "held", "rebuilt"))
    for axis, (title, first, second) in zip(
        np.atleast_1d(np.asarray(right.subplots(len(panels), 1))), panels, strict=True
    ):
        pairs = np.stack([arrays[first], arrays[second]], 1).reshape(-1, *arrays[first].shape[1:])
        axis.imshow(grid(pairs, COLUMNS))
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    return figure
