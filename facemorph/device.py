"""Where to compute: the CPU, or a CUDA device."""

import os

import torch

from facemorph.errors import ConfigError


def pick_device(name: str | None = None) -> torch.device:
    """The device called `name`; None and auto take CUDA where there is one.

    Of several processes on a machine (LOCAL_RANK, as torchrun sets it) each takes a CUDA device of its own.

    Raises:
        ConfigError: torch knows no such device, or the machine has none.
    """
    if name in (None, "auto", "cuda") and torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
        return device
    if name in (None, "auto"):
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"Device {name!r} cannot be used: {str(error).splitlines()[0]}", "Try --device cpu."
        ) from None
    return device
