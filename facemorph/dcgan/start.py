"""Before the first step: check that the folder's run is the one asked for, and write what explains it."""

import logging
import zipfile
from pathlib import Path

import numpy as np
import torch

from facemorph.config import plain, to_yaml
from facemorph.dcgan.config import Config
from facemorph.dcgan.dataset import Faces, describe_counts
from facemorph.dcgan.precision import PRECISIONS
from facemorph.dcgan.run import Run
from facemorph.errors import RunError
from facemorph.files import replacing, write_json, write_text
from facemorph.images import grid, write_image
from facemorph.run_folder import about_this_machine, check_new, check_same_settings

log = logging.getLogger("facemorph")

GRID = 64  # images on a sample grid, as in the paper
PEOPLE_KEPT = 32  # real faces of each person that the run folder keeps


def check_same_config(config: Config, run: Run) -> None:
    if not (run.path / "config.yaml").exists():
        check_new(run.path)
        return
    Run.open(run.path)  # it may be another command's
    check_same_settings(run.path, plain(run.config()), plain(config), ("training.steps",))  # more may be asked for


def check_same_faces(faces: Faces, run: Run) -> None:
    """Raises RunError if the run in the folder was trained on other faces."""
    if not (run.path / "run.json").exists():
        return
    before = run.about()
    if before.get("data_sha256") != faces.digest:
        then, now = describe_counts(before.get("faces", {})), describe_counts(faces.counts())
        raise RunError(
            f"The faces have changed since {run.path} was started: {then} then, {now} now.",
            "Restore the old ones, or give another -o.",
        )


def begin(config: Config, run: Run, faces: Faces, device: torch.device, precision: str, processes: int = 1) -> None:
    """Write what explains the run, except what is there already. `precision` is what auto became."""
    about = {
        **about_this_machine(_device_name(device), processes),
        "precision": PRECISIONS[precision],
        "seed": config.training.seed,
        "faces": faces.counts(),
        "data_sha256": faces.digest,
    }
    for torn in (*run.path.glob(".*.partial*"), *run.samples.glob(".*.partial*")):  # left by a kill
        torn.unlink()
    begun = (run.path / "run.json").exists()
    if begun and (before := run.about().get("device")) != about["device"]:
        log.warning(
            "The run was started on %s and continues on %s, in %s as before; the last digits will differ.",
            before, about["device"], about["precision"],
        )  # fmt: skip
    write_text(run.path / "config.yaml", to_yaml(config))  # first: it makes the folder a run folder
    if not begun:
        people = {name: faces.of(name, PEOPLE_KEPT) for name in faces.persons}
        with replacing(run.path / "people.npz") as temporary:
            _write_npz(temporary, people)
        order = np.random.default_rng(config.training.seed).permutation(len(faces.images))[:GRID]
        write_image(run.path / "real.png", grid(faces.images[order].transpose(0, 2, 3, 1)))
        write_json(run.path / "run.json", about)
    counts = describe_counts(faces.counts())
    log.info("Training on %s, on %s in %s. %s", counts, about["device"], about["precision"], config.recipe)
    if len(faces.persons) == 1:
        log.info("There is one person: a walk will show expressions, not a change of person.")


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """As np.savez_compressed, whose arguments have names of their own: a person may be called `file`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
