"""A network, and how images are projected into it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from facemorph.device import pick_device
from facemorph.errors import InputError
from facemorph.faces.likeness import likeness_at
from facemorph.metrics.imagenet_features import FeatureDistance, load_feature_distance
from facemorph.metrics.lpips import Lpips, is_here, load_lpips
from facemorph.stylegan.load import find_face_network, load_generator
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.config import ProjectionConfig
from facemorph.stylegan.projection.encoder import Encoder, find_encoder, read_encoder
from facemorph.stylegan.projection.loss import ProjectionLoss, mask_tensor
from facemorph.stylegan.projection.optimize import (
    InitialCandidates,
    ProjectionResult,
    broadcast_w,
    draw_candidates,
    nearest,
    optimize_latents,
)
from facemorph.stylegan.projection.portrait import face_mask

log = logging.getLogger("facemorph")

# Of a batch's images, on a CPU and on CUDA (one of 1024 px, or four of 512). On a CPU only small ones gain by company:
# four of 128 px.
BATCH_PIXELS = (1 << 16, 1 << 20)


@dataclass
class Projector:
    """A network and how images are projected into it.

    `perceptual` is None where the loss does without; with an `encoder` the search starts from its guess.
    """

    generator: Generator
    settings: ProjectionConfig
    perceptual: Lpips | FeatureDistance | None = None
    encoder: Encoder | None = None
    samples: InitialCandidates | None = field(default=None, repr=False)

    @property
    def start_name(self) -> str:
        if self.encoder is not None:
            return "encoder"
        return "mean" if self.settings.search.start == "mean" else "samples"

    @property
    def batch_size(self) -> int:
        if self.settings.search.batch_size:
            return self.settings.search.batch_size
        pixels = BATCH_PIXELS[self.generator.w_avg.device.type == "cuda"]
        return max(1, pixels // self.generator.architecture.resolution**2)

    @property
    def loss_name(self) -> str:
        """What of `search.loss` was meant: vgg16, imagenet or pixel."""
        if self.perceptual is None:
            return "pixel"
        return "vgg16" if isinstance(self.perceptual, Lpips) else "imagenet"

    @property
    def lpips(self) -> Lpips | None:
        return self.perceptual if isinstance(self.perceptual, Lpips) else None

    def objective(self, targets: torch.Tensor, points: Sequence[np.ndarray | None] | None = None) -> ProjectionLoss:
        """The loss against targets [N, 3, R, R] in [-1, 1]; landmarks [68, 2] of each, where known, mask them."""
        search_config, terms, side = self.settings.search, self.settings.terms, targets.shape[2]
        if targets.ndim != 4 or targets.shape[1:] != (3, *(self.generator.architecture.resolution,) * 2):
            side = self.generator.architecture.resolution
            raise InputError(f"Targets are of shape {tuple(targets.shape)}; [N, 3, {side}, {side}] was expected.")
        points = points or [None] * len(targets)
        masks = [face_mask(one, side, search_config.background) for one in points]
        likeness = None
        known = [one for one in points if one is not None]
        if terms.identity and len(known) == len(targets):
            likeness = likeness_at(known, side).to(targets.device)
        elif terms.identity:
            log.warning("The identity term is left out: in %d of %d images no face is known.",
                        len(targets) - len(known), len(targets))  # fmt: skip
        mask = mask_tensor(masks, targets.device)
        return ProjectionLoss(targets, terms, search_config.size_px, mask, self.perceptual, likeness)

    def start(self, targets: torch.Tensor, objective: ProjectionLoss) -> torch.Tensor:
        """Where the search for targets [N, 3, R, R] begins: latents [N, num_layers, w_size]."""
        how, count = self.settings.search, len(targets)
        if self.encoder is not None:
            with torch.no_grad():
                return self.encoder(targets)
        if self.start_name == "mean":
            mean, _ = self.generator.latent_statistics()
            return broadcast_w(mean.clone().expand(count, -1), self.generator)
        if self.samples is None:
            self.samples = draw_candidates(self.generator, how.samples, objective)
        w = torch.stack([nearest(self.samples, objective, index) for index in range(count)])
        return broadcast_w(w, self.generator)

    def __call__(
        self,
        targets: torch.Tensor,
        points: Sequence[np.ndarray | None] | None = None,
        seed: int = 0,
        bar: "tqdm | None" = None,
    ) -> ProjectionResult:
        """Where images [N, 3, R, R] in [-1, 1] lie. Raises InputError as `optimize_latents` and `objective` do."""
        objective = self.objective(targets, points)
        start, settings = self.start(targets, objective), self.settings
        if self.encoder is not None:
            rate = settings.schedule.learning_rate * settings.schedule.from_encoder
            settings = replace(settings, schedule=replace(settings.schedule, learning_rate=rate))
        return optimize_latents(self.generator, objective, start, settings, seed, bar)


def make_projector(
    network: str | Path, settings: ProjectionConfig, device: str | None = None, encoder: Path | None = None
) -> Projector:
    """The projector of a card's network or a file's; with `encoder`, or the one in the cache, as the settings say.

    Raises:
        WeightsError: the network, or with the loss vgg16 its weights, is not here; the message says how to get it.
        InputError: there is no such device, or the network makes no RGB images or needs a label.
    """
    path = find_face_network(network)
    chosen = pick_device(device)
    perceptual = _load_perceptual(settings, chosen)
    generator = load_generator(path, chosen)
    if generator.architecture.label_size or generator.architecture.image_channels != 3:
        raise InputError(f"{path} makes no RGB images without a label; only such networks can be projected into.")
    return Projector(generator, settings, perceptual, _find_encoder(generator, settings, encoder))


def _load_perceptual(settings: ProjectionConfig, device: torch.device) -> Lpips | FeatureDistance | None:
    loss, precision = settings.search.loss, settings.search.precision
    if loss == "auto" and not settings.schedule.steps + settings.tuning.steps:
        return None  # nothing is optimised: no time for weights that would only tell the loss
    if loss == "auto":
        loss = "vgg16" if is_here() else "imagenet"
    if loss == "vgg16" and settings.terms.lpips:
        lpips = load_lpips(device=device)
        if precision == "bfloat16" or (precision == "auto" and device.type == "cuda"):
            lpips.use_bfloat16()
        return lpips
    return load_feature_distance(device) if loss == "imagenet" and settings.terms.features else None


def _find_encoder(generator: Generator, settings: ProjectionConfig, chosen: Path | None) -> Encoder | None:
    path = chosen or find_encoder(generator)
    if chosen or settings.search.start == "encoder" or (settings.search.start == "auto" and path.exists()):
        log.debug("Starting from the encoder %s.", path)
        return read_encoder(path, generator)
    return None
