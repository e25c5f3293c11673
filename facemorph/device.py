"""The device to compute on, the CPU or a CUDA device, and what is asked of it."""

import os

import torch

from facemorph.errors import ConfigError


def settle_cuda() -> None:
    """What this toolkit asks of CUDA on every path, forward and backward.

    No TF32, which rounds float32 to 10 bits in convolutions: gradients of latents were off by 7e-4 with it, by 3e-6
    without. Only algorithms that give the same bits again, and no search for the quickest: tuning for some 400 shapes
    took a minute, and what it picks may differ from run to run. Who wants speed takes bfloat16, in which DCGANs are
    trained and LPIPS is computed.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def renew_random_numbers(device: torch.device) -> None:
    """Give torch's own generator of a CUDA device a new state, where the last one was lost to a graph.

    A capture that fails leaves the generators that it knew inside it: the next random number outside would be refused
    ("Offset increment outside graph capture encountered unexpectedly").
    """
    own = torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
    own.graphsafe_set_state(torch.Generator(device).graphsafe_get_state())


def check_device(name: str) -> torch.device:
    """The device of this name.

    Raises:
        ConfigError: torch has no such device, or it is not available.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # a device without memory, "meta", has no item
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        reason = "torch knows none of this name" if reason.startswith("Expected one of") else reason
        raise ConfigError(f"The device {name!r} cannot be used: {reason}.", "Try --device cpu.") from None
    return device


def pick_device(name: str | None = None) -> torch.device:
    """The device `name`; None and "auto" are CUDA if available, otherwise the CPU.

    Several processes on a machine (LOCAL_RANK, as torchrun sets it) take one CUDA device each.

    Raises:
        ConfigError: torch has no such device, or it is not available.
    """
    if name in (None, "auto", "cuda") and torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
        settle_cuda()
        return device
    if name in (None, "auto"):
        return torch.device("cpu")
    device = check_device(name)
    if device.type == "cuda":
        settle_cuda()
    return device
