"""Train an encoder on the generator's own images, of which there is no end: no data set is needed."""

import logging
import math
import pickle
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from facemorph.config import plain
from facemorph.device import pick_device
from facemorph.errors import InputError, OutputError, TrainingError, WeightsError
from facemorph.faces.likeness import Likeness, likeness_of_aligned
from facemorph.files import check_free, write_atomically
from facemorph.metrics.image_quality import psnr
from facemorph.metrics.lpips import Lpips, load_lpips
from facemorph.progress import progress_bar
from facemorph.stylegan.latents import fingerprint
from facemorph.stylegan.load import find_face_network, load_generator
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.config import EncoderConfig
from facemorph.stylegan.projection.encoder import encoder_path, new_encoder, write_encoder
from facemorph.stylegan.projection.optimize import ASK_GPU_EVERY, broadcast_w

log = logging.getLogger("facemorph")

WARM_UP_STEPS = 50
SMALLEST_FACE_PX = 128  # of an image whose face's descriptor means something
COMPARED_PX = 256  # images are compared at this side at most
TOGETHER_PIXELS = 1 << 21  # generated at a time, and compared in a step: two images of 1024 px, all of small ones
HELD_OUT, HELD_OUT_SEED = 32, 1 << 30  # samples that are never trained on
SMOOTH = 0.98  # of the loss that the bar shows


class EncoderTrainer:
    """A generator, the encoder that learns from it, its optimiser and its loss."""

    def __init__(self, generator: Generator, settings: EncoderConfig) -> None:
        device = generator.w_avg.device
        torch.manual_seed(settings.lesson.seed)  # of the first weights
        self.generator, self.settings = generator, settings
        self.encoder = new_encoder(generator, settings.lesson.width)
        self.optimizer = torch.optim.Adam(self.encoder.parameters(), settings.lesson.learning_rate, betas=(0.9, 0.99))
        self.random = torch.Generator().manual_seed(settings.lesson.seed)
        self.step = 0
        self.lpips = _lpips(settings, device)
        self.likeness: Likeness | None = None
        if settings.terms.identity and generator.architecture.resolution >= SMALLEST_FACE_PX:
            self.likeness = likeness_of_aligned(generator.architecture.alignment.chip).to(device)

    @torch.no_grad()
    def samples(self, count: int, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents [N, num_layers, w_size] and what the generator makes of them [N, 3, R, R].

        Some are mixed of two, as in the generator's own training (Karras et al. 2019, section 3.1), so that the layers'
        heads learn to tell layers apart.
        """
        a = self.generator.architecture
        device = self.generator.w_avg.device
        z = torch.randn(2 * count, a.latent_size, generator=random).to(device, non_blocking=True)
        first, second = broadcast_w(self.generator.map(z), self.generator).chunk(2)
        mixed = torch.rand(count, generator=random) < self.settings.lesson.mixing
        cross = torch.randint(1, a.num_layers, (count,), generator=random)
        upper = (torch.arange(a.num_layers) >= cross[:, None]) & mixed[:, None]  # [N, num_layers]
        latents = torch.where(upper[..., None].to(device, non_blocking=True), second, first)
        return latents, torch.cat([self.generator.synthesize(part) for part in latents.split(self.together)])

    @property
    def together(self) -> int:
        return max(1, TOGETHER_PIXELS // self.generator.architecture.resolution**2)

    def train_step(self) -> torch.Tensor:
        """One step; returns its loss [], which is not waited for."""
        lesson, terms = self.settings.lesson, self.settings.terms
        rate = min(1.0, (self.step + 1) / WARM_UP_STEPS) * (0.5 + 0.5 * math.cos(math.pi * self.step / lesson.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = lesson.learning_rate * rate
        latents, images = self.samples(lesson.batch_size, self.random)
        guess = self.encoder(images)
        loss = terms.latent * ((guess - latents) / self.encoder.deviation).square().mean()
        if self.step % lesson.pictures_every == 0 and terms.pixels + terms.lpips:
            loss = loss + self._image_loss(guess[: self.together], images[: self.together])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        return loss.detach()

    def _image_loss(self, guess: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        terms = self.settings.terms
        factor = max(1, images.shape[2] // COMPARED_PX)
        generated, target = (F.avg_pool2d(x, factor) for x in (self.generator.synthesize(guess), images))
        loss = terms.pixels * (generated - target).square().mean()
        if self.lpips is not None:
            loss = loss + terms.lpips * self.lpips(generated, target).mean()
        if self.likeness is not None:
            loss = loss + terms.identity * (self.likeness(generated) - self.likeness(target)).square().sum(1).mean()
        return loss

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """On held-out samples: the latents' mean squared error (1 for always guessing the mean), and PSNR in dB."""
        self.encoder.eval()
        found = []
        random = torch.Generator().manual_seed(HELD_OUT_SEED)
        for _ in range(HELD_OUT // 4):
            latents, images = self.samples(4, random)
            guess = self.encoder(images)
            error = ((guess - latents) / self.encoder.deviation).square().mean((1, 2))
            found.append(torch.stack([error, psnr(self.generator.synthesize(guess), images)]))
        self.encoder.train()
        error, ratio = torch.cat(found, 1).mean(1)
        return {"latent_error": round(float(error), 4), "psnr_db": round(float(ratio), 2)}

    def state(self) -> dict[str, Any]:
        return {
            "encoder": self.encoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
            "step": self.step,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.encoder.load_state_dict(state["encoder"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.random.set_state(state["random"])
        self.step = state["step"]


def train_encoder(
    network: str | Path,
    settings: EncoderConfig,
    output: Path | None = None,
    *,
    device: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> tuple[Path, dict[str, float]]:
    """Train an encoder for a card's network or a file's, and write it.

    Running it again after an interruption continues from the last checkpoint, which lies beside the output.

    Args:
        output: by default where `project` looks for it.

    Returns:
        The file, and the figures of `EncoderTrainer.evaluate`.

    Raises:
        WeightsError: the network is not here.
        InputError: the network makes no RGB images or needs a label, there is no such device, or a checkpoint of
            other settings is in the way.
        OutputError: the output exists and may not be overwritten, or cannot be written.
        TrainingError: the loss became NaN or infinite.
    """
    generator = load_generator(find_face_network(network), pick_device(device))
    if generator.architecture.label_size or generator.architecture.image_channels != 3:
        raise InputError(f"{network} makes no RGB images without a label; only for such networks are encoders trained.")
    network_id = fingerprint(generator)
    path = output or encoder_path(network_id)
    if path.suffix != ".safetensors":
        raise OutputError(f"{path}: a name that ends in .safetensors was expected.", f"Use -o {path.stem}.safetensors")
    check_free(path, overwrite)
    trainer = EncoderTrainer(generator, settings)
    checkpoint = path.with_suffix(".checkpoint.pt")
    key = {"network": network_id, "settings": plain(settings)}
    _resume(trainer, checkpoint, key)
    smooth = math.nan
    steps, every = settings.lesson.steps, settings.lesson.checkpoint_every
    # A GPU is asked only every few steps for its losses: each answer is waited for.
    look_every = 1 if generator.w_avg.device.type == "cpu" else ASK_GPU_EVERY
    pending: list[torch.Tensor] = []
    with progress_bar(progress, total=steps, unit=" steps", description="train-encoder", initial=trainer.step) as bar:
        try:
            while trainer.step < steps:
                pending.append(trainer.train_step())
                bar.update()
                saving = trainer.step % every == 0 and trainer.step < steps
                if saving or trainer.step == steps or len(pending) == look_every:
                    for loss in _finite(pending, trainer.step):
                        smooth = loss if math.isnan(smooth) else SMOOTH * smooth + (1 - SMOOTH) * loss
                    bar.set_postfix(loss=f"{smooth:.3f}", refresh=False)
                if saving:
                    _save(trainer, checkpoint, key)
        except KeyboardInterrupt:
            _finite(pending, trainer.step)
            _save(trainer, checkpoint, key)
            log.info("Everything so far is saved; run the same command to continue.")
            raise
    metrics = trainer.evaluate()
    write_encoder(path, trainer.encoder, network_id, {"settings": plain(settings), **metrics}, overwrite=True)
    checkpoint.unlink(missing_ok=True)
    return path, metrics


def _finite(pending: list[torch.Tensor], step: int) -> list[float]:
    """The losses of the last steps, which are taken from `pending`.

    Raises:
        TrainingError: one is no number any more.
    """
    losses = torch.stack(pending).tolist() if pending else []
    pending.clear()
    for number, loss in enumerate(losses, step - len(losses) + 1):
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss} at step {number}.", "Try a smaller --set lesson.learning_rate=3e-4"
            )
    return losses


def _save(trainer: EncoderTrainer, checkpoint: Path, key: dict[str, Any]) -> None:
    write_atomically(checkpoint, lambda file: torch.save({**key, **trainer.state()}, file))


def _resume(trainer: EncoderTrainer, checkpoint: Path, key: dict[str, Any]) -> None:
    if not checkpoint.exists():
        return
    try:
        state = torch.load(checkpoint, map_location=trainer.generator.w_avg.device, weights_only=True)
        changed = [name for name in key if state[name] != key[name]]
        if not changed:
            state["random"] = state["random"].cpu()
            trainer.restore(state)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{checkpoint} cannot be read: {str(error)[:200]}", "Delete it to start over.") from error
    if changed:
        raise InputError(
            f"{checkpoint} is a checkpoint with {' and '.join(f'other {name}' for name in changed)}.",
            "Continue with the same command as before, or delete it to start over.",
        )
    log.info("Continuing from step %d.", trainer.step)


def _lpips(settings: EncoderConfig, device: torch.device) -> Lpips | None:
    if not settings.terms.lpips:
        return None
    try:
        return load_lpips(device=device)
    except WeightsError as error:
        log.info("%s The encoder is trained without it.", error.problem)
        return None
