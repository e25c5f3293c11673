"""The paper's second limitation, "alignment needs another learner": alignment learned by the GAN itself, a first try.

    python experiments/face-morphing-2018/learnt_alignment.py work            # after reproduce.py ... -o work
    python experiments/face-morphing-2018/learnt_alignment.py work --strength 0.2 --way known --seeds 1

The training faces have a random shift, rotation and scale (`jittered` in material.py). Generated images are jittered
as well before D sees them (by "the mover"), so that G can generate aligned faces and leave the jitter to the mover.
`none` has no mover: it is the run jitter-*-ours (small) of reproduce.py, with the same settings; `known` has the jitter
of the training faces; `learnt` starts at an eighth of the limits and trains the amount. Written to
work/learnt-alignment.jsonl, one row per run: std of G's own images (before the mover) and of the place of their eyes,
fractions of detected faces and of each person, Frechet distance to aligned faces.
"""

import json
from itertools import product
from pathlib import Path

import click
import numpy as np
import torch
from material import DEGREES, SCALE, SHIFT, jittered
from PIL import Image
from torch.nn.functional import affine_grid, grid_sample
from tqdm import trange

from facemorph.dcgan.checkpoint import State, inference_copy
from facemorph.dcgan.config import Config, Data, Network, Training
from facemorph.dcgan.dataset import load_faces
from facemorph.dcgan.health import Health, judge
from facemorph.dcgan.networks import Generator, draw_z
from facemorph.dcgan.run import Run
from facemorph.dcgan.stepper import train_step
from facemorph.dcgan.walk import load_generator
from facemorph.evaluation.measures import person_fractions
from facemorph.faces.features import FaceFeatures, PersonCentroids, features_of_aligned
from facemorph.faces.landmarks import LEFT_EYE, RIGHT_EYE
from facemorph.images import grid, to_uint8, write_image
from facemorph.metrics.distributions import frechet

PERSONS = ("man", "woman")
WAYS = ("none", "known", "learnt")
COUNT = 300  # images in each comparison
BEGIN = 0.125  # initial strength where it is trained


class Mover(torch.nn.Module):
    """Random shift, rotation and scale of images [N, 3, H, W], up to `spread` [3] times the limits of material.py."""

    def __init__(self, spread: float, learnt: bool) -> None:
        super().__init__()
        self.spread = torch.nn.Parameter(torch.full((3,), spread), requires_grad=learnt)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        random = 2 * torch.rand(len(images), 4) - 1
        angle = self.spread[1] * np.deg2rad(DEGREES) * random[:, 0]
        factor = torch.exp(self.spread[2] * np.log(SCALE) * random[:, 1])
        shift = 2 * self.spread[0] * SHIFT * random[:, 2:]  # images have width 2 in affine_grid
        cosine, sine = factor * angle.cos(), factor * angle.sin()
        rows = [torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)]
        places = affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
        return grid_sample(images, places, padding_mode="reflection", align_corners=False)


def eyes_apart(features: FaceFeatures) -> float | None:
    """Std of the midpoint of the eyes over both axes, in distances between the eyes; None if no face is detected."""
    if not features.detected.any():
        return None
    points = features.points[features.detected]
    eyes = np.stack([points[:, LEFT_EYE].mean(1), points[:, RIGHT_EYE].mean(1)])  # [2, N, 2]
    middle, between = eyes.mean(0), np.hypot(*(eyes[1] - eyes[0]).T).mean()
    return float(np.sqrt((((middle - middle.mean(0)) / between) ** 2).sum(1).mean()))


def pixel_std(images: np.ndarray) -> float:
    """Std over the images uint8 [N, H, W, 3], averaged over the pixels, in grey levels of 255.

    It needs no detected face, and falls as faces become aligned.
    """
    return float(images.astype(np.float32).std(0).mean())


def some(folders: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """COUNT evenly spaced images of the folders: [N, H, W, 3], and the index of their folder [N]."""
    paths = [(path, label) for label, folder in enumerate(folders) for path in sorted(folder.glob("*.png"))]
    chosen = [paths[index] for index in np.linspace(0, len(paths) - 1, min(COUNT, len(paths))).astype(int)]
    images = [np.asarray(Image.open(path).convert("RGB")) for path, _ in chosen]
    return np.stack(images), np.array([label for _, label in chosen])


def train(folders: list[Path], strength: float | None, steps: int, seed: int) -> tuple[Generator, Health, list[float]]:
    """Train with a mover of this strength, or (None) a trained one: G without it, the loss verdict, final strengths."""
    training = Training(steps=steps, augment=("color", "shift"), ema=0.99, seed=seed, precision="float32-winograd")
    config = Config(data=Data(tuple(map(str, folders))), network=Network(channels=32), training=training)
    faces = load_faces(config.data, config.network.size_px, seed)
    images, labels = torch.from_numpy(faces.images), torch.from_numpy(faces.labels)
    state = State(config, torch.device("cpu"))
    mover = Mover(strength or BEGIN, strength is None)
    state.g.register_forward_hook(lambda _network, _z, images: mover(images))
    if strength is None:
        state.optimize_g.add_param_group({"params": [mover.spread], "lr": 2e-3})
    rows = [train_step(state, images, labels, config, torch.float32) for _ in trange(steps, unit=" steps")]
    losses = torch.stack(rows).numpy()
    spread = [round(value, 3) for value in mover.spread.tolist()]
    return inference_copy(state, config), judge(losses[:, 0], losses[:, 3]), spread  # a copy has no mover


@click.command()
@click.argument("work", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--strength", default=0.4, show_default=True, help="Of the jitter, 0 to 1.")
@click.option("--way", "ways", multiple=True, type=click.Choice(WAYS), help="Default: all.")
@click.option("--steps", default=1000, show_default=True)
@click.option("--seed", "first_seed", default=0, show_default=True, help="The first one.")
@click.option("--seeds", default=3, show_default=True)
def main(work: Path, strength: float, ways: tuple[str, ...], steps: int, first_seed: int, seeds: int) -> None:
    """Train on jittered faces with and without a mover, and measure how well G's own images are aligned."""
    ways = ways or WAYS
    runs = work / "runs" / "small"
    trained = {seed: runs / f"jitter-{strength}-ours-{seed}" for seed in range(first_seed, first_seed + seeds)}
    missing = [str(run) for run in trained.values() if not (run / "generator.safetensors").exists()]
    if "none" in ways and missing:
        raise click.UsageError(f"Missing: {', '.join(missing)}. Run reproduce.py ... --only jitter, or give --way.")
    folders = [work / "material" / f"{person}-jitter-{strength}" for person in PERSONS]
    for person, folder in zip(PERSONS, folders, strict=True):
        jittered(work / "frames" / person, work / "faces" / person, folder, strength)
    (reference, labels), (jittered_faces, _) = some([work / "faces" / person for person in PERSONS]), some(folders)
    aligned, training = features_of_aligned(reference), features_of_aligned(jittered_faces)
    persons = PersonCentroids.of(aligned, labels, PERSONS)
    about_data = {"eyes_apart_aligned": eyes_apart(aligned), "eyes_apart_training": eyes_apart(training)}
    about_data |= {"frechet_training": frechet(training.descriptors, aligned.descriptors)}
    about_data |= {"deviation_aligned": pixel_std(reference), "deviation_training": pixel_std(jittered_faces)}
    for seed, way in product(trained, ways):
        click.echo(f"{way}, seed {seed}")
        z = draw_z(COUNT, Network(), torch.Generator().manual_seed(seed))
        if way == "none":
            run = Run.open(trained[seed])
            network, health, spread = load_generator(run).network, run.health(), None
        else:
            network, health, spread = train(folders, strength if way == "known" else None, steps, seed)
        with torch.no_grad():
            generated = to_uint8(network(z))
        features = features_of_aligned(generated)
        row = {"way": way, "strength": strength, "steps": health.steps, "seed": seed, "verdict": health.verdict}
        row |= {"d_loss": health.d_loss, "g_loss": health.g_loss, **person_fractions(persons, features)}
        row |= {"frechet": frechet(features.descriptors, aligned.descriptors), "eyes_apart": eyes_apart(features)}
        row |= {"deviation": pixel_std(generated), **about_data, "spread": spread}
        write_image(work / f"learnt-alignment-{way}-{strength}-{seed}.png", grid(generated[:64]))
        with (work / "learnt-alignment.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        click.echo(json.dumps(row))


if __name__ == "__main__":
    main()
