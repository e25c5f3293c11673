"""Which precision is fastest on this machine: each is tried for a few steps, on networks that are thrown away.

What a CPU says of itself does not tell: some have bfloat16 instructions that are slower than float32, some such that
are twice as fast. Neither the run's weights nor its random numbers are touched.
"""

import logging
import time

import torch

from facemorph.dcgan.checkpoint import State, own_randomness
from facemorph.dcgan.config import Config
from facemorph.dcgan.networks import stages
from facemorph.dcgan.precision import PRECISIONS, dtype_of, prepare, with_precision
from facemorph.dcgan.step import train_on_batch

log = logging.getLogger("facemorph")

SECONDS = 2.0  # in all
HOPELESS = 3  # times as long as in float32 for a product of matrices: bfloat16 is then not tried
MATRIX = 256  # their side
NEAR = 1.5  # times the quickest's time with few images: slower ones of another dtype are not tried with more
ROUNDS = 3  # with more images, of the near ones in turn; the first warms up
WORTH = 0.95  # bfloat16 has to take less than this part of float32's time: it rounds more


def candidates(config: Config, device: torch.device) -> list[str]:
    """What may be tried there, the likeliest first."""
    if device.type != "cpu":
        return ["bfloat16" if torch.cuda.is_bf16_supported() else "float32"]
    # R1 needs gradients of gradients, which Winograd's convolutions do not have.
    winograd = config.network.kernel_px == 4 and not config.training.r1
    full = ["float32-winograd", "float32"] if winograd else ["float32"]
    low = ["bfloat16-winograd", "bfloat16"] if winograd else ["bfloat16"]
    has_units = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    likely = any(has_units.get(name) for name in ("amx_bf16", "avx512_bf16", "sve_bf16"))
    return [*low, *full] if likely else [*full, *low]


def fastest_precision(config: Config, device: torch.device, persons: int) -> str:
    """The fastest of the candidates there; a line of the log tells what each took."""
    names = candidates(config, device)
    if len(names) == 1:
        return names[0]
    times = try_precisions(config, device, persons, names)
    best = min(times, key=lambda name: times[name] * (1 if dtype_of(name) == torch.float32 else 1 / WORTH))
    listed = "; ".join(f"{PRECISIONS[name]} {1000 * seconds:.1f} ms" for name, seconds in times.items())
    log.info("Fastest here of those tried: %s (%s an image and step).", PRECISIONS[best], listed)
    return best


def try_precisions(
    config: Config, device: torch.device, persons: int, names: list[str], seconds: float = SECONDS
) -> dict[str, float]:
    """Seconds an image of a step, by precision; those for which there was no time are left out.

    Each once with few images; then the quickest, its fellows of the same dtype, and those that are near it, with twice
    as many: transforming the weights costs the same for few images as for a batch.
    """
    few = _images(config)
    many = min(2 * few, config.training.batch_size)
    with own_randomness():
        state = State(with_precision(config, "float32"), device, persons)
        size = config.network.size_px
        random = torch.Generator(device).manual_seed(0)
        real = 2 * torch.rand(many, 3, size, size, generator=random, device=device) - 1
        labels = torch.arange(many, device=device) % max(persons, 1)

        def tried(name: str, count: int) -> float:
            prepare(config.training, name, state.g, state.d)
            state.step = 1  # without a penalty that comes every few steps
            start = time.perf_counter()
            train_on_batch(state, real[:count], labels[:count], config, dtype_of(name), random)
            return (time.perf_counter() - start) / count

        # What a process pays once (torch's optimisers load a compiler) the run would pay as well.
        tried("float32", 2)
        deadline, times = time.perf_counter() + seconds, {}
        slow = bfloat16_is_hopeless(device)
        for name in names:
            if slow and dtype_of(name) == torch.bfloat16:
                continue
            if not times or time.perf_counter() + few * max(times.values()) < deadline:
                times[name] = tried(name, few)
        best = min(times, key=lambda name: times[name])
        near = [n for n in times if dtype_of(n) == dtype_of(best) or times[n] < NEAR * times[best]]
        rounds: list[dict[str, float]] = []
        while len(near) > 1 and len(rounds) < ROUNDS:
            if time.perf_counter() + many * sum(times[name] for name in near) > deadline:
                break
            rounds.append({name: tried(name, many) for name in near})
    measured = rounds[1:] or rounds
    return times | {name: min(taken[name] for taken in measured) for name in near if measured}


def bfloat16_is_hopeless(device: torch.device) -> bool:
    """Whether one product of matrices tells already: a CPU that has to imitate bfloat16 takes 20 to 1,000 times as
    long, with which a single step would take more than all the time there is."""

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(MATRIX, MATRIX, dtype=dtype, device=device)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            torch.matmul(matrix, matrix)
            times.append(time.perf_counter() - start)
        return min(times)

    return seconds(torch.bfloat16) > HOPELESS * seconds(torch.float32)


def _images(config: Config) -> int:
    """As many as take about an eighth of a second: 16 of the 64-px networks of usual width."""
    network = config.network
    usual = 3 * 64**2 * 64**2  # inner convolutions of equal cost, and what one of them is proportional to
    work = max(stages(network.size_px) - 1, 1) * network.size_px**2 * network.channels**2
    return max(2, min(config.training.batch_size, round(16 * usual / work)))
