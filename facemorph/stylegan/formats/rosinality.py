"""State dictionaries of rosinality's stylegan2-pytorch, also the decoder in e4e and pSp checkpoints."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from facemorph.errors import RefusedFile
from facemorph.stylegan.formats.pickle_machine import Budget
from facemorph.stylegan.formats.stubs import Array
from facemorph.stylegan.formats.weight_source import WeightSource, average_latent, count
from facemorph.stylegan.networks.architecture import Architecture, GeneratorWeights

SQRT2 = np.float32(math.sqrt(2))
# Not needed: filters that all layers share, and what a flat checkpoint has beside the generator.
SPARE = (".blur.kernel", ".upsample.kernel", "latent_avg", "truncation_latent", "mean_latent")
MAPPING_LR = 0.01  # not stored; every published file has this


@dataclass(frozen=True)
class Checkpoint:
    """The generator's state dictionary in a checkpoint, and the checkpoint's latent_avg, None without one."""

    state: dict[str, Any]
    latent_avg: Any


def find(value: Any) -> Checkpoint | None:
    """The generator, if a checkpoint of rosinality's code, e4e or pSp contains `value`."""
    if not isinstance(value, dict):
        return None
    candidates = [value.get(key) for key in ("g_ema", "g", "state_dict")] + [value]
    for state in candidates:
        if not isinstance(state, dict):
            continue
        for prefix in ("", "module.", "decoder."):
            if f"{prefix}input.input" in state and f"{prefix}conv1.conv.weight" in state:
                names = [name for name in state if isinstance(name, str) and name.startswith(prefix)]
                return Checkpoint({name[len(prefix) :]: state[name] for name in names}, value.get("latent_avg"))
    return None


def describe(checkpoint: Checkpoint, budget: Budget) -> GeneratorWeights:
    """The generator in a checkpoint of `find`.

    Raises:
        RefusedFile: it is not such a generator.
    """
    source, average = WeightSource(checkpoint.state, budget), checkpoint.latent_avg
    arrays: dict[str, np.ndarray] = {}
    num_mapping = count(lambda i: f"style.{i}.weight", source, start=1)  # style.0 is the normalisation
    sizes: list[int] = []
    for index in range(num_mapping):
        weight = source.array(f"style.{index + 1}.weight")
        if weight.ndim != 2:
            raise RefusedFile(f"its array style.{index + 1}.weight is of shape {weight.shape}")
        arrays[f"mapping.layers.{index}.weight"] = weight * np.float32(MAPPING_LR / math.sqrt(weight.shape[1])) * SQRT2
        arrays[f"mapping.layers.{index}.bias"] = (
            source.array(f"style.{index + 1}.bias") * np.float32(MAPPING_LR) * SQRT2
        )
        sizes = [*(sizes or [weight.shape[1]]), weight.shape[0]]
    levels = 1 + count(lambda i: f"convs.{2 * i}.conv.weight", source)
    arrays["synthesis.const"] = source.array("input.input")
    kernel = source.array("convs.0.conv.blur.kernel") if levels > 1 else np.ones((4, 4), np.float32)
    if abs(kernel.sum()) < 1e-6:
        raise RefusedFile("its up-sampling filter sums to 0")
    arrays["synthesis.filter"] = kernel / kernel.sum()  # stored 4 times as large
    for level in range(levels):
        here = f"synthesis.blocks.{level}."
        convs = (
            {"conv0.": f"convs.{2 * level - 2}.", "conv1.": f"convs.{2 * level - 1}."}
            if level
            else {"conv1.": "conv1."}
        )
        for place, (conv, there) in enumerate(convs.items(), max(2 * level - 1, 0)):
            arrays[here + conv + "weight"] = _kernel(source, there + "conv.weight")
            arrays[here + conv + "bias"] = source.array(there + "activate.bias").reshape(-1) * SQRT2
            _affine(source, there + "conv.modulation.", here + conv, arrays)
            arrays[here + conv + "noise_strength"] = source.scalar(there + "noise.weight") * SQRT2
            arrays[here + conv + "noise"] = _noise(source, place)
        there = f"to_rgbs.{level - 1}." if level else "to_rgb1."
        arrays[here + "to_rgb.weight"] = _kernel(source, there + "conv.weight")
        arrays[here + "to_rgb.bias"] = source.array(there + "bias").reshape(-1)
        _affine(source, there + "conv.modulation.", here + "to_rgb.", arrays)
    source.refuse_unused(*SPARE)
    if not sizes:
        sizes = [arrays["synthesis.blocks.0.conv1.affine.weight"].shape[1]]
    if isinstance(average, Array):
        rows = WeightSource({"latent_avg": average}, budget).array("latent_avg")
        rows = rows.reshape(-1, rows.shape[-1]) if rows.ndim else rows.reshape(1, 1)  # e4e repeats it for each layer
        if not np.allclose(rows, rows[:1], atol=1e-5):
            raise RefusedFile("its average latent differs between layers, which is not supported")
        arrays["w_avg"] = rows[0]
    else:
        arrays["w_avg"] = average_latent(arrays, num_mapping, 0.2, normalize=True)
    architecture = Architecture(
        generation=2,
        resolution=4 << (levels - 1),
        image_channels=len(arrays["synthesis.blocks.0.to_rgb.bias"]),
        latent_size=sizes[0],
        mapping_sizes=tuple(sizes),
        channels=tuple(len(arrays[f"synthesis.blocks.{level}.conv1.bias"]) for level in range(levels)),
        const_channels=arrays["synthesis.const"].shape[1],
        truncation_psi=1.0,
        truncation_cutoff=None,
        filter_shape=(kernel.shape[0], kernel.shape[1]) if kernel.ndim == 2 else (0, 0),
    )
    description = GeneratorWeights(
        architecture,
        {name: np.asarray(array, np.float32, order="C") for name, array in arrays.items()},
        {"kind": "StyleGAN2, rosinality"},
    )
    description.check()
    return description


def _kernel(source: WeightSource, name: str) -> np.ndarray:
    """[1, out, in, height, width], to which the equalised learning rate is applied before demodulation."""
    weight = source.array(name)
    if weight.ndim != 5 or weight.shape[0] != 1:
        raise RefusedFile(
            f"its array {name[:100]} is of shape {weight.shape}; [1, out, in, height, width] was expected"
        )
    return weight[0] * np.float32(1 / math.sqrt(math.prod(weight.shape[2:])))


def _affine(source: WeightSource, there: str, here: str, arrays: dict[str, np.ndarray]) -> None:
    weight = source.array(there + "weight")
    arrays[here + "affine.weight"] = weight * np.float32(1 / math.sqrt(max(weight.shape[-1:] or (1,))))
    arrays[here + "affine.bias"] = source.array(there + "bias")


def _noise(source: WeightSource, index: int) -> np.ndarray:
    """The fixed noise of a layer; seeded noise for the oldest checkpoints, which have none."""
    name = f"noises.noise_{index}"
    if name in source:
        return source.plane(name)
    side = 4 << (index + 1) // 2
    return np.random.RandomState(index).randn(side, side).astype(np.float32)
