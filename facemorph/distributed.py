"""Images shared by several processes that do not talk to each other: each takes every so-manieth image.

Each process writes a part of the manifest, `.manifest-<rank>.jsonl`. Whoever finds, when it is done, that all images
are accounted for in the parts together, writes manifest.jsonl and removes them. Two that find so at once write one and
the same.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from facemorph.errors import FacemorphError, InputError, RunError
from facemorph.files import read_jsonl


@dataclass(frozen=True)
class Shard:
    """This process is number `rank` of `world`."""

    rank: int = 0
    world: int = 1

    def mine(self, paths: Sequence[Path]) -> list[Path]:
        return list(paths[self.rank :: self.world])

    def manifest(self, folder: Path) -> Path:
        """Where this process writes its rows."""
        return folder / (f".manifest-{self.rank}.jsonl" if self.world > 1 else "manifest.jsonl")


def shard_from_environment() -> Shard:
    """As RANK and WORLD_SIZE say, which torchrun sets; all of it where they are not set.

    Raises:
        InputError: they are not numbers that fit each other.
    """
    told = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    try:
        share = Shard(*map(int, told))
    except ValueError:
        share = Shard(-1)
    if not 0 <= share.rank < share.world:
        raise InputError(
            f"RANK={told[0]} and WORLD_SIZE={told[1]} in the environment do not fit.",
            "Expected RANK from 0 to below WORLD_SIZE; unset both to work in one process.",
        )
    return share


def known_rows(folder: Path) -> list[dict[str, Any]]:
    """What is accounted for in `folder`, by this process and others.

    The parts are read before the manifest, which is written before they are removed: nothing is missed between.
    """
    rows = [row for path in parts(folder) for row in _if_there(path)]
    return read_jsonl(folder / "manifest.jsonl") + rows


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob(".manifest-*.jsonl"))


def _if_there(path: Path) -> list[dict[str, Any]]:
    try:
        return read_jsonl(path)
    except FileNotFoundError:  # another process has just merged it
        return []


@dataclass(frozen=True)
class ProcessGroup:
    """This process is number `rank` of `world`."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's share of `count` things in a row."""
        share = count // self.world
        return slice(self.rank * share, (self.rank + 1) * share)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""
        if self.world == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value / self.world

    def any(self, value: bool, device: torch.device) -> bool:
        """Whether it is true in any process."""
        return value if self.world == 1 else bool(self.mean(torch.tensor(float(value), device=device)) > 0)

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every process the mean of the gradients: one message for all of them."""
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        mean = self.mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view(gradient.shape))

    @contextlib.contextmanager
    def rank_zero_first(self) -> Iterator[bool]:
        """Only the first process should work inside (True there); what it may not do, no process goes on from.

        Raises:
            FacemorphError: of the kind and in the words of the first process.
        """
        if self.world == 1:
            yield True
            return
        told: list[Any] = [None]
        try:
            yield self.first
        except FacemorphError as error:
            told[0] = error
            raise
        except BaseException as error:
            told[0] = RunError(f"The first process ended: {error!r}.")
            raise
        finally:
            if self.first:
                dist.broadcast_object_list(told)
        if not self.first:
            dist.broadcast_object_list(told)
            if told[0] is not None:
                raise told[0]


ALONE = ProcessGroup()


@contextlib.contextmanager
def join_processes(device: torch.device) -> Iterator[ProcessGroup]:
    """The processes that torchrun started, joined; this one alone where it did not."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
    finally:
        if ours:
            dist.destroy_process_group()


class _Summed(torch.autograd.Function):
    """The sum over the processes, and for the gradient too."""

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
    """Batch norm over the whole batch of all processes, on any device (torch's own is for CUDA alone)."""

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
    """Make every batch norm of these networks one over all processes."""
    for network in networks:
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = SyncedBatchNorm


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """Let processes that are spawned inside not import the caller's script anew.

    They would run a script without an `if __name__ == "__main__"` guard a second time, and fail. Ours need nothing
    from it: what they run lies in this package.
    """
    main = sys.modules["__main__"]
    missing = object()
    kept = {name: getattr(main, name, missing) for name in ("__spec__", "__file__")}
    main.__spec__ = None
    if kept["__file__"] is not missing:
        del main.__file__
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is not missing:
                setattr(main, name, value)
