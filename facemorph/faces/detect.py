"""Face detectors: the table `DETECTORS` at the end has one entry for each kind."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from facemorph.errors import ConfigError
from facemorph.faces.dlib_models import DETECTOR, model_path

if TYPE_CHECKING:
    from facemorph.faces.mesh import Mesh
    from facemorph.faces.mmod import Candidate, Window
    from facemorph.faces.pyramid import Pyramid

PRECISIONS = ("float32", "bfloat16")
# Pixels per batch of images. On a CPU, larger batches are no faster.
BATCH_PIXELS_CPU, BATCH_PIXELS = 1 << 18, 1 << 23


@dataclass(frozen=True)
class Detection:
    """One detected face.

    Attributes:
        box: left, top, right, bottom in pixels of the image; it may reach beyond the image. Right and bottom are the
            last column and row inside, as in dlib's rectangles.
        score: the detector's confidence, above 0: about 1 for a clear face; unbounded for HOG.
        mesh: where the detector has found it already.
    """

    box: tuple[float, float, float, float]
    score: float
    mesh: "Mesh | None" = None

    @property
    def width_px(self) -> float:
        return self.box[2] - self.box[0] + 1

    @property
    def height_px(self) -> float:
        return self.box[3] - self.box[1] + 1


class Detector(Protocol):
    """Detects the faces in images (uint8 RGB [H, W, 3] each, of any sizes); the best score first in each."""

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Detection]]: ...


def check_precision(precision: str) -> None:
    """Raises ConfigError: an unknown one."""
    if precision not in PRECISIONS:
        raise ConfigError(f"Unknown precision {precision!r}.", f"Choose from {', '.join(PRECISIONS)}.")


class MmodDetector:
    """dlib's CNN detector in PyTorch (see `facemorph.faces.mmod`); images of equal size form batches.

    Boxes narrower than `min_face_px` are left out, which also saves time.
    """

    def __init__(self, *, device: str = "cpu", precision: str = "float32", min_face_px: int = 0) -> None:
        import torch

        from facemorph.device import check_device
        from facemorph.faces.mmod import box_side_px, load_mmod

        check_precision(precision)
        self.device = check_device(device)
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
        detections: list[list[Detection]] = [[] for _ in images]
        for (height, width, _), indices in by_shape.items():
            count = max(1, self.batch_pixels // (height * width))
            for start in range(0, len(indices), count):
                batch = indices[start : start + count]
                kept = self.whole(self.pyramid([images[index] for index in batch]))
                for index, faces in zip(batch, kept, strict=True):
                    detections[index] = [Detection(one.box, one.score) for one in faces]
        return detections

    def pyramid(self, images: Sequence[np.ndarray]) -> "Pyramid":
        """The pyramid of equal-sized images, on the detector's device."""
        import torch

        from facemorph.faces.pyramid import Pyramid

        with torch.inference_mode():
            return Pyramid(torch.from_numpy(np.stack(images)).to(self.device), self.network.file.mean_rgb)

    def candidates(self, pyramid: "Pyramid", window: "Window") -> list[list["Candidate"]]:
        """For each image of a pyramid, the candidates in a window of the score map, best first, with overlaps."""
        import torch

        from facemorph.faces.mmod import candidates

        # without TF32, in which cuDNN rounds the mantissa of float32 to 10 bits
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            scores = self.network(pyramid, window).cpu().numpy()  # [N, rows, columns]
        by_image = [candidates(self.network, score, pyramid.tiles, at=window) for score in scores]
        return [[one for one in some if one.box[2] - one.box[0] + 1 >= self.min_face_px] for some in by_image]

    def whole(self, pyramid: "Pyramid") -> list[list["Candidate"]]:
        """For each image of a pyramid, its faces, best first, without overlaps."""
        from facemorph.faces.mmod import windows_from_level, without_overlaps

        by_image: list[list[Candidate]] = [[] for _ in range(pyramid.count)]
        for window in windows_from_level(self.network, pyramid.tiles, self.first_level):
            for faces, more in zip(by_image, self.candidates(pyramid, window), strict=True):
                faces.extend(more)
        for faces in by_image:
            faces.sort(key=lambda one: -one.score)
        return [without_overlaps(faces, self.network.file) for faces in by_image]


class AutoDetector:
    """BlazeFace, at any angle; the CNN where that sees no face, or a small one. Each face comes with its mesh.

    Arguments as `MmodDetector`, which they are for.
    """

    def __init__(self, *, device: str = "cpu", precision: str = "float32", min_face_px: int = 0) -> None:
        if device != "cpu":  # which needs no check, so that torch is not loaded before it is needed
            from facemorph.device import check_device

            check_device(device)
        check_precision(precision)
        make = functools.partial(MmodDetector, device=device, precision=precision, min_face_px=min_face_px)
        self._make_cnn = functools.cache(make)
        self.min_face_px = min_face_px

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        from facemorph.faces.find_meshes import are_enough, as_blazeface_saw, best_meshes_of, is_face, mesh_in_box

        for index, image in enumerate(images):
            _check(image, index)
        by_image = []
        for image, meshes in zip(images, best_meshes_of(images), strict=True):
            found = [Detection(mesh.box, mesh.score, mesh) for mesh in meshes if is_face(mesh)]
            found = [one for one in found if one.width_px >= self.min_face_px]
            if not are_enough(meshes, image):
                by_cnn = self._make_cnn()([image])[0]
                placed = as_blazeface_saw(mesh_in_box(image, [one.box for one in by_cnn]), meshes) if by_cnn else []
                if not found or any(is_face(mesh) for mesh in placed):
                    found = [replace(one, mesh=mesh) for one, mesh in zip(by_cnn, placed, strict=True)]
            by_image.append(found)
        return by_image


class DlibDetector:
    """dlib's own detectors, on the CPU: its CNN (the reference for ours), or the older HOG for frontal faces.

    Boxes narrower than `min_face_px` are left out; `device` and `precision` have no effect.
    """

    def __init__(self, kind: str, *, device: str = "cpu", precision: str = "float32", min_face_px: int = 0) -> None:
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
        by_image = [self._one(np.ascontiguousarray(image)) for image in images]
        return [[face for face in faces if face.width_px >= self.min_face_px] for faces in by_image]

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


@dataclass(frozen=True)
class DetectorKind:
    """A kind of detector: its `meaning` in words, for --help, and what makes one (arguments as `make_detector`)."""

    meaning: str
    make: Callable[..., Detector]


DETECTORS: dict[str, DetectorKind] = {
    "auto": DetectorKind("BlazeFace at any angle, then cnn", AutoDetector),
    "cnn": DetectorKind("dlib's CNN in PyTorch", MmodDetector),
    "hog": DetectorKind("dlib's HOG", functools.partial(DlibDetector, "hog")),
    "dlib-cnn": DetectorKind("dlib's own build of cnn, slow", functools.partial(DlibDetector, "dlib-cnn")),
}


def make_detector(
    kind: str = "auto", *, device: str = "cpu", precision: str = "float32", min_face_px: int = 0
) -> Detector:
    """The detector of this name in `DETECTORS`, with its model loaded.

    Args:
        device, precision: for "cnn", where it runs, and in float32 or (faster) bfloat16.
        min_face_px: boxes narrower than that are left out.

    Raises:
        ConfigError: an unknown kind or precision, or a device that cannot be used.
        InputError: the model file is missing or is not the published one.
    """
    if kind not in DETECTORS:
        raise ConfigError(f"Unknown detector {kind!r}.", f"Choose from {', '.join(DETECTORS)}.")
    return DETECTORS[kind].make(device=device, precision=precision, min_face_px=min_face_px)
