"""The landmark morph: a mesh over the landmarks of two faces, both warped to an intermediate shape and cross-dissolved.

This is the feature-based method with which the 2018 paper compares its GAN. It needs two images and no training.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facemorph.config import check_number
from facemorph.faces.frame import DETAIL, FramedFace, common_frame
from facemorph.faces.locate import locate_face
from facemorph.faces.mask import cut_free, inner_face, soft_polygon
from facemorph.faces.mesh import NUM_POINTS
from facemorph.faces.points import FacePoints, beside, check_template, points_of, seen_points
from facemorph.faces.warp import border_points, sample_within, sampling_maps, triangulate
from facemorph.files import sha256
from facemorph.images import read_image, to_uint8

if TYPE_CHECKING:
    import torch
FEATHER = 0.04  # of the frame: width of the soft edge inside the face mask
AHEAD = 2  # images that are computed at a time
MIN_OUTLINE = 8  # rays with an outline; with fewer, it is estimated from the landmarks
BROWS = [17, 19, 21, 22, 24, 26]


Source = tuple[np.ndarray, dict[str, Any]]


@dataclass(frozen=True)
class LandmarkMorphSettings:
    """`steps` stills from face to face, both included, and as many `frames` of a film; see `LandmarkMorph`."""

    size_px: int = 512
    steps: int = 9
    frames: int = 30
    face_only: bool = False
    detector: str = "auto"
    landmarks: str = "mesh"


@dataclass(frozen=True)
class Look:
    """What of a morph moves and what is shown.

    Attributes:
        shape, colour: fixed fractions of the way; None: those of each image.
        mask: a name in `facemorph.faces.mask.SHAPES`, outside which `background` is shown; "" shows everything.
        background: a colour like #808080, or "transparent".
    """

    shape: float | None = None
    colour: float | None = None
    mask: str = ""
    background: str = "#FFFFFF"

    def __post_init__(self) -> None:
        check_number("shape", self.shape)
        check_number("colour", self.colour)


def landmark_morph(
    first: Source,
    second: Source,
    settings: LandmarkMorphSettings,
    look: "Look | None" = None,
    files: Sequence[Path | None] = (None, None),
) -> "LandmarkMorph":
    """The morph of two images in memory, uint8 RGB [H, W, 3], each with its manifest row (see `source_of`).

    A row that has "points", those in a file beside the picture, needs no detection; messages name the `files`.

    Raises:
        FaceError: no face is detected in an image.
    """
    located, rows = [], []
    as_68 = any(len(row.get("points", ())) == 68 for _, row in (first, second))
    for image, row in (first, second):
        if "points" in row:
            located.append((image, np.array(row["points"])))
            rows.append(row)
            continue
        face = locate_face(image, str(row["source"]), detector=settings.detector, points=settings.landmarks)
        points = seen_points(face, settings.landmarks, as_68).points
        located.append((image, points))
        place = {"box": np.round(face.box, 1).tolist(), "landmarks": points.round(2).tolist()}
        rows.append({**row, **place})
    found = [
        FacePoints(points, source=str(file or "detected")) for (_, points), file in zip(located, files, strict=True)
    ]
    check_template(found, [str(row["source"]) for row in rows])
    faces = common_frame(located[0], located[1], settings.size_px)
    head = {"method": "landmarks", "settings": asdict(settings), **({"look": asdict(look)} if look else {})}
    return LandmarkMorph(*faces, face_only=settings.face_only, rows=[head, *rows], look=look)


def source_of(path: Path) -> Source:
    """An image file as `landmark_morph` takes it. Raises ImageError if it cannot be read."""
    image, row = read_image(path), {"source": path.name, "source_sha256": sha256(path)}
    file = beside(path)
    if file is not None:
        row |= {"points_of": file.name, "points": points_of(image, path).points.tolist()}
    return image, row


class LandmarkMorph:
    """The morph from one face to another in the common frame.

    With `face_only`, only the inner face changes, within the first image and matched to its colours.
    """

    def __init__(
        self,
        first: FramedFace,
        second: FramedFace,
        *,
        face_only: bool = False,
        rows: Sequence[dict[str, Any]] = (),
        look: Look | None = None,
    ) -> None:
        if first.size_px != second.size_px:
            raise ValueError(f"frames of {first.size_px} and {second.size_px} pixels")
        self.size_px = first.size_px
        border = border_points(self.size_px, self.size_px, per_side=4)
        self.sources = [np.concatenate([head, border]) for head in _heads(first, second)]
        self.shapes = [self.sources[0], self.sources[1].copy()]  # mesh points at the start and at the end
        images = [first.planes, second.planes]
        if face_only:
            import torch

            count = len(first.points)
            self.shapes[1][count:] = self.sources[0][count:]  # the head of the first image keeps its outline
            masks = [torch.from_numpy(face_mask(face))[None, None] for face in (first, second)]
            images[1] = match_colours(images[1], masks[1], images[0], masks[0])
            images[0] = torch.cat([images[0], masks[0]], 1)
        self.rows, self.look, self.count = list(rows), look or Look(), len(first.points)
        self.triangles = triangulate((self.shapes[0] + self.shapes[1]) / 2)
        self.images = images

    def at(self, fraction: float) -> np.ndarray:
        """The image at a fraction of the way from the first face (0) to the second (1): uint8 RGB [S, S, 3].

        RGBA [S, S, 4] before a transparent background.
        """
        of_shape = fraction if self.look.shape is None else self.look.shape
        fraction = fraction if self.look.colour is None else self.look.colour
        shape = (1 - of_shape) * self.shapes[0] + of_shape * self.shapes[1]
        first, second = self._warped(shape)
        if first.shape[1] == 4:
            image = to_uint8(first[:, :3].lerp(second, fraction * first[:, 3:]))[0]
        else:
            image = to_uint8(first.lerp(second, fraction))[0]
        return cut_free(image, shape[: self.count], self.look.mask, self.look.background) if self.look.mask else image

    def frames(self, fractions: Sequence[float]) -> Iterator[np.ndarray]:
        """The images at `fractions` of the way, each computed while the caller uses the one before."""
        return computed_ahead(self.at, fractions)

    def manifest(self) -> list[dict[str, Any]]:
        return self.rows

    def write_extras(self, folder: Path, fractions: Sequence[float]) -> None:
        """Nothing: the landmarks are in the manifest."""

    def _warped(self, shape: np.ndarray) -> list["torch.Tensor"]:
        """Both images in a shape of the mesh."""
        import torch

        side = self.size_px
        places = [(source + 0.5) * (2 / side) - 1 for source in self.sources]  # what `sample_within` takes
        maps = sampling_maps(shape, places, self.triangles, side, side)
        return [sample_within(image, torch.from_numpy(where)) for image, where in zip(self.images, maps, strict=True)]


def computed_ahead(at: Callable[[float], np.ndarray], fractions: Sequence[float]) -> Iterator[np.ndarray]:
    """The images `at` each of `fractions`, the next ones computed while the caller uses the one before.

    `at` is called in threads: most of a warp is one thread's work.
    """
    with ThreadPoolExecutor(AHEAD) as pool:
        following: deque[Future[np.ndarray]] = deque()
        try:
            for fraction in fractions:
                following.append(pool.submit(at, float(fraction)))
                if len(following) > AHEAD:
                    yield following.popleft().result()
            while following:
                yield following.popleft().result()
        finally:
            for future in following:
                future.cancel()


def _heads(first: FramedFace, second: FramedFace) -> list[np.ndarray]:
    """Corresponding points of both heads: landmarks, an estimate of the hairline, and the outline if it is clear.

    The mesh ends at the hairline itself. Of other templates than it and dlib's, the points alone.
    """
    faces = (first, second)
    is_mesh = len(first.points) == NUM_POINTS
    if not first.has_head:
        return [face.points.copy() for face in faces]
    seen, outlines = [face.seen for face in faces], [face.outline for face in faces]
    clear = ~np.isnan(outlines).any((0, 2))
    heads = []
    for face, points, outline in zip(faces, seen, outlines, strict=True):
        middle = points[[19, 24]].mean(0)
        up = middle - points[33]  # from below the nose to the brows
        hairline = points[[]] if is_mesh else points[BROWS] + 0.55 * up
        crown = middle + 1.15 * (points[[17, 26]] - middle) + 1.3 * up
        heads.append(np.concatenate([face.points, hairline, outline[clear] if clear.sum() > MIN_OUTLINE else crown]))
    return heads


def face_mask(face: FramedFace) -> np.ndarray:
    """Mask of the inner face, 1 inside and fading to 0 at its outline: float32 [S, S]."""
    side = len(face.image)
    return soft_polygon((inner_face(face.points) + 0.5) * DETAIL - 0.5, side, side, FEATHER * side / 2)


def match_colours(
    image: "torch.Tensor", mask: "torch.Tensor", like: "torch.Tensor", like_mask: "torch.Tensor"
) -> "torch.Tensor":
    """`image` [1, 3, H, W] with the colours under its mask matched to those of `like`.

    The means of the three channels become equal; the contrast is scaled by one factor for all, of 1.3 at most, so that
    hues stay. After Reinhard et al. 2001, without its change of colour space.
    """

    def moments(pixels: "torch.Tensor", weight: "torch.Tensor") -> tuple["torch.Tensor", float]:
        total = weight.sum()
        mean = (pixels * weight).sum((2, 3), keepdim=True) / total
        return mean, math.sqrt(float(((pixels - mean) ** 2 * weight).sum() / (3 * total)))

    mean, spread = moments(image, mask)
    like_mean, like_spread = moments(like, like_mask)
    contrast = min(max(like_spread / max(spread, 1e-6), 1 / 1.3), 1.3)
    return ((image - mean) * contrast + like_mean).clamp(-1, 1)
