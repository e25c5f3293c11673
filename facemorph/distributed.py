"""A process group for training; independent processes are in `facemorph.shards`."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from facemorph.errors import ConfigError, FacemorphError, RunError


@dataclass(frozen=True)
class ProcessGroup:
    """This process is number `rank` of `world`."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, the process that writes."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Which of `count` items are this process's, for `count` a multiple of `world`."""
        size = count // self.world
        return slice(self.rank * size, (self.rank + 1) * size)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        if self.world == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value / self.world

    def any(self, value: bool, device: torch.device) -> bool:
        """Whether `value` is true in any process."""
        return value if self.world == 1 else bool(self.mean(torch.tensor(float(value), device=device)) > 0)

    def agree(self, word: str) -> str:
        """The word that rank 0 gives."""
        words = [word]
        if self.world > 1:
            dist.broadcast_object_list(words)
        return words[0]

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace the gradients by their mean over all processes, in one all-reduce."""
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        mean = self.mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view(gradient.shape))

    @contextlib.contextmanager
    def rank_zero_first(self) -> Iterator[bool]:
        """Yields True in rank 0, which should do the work inside; the others wait for it, and fail if it fails.

        Raises:
            FacemorphError: as raised in rank 0.
        """
        if self.world == 1:
            yield True
            return
        failure: list[Any] = [None]
        try:
            yield self.first
        except FacemorphError as error:
            failure[0] = error
            raise
        except BaseException as error:
            failure[0] = RunError(f"The first process ended: {error!r}.")
            raise
        finally:
            if self.first:
                dist.broadcast_object_list(failure)
        if not self.first:
            dist.broadcast_object_list(failure)
            if failure[0] is not None:
                raise failure[0]


ALONE = ProcessGroup()


@contextlib.contextmanager
def join_processes(device: torch.device) -> Iterator[ProcessGroup]:
    """The group of processes that torchrun started; this process alone without torchrun.

    Raises:
        ConfigError: there are more processes than GPUs.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    if device.type == "cuda" and here > torch.cuda.device_count():
        raise ConfigError(
            f"{here} processes on this machine cannot train together on {torch.cuda.device_count()} GPU(s): each needs "
            "one of its own.",
            f"Start torchrun with --nproc-per-node {torch.cuda.device_count()}, or train with --device cpu.",
        )
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
    finally:
        if ours:
            dist.destroy_process_group()


class _Summed(torch.autograd.Function):
    """The sum over all processes, in the forward pass and for the gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        gradient = grads[0].clone()
        dist.all_reduce(gradient)
        return gradient


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch norm with statistics over all processes, on any device (torch's own works on CUDA only)."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not dist.is_initialized():
            return super().forward(input)
        x = input.float()  # [N, C, H, W]
        channels = x.shape[1]
        local = torch.cat([x.mean((0, 2, 3)), x.square().mean((0, 2, 3))])
        mean, square = (_Summed.apply(local) / dist.get_world_size()).split(channels)  # pyright: ignore
        variance = (square - mean.square()).clamp(min=0)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        count = x.numel() // channels * dist.get_world_size()
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        out = x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)  # [N, C, H, W]
        return out.to(input.dtype)


def synchronize(*networks: nn.Module) -> None:
    """Make every batch norm of these networks a `SyncedBatchNorm`."""
    for network in networks:
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = SyncedBatchNorm
