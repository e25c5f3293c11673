"""Directions in the latent space: published ones read, and others found for any network.

A direction is float32 [L, w_size], a row a layer, to be added with a strength. Those found here are as long as the
spread of the network's own w along them, so that -3..3 covers what the network draws.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facemorph import embedded
from facemorph.errors import InputError
from facemorph.files import check_free, replacing_files, write_json
from facemorph.stylegan.editing.age_path import AgePath, read_age_path
from facemorph.stylegan.latents import belongs_to, fingerprint
from facemorph.stylegan.networks.generator import Generator
from facemorph.weights.cache import directions_path, ready_path, state
from facemorph.weights.cards import cards

PUBLISHED = "stylegan1-ffhq-direction-"  # what the names of their cards begin with
PUBLISHED_LAYERS = 8  # the first ones; published directions are added to these alone (BabyGAN's recipe)
AGES = (10, 50)  # years that BabyGAN's strength of the age direction is meant for
MAX_BYTES = 1 << 24
FOLDS = 5


@dataclass(frozen=True)
class Direction:
    """A direction [L, w_size], added to the first `layers` layers; `about` says where it comes from."""

    name: str
    vector: np.ndarray
    layers: int
    about: dict[str, Any]

    @property
    def rows(self) -> slice:
        return slice(0, self.layers)


Edit = Direction | AgePath  # what changes a latent: a straight line, or a path of ages


def age_strength(years: float, direction: Direction | None = None) -> float:
    """Strength of an age direction for a face of so many years.

    Of a published one it is BabyGAN's, -(years / 5 - 6); one that was found here knows what a strength of 1 adds to
    the mean face's years.

    Raises:
        InputError: years outside 10 to 50, or further than 3 times the spread of the network's own faces.
    """
    about = {} if direction is None else direction.about
    if "years_per_strength" in about:
        mean, step = float(about["mean_years"]), float(about["years_per_strength"])
        low, high = max(mean - 3 * step, 0.0), mean + 3 * step
        strength = (years - mean) / step
    else:
        low, high = AGES
        strength = -(years / 5 - 6)
    if not low <= years <= high:
        raise InputError(
            f"An age of {years:g} years was asked for; {low:.0f} to {high:.0f} can be made.",
            f"Choose --age between {low:.0f} and {high:.0f}.",
        )
    return strength


def read_direction(path: Path, num_layers: int, w_size: int) -> Direction:
    """A direction in a .npy file: of shape (L, w_size), (1, w_size) or (w_size,), in W or W+.

    Raises:
        InputError: no such file, no array of plain numbers, or not of this network's size.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is far too large")
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ValueError("it holds no plain finite numbers")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no direction: {error}.", "A .npy file of numbers was expected.") from None
    rows = np.atleast_2d(array)
    if rows.ndim != 2 or rows.shape[1] != w_size or rows.shape[0] not in (1, num_layers):
        raise InputError(
            f"{path} holds an array of shape {array.shape}; this network's are ({num_layers}, {w_size}).",
            "A direction belongs to one network. `facemorph directions --network FILE` finds some for any network.",
        )
    vector = np.repeat(rows, num_layers, 0) if len(rows) == 1 else rows
    return Direction(path.stem, np.ascontiguousarray(vector, np.float32), min(PUBLISHED_LAYERS, num_layers), {})


def read_directions(folder: Path, generator: Generator) -> dict[str, Direction]:
    """Every direction in a folder, by name.

    Raises:
        InputError: no folder, none in it, one that is none, or they were found for another network.
    """
    paths = sorted(folder.glob("*.npy")) if folder.is_dir() else []
    if not paths:
        raise InputError(f"There are no directions (.npy) in {folder}.", "`facemorph directions` finds some.")
    architecture = generator.architecture
    found = {path.stem: read_direction(path, architecture.num_layers, architecture.w_size) for path in paths}
    noted = folder / "directions.json"
    if noted.is_file():
        try:
            about = json.loads(noted.read_text(encoding="utf-8"))
            ours, rows = belongs_to(about["network"], generator), about["directions"]
            found = {
                name: Direction(name, one.vector, rows[name]["layers"], rows[name]) if name in rows else one
                for name, one in found.items()
            }
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{noted} is damaged: {error!r}.", "Find the directions again.") from None
        if not ours:
            raise InputError(
                f"The directions in {folder} were found for another network.", "Find them again for this one."
            )
    return found


def own_edits(generator: Generator) -> dict[str, Edit]:
    """Age and gender of a network that comes with the package, or was added with them; nothing for any other."""
    known = fingerprint(generator)
    path = embedded.find(known, "directions") or directions_path(known)
    if not path.is_file():
        return {}
    age, gender, about, network = read_age_path(path)
    if not belongs_to(network, generator):
        raise InputError(f"{path} belongs to another network.", "Delete it, or reinstall facemorph-toolkit.")
    return {"age": age, "gender": Direction("gender", gender, len(gender), {"file": path.name, **about})}


def find_directions(folder: Path | None, generator: Generator) -> dict[str, Edit]:
    """The directions in `folder`; without one, those that come with this network, or published ones in the cache.

    Raises:
        InputError: as `read_directions`.
    """
    if folder is not None:
        return dict(read_directions(folder, generator))
    ours = own_edits(generator)
    if ours:
        return ours
    architecture = generator.architecture
    if architecture.generation != 1 or (architecture.num_layers, architecture.w_size) != (18, 512):
        return {}
    published = {name: card for name, card in cards().items() if name.startswith(PUBLISHED)}
    here = {name: ready_path(card) for name, card in published.items() if state(card) == "ready"}
    found: dict[str, Edit] = {}
    for name, path in here.items():
        one = read_direction(path, architecture.num_layers, architecture.w_size)
        short = name.removeprefix(PUBLISHED)
        found[short] = Direction(short, one.vector, one.layers, {"card": name})
    return found


def direction_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def write_directions(folder: Path, found: Sequence[Direction], generator: Generator, overwrite: bool = False) -> None:
    """NAME.npy for each, and directions.json; other directions in the folder stay, as this network's.

    Raises:
        InputError: the folder holds another network's.
        OutputError: it holds one of the same name that may not be replaced, or cannot be written.
    """
    for one in found:
        check_free(direction_path(folder, one.name), overwrite)
    before = read_directions(folder, generator) if (folder / "directions.json").is_file() else {}
    rows = {one.name: {"layers": one.layers, **one.about} for one in [*before.values(), *found]}
    with replacing_files(folder) as temporary:
        for one in found:
            np.save(direction_path(temporary, one.name), one.vector)
        write_json(temporary / "directions.json", {"network": fingerprint(generator), "directions": rows})


def styles(generator: Generator) -> np.ndarray:
    """The weights [S, w_size] by which w becomes the styles of all layers, one below the other."""
    layers = [
        module
        for name, module in generator.synthesis.named_modules()
        if isinstance(module, torch.nn.Linear) and name.rpartition(".")[2] in ("style", "affine")
    ]
    return torch.cat([layer.weight for layer in layers]).double().cpu().numpy()


def sefa(generator: Generator, count: int) -> np.ndarray:
    """Unit directions [count, w_size] that change the styles most: eigenvectors of A^T A (SeFa).

    Source: Shen and Zhou, "Closed-form factorization of latent semantics in GANs", CVPR 2021, equation 5.
    """
    weights = styles(generator)
    _, vectors = np.linalg.eigh(weights.T @ weights)
    return vectors.T[::-1][:count]


@torch.inference_mode()
def w_from_seeds(generator: Generator, seeds: Sequence[int]) -> np.ndarray:
    """w [N, w_size] of seeds, as NVIDIA's tools draw them, not truncated."""
    return generator.map(generator.z_from_seeds(seeds)).double().cpu().numpy()


def ganspace_pca(w: np.ndarray, count: int) -> np.ndarray:
    """Unit directions [count, w_size] in which w [N, w_size] spreads most (GANSpace, Harkonen et al. 2020)."""
    centred = w - w.mean(0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return vectors.T[::-1][:count]


def ridge_direction(w: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
    """The unit direction [w_size] along which `values` [N] grow, and how well it predicts held-out values.

    Ridge regression; the penalty with the best correlation between predicted and true values over 5 folds is taken, and
    that correlation returned. Two classes are values of 0 and 1: the direction is then Fisher's, up to the penalty.

    Raises:
        InputError: too few values, or all alike.
    """
    if len(values) < 4 * FOLDS or np.ptp(values) == 0:
        raise InputError(
            f"{len(values)} labelled latents, {len(np.unique(values))} different labels: too few to learn."
        )
    fold = np.arange(len(values)) % FOLDS

    def solve(rows: np.ndarray, penalty: float) -> np.ndarray:
        x = w[rows] - w[rows].mean(0)
        gram = x.T @ x
        gram[np.diag_indices_from(gram)] += penalty * np.trace(gram) / len(gram)
        return np.linalg.solve(gram, x.T @ (values[rows] - values[rows].mean()))

    best, strength = -2.0, 1.0
    for penalty in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0):
        predicted = np.empty(len(values))
        for number in range(FOLDS):
            predicted[fold == number] = w[fold == number] @ solve(fold != number, penalty)
        with np.errstate(invalid="ignore"):
            found = float(np.nan_to_num(np.corrcoef(predicted, values)[0, 1], nan=-1))
        if found > best:
            best, strength = found, penalty
    direction = solve(np.ones(len(values), bool), strength)
    return direction / np.linalg.norm(direction), best


def scale_to_std(unit: np.ndarray, w: np.ndarray) -> np.ndarray:
    """A unit direction made as long as the standard deviation of w [N, w_size] along it."""
    return unit * float((w @ unit).std())


def read_labels(path: Path) -> tuple[list[int], np.ndarray]:
    """Seeds and values of a CSV file of lines `seed,value`, with or without a heading.

    Raises:
        InputError: no such file, or a line that is something else.
    """
    try:
        rows = [row for row in csv.reader(path.read_text(encoding="utf-8").splitlines()) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Lines of seed,value were expected.") from None
    if rows and not rows[0][0].strip().lstrip("-").isdigit():
        rows = rows[1:]
    seeds, values = [], []
    for number, row in enumerate(rows, 1):
        try:
            seed, value = row
            seeds.append(int(seed))
            values.append(float(value))
            if not np.isfinite(values[-1]) or not 0 <= seeds[-1] < 1 << 32:
                raise ValueError
        except ValueError:
            raise InputError(f"{path}, row {number}: {','.join(row)!r} is not of the form seed,value.") from None
    if not seeds:
        raise InputError(f"{path} holds no labels.", "Lines of seed,value were expected.")
    return seeds, np.array(values)
