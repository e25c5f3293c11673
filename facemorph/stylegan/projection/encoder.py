"""A network that guesses an image's latents in one pass: a residual backbone, and a head for each layer.

After pSp (Richardson et al. 2021, "Encoding in style", arXiv:2008.00951): features of three sizes, for the coarse, the
middle and the fine layers together, and each head gives the offset of its layer's latent from the mean. pSp's backbone
was trained to recognise people first; here dlib's descriptor of the face may go in beside the features.
"""

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import nn

from facemorph import embedded
from facemorph.errors import InputError
from facemorph.faces.likeness import Likeness, likeness_of_aligned
from facemorph.files import check_free, write_atomically
from facemorph.stylegan.formats.converted import SMALL
from facemorph.stylegan.latents import belongs_to, fingerprint, fingerprint_1
from facemorph.stylegan.networks.generator import Generator
from facemorph.weights.cache import cache_folder

KIND = "facemorph encoder"
LARGEST_PX = 256  # of the images that it looks at
POOLED_PX = 4  # side of the feature maps that the heads see
NECK = 64
DESCRIPTOR = 128  # numbers
DESCRIPTOR_GAIN = 10.0  # they are about 0.12 in size


@dataclass(frozen=True)
class EncoderShape:
    """What an encoder looks at and gives.

    Attributes:
        size_px: side of the images; larger ones are reduced.
        num_layers, w_size: of the latents.
        width: channels of the first features; each halving of the side doubles them, up to 8 times as many.
        hidden: numbers that all heads share.
        face: the place of dlib's face chip in the images (`Alignment.chip`) where its descriptor goes in as well.
    """

    size_px: int
    num_layers: int
    w_size: int
    width: int = 32
    hidden: int = 1024
    face: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.face is not None:  # JSON has lists alone
            object.__setattr__(self, "face", tuple(self.face))


class Block(nn.Module):
    """Two convolutions beside the halved input: [N, C, H, W] -> [N, C', H / 2, W / 2] (He et al. 2016)."""

    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(wide, out, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.PReLU(out),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.skip = nn.Conv2d(wide, out, 1)
        self.activation = nn.PReLU(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.convolutions(x) + self.skip(F.avg_pool2d(x, 2)))


class Encoder(nn.Module):
    """Images float [N, 3, H, H] in [-1, 1], H a multiple of `shape.size_px` -> latents [N, num_layers, w_size].

    `mean` [w_size] and `deviation` (the std of one number of w) belong to the generator.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.shape = shape
        halvings = (shape.size_px // POOLED_PX).bit_length() - 1
        widths = [min(shape.width << index, 8 * shape.width) for index in range(halvings + 1)]
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, padding=1), nn.PReLU(widths[0]))
        self.blocks = nn.ModuleList(Block(*pair) for pair in itertools.pairwise(widths))
        self.necks = nn.ModuleList(nn.Conv2d(width, NECK, 1) for width in widths[-3:])
        seen = len(self.necks) * NECK * POOLED_PX**2 + (DESCRIPTOR if shape.face else 0)
        self._likeness: list[Likeness] = []  # not a part of this module: it is neither trained nor saved
        self.hidden = nn.Sequential(nn.Linear(seen, shape.hidden), nn.PReLU(shape.hidden))
        self.heads = nn.ModuleList(nn.Linear(shape.hidden, shape.w_size) for _ in range(shape.num_layers))
        self.register_buffer("mean", torch.zeros(shape.w_size))
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        factor = images.shape[2] // self.shape.size_px
        x = F.avg_pool2d(images, factor) if factor > 1 else images
        features = [self.stem(x.contiguous(memory_format=torch.channels_last))]
        for block in self.blocks:
            features.append(block(features[-1]))
        return self.mean + self.deviation * self.offsets(x, features)

    def offsets(self, x: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """Images [N, 3, size_px, size_px] and the features of all blocks -> [N, num_layers, w_size], in `deviation`."""
        pooled = [
            F.adaptive_avg_pool2d(neck(one), POOLED_PX)
            for neck, one in zip(self.necks, features[-len(self.necks) :], strict=True)
        ]
        seen = torch.cat(pooled, 1).flatten(1)
        if self.shape.face:
            seen = torch.cat([seen, DESCRIPTOR_GAIN * self.describe(x)], 1)
        hidden = self.hidden(seen)  # [N, hidden]
        return torch.stack([head(hidden) for head in self.heads], 1)

    def describe(self, images: torch.Tensor) -> torch.Tensor:
        """dlib's descriptors of images [N, 3, H, H], where their faces are said to be: [N, 128], without gradients."""
        assert self.shape.face is not None
        if not self._likeness:
            self._likeness.append(likeness_of_aligned(self.shape.face))
        likeness = self._likeness[0].to(images.device)
        with torch.no_grad():
            return likeness(images.float())


def new_encoder(generator: Generator, width: int = 32) -> Encoder:
    """An untrained encoder for a generator; it gives about the mean latent."""
    a = generator.architecture
    encoder = Encoder(EncoderShape(min(a.resolution, LARGEST_PX), a.num_layers, a.w_size, width))
    mean, spread = generator.latent_statistics()
    with torch.no_grad():
        encoder.mean.copy_(mean)
        encoder.deviation.fill_(spread / a.w_size**0.5)
        for head in encoder.heads:
            head.weight.mul_(0.1)  # type: ignore[operator, union-attr]
            head.bias.zero_()  # type: ignore[operator, union-attr]
    return encoder.to(generator.w_avg.device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def encoder_path(network: str) -> Path:
    """The place of a generator's encoder: in the cache, by the generator's `fingerprint`."""
    return cache_folder() / "encoders" / f"{network[:16]}.safetensors"


def find_encoder(generator: Generator) -> Path:
    """Where the encoder of a generator lies: in the cache, also one that was trained before fingerprints had a
    version, or inside the package. Where there is none: where a trained one would lie."""
    network = fingerprint(generator)
    now, inside = encoder_path(network), embedded.find(network, "encoder")
    if now.exists():
        return now
    if inside is not None:
        return inside
    before = encoder_path(fingerprint_1(generator))
    return before if before.exists() else now


def write_encoder(
    path: Path,
    encoder: Encoder,
    network: str,
    about: dict[str, Any],
    overwrite: bool = False,
    half: bool = False,
) -> None:
    """Write `path` (.safetensors), whole or not at all; `network` is the generator's fingerprint.

    With `half`, arrays of more than `SMALL` numbers are stored as float16.

    Raises:
        OutputError: it exists and may not be overwritten, or cannot be written.
    """
    check_free(path, overwrite)
    header = {
        "kind": KIND, "network": network, "shape": json.dumps(asdict(encoder.shape)), "about": json.dumps(about)
    }  # fmt: skip
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    if half:
        state = {name: tensor.half() if tensor.numel() > SMALL else tensor for name, tensor in state.items()}
    write_atomically(path, lambda file: file.write(save(state, metadata=header)))


def read_encoder(path: Path, generator: Generator) -> Encoder:
    """The encoder in a file of `write_encoder`, frozen, on the generator's device.

    Raises:
        InputError: it is missing, damaged, something else, or belongs to another network.
    """
    again = "Train one: facemorph train-encoder --network FILE"
    if not path.is_file():
        raise InputError(f"No such encoder: {path}.", again)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
        if header.get("kind") != KIND:
            raise ValueError("it is something else")
        state = {name: one.float() if one.is_floating_point() else one for name, one in state.items()}
        shape = EncoderShape(**json.loads(header["shape"]))
        if not belongs_to(header["network"], generator):
            raise InputError(f"{path} was trained on another network.", again)
        with torch.device("meta"):  # no time for random numbers that are replaced at once
            encoder = Encoder(shape)
        encoder.load_state_dict(state, assign=True)
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is no encoder: {str(error)[:200]}", again) from error
    encoder.eval().requires_grad_(False)
    return encoder.to(generator.w_avg.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
