"""Averages and transforms in a network's latent space: the same arithmetic as of pictures, on latents."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facemorph.stylegan.editing.resolve import render_latents, resolve_latents
from facemorph.stylegan.latents import Latent, fingerprint
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.config import ProjectionConfig


def combine(
    files: Sequence[Path], parts: Sequence[float], network: str | Path, projection: ProjectionConfig, **where: Any
) -> tuple[np.ndarray, Latent]:
    """The image, uint8 RGB [R, R, 3], and the latent that is the sum of `parts` times the latents of `files`.

    An average has parts that sum to 1; a face moved from one to another by t has 1, -t and t.

    Args:
        files: images, or latents of `facemorph project`.
        where: as `resolve_latents`: the folder that keeps projections, aligned, device, progress.

    Raises:
        As `resolve_latents`.
    """
    generator, found = resolve_latents(files, network, projection, **where)
    return combine_latents(generator, found, parts, [path.name for path in files])


def combine_latents(
    generator: Generator, latents: Sequence[Latent], parts: Sequence[float], names: Sequence[str]
) -> tuple[np.ndarray, Latent]:
    """`combine` of latents that are there; `names` are noted in the latent."""
    w = np.einsum("n,nlw->lw", np.asarray(parts, np.float64), np.stack([one.w for one in latents])).astype(np.float32)
    about = {"what": "sum of latents", "parts": [float(part) for part in parts], "of": list(names)}
    return next(render_latents(generator, w[None])), Latent(w, "w+", fingerprint(generator), about)
