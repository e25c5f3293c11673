"""The paper's second limit, "alignment needs another learner": a first try at alignment learnt inside the training.

    python experiments/face-morphing-2018/learnt_alignment.py work            # after reproduce.py ... -o work
    python experiments/face-morphing-2018/learnt_alignment.py work --strength 0.2 --way known --seeds 1

D sees faces that were shifted, turned and scaled at random (`jittered` in material.py). What G draws is moved as well
before D sees it, so G need not draw misplaced faces: it may draw all of them at one place and leave the rest to the
mover. `none` is without a mover: reproduce.py's run jitter-*-ours (small), with the settings of the others; `known`
moves as the training faces were moved, `learnt` begins at an eighth of the limits and lets the gradient find how far.
Written to work/learnt-alignment.jsonl, one row each: how far G's own images (before the mover) differ from each
other and their eyes lie apart, how often a face is seen and is one of the persons, Frechet distance to aligned faces.
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
from facemorph.dcgan.train import train_step
from facemorph.dcgan.walk import load_generator
from facemorph.evaluation.measures import person_fractions
from facemorph.faces.features import FaceFeatures, PersonCentroids, features_of_aligned
from facemorph.faces.landmarks import LEFT_EYE, RIGHT_EYE
from facemorph.images import grid, to_uint8, write_image
from facemorph.metrics.distributions import frechet

PERSONS = ("man", "woman")
WAYS = ("none", "known", "learnt")
COUNT = 300  # images that are compared
BEGIN = 0.125  # strength from which one is learnt


class Mover(torch.nn.Module):
    """Shift, turn and scale images [N, 3, H, W] at random, up to `spread` [3] of the limits that material.py has."""

    def __init__(self, spread: float, learnt: bool) -> None:
        super().__init__()
        self.spread = torch.nn.Parameter(torch.full((3,), spread), requires_grad=learnt)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        drawn = 2 * torch.rand(len(images), 4) - 1
        angle = self.spread[1] * np.deg2rad(DEGREES) * drawn[:, 0]
        factor = torch.exp(self.spread[2] * np.log(SCALE) * drawn[:, 1])
        shift = 2 * self.spread[0] * SHIFT * drawn[:, 2:]  # an image is 2 wide for affine_grid
        cosine, sine = factor * angle.cos(), factor * angle.sin()
        rows = [torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)]
        places = affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
        return grid_sample(images, places, padding_mode="reflection", align_corners=False)


def eyes_apart(studied: FaceFeatures) -> float | None:
    """Standard deviation of the middle of the eyes, both axes together, in distances between them; None if unseen."""
    if not studied.detected.any():
        return None
    points = studied.points[studied.detected]
    eyes = np.stack([points[:, LEFT_EYE].mean(1), points[:, RIGHT_EYE].mean(1)])  # [2, N, 2]
    middle, between = eyes.mean(0), np.hypot(*(eyes[1] - eyes[0]).T).mean()
    return float(np.sqrt((((middle - middle.mean(0)) / between) ** 2).sum(1).mean()))


def deviation(images: np.ndarray) -> float:
    """Standard deviation over the images uint8 [N, H, W, 3], averaged over the pixels, in grey levels of 255.

    It needs no face to be seen, and falls as outlines come to lie at one place.
    """
    return float(images.astype(np.float32).std(0).mean())


def some(folders: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """COUNT images of the folders together, evenly chosen: [N, H, W, 3], and the number of their folder [N]."""
    paths = [(path, label) for label, folder in enumerate(folders) for path in sorted(folder.glob("*.png"))]
    chosen = [paths[index] for index in np.linspace(0, len(paths) - 1, min(COUNT, len(paths))).astype(int)]
    images = [np.asarray(Image.open(path).convert("RGB")) for path, _ in chosen]
    return np.stack(images), np.array([label for _, label in chosen])


def learn(folders: list[Path], strength: float | None, steps: int, seed: int) -> tuple[Generator, Health, list[float]]:
    """Train with a mover behind G, of this strength or, with None, learnt: G without it, and where it ended."""
    training = Training(steps=steps, augment=("color", "shift"), ema=0.99, seed=seed)
    config = Config(data=Data(tuple(map(str, folders))), network=Network(channels=32), training=training)
    faces = load_faces(config.data, config.network.size_px, seed)
    images, labels = torch.from_numpy(faces.images), torch.from_numpy(faces.labels)
    state = State(config, torch.device("cpu"))
    mover = Mover(strength or BEGIN, strength is None)
    state.g.register_forward_hook(lambda _network, _z, drawn: mover(drawn))
    if strength is None:
        state.optimize_g.add_param_group({"params": [mover.spread], "lr": 2e-3})
    rows = [train_step(state, images, labels, config, torch.float32) for _ in trange(steps, unit=" steps")]
    losses = torch.stack(rows).numpy()
    spread = [round(value, 3) for value in mover.spread.tolist()]
    return (
        inference_copy(state, config),
        judge(losses[:, 0], losses[:, 3]),
        spread,
    )  # settled: a copy, without the mover


@click.command()
@click.argument("work", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--strength", default=0.4, show_default=True, help="Of the jitter, 0 to 1.")
@click.option("--way", "ways", multiple=True, type=click.Choice(WAYS), help="Default: all.")
@click.option("--steps", default=1000, show_default=True)
@click.option("--seed", "first_seed", default=0, show_default=True, help="The first one.")
@click.option("--seeds", default=3, show_default=True)
def main(work: Path, strength: float, ways: tuple[str, ...], steps: int, first_seed: int, seeds: int) -> None:
    """Train on misplaced faces with and without a mover behind G, and see where G draws its own."""
    ways = ways or WAYS
    runs = work / "runs" / "small"
    trained = {seed: runs / f"jitter-{strength}-ours-{seed}" for seed in range(first_seed, first_seed + seeds)}
    missing = [str(run) for run in trained.values() if not (run / "generator.safetensors").exists()]
    if "none" in ways and missing:
        raise click.UsageError(f"Not there: {', '.join(missing)}. Run reproduce.py ... --only jitter, or give --way.")
    folders = [work / "material" / f"{person}-jitter-{strength}" for person in PERSONS]
    for person, folder in zip(PERSONS, folders, strict=True):
        jittered(work / "frames" / person, work / "faces" / person, folder, strength)
    (reference, labels), (learnt_from, _) = some([work / "faces" / person for person in PERSONS]), some(folders)
    aligned, training = features_of_aligned(reference), features_of_aligned(learnt_from)
    persons = PersonCentroids.of(aligned, labels, PERSONS)
    about_data = {"eyes_apart_aligned": eyes_apart(aligned), "eyes_apart_training": eyes_apart(training)}
    about_data |= {"frechet_training": frechet(training.descriptors, aligned.descriptors)}
    about_data |= {"deviation_aligned": deviation(reference), "deviation_training": deviation(learnt_from)}
    for seed, way in product(trained, ways):
        click.echo(f"{way}, seed {seed}")
        z = draw_z(COUNT, Network(), torch.Generator().manual_seed(seed))
        if way == "none":
            run = Run.open(trained[seed])
            network, health, spread = load_generator(run).network, run.health(), None
        else:
            network, health, spread = learn(folders, strength if way == "known" else None, steps, seed)
        with torch.no_grad():
            drawn = to_uint8(network(z))
        studied = features_of_aligned(drawn)
        row = {"way": way, "strength": strength, "steps": health.steps, "seed": seed, "verdict": health.verdict}
        row |= {"d_loss": health.d_loss, "g_loss": health.g_loss, **person_fractions(persons, studied)}
        row |= {"frechet": frechet(studied.descriptors, aligned.descriptors), "eyes_apart": eyes_apart(studied)}
        row |= {"deviation": deviation(drawn), **about_data, "spread": spread}
        write_image(work / f"learnt-alignment-{way}-{strength}-{seed}.png", grid(drawn[:64]))
        with (work / "learnt-alignment.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        click.echo(json.dumps(row))


if __name__ == "__main__":
    main()
