"""The loss verdict: the 2018 paper's reading of d-loss and g-loss (sections 3 and 4-3), made exact.

Failed, as in the paper: d-loss falls to 0 and g-loss rises. Stable: d-loss mostly within 0.3-1, g-loss level. Two
corrections. At the equilibrium of the game D cannot tell real from generated: d-loss is 2 ln 2 = 1.386 and g-loss
ln 2 = 0.693. So a run that rises from the paper's band towards that is healthier, not worse. And label smoothing puts a
floor under d-loss, which is subtracted first.

The verdict is about the losses, not about the images: a run can be stable and show no face.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

BAND = (0.3, 1.0)  # the paper's d-loss of a stable run
EQUILIBRIUM_D, EQUILIBRIUM_G = 2 * math.log(2), math.log(2)
ABOVE_EQUILIBRIUM = 2.0  # d-loss; above this D no longer keeps up with G
NEAR_ZERO = 0.1  # d-loss of a D that has won
RISE = 0.25  # of g-loss over the second half, relative to its mean, that counts as rising
MIN_STEPS = 200  # with fewer the verdict is undecided
WINDOW = 100  # steps of the running mean


@dataclass(frozen=True)
class Health:
    """The loss verdict: stable, failed or undecided, the reason in words, and statistics of the second half."""

    verdict: str
    reason: str
    steps: int
    d_loss: float  # median
    d_floor: float  # least d-loss that label smoothing allows
    d_in_band: float  # fraction of steps with d-loss within the paper's band (floor subtracted)
    d_above_band: float  # fraction above it, towards the equilibrium
    d_near_zero: float
    g_loss: float  # median
    g_rise: float  # change over the second half, relative to its mean
    d_amplitude: float  # std about the smoothed curve
    g_amplitude: float


def floor_of_d_loss(real_label: float) -> float:
    """The least d-loss that label smoothing allows: the entropy of the label, 0.325 at 0.9 and 0 at 1."""
    rest = 1 - real_label
    return 0.0 if rest == 0 else -(real_label * math.log(real_label) + rest * math.log(rest))


def smooth(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Running mean [N] over `window` steps, fewer at the ends."""
    steps = np.arange(len(values))
    left = np.maximum(steps - window // 2, 0)
    right = np.minimum(steps + (window + 1) // 2, len(values))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[right] - sums[left]) / (right - left)


def judge(d_loss: np.ndarray, g_loss: np.ndarray, real_label: float = 1.0) -> Health:
    """The verdict on the losses [N] of all steps of a run so far."""
    steps = len(d_loss)
    finite = bool(np.isfinite(d_loss).all() and np.isfinite(g_loss).all())
    floor = floor_of_d_loss(real_label)
    half = slice(steps // 2, None)
    d, g = (d_loss[half], g_loss[half]) if finite and steps else (np.full(1, np.nan),) * 2
    d_above_floor = d - floor
    numbers: dict[str, Any] = {
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
    verdict, reason = _verdict(finite, steps, numbers["d_loss"] - floor, numbers)
    return Health(verdict, reason, **numbers)


def _rise(g: np.ndarray) -> float:
    """Change of a fitted line from start to end, relative to the mean. Positive is worse."""
    if len(g) < 2:
        return 0.0
    slope = np.polyfit(np.linspace(0, 1, len(g)), g, 1)[0]
    return float(slope / max(abs(float(np.mean(g))), EQUILIBRIUM_G))


def _verdict(finite: bool, steps: int, d: float, numbers: dict[str, Any]) -> tuple[str, str]:
    if not finite:
        return "failed", "the losses are not finite"
    if steps < MIN_STEPS:
        return "undecided", f"{steps} steps are too few to tell; {MIN_STEPS} are needed"
    rising = numbers["g_rise"] > RISE and numbers["g_loss"] > 2 * EQUILIBRIUM_G
    if d < NEAR_ZERO:
        return "failed", "d-loss has gone to 0: D recognises every generated image, and G gets no useful gradient"
    if d < BAND[0] and rising:
        return "failed", "d-loss is below the paper's band and falling towards 0 while g-loss rises"
    if d > ABOVE_EQUILIBRIUM:
        return "failed", "d-loss is far above its equilibrium (1.386): D does not keep up with G"
    if d >= BAND[0] and not rising:
        if d > BAND[1]:
            return "stable", "d-loss is above the paper's band, near the equilibrium (1.386), and g-loss does not rise"
        return "stable", "d-loss is in the paper's band of 0.3-1 and g-loss does not rise"
    if rising:
        return "undecided", "d-loss is not near 0, but g-loss rises"
    return "undecided", "d-loss is below the paper's band of 0.3-1, but g-loss does not rise"
