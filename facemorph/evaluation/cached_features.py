"""Features of many small faces, cached on disk since they take a while."""

import hashlib
import logging
import zipfile
import zlib
from pathlib import Path

import numpy as np

from facemorph.errors import OutputError
from facemorph.faces.features import FaceFeatures, features_of_aligned
from facemorph.files import replacing

log = logging.getLogger("facemorph")

VERSION = 2  # of the features: raised when they change, so that older files are not used


def face_features(images: np.ndarray, folder: Path, *, device: str = "cpu", progress: bool = False) -> FaceFeatures:
    """Features of aligned faces, uint8 RGB [N, H, H, 3]; those of the same images are read from `folder`."""
    path = folder / f"faces-{_digest(images)}.npz"
    kept = _read(path, {"descriptors": (len(images), 128), "points": (len(images), 68, 2), "detected": (len(images),)})
    if not kept:
        found = features_of_aligned(images, device=device, progress=progress)
        kept = {"descriptors": found.descriptors, "points": found.points, "detected": found.detected}
        _keep(path, kept)
    return FaceFeatures(**kept)


def imagenet_features(images: np.ndarray, folder: Path, *, device: str = "cpu", progress: bool = False) -> np.ndarray:
    """Features of uint8 RGB [N, H, H, 3] from a network trained on ImageNet, float64 [N, 320]; cached likewise."""
    path = folder / f"imagenet-{_digest(images)}.npz"
    kept = _read(path, {"features": (len(images), 320)})
    if not kept:
        from facemorph.metrics.imagenet_features import load_efficientnet

        kept = {"features": load_efficientnet(device).describe(images, progress=progress)}
        _keep(path, kept)
    return kept["features"]


def _digest(images: np.ndarray) -> str:
    """A hash of the images themselves, so that those of another seed or checkpoint have other files."""
    digest = hashlib.sha256(f"{VERSION} {images.shape}".encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()[:24]


def _read(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The cached arrays; none if the file is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            kept = {name: stored[name] for name in shapes}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return {}
    return kept if all(kept[name].shape == shape for name, shape in shapes.items()) else {}


def _keep(path: Path, arrays: dict[str, np.ndarray]) -> None:
    try:
        with replacing(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **arrays)
    except OutputError as error:  # the features are valid without the cache
        log.warning("Not cached: %s", error.problem)
