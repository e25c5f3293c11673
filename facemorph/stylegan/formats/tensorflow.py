"""TensorFlow pickles of NVIDIA: StyleGAN, StyleGAN2 (all its configurations) and StyleGAN2-ADA.

A pickle contains (G, D, Gs); Gs is the moving average of G that is used for images. A dense layer's weight is
[in, out], a convolution's [height, width, in, out].
"""

import math
import re
from typing import Any

import numpy as np

from facemorph.errors import RefusedFile
from facemorph.stylegan.formats.pickle_machine import Budget
from facemorph.stylegan.formats.stubs import Array, Record, find_record
from facemorph.stylegan.formats.weight_source import WeightSource, average_latent, count, number, slope, taps
from facemorph.stylegan.networks.architecture import Architecture, GeneratorWeights

SQRT2 = math.sqrt(2)
FUSED_FROM_PX = 128  # StyleGAN 1's fused_scale "auto"


def find(value: Any) -> Record | None:
    """The generator's record, if a TensorFlow pickle of NVIDIA contains `value`."""
    record = find_record(value)
    return record if record is not None and record.kind == "Network" else None


def describe(network: Record, budget: Budget) -> GeneratorWeights:
    """The generator in a record of `find`.

    Raises:
        RefusedFile: it is none of the known generators.
    """
    source, top, mapping, synthesis = _unpack(network, budget)
    settings = {**mapping, **synthesis, **top}  # those of the top network override its components'
    if "synthesis/4x4/Conv/StyleMod/weight" in source:
        return _StyleGAN1(source, settings).describe()
    if "synthesis/4x4/Conv/mod_weight" in source:
        return _StyleGAN2(source, settings).describe()
    name = str(network.state.get("build_func_name"))[:60]
    raise RefusedFile(f"its network is built by {name!r} and is not a StyleGAN or StyleGAN2 generator")


def _unpack(network: Record, budget: Budget) -> tuple[WeightSource, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """All variables, those of the components as "mapping/..." and "synthesis/...", and the three sets of settings."""
    if network.state.get("version") not in (2, 3, 4, 5):
        raise RefusedFile(f"its network is of version {str(network.state.get('version'))[:20]}; 2 to 5 are supported")
    components = network.state.get("components") or {}  # absent in the oldest files
    arrays: dict[str, Array] = {}
    settings = []
    for prefix, part in (
        ("", network),
        *((name + "/", components.get(name)) for name in ("mapping", "synthesis")),
    ):
        state = part.state if isinstance(part, Record) else {}
        given, variables = state.get("static_kwargs") or {}, state.get("variables") or []
        if not isinstance(given, dict) or not isinstance(variables, list):
            raise RefusedFile("its network is of unknown form")
        settings.append(given)
        for item in variables:
            if not isinstance(item, tuple) or len(item) != 2 or not isinstance(item[0], str):
                raise RefusedFile("its network's variables are of unknown form")
            if isinstance(item[1], Array):
                arrays[prefix + re.sub(r"^G_(mapping|synthesis)/", r"\1/", item[0])] = item[1]
    return WeightSource(arrays, budget), settings[0], settings[1], settings[2]


class _Generator:
    """The common parts of both generations."""

    generation: int
    weight_gain: float  # of mapping layers, in the weight
    output_gain: float  # of mapping layers, on the output

    def __init__(self, source: WeightSource, settings: dict[str, Any]) -> None:
        self.source, self.settings = source, settings
        self.resolution = max(int(m[1]) for name in source.arrays if (m := re.match(r"synthesis/(\d{1,5})x\1/", name)))
        self.levels = self.resolution.bit_length() - 2
        self.num_mapping = count(lambda i: f"mapping/Dense{i}/weight", source)
        self.arrays: dict[str, np.ndarray] = {}

    def flag(self, key: str, default: bool) -> bool:
        return bool(self.settings.get(key, default))

    def scaled(self, name: str, gain: float = 1.0, lrmul: float = 1.0) -> np.ndarray:
        """A weight with its equalised learning rate folded in, axes as stored."""
        weight = self.source.array(name)
        wide = math.prod(weight.shape[:-1])
        return weight * np.float32((gain / math.sqrt(wide) if self.flag("use_wscale", True) else 1.0) * lrmul)

    def dense(self, name: str, gain: float = 1.0, lrmul: float = 1.0) -> np.ndarray:
        weight = self.scaled(name, gain, lrmul)
        if weight.ndim != 2:
            raise RefusedFile(f"its array {name[:100]} is of shape {weight.shape}; [in, out] was expected")
        return weight.T  # [out, in]

    def kernel(self, name: str, gain: float = 1.0, mirrored: bool = False) -> np.ndarray:
        weight = self.scaled(name, gain)
        if weight.ndim != 4:
            raise RefusedFile(
                f"its array {name[:100]} is of shape {weight.shape}; [height, width, in, out] was expected"
            )
        return (weight[::-1, ::-1] if mirrored else weight).transpose(3, 2, 0, 1)  # [out, in, height, width]

    def map(self) -> dict[str, Any]:
        """Adds the mapping network's arrays; returns its fields of the architecture."""
        source = self.source
        lrmul = number(self.settings, "mapping_lrmul", 0.01)
        sizes: list[int] = []
        for index in range(self.num_mapping):
            weight = self.dense(f"mapping/Dense{index}/weight", self.weight_gain, lrmul)
            bias = source.array(f"mapping/Dense{index}/bias") * np.float32(lrmul)
            self.arrays[f"mapping.layers.{index}.weight"] = weight * np.float32(self.output_gain)
            self.arrays[f"mapping.layers.{index}.bias"] = bias * np.float32(self.output_gain)
            sizes = [*(sizes or [weight.shape[1]]), weight.shape[0]]
        label: dict[str, Any] = {"label": "none"}
        if "mapping/LabelConcat/weight" in source:
            self.arrays["mapping.label.weight"] = source.array("mapping/LabelConcat/weight").T
            label["label"] = "concat"
        elif "mapping/LabelEmbed/weight" in source:  # StyleGAN2-ADA
            self.arrays["mapping.label.weight"] = self.dense("mapping/LabelEmbed/weight")
            self.arrays["mapping.label.bias"] = source.array("mapping/LabelEmbed/bias")
            label["label"] = "embed"
        features = 0
        if label["label"] != "none":
            features, size = self.arrays["mapping.label.weight"].shape
            label |= {"label_size": size, "label_features": features}
        if not sizes:
            sizes = [number(self.settings, "latent_size", 512) + features]
        normalize = self.flag("normalize_latents", True)
        below = slope(self.settings, "mapping_nonlinearity")
        if "dlatent_avg" in source:
            self.arrays["w_avg"] = source.array("dlatent_avg")
        elif label["label"] == "none":
            self.arrays["w_avg"] = average_latent(self.arrays, self.num_mapping, below, normalize)
        return {
            **label,
            "generation": self.generation,
            "resolution": self.resolution,
            "latent_size": sizes[0] - features,
            "mapping_sizes": tuple(sizes),
            "normalize_latents": normalize,
            "mapping_slope": below,
            "slope": slope(self.settings, "nonlinearity"),
            "use_noise": "synthesis/noise0" in source,
        }

    def truncation(self, psi: float, cutoff: int | None) -> dict[str, Any]:
        psi = number(self.settings, "truncation_psi", psi)
        cutoff = number(self.settings, "truncation_cutoff", cutoff)
        return {
            "truncation_psi": 1.0 if psi is None else float(psi),
            "truncation_cutoff": None if cutoff is None else int(cutoff),
        }

    def finish(self, architecture: Architecture, kind: str) -> GeneratorWeights:
        architecture.check()
        layers = re.compile(r"synthesis/\d+x\d+/")  # beside them are averages, and outputs that smaller images needed
        others = tuple(name for name in self.source.arrays if not layers.match(name))
        self.source.refuse_unused("/noise_strength", "/Noise/weight", *others)
        arrays = {name: np.asarray(array, np.float32, order="C") for name, array in self.arrays.items()}
        description = GeneratorWeights(architecture, arrays, {"kind": kind})
        description.check()
        return description


class _StyleGAN1(_Generator):
    generation, weight_gain, output_gain = 1, SQRT2, 1.0

    def describe(self) -> GeneratorWeights:
        for key, run in (("use_styles", True), ("const_input_layer", True)):
            if self.flag(key, run) != run:
                raise RefusedFile(f"its setting {key} is {not run}, which is not supported")
        shared = self.map()
        source, arrays = self.source, self.arrays
        arrays["synthesis.const"] = source.array("synthesis/4x4/Const/const")
        places = ["4x4/Const", "4x4/Conv"]
        for level in range(1, self.levels):
            places += [f"{4 << level}x{4 << level}/Conv0_up", f"{4 << level}x{4 << level}/Conv1"]
        for index, place in enumerate(places):
            there, here = f"synthesis/{place}/", f"synthesis.layers.{index}."
            if index:
                mirrored = place.endswith("_up") and self._is_fused(4 << index // 2)
                arrays[here + "weight"] = self.kernel(there + "weight", SQRT2, mirrored)
            arrays[here + "bias"] = source.array(there + "bias")
            arrays[here + "style.weight"] = self.dense(there + "StyleMod/weight")
            style_bias = source.array(there + "StyleMod/bias")
            style_bias[: len(style_bias) // 2] += 1  # the scale's
            arrays[here + "style.bias"] = style_bias
            if shared["use_noise"]:
                arrays[here + "noise"] = source.plane(f"synthesis/noise{index}")
                arrays[here + "noise_strength"] = source.array(there + "Noise/weight")
        lods = tuple(lod for lod in range(self.levels) if f"synthesis/ToRGB_lod{lod}/weight" in source)
        for lod in lods:
            there, here = f"synthesis/ToRGB_lod{lod}/", f"synthesis.to_rgb.{lod}."
            arrays[here + "weight"] = self.kernel(there + "weight")
            arrays[here + "bias"] = source.array(there + "bias")
        if not lods:
            raise RefusedFile("its network has no output layer")
        lod = next((float(source.scalar(name)) for name in ("lod", "synthesis/lod") if name in source), 0.0)
        architecture = Architecture(
            **shared,
            **self.truncation(0.7, 8),
            image_channels=arrays[f"synthesis.to_rgb.{lods[0]}.bias"].shape[0],
            channels=tuple(len(arrays[f"synthesis.layers.{2 * level + 1}.bias"]) for level in range(self.levels)),
            const_channels=len(arrays["synthesis.layers.0.bias"]),
            blur=tuple(taps(self.settings, "blur_filter", [1, 2, 1], []).tolist()),
            instance_norm=self.flag("use_instance_norm", True),
            pixel_norm=self.flag("use_pixel_norm", False),
            lod=lod,
            to_rgb_lods=lods,
        )
        return self.finish(architecture, "StyleGAN, TensorFlow")

    def _is_fused(self, out_px: int) -> bool:
        """Whether up-sampling is fused: the kernel is then stored mirrored in both axes."""
        fused = self.settings.get("fused_scale", "auto")
        return out_px >= FUSED_FROM_PX if fused == "auto" else bool(fused)


class _StyleGAN2(_Generator):
    generation, weight_gain, output_gain = 2, 1.0, SQRT2

    def describe(self) -> GeneratorWeights:
        shared = self.map()
        source, arrays = self.source, self.arrays
        root2 = np.float32(SQRT2)
        last = self.resolution
        if "synthesis/ToRGB_lod0/weight" in source:  # configurations B to D, made with progressive growing
            if any(float(source.scalar(name)) != 0 for name in ("lod", "synthesis/lod") if name in source):
                raise RefusedFile("its progressive growing has not ended, which is not supported for StyleGAN2")
            for part in ("weight", "bias", "mod_weight", "mod_bias"):
                source.arrays[f"synthesis/{last}x{last}/ToRGB/{part}"] = source.arrays[f"synthesis/ToRGB_lod0/{part}"]
        design = "skip" if "synthesis/4x4/ToRGB/weight" in source else "orig"
        if f"synthesis/{last}x{last}/Skip/weight" in source:
            design = "resnet"
        filter_taps = taps(self.settings, "resample_kernel", [1, 3, 3, 1], [1, 1])
        arrays["synthesis.filter"] = np.outer(filter_taps, filter_taps)
        arrays["synthesis.const"] = source.array("synthesis/4x4/Const/const")
        for level in range(self.levels):
            side = f"{4 << level}x{4 << level}"
            convs = {"conv0": (f"{side}/Conv0_up", 2 * level - 1), "conv1": (f"{side}/Conv1", 2 * level)}
            for conv, (place, noise) in convs.items() if level else [("conv1", ("4x4/Conv", 0))]:
                there, here = f"synthesis/{place}/", f"synthesis.blocks.{level}.{conv}."
                arrays[here + "weight"] = self.kernel(there + "weight", mirrored=conv == "conv0")
                arrays[here + "bias"] = source.array(there + "bias") * root2
                self._affine(there, here)
                if shared["use_noise"]:
                    arrays[here + "noise"] = source.plane(f"synthesis/noise{noise}")
                    arrays[here + "noise_strength"] = source.scalar(there + "noise_strength") * root2
            if design == "skip" or level == self.levels - 1:
                there, here = f"synthesis/{side}/ToRGB/", f"synthesis.blocks.{level}.to_rgb."
                arrays[here + "weight"] = self.kernel(there + "weight")
                arrays[here + "bias"] = source.array(there + "bias")
                self._affine(there, here)
            if design == "resnet" and level:
                arrays[f"synthesis.blocks.{level}.skip.weight"] = self.kernel(f"synthesis/{side}/Skip/weight")
        architecture = Architecture(
            **shared,
            **self.truncation(0.5, None),
            image_channels=arrays[f"synthesis.blocks.{self.levels - 1}.to_rgb.bias"].shape[0],
            channels=tuple(len(arrays[f"synthesis.blocks.{level}.conv1.bias"]) for level in range(self.levels)),
            const_channels=arrays["synthesis.const"].shape[1],
            design=design,
            clamp=number(self.settings, "conv_clamp", None),
            filter_shape=(len(filter_taps), len(filter_taps)),
        )
        return self.finish(architecture, "StyleGAN2, TensorFlow")

    def _affine(self, there: str, here: str) -> None:
        self.arrays[here + "affine.weight"] = self.dense(there + "mod_weight")
        self.arrays[here + "affine.bias"] = self.source.array(there + "mod_bias") + 1
