"""The description of a StyleGAN or StyleGAN2 generator: an architecture, and arrays under our own names.

Readers of published formats produce it and the networks are built from it, so that neither depends on the other.
Weights are stored as they act at run time: the equalised learning rate (Karras et al. 2018, section 4.1), the gain of
the activation where a weight can absorb it exactly, and the "+ 1" of style scales are already folded in.
"""

import dataclasses
import itertools
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from facemorph.errors import RefusedFile
from facemorph.stylegan.networks.alignment import FFHQ, Alignment, from_plain, to_plain

FORMAT = "facemorph StyleGAN generator"
FORMAT_VERSION = 1
MAX_LEVELS = 11  # 4096 px
MAX_FEATURES = 16384
MAX_MAPPING_LAYERS = 64
MAX_LABEL_SIZE = 1 << 20
MAX_TAPS = 16
DESIGNS = ("skip", "orig", "resnet")
LABELS = ("none", "concat", "embed")


@dataclass(frozen=True)
class Architecture:
    """The properties of a generator that its weights alone do not determine.

    Attributes:
        generation: 1 (StyleGAN) or 2 (StyleGAN2, also as trained with ADA).
        resolution: side of the image in px, a power of two.
        image_channels: 3 for colour.
        latent_size: numbers in z; 0 for a network that sees its label only.
        mapping_sizes: widths through the mapping network, from its input to w.
        channels: feature maps at 4, 8, ... `resolution` px.
        const_channels: feature maps of the learned constant.
        truncation_psi, truncation_cutoff: default truncation of the authors. A cutoff of None is "no truncation" in
            generation 1 and "all layers" in generation 2.
        normalize_latents: whether z is first scaled to unit mean square.
        mapping_slope, slope: negative slope of the leaky ReLU; 0 is a plain ReLU.
        label_size: numbers in the conditional label, 0 without one.
        label: how it enters: "none"; "concat", projected and normalised together with z; "embed", normalised
            alone.
        label_features: numbers in the projected label.
        use_noise: whether the layers add noise.
        blur: generation 1: taps of the filter after up-sampling; () for none.
        instance_norm, pixel_norm: generation 1: normalisations after the activation.
        lod: generation 1: progressive growing, 0 when it has ended; 1 is half the resolution.
        to_rgb_lods: generation 1: the levels with an output layer.
        design: generation 2: "skip", "orig" or "resnet" (Karras et al. 2020, figure 7).
        clamp: generation 2: bound of every layer's output; None for none.
        filter_shape: generation 2: of the up-sampling filter.
        alignment: of the faces in its images; FFHQ's in published networks.
    """

    generation: int
    resolution: int
    image_channels: int
    latent_size: int
    mapping_sizes: tuple[int, ...]
    channels: tuple[int, ...]
    const_channels: int
    truncation_psi: float
    truncation_cutoff: int | None
    normalize_latents: bool = True
    mapping_slope: float = 0.2
    slope: float = 0.2
    label_size: int = 0
    label: str = "none"
    label_features: int = 0
    use_noise: bool = True
    blur: tuple[float, ...] = ()
    instance_norm: bool = True
    pixel_norm: bool = False
    lod: float = 0.0
    to_rgb_lods: tuple[int, ...] = ()
    design: str = "skip"
    clamp: float | None = None
    filter_shape: tuple[int, int] = (4, 4)
    alignment: Alignment = FFHQ

    @property
    def num_layers(self) -> int:
        """Rows of a latent code [N, num_layers, w_size]: 18 at 1024 px."""
        return 2 * len(self.channels)

    @property
    def w_size(self) -> int:
        return self.mapping_sizes[-1]

    def check(self) -> None:
        """Check that the values are consistent, and within the range of published networks.

        Raises:
            RefusedFile: they are not.
        """
        numbers = (
            self.truncation_psi,
            self.mapping_slope,
            self.slope,
            self.lod,
            self.clamp or 1.0,
            *self.blur,
        )
        sizes = (*self.mapping_sizes, *self.channels, self.const_channels, self.image_channels)
        levels = len(self.channels)
        self._require("generation", self.generation in (1, 2))
        self._require("size", all(type(size) is int and 1 <= size <= MAX_FEATURES for size in sizes))
        self._require("number", all(type(value) in (int, float) and math.isfinite(value) for value in numbers))
        self._require("resolution", 1 <= levels <= MAX_LEVELS and self.resolution == 4 << (levels - 1))
        self._require("mapping depth", 1 <= len(self.mapping_sizes) <= MAX_MAPPING_LAYERS + 1)
        self._require("label", self.label in LABELS and (self.label != "none") == (self.label_size > 0))
        self._require("label size", self.label_size <= MAX_LABEL_SIZE and 0 <= self.label_features <= MAX_FEATURES)
        self._require("mapping input", self.mapping_sizes[0] == self.latent_size + self.label_features)
        self._require("latent size", self.latent_size > 0 or (self.latent_size == 0 and self.label_size > 0))
        self._require("cutoff", self.truncation_cutoff is None or type(self.truncation_cutoff) is int)
        self._require("blur filter", len(self.blur) <= MAX_TAPS)
        self._require("design", self.design in DESIGNS)
        self._require("clamp", self.clamp is None or self.clamp > 0)
        self._require("filter", [2 <= side <= MAX_TAPS for side in self.filter_shape] == [True, True])
        if self.generation == 1:
            needed = {math.floor(self.lod), math.ceil(self.lod)}
            self._require("level of detail", needed <= set(self.to_rgb_lods) <= set(range(levels)))
        self.alignment.check()

    def _require(self, name: str, holds: bool) -> None:
        if not holds:
            raise RefusedFile(f"its {name} is not that of a StyleGAN")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every array of such a network, by name."""
        shapes: dict[str, tuple[int, ...]] = {"w_avg": (self.w_size,)}
        if self.label != "none":
            shapes["mapping.label.weight"] = (self.label_features, self.label_size)
        if self.label == "embed":
            shapes["mapping.label.bias"] = (self.label_features,)
        for index, (wide, out) in enumerate(itertools.pairwise(self.mapping_sizes)):
            shapes |= {f"mapping.layers.{index}.weight": (out, wide), f"mapping.layers.{index}.bias": (out,)}
        shapes |= self._shapes_1() if self.generation == 1 else self._shapes_2()
        return shapes

    def _shapes_1(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"synthesis.const": (1, self.const_channels, 4, 4)}
        before = self.const_channels
        for index in range(self.num_layers):
            out = self.const_channels if index == 0 else self.channels[index // 2]
            layer = f"synthesis.layers.{index}."
            if index:
                shapes[layer + "weight"] = (out, before, 3, 3)
            shapes |= {layer + "bias": (out,), layer + "style.weight": (2 * out, self.w_size)}
            shapes[layer + "style.bias"] = (2 * out,)
            if self.use_noise:
                shapes |= {layer + "noise": (4 << index // 2,) * 2, layer + "noise_strength": (out,)}
            before = out
        for lod in self.to_rgb_lods:
            wide = self.channels[-1 - lod]
            shapes[f"synthesis.to_rgb.{lod}.weight"] = (self.image_channels, wide, 1, 1)
            shapes[f"synthesis.to_rgb.{lod}.bias"] = (self.image_channels,)
        return shapes

    def _shapes_2(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {
            "synthesis.const": (1, self.const_channels, 4, 4),
            "synthesis.filter": self.filter_shape,
        }
        before = self.const_channels
        for index, out in enumerate(self.channels):
            block = f"synthesis.blocks.{index}."
            entry = before
            for conv in ("conv0.", "conv1.") if index else ("conv1.",):
                shapes |= {block + conv + "weight": (out, before, 3, 3), block + conv + "bias": (out,)}
                shapes[block + conv + "affine.weight"] = (before, self.w_size)
                shapes[block + conv + "affine.bias"] = (before,)
                if self.use_noise:
                    shapes |= {block + conv + "noise": (4 << index,) * 2, block + conv + "noise_strength": ()}
                before = out
            if self.design == "skip" or index == len(self.channels) - 1:
                shapes[block + "to_rgb.weight"] = (self.image_channels, out, 1, 1)
                shapes[block + "to_rgb.bias"] = (self.image_channels,)
                shapes[block + "to_rgb.affine.weight"] = (out, self.w_size)
                shapes[block + "to_rgb.affine.bias"] = (out,)
            if self.design == "resnet" and index:
                shapes[block + "skip.weight"] = (out, entry, 1, 1)
        return shapes


@dataclass(frozen=True)
class GeneratorWeights:
    """A generator: architecture, arrays (float32, named as in `Architecture.shapes`), origin."""

    architecture: Architecture
    arrays: dict[str, np.ndarray]
    origin: dict[str, Any]

    def check(self) -> None:
        """Check architecture and arrays.

        Raises:
            RefusedFile: an array is missing, unexpected, of the wrong shape or not finite.
        """
        self.architecture.check()
        check_shapes(self.architecture, {name: array.shape for name, array in self.arrays.items()})
        for name, array in self.arrays.items():
            if not np.isfinite(array).all():
                raise RefusedFile(f"its array {name} has values that are not finite")


def check_shapes(architecture: Architecture, found: dict[str, tuple[int, ...]]) -> None:
    """Check the shapes of all arrays.

    Raises:
        RefusedFile: an array is missing, unexpected or of the wrong shape.
    """
    expected = architecture.shapes()
    for name, shape in expected.items():
        if name not in found:
            raise RefusedFile(f"its array {name} is missing")
        if tuple(found[name]) != shape:
            raise RefusedFile(f"its array {name} is of shape {tuple(found[name])}; {shape} was expected")
    extra = sorted(set(found) - set(expected))
    if extra:
        raise RefusedFile(f"it contains {extra[0][:100]!r}, which no such network has")


def to_json(architecture: Architecture, origin: dict[str, Any]) -> str:
    """The JSON beside a converted file. FFHQ's alignment is the default and left out, as in older files."""
    fields = dataclasses.asdict(architecture)
    del fields["alignment"]
    if architecture.alignment != FFHQ:
        fields["alignment"] = to_plain(architecture.alignment)
    head = {"format": FORMAT, "format_version": FORMAT_VERSION}
    return json.dumps({**head, "architecture": fields, "origin": origin}, indent=2) + "\n"


def from_json(text: str | bytes) -> tuple[Architecture, dict[str, Any]]:
    """Architecture and origin from the JSON beside a converted file.

    Raises:
        RefusedFile: it is not of this format and version.
    """
    try:
        value = json.loads(text)
        if value["format"] != FORMAT or value["format_version"] != FORMAT_VERSION:
            raise RefusedFile(f"it is not a {FORMAT} of version {FORMAT_VERSION}")
        fields: dict[str, Any] = {
            key: tuple(item) if isinstance(item, list) else item for key, item in value["architecture"].items()
        }
        if "alignment" in fields:
            fields["alignment"] = from_plain(fields["alignment"])
        architecture = Architecture(**fields)
        architecture.check()
        return architecture, dict(value["origin"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RefusedFile(f"it is not a {FORMAT} ({type(error).__name__}: {str(error)[:120]})") from error
