"""How a run computes: its dtype, the way of its convolutions, and the memory layout.

`training.precision` names one of `PRECISIONS`, or auto: then the fastest is found by trying (`trial.py`), noted in the
run folder, and kept, so that a continued run gives the same numbers to the bit.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from facemorph.dcgan.bfloat16 import FromPixel, ToPixel
from facemorph.dcgan.config import Config, Training
from facemorph.dcgan.winograd import WinogradConv2d, WinogradConvTranspose2d

# As run.json describes them.
PRECISIONS = {
    "float32": "float32",
    "float32-winograd": "float32, by Winograd's convolutions",
    "bfloat16": "bfloat16",
    "bfloat16-winograd": "bfloat16, by Winograd's convolutions",
}


def dtype_of(precision: str) -> torch.dtype:
    """The dtype of the convolutions; auto, where nothing was tried, is float32."""
    return torch.bfloat16 if precision.startswith("bfloat16") else torch.float32


def noted_precision(about: dict[str, Any]) -> str | None:
    """The precision that a run.json notes; None if it notes none that is known."""
    return next((name for name, text in PRECISIONS.items() if text == about.get("precision")), None)


def with_precision(config: Config, precision: str) -> Config:
    return replace(config, training=replace(config.training, precision=precision))


def prepare(training: Training, precision: str, *networks: nn.Module) -> None:
    """Let their convolutions go the way of this precision. R1 needs gradients of gradients, which torch's own have.
    Ours are for CPUs: on CUDA a run that was started with them continues with torch's."""
    low, winograd = dtype_of(precision) == torch.bfloat16, precision.endswith("winograd")
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, (WinogradConv2d, WinogradConvTranspose2d)):
                layer.winograd = winograd and not training.r1 and not layer.weight.is_cuda
            if isinstance(layer, (WinogradConv2d, WinogradConvTranspose2d, FromPixel, ToPixel)):
                layer.low = low and not training.r1 and not layer.weight.is_cuda


def placed(network: Any, device: torch.device) -> Any:
    """On the device, in the memory layout in which its convolutions are fastest."""
    return network.to(device, memory_format=torch.channels_last)
