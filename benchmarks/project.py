"""Our projector against NVIDIA's stylegan2-ada-pytorch `project()`: the same random weights, image and VGG16.

    python benchmarks/project.py --reference ~/stylegan2-ada-pytorch
    python benchmarks/project.py --reference ~/stylegan2-ada-pytorch --size 256 --device cuda --rounds 5
    python benchmarks/project.py --memory              # ours alone: peak memory at 1024 px, both generations

The reference is a checkout of github.com/NVlabs/stylegan2-ada-pytorch, which is not part of this repository. Both have
the same generator, the same VGG16 with LPIPS heads (random weights: only speed and convergence are compared) and a
generated image. They take turns. On a CPU the times are CPU seconds, which other processes affect less.
"""

import argparse
import io
import pickle
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from generator import reference_maker  # generator.py beside this file
from machine import describe_machine, peak_now

from facemorph.device import pick_device
from facemorph.metrics.lpips import Lpips
from facemorph.stylegan.load import build_description, load_generator
from facemorph.stylegan.networks.architecture import Architecture, GeneratorWeights
from facemorph.stylegan.networks.generator import Generator
from facemorph.stylegan.projection.config import ProjectionConfig, ProjectionTerms, SearchConfig, load_projection_config
from facemorph.stylegan.projection.optimize import broadcast_w, optimize_latents
from facemorph.stylegan.projection.projector import Projector
from facemorph.stylegan.projection.report import peak_memory_mib

SEED = 11  # of the image that is projected


class Features(torch.nn.Module):
    """The VGG16 that `project()` expects: images in 0..255 to features [N, F] whose squared distance is LPIPS.

    In contiguous layout, as from the TorchScript file that `project()` loads.
    """

    def __init__(self, lpips: Lpips) -> None:
        super().__init__()
        self.shift, self.scale = lpips.shift, lpips.scale
        stages, layers = [], iter(lpips.convolutions)
        for number, count in enumerate((2, 2, 3, 3, 3)):
            parts: list[torch.nn.Module] = [torch.nn.MaxPool2d(2)] if number else []
            for _ in range(count):
                parts += [next(layers), torch.nn.ReLU(inplace=True)]
            stages.append(torch.nn.Sequential(*parts))
        self.stages = torch.nn.ModuleList(stages)
        self.heads = [head[:, None, None] for head in lpips.heads]

    def forward(self, x: torch.Tensor, resize_images: bool = True, return_lpips: bool = False) -> torch.Tensor:
        x = (x / 127.5 - 1 - self.shift) / self.scale
        features = []
        for stage, head in zip(self.stages, self.heads, strict=True):
            x = stage(x)
            unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
            features.append((unit * (head / (x.shape[2] * x.shape[3])).sqrt()).flatten(1))
        return torch.cat(features, 1)


@contextmanager
def nothing_fetched(features: torch.nn.Module) -> Iterator[None]:
    """Let the reference use `features` instead of downloading a VGG16."""
    import dnnlib  # type: ignore[import-not-found]

    fetch, load = dnnlib.util.open_url, torch.jit.load
    dnnlib.util.open_url = lambda *_, **__: io.BytesIO()
    torch.jit.load = lambda *_, **__: features
    try:
        yield
    finally:
        dnnlib.util.open_url, torch.jit.load = fetch, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, help="a checkout of stylegan2-ada-pytorch")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=5, help="per timed turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reach", type=int, default=0, help="steps of a whole projection by each; 0 leaves it out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", action="store_true", help="peak memory of ours at 1024 px, nothing else")
    parser.add_argument("--peak", type=int, choices=[1, 2], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        if options.peak:
            return peak_memory(options.peak, options.device)
        if options.memory:
            for generation in ("1", "2"):
                words = [sys.executable, __file__, "--peak", generation, "--device", options.device]
                subprocess.run([*words, "--threads", str(options.threads)], check=True)
            return None
        if options.reference is None:
            parser.error("--reference DIR is needed: git clone https://github.com/NVlabs/stylegan2-ada-pytorch")
        race(options, Path(scratch))


def race(options: argparse.Namespace, scratch: Path) -> None:
    """Steps per second, taking turns, then the time of whole projections to the same LPIPS."""
    theirs = reference_maker(options.reference)(options.size, False)
    path = scratch / "network.pkl"
    path.write_bytes(pickle.dumps({"G_ema": theirs}))
    ours = load_generator(path, options.device)
    lpips = random_lpips(options.device)
    with torch.no_grad():
        images = [ours.synthesize(broadcast_w(ours.map(ours.z_from_seeds([seed])), ours)) for seed in (SEED, SEED + 1)]
        features = (
            Features(random_lpips(options.device)).requires_grad_(False).to(memory_format=torch.contiguous_format)
        )  # type: ignore[call-overload]
        first, second = (features((x + 1) * 127.5) for x in images)
        distances = float((first - second).square().sum()), float(lpips(*images))
    print(f"LPIPS of two images: reference {distances[0]:.6f}, ours {distances[1]:.6f}")
    same_terms = ProjectionConfig(
        search=SearchConfig(space="w", noise_maps=True, precision="float32"),
        terms=ProjectionTerms(pixels=1e-9, ms_ssim=0, prior=0),
    )
    runs = {
        "reference": Reference(theirs, features, images[0]),
        "ours, the same terms": Ours(ours, lpips, images[0], same_terms),
        "ours, balanced": Ours(
            ours, lpips, images[0], load_projection_config("balanced", ["search.precision=float32"])
        ),
    }
    device = pick_device(options.device)
    print(f"{describe_machine(device)}; {options.size} px; {peak_now(device)}")
    seconds = []  # a step
    for _ in range(options.rounds):
        marks = [one(options.steps + 1)[0] for one in runs.values()]
        seconds.append([(mark[-1][0] - mark[0][0]) / options.steps for mark in marks])
    table = np.array(seconds)  # [rounds, runs]
    for index, name in enumerate(runs):
        ratios = table[:, 0] / table[:, index]
        took = 1000 * np.median(table[:, index])
        print(f"{name:22} {took:7.1f} ms a step, ratio {np.median(ratios):.2f} {ratios.round(2)}")
    if options.reach:
        curves = {name: one(options.reach) for name, one in runs.items()}
        for name, (marks, setup) in curves.items():
            every = max(1, len(marks) // 8)
            curve = " ".join(f"{distance:.4f}" for _, distance in marks[::every])
            least = min(distance for _, distance in marks)
            print(f"{name:22} LPIPS: {curve}, minimum {least:.4f}; {1000 * setup:.0f} ms before the first step")
        for fraction in (0.5, 0.25, 0.1):
            goal = fraction * curves["reference"][0][0][1]
            times = []
            for name, (marks, setup) in curves.items():
                when = next((setup + mark[0] for mark in marks if mark[1] <= goal), None)
                times.append(f"{name} {'never' if when is None else f'{1000 * when:.0f} ms'}")
            print(f"to LPIPS {goal:.4f}: {', '.join(times)}")


Marks = list[tuple[float, float]]  # seconds since the first step began, LPIPS


class Reference:
    """NVIDIA's project(), unchanged: in W, with noise maps."""

    def __init__(self, network: Any, features: torch.nn.Module, target: torch.Tensor) -> None:
        sys.modules.setdefault("imageio", types.ModuleType("imageio"))  # only its command writes clips
        import projector  # type: ignore[import-not-found]

        self.project, self.network, self.features, self.device = projector.project, network, features, target.device
        self.target = ((target[0] + 1) * 127.5).clamp(0, 255)

    def __call__(self, steps: int) -> tuple[Marks, float]:
        """Times with distances, and the seconds before the first step."""
        recording = RecordingFeatures(self.features, self.device)
        began = clock(self.device)
        with nothing_fetched(recording):
            self.project(self.network, self.target, num_steps=steps, device=self.device)
        return recording.marks, recording.began - began


class RecordingFeatures(torch.nn.Module):
    """Features that record the distance of each call to the first one, which has the target."""

    def __init__(self, features: torch.nn.Module, device: torch.device) -> None:
        super().__init__()
        self.features, self.device, self.marks = features, device, []
        self.began = 0.0

    def forward(self, x: torch.Tensor, **how: Any) -> torch.Tensor:
        features = self.features(x, **how)
        if not self.began:
            self.target, self.began = features, clock(self.device)
        else:
            distance = float((features.detach() - self.target).square().sum())
            self.marks.append((clock(self.device) - self.began, distance))
        return features


class RecordingLpips:
    """Our LPIPS, which records every distance with its time."""

    def __init__(self, lpips: Lpips, device: torch.device) -> None:
        self.lpips, self.device, self.embed = lpips, device, lpips.embed
        self.marks: Marks = []
        self.began = 0.0

    def between(self, first: list[torch.Tensor], second: list[torch.Tensor]) -> torch.Tensor:
        distance = self.lpips.between(first, second)
        self.marks.append((clock(self.device) - self.began, float(distance.detach())))
        return distance


class Ours:
    """Our projection with these settings."""

    def __init__(self, generator: Generator, lpips: Lpips, target: torch.Tensor, settings: ProjectionConfig) -> None:
        self.generator, self.lpips, self.target, self.settings = generator, lpips, target, settings

    def __call__(self, steps: int) -> tuple[Marks, float]:
        """What was reached when, and the seconds before the first step: choosing a start."""
        device = self.target.device
        recording: Any = RecordingLpips(self.lpips, device)
        schedule = replace(self.settings.schedule, steps=steps, patience=0)
        began = clock(device)
        projector = Projector(self.generator, replace(self.settings, schedule=schedule), recording)
        objective = projector.objective(self.target)
        start = projector.start(self.target, objective)
        recording.began = clock(device)
        optimize_latents(self.generator, objective, start, projector.settings)
        return recording.marks, recording.began - began


def clock(device: torch.device) -> float:
    """CPU seconds of this process, or on CUDA wall time."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def random_lpips(device: str) -> Lpips:
    """LPIPS with random weights of realistic size."""
    torch.manual_seed(0)
    network = Lpips().requires_grad_(False)
    for convolution in network.convolutions:
        weight: Any = convolution.weight
        weight.normal_(std=(2 / weight[0].numel()) ** 0.5)
    for head in network.heads:
        head.uniform_(0, 0.2)
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def official(generation: int) -> GeneratorWeights:
    """A 1024-px generator of the published sizes, with random weights."""
    top = 16384 if generation == 1 else 32768  # halved with each doubling of the side
    channels = tuple(min(512, top >> level + 2) for level in range(9))
    more: dict[str, Any] = {"blur": (0.25, 0.5, 0.25), "to_rgb_lods": (0,)} if generation == 1 else {}
    architecture = Architecture(generation, 1024, 3, 512, (512,) * 9, channels, 512, 0.7, None, **more)
    numbers = np.random.default_rng(0)
    arrays = {
        name: numbers.normal(size=shape, scale=max(1, int(np.prod(shape[1:]))) ** -0.5).astype(np.float32)
        for name, shape in architecture.shapes().items()
    }
    return GeneratorWeights(architecture, arrays, {})


def peak_memory(generation: int, device: str) -> None:
    """Print the peak memory of this process after three steps at 1024 px, with networks of the published size."""
    start = peak_memory_mib(torch.device(device))
    generator, lpips = build_description(official(generation), device), random_lpips(device)
    settings = load_projection_config("balanced", ["schedule.steps=3", "search.samples=1"])
    with torch.no_grad():
        target = generator.synthesize(broadcast_w(generator.map(generator.z_from_seeds([SEED])), generator))
    Projector(generator, settings, lpips)(target)
    peak = peak_memory_mib(target.device)
    print(
        f"StyleGAN {generation}, 1024 px, balanced, {device}: peak {peak} MiB, of which {start} MiB after the imports"
    )


if __name__ == "__main__":
    main()
