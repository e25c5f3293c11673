"""A network, and how pictures are searched for in it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from facemorph.device import pick_device
from facemorph.errors import InputError, WeightsError
from facemorph.faces.likeness import likeness_at
from facemorph.metrics.perceptual import Lpips, load_lpips
from facemorph.stylegan.encoder import Encoder, encoder_path, read_encoder
from facemorph.stylegan.generator import Generator
from facemorph.stylegan.latents import fingerprint
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.objective import Objective, mask_tensor
from facemorph.stylegan.portrait import face_mask
from facemorph.stylegan.projection import Projection
from facemorph.stylegan.search import Found, Samples, draw_samples, nearest, repeat, search
from facemorph.weights import cards, find_network, published_path

log = logging.getLogger("facemorph")

BATCH_PIXELS = 1 << 20  # of a CUDA batch's pictures: one of 1024 px, or four of 512


@dataclass
class Projector:
    """A network and how pictures are searched for in it.

    `lpips` is None where the loss does without; with an `encoder` the search starts from its guess.
    """

    generator: Generator
    settings: Projection
    lpips: Lpips | None = None
    encoder: Encoder | None = None
    samples: Samples | None = field(default=None, repr=False)

    @property
    def start_name(self) -> str:
        if self.encoder is not None:
            return "encoder"
        return "mean" if self.settings.search.start == "mean" else "samples"

    @property
    def batch_size(self) -> int:
        if self.settings.search.batch_size:
            return self.settings.search.batch_size
        on_cuda = self.generator.w_avg.device.type == "cuda"
        return max(1, BATCH_PIXELS // self.generator.architecture.resolution**2) if on_cuda else 1

    def objective(self, targets: torch.Tensor, points: Sequence[np.ndarray | None] | None = None) -> Objective:
        """The loss against targets [N, 3, R, R] in [-1, 1]; landmarks [68, 2] of each, where known, mask them."""
        search_settings, terms, side = self.settings.search, self.settings.terms, targets.shape[2]
        if targets.ndim != 4 or targets.shape[1:] != (3, *(self.generator.architecture.resolution,) * 2):
            side = self.generator.architecture.resolution
            raise InputError(f"Targets are of shape {tuple(targets.shape)}; [N, 3, {side}, {side}] was expected.")
        points = points or [None] * len(targets)
        masks = [face_mask(one, side, search_settings.background) for one in points]
        likeness = None
        known = [one for one in points if one is not None]
        if terms.identity and len(known) == len(targets):
            likeness = likeness_at(known, side).to(targets.device)
        elif terms.identity:
            log.warning("The identity term is left out: in %d of %d pictures no face is known.",
                        len(targets) - len(known), len(targets))  # fmt: skip
        mask = mask_tensor(masks, targets.device)
        return Objective(targets, terms, search_settings.size_px, mask, self.lpips, likeness)

    def start(self, targets: torch.Tensor, objective: Objective) -> torch.Tensor:
        """Where the search for targets [N, 3, R, R] begins: latents [N, num_layers, w_size]."""
        how, count = self.settings.search, len(targets)
        if self.encoder is not None:
            with torch.no_grad():
                return self.encoder(targets)
        if self.start_name == "mean":
            mean, _ = self.generator.latent_statistics()
            return repeat(mean.clone().expand(count, -1), self.generator)
        if self.samples is None:
            self.samples = draw_samples(self.generator, how.samples, objective)
        w = torch.stack([nearest(self.samples, objective, index) for index in range(count)])
        return repeat(w, self.generator)

    def __call__(
        self,
        targets: torch.Tensor,
        points: Sequence[np.ndarray | None] | None = None,
        seed: int = 0,
        progress: "tqdm | None" = None,
    ) -> Found:
        """Where pictures [N, 3, R, R] in [-1, 1] lie. Raises InputError as `search` and `objective` do."""
        objective = self.objective(targets, points)
        start, settings = self.start(targets, objective), self.settings
        if self.encoder is not None:
            rate = settings.schedule.learning_rate * settings.schedule.from_encoder
            settings = replace(settings, schedule=replace(settings.schedule, learning_rate=rate))
        return search(self.generator, objective, start, settings, seed, progress)


def make_projector(
    network: str | Path, settings: Projection, device: str | None = None, encoder: Path | None = None
) -> Projector:
    """The projector of a card's network or a file's; with `encoder`, or the one in the cache, as the settings say.

    Raises:
        WeightsError: the network, or with the perceptual loss VGG16, is not here; the message says how to get it.
        InputError: there is no such device, or the network makes no RGB pictures or wants a label.
    """
    path = find_face_network(network)
    chosen = pick_device(device)
    lpips = None
    if settings.search.loss == "perceptual" and settings.terms.lpips:
        lpips = load_lpips(device=chosen)
        if settings.search.precision == "bfloat16" or (settings.search.precision == "auto" and chosen.type == "cuda"):
            lpips.use_bfloat16()
    generator = load_generator(path, chosen)
    if generator.architecture.label_size or generator.architecture.image_channels != 3:
        raise InputError(f"{path} makes no RGB pictures without a label; only such networks can be projected into.")
    return Projector(generator, settings, lpips, _find_encoder(generator, settings, encoder))


def _find_encoder(generator: Generator, settings: Projection, chosen: Path | None) -> Encoder | None:
    path = chosen or encoder_path(fingerprint(generator))
    if chosen or settings.search.start == "encoder" or (settings.search.start == "auto" and path.exists()):
        log.info("Starting from the encoder %s.", path)
        return read_encoder(path, generator)
    return None


def find_face_network(network: str | Path) -> Path:
    """The file of a network that portraits are to be found in.

    Raises:
        WeightsError: it is not here: how to get it, where it belongs, and what works without it.
    """
    try:
        return find_network(network)
    except WeightsError as error:
        known = cards().get(str(network))
        place = f"It belongs to {published_path(known)}.\n" if known else ""
        now = "Without any network, this works now: facemorph morph a.jpg b.jpg --method landmarks"
        raise WeightsError(error.problem, f"{error.hint}\n{place}{now}") from None
