"""Writes random-weight generators in the published layouts, for tests.

The classes that such files name exist only here, under the published names, and only while a file is written.
"""

import contextlib
import io
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

Variables = dict[str, np.ndarray]


class Network:
    """Stands for dnnlib.tflib.network.Network when writing."""

    static_kwargs: Any
    components: Any
    variables: Any

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


class EasyDict(dict):
    """Stands for dnnlib.util.EasyDict when writing."""


def _reconstruct_persistent_obj(meta: Any) -> None:
    raise AssertionError("a test must never unpickle with Python's own unpickler")


class Module:
    """Stands for an object of a torch_utils.persistence class when writing."""

    def __init__(self, class_name: str, **attributes: Any) -> None:
        self.class_name, self.attributes = class_name, attributes

    def __reduce__(self) -> Any:
        source = "raise SystemExit('a line of a file was run')"
        state = {"_parameters": {}, "_buffers": {}, "_modules": {}, "_backward_hooks": {}, **self.attributes}
        meta = {
            "type": "class",
            "version": 6,
            "module_src": source,
            "class_name": self.class_name,
            "state": state,
        }
        return _reconstruct_persistent_obj, (meta,)


@contextlib.contextmanager
def published_names() -> Iterator[None]:
    """While this lasts, the published modules exist, with our stand-ins inside."""
    places = {
        "dnnlib.tflib.network": Network,
        "dnnlib.util": EasyDict,
        "torch_utils.persistence": _reconstruct_persistent_obj,
    }
    made = []
    for module, thing in places.items():
        parts = module.split(".")
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            if name not in sys.modules:
                sys.modules[name] = types.ModuleType(name)
                made.append(name)
        thing.__module__ = module
        setattr(sys.modules[module], thing.__name__, thing)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


def dumps(value: Any, protocol: int = 4, old_numpy: bool = True) -> bytes:
    """A pickle as its authors' machines wrote it: with numpy 1's module names unless told otherwise."""
    with published_names():
        data = pickle.dumps(value, protocol)
    if old_numpy:
        data = data.replace(b"cnumpy._core.", b"cnumpy.core.")  # protocols 2 and 3
        for module in (b"multiarray", b"numeric"):
            new, old = b"numpy._core." + module, b"numpy.core." + module
            data = data.replace(bytes([0x8C, len(new)]) + new, bytes([0x8C, len(old)]) + old)
    return data


def network(name: str, build: str, variables: Variables, components: Any = None, **kwargs: Any) -> Network:
    return Network(
        version=kwargs.pop("version", 3),
        name=name,
        static_kwargs=kwargs,
        components=components or {},
        build_module_src="raise SystemExit('a line of a file was run')",
        build_func_name=build,
        variables=list(variables.items()),
    )


class Random:
    """Seeded numbers of a trained network's size."""

    def __init__(self, seed: int = 0) -> None:
        self.numbers = np.random.default_rng(seed)

    def __call__(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * self.numbers.standard_normal(shape, np.float32)).astype(np.float32)


def mapping_variables(
    r: Random, latent: int, w: int, layers: int, hidden: int, label: int, label_kind: str
) -> Variables:
    variables: Variables = {}
    wide = latent
    if label and label_kind == "concat":
        variables["LabelConcat/weight"] = r(label, latent)
        wide += latent
    elif label:
        variables |= {"LabelEmbed/weight": r(label, latent), "LabelEmbed/bias": r(latent)}
        wide += latent
    for index in range(layers):
        out = w if index == layers - 1 else hidden
        variables[f"Dense{index}/weight"] = r(wide, out, scale=100)  # the learning rate's multiplier is 0.01
        variables[f"Dense{index}/bias"] = r(out, scale=20)
        wide = out
    return variables


def stylegan1(
    resolution: int = 16,
    fmap_base: int = 128,
    fmap_max: int = 16,
    latent: int = 16,
    w: int = 16,
    mapping_layers: int = 2,
    mapping_fmaps: int = 16,
    label_size: int = 0,
    lod: float = 0.0,
    seed: int = 0,
    **kwargs: Any,
) -> Network:
    """A Gs of StyleGAN in the official layout; the defaults of `kwargs` are the official ones."""
    r = Random(seed)
    levels = int(np.log2(resolution)) - 1
    widths = [min(fmap_base >> level + 1, fmap_max) for level in range(levels)]
    synthesis: Variables = {"lod": np.float32(lod)}  # type: ignore[dict-item]
    for index in range(2 * levels):
        synthesis[f"noise{index}"] = r(1, 1, 4 << index // 2, 4 << index // 2)
    synthesis["4x4/Const/const"] = r(1, widths[0], 4, 4)
    for level in range(levels):
        side, out = f"{4 << level}x{4 << level}", widths[level]
        first, second = ("Conv0_up", "Conv1") if level else ("Const", "Conv")
        for place, wide in ((first, widths[level - 1] if level else 0), (second, out)):
            if wide:
                synthesis[f"{side}/{place}/weight"] = r(3, 3, wide, out)
            synthesis[f"{side}/{place}/Noise/weight"] = r(out, scale=0.3)
            synthesis[f"{side}/{place}/bias"] = r(out, scale=0.3)
            synthesis[f"{side}/{place}/StyleMod/weight"] = r(w, 2 * out)
            synthesis[f"{side}/{place}/StyleMod/bias"] = r(2 * out, scale=0.3)
        lod_here = levels - 1 - level
        synthesis[f"ToRGB_lod{lod_here}/weight"] = r(1, 1, out, 3)
        synthesis[f"ToRGB_lod{lod_here}/bias"] = r(3, scale=0.3)
    mapping = mapping_variables(r, latent, w, mapping_layers, mapping_fmaps, label_size, "concat")
    kwargs = {
        "num_channels": 3,
        "resolution": resolution,
        "label_size": label_size,
        "latent_size": latent,
        **kwargs,
    }
    components = {
        "synthesis": network("G_synthesis", "G_synthesis", synthesis, **kwargs),
        "mapping": network("G_mapping", "G_mapping", mapping, dlatent_broadcast=2 * levels, **kwargs),
    }
    own: Variables = {"lod": np.float32(lod), "dlatent_avg": r(w)}  # type: ignore[dict-item]
    return network("Gs", "G_style", own, components, **kwargs)


def stylegan2(
    resolution: int = 16,
    width: int = 12,
    latent: int = 16,
    w: int = 16,
    mapping_layers: int = 2,
    label_size: int = 0,
    design: str = "skip",
    seed: int = 0,
    label_kind: str = "concat",
    **kwargs: Any,
) -> Network:
    """A Gs of StyleGAN2 as TensorFlow wrote it."""
    r = Random(seed)
    levels = int(np.log2(resolution)) - 1
    synthesis: Variables = {
        f"noise{index}": r(1, 1, 4 << (index + 1) // 2, 4 << (index + 1) // 2) for index in range(2 * levels - 1)
    }
    synthesis["4x4/Const/const"] = r(1, width, 4, 4)
    for level in range(levels):
        side = f"{4 << level}x{4 << level}"
        for place in ("Conv0_up", "Conv1") if level else ("Conv",):
            synthesis |= {
                f"{side}/{place}/weight": r(3, 3, width, width),
                f"{side}/{place}/mod_weight": r(w, width),
                f"{side}/{place}/mod_bias": r(width, scale=0.1),
                f"{side}/{place}/noise_strength": np.float32(0.2),  # type: ignore[dict-item]
                f"{side}/{place}/bias": r(width, scale=0.3),
            }
        if design == "skip" or level == levels - 1:
            synthesis |= {
                f"{side}/ToRGB/weight": r(1, 1, width, 3),
                f"{side}/ToRGB/mod_weight": r(w, width),
                f"{side}/ToRGB/mod_bias": r(width, scale=0.1),
                f"{side}/ToRGB/bias": r(3, scale=0.3),
            }
        if design == "resnet" and level:
            synthesis[f"{side}/Skip/weight"] = r(1, 1, width, width)
    mapping = mapping_variables(r, latent, w, mapping_layers, w, label_size, label_kind)
    kwargs = {"num_channels": 3, "resolution": resolution, "label_size": label_size, "version": 4, **kwargs}
    components = {
        "synthesis": network("G_synthesis", "G_synthesis_stylegan2", synthesis, **kwargs),
        "mapping": network("G_mapping", "G_mapping", mapping, **kwargs),
    }
    own: Variables = {"lod": np.float32(0), "dlatent_avg": r(w)}  # type: ignore[dict-item]
    return network("Gs", "G_main", own, components, **kwargs)


def parameter(array: np.ndarray) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.from_numpy(np.array(array)))


def dense(weight: np.ndarray, bias: np.ndarray, lr: float = 1.0, activation: str = "linear") -> Module:
    return Module(
        "FullyConnectedLayer",
        activation=activation,
        weight_gain=lr / np.sqrt(weight.shape[1]),
        bias_gain=lr,
        _parameters={"weight": parameter(weight), "bias": parameter(bias)},
    )


def ada_from(tensorflow: Network, conv_clamp: float | None = None) -> Module:
    """The same weights as a StyleGAN2 network of `stylegan2`, as StyleGAN2-ADA's PyTorch code keeps them."""
    own, parts = dict(tensorflow.variables), tensorflow.components
    s, m = dict(parts["synthesis"].variables), dict(parts["mapping"].variables)
    taps = np.array([1, 3, 3, 1], np.float32)
    kernel = torch.from_numpy(np.outer(taps, taps) / 64)
    levels = int(np.log2(tensorflow.static_kwargs["resolution"])) - 1

    def affine(place: str) -> Module:
        return dense(s[place + "mod_weight"].T, s[place + "mod_bias"] + 1)

    def layer(place: str, noise: int, up: bool) -> Module:
        weight = s[place + "weight"][::-1, ::-1] if up else s[place + "weight"]
        return Module(
            "SynthesisLayer",
            activation="lrelu",
            conv_clamp=conv_clamp,
            _parameters={
                "weight": parameter(weight.transpose(3, 2, 0, 1)),
                "bias": parameter(s[place + "bias"]),
                "noise_strength": parameter(s[place + "noise_strength"]),
            },
            _buffers={"noise_const": torch.from_numpy(s[f"noise{noise}"][0, 0]), "resample_filter": kernel},
            _modules={"affine": affine(place)},
        )

    blocks = {}
    for level in range(levels):
        side = f"{4 << level}x{4 << level}/"
        children = {"conv1": layer(side + ("Conv1/" if level else "Conv/"), 2 * level, False)}
        if level:
            children["conv0"] = layer(side + "Conv0_up/", 2 * level - 1, True)
        rgb = side + "ToRGB/"
        children["torgb"] = Module(
            "ToRGBLayer",
            conv_clamp=conv_clamp,
            weight_gain=1 / np.sqrt(s[rgb + "weight"].shape[2]),
            _parameters={
                "weight": parameter(s[rgb + "weight"].transpose(3, 2, 0, 1)),
                "bias": parameter(s[rgb + "bias"]),
            },
            _modules={"affine": affine(rgb)},
        )
        blocks[f"b{4 << level}"] = Module(
            "SynthesisBlock",
            architecture="skip",
            _parameters={} if level else {"const": parameter(s["4x4/Const/const"][0])},
            _buffers={"resample_filter": kernel},
            _modules=children,
        )
    num_layers = sum(name.startswith("Dense") and name.endswith("weight") for name in m)
    label = len(m["LabelEmbed/weight"]) if "LabelEmbed/weight" in m else 0
    layers = {f"fc{i}": dense(m[f"Dense{i}/weight"].T, m[f"Dense{i}/bias"], 0.01, "lrelu") for i in range(num_layers)}
    if label:
        layers["embed"] = dense(m["LabelEmbed/weight"].T, m["LabelEmbed/bias"])
    latent = len(m["Dense0/weight"]) // (2 if label else 1)
    mapping = Module(
        "MappingNetwork",
        num_layers=num_layers,
        z_dim=latent,
        c_dim=label,
        w_dim=len(own["dlatent_avg"]),
        _buffers={"w_avg": torch.from_numpy(own["dlatent_avg"])},
        _modules=layers,
    )
    synthesis = Module("SynthesisNetwork", img_resolution=4 << levels - 1, _modules=blocks)
    return Module(
        "Generator", _modules={"synthesis": synthesis, "mapping": mapping}, _init_kwargs=EasyDict(c_dim=label)
    )


def ada_snapshot(generator: Module) -> dict[str, Any]:
    return {
        "training_set_kwargs": EasyDict(path="x"),
        "G": None,
        "D": None,
        "G_ema": generator,
        "augment_pipe": None,
    }


def rosinality_from(tensorflow: Network) -> dict[str, torch.Tensor]:
    """The same weights as a StyleGAN2 network of `stylegan2`, as rosinality's port keeps them."""
    parts = tensorflow.components
    s, m = dict(parts["synthesis"].variables), dict(parts["mapping"].variables)
    taps = np.array([1, 3, 3, 1], np.float32)
    state: dict[str, np.ndarray] = {}
    for name, value in m.items():
        index, kind = int(name[5 : name.index("/")]), name.split("/")[1]
        state[f"style.{index + 1}.{kind}"] = value.T if kind == "weight" else value
    state["input.input"] = s["4x4/Const/const"]
    levels = int(np.log2(tensorflow.static_kwargs["resolution"])) - 1
    for level in range(levels):
        side = f"{4 << level}x{4 << level}/"
        convs = (
            {f"convs.{2 * level - 2}.": "Conv0_up/", f"convs.{2 * level - 1}.": "Conv1/"}
            if level
            else {"conv1.": "Conv/"}
        )
        for ours, theirs in convs.items():
            weight = s[side + theirs + "weight"]
            weight = weight[::-1, ::-1] if theirs == "Conv0_up/" else weight
            state[ours + "conv.weight"] = weight.transpose(3, 2, 0, 1)[None]
            state[ours + "conv.modulation.weight"] = s[side + theirs + "mod_weight"].T
            state[ours + "conv.modulation.bias"] = s[side + theirs + "mod_bias"] + 1
            state[ours + "noise.weight"] = s[side + theirs + "noise_strength"].reshape(1)
            state[ours + "activate.bias"] = s[side + theirs + "bias"]
            if theirs == "Conv0_up/":
                state[ours + "conv.blur.kernel"] = np.outer(taps, taps) / 16
        ours = f"to_rgbs.{level - 1}." if level else "to_rgb1."
        state[ours + "conv.weight"] = s[side + "ToRGB/weight"].transpose(3, 2, 0, 1)[None]
        state[ours + "conv.modulation.weight"] = s[side + "ToRGB/mod_weight"].T
        state[ours + "conv.modulation.bias"] = s[side + "ToRGB/mod_bias"] + 1
        state[ours + "bias"] = s[side + "ToRGB/bias"].reshape(1, 3, 1, 1)
    state |= {f"noises.noise_{i}": s[f"noise{i}"] for i in range(2 * levels - 1)}
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()}


def torch_bytes(value: Any, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def write_official_stylegan1(path: Path) -> None:
    """The layout of karras2019stylegan-ffhq-1024x1024.pkl, with random weights; G and D are Gs too."""
    gs = stylegan1(1024, 8192, 512, 512, 512, 8, 512)
    path.write_bytes(dumps((gs, gs, gs)))
