"""PyTorch pickles of NVIDIA: StyleGAN2-ADA, and StyleGAN2 of the StyleGAN3 repository.

A pickle is a dictionary with G, D and G_ema, the moving average of G that is used for images. Each module is a record
of its attributes, parameters, buffers and children.
"""

import math
from typing import Any

import numpy as np

from facemorph.errors import RefusedFile
from facemorph.stylegan.formats.pickle_machine import Budget
from facemorph.stylegan.formats.stubs import Record, find_record
from facemorph.stylegan.formats.weight_source import WeightSource, average_latent, number, slope
from facemorph.stylegan.networks.architecture import MAX_MAPPING_LAYERS, Architecture, GeneratorWeights

SQRT2 = np.float32(math.sqrt(2))
FILTERS = ("resample_filter",)  # the same in all layers


class _Module:
    """A module's record: its arrays as a `WeightSource`, its plain attributes, its children."""

    def __init__(self, record: Any, place: str, budget: Budget) -> None:
        if not isinstance(record, Record):
            raise RefusedFile(f"its module {place!r} is missing")
        self.place, self.budget, self.attributes = place, budget, record.state
        arrays: dict[str, Any] = {}
        for group in ("_parameters", "_buffers"):
            values = self.attributes.get(group)
            if isinstance(values, dict):
                arrays |= values
        self.source = WeightSource(arrays, budget)
        children = self.attributes.get("_modules")
        self.children: dict[str, Any] = children if isinstance(children, dict) else {}

    def child(self, name: str) -> "_Module":
        return _Module(self.children.get(name), f"{self.place}.{name}", self.budget)

    def array(self, name: str) -> np.ndarray:
        return self.source.array(name)

    def expect(self, *known: str) -> None:
        """Raises RefusedFile where it has other children or arrays than these: it would draw something else."""
        unknown = sorted({*self.children, *self.source.arrays} - {*known, *FILTERS})
        if unknown:
            raise RefusedFile(f"its module {self.place!r} has {unknown[0][:100]!r}, which no StyleGAN2 has")

    def number(self, key: str, default: float | None = None) -> Any:
        return number(self.attributes, key, default)

    def whole(self, key: str) -> int:
        value = self.number(key)
        if type(value) is not int:
            raise RefusedFile(f"{self.place}'s {key} is not an integer")
        return value

    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight [out, in] and bias [out] of a fully connected layer, with their gains folded in."""
        weight = self.array("weight") * np.float32(self.gain("weight_gain"))
        return weight, self.array("bias") * np.float32(self.gain("bias_gain"))

    def gain(self, key: str) -> float:
        value = self.number(key)
        if value is None:
            raise RefusedFile(f"{self.place}'s {key} is missing")
        return value


def find(value: Any) -> Record | None:
    """The generator's record, if a PyTorch pickle of NVIDIA contains `value`."""
    record = find_record(value)
    return record if record is not None and record.kind != "Network" else None


def describe(record: Record, budget: Budget) -> GeneratorWeights:
    """The generator in a record of `find`.

    Raises:
        RefusedFile: it is none of the known generators.
    """
    generator = _Module(record, "G_ema", budget)
    synthesis, mapping = generator.child("synthesis"), generator.child("mapping")
    if "b4" not in synthesis.children:
        raise RefusedFile("its generator is not a StyleGAN2 (StyleGAN3 is not supported)")
    arrays: dict[str, np.ndarray] = {}
    shared = _map(mapping, arrays)
    resolution = synthesis.whole("img_resolution")
    if resolution < 4 or resolution & (resolution - 1):
        raise RefusedFile(f"its resolution is {resolution}")
    levels = resolution.bit_length() - 2
    blocks = [synthesis.child(f"b{4 << level}") for level in range(levels)]
    layers: list[_Module] = []
    use_noise = "noise_const" in blocks[0].child("conv1").source
    const = blocks[0].array("const")
    arrays["synthesis.const"] = const.reshape(1, *const.shape)
    kernel = blocks[-1].array("resample_filter")
    arrays["synthesis.filter"] = np.outer(kernel, kernel) if kernel.ndim == 1 else kernel  # so from 8 taps on
    synthesis.expect(*(f"b{4 << level}" for level in range(levels)))
    for level, block in enumerate(blocks):
        block.expect("conv0", "conv1", "torgb", "skip", "const")
        here = f"synthesis.blocks.{level}."
        for name in ("conv0", "conv1") if level else ("conv1",):
            layers.append(block.child(name))
            _convolution(layers[-1], here + name + ".", use_noise, arrays)
        if "torgb" in block.children:
            layers.append(block.child("torgb"))
            _to_rgb(layers[-1], here + "to_rgb.", arrays)
        if "skip" in block.children:
            skip = block.child("skip")
            arrays[here + "skip.weight"] = skip.array("weight") * np.float32(skip.gain("weight_gain"))
    clamps = {layer.number("conv_clamp") for layer in layers}
    designs = {block.attributes.get("architecture", "skip") for block in blocks}
    slopes = {slope(layer.attributes, "activation") for layer in layers if "activation" in layer.attributes}
    if len(clamps) > 1 or len(designs) > 1 or len(slopes) != 1:
        raise RefusedFile("its layers differ in conv_clamp, architecture or activation, which is not supported")
    filter_shape = arrays["synthesis.filter"].shape
    last = arrays.get(f"synthesis.blocks.{levels - 1}.to_rgb.bias")
    architecture = Architecture(
        **shared,
        generation=2,
        resolution=resolution,
        image_channels=0 if last is None else len(last),
        channels=tuple(len(arrays[f"synthesis.blocks.{level}.conv1.bias"]) for level in range(levels)),
        const_channels=len(const),
        truncation_psi=1.0,
        truncation_cutoff=None,
        slope=slopes.pop(),
        use_noise=use_noise,
        design=str(designs.pop()),
        clamp=clamps.pop(),
        filter_shape=(filter_shape[0], filter_shape[1]) if len(filter_shape) == 2 else (0, 0),
    )
    description = GeneratorWeights(
        architecture,
        {name: np.asarray(array, np.float32, order="C") for name, array in arrays.items()},
        {"kind": "StyleGAN2-ADA, PyTorch"},
    )
    description.check()
    return description


def _map(mapping: _Module, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Adds the mapping network's arrays; returns its fields of the architecture."""
    num_layers, latent_size, label_size = (mapping.whole(key) for key in ("num_layers", "z_dim", "c_dim"))
    if not 0 <= num_layers <= MAX_MAPPING_LAYERS:
        raise RefusedFile(f"its mapping network has {num_layers} layers")
    label: dict[str, Any] = {"label": "none"}
    if label_size:
        weight, bias = mapping.child("embed").dense()
        arrays["mapping.label.weight"], arrays["mapping.label.bias"] = weight, bias
        label = {"label": "embed", "label_size": label_size, "label_features": len(bias)}
    mapping.expect("embed", "w_avg", *(f"fc{index}" for index in range(num_layers)))
    sizes = [latent_size + label.get("label_features", 0)]
    slopes = {0.2} if num_layers == 0 else set()
    for index in range(num_layers):
        layer = mapping.child(f"fc{index}")
        weight, bias = layer.dense()
        arrays[f"mapping.layers.{index}.weight"] = weight * SQRT2
        arrays[f"mapping.layers.{index}.bias"] = bias * SQRT2
        slopes.add(slope(layer.attributes, "activation"))
        sizes.append(len(bias))
    if len(slopes) > 1:
        raise RefusedFile("its mapping layers differ in their activation, which is not supported")
    below = slopes.pop()
    if "w_avg" in mapping.source:
        arrays["w_avg"] = mapping.array("w_avg")
    elif not label_size:
        arrays["w_avg"] = average_latent(arrays, num_layers, below, normalize=True)
    return {**label, "latent_size": latent_size, "mapping_sizes": tuple(sizes), "mapping_slope": below}


def _convolution(layer: _Module, here: str, use_noise: bool, arrays: dict[str, np.ndarray]) -> None:
    layer.expect("weight", "bias", "affine", "noise_const", "noise_strength")
    weight = layer.array("weight")
    arrays[here + "weight"] = weight / np.float32(math.sqrt(max(weight[0].size, 1)))  # demodulation cancels it
    arrays[here + "bias"] = layer.array("bias") * SQRT2
    arrays[here + "affine.weight"], arrays[here + "affine.bias"] = layer.child("affine").dense()
    if use_noise:
        arrays[here + "noise"] = layer.source.plane("noise_const")
        arrays[here + "noise_strength"] = layer.source.scalar("noise_strength") * SQRT2


def _to_rgb(layer: _Module, here: str, arrays: dict[str, np.ndarray]) -> None:
    layer.expect("weight", "bias", "affine")
    arrays[here + "weight"] = layer.array("weight") * np.float32(layer.gain("weight_gain"))
    arrays[here + "bias"] = layer.array("bias")
    arrays[here + "affine.weight"], arrays[here + "affine.bias"] = layer.child("affine").dense()
