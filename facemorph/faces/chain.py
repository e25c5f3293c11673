"""A morph through many faces by landmarks: leg by leg, with three pictures in memory at a time."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.errors import InputError
from facemorph.faces.average import to_picture, to_planes
from facemorph.faces.frame import DETAIL, FramedFace, common_quad, cut_like
from facemorph.faces.mask import cut_free, mask_of
from facemorph.faces.morph import LandmarkMorph, LandmarkMorphSettings, Look, computed_ahead, match_colours
from facemorph.faces.points import locate_points
from facemorph.faces.smooth_warp import smooth_map
from facemorph.faces.warp import sample
from facemorph.files import sha256
from facemorph.images import read_image


class LandmarkChain:
    """The morph from each of `pictures` to the next, all in the frame of the first.

    With `face_only`, the inner faces change within the first picture, matched to its colours.
    """

    def __init__(
        self,
        pictures: Sequence[Path],
        settings: LandmarkMorphSettings,
        look: Look | None = None,
        progress: bool = False,
    ) -> None:
        """Raises as `locate_points`; InputError for fewer than two pictures."""
        if len(pictures) < 2:
            raise InputError("A morph needs two faces or more.", "Name more pictures, or a folder of them.")
        self.pictures, self.settings, self.look = list(pictures), settings, look or Look()
        self.points, sizes = locate_points(pictures, settings.detector, settings.landmarks, progress)
        self.frame = common_quad([face.points for face in self.points], sizes)
        self.legs = len(pictures) - 1
        self._leg: tuple[int, Callable[[float], np.ndarray]] | None = None
        self._faces: dict[int, Future[FramedFace]] = {}
        self._pool = ThreadPoolExecutor(2)
        self._one_at_a_time = threading.Lock()

    def at(self, fraction: float) -> np.ndarray:
        """The image at a fraction of the whole way, as `LandmarkMorph.at`."""
        place = min(max(fraction, 0.0), 1.0) * self.legs
        leg = min(int(place + 1e-9), self.legs - 1)
        with self._one_at_a_time:
            if self._leg is None or self._leg[0] != leg:
                self._leg = leg, self._make(leg)
            image_at = self._leg[1]
        return image_at(min(max(place - leg, 0.0), 1.0))

    def frames(self, fractions: Sequence[float]) -> Iterator[np.ndarray]:
        """The images at `fractions`, each computed while the caller uses the one before."""
        return computed_ahead(self.at, fractions)

    def _cut(self, index: int) -> FramedFace:
        located = read_image(self.pictures[index]), self.points[index].points
        face = cut_like(located, self.points[0].points, self.frame, self.settings.size_px)
        return face if self.settings.face_only else face.prepared()

    def _make(self, leg: int) -> Callable[[float], np.ndarray]:
        """The morph of a leg; meanwhile the face after it is cut out."""
        wanted = {leg, leg + 1, min(leg + 2, self.legs)} | ({0} if self.settings.face_only else set())
        self._faces = {index: self._faces.get(index) or self._pool.submit(self._cut, index) for index in sorted(wanted)}
        try:
            faces = {index: self._faces[index].result() for index in sorted(wanted - {leg + 2})}
        except BaseException:
            self._faces = {}  # a picture that cannot be read now is tried again at the next call
            raise
        if self.settings.face_only:
            return InnerFaces(faces[0], faces[leg], faces[leg + 1], self.look).at
        return LandmarkMorph(faces[leg], faces[leg + 1], look=self.look).at

    def manifest(self) -> list[dict[str, Any]]:
        head = {"method": "landmarks", "settings": asdict(self.settings), "look": asdict(self.look)}
        rows = [
            {
                "source": picture.name,
                "source_sha256": sha256(picture),
                **({"box": np.round(face.box, 1).tolist()} if face.box else {"points_of": Path(face.source).name}),
                "landmarks": face.points.round(2).tolist(),
            }
            for picture, face in zip(self.pictures, self.points, strict=True)
        ]
        return [head, *rows]

    def write_extras(self, folder: Path, fractions: Sequence[float]) -> None:
        """Nothing: the landmarks are in the manifest."""


class InnerFaces:
    """One inner face becomes another within a third picture, whose colours both take."""

    def __init__(self, ground: FramedFace, first: FramedFace, second: FramedFace, look: Look) -> None:
        import torch

        self.ground, self.faces, self.look = ground, (first, second), look
        side = len(ground.image)
        self.base = to_planes(ground.image)
        masks = [
            torch.from_numpy(mask_of((face.points + 0.5) * DETAIL - 0.5, side, side, "face"))[None, None]
            for face in (ground, first, second)
        ]
        like = self.base / 127.5 - 1
        self.images = [
            (match_colours(to_planes(face.image) / 127.5 - 1, mask, like, masks[0]) + 1) * 127.5
            for face, mask in zip(self.faces, masks[1:], strict=True)
        ]

    def at(self, fraction: float) -> np.ndarray:
        """The image at a fraction of the way, as `LandmarkMorph.at`."""
        import torch

        of_shape = fraction if self.look.shape is None else self.look.shape
        fraction = fraction if self.look.colour is None else self.look.colour
        shape = (1 - of_shape) * self.faces[0].points + of_shape * self.faces[1].points
        size = self.ground.size_px
        base, first, second = (
            sample(planes, smooth_map(shape, (face.points + 0.5) * DETAIL - 0.5, size, size))
            for planes, face in zip((self.base, *self.images), (self.ground, *self.faces), strict=True)
        )
        mask = torch.from_numpy(mask_of(shape, size, size, "face"))
        image = to_picture(base.lerp(first.lerp(second, fraction), mask))
        return cut_free(image, shape, self.look.mask, self.look.background) if self.look.mask else image
