"""Faces in the frames of a clip: looked for where they last were, and in the whole frame where that fails."""

from collections.abc import Sequence

import numpy as np

from facemorph.errors import ConfigError
from facemorph.faces.detect import Detection, Detector, MmodDetector
from facemorph.faces.mmod import Candidate, Window, without_overlaps
from facemorph.faces.pyramid import Pyramid, down, up

REACH = 3  # scores to each side of the last place: 24 px where the face fills 80
LEVELS = 2  # to each side of its level: a face often scores nearly alike on two that are not neighbours
CLEAR_SCORE = 0.5  # below it, a face is not trusted to be the one that was followed
MAX_STEPS = 4


class Tracker:
    """A detector for the frames of one clip, in their order.

    Every `whole_every`-th frame is searched whole, so that a face that comes in is seen; so is a frame after one
    without a face, and one where a followed face is not clearly there or two of them meet. On the others each face is
    followed uphill from its last place to the best score around, computed exactly as in the whole frame.

    Raises:
        ConfigError: one of dlib's own detectors, which search whole images only.
    """

    def __init__(self, detector: Detector, *, whole_every: int = 25) -> None:
        if not isinstance(detector, MmodDetector):
            raise ConfigError("dlib's own detectors cannot follow faces.", "Only cnn can.")
        self.detector, self.whole_every = detector, whole_every
        self.whole_searches = 0
        self.reset()

    def reset(self) -> None:
        """Forget the last frame: another clip begins."""
        self._last: list[Candidate] = []
        self._shape: tuple[int, ...] = ()
        self._since_whole = 0

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        return [[Detection(one.box, one.score) for one in self._frame(image)] for image in images]

    def _frame(self, image: np.ndarray) -> list[Candidate]:
        pyramid = self.detector.pyramid([image])
        self._since_whole += 1
        found = None
        if image.shape == self._shape and self._since_whole < self.whole_every and self._pays(pyramid):
            found = self._follow_all(pyramid)
        if found is None:
            (found,) = self.detector.whole(pyramid)
            self.whole_searches += 1
            self._since_whole = 0
        self._last, self._shape = found, image.shape
        return found

    def _pays(self, pyramid: Pyramid) -> bool:
        """Whether following the faces is less work than the whole frame; in a frame of 256 x 256 it is not."""
        network = self.detector.network
        side_px = network.field_px + 2 * (REACH + network.halo) * network.stride
        work_px = len(self._last) * (2 * LEVELS + 1) * side_px**2
        return 0 < work_px < 0.9 * pyramid.tiles.height * pyramid.tiles.width

    def _follow_all(self, pyramid: Pyramid) -> list[Candidate] | None:
        found = []
        for last in self._last:
            now = self._follow(pyramid, last)
            if now is None:
                return None
            found.append(now)
        found.sort(key=lambda one: -one.score)
        return found if len(without_overlaps(found, self.detector.network.file)) == len(found) else None

    def _follow(self, pyramid: Pyramid, last: Candidate) -> Candidate | None:
        """The best score around the last place, and around that one, until it is the best itself."""
        searched: dict[int, Window] = {}
        best = None
        here = last
        for _ in range(MAX_STEPS):
            for level in range(max(self.detector.first_level, here.level - LEVELS), here.level + LEVELS + 1):
                core, window = (self._around(pyramid, here, level, reach) for reach in (1, REACH))
                if core is None or window is None or (level in searched and _inside(core, searched[level])):
                    continue
                searched[level] = window
                for one in self.detector.candidates(pyramid, window)[0]:
                    if one.level == level and (best is None or one.score > best.score):
                        best = one
            if best is None or best.score < CLEAR_SCORE:
                return None
            if best == here:
                return best
            here = best
        return None

    def _around(self, pyramid: Pyramid, here: Candidate, level: int, reach: int) -> Window | None:
        """The scores within `reach` of a place, on one level; None if there is no such level."""
        network, levels = self.detector.network, pyramid.tiles.levels
        if level >= len(levels):
            return None
        cells = []
        for axis, cell in ((1, here.row), (0, here.column)):
            in_picture = up(network.centre_px(cell) - levels[here.level][axis], here.level)
            pixel = down(in_picture, level) + levels[level][axis]
            cells.append(round((pixel - network.centre_px(0)) / network.stride))
        rows, columns = network.map_size(pyramid.tiles)
        top, bottom = max(0, cells[0] - reach), min(rows, cells[0] + reach + 1)
        left, right = max(0, cells[1] - reach), min(columns, cells[1] + reach + 1)
        return Window(top, bottom, left, right) if top < bottom and left < right else None


def _inside(core: Window, window: Window) -> bool:
    above = window.top <= core.top and core.bottom <= window.bottom
    return above and window.left <= core.left and core.right <= window.right
