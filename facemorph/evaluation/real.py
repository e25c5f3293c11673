"""The real faces that a run learnt from: from the folders that its configuration names, or those that it kept."""

import dataclasses
import logging
from pathlib import Path

import numpy as np

from facemorph.dcgan.config import Data
from facemorph.dcgan.dataset import Faces, load_faces
from facemorph.dcgan.run import Run
from facemorph.errors import InputError

log = logging.getLogger("facemorph")


def training_faces(run: Run) -> Faces:
    """What the run learnt from; if its folders are gone or have changed, the few faces of each person that it kept.

    The folders in its configuration may be relative to where training was started; they are looked for from here, from
    beside the run folder and from the folder above, and count only if the faces in them are the ones it learnt from.

    Raises:
        RunError: the run's own files cannot be read.
    """
    config, about = run.config(), run.about()
    wanted = about.get("data_sha256")
    problems = []
    parents = run.path.resolve().parents
    for base in (Path(), *parents[:2]):
        data = dataclasses.replace(config.data, faces=tuple(str(base / name) for name in config.data.faces))
        try:
            faces = load_faces(data, config.network.size_px, config.training.seed)
        except InputError as error:
            problems.append(error.problem)
            continue
        if faces.digest == wanted:
            return faces
        problems.append(f"{', '.join(data.faces)}: {faces.counts()}, which are other faces than it learnt from.")
    kept = run.people()
    log.warning(
        "The faces that %s learnt from are not to be found (%s). Compared with the %d faces that it kept, of %d; for "
        "all of them, start this where training was started.",
        run.path, problems[0], sum(map(len, kept.values())), sum(about.get("faces", {}).values()),
    )  # fmt: skip
    images = np.concatenate(list(kept.values()))
    labels = np.repeat(np.arange(len(kept)), [len(faces) for faces in kept.values()])
    return Faces(images.transpose(0, 3, 1, 2), labels, tuple(kept), "", str(run.path / "people.npz"), complete=False)


def other_faces(folder: Path, size_px: int) -> Faces:
    """All faces in a folder of a person or of persons.

    Raises:
        InputError: there is no such folder, or no faces in it.
    """
    if not folder.is_dir():
        raise InputError(f"No face folder {folder} (--against).", "Make one with `facemorph align frames/*`.")
    return load_faces(Data(faces=(str(folder),)), size_px, 0)
