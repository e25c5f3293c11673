"""Our StyleGAN2 generator against NVIDIA's with its reference operations, with the same random weights.

    python benchmarks/generator.py --reference ~/stylegan2-ada-pytorch
    python benchmarks/generator.py --reference ~/stylegan2-ada-pytorch --sizes 256 --batches 1 4 --device cuda

The reference is a checkout of github.com/NVlabs/stylegan2-ada-pytorch, which is not part of this repository. Its
network gets random weights, is pickled by its own code and read by ours; the images are compared; then the two take
turns. On a CPU the table has CPU seconds, which other processes affect less than wall time: the best of the rounds, and
the median ratio of consecutive turns; then time and memory of loading the converted network.
"""

import argparse
import pickle
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine, peak_now

from facemorph.device import pick_device
from facemorph.stylegan.load import convert, load_generator

CHANNEL_BASE = {256: 16384, 512: 32768, 1024: 32768}  # as in the reference's training script

MEMORY = """
import re, sys, time
from pathlib import Path
import torch
from facemorph.stylegan.load import load_generator
def mib():  # not ru_maxrss, which begins with the parent's
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
torch.set_num_threads(int(sys.argv[2]))
imported, clock, start = mib(), time.perf_counter(), time.process_time()
generator = load_generator(Path(sys.argv[1]))
took, waited, loaded = time.process_time() - start, time.perf_counter() - clock, mib()
with torch.inference_mode():
    generator(generator.z_from_seeds([0]))
print(f"loaded in {1000 * took:.0f} CPU ms ({1000 * waited:.0f} ms wall time); peak memory {imported} MiB after the "
      f"imports, {loaded} after loading, {mib()} after one image")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="a checkout of stylegan2-ada-pytorch")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--half", action="store_true", help="float16 in the upper layers, of both")
    parser.add_argument("--compile", action="store_true", help="torch.compile ours")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    make = reference_maker(options.reference)
    device = pick_device(options.device)
    print(f"{describe_machine(device)}; {options.rounds} rounds; {peak_now(device)}")
    print(f"{'px':>5} {'batch':>5} {'reference':>10} {'ours':>10} {'ratio':>6} {'difference':>10}   ms per image")
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        for size in options.sizes:
            theirs = make(size, options.half).to(options.device)
            path = Path(scratch) / f"{size}.pkl"
            path.write_bytes(pickle.dumps({"G_ema": theirs.cpu()}))
            theirs.to(options.device)
            ours = load_generator(path, options.device)
            if options.half:
                ours.use_half()
            if options.compile:
                ours.compile_synthesis()
            for batch in options.batches:
                compare(size, batch, theirs, ours, options.rounds, options.device)
            if options.device == "cpu":
                convert(path, path.with_suffix(".safetensors"))
                child = [sys.executable, "-c", MEMORY, path.with_suffix(".safetensors"), str(options.threads)]
                report = subprocess.run(child, capture_output=True, text=True, check=True).stdout
                print(f"{size:>5} ours, converted: {report}")


def reference_maker(folder: Path) -> Callable[[int, bool], Any]:
    """NVIDIA's Generator of a size, with random weights that make images."""
    if not (folder / "training" / "networks.py").is_file():
        raise SystemExit(f"{folder} is not a checkout of stylegan2-ada-pytorch.")
    sys.path.insert(0, str(folder))
    sys.modules.setdefault("requests", types.ModuleType("requests"))  # only its downloads need it
    from training.networks import Generator  # type: ignore[import-not-found]

    def make(size: int, half: bool) -> Any:
        torch.manual_seed(0)
        synthesis: dict[str, Any] = {"channel_base": CHANNEL_BASE.get(size, 32768), "channel_max": 512}
        if half:
            synthesis |= {"num_fp16_res": 4, "conv_clamp": 256}
        network = Generator(512, 0, 512, size, 3, mapping_kwargs={"num_layers": 8}, synthesis_kwargs=synthesis)
        for name, parameter in network.named_parameters():
            if name.endswith("noise_strength"):
                parameter.data.fill_(0.1)
            elif name.endswith("bias") and "affine" not in name:
                parameter.data.normal_(std=0.1)
        return network.eval().requires_grad_(False)

    return make


def compare(size: int, batch: int, theirs: Any, ours: Any, rounds: int, device: str) -> None:
    """Print one line: both on the same latents, taking turns."""
    latents = torch.randn(batch, ours.architecture.num_layers, 512).to(device)
    on_gpu = {"impl": "ref"} if device == "cpu" else {}
    assert not on_gpu or not torch.cuda.is_available()  # without CUDA, NVIDIA's code uses its reference operations
    calls = (
        lambda: theirs.synthesis(latents, noise_mode="const"),
        lambda: ours.synthesize(latents),
    )
    first, second = (call() for call in calls)
    difference = float((first - second).abs().max() / first.std())
    seconds = np.array([[timed(call, device) for call in calls] for _ in range(rounds)]) / batch  # [rounds, 2]
    best, ratio = seconds.min(0), float(np.median(seconds[:, 0] / seconds[:, 1]))
    best *= 1000
    print(f"{size:>5} {batch:>5} {best[0]:>10.1f} {best[1]:>10.1f} {ratio:>6.2f} {difference:>10.1e}", flush=True)


def timed(call: Callable[[], Any], device: str) -> float:
    if device == "cpu":
        start = time.process_time()
        call()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
