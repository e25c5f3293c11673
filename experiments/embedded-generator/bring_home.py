"""A run of `train-generator`, small enough to be taken home from a borrowed machine: half precision, cut in parts.

    python experiments/embedded-generator/bring_home.py run-256 results
    cat results/home.tar.* | tar x        # at home: home/, a run folder that --from, evaluate and `weights add` take

Kept are generator, encoder and the judges' weights, logs, figures and the last grids; not the optimisers' state.
"""

import io
import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import safetensors.torch
import torch
from safetensors import safe_open

from facemorph.images import read_image, write_image
from facemorph.stylegan.formats.converted import SMALL, read_json, write_converted
from facemorph.stylegan.latents import fingerprint
from facemorph.stylegan.load import load_generator
from facemorph.stylegan.networks.architecture import GeneratorWeights
from facemorph.stylegan.projection.encoder import read_encoder, write_encoder
from facemorph.stylegan.training.run import GeneratorRun

PART_BYTES = 15 << 20
PLAIN = ("config.yaml", "run.json", "log.csv", "figures.csv", "health.json", "loss.png", "faces.npz")
LARGEST_PLAIN = 4 << 20  # of these files: the faces may be many


def main(source: Path, target: Path) -> None:
    run = GeneratorRun.open(source)
    with tempfile.TemporaryDirectory() as scratch:
        home = GeneratorRun(Path(scratch) / "home")
        home.samples.mkdir(parents=True)
        halve(run, home)
        for name in PLAIN:
            if (run.path / name).exists() and (run.path / name).stat().st_size < LARGEST_PLAIN:
                shutil.copy(run.path / name, home.path)
        for kind in ("drawn", "rebuilt"):
            for grid in sorted(run.samples.glob(f"{kind}-*.png"))[-1:]:
                write_image(home.samples / f"{grid.stem}.jpg", read_image(grid))
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(home.path, "home")
    target.mkdir(parents=True, exist_ok=True)
    content = packed.getvalue()
    for number, start in enumerate(range(0, len(content), PART_BYTES)):
        (target / f"home.tar.{number}").write_bytes(content[start : start + PART_BYTES])
    print(f"{target}: home.tar, {len(content) >> 20} MiB in parts")


def halve(run: GeneratorRun, home: GeneratorRun) -> None:
    """Write the networks in half precision; the encoder for the generator as it is then."""
    architecture, origin = read_json(run.generator)
    generator = load_generator(run.generator)
    arrays = {name: tensor.numpy() for name, tensor in generator.state_dict().items()}
    plain = {name: value for name, value in origin.items() if isinstance(value, (str, int))}
    write_converted(home.generator, GeneratorWeights(architecture, arrays, plain), half=True)
    network = fingerprint(load_generator(home.generator))
    write_encoder(home.encoder, read_encoder(run.encoder, generator), network, {}, half=True)
    with safe_open(run.checkpoint, "pt", device="cpu") as file:
        judges = {name: file.get_tensor(name) for name in file.keys() if name.startswith("judges.")}  # noqa: SIM118
        head = {key: json.loads(value) for key, value in file.metadata().items()}
    small = {name: one.half() if one.numel() > SMALL else one for name, one in judges.items()}
    for one in small.values():
        assert torch.isfinite(one).all()
    about = {key: json.dumps(value) for key, value in head.items()}
    home.checkpoint.write_bytes(safetensors.torch.save(small, about))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
