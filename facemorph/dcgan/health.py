"""Is a run healthy? The 2018 paper's reading of d-loss and g-loss (sections 3 and 4-3), made exact.

Failed, as the paper shows it: d-loss falls to 0 and g-loss rises. Stable: d-loss mostly within 0.3-1, g-loss level.
Two corrections. At the equilibrium of the game D cannot tell, d-loss is 2 ln 2 = 1.386 and g-loss ln 2 = 0.693, so a
run that rises from the paper's band towards that is healthier, not worse. And label smoothing puts a floor under
d-loss, which is taken off before it is read.
"""

import math
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
