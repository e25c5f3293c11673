"""Where are the faces: dlib's CNN detector in PyTorch, dlib's own build of it, or dlib's HOG detector."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from facemorph.errors import ConfigError
from facemorph.faces.dlib_models import DETECTOR, model_path

if TYPE_CHECKING:
    from facemorph.faces.mmod import Candidate, Window
    from facemorph.faces.pyramid import Pyramid

KINDS = ("cnn", "dlib-cnn", "hog")
PRECISIONS = ("float32", "bfloat16")
# Pixels of images that go through the network together. A CPU gains nothing from more than it needs to be busy.
BATCH_PIXELS_CPU, BATCH_PIXELS = 1 << 18, 1 << 23


@dataclass(frozen=True)
class Detection:
    """One face: `box` = (left, top, right, bottom) in pixels of the image, which it may stick out of.

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
    """Finds the faces in images (uint8 RGB [H, W, 3] each, sizes may differ); best score first in each."""

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Detection]]: ...


def make_detector(
    kind: str = "cnn",
    *,
    device: str = "cpu",
    precision: str = "float32",
    min_face_px: int = 0,
) -> Detector:
    """The detector of this `kind`, its model loaded.

    "cnn" is ours: dlib's network with the same boxes and scores, on `device` at `precision` (float32, or
    bfloat16 for speed). "dlib-cnn" and "hog" run dlib itself on the CPU and take no notice of `device` and
    `precision`. Boxes narrower than `min_face_px` are not considered, which saves "cnn" the work of looking for them.

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
    """dlib's CNN detector in PyTorch (see `facemorph.faces.mmod`); equal-sized images run together."""

    def __init__(self, *, device: str = "cpu", precision: str = "float32", min_face_px: int = 0) -> None:
        import torch

        from facemorph.faces.mmod import box_side_px, load_mmod

        try:
            self.device = torch.device(device)
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"The device {device!r} cannot be used: {error}.", "Use cpu.") from None
        self.network = load_mmod(torch.bfloat16 if precision == "bfloat16" else torch.float32).to(self.device)
        self.min_face_px = min_face_px
        self.first_level = 0
        while box_side_px(self.network, self.first_level) + 1 < min_face_px:
            self.first_level += 1
        self.batch_pixels = BATCH_PIXELS_CPU if self.device.type == "cpu" else BATCH_PIXELS

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            _check(image, index)
            by_shape.setdefault(image.shape, []).append(index)
        found: list[list[Detection]] = [[] for _ in images]
        for (height, width, _), indices in by_shape.items():
            count = max(1, self.batch_pixels // (height * width))
            for start in range(0, len(indices), count):
                batch = indices[start : start + count]
                kept = self.whole(self.pyramid([images[index] for index in batch]))
                for index, faces in zip(batch, kept, strict=True):
                    found[index] = [Detection(one.box, one.score) for one in faces]
        return found

    def pyramid(self, images: Sequence[np.ndarray]) -> "Pyramid":
        """The pyramid of equal-sized images, on the detector's device."""
        import torch

        from facemorph.faces.pyramid import Pyramid

        with torch.inference_mode():
            return Pyramid(torch.from_numpy(np.stack(images)).to(self.device), self.network.file.mean_rgb)

    def candidates(self, pyramid: "Pyramid", window: "Window") -> list[list["Candidate"]]:
        """For each image of a pyramid, what is found in a window of the score map, best first, overlaps included."""
        import torch

        from facemorph.faces.mmod import candidates

        # cuDNN would round float32 to 10 bits otherwise (TF32)
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            scores = self.network(pyramid, window).cpu().numpy()  # [N, rows, columns]
        found = [candidates(self.network, score, pyramid.tiles, at=window) for score in scores]
        return [[one for one in some if one.box[2] - one.box[0] + 1 >= self.min_face_px] for some in found]

    def whole(self, pyramid: "Pyramid") -> list[list["Candidate"]]:
        """For each image of a pyramid, its faces, best first, each once."""
        from facemorph.faces.mmod import windows_from_level, without_overlaps

        found: list[list[Candidate]] = [[] for _ in range(pyramid.count)]
        for window in windows_from_level(self.network, pyramid.tiles, self.first_level):
            for faces, more in zip(found, self.candidates(pyramid, window), strict=True):
                faces.extend(more)
        for faces in found:
            faces.sort(key=lambda one: -one.score)
        return [without_overlaps(faces, self.network.file) for faces in found]


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
        for index, image in enumerate(images):
            _check(image, index)
        found = [self._one(np.ascontiguousarray(image)) for image in images]
        return [[face for face in faces if face.width_px >= self.min_face_px] for faces in found]

    def _one(self, image: np.ndarray) -> list[Detection]:
        if self.kind == "hog":
            boxes, scores, _ = self._detector.run(image, 0, 0.0)
            pairs = sorted(zip(boxes, scores, strict=True), key=lambda pair: -pair[1])
        else:
            pairs = [(one.rect, one.confidence) for one in self._detector(image, 0)]
        return [Detection((r.left(), r.top(), r.right(), r.bottom()), float(score)) for r, score in pairs]


def _check(image: np.ndarray, index: int) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"image {index} is {image.dtype} {list(image.shape)}, not uint8 [H, W, 3]")
