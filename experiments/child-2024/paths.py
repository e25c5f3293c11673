"""Table 6: the way from father to mother, through the latent space and by landmarks: evenness, middle, path length."""

from itertools import pairwise

import numpy as np
import torch
from intervals import mean_over
from measures import measure_images
from predictions import encoded
from study import Study
from tables import Row

import facemorph as fm
from facemorph.evaluation.morphs import EPSILON, perceptual_distance
from facemorph.images import resize, to_tensor, to_uint8
from facemorph.metrics.imagenet_features import load_efficientnet
from facemorph.stylegan.editing.mixing import interpolate

COUPLES, STEPS, PATH_SAMPLES = 10, 9, 8
LARGE_PX = 512  # of the faces that landmarks are looked for in


def rows(study: Study) -> list[Row]:
    couples = study.sampled_couples[:COUPLES]
    families = np.array(
        [{(t.father, t.mother): study.family_numbers[t.family] for t in study.triplets}[c] for c in couples]
    )
    numbers: dict[str, list[dict[str, float]]] = {}
    imagenet = load_efficientnet()
    for father, mother in couples:
        for kind in ("lerp", "slerp"):
            numbers.setdefault(f"latent, {kind}", []).append(_of_latents(study, father, mother, kind, imagenet))
        numbers.setdefault("landmarks", []).append(_of_landmarks(study, father, mother, imagenet))
    found: list[Row] = []
    for name, lines in numbers.items():
        line: Row = {"way": name, "couples": len(lines)}
        for key in lines[0]:
            values = np.array([one[key] for one in lines])
            line[key] = str(mean_over(values, families, study.drawn)) if np.isfinite(values).any() else ""
        found.append(line)
    return found


def _of_latents(study: Study, father: str, mother: str, kind: str, imagenet) -> dict[str, float]:  # type: ignore[no-untyped-def]
    latents, centre = encoded(study), study.generator.w_avg.cpu().numpy()

    def images(shares: list[float]) -> torch.Tensor:
        w = interpolate(latents[father], latents[mother], shares, kind, centre)
        with torch.inference_mode():
            return study.generator.synthesize(torch.from_numpy(w.astype(np.float32))).clamp(-1, 1)

    steps = images(np.linspace(0, 1, STEPS).tolist())
    _, distance = perceptual_distance()
    lengths = []
    with torch.inference_mode():
        for t in np.linspace(0, 1 - EPSILON, PATH_SAMPLES):
            first, second = images([float(t), float(t) + EPSILON]).split(1)
            lengths.append(float(distance(first, second)[0]) / EPSILON**2)
    return _figures(to_uint8(steps), study, father, mother, imagenet) | {"path length": float(np.mean(lengths))}


def _of_landmarks(study: Study, father: str, mother: str, imagenet) -> dict[str, float]:  # type: ignore[no-untyped-def]
    first, second = (resize(study.people[name].aligned[0], LARGE_PX) for name in (father, mother))
    morph = fm.landmark_morph(first, second, size=LARGE_PX)
    side = study.generator.architecture.resolution
    frames = np.stack([resize(frame, side) for frame in morph.frames(np.linspace(0, 1, STEPS).tolist())])
    return _figures(frames, study, father, mother, imagenet) | {"path length": float("nan")}


def _figures(images: np.ndarray, study: Study, father: str, mother: str, imagenet) -> dict[str, float]:  # type: ignore[no-untyped-def]
    found = measure_images(images, imagenet)
    d = found["descriptors"]
    sizes = np.linalg.norm(np.diff(d, axis=0), axis=1)
    _, distance = perceptual_distance()
    with torch.inference_mode():
        seen = np.array([float(distance(a[None], b[None])[0]) for a, b in pairwise(to_tensor(images))])
    middle = d[len(d) // 2]
    to_real = [np.linalg.norm(middle - study.people[name].descriptor) for name in (father, mother)]
    return {
        "faces seen": float(found["seen"].mean()),
        "ends apart": float(np.linalg.norm(d[0] - d[-1])),
        "middle to the farther end": float(max(np.linalg.norm(middle - d[0]), np.linalg.norm(middle - d[-1]))),
        "middle to the farther photograph": float(max(to_real)),
        "unevenness, dlib": float(sizes.std() / sizes.mean()),
        "unevenness, MS-SSIM": float(seen.std() / seen.mean()),
    }
