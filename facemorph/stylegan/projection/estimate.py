"""How long projecting will take: a few steps on a CPU, timed and thrown away."""

import logging
import time

import numpy as np
import torch

from facemorph.images import to_tensor
from facemorph.progress import duration
from facemorph.stylegan.projection.portrait import Portrait
from facemorph.stylegan.projection.projector import Projector

log = logging.getLogger("facemorph")


PROBE_STEPS = 2


def may_take_long(projector: Projector) -> bool:
    """On a CPU, and more than a hundred steps at 256 px are: long enough to time a few of them first."""
    steps = projector.settings.schedule.steps + projector.settings.tuning.steps
    resolution = projector.generator.architecture.resolution
    return projector.generator.w_avg.device.type == "cpu" and steps * resolution**2 > 100 * 256**2


def log_estimate(projector: Projector, portraits: list[Portrait], count: int) -> None:
    """Log how long `count` images will take, after a few steps that are thrown away."""
    image = to_tensor(np.stack([one.image for one in portraits]))
    objective = projector.objective(image, [one.points for one in portraits])
    began = time.perf_counter()
    start = projector.start(image, objective)
    looked = time.perf_counter() - began
    seconds = []
    for _ in range(PROBE_STEPS):
        began = time.perf_counter()
        images = projector.generator.synthesize(start.clone().requires_grad_())
        torch.stack(list(objective.weighted_terms(images).values())).sum().backward()
        seconds.append(time.perf_counter() - began)
    step = min(seconds) / len(portraits)
    each = step * (projector.settings.schedule.steps + projector.settings.tuning.steps)
    log.info(
        "A step takes %.2g s here: about %s an image, %s for all %d. (Looking for a start took %.1f s.)",
        step, duration(each), duration(each * count), count, looked,
    )  # fmt: skip
