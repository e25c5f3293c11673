"""The dtype, the convolution method and the memory layout of a run."""

from typing import Any

import torch
from torch import nn

from facemorph.dcgan.config import Training
from facemorph.dcgan.winograd import WinogradConv2d, WinogradConvTranspose2d
from facemorph.device import pick_precision


def takes_winograd(training: Training, device: torch.device) -> bool:
    """Whether the convolutions use Winograd's method. It rounds differently, so precision=float32 means the direct one.

    R1 needs gradients of gradients, which our implementation of it does not have.
    """
    asked_for = training.precision == "auto" and device.type == "cpu" and not training.r1
    return asked_for and pick_precision("auto", device) == torch.float32


def describe_precision(training: Training, device: torch.device) -> str:
    name = str(pick_precision(training.precision, device)).removeprefix("torch.")
    return f"{name}, by Winograd's convolutions" if takes_winograd(training, device) else name


def enable_winograd(*networks: nn.Module) -> None:
    """Let their convolutions use Winograd's method."""
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, (WinogradConv2d, WinogradConvTranspose2d)):
                layer.winograd = True


def placed(network: Any, device: torch.device) -> Any:
    """On the device, in the memory layout in which its convolutions are fastest."""
    return network.to(device, memory_format=torch.channels_last)
