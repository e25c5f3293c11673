"""In what numbers and in which layout a run computes."""

from typing import Any

import torch


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
