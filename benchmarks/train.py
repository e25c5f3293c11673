"""Our training loop against the plain DCGAN loop, taking turns, with the same network, batch and faces.

The plain loop is written here from the public description of PyTorch's DCGAN example: float32, NCHW, a DataLoader that
decodes images in worker processes, three backward passes per step, Adam, and losses read with .item() at every step.
Neither augments; ours is also timed with augmentation.

GFLOP of the 64-px network per image and step (a multiply-add counts as 2; computed in `flop`, checked with
torch.utils.flop_counter in every run):

    G forward 0.2093, D forward 0.2076; a backward pass costs the same for weights, and the same for inputs
    G forward and backward, no gradient for z               3 G - first layer       0.6261
    D on real and on fake, no gradient for the images     2 (3 D - first layer)   1.2332
    D in G's step, no gradient for D's weights              2 D                     0.4153
    a step of ours 2.2746; of the plain loop, which also takes D's weight gradients in G's step, 2.4823

"ours" computes in what `training.precision=auto` takes on this machine; every other precision is timed as well.
By Winograd's convolutions it takes 1.14 GFLOP in float32, 1.3238 in bfloat16 (torch's counter; see nine_products.py).

The floor is this number at the speed of a large matrix product, in the same dtype and the same run.

    python benchmarks/train.py FACES              (a folder for each person, as from `facemorph align`)
    python benchmarks/train.py FACES --profile    (and where a step's time goes, by torch.profiler)
"""

import argparse
import itertools
import logging
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import OthersWork, describe_machine, peak, seconds
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from facemorph.dcgan import train as training
from facemorph.dcgan.checkpoint import State, save
from facemorph.dcgan.config import Config, Data, Network, config_from_dict
from facemorph.dcgan.dataset import find_persons, load_faces
from facemorph.dcgan.networks import Discriminator, Generator, stages
from facemorph.dcgan.precision import dtype_of, with_precision
from facemorph.dcgan.run import Run
from facemorph.dcgan.stepper import Stepper
from facemorph.dcgan.trial import candidates, fastest_precision
from facemorph.device import pick_device
from facemorph.images import read_image, resize
from facemorph.memory import keep_all_freed

HOPELESS = 4  # times the plain loop's first step: bfloat16 on a CPU without units for it, where a turn takes a minute


def flop(network: Network) -> dict[str, float]:
    """FLOP per image: forward passes of `g` and `d`, a step of `ours` and of the `plain` loop (kernel 4, conv ends)."""
    doublings = stages(network.size_px)
    widths = [network.channels * 2**i for i in range(doublings)]
    taps = network.kernel_px**2
    # Transposed convolutions use all taps for each input, convolutions for each output.
    inner = sum(
        2 * (network.size_px >> (i + 2)) ** 2 * taps * a * b for i, (a, b) in enumerate(itertools.pairwise(widths))
    )
    outer = 2 * (network.size_px // 2) ** 2 * taps * 3 * widths[0]
    g_first, d_last = 2 * 16 * network.z_dim * widths[-1], 2 * 16 * widths[-1]
    g, d = g_first + inner + outer, d_last + inner + outer
    g_step = 3 * g - g_first
    d_step = 2 * (3 * d - outer)
    return {"g": g, "d": d, "ours": g_step + d_step + 2 * d, "plain": g_step + d_step + 3 * d}


class ImageFiles(Dataset[Any]):
    """Decodes one image at a time."""

    def __init__(self, data: Data, size_px: int) -> None:
        self.paths = [path for paths in find_persons(data).values() for path in paths]
        self.size_px = size_px

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = torch.from_numpy(resize(read_image(self.paths[index]), self.size_px).copy())
        return image.permute(2, 0, 1).float() / 127.5 - 1


def plain_loop(config: Config, device: torch.device, workers: int) -> Iterator[tuple[float, float]]:
    """The plain loop; each `next` is a step and returns d-loss and g-loss."""
    torch.manual_seed(config.training.seed)
    g, d = Generator(config.network).to(device), Discriminator(config.network).to(device)
    rate = config.training.learning_rate
    optimize_d = torch.optim.Adam(d.parameters(), rate, (0.5, 0.999))
    optimize_g = torch.optim.Adam(g.parameters(), rate, (0.5, 0.999))
    bce = nn.BCELoss()
    size = config.training.batch_size
    loader = DataLoader(
        ImageFiles(config.data, config.network.size_px), size, True, num_workers=workers, drop_last=True
    )
    while True:
        for real in loader:
            real = real.to(device)
            ones, zeros = torch.ones(size, device=device), torch.zeros(size, device=device)
            d.zero_grad()
            out = d(real).sigmoid()
            loss_real = bce(out, ones)
            loss_real.backward()
            mean_real = out.mean().item()
            fake = g(torch.randn(size, config.network.z_dim, device=device))
            out = d(fake.detach()).sigmoid()
            loss_fake = bce(out, zeros)
            loss_fake.backward()
            mean_fake = out.mean().item()
            optimize_d.step()
            g.zero_grad()
            out = d(fake).sigmoid()
            loss_g = bce(out, ones)
            loss_g.backward()
            optimize_g.step()
            _ = mean_real, mean_fake, out.mean().item()
            yield (loss_real + loss_fake).item(), loss_g.item()


def our_loop(config: Config, device: torch.device, compiled: bool = False) -> Iterator[State]:
    """Our loop without its files; each `next` is a step. `compiled`: both networks with torch.compile."""
    faces = load_faces(config.data, config.network.size_px, 0)
    state = State(config, device, len(faces.persons))
    if compiled:
        state.g.compile()
        state.d.compile()
    images, labels = torch.from_numpy(faces.images).to(device), torch.from_numpy(faces.labels).to(device)
    take_step = Stepper(state, images, labels, config, dtype_of(config.training.precision))
    pending = []
    while True:
        pending.append(take_step())
        if len(pending) == training.FLUSH_EVERY:
            torch.stack(pending).cpu()
            pending.clear()
        yield state


def count(config: Config, device: torch.device) -> float:
    """FLOP per image and step, counted by torch."""
    ours = our_loop(config, device)
    next(ours)
    with FlopCounterMode(display=False) as counter:
        next(ours)
    return counter.get_total_flops() / config.training.batch_size


def print_profile(loop: Iterator[object], steps: int = 3) -> None:
    """Where the time of a step goes, by operation."""
    with torch.profiler.profile() as profile:
        for _ in range(steps):
            next(loop)
    rows = profile.key_averages()
    own = {row.key: max(row.self_cpu_time_total, getattr(row, "self_device_time_total", 0)) for row in rows}
    total = sum(own.values())
    for key, time_us in sorted(own.items(), key=lambda item: -item[1])[:20]:
        print(f"{time_us / steps / 1000:8.1f} ms a step, {time_us / total:4.0%}  {key}")


def files_cost(config: Config, device: torch.device, step_seconds: float) -> None:
    """Print the fraction of time that log, samples and checkpoints take, measured separately."""
    state = next(our_loop(config, device))
    fixed_z = torch.randn(training.GRID, config.network.z_dim, device=device)
    values = np.random.default_rng(0).random((training.FLUSH_EVERY, 6))
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        calls: dict[str, tuple[Callable[[], object], int]] = {
            "log": (lambda: run.append_log(0, values, 0.0), training.FLUSH_EVERY),
            "samples": (lambda: training._write_samples(run, state, config, fixed_z), config.output.sample_every),
            "checkpoint": (lambda: save(state, run, config), config.output.checkpoint_every),
        }
        fractions = {
            name: statistics.median(seconds(call, device) for _ in range(5)) / every / step_seconds
            for name, (call, every) in calls.items()
        }
    parts = ", ".join(f"{name} {fraction:.2%}" for name, fraction in fractions.items())
    print(f"files, as a fraction of the steps' time: {parts}; together {sum(fractions.values()):.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="of each loop per round")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2, help="processes of the plain loop that decode images")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--compile", action="store_true", help="also compiled; needs a C++ compiler")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)

    def configured(**values: Any) -> Config:
        return config_from_dict(
            {
                "data": {"faces": [str(options.faces)]},
                "network": {"channels": options.channels, "size_px": options.size},
                "training": {"batch_size": options.batch, "precision": options.precision, **values},
            }
        )

    keep_all_freed()  # as `train` does; it helps the plain loop as well
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(f"{describe_machine(device)}; batch {options.batch}")
    asked = configured()
    precision = options.precision if options.precision != "auto" else fastest_precision(asked, device, 0)
    config = with_precision(asked, precision)
    augmented = with_precision(configured(augment=["color", "shift"], ema=0.99), precision)
    loops: dict[str, Iterator[object]] = {
        "plain": plain_loop(config, device, options.workers),
        "ours": our_loop(config, device),
        "ours, augmented": our_loop(augmented, device),
    }
    first = {name: seconds(lambda loop=loop: next(loop), device) for name, loop in loops.items()}
    others = []
    for name in dict.fromkeys((*candidates(asked, device), "float32")):
        if name == precision:
            continue
        loop = our_loop(with_precision(config, name), device)
        first[name] = seconds(lambda loop=loop: next(loop), device)
        if first[name] < HOPELESS * first["plain"]:
            loops[name] = loop
            others.append(name)
        else:
            print(f"{name} is left out: its first step took {first[name]:.1f} s, the plain loop's {first['plain']:.1f}")
    if options.compile:
        loops["compiled"] = our_loop(config, device, compiled=True)
        first["compiled"] = seconds(lambda: next(loops["compiled"]), device)
    by_hand = flop(config.network)
    work = {
        name: count(with_precision(config, name), device) for name in dict.fromkeys((precision, *others, "float32"))
    }
    print(f"GFLOP per image: forward G {by_hand['g'] / 1e9:.4f}, D {by_hand['d'] / 1e9:.4f}; direct step "
          f"{by_hand['ours'] / 1e9:.4f} (torch counts {work['float32'] / 1e9:.4f}), plain "
          f"{by_hand['plain'] / 1e9:.4f}; ours, {precision}, {work[precision] / 1e9:.4f}")  # fmt: skip
    if abs(work["float32"] / by_hand["ours"] - 1) > 1e-6:
        raise SystemExit("The two counts differ.")
    multiply = {"float32": peak(torch.float32, device), "bfloat16": peak(torch.bfloat16, device)}
    times: dict[str, list[float]] = {name: [] for name in loops}
    speeds: dict[str, list[float]] = {name: [] for name in multiply}
    with OthersWork() as elsewhere:
        for _ in range(options.rounds):
            for name, loop in loops.items():
                took = seconds(lambda loop=loop: [next(loop) for _ in range(options.steps)], device)
                times[name].append(took / options.steps)
            for name, call in multiply.items():
                speeds[name].append(call())
    print(f"Other processes took {elsewhere.part:.0%} of the CPUs' time.")
    print(f"A step, median of {options.rounds} turns (10 and 90 %):")
    for name in loops:
        low, middle, high = 1000 * np.percentile(times[name], [10, 50, 90])
        ratios = np.array(times["plain"]) / np.array(times[name])
        spread = np.percentile(ratios, [10, 90])
        print(f"{name:>16}: {middle:7.1f} ms ({low:.1f} to {high:.1f}), {1000 * options.batch / middle:.1f} images/s, "
              f"x {np.median(ratios):.2f} ({spread[0]:.2f} to {spread[1]:.2f}) the plain loop; "
              f"first step {1000 * first[name]:.0f} ms")  # fmt: skip
    for name, found in speeds.items():
        print(f"matrices in {name}: {np.median(found) / 1e9:.3g} GFLOP/s (best {max(found) / 1e9:.3g})")
    floors = {"plain": (by_hand["plain"], "float32"), "ours": (work[precision], precision)}
    for name, (flops, way) in (floors | {name: (work[name], name) for name in others}).items():
        own = float(np.median(speeds[str(dtype_of(way)).removeprefix("torch.")]))
        least = 1000 * options.batch * flops / own
        print(f"floor of {name}: {least:.1f} ms, of which {least / 1000 / np.median(times[name]):.0%} reached")
    if options.profile:
        print_profile(loops["ours, augmented"])
    files_cost(config, device, float(np.median(times["ours"])))


if __name__ == "__main__":
    main()
