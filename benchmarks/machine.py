"""What the benchmarks share: the machine's name, its speed, and how busy it was with other work meanwhile."""

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

CPU = torch.device("cpu")
MATRIX = {"cpu": 2048, "cuda": 8192}  # side of the matrices that measure a machine
PROBE, SLOWEST = 256, 5.0  # side of smaller ones, taken where a large product would take more than so many seconds


def describe_machine(device: torch.device = CPU) -> str:
    """One line: processor or card, cores, threads, and the versions that matter."""
    units = [name for name in ("amx_bf16", "avx512_bf16", "avx512_f", "avx2") if _capabilities().get(name)]
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = f"{names[0] if names else platform.processor() or platform.machine()} ({', '.join(units[:2])})"
    text = f"{len(os.sched_getaffinity(0))} CPUs of {cpu}, {torch.get_num_threads()} threads"
    if device.type == "cuda":
        text = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}; {text}"
    return f"{text}; Python {platform.python_version()}, torch {torch.__version__}"


def _capabilities() -> dict[str, Any]:
    return dict(torch.cpu.get_capabilities()) if hasattr(torch.cpu, "get_capabilities") else {}


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """What a call takes, until the device is done."""
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak(dtype: torch.dtype, device: torch.device) -> Callable[[], float]:
    """A call that multiplies two large matrices and returns FLOP per second."""
    side = MATRIX[device.type]
    small = torch.ones(PROBE, PROBE, device=device).to(dtype)
    if seconds(lambda: small @ small, device) * (side / PROBE) ** 3 > SLOWEST:
        side = PROBE
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    return lambda: 2 * side**3 / seconds(lambda: a @ b, device)


def peak_now(device: torch.device) -> str:
    """In words: how fast large matrices are multiplied at the moment."""
    found = {name: peak(getattr(torch, name), device) for name in ("float32", "bfloat16")}
    speeds = {name: statistics.median(call() for _ in range(5)) / 1e9 for name, call in found.items()}
    return f"matrices of up to {MATRIX[device.type]}: " + ", ".join(
        f"{name} {s:.3g} GFLOP/s" for name, s in speeds.items()
    )


class OthersWork:
    """Within it: which part of the CPUs' time went to other processes. Figures taken above a few per cent are worth
    little."""

    def __enter__(self) -> "OthersWork":
        self._before = self._times()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        total, busy, own = (after - before for after, before in zip(self._times(), self._before, strict=True))
        self.part = max(0.0, (busy - own) / max(total, 1e-9))

    @staticmethod
    def _times() -> tuple[float, float, float]:
        """Of all CPUs, since they started, in ticks: all, busy, ours and our children's."""
        ticks = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        own = sum(usage.ru_utime + usage.ru_stime for usage in used) * os.sysconf("SC_CLK_TCK")
        return sum(ticks), sum(ticks) - ticks[3] - ticks[4], own
