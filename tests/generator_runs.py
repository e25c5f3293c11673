"""Tiny trainings of a generator; run as a script, it is the one that kills them.

python generator_runs.py FOLDER KILLS: trains FOLDER/whole in one go, then FOLDER/killed in KILLS processes that get
kill -9 at random times and one that may finish, and prints as JSON how many were killed and where each had got to.
"""

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from tiny_runs import kill_often

from facemorph.stylegan.training.config import Config, config_from_dict

# All judges and terms, at 32 px.
LARGER = {
    "network": {"size_px": 32},
    "judging": {
        "judges": ["imagenet", "face", "pixels"],
        "imagenet_px": 64,
        "face_px": 104,
        "projected": 8,
        "width": 8,
    },
    "terms": {"features": 1, "identity": 1, "latent": 0.5},
}
SKINS = ((225, 185, 160), (150, 100, 75), (90, 60, 45))


def toy_faces(count: int, size_px: int = 16, seed: int = 0) -> np.ndarray:
    """Ovals with eyes and a mouth, each of its own colours and a little moved: uint8 [N, H, H, 3]."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:size_px, :size_px] + 0.5) / size_px * 2 - 1
    faces = np.empty((count, size_px, size_px, 3))
    for face in faces:
        dx, dy = rng.normal(0, 0.05, 2)
        face[:] = rng.uniform(60, 230, 3)
        skin = np.array(SKINS[rng.integers(3)]) + rng.normal(0, 12, 3)
        face[((x - dx) / 0.7) ** 2 + ((y - dy) / 0.9) ** 2 < 1] = skin
        for eye in (-0.3, 0.3):
            face[(x - dx - eye) ** 2 + (y - dy + 0.2) ** 2 < 0.02] = 30
        face[(np.abs(x - dx) < 0.3) & (np.abs(y - dy - 0.45) < 0.09)] = (170, 60, 60)
    return np.clip(faces + rng.normal(0, 4, faces.shape), 0, 255).astype(np.uint8)


def write_faces(path: Path, count: int = 48, size_px: int = 16) -> Path:
    np.save(path, toy_faces(count, size_px))
    return path


def tiny(faces: Path, *, every: int = 4, judging: dict[str, Any] | None = None, **values: dict[str, Any]) -> Config:
    """16 px under a judge of pixels alone, unless `values` of a section say otherwise."""
    sections: dict[str, dict[str, Any]] = {
        "data": {"faces": [str(faces)], "crop": "eyes"},
        "network": {
            "size_px": 16, "channel_base": 256, "channel_max": 16, "w_size": 16, "mapping_layers": 2,
            "encoder_width": 4, "encoder_hidden": 16,
        },
        "judging": {"judges": ["pixels"], "pixels_width": 8, **(judging or {})},
        "terms": {"features": 0, "identity": 0},
        "training": {"steps": 12, "batch_size": 8, "precision": "float32", "warm_up": 4, "alone": 0.4},
        "output": {
            "sample_every": 20 * every, "figures_every": 20 * every, "figure_images": 16, "checkpoint_every": every,
        },
    }  # fmt: skip
    return config_from_dict({name: {**section, **values.get(name, {})} for name, section in sections.items()})


def log_without_time(run: Path) -> list[list[str]]:
    with (run / "log.csv").open() as file:
        return [row[:-1] for row in csv.reader(file)]


def same_result(run: Path, other: Path) -> bool:
    """Whether logs, networks and everything in the checkpoints agree to the bit; the time that it took may differ."""
    assert log_without_time(run) == log_without_time(other)
    for name in ("checkpoint", "generator", "encoder"):
        first, second = (load_file(folder / f"{name}.safetensors") for folder in (run, other))
        assert first.keys() == second.keys()
        different = [key for key in first if not np.array_equal(first[key], second[key])]
        assert not different, different
    return True


def main(folder: Path, kills: int) -> None:
    import torch
    import torch._dynamo  # an optimizer imports it: here once, not in every fork

    from facemorph.stylegan.training.train import train

    torch.set_num_threads(1)
    config = tiny(write_faces(folder / "faces.npy"), every=5, training={"steps": 60})
    kill_often(lambda name: train(config, folder / name), folder, kills, share=1 / 4)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
