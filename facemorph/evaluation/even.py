"""Steps of a morph placed so that neighbours are equally far in identity, as `facemorph evaluate` measures it."""

import numpy as np

from facemorph.animation import Morph
from facemorph.errors import FaceError
from facemorph.evaluation.morphs import describe_any
from facemorph.progress import progress_bar

ROUNDS, EVEN_ENOUGH = 8, 0.03  # variation of the distances (std over mean) that is even enough


def even_fractions(morph: Morph, steps: int, progress: bool = False) -> tuple[list[float], float]:
    """Fractions of the way from 0 to 1, and the variation (std over mean) of the distances between neighbours.

    Distances are those of dlib's descriptors. They are measured at `steps` fractions, these are moved to where the
    distances along the way are equal, and so on; the evenest are returned.

    Raises:
        FaceError: in the morph, faces are not found at some fraction.
    """
    fractions = np.linspace(0, 1, steps)
    best, best_variation = fractions, np.inf
    known: dict[float, np.ndarray] = {}
    with progress_bar(progress, total=ROUNDS * steps, unit=" images", description="even steps") as bar:
        for _ in range(ROUNDS):
            new = [float(fraction) for fraction in fractions if float(fraction) not in known]
            for fraction, image in zip(new, morph.frames(new), strict=True):
                descriptors, detected = describe_any([image[..., :3]])
                if not detected[0]:
                    raise FaceError(
                        f"At {100 * fraction:.3g} % of the way no face is found, so --even cannot measure it.",
                        "Try --method landmarks, a larger --size, or no --even.",
                    )
                known[fraction] = descriptors[0]
                bar.update()
            found = np.stack([known[float(fraction)] for fraction in fractions])
            distances = np.linalg.norm(np.diff(found, axis=0), axis=1)
            variation = float(distances.std() / max(distances.mean(), 1e-9))
            if variation < best_variation:
                best, best_variation = fractions, variation
            if variation < EVEN_ENOUGH:
                break
            along = np.concatenate([[0], np.cumsum(np.maximum(distances, 1e-9))])
            moved = np.interp(np.linspace(0, along[-1], steps), along, fractions)
            fractions = (fractions + moved) / 2 if variation > best_variation else moved
            fractions[[0, -1]] = 0, 1
    return [float(fraction) for fraction in best], best_variation
