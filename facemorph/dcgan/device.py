"""Where a run computes, and in what numbers."""

import os
from typing import Any

import torch

from facemorph.errors import ConfigError


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`; auto is CUDA where there is one, and of several processes each takes one of its own.

    Raises:
        ConfigError: it is not there.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
        return device
    if name == "auto":
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"Device {name!r} cannot be used: {str(error).splitlines()[0]}", "Try --device cpu."
        ) from None
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """bfloat16 or float32; auto takes bfloat16 where the device has units for it.

    On processors those are Intel's AMX tiles: AVX-512's own bfloat16 instructions were no faster here than float32.
    """
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
        has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        return torch.bfloat16 if has_tiles() else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def placed(network: Any, device: torch.device) -> Any:
    """On the device, laid out in memory as its convolutions like it best."""
    return network.to(device, memory_format=torch.channels_last)
