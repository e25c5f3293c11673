"""People in the generator's latent space: the encoder's guess, or a search from it; a file a person."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from families import Person

from facemorph.files import write_atomically
from facemorph.images import to_tensor
from facemorph.progress import progress_bar
from facemorph.stylegan.projection.config import load_projection_config
from facemorph.stylegan.projection.projector import make_projector

BATCH = 4  # of 128 px are searched for together


def project_all(
    people: dict[str, Person], names: Sequence[str], network: str, preset: str, cache: Path, seed: int = 0
) -> dict[str, np.ndarray]:
    """The latents [L, w_size] of the first picture of each of `names`, found by `preset`; resumes."""
    cache.mkdir(parents=True, exist_ok=True)
    paths = {name: cache / f"{name.replace('/', '_')}.npz" for name in names}
    missing = [name for name in names if not paths[name].exists()]
    if missing:
        projector = make_projector(network, load_projection_config(preset, network=network))
        with progress_bar(True, total=len(missing), unit=" people", description=f"project, {preset}") as bar:
            for start in range(0, len(missing), BATCH):
                chunk = missing[start : start + BATCH]
                targets = to_tensor(np.stack([people[name].aligned[0] for name in chunk]))
                points = [people[name].points[0].astype(np.float64) for name in chunk]
                found = projector(targets, points, seed).latents.cpu().numpy()
                for name, w in zip(chunk, found, strict=True):
                    write_atomically(paths[name], lambda file, w=w: np.savez(file, w=w))
                bar.update(len(chunk))
    latents = {}
    for name, path in paths.items():
        with np.load(path) as arrays:
            latents[name] = arrays["w"]
    return latents
