"""What goes wrong in training, told while it happens and not at its end."""

import logging
from collections import deque
from collections.abc import Sequence

import numpy as np

log = logging.getLogger("facemorph")

NEAR = 0.05  # of 1 and of 0: D is sure
SURE_STEPS = 200  # for so long
SURE_SHARE = 0.9  # of these steps
ALIKE = 0.15  # of the real pictures' spread: samples that are nearly one picture
FIRST_STEPS = 200  # in which all samples are still grey


def spread(groups: Sequence[np.ndarray]) -> float:
    """How different the pictures of a group [N, H, W, 3] are: standard deviation of a pixel over them, as a mean.

    Of several groups (the persons of a conditional run) the least.
    """
    return min(float(group.astype(np.float32).std(0).mean()) for group in groups)


class Watch:
    """Looks at losses and samples as they come, and warns once each time that something begins to go wrong.

    Args:
        real_label: what D is taught to say of real pictures.
        real_spread: `spread` of the real pictures.
    """

    def __init__(self, real_label: float, real_spread: float) -> None:
        self.sure_of_real = real_label - NEAR
        self.real_spread = real_spread
        self.sure: deque[bool] = deque(maxlen=SURE_STEPS)
        self.won = self.alike = False

    def losses(self, d_of_real: np.ndarray, d_of_fake: np.ndarray, step: int) -> None:
        """Mean D(x) and D(G(z)) of the last steps [N], the last of which is `step`."""
        self.sure.extend((d_of_real > self.sure_of_real) & (d_of_fake < NEAR))
        won = len(self.sure) == SURE_STEPS and sum(self.sure) >= SURE_SHARE * SURE_STEPS
        if won and not self.won:
            log.warning(
                "Step %d: D has been sure for %d steps (D(x) near 1, D(G(z)) near 0): G has little left to learn from. "
                "It may come back by itself, after 1,500 steps or so; sooner, from the start, with "
                "training.augment=[color,shift].",
                step,
                SURE_STEPS,
            )
        elif self.won and not won:
            log.info("Step %d: D is no longer sure.", step)
        self.won = won

    def samples(self, groups: Sequence[np.ndarray], step: int) -> None:
        """Sample pictures, uint8 [N, H, W, 3] a group."""
        share = spread(groups) / max(self.real_spread, 1e-3)
        alike = step >= FIRST_STEPS and share < ALIKE
        if alike and not self.alike:
            log.warning(
                "Step %d: the samples are nearly one picture (they vary %.0f %% as much as the real ones): G has "
                "collapsed. If it stays so, train anew with a smaller training.learning_rate or training.augment.",
                step,
                100 * share,
            )
        elif self.alike and not alike:
            log.info("Step %d: the samples differ again.", step)
        self.alike = alike
