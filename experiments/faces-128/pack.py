"""What was trained -> the three files that the package brings: python pack.py NETWORK FACES.pack OUT

NETWORK holds generator.npz and encoder.pt as their training left them; FACES.pack (a count, the lengths, WebP images of
128 px) the faces on which the encoder's heads are fitted anew, once hidden units have been left out so that all of it
stays below 30 MB. Left out are the 192 of 1,024 units whose absence costs least in the sense of least squares.
"""

import argparse
import io
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from facemorph.embedded import FACES_128
from facemorph.images import to_tensor
from facemorph.stylegan.formats.converted import write_converted
from facemorph.stylegan.latents import fingerprint
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.networks.alignment import EYES
from facemorph.stylegan.networks.architecture import Architecture, GeneratorWeights
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.encoder import POOLED_PX, Encoder, EncoderShape, write_encoder

HIDDEN, AT_ONCE = 832, 16  # units that stay; that many are left out at a time
FACES, DRAWN, BATCH = 4500, 1500, 50
HELD_EVERY = 8  # each so-manieth image measures what was lost
RIDGE = 1e-4  # towards the heads as they were, as a share of the mean square of a unit


def read_generator(path: Path) -> GeneratorWeights:
    file = np.load(path)
    meta = json.loads(str(file["meta"]))
    sizes = (meta["z"], *[meta["w"]] * meta["depth"])
    channels = tuple(meta["channels"])
    architecture = Architecture(
        generation=2, resolution=meta["res"], image_channels=3, latent_size=meta["z"], mapping_sizes=sizes,
        channels=channels, const_channels=channels[0], truncation_psi=0.7, truncation_cutoff=None, clamp=256.0,
        design="skip", filter_shape=(4, 4), alignment=EYES,
    )  # fmt: skip
    arrays = {name: file[name].astype(np.float32) for name in file.files if name != "meta"}
    about = {"data": "LFW deep-funneled, UTKFace part 1", "images_seen": meta["seen"], "licence": "research only"}
    weights = GeneratorWeights(architecture, arrays, {"name": FACES_128, **about})
    weights.check()
    return weights


def read_faces(path: Path, count: int) -> np.ndarray:
    """`count` faces at random: uint8 RGB [count, 128, 128, 3]."""
    data = path.read_bytes()
    total = int(np.frombuffer(data, "<u4", 1)[0])
    ends = 4 + 4 * total + np.cumsum(np.frombuffer(data, "<u4", total, 4))
    starts = [4 + 4 * total, *ends[:-1]]
    chosen = np.sort(np.random.default_rng(5).permutation(total)[:count])
    return np.stack([np.asarray(Image.open(io.BytesIO(data[starts[i] : ends[i]])).convert("RGB")) for i in chosen])


@torch.no_grad()
def hidden_of(encoder: Encoder, images: torch.Tensor) -> torch.Tensor:
    """What the heads see: images [N, 3, H, H] -> [N, hidden]."""
    features = [encoder.stem(images.contiguous(memory_format=torch.channels_last))]
    for block in encoder.blocks:
        features.append(block(features[-1]))
    necks = zip(encoder.necks, features[-len(encoder.necks) :], strict=True)
    return encoder.hidden(torch.cat([F.adaptive_avg_pool2d(neck(one), POOLED_PX) for neck, one in necks], 1).flatten(1))


@torch.no_grad()
def drawn(generator: Generator, count: int) -> torch.Tensor:
    """Images of two latents each, the upper layers of the one and the lower ones of the other."""
    layers = generator.architecture.num_layers
    w = generator.map(torch.randn(2 * count, generator.architecture.latent_size))
    cut = torch.randint(1, 2 * layers, (count, 1, 1))
    return generator.synthesize(
        torch.where(torch.arange(layers)[None, :, None] < cut, w[:count, None], w[count:, None])
    )


def pruned(encoder: Encoder, hidden: torch.Tensor, units: int) -> tuple[Encoder, float]:
    """An encoder with fewer hidden units, and its error on held-out rows of `hidden` [N, H], as a share of the std."""
    x = torch.cat([hidden, torch.ones(len(hidden), 1)], 1).double()  # [N, H + 1]
    before = torch.cat([torch.cat([h.weight, h.bias[:, None]], 1) for h in encoder.heads]).double()  # type: ignore[arg-type]
    wanted = x @ before.T
    held = torch.arange(len(x)) % HELD_EVERY == 0
    gram = x[~held].T @ x[~held]
    ridge = torch.cat([torch.full((hidden.shape[1],), RIDGE * float(gram.diagonal()[:-1].mean())), torch.zeros(1)])
    product = x[~held].T @ wanted[~held] + ridge.double()[:, None] * before.T
    gram += torch.diag(ridge.double())
    keep = list(range(hidden.shape[1]))
    while len(keep) > units:
        rows = torch.tensor([*keep, hidden.shape[1]])
        inverse = torch.linalg.inv(gram[rows][:, rows])
        cost = (inverse @ product[rows])[:-1].square().sum(1) / inverse.diagonal()[:-1]
        best = cost.argsort(descending=True)[: max(units, len(keep) - AT_ONCE)]
        keep = sorted(keep[int(index)] for index in best)
    rows = torch.tensor([*keep, hidden.shape[1]])
    heads = torch.linalg.solve(gram[rows][:, rows], product[rows])  # [units + 1, L * w]
    off = x[held][:, rows] @ heads - wanted[held]
    lost = float(off.norm() / (wanted[held] - wanted[held].mean(0)).norm())

    state, size = dict(encoder.state_dict()), encoder.shape.w_size
    for name in ("hidden.0.weight", "hidden.0.bias", "hidden.1.weight"):
        state[name] = state[name][keep]
    for layer in range(encoder.shape.num_layers):
        part = heads[:, layer * size : (layer + 1) * size].T.float()
        state |= {f"heads.{layer}.weight": part[:, :-1], f"heads.{layer}.bias": part[:, -1]}
    shape = encoder.shape
    smaller = Encoder(EncoderShape(shape.size_px, shape.num_layers, shape.w_size, shape.width, units)).eval()
    smaller.load_state_dict(state)
    return smaller, lost


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("network", "faces", "output"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    torch.manual_seed(1)
    path = given.output / f"{FACES_128}.safetensors"
    write_converted(path, read_generator(given.network / "generator.npz"), overwrite=True, half=True)
    generator = load_generator(path)
    saved = torch.load(given.network / "encoder.pt", weights_only=True)
    size_px, num_layers, w_size, width = saved["shape"]
    encoder = Encoder(EncoderShape(size_px, num_layers, w_size, width, saved.get("hidden", 1024))).eval()
    encoder.load_state_dict(
        {name: one.float() if one.is_floating_point() else one for name, one in saved["state"].items()}
    )
    faces = read_faces(given.faces, FACES)
    rows = [hidden_of(encoder, to_tensor(faces[first : first + BATCH])) for first in range(0, FACES, BATCH)]
    rows += [hidden_of(encoder, drawn(generator, BATCH)) for _ in range(DRAWN // BATCH)]
    smaller, lost = pruned(encoder, torch.cat(rows), HIDDEN)
    about = {
        "steps": saved["steps"],
        "left_out": f"{encoder.shape.hidden - HIDDEN} hidden units, {lost:.3f} of the std",
    }
    target = given.output / f"{FACES_128}-encoder.safetensors"
    write_encoder(target, smaller, fingerprint(generator), about, overwrite=True, half=True)
    size = sum(one.stat().st_size for one in (path, target))
    print(f"{fingerprint(generator)}\n{size:,} bytes; latents off by {lost:.1%} of their std on images held out")


if __name__ == "__main__":
    main()
