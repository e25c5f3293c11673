"""The real faces that a run was trained on: from the folders in its configuration, or the few in the run folder."""

import dataclasses
import logging
from pathlib import Path

import numpy as np

from facemorph.dcgan.config import Data
from facemorph.dcgan.dataset import Faces, describe_counts, load_faces
from facemorph.dcgan.run import Run
from facemorph.errors import InputError

log = logging.getLogger("facemorph")


def training_faces(run: Run) -> Faces:
    """The run's training faces; if their folders are gone or have changed, the few of each person in the run folder.

    The folders in its configuration may be relative to where training was started. They are looked for from the current
    folder, from beside the run folder and from the folder above, and used only if the faces in them are the same.

    Raises:
        RunError: the run's own files cannot be read.
    """
    config, about = run.config(), run.about()
    target = about.get("data_sha256")
    problems = []
    parents = run.path.resolve().parents
    for base in (Path(), *parents[:2]):
        data = dataclasses.replace(config.data, faces=tuple(str(base / name) for name in config.data.faces))
        try:
            faces = load_faces(data, config.network.size_px, config.training.seed)
        except InputError as error:
            problems.append(error.problem.removesuffix("."))
            continue
        if faces.digest == target:
            return faces
        problems.append(f"{', '.join(data.faces)} holds other faces: {describe_counts(faces.counts())}")
    kept = run.people()
    log.warning(
        "The faces that %s was trained on are not found: %s. Compared with the %d in the run folder, of %d; for all of "
        "them, run this in the folder where training was started.",
        run.path, problems[0], sum(map(len, kept.values())), sum(about.get("faces", {}).values()),
    )  # fmt: skip
    images = np.concatenate(list(kept.values()))
    labels = np.repeat(np.arange(len(kept)), [len(faces) for faces in kept.values()])
    return Faces(images.transpose(0, 3, 1, 2), labels, tuple(kept), "", str(run.path / "people.npz"), complete=False)


def other_faces(folder: Path, size_px: int) -> Faces:
    """All faces in a folder of one person or of several.

    Raises:
        InputError: no such folder, or no faces in it.
    """
    if not folder.is_dir():
        raise InputError(f"No face folder {folder} (--against).", "Make one with `facemorph align frames/*`.")
    return load_faces(Data(faces=(str(folder),)), size_px, 0)
