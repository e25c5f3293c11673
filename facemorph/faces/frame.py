"""The common frame of a morph: faces cut out so that they coincide up to a similarity transform."""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from facemorph.faces.average import head_quad
from facemorph.faces.crop import cut
from facemorph.faces.mesh import NUM_POINTS, seen_as_68
from facemorph.faces.outline import head_outline
from facemorph.faces.smooth_warp import similarity
from facemorph.images import to_tensor

if TYPE_CHECKING:
    import torch

DETAIL = 2  # images have this multiple of the frame's resolution, so that bilinear sampling does not blur them
MUCH, LITTLE = 0.1, 0.05  # of a frame, beyond a picture: more draws the frame in, until it is little
FACE_ROOM = 1.05  # of the extent of the points: the least frame


@dataclass(frozen=True)
class FramedFace:
    """An image in the common frame: uint8 RGB [DETAIL size_px, DETAIL size_px, 3], points [N, 2] in the frame."""

    image: np.ndarray
    points: np.ndarray

    @property
    def size_px(self) -> int:
        return len(self.image) // DETAIL

    @functools.cached_property  # a face of a chain is in two legs
    def planes(self) -> "torch.Tensor":
        """The image as float32 [1, 3, H, W] in -1..1."""
        return to_tensor(self.image[None])

    @functools.cached_property
    def seen(self) -> np.ndarray:
        """The points of dlib's template and of the mesh as dlib's 68."""
        return seen_as_68(self.points) if len(self.points) == NUM_POINTS else self.points

    @functools.cached_property
    def outline(self) -> np.ndarray:
        """The head's outline [RAYS, 2] in the frame, as `head_outline`."""
        return (head_outline(self.image, (self.seen + 0.5) * DETAIL - 0.5) + 0.5) / DETAIL - 0.5

    @property
    def has_head(self) -> bool:
        """Whether it is known which points are the chin and the brows, from which a head is found."""
        return len(self.points) in (68, NUM_POINTS)

    def prepared(self) -> "FramedFace":
        """Itself, with all that a morph needs: a thread for each face takes half of the time."""
        _ = self.planes, self.has_head and self.outline
        return self


def common_frame(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], size_px: int
) -> tuple[FramedFace, FramedFace]:
    """Two images with their landmarks, cut out so that the faces coincide up to a similarity transform.

    The first face is aligned as in FFHQ. The second is aligned to the first by the similarity that is the least-squares
    fit of its landmarks (Umeyama 1991). Beyond its borders an image is mirrored and blurred.
    """
    sizes = [(image.shape[1], image.shape[0]) for image, _ in (first, second)]
    frame = common_quad([first[1], second[1]], sizes)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda face: cut_like(face, first[1], frame, size_px).prepared(), (first, second))
    return one, other


def common_quad(shapes: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> np.ndarray:
    """The frame of a morph, a square [4, 2] around the first head, by the points and the sizes of all pictures.

    Where a picture ends far inside it, as one that is cut tightly around a face does, it is drawn in towards the face.
    """
    quad = head_quad(shapes[0])
    side, centre = float(np.hypot(*(quad[1] - quad[0]))), quad.mean(0)
    axes = np.stack([quad[3] - quad[0], quad[1] - quad[0]]) / side
    fits = [similarity(shapes[0], points) for points in shapes]

    def beyond(centre: np.ndarray, scale: float) -> float:
        """How far the frame reaches beyond a picture, in its own sides."""
        worst = 0.0
        for (turn, shift), size in zip(fits, sizes, strict=True):
            there = (centre + scale * (quad - quad.mean(0))) @ turn.T + shift + 0.5
            one = scale * side * float(np.hypot(turn[0, 0], turn[1, 0]))
            worst = max(worst, float(-there.min()) / one, float((there - np.array(size)).max()) / one)
        return worst

    if beyond(centre, 1) <= MUCH:
        return quad
    aligned = np.concatenate(
        [(points - shift) @ np.linalg.inv(turn).T for points, (turn, shift) in zip(shapes, fits, strict=True)]
    )
    low, high = (aligned @ axes.T).min(0), (aligned @ axes.T).max(0)
    centre = (low + high) / 2 @ axes
    least = min(1.0, FACE_ROOM * float((high - low).max()) / side)
    scale = next((one for one in np.linspace(1, least, 50) if beyond(centre, float(one)) <= LITTLE), least)
    return centre + scale * (quad - quad.mean(0))


def cut_like(located: tuple[np.ndarray, np.ndarray], first: np.ndarray, frame: np.ndarray, size_px: int) -> FramedFace:
    """An image with its points, in the `frame` around a face whose points are `first`."""
    turn, shift = similarity(first, located[1])
    return _cut_out(*located, frame @ turn.T + shift, size_px)


def _cut_out(image: np.ndarray, points: np.ndarray, quad: np.ndarray, size_px: int) -> FramedFace:
    detailed = DETAIL * size_px
    turn, shift = similarity(quad, np.array([[0, 0], [0, 1], [1, 1], [1, 0]]) * size_px - 0.5)
    return FramedFace(cut(image, quad, detailed, transform_px=detailed), points @ turn.T + shift)
