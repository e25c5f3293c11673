"""Where are the faces: dlib's CNN detector in PyTorch, dlib's own build of it, or dlib's HOG detector."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from facemorph.errors import ConfigError
from facemorph.faces.models import DETECTOR, model_path

KINDS = ("cnn", "dlib-cnn", "hog")
PRECISIONS = ("float32", "bfloat16")
BATCH_PIXELS = 1 << 20  # of pictures that go through the network together; about 200 MB at float32


@dataclass(frozen=True)
class Detection:
    """One face: `box` = (left, top, right, bottom) in pixels of the picture, which it may stick out of.

    The right column and the bottom row belong to the box, as in dlib's rectangles. `score` is the detector's
    confidence: for the CNN about 1 on a clear face, above 0 on any; for HOG above 0, unbounded.
    """

    box: tuple[int, int, int, int]
    score: float

    @property
    def width_px(self) -> int:
        return self.box[2] - self.box[0] + 1

    @property
    def height_px(self) -> int:
        return self.box[3] - self.box[1] + 1


class Detector(Protocol):
    """Finds the faces in pictures (uint8 RGB [H, W, 3] each, sizes may differ); best score first in each."""

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Detection]]: ...


def make_detector(
    kind: str = "cnn", *, device: str = "cpu", precision: str = "float32", min_face_px: int = 0
) -> Detector:
    """The detector of this `kind`, its model loaded.

    "cnn" is ours: dlib's network with the same boxes and scores, on `device` at `precision` (float32, or
    bfloat16 for speed). "dlib-cnn" and "hog" run dlib itself on the CPU and take no notice of `device` and
    `precision`. Faces whose box is narrower than `min_face_px` are left out.

    Raises:
        ConfigError: an unknown kind or precision, or a device that is not there.
        InputError: the model file is missing or is not the published one.
    """
    if kind not in KINDS:
        raise ConfigError(f"Unknown detector {kind!r}.", f"Choose from {', '.join(KINDS)}.")
    if precision not in PRECISIONS:
        raise ConfigError(f"Unknown precision {precision!r}.", f"Choose from {', '.join(PRECISIONS)}.")
    if kind == "cnn":
        return MmodDetector(device=device, precision=precision, min_face_px=min_face_px)
    return DlibDetector(kind, min_face_px=min_face_px)


class MmodDetector:
    """dlib's CNN detector in PyTorch (see `facemorph.faces.mmod`); equal-sized pictures run together."""

    def __init__(self, *, device: str = "cpu", precision: str = "float32", min_face_px: int = 0) -> None:
        import torch

        from facemorph.faces.mmod import load_mmod

        try:
            self.device = torch.device(device)
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"The device {device!r} cannot be used: {error}.", "Use cpu.") from None
        self.min_face_px = min_face_px
        self._network = load_mmod(torch.bfloat16 if precision == "bfloat16" else torch.float32).to(self.device)

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise ValueError(f"picture {index} is {image.dtype} {list(image.shape)}, not uint8 [H, W, 3]")
            by_shape.setdefault(image.shape, []).append(index)
        found: list[list[Detection]] = [[] for _ in images]
        for (height, width, _), indices in by_shape.items():
            count = max(1, BATCH_PIXELS // (height * width))
            for start in range(0, len(indices), count):
                batch = indices[start : start + count]
                for index, detections in zip(batch, self._batch(np.stack([images[i] for i in batch])), strict=True):
                    found[index] = detections
        return found

    def _batch(self, images: np.ndarray) -> list[list[Detection]]:
        """Faces in equal-sized pictures [N, H, W, 3]."""
        import torch

        from facemorph.faces.mmod import find_boxes, lay_tiles, tile

        tiles = lay_tiles(*images.shape[1:3])
        with torch.inference_mode():
            tiled = tile(self._network, torch.from_numpy(images).to(self.device), tiles)
            scores = self._network(tiled).float().cpu().numpy()  # [N, H', W']
        found = [[Detection(*one) for one in find_boxes(self._network, score, tiles, 0.0)] for score in scores]
        return [[face for face in faces if face.width_px >= self.min_face_px] for faces in found]


class DlibDetector:
    """dlib's own detectors: its CNN (the tested reference of ours) or the older HOG, frontal faces only."""

    def __init__(self, kind: str, *, min_face_px: int = 0) -> None:
        import dlib

        library: Any = dlib
        self.kind, self.min_face_px = kind, min_face_px
        if kind == "hog":
            self._detector = library.get_frontal_face_detector()
        else:
            self._detector = library.cnn_face_detection_model_v1(str(model_path(DETECTOR)))

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        found = [self._one(np.ascontiguousarray(image)) for image in images]
        return [[face for face in faces if face.width_px >= self.min_face_px] for faces in found]

    def _one(self, image: np.ndarray) -> list[Detection]:
        if self.kind == "hog":
            boxes, scores, _ = self._detector.run(image, 0, 0.0)
            pairs = sorted(zip(boxes, scores, strict=True), key=lambda pair: -pair[1])
        else:
            pairs = [(one.rect, one.confidence) for one in self._detector(image, 0)]
        return [Detection((r.left(), r.top(), r.right(), r.bottom()), float(score)) for r, score in pairs]
