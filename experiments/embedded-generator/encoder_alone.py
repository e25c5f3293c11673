"""An encoder trained on through a generator that stays as it is, on a CPU: how faces-256's encoder was made.

    python encoder_alone.py RUN FACES... -o encoder.safetensors --seconds 4000
    python encoder_alone.py RUN FACES... -o better.safetensors --encoder encoder.safetensors --descriptor 4

RUN is a run of `train-generator`, or what bring_home.py left of one; FACES are its packs or folders, of which the same
ones are held out. The encoder's heads begin anew (unless --encoder gives one to go on with), its first two blocks stay
as they are, the others learn on. It is held to pixels, features, identity and descriptors of real faces, and to the
latents of some drawn ones. The file is written at intervals, whole; the held-out figures are those of the averaged
weights. --sources and --leave-out take faces away by their set: a CSV with a column `set` and a row for each face.
"""

import argparse
import copy
import csv
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemorph.stylegan.latents import fingerprint
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.networks.ops import taps_of_phases
from facemorph.stylegan.networks.stylegan2 import Layer, Synthesis2
from facemorph.stylegan.projection.encoder import DESCRIPTOR, Encoder, read_encoder, write_encoder
from facemorph.stylegan.training.config import Data, Judging
from facemorph.stylegan.training.faces import _find, _held_out, load_faces
from facemorph.stylegan.training.judges import FaceFeatures, ImageNetFeatures
from facemorph.stylegan.training.step import feature_difference

KEPT_BLOCKS = 2  # of the encoder: they find edges and textures, at most of its cost
IMAGENET_PX = 128
HELD = 96
LATENT, PIXELS, STRAY = 0.5, 4.0, 0.02  # weights; features and identity have 1
SAY_EVERY, SAVE_EVERY = 25, 100  # steps
CLIP = 5.0  # largest norm of a gradient
DTYPE = torch.bfloat16


class _Scaled(torch.autograd.Function):
    """x [N, C, H, W] times a number for each channel of each image [N, C]."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor) -> Tensor:  # type: ignore[override, no-untyped-def]
        ctx.save_for_backward(x, scale)
        return _images(_rows(x) * scale.to(x.dtype)[:, None], x.shape[2])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override, no-untyped-def]
        x, scale = ctx.saved_tensors
        rows = _rows(grad)
        return _images(rows * scale.to(x.dtype)[:, None], x.shape[2]), (rows * _rows(x)).sum(1).float()


class _Activated(torch.autograd.Function):
    """Leaky ReLU of x * scale + added, where `added` [1, H * W, C] is noise and bias, which stay as they are."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, added: Tensor, slope: float) -> Tensor:  # type: ignore[override, no-untyped-def]
        rows = _rows(x)
        y = F.leaky_relu_(torch.addcmul(added, rows, scale.to(x.dtype)[:, None]), slope)
        ctx.save_for_backward(rows, scale, y)
        ctx.side, ctx.slope = x.shape[2], slope
        return _images(y, x.shape[2])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override, no-untyped-def]
        rows, scale, y = ctx.saved_tensors
        grad = torch.ops.aten.leaky_relu_backward(_rows(grad), y, ctx.slope, True)
        of_scale = (grad * rows).sum(1).float()
        return _images(grad.mul_(scale.to(grad.dtype)[:, None]), ctx.side), of_scale, None, None


def _rows(x: Tensor) -> Tensor:
    """[N, C, H, W] in channels-last memory -> [N, H * W, C], without a copy."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _images(rows: Tensor, side: int) -> Tensor:
    return rows.unflatten(1, (side, side)).permute(0, 3, 1, 2)


class FrozenSynthesis:
    """A StyleGAN2's synthesis (design skip) with everything prepared that depends on its weights alone.

    Gradients go to the latents and nowhere else, in few passes over memory: 2.5 times as fast as the toolkit's own.
    """

    def __init__(self, generator: Generator) -> None:
        synthesis = generator.synthesis
        assert isinstance(synthesis, Synthesis2)
        self.synthesis, self.slope = synthesis, generator.architecture.slope
        self.prepared = {layer: self._prepare(layer) for layer in synthesis.layers()}

    def _prepare(self, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
        weight = layer.weight.detach()
        energy = weight.square().sum((2, 3)).T.contiguous()  # [in, out]
        if layer.up:
            out, wide = weight.shape[:2]
            phases = (weight.flatten(2) @ taps_of_phases(self.synthesis.filter)).view(out, wide, 4, 3, 3)
            weight = phases.permute(0, 2, 1, 3, 4).flatten(0, 1)  # [4 out, in, 3, 3], as pixel_shuffle takes them
        assert layer.noise is not None and layer.noise_strength is not None
        added = (layer.noise * layer.noise_strength).detach().reshape(1, -1, 1) + layer.bias.detach()
        return weight.to(DTYPE).contiguous(memory_format=torch.channels_last), energy, added.to(DTYPE)

    def _layer(self, layer: Layer, x: Tensor, w: Tensor) -> Tensor:
        weight, energy, added = self.prepared[layer]
        style = layer.affine(w)
        demodulation = (style.square() @ energy + 1e-8).rsqrt()
        peak = style.detach().abs().amax(1, keepdim=True)
        x = F.conv2d(_Scaled.apply(x, style / peak), weight, padding=1)  # type: ignore[arg-type]
        if layer.up:
            x = F.pixel_shuffle(x, 2).contiguous(memory_format=torch.channels_last)
        return _Activated.apply(x, demodulation * peak * math.sqrt(2), added, self.slope)  # type: ignore[return-value]

    def __call__(self, latents: Tensor) -> Tensor:
        """Latents [N, num_layers, w_size] -> images [N, 3, R, R], about -1..1."""
        x = self.synthesis.const.to(DTYPE).expand(len(latents), -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        image: Tensor | None = None
        for level, block in enumerate(self.synthesis.blocks):
            if block.conv0 is not None:
                x = self._layer(block.conv0, x, latents[:, 2 * level - 1])  # type: ignore[arg-type]
            x = self._layer(block.conv1, x, latents[:, 2 * level])  # type: ignore[arg-type]
            rgb = block.to_rgb
            weight = rgb.weight[:, :, 0, 0].T * rgb.affine(latents[:, 2 * level + 1])[:, :, None]  # type: ignore[index, union-attr, operator]
            colours = torch.bmm(_rows(x), weight.to(x.dtype)).float() + rgb.bias  # type: ignore[union-attr]
            colours = _images(colours, x.shape[2])
            image = colours if image is None else _doubled(image) + colours
        assert image is not None
        return image


def _doubled(image: Tensor) -> Tensor:
    """Up-sampling by the taps 1, 3, 3, 1, as bilinear interpolation with zeros around."""
    x = F.interpolate(F.pad(image, (1, 1, 1, 1)), scale_factor=2, mode="bilinear", align_corners=False)
    return x[:, :, 2:-2, 2:-2]


def encode(encoder: Encoder, images: Tensor) -> Tensor:
    """As the encoder itself, without gradients for the blocks that are kept."""
    with torch.autocast("cpu", DTYPE):
        with torch.no_grad():
            features = [encoder.stem(images.contiguous(memory_format=torch.channels_last))]
            for block in encoder.blocks[:KEPT_BLOCKS]:
                features.append(block(features[-1]))
        for block in encoder.blocks[KEPT_BLOCKS:]:
            features.append(block(features[-1]))
        offsets = encoder.offsets(images, features)
    return encoder.mean + encoder.deviation * offsets.float()


def vary(x: Tensor) -> Tensor:
    """Mirrored, turned, scaled, moved and lit a little otherwise."""
    n = len(x)
    x = torch.where(torch.rand(n, 1, 1, 1) < 0.5, x.flip(3), x)
    angle, scale, shift = torch.randn(n) * 0.02, 1 + torch.randn(n) * 0.02, torch.randn(n, 2) * 0.01
    cos, sin = scale * angle.cos(), scale * angle.sin()
    places = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(places, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    light = torch.randn(n, 3, 1, 1) * 0.02 + torch.randn(n, 1, 1, 1) * 0.05
    return (x * (1 + torch.randn(n, 1, 1, 1) * 0.06) + light).clamp(-1, 1)


class Lesson:
    """What an encoder's images are held to."""

    def __init__(self, chip: tuple[float, float, float]) -> None:
        settings = Judging(imagenet_px=IMAGENET_PX)
        self.imagenet, self.face = ImageNetFeatures(settings), FaceFeatures(settings, chip)
        for part in (self.imagenet, self.face):
            part.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for parameter in part.parameters():
                parameter.data = parameter.data.to(DTYPE)

    def __call__(self, made: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Squared difference of pixels, of features, of face features; of descriptors for each image [N]."""
        with torch.autocast("cpu", DTYPE):
            seen, who = self.imagenet(made), self.face(made)
            with torch.no_grad():
                seen_before, who_before = self.imagenet(real), self.face(real)
        off = self.face.descriptors(who) - self.face.descriptors(who_before)
        features, identity = feature_difference(seen, seen_before), feature_difference(who[1:], who_before[1:])
        return (made - real).square().mean(), features, identity, off.square().sum(1)


def begin_anew(encoder: Encoder) -> None:
    """New heads, which give about the mean latent."""
    linear = encoder.hidden[0]
    assert isinstance(linear, nn.Linear)
    for one in (linear, *encoder.heads):
        one.reset_parameters()  # type: ignore[operator, union-attr]
    with torch.no_grad():
        for head in encoder.heads:
            head.weight.mul_(0.1)  # type: ignore[operator, union-attr]
            head.bias.zero_()  # type: ignore[operator, union-attr]


def with_descriptor(encoder: Encoder, chip: tuple[float, float, float]) -> Encoder:
    """The same encoder, into which the face's descriptor goes as well: at first without a weight."""
    if encoder.shape.face:
        return encoder
    wider = Encoder(replace(encoder.shape, face=chip))
    state = encoder.state_dict()
    state["hidden.0.weight"] = F.pad(state["hidden.0.weight"], (0, DESCRIPTOR))
    wider.load_state_dict(state)
    return wider.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def read_faces(sources: list[str], crop: str, size_px: int, table: Path | None, left_out: set[str]) -> list[Tensor]:
    """Faces to train on and held out, uint8 [N, 3, H, H] each: the run's own split, without the sets left out."""
    data = Data(faces=tuple(sources), crop=crop)
    faces = load_faces(data, size_px, 0)
    print(faces, flush=True)
    parts = [torch.from_numpy(faces.images), torch.from_numpy(faces.held)]
    if table is None:
        return parts
    with table.open(encoding="utf-8") as file:
        kept = np.array([row["set"] not in left_out for row in csv.DictReader(file)])
    persons = [one.person for one in _find(data.faces, "faces")[0]]
    held = _held_out(persons, data.hold_out, np.random.default_rng(0))
    return [part[torch.from_numpy(kept[which])] for part, which in zip(parts, (~held, held), strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("faces", nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--drawn", type=int, default=2, help="of each batch")
    parser.add_argument("--rate", type=float, default=7e-4)
    parser.add_argument("--warm-up", type=int, default=30, help="steps")
    parser.add_argument("--encoder", type=Path, help="go on with this one, heads and all")
    parser.add_argument("--descriptor", type=float, default=2.0, help="weight of the descriptors' squared distance")
    parser.add_argument("--far", type=float, default=0.02, help="weight of the latents' distance from the mean")
    parser.add_argument("--identity", action="store_true", help="let the encoder look at dlib's descriptor as well")
    parser.add_argument("--sources", type=Path)
    parser.add_argument("--leave-out", nargs="+", default=())
    options = parser.parse_args()
    if options.output.exists():
        parser.error(f"{options.output} exists already: choose another -o")
    torch.manual_seed(5)
    generator = load_generator(options.run / "generator.safetensors").requires_grad_(False)
    a = generator.architecture
    images, held = read_faces(options.faces, a.alignment.name, a.resolution, options.sources, set(options.leave_out))
    held = held[:HELD]
    encoder = read_encoder(options.encoder or options.run / "encoder.safetensors", generator)
    if options.encoder is None:
        begin_anew(encoder)
    if options.identity:
        encoder = with_descriptor(encoder, a.alignment.chip)
    encoder.requires_grad_(True).eval()
    for one in [encoder.stem, *encoder.blocks[:KEPT_BLOCKS]]:
        one.requires_grad_(False)
    average = copy.deepcopy(encoder).requires_grad_(False)
    learning = [one for one in encoder.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(learning, options.rate, (0.9, 0.99), fused=True)
    synthesis, compare = FrozenSynthesis(generator), Lesson(a.alignment.chip)

    @torch.no_grad()
    def figures() -> str:
        sums, distances = np.zeros(3), []
        for part in held.split(16):
            real = part.float() / 127.5 - 1
            *three, far = compare(synthesis(encode(average, real)), real)
            sums += [float(one) * len(part) for one in three]
            distances.append(far.sqrt())
        pixels, features, identity = sums / len(held)
        median = float(torch.cat(distances).median())
        return f"held out: pixels {pixels:.4f} features {features:.3f} identity {identity:.3f} descriptor {median:.3f}"

    def save(step: int) -> None:
        about = {"images": step * options.batch}
        write_encoder(options.output, average, fingerprint(generator), about, overwrite=True, half=True)

    print(figures(), flush=True)
    began, step, told = time.time(), 0, torch.zeros(7)
    while (share := (time.time() - began) / options.seconds) <= 1:
        fall = max(0.01, 0.5 + 0.5 * math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1, (step + 1) / options.warm_up) * fall
        count = options.drawn
        with torch.no_grad():
            real = vary(images[torch.randint(0, len(images), (options.batch - count,))].float() / 127.5 - 1)
            pair = generator.map(torch.randn(2 * count, a.latent_size))[:, None].repeat(1, a.num_layers, 1)
            cross = torch.randint(1, 2 * a.num_layers, (count, 1))  # half of them unmixed
            known = torch.where((torch.arange(a.num_layers)[None] >= cross)[..., None], pair[count:], pair[:count])
            real = torch.cat([synthesis(known), real])
        found = encode(encoder, real)
        latent = ((found[:count] - known) / encoder.deviation).square().mean()
        offset = (found[count:] - encoder.mean) / encoder.deviation
        far, stray = offset.square().mean(), (offset - offset.mean(1, keepdim=True)).square().mean()
        pixels, features, identity, distances = compare(synthesis(found), real)
        descriptor = distances.mean()
        loss = LATENT * latent + PIXELS * pixels + features + identity + options.descriptor * descriptor
        loss = loss + STRAY * stray + options.far * far
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learning, CLIP)
        optimizer.step()
        step += 1
        with torch.no_grad():
            slow = min(0.995, step / (step + 20))
            for old, new in zip(average.parameters(), encoder.parameters(), strict=True):
                old.lerp_(new, 1 - slow)
            told += torch.stack([latent, pixels, features, identity, descriptor, far, stray]).detach()
        if step % SAY_EVERY == 0:
            names = ("latent", "pixels", "features", "identity", "descriptor", "far", "stray")
            means = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, told / SAY_EVERY, strict=True))
            seconds = time.time() - began
            print(f"step {step}, {seconds:.0f} s, {step * options.batch / seconds:.1f} images/s: {means}", flush=True)
            told.zero_()
        if step % SAVE_EVERY == 0:
            save(step)
            print(figures(), flush=True)
    save(step)
    print(f"{options.output}: {step} steps, {step * options.batch} images; {figures()}")


if __name__ == "__main__":
    main()
