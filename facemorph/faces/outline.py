"""The outline of the head, with hair and ears, in front of a plain background.

The 68 landmarks cover only the inner face. Without the outline, hair is doubled half-way through a morph.
"""

import numpy as np
from PIL import Image, ImageFilter

ANGLES = np.radians(np.arange(-140, 141, 10))  # of the rays from between the eyes, clockwise from upwards
NECK = (0.15, 0.3, 0.45)  # origins of rays to both sides: below the chin, in heights of the face
RAYS = len(ANGLES) + 2 * len(NECK)
SEARCH_PX = 256
STRIP = 0.07  # of the side: width of the strips at the left, right and upper edge that show the background
MAX_SPREAD = 14.0  # grey levels: a background that differs more from a smooth colour is not plain
MIN_CONTRAST = 14.0  # grey levels between head and background


def head_outline(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The outermost points of head and neck, on rays from between the eyes and from the neck.

    Args:
        image: uint8 RGB [S, S, 3], the head upright within it.
        points: its landmarks [68, 2].

    Returns:
        float64 [RAYS, 2] in pixels of the image; NaN for a ray without a clear outline: the background is not plain,
        the head does not differ from it, or what differs (shoulders) reaches the edge of the image.
    """
    scale = SEARCH_PX / len(image)
    small = Image.fromarray(image).resize((SEARCH_PX, SEARCH_PX), Image.Resampling.BOX)
    points = (points + 0.5) * scale - 0.5
    nothing = np.full((RAYS, 2), np.nan)
    difference = _difference_from_background(np.asarray(small, np.float64))
    if difference is None:
        return nothing

    origins, directions = _rays(points)
    distance = np.arange(0.0, 1.5 * SEARCH_PX)
    spots = np.rint(origins + distance[:, None, None] * directions).astype(int)  # [D, RAYS, 2]
    within = ((spots >= 0) & (spots < SEARCH_PX)).all(2)
    x, y = np.clip(spots, 0, SEARCH_PX - 1).transpose(2, 0, 1)
    differs = (difference[y, x] > 1) & within
    solid = differs[2:] & differs[1:-1] & differs[:-2]  # three pixels in a row: a stray hair is not the head
    radius = len(solid) + 1.0 - solid[::-1].argmax(0)  # of the outermost pixel of the farthest three
    certain = solid.any(0) & (radius < 0.97 * (within.sum(0) - 1))

    around = slice(0, len(ANGLES))
    smooth = np.stack([np.roll(radius[around], step) for step in (-1, 0, 1)])
    reach = ((points[:, None] - origins) * directions).sum(2).max(0)  # of the landmarks along each ray
    radius[around] = np.maximum(np.median(smooth, 0), 1.05 * reach[around])
    outline = origins + radius[:, None] * directions
    return np.where(certain[:, None], (outline + 0.5) / scale - 0.5, nothing)


def _rays(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Origins and directions of the rays, [RAYS, 2] each: around the head, then from the neck left and right."""
    centre, chin = points[27], points[8]
    up = (centre - chin) / np.hypot(*(centre - chin))
    right = np.array([-up[1], up[0]])
    around = np.cos(ANGLES)[:, None] * up + np.sin(ANGLES)[:, None] * right
    neck = chin - np.outer(NECK, up) * np.hypot(*(centre - chin))
    origins = [np.broadcast_to(centre, around.shape), neck, neck]
    return np.concatenate(origins), np.concatenate([around, *([side] * len(NECK) for side in (-right, right))])


def _difference_from_background(image: np.ndarray) -> np.ndarray | None:
    """Difference of each pixel of [S, S, 3] from the background, 1 at the threshold: [S, S]; None if it is not plain.

    The colour of the background may change smoothly: a quadratic in x and y is fitted to the edges of the image,
    iteratively without outliers.
    """
    side = len(image)
    strip = round(STRIP * side)
    y, x = np.mgrid[:side, :side] / side - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
    edge = np.zeros((side, side), bool)
    edge[:strip] = edge[: side * 6 // 10, :strip] = edge[: side * 6 // 10, -strip:] = True
    design, colours = terms[edge], image[edge]
    near = np.ones(len(design), bool)
    spread = 0.0
    for _ in range(6):
        surface = np.linalg.lstsq(design[near], colours[near], rcond=None)[0]  # [6, 3]
        errors = np.abs(colours - design @ surface).max(1)
        spread = 1.48 * float(np.median(errors))
        near = errors < max(3 * spread, 3.0)
    if spread > MAX_SPREAD or near.mean() < 0.6:
        return None
    difference = np.abs(image - terms @ surface).max(2)  # pyright: ignore[reportPossiblyUnboundVariable]
    soft = Image.fromarray(np.clip(difference, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
    return np.asarray(soft, np.float64) / max(4 * spread, MIN_CONTRAST)
