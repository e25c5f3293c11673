"""Warnings while a run trains: D has won, or the samples have become one image."""

import logging
from collections import deque
from collections.abc import Sequence

import numpy as np

log = logging.getLogger("facemorph")

NEAR = 0.05  # of 1 and of 0: D is certain
SURE_STEPS = 200  # steps over which this is looked at
SURE_FRACTION = 0.9  # of these steps
ALIKE = 0.15  # of the real images' spread; below this the samples are nearly one image
FIRST_STEPS = 200  # in which all samples are grey


def spread(groups: Sequence[np.ndarray]) -> float:
    """How different the images of a group [N, H, W, 3] are: std of each pixel over the images, averaged.

    The smallest of several groups (the persons of a conditional run).
    """
    return min(float(group.astype(np.float32).std(0).mean()) for group in groups)


class TrainingMonitor:
    """Watches losses and samples while a run trains, and warns once each time D wins or G collapses.

    Args:
        real_label: D's label of real images.
        real_spread: `spread` of the real images.
    """

    def __init__(self, real_label: float, real_spread: float) -> None:
        self.sure_of_real = real_label - NEAR
        self.real_spread = real_spread
        self.sure: deque[bool] = deque(maxlen=SURE_STEPS)
        self.won = self.alike = False

    def losses(self, d_of_real: np.ndarray, d_of_fake: np.ndarray, step: int) -> None:
        """Mean D(x) and D(G(z)) of the last steps [N], the last of which is `step`."""
        self.sure.extend((d_of_real > self.sure_of_real) & (d_of_fake < NEAR))
        won = len(self.sure) == SURE_STEPS and sum(self.sure) >= SURE_FRACTION * SURE_STEPS
        if won and not self.won:
            log.warning(
                "Step %d: D has been certain for %d steps (D(x) near 1, D(G(z)) near 0), so G learns little. "
                "The run may recover by itself after 1,500 steps or so; training.augment=[color,shift] from the start "
                "mostly avoids it.",
                step,
                SURE_STEPS,
            )
        elif self.won and not won:
            log.info("Step %d: D is no longer certain.", step)
        self.won = won

    def samples(self, groups: Sequence[np.ndarray], step: int) -> None:
        """Sample images, uint8 [N, H, W, 3] a group."""
        ratio = spread(groups) / max(self.real_spread, 1e-3)
        alike = step >= FIRST_STEPS and ratio < ALIKE
        if alike and not self.alike:
            log.warning(
                "Step %d: the samples are nearly one image (they vary %.0f %% as much as the real ones): G has "
                "collapsed. If it stays so, start again with a lower training.learning_rate or with training.augment.",
                step,
                100 * ratio,
            )
        elif self.alike and not alike:
            log.info("Step %d: the samples differ again.", step)
        self.alike = alike
