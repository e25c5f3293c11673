"""The real faces that a run learnt from: from the folders that its configuration names, or those that it kept."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facemorph.config import Data
from facemorph.dcgan.dataset import Faces, load_faces
from facemorph.dcgan.run import Run
from facemorph.errors import InputError

log = logging.getLogger("facemorph")


@dataclass(frozen=True)
class RealFaces:
    """Real faces.

    Attributes:
        images: uint8 RGB [N, H, H, 3], those of a person together and in the order of the clip.
        labels: [N], index into `persons`.
        source: in words, where they come from.
        all_of_them: whether these are all that the run learnt from.
    """

    images: np.ndarray
    labels: np.ndarray
    persons: tuple[str, ...]
    source: str
    all_of_them: bool = True

    def counts(self) -> dict[str, int]:
        return {name: int((self.labels == i).sum()) for i, name in enumerate(self.persons)}


def learnt_faces(run: Run) -> RealFaces:
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
            return _as_real(faces, ", ".join(data.faces))
        problems.append(f"{', '.join(data.faces)}: {faces.counts()}, which are other faces than it learnt from.")
    kept = run.people()
    log.warning(
        "The faces that %s learnt from are not to be found (%s). Compared with the %d faces that it kept, of %d; for "
        "all of them, start this where training was started.",
        run.path, problems[0], sum(map(len, kept.values())), sum(about.get("faces", {}).values()),
    )  # fmt: skip
    images = np.concatenate(list(kept.values()))
    labels = np.repeat(np.arange(len(kept)), [len(faces) for faces in kept.values()])
    return RealFaces(images, labels, tuple(kept), f"{run.path / 'people.npz'}", all_of_them=False)


def other_faces(folder: Path, size_px: int) -> RealFaces:
    """All faces in a folder of a person or of persons.

    Raises:
        InputError: there is no such folder, or no faces in it.
    """
    if not folder.is_dir():
        raise InputError(f"No face folder {folder} (--against).", "Make one with `facemorph align frames/*`.")
    return _as_real(load_faces(Data(faces=(str(folder),)), size_px, 0), str(folder))


def _as_real(faces: Faces, source: str) -> RealFaces:
    return RealFaces(faces.images.transpose(0, 2, 3, 1), faces.labels, faces.persons, source)
