"""dlib's serialised networks, as far as its detector and descriptor need them; the paths of the installed files."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facemorph.faces.dlib_reader import Reader
from facemorph.files import find_in_package

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Convolution:
    """A `con` layer: weight float32 [out, in, k, k], bias float32 [out]; stride and padding are those of both axes."""

    weight: np.ndarray
    bias: np.ndarray
    stride: int
    padding: int

    def module(self) -> "nn.Conv2d":
        """The layer in PyTorch, frozen."""
        import torch
        from torch import nn

        filters, channels, size_px, _ = self.weight.shape
        layer = nn.Conv2d(channels, filters, size_px, self.stride, self.padding)
        layer.weight = nn.Parameter(torch.tensor(self.weight), requires_grad=False)
        layer.bias = nn.Parameter(torch.tensor(self.bias), requires_grad=False)
        return layer


@dataclass(frozen=True)
class Affine:
    """An `affine` layer, x * gamma + beta: float32 [channels] each."""

    gamma: np.ndarray
    beta: np.ndarray


Layer = Convolution | Affine | np.ndarray | None  # array: fully connected [in, out]; None: no parameters


@dataclass(frozen=True)
class MmodFile:
    """The contents of `mmod_human_face_detector.dat`.

    Attributes:
        window: width and height of the sliding window in px.
        overlap, covered: of two boxes the one with the lower score is dropped where their intersection over their
            bounding box is above `overlap`, or over either box above `covered`.
        mean_rgb: subtracted from the pixels, 0 to 255.
        convolutions: from the image on, with affine layers folded in.
    """

    window: tuple[int, int]
    overlap: float
    covered: float
    mean_rgb: tuple[float, float, float]
    convolutions: list[Convolution]


@dataclass(frozen=True)
class ResnetFile:
    """The contents of `dlib_face_recognition_resnet_model_v1.dat`.

    Attributes:
        mean_rgb: subtracted from the pixels, 0 to 255.
        convolutions: from the image on, with affine layers folded in.
        last: the fully connected layer, float32 [256, 128].
    """

    mean_rgb: tuple[float, float, float]
    convolutions: list[Convolution]
    last: np.ndarray


def read_mmod(path: Path) -> MmodFile:
    """dlib's MMOD face detector from its file.

    Raises:
        InputError: the file is damaged, cut short, or another network.
    """
    return parse_mmod(path.read_bytes(), str(path))


def parse_mmod(data: bytes, name: str) -> MmodFile:
    """As `read_mmod`, for bytes in memory; `name` is for messages."""
    read = Reader(data, name)
    read.one_of("the version of the network", 1)
    read.name("loss_mmod_")
    read.one_of("the version of the options", 1)
    window = (read.count("the window's width", 1000), read.count("the window's height", 1000))
    for _ in range(3):  # two losses and a threshold, for training only
        read.float()
    overlap, covered = read.float(), read.float()
    for _ in range(2):  # which boxes training ignored
        read.float()
    kinds = ["con", "affine", "relu"] * 6 + ["con"]
    _versions(read, kinds)
    read.name("input_rgb_image_pyramid")
    mean_rgb = (read.float(), read.float(), read.float())
    layers = _contents(read, kinds)
    read.end()
    return MmodFile(window, overlap, covered, mean_rgb, _folded(layers))


def read_resnet(path: Path) -> ResnetFile:
    """dlib's face descriptor from its file.

    Raises:
        InputError: the file is damaged, cut short, or another network.
    """
    return parse_resnet(path.read_bytes(), str(path))


def parse_resnet(data: bytes, name: str) -> ResnetFile:
    """As `read_resnet`, for bytes in memory; `name` is for messages."""
    read = Reader(data, name)
    read.one_of("the version of the network", 1)
    if read.name("loss_metric_", "loss_metric_2") == "loss_metric_2":
        for _ in range(2):  # margin and threshold of the loss
            read.float()
    path = ["con", "affine", "relu", "con", "affine"]
    plain = ["mark", *path, "add", "relu"]
    halving = ["mark", *path, "mark", "mark", "avg", "add", "relu"]
    kinds = ["con", "affine", "relu", "max", *plain * 3, *halving, *plain * 3, *halving, *plain * 2]
    kinds += [*halving, *plain * 2, *halving, "avg", "fc"]
    _versions(read, kinds)
    read.name("input_rgb_image_sized")
    mean_rgb = (read.float(), read.float(), read.float())
    for _ in range(2):
        read.one_of("the side of a face", 150)
    layers = _contents(read, kinds)
    read.end()
    last = layers.pop()
    assert isinstance(last, np.ndarray), "`fc` ends the kinds"
    return ResnetFile(mean_rgb, _folded(layers), last)


# Layers are nested: first come all versions, from the last layer to the first, then all contents, from the first.
def _versions(read: Reader, kinds: list[str]) -> None:
    for kind in reversed(kinds[1:]):
        read.one_of("the version of a layer", 1 if kind == "mark" else 2)
    read.one_of("the version of the first layer", 3)


def _contents(read: Reader, kinds: list[str]) -> list[Layer]:
    readers: dict[str, Callable[[Reader], Layer]] = {
        "con": _convolution,
        "affine": _affine,
        "fc": _connected,
        "relu": lambda read: _named(read, "relu_"),
        "add": lambda read: _named(read, "add_prev_"),
        "max": lambda read: _pool(read, "max_pool_2"),
        "avg": lambda read: _pool(read, "avg_pool_2"),
    }
    layers = []
    for index, kind in enumerate(kinds):
        if kind == "mark":  # a tag for skip connections, without contents
            continue
        layers.append(readers[kind](read))
        for _ in range(3):  # set up, gradient stale, output disabled
            read.boolean()
        for _ in range(3):  # gradients and outputs kept from training
            read.tensor()
        if index == 0:
            read.one_of("the expansion factor", 1)
    return layers


def _folded(layers: list[Layer]) -> list[Convolution]:
    """The convolutions, each with the affine layer after it folded in: gamma (w x + b) + beta."""
    convolutions: list[Convolution] = []
    for layer in layers:
        if isinstance(layer, Convolution):
            convolutions.append(layer)
        elif isinstance(layer, Affine):
            last = convolutions.pop()
            weight, bias = last.weight * layer.gamma[:, None, None, None], last.bias * layer.gamma + layer.beta
            convolutions.append(Convolution(weight, bias, last.stride, last.padding))
    return convolutions


def _convolution(read: Reader) -> Convolution:
    read.name("con_4")
    params = read.tensor().reshape(-1)
    filters = read.count("the number of filters", 4096)
    rows, columns = read.count("a filter's height", 99), read.count("a filter's width", 99)
    stride, stride_x = read.count("a stride", 99), read.count("a stride", 99)
    padding, padding_x = read.count("a padding", 99), read.count("a padding", 99)
    weights, biases = read.view(), read.view()
    for _ in range(4):  # learning rates and decays
        read.float()
    fits = weights[0] == filters and weights[2:] == (rows, columns) and math.prod(biases) == filters
    if not fits or math.prod(weights) + filters != len(params):
        raise read.fail(f"a convolution of {len(params)} numbers does not fit {weights} and {biases}")
    if rows != columns or rows == 0 or stride != stride_x or stride == 0 or padding != padding_x:
        raise read.fail("a convolution that is not square")
    return Convolution(params[:-filters].reshape(weights), params[-filters:], stride, padding)


def _affine(read: Reader) -> Affine:
    """An affine layer, or batch normalisation with its running statistics as one."""
    kind = read.name("affine_", "bn_con2")
    params = read.tensor().reshape(-1)
    gammas, betas = read.view(), read.view()
    channels = math.prod(gammas)
    if math.prod(betas) != channels or len(params) != 2 * channels:
        raise read.fail(f"an affine layer of {len(params)} numbers does not fit {gammas} and {betas}")
    if kind == "affine_":
        read.one_of("the mode of an affine layer", 0)  # after a convolution: one gamma and beta per channel
        return Affine(params[:channels], params[channels:])
    for _ in range(2):  # mean and inverse std of the last training batch
        read.tensor()
    means, variances = read.tensor().reshape(-1), read.tensor().reshape(-1)
    for _ in range(2):  # number of updates of the running statistics, and their window
        read.integer()
    for _ in range(4):  # learning rates and decays
        read.float()
    epsilon = read.float()
    if not len(means) == len(variances) == channels or epsilon <= 0 or not (variances >= 0).all():
        raise read.fail("a normalisation without usable statistics")
    # The variances are about as small as epsilon, 1e-4: with PyTorch's default of 1e-5, scores of 1.08 become 5.04.
    gamma = (params[:channels] / np.sqrt(variances + epsilon)).astype(np.float32)
    return Affine(gamma, params[channels:] - gamma * means)


def _connected(read: Reader) -> np.ndarray:
    read.name("fc_2")
    outputs, inputs = read.count("the outputs of a layer", 4096), read.count("its inputs", 4096)
    params = read.tensor().reshape(-1)
    for _ in range(2):
        read.view()
    read.one_of("the mode of a connected layer", 1)  # no bias
    for _ in range(4):  # learning rates and decays
        read.float()
    if len(params) != inputs * outputs:
        raise read.fail(f"a connected layer of {len(params)} numbers does not fit {inputs} x {outputs}")
    return params.reshape(inputs, outputs)


def _named(read: Reader, name: str) -> None:
    read.name(name)


def _pool(read: Reader, name: str) -> None:
    read.name(name)
    for what in ("height", "width", "stride", "stride", "padding", "padding"):
        read.count(f"a pool's {what}", 99)


DETECTOR = "mmod_human_face_detector.dat"
LANDMARKS = "shape_predictor_68_face_landmarks.dat"
DESCRIPTOR = "dlib_face_recognition_resnet_model_v1.dat"

SHA256 = {
    DETECTOR: "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
    LANDMARKS: "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
    DESCRIPTOR: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
}


@functools.cache
def model_path(name: str) -> Path:
    """The path of the model file `name`, checked by its SHA-256.

    Raises:
        WeightsError: the package is not installed, or its file is not the published one.
    """
    return find_in_package("face_recognition_models", f"models/{name}", SHA256[name])
