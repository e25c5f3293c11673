"""StyleGAN and StyleGAN2 once more, in numpy and float64, from TensorFlow's variables and settings.

Written for comparison: as the papers and the published settings say it, slowly, sharing nothing
with the package.
"""

from typing import Any

import numpy as np

Values = Any  # float64 arrays
SLOPES = {"lrelu": 0.2, "relu": 0.0}


def _unpack(network: Any) -> tuple[dict[str, Values], dict[str, Values], dict[str, Values], Any]:
    parts = network.components
    groups = (network.variables, parts["mapping"].variables, parts["synthesis"].variables)
    own, mapping, synthesis = ({name: np.float64(value) for name, value in group} for group in groups)
    return own, mapping, synthesis, network.static_kwargs


def _unit(x: Values) -> Values:
    return x / np.sqrt(np.mean(x**2, 1, keepdims=True) + 1e-8)


def _act(x: Values, name: str) -> Values:
    return np.where(x < 0, SLOPES[name] * x, x)


def _coefficient(weight: Values, settings: Any, gain: float) -> float:
    return gain / np.sqrt(np.prod(weight.shape[:-1])) if settings.get("use_wscale", True) else 1.0


def _conv(x: Values, weight: Values) -> Values:
    """Correlation with [k, k, in, out], zero-padded to the same size."""
    k = len(weight)
    before, after = (k - 1) // 2, k // 2
    padded = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    height, width = x.shape[2:]
    return sum(
        np.einsum("nchw,co->nohw", padded[:, :, i : i + height, j : j + width], weight[i, j])
        for i in range(k)
        for j in range(k)
    )


def _scatter(x: Values, weight: Values) -> Values:
    """Transposed convolution of stride 2: every pixel leaves its kernel [k, k, in, out] behind."""
    n, _, height, width = x.shape
    k, out = len(weight), weight.shape[3]
    y = np.zeros((n, out, 2 * height - 2 + k, 2 * width - 2 + k))
    for i in range(k):
        for j in range(k):
            y[:, :, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2] += np.einsum(
                "nchw,co->nohw", x, weight[i, j]
            )
    return y


def _each(kernel: Values, channels: int) -> Values:
    return np.einsum("ij,co->ijco", kernel, np.eye(channels))


def mapping(network: Any, z: Values, label: Values = None) -> Values:
    _, m, _, settings = _unpack(network)
    x = np.float64(z)
    normal = settings.get("normalize_latents", True)
    if "LabelConcat/weight" in m:
        x = np.concatenate([x, label @ m["LabelConcat/weight"]], 1)
        x = _unit(x) if normal else x
    elif "LabelEmbed/weight" in m:
        weight = m["LabelEmbed/weight"]
        embedded = label @ weight / np.sqrt(len(weight)) + m["LabelEmbed/bias"]
        x = np.concatenate([_unit(x) if normal else x, _unit(embedded)], 1)
    elif normal:
        x = _unit(x)
    second = "4x4/Conv/mod_weight" in _unpack(network)[2]
    rate = settings.get("mapping_lrmul", 0.01)
    for index in range(sum(name.startswith("Dense") for name in m) // 2):
        weight = m[f"Dense{index}/weight"]
        x = x @ weight * (_coefficient(weight, settings, 1 if second else np.sqrt(2)) * rate)
        x = _act(x + m[f"Dense{index}/bias"] * rate, settings.get("mapping_nonlinearity", "lrelu"))
        x = x * (np.sqrt(2) if second else 1)
    return x


def synthesis1(network: Any, latents: Values, noise: bool = True) -> Values:
    own, _, s, settings = _unpack(network)
    act = settings.get("nonlinearity", "lrelu")
    levels = int(np.log2(settings["resolution"])) - 1
    x = np.repeat(s["4x4/Const/const"], len(latents), 0)
    images = []
    for index in range(2 * levels):
        level = index // 2
        place = f"{4 << level}x{4 << level}/" + (("Const", "Conv"), ("Conv0_up", "Conv1"))[level > 0][index % 2] + "/"
        if index:
            weight = s[place + "weight"]
            weight = weight * _coefficient(weight, settings, np.sqrt(2))
            x = _up1(x, weight, settings) if place.endswith("_up/") else _conv(x, weight)
        if noise and "noise0" in s:
            x = x + s[f"noise{index}"] * s[place + "Noise/weight"][:, None, None]
        x = _act(x + s[place + "bias"][:, None, None], act)
        if settings.get("use_pixel_norm", False):
            x = _unit(x)
        if settings.get("use_instance_norm", True):
            x = x - x.mean((2, 3), keepdims=True)
            x = x / np.sqrt(np.mean(x**2, (2, 3), keepdims=True) + 1e-8)
        weight = s[place + "StyleMod/weight"]
        style = latents[:, index] @ weight * _coefficient(weight, settings, 1) + s[place + "StyleMod/bias"]
        scale, shift = np.split(style[:, :, None, None], 2, 1)
        x = x * (scale + 1) + shift
        if index % 2:
            lod = levels - 1 - level
            weight = s[f"ToRGB_lod{lod}/weight"]
            colours = _conv(x, weight * _coefficient(weight, settings, 1)) + s[f"ToRGB_lod{lod}/bias"][:, None, None]
            images.append((lod, colours))
    result = images[0][1]
    for lod, image in images[1:]:  # StyleGAN's "linear" structure
        result = result.repeat(2, 2).repeat(2, 3)
        result = image + (result - image) * np.clip(own["lod"] - lod, 0, 1)
    return result


def _up1(x: Values, weight: Values, settings: Any) -> Values:
    fused = settings.get("fused_scale", "auto")
    if fused == "auto":
        fused = 2 * x.shape[2] >= 128
    if fused:
        w = np.pad(weight, ((1, 1), (1, 1), (0, 0), (0, 0)))
        w = w[1:, 1:] + w[:-1, 1:] + w[1:, :-1] + w[:-1, :-1]
        x = _scatter(x, w)[:, :, 1:-1, 1:-1]
    else:
        x = _conv(x.repeat(2, 2).repeat(2, 3), weight)
    taps = settings.get("blur_filter", [1, 2, 1])
    if taps:
        kernel = np.outer(taps, taps) / np.sum(taps) ** 2
        x = _conv(x, _each(kernel, x.shape[1]))
    return x


def synthesis2(network: Any, latents: Values, noise: bool = True, clamp: float | None = None) -> Values:
    _, _, s, settings = _unpack(network)
    act = settings.get("nonlinearity", "lrelu")
    clamp = settings.get("conv_clamp", clamp)
    taps = settings.get("resample_kernel", [1, 3, 3, 1]) or [1, 1]
    kernel = 4 * np.outer(taps, taps) / np.sum(taps) ** 2
    levels = int(np.log2(settings["resolution"])) - 1
    width = len(latents[0, 0])

    def bounded(x: Values) -> Values:
        return x if clamp is None else np.clip(x, -clamp, clamp)

    def modulated(x: Values, place: str, w: Values, up: bool, demodulate: bool = True) -> Values:
        weight = s[place + "weight"] / np.sqrt(np.prod(s[place + "weight"].shape[:-1]))
        style = w @ s[place + "mod_weight"] / np.sqrt(width) + s[place + "mod_bias"] + 1
        images = []
        for image, scale in zip(x, style, strict=True):  # every image has weights of its own
            own = weight * scale[:, None]
            if demodulate:
                own = own / np.sqrt((own**2).sum((0, 1, 2)) + 1e-8)
            images.append(_filtered(image[None], own) if up else _conv(image[None], own))
        return np.concatenate(images)

    def _filtered(x: Values, weight: Values) -> Values:
        n = len(taps)
        y = _scatter(x, weight[::-1, ::-1])
        before, after = (n + 1) // 2 - 1, (n - 2) // 2
        padded = np.pad(y, ((0, 0), (0, 0), (before, after), (before, after)))
        flipped = kernel[::-1, ::-1]
        side = 2 * x.shape[2]
        return sum(flipped[i, j] * padded[:, :, i : i + side, j : j + side] for i in range(n) for j in range(n))

    def doubled(x: Values) -> Values:
        n = len(taps)
        y: Values = np.zeros((*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]))
        y[:, :, ::2, ::2] = x
        before, after = (n + 1) // 2, (n - 2) // 2
        padded = np.pad(y, ((0, 0), (0, 0), (before, after), (before, after)))
        flipped = kernel[::-1, ::-1]
        side = y.shape[2]
        return sum(flipped[i, j] * padded[:, :, i : i + side, j : j + side] for i in range(n) for j in range(n))

    def layer(x: Values, place: str, index: int, up: bool = False) -> Values:
        x = modulated(x, place, latents[:, index], up)
        if noise:
            x = x + s[f"noise{index}"] * s[place + "noise_strength"]
        return bounded(_act(x + s[place + "bias"][:, None, None], act) * np.sqrt(2))

    x, image = np.repeat(s["4x4/Const/const"], len(latents), 0), None
    for level in range(levels):
        side, before = f"{4 << level}x{4 << level}/", x
        if level:
            x = layer(x, side + "Conv0_up/", 2 * level - 1, up=True)
        x = layer(x, side + ("Conv1/" if level else "Conv/"), 2 * level)
        if side + "Skip/weight" in s:
            weight = s[side + "Skip/weight"]
            x = (x + doubled(_conv(before, weight / np.sqrt(weight.shape[2])))) / np.sqrt(2)
        image = None if image is None else doubled(image)
        if side + "ToRGB/weight" in s:
            colours = modulated(x, side + "ToRGB/", latents[:, 2 * level + 1], False, demodulate=False)
            colours = bounded(colours + s[side + "ToRGB/bias"][:, None, None])
            image = colours if image is None else image + colours
    assert image is not None
    return image
