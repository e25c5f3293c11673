"""Is a run healthy? The 2018 paper's reading of d-loss and g-loss (sections 3 and 4-3), made exact.

Failed, as the paper shows it: d-loss falls to 0 and g-loss rises. Stable: d-loss mostly within 0.3-1, g-loss level.
Two corrections. At the equilibrium of the game D cannot tell, d-loss is 2 ln 2 = 1.386 and g-loss ln 2 = 0.693, so a
run that rises from the paper's band towards that is healthier, not worse. And label smoothing puts a floor under
d-loss, which is taken off before it is read.
"""

import logging
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BAND = (0.3, 1.0)  # the paper's d-loss of a stable run
EQUILIBRIUM_D, EQUILIBRIUM_G = 2 * math.log(2), math.log(2)
ABOVE_EQUILIBRIUM = 2.0  # d-loss; higher, and D no longer follows G
NEAR_ZERO = 0.1  # d-loss of a D that has won
RISE = 0.25  # of g-loss over the second half, as a share of its level, that counts as rising
MIN_STEPS = 200  # fewer say nothing
WINDOW = 100  # steps that a smoothed value averages


@dataclass(frozen=True)
class Health:
    """`verdict` is stable, failed or undecided; `reason` says why in words; the figures are over the second half."""

    verdict: str
    reason: str
    steps: int
    d_loss: float  # median
    d_floor: float  # what label smoothing puts under it
    d_in_band: float  # share of steps with d-loss within the paper's band (floor taken off)
    d_above_band: float  # share above it, towards the equilibrium
    d_near_zero: float
    g_loss: float  # median
    g_rise: float  # change over the second half, as a share of its level
    d_amplitude: float  # standard deviation about the smoothed curve
    g_amplitude: float


def floor_of_d_loss(real_label: float) -> float:
    """The least d-loss that label smoothing leaves: the entropy of the label, 0.325 at 0.9 and 0 at 1."""
    rest = 1 - real_label
    return 0.0 if rest == 0 else -(real_label * math.log(real_label) + rest * math.log(rest))


def smooth(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Running mean [N] over `window` steps, of fewer at the ends."""
    steps = np.arange(len(values))
    left = np.maximum(steps - window // 2, 0)
    right = np.minimum(steps + (window + 1) // 2, len(values))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[right] - sums[left]) / (right - left)


def judge(d_loss: np.ndarray, g_loss: np.ndarray, real_label: float = 1.0) -> Health:
    """Read the losses [N] of every step of a run so far."""
    steps = len(d_loss)
    finite = bool(np.isfinite(d_loss).all() and np.isfinite(g_loss).all())
    floor = floor_of_d_loss(real_label)
    half = slice(steps // 2, None)
    d, g = (d_loss[half], g_loss[half]) if finite and steps else (np.full(1, np.nan),) * 2
    d_above_floor = d - floor
    figures: dict[str, Any] = {
        "steps": steps,
        "d_loss": float(np.median(d)),
        "d_floor": floor,
        "d_in_band": float(((d_above_floor >= BAND[0]) & (d_above_floor <= BAND[1])).mean()),
        "d_above_band": float((d_above_floor > BAND[1]).mean()),
        "d_near_zero": float((d_above_floor < NEAR_ZERO).mean()),
        "g_loss": float(np.median(g)),
        "g_rise": _rise(g),
        "d_amplitude": float((d - smooth(d)).std()),
        "g_amplitude": float((g - smooth(g)).std()),
    }
    verdict, reason = _verdict(finite, steps, figures["d_loss"] - floor, figures)
    return Health(verdict, reason, **figures)


def _rise(g: np.ndarray) -> float:
    """Change of a fitted line over the stretch, as a share of its level. Positive is worse."""
    if len(g) < 2:
        return 0.0
    slope = np.polyfit(np.linspace(0, 1, len(g)), g, 1)[0]
    return float(slope / max(abs(float(np.mean(g))), EQUILIBRIUM_G))


def _verdict(finite: bool, steps: int, d: float, figures: dict[str, Any]) -> tuple[str, str]:
    if not finite:
        return "failed", "the losses are not finite"
    if steps < MIN_STEPS:
        return "undecided", f"{steps} steps are too few to tell; {MIN_STEPS} are needed"
    rising = figures["g_rise"] > RISE and figures["g_loss"] > 2 * EQUILIBRIUM_G
    if d < NEAR_ZERO:
        return "failed", "d-loss has gone to 0: D tells every fake, and G has nothing left to learn from"
    if d < BAND[0] and rising:
        return "failed", "d-loss is below the paper's band and falling towards 0 while g-loss rises"
    if d > ABOVE_EQUILIBRIUM:
        return "failed", "d-loss is far above its equilibrium (1.386): D does not follow G"
    if d >= BAND[0] and not rising:
        if d > BAND[1]:
            return "stable", "d-loss is above the paper's band, near the equilibrium (1.386), and g-loss does not rise"
        return "stable", "d-loss lies in the paper's band of 0.3-1 and g-loss does not rise"
    if rising:
        return "undecided", "d-loss is not near 0, but g-loss rises"
    return "undecided", "d-loss is below the paper's band of 0.3-1, but g-loss does not rise"


log = logging.getLogger("facemorph")

NEAR = 0.05  # of 1 and of 0: D is sure
SURE_STEPS = 200  # for so long
SURE_SHARE = 0.9  # of these steps
ALIKE = 0.15  # of the real images' spread: samples that are nearly one image
FIRST_STEPS = 200  # in which all samples are still grey


def spread(groups: Sequence[np.ndarray]) -> float:
    """How different the images of a group [N, H, W, 3] are: standard deviation of a pixel over them, as a mean.

    Of several groups (the persons of a conditional run) the least.
    """
    return min(float(group.astype(np.float32).std(0).mean()) for group in groups)


class TrainingMonitor:
    """Looks at losses and samples as they come, and warns once each time that something begins to go wrong.

    Args:
        real_label: what D is taught to say of real images.
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
        """Sample images, uint8 [N, H, W, 3] a group."""
        share = spread(groups) / max(self.real_spread, 1e-3)
        alike = step >= FIRST_STEPS and share < ALIKE
        if alike and not self.alike:
            log.warning(
                "Step %d: the samples are nearly one image (they vary %.0f %% as much as the real ones): G has "
                "collapsed. If it stays so, train anew with a smaller training.learning_rate or training.augment.",
                step,
                100 * share,
            )
        elif self.alike and not alike:
            log.info("Step %d: the samples differ again.", step)
        self.alike = alike
