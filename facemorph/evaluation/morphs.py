"""Measures of a morph, step by step: whom it looks like and how evenly it changes; and of children: whom they resemble.

A convincing morph is near both ends in its middle (what morphing attacks aim at, and what their detection looks for),
changes in even steps, and shows a face at each of them.
"""

import itertools
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facemorph.animation import MANIFEST
from facemorph.device import pick_device
from facemorph.errors import FaceError, InputError
from facemorph.faces.descriptors import SAME_PERSON, describe, face_chip
from facemorph.faces.features import features_of_aligned
from facemorph.faces.locate import locate_face
from facemorph.files import read_jsonl
from facemorph.images import read_image, to_tensor
from facemorph.metrics.image_quality import ms_ssim
from facemorph.metrics.lpips import is_here, load_lpips
from facemorph.progress import progress_bar
from facemorph.stylegan.latents import check_network, read_latent
from facemorph.stylegan.load import load_generator

log = logging.getLogger("facemorph")

SMALL_PX = 200  # smaller images are taken for aligned faces
EPSILON = 1e-4  # of the way, for the path length (Karras et al. 2019, section 4.1)
PATH_SAMPLES = 32
# Pairs of portraits of different persons, and of one person (experiments/identity): nearest, median, farthest.
UNRELATED, ONE_PERSON = (0.501, 0.850, 1.087), (0.133, 0.240, 0.387)

Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def describe_any(images: list[np.ndarray], progress: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors [N, 128] of the largest face of each image (NaN if there is none), and whether there is one [N]."""
    if len(images[0]) < SMALL_PX:
        faces = features_of_aligned(np.stack(images), progress=progress)
        return faces.descriptors, faces.detected
    descriptors, detected = np.full((len(images), 128), np.nan), np.zeros(len(images), bool)
    with progress_bar(progress, total=len(images), unit=" faces", description="describe") as bar:
        for index, image in enumerate(images):
            try:
                points = locate_face(image, f"step {index}").landmarks
                descriptors[index] = describe([face_chip(image, points)])[0]
                detected[index] = True
            except FaceError:
                pass
            bar.update()
    return descriptors, detected


def perceptual_distance(device: str | torch.device = "cpu") -> tuple[str, Distance]:
    """LPIPS if its weights are on this machine, otherwise 1 - MS-SSIM; name and function."""
    if is_here():
        return "LPIPS (VGG16)", load_lpips(device=device)
    return "1 - MS-SSIM", lambda first, second: 1 - ms_ssim(first, second)


def evaluate_morph(
    folder: Path, network: Path | None = None, *, device: str | None = None, progress: bool = False
) -> dict[str, Any]:
    """Measures of a folder that `facemorph morph` wrote; each list has a number per step.

    `network` is only needed for the path length of a morph through a StyleGAN's latent space.

    Raises:
        InputError: there is no morph, or it has too few steps; the network is not the morph's.
    """
    stills = still_paths(folder)
    count = len(stills)
    if count < 3:
        raise InputError(
            f"{folder} holds {count} steps of a morph (step_0.jpg, step_1.jpg, ...); at least 3 are needed.",
            "`facemorph morph a.jpg b.jpg --steps 9` makes a folder with 9.",
        )
    images = [read_image(path) for path in stills]
    rows = read_jsonl(folder / MANIFEST)
    descriptors, detected = describe_any(images, progress)
    chosen = pick_device(device)
    name, distance = perceptual_distance(chosen)
    tensors = to_tensor(np.stack(images)).to(chosen)
    with torch.inference_mode():
        sizes = torch.cat([distance(one[None], other[None]) for one, other in itertools.pairwise(tensors)])
    to_first, to_last = (np.linalg.norm(descriptors - descriptors[end], axis=1) for end in (0, -1))
    middle = count // 2
    worst = max(float(to_first[middle]), float(to_last[middle]))
    found: dict[str, Any] = {
        "method": rows[0].get("method", "unknown") if rows else "unknown",
        "steps": count,
        "faces_seen": int(detected.sum()),
        "to_first": _numbers(to_first),
        "to_last": _numbers(to_last),
        "ends_apart": _number(to_last[0]),
        "middle_to_farther_end": _number(worst),
        "middle_convinces": bool(worst < SAME_PERSON),
        "rises_and_falls": [_number(_rank_correlation(to_first)), _number(-_rank_correlation(to_last))],
        "descriptor_steps": _steps(np.linalg.norm(np.diff(descriptors, axis=0), axis=1)),
        "perceptual_distance": name,
        "perceptual_steps": _steps(sizes.double().cpu().numpy()),
    }
    if (folder / "way.safetensors").is_file() and network is not None:
        found["path_length"] = path_length(folder / "way.safetensors", network, distance, chosen)
    return found


def still_paths(folder: Path) -> list[Path]:
    """The stills of a morph in the order of the way: step_<n>, or percent_<n>."""
    found = [*folder.glob("step_*.[jp][pn]g")] or [*folder.glob("percent_*.png")]
    return sorted(found, key=lambda path: float(path.stem.partition("_")[2]))


def path_length(way: Path, network: Path, distance: Distance, device: str | torch.device = "cpu") -> dict[str, float]:
    """Perceptual path length along the latents of a morph's stills: mean and largest of d(G(t), G(t + e)) / e^2.

    t is 0 at the first still and 1 at the last. Source: Karras et al. 2019, section 4.1, on this path instead of random
    ones, and without discarding any.
    """
    latent = read_latent(way)
    generator = load_generator(network, device)
    check_network(latent, generator, str(way))
    stills = torch.from_numpy(latent.arrays["way"]).to(device)
    lengths = []
    with torch.inference_mode():
        for t in np.linspace(0, 1 - EPSILON, PATH_SAMPLES):
            ends = [_along(stills, at) for at in (float(t), float(t) + EPSILON)]
            first, second = (generator.synthesize(one[None]).clamp(-1, 1) for one in ends)
            lengths.append(float(distance(first, second)) / EPSILON**2)
    return {"mean": float(np.mean(lengths)), "largest": float(np.max(lengths)), "samples": PATH_SAMPLES}


def _along(stills: torch.Tensor, t: float) -> torch.Tensor:
    """Latent [L, w_size] at t in 0..1 along the stills [N, L, w_size]."""
    place = t * (len(stills) - 1)
    before = min(int(place), len(stills) - 2)
    return stills[before].lerp(stills[before + 1], place - before)


def evaluate_family(folder: Path, *, progress: bool = False) -> dict[str, Any]:
    """Measures of a folder that `facemorph child` wrote: each child's distance to both parents.

    Beside them, for comparison, the distances between portraits of unrelated people and of one person.

    Raises:
        InputError: there are no children, or no face is detected in a parent.
    """
    try:
        family = json.loads((folder / "family.json").read_text(encoding="utf-8"))
        names = [row["picture"] for row in family["children"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} holds no children of `facemorph child` ({_reason(error)}).", "`facemorph child` makes one."
        ) from None
    images = [read_image(folder / name) for name in ("mother.png", "father.png", *names)]
    descriptors, detected = describe_any(images, progress)
    if not detected[:2].all():
        raise InputError(
            f"No face is detected in the projected {'father' if detected[0] else 'mother'}.",
            "Is it a network of faces, and did the projection succeed (projected/*/side_by_side.png)?",
        )
    apart = np.linalg.norm(descriptors[:, None] - descriptors[:2], axis=2)
    return {
        "parents_apart": _number(apart[0, 1]),
        "children": [
            {"picture": name, "to_mother": _number(to_mother), "to_father": _number(to_father)}
            for name, (to_mother, to_father) in zip(names, apart[2:], strict=True)
        ],
        "unrelated": dict(zip(("nearest", "median", "farthest"), UNRELATED, strict=True)),
        "one_person": dict(zip(("nearest", "median", "farthest"), ONE_PERSON, strict=True)),
    }


def _reason(error: Exception) -> str:
    """An error of reading family.json, in words."""
    if isinstance(error, KeyError):
        return f"family.json has no {error.args[0]!r}"
    return "no family.json" if isinstance(error, FileNotFoundError) else f"family.json: {error}"


def _steps(sizes: np.ndarray) -> dict[str, Any]:
    """Sizes of steps, their mean and their variation (std over mean; 0 is perfectly even)."""
    mean = float(np.mean(sizes))
    variation = float(np.std(sizes) / mean) if mean else 0.0
    return {"sizes": _numbers(sizes), "mean": _number(mean), "variation": _number(variation)}


def _rank_correlation(values: np.ndarray) -> float:
    """Spearman's rank correlation of values with their order; NaN if one of them is NaN."""
    if not np.isfinite(values).all():
        return float("nan")
    ranks = np.argsort(np.argsort(values)).astype(float)
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values]
