"""The two public-domain portraits that come inside matplotlib and scikit-image, as pictures with landmarks."""

from pathlib import Path

import numpy as np
import pytest

Located = tuple[np.ndarray, np.ndarray]


def grace_hopper() -> Located:
    from matplotlib.cbook import get_sample_data

    from facemorph.faces.locate import locate_face
    from facemorph.images import read_image

    image = read_image(Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False))))
    return image, locate_face(image, "grace").landmarks


def eileen_collins() -> Located:
    from facemorph.faces.locate import locate_face

    image = pytest.importorskip("skimage.data").astronaut()
    return image, locate_face(image, "eileen").landmarks


def unit(points: np.ndarray) -> float:
    """Distance between the eyes, the usual measure of landmark errors."""
    return float(np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0)))
