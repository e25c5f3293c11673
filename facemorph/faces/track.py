"""Tracking faces through a clip: detection around their last place, and in the whole frame where that fails."""

from collections.abc import Sequence

import numpy as np

from facemorph.errors import ConfigError
from facemorph.faces.detect import Detection, Detector, MmodDetector
from facemorph.faces.mmod import Candidate, Window, without_overlaps
from facemorph.faces.pyramid import Pyramid, down, up

REACH = 3  # scores to each side of the last place: 24 px for a face of 80 px
LEVELS = 2  # to each side of its level: a face often has nearly equal scores on levels two apart
CLEAR_SCORE = 0.5  # below it, a face is not assumed to be the tracked one
MAX_STEPS = 4


class Tracker:
    """A detector for the frames of one clip, in order.

    Detection covers the whole frame in every `whole_every`-th frame, so that new faces are detected, after a frame
    without a face, and where a tracked face has a low score or two of them overlap. In the other frames each face is
    tracked by hill climbing on the score map from its last place, with exactly the scores of the whole frame.

    Raises:
        ConfigError: the detector is one of dlib's own, which take whole images only.
    """

    def __init__(self, detector: Detector, *, whole_every: int = 25) -> None:
        if not isinstance(detector, MmodDetector):
            raise ConfigError("dlib's own detectors cannot follow faces.", "Use --detector cnn.")
        self.detector, self.whole_every = detector, whole_every
        self.whole_searches = 0
        self.reset()

    def reset(self) -> None:
        """Forget the last frame, before another clip."""
        self._last: list[Candidate] = []
        self._shape: tuple[int, ...] = ()
        self._since_whole = 0

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        return [[Detection(one.box, one.score) for one in self._frame(image)] for image in images]

    def _frame(self, image: np.ndarray) -> list[Candidate]:
        pyramid = self.detector.pyramid([image])
        self._since_whole += 1
        faces = None
        if image.shape == self._shape and self._since_whole < self.whole_every and self._pays(pyramid):
            faces = self._follow_all(pyramid)
        if faces is None:
            (faces,) = self.detector.whole(pyramid)
            self.whole_searches += 1
            self._since_whole = 0
        self._last, self._shape = faces, image.shape
        return faces

    def _pays(self, pyramid: Pyramid) -> bool:
        """Whether tracking costs less than detection in the whole frame; in a frame of 256 x 256 it does not."""
        network = self.detector.network
        side_px = network.field_px + 2 * (REACH + network.halo) * network.stride
        work_px = len(self._last) * (2 * LEVELS + 1) * side_px**2
        return 0 < work_px < 0.9 * pyramid.tiles.height * pyramid.tiles.width

    def _follow_all(self, pyramid: Pyramid) -> list[Candidate] | None:
        faces = []
        for last in self._last:
            now = self._follow(pyramid, last)
            if now is None:
                return None
            faces.append(now)
        faces.sort(key=lambda one: -one.score)
        return faces if len(without_overlaps(faces, self.detector.network.file)) == len(faces) else None

    def _follow(self, pyramid: Pyramid, last: Candidate) -> Candidate | None:
        """Hill climbing on the score map from the last place; None if there is no clear face."""
        computed: dict[int, Window] = {}
        best = None
        here = last
        for _ in range(MAX_STEPS):
            for level in range(max(self.detector.first_level, here.level - LEVELS), here.level + LEVELS + 1):
                core, window = (self._around(pyramid, here, level, reach) for reach in (1, REACH))
                if core is None or window is None or (level in computed and _inside(core, computed[level])):
                    continue
                computed[level] = window
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
        """The window of scores within `reach` of a place, on one level; None if there is no such level."""
        network, levels = self.detector.network, pyramid.tiles.levels
        if level >= len(levels):
            return None
        cells = []
        for axis, cell in ((1, here.row), (0, here.column)):
            in_image = up(network.centre_px(cell) - levels[here.level][axis], here.level)
            pixel = down(in_image, level) + levels[level][axis]
            cells.append(round((pixel - network.centre_px(0)) / network.stride))
        rows, columns = network.map_size(pyramid.tiles)
        top, bottom = max(0, cells[0] - reach), min(rows, cells[0] + reach + 1)
        left, right = max(0, cells[1] - reach), min(columns, cells[1] + reach + 1)
        return Window(top, bottom, left, right) if top < bottom and left < right else None


def _inside(core: Window, window: Window) -> bool:
    above = window.top <= core.top and core.bottom <= window.bottom
    return above and window.left <= core.left and core.right <= window.right
