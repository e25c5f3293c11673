"""Where does the head end, with hair and ears: found where it stands before a plain ground.

The 68 landmarks know only the inner face. A morph needs the outline as well, or hair shows twice half-way.
"""

import numpy as np
from PIL import Image, ImageFilter

ANGLES = np.radians(np.arange(-140, 141, 10))  # of the rays from between the eyes, clockwise from straight up
NECK = (0.15, 0.3, 0.45)  # below the chin, in face heights: from there rays go out to both sides
RAYS = len(ANGLES) + 2 * len(NECK)
SEARCH_PX = 256
STRIP = 0.07  # of the side: ground is learnt at the left, right and upper edge
PLAIN = 14.0  # grey levels: a ground that strays further from a smooth colour is not plain
STANDS_OUT = 14.0  # grey levels that a head must differ from its ground at least


def head_outline(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The outermost points of head and neck, on rays from between the eyes and from the neck.

    Args:
        image: uint8 RGB [S, S, 3], the head upright within it.
        points: its landmarks [68, 2].

    Returns:
        float64 [RAYS, 2] in pixels of the image; NaN for a ray on which the outline is not certain: the ground is
        not plain, the head does not stand out, or what stands out (shoulders) reaches the edge of the image.
    """
    scale = SEARCH_PX / len(image)
    small = Image.fromarray(image).resize((SEARCH_PX, SEARCH_PX), Image.Resampling.BOX)
    points = (points + 0.5) * scale - 0.5
    nothing = np.full((RAYS, 2), np.nan)
    strangeness = _unlike_ground(np.asarray(small, np.float64))
    if strangeness is None:
        return nothing

    origins, directions = _rays(points)
    distance = np.arange(0.0, 1.5 * SEARCH_PX)
    spots = np.rint(origins + distance[:, None, None] * directions).astype(int)  # [D, RAYS, 2]
    within = ((spots >= 0) & (spots < SEARCH_PX)).all(2)
    x, y = np.clip(spots, 0, SEARCH_PX - 1).transpose(2, 0, 1)
    stands_out = (strangeness[y, x] > 1) & within
    solid = stands_out[2:] & stands_out[1:-1] & stands_out[:-2]  # a stray hair is not the head
    radius = len(solid) + 1.0 - solid[::-1].argmax(0)  # of the outer one of the farthest three
    certain = solid.any(0) & (radius < 0.97 * (within.sum(0) - 1))

    around = slice(0, len(ANGLES))
    smooth = np.stack([np.roll(radius[around], step) for step in (-1, 0, 1)])
    reach = ((points[:, None] - origins) * directions).sum(2).max(0)  # of the landmarks
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


def _unlike_ground(image: np.ndarray) -> np.ndarray | None:
    """How far each pixel [S, S, 3] is from the ground's colour, 1 at the threshold: [S, S]; None without plain ground.

    The ground may change its colour smoothly: a quadratic over the image is fitted to its edges, again and again to
    what has come near it.
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
    if spread > PLAIN or near.mean() < 0.6:
        return None
    apart = np.abs(image - terms @ surface).max(2)  # pyright: ignore[reportPossiblyUnboundVariable]
    soft = Image.fromarray(np.clip(apart, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
    return np.asarray(soft, np.float64) / max(4 * spread, STANDS_OUT)
