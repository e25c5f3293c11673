"""Which part of a picture is shown, the inner face, an oval or everything, and on which background."""

import re
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from facemorph.errors import ConfigError
from facemorph.faces.mesh import NUM_POINTS, seen_as_68

FEATHER = 0.04  # of the extent of the points: width of the soft edge
OVAL_ABOVE = 0.35  # of the extent of dlib's points, which end at the brows: how much forehead an oval shows
WEBMORPH = 189  # points of its template, which also hold hair, ears and neck
BROWS_189, UNDER_NOSE_189 = slice(71, 87), 55
JAW_189 = [109, 185, 110, 186, 111, *range(125, 134), 114, 188, 113, 187, 112]  # from ear to ear
HAIRLINE_189 = slice(134, 145)


def hull(points: np.ndarray) -> np.ndarray:
    """The convex hull of points [N, 2], in order (Andrew's monotone chain)."""

    def chain(ordered: np.ndarray) -> list[np.ndarray]:
        kept: list[np.ndarray] = []
        for point in ordered:
            while len(kept) > 1:
                (ax, ay), (bx, by) = kept[-1] - kept[-2], point - kept[-1]
                if ax * by - ay * bx > 0:
                    break
                kept.pop()
            kept.append(point)
        return kept[:-1]

    ordered = points[np.lexsort(points.T[::-1])]
    return np.array(chain(ordered) + chain(ordered[::-1]))


def inner_face(points: np.ndarray) -> np.ndarray:
    """The outline [N, 2] of the inner face: the jaw to the brows or above; of others all points' hull."""
    points = seen_as_68(points) if len(points) == NUM_POINTS else points
    if len(points) == WEBMORPH:
        brows = points[BROWS_189]
        return hull(np.concatenate([points[JAW_189], brows, brows + 0.3 * (brows.mean(0) - points[UNDER_NOSE_189])]))
    if len(points) != 68:
        return hull(points)
    up = points[[19, 24]].mean(0) - points[33]
    brows = points[[17, 19, 21, 22, 24, 26]]
    return hull(np.array([*points[:17], *(brows + 0.3 * up)[::-1]]))


def oval(points: np.ndarray) -> np.ndarray:
    """An ellipse [64, 2] around the face, upright in its own axes."""
    points = seen_as_68(points) if len(points) == NUM_POINTS else points
    edge = points[:27] if len(points) == 68 else points
    if len(points) == WEBMORPH:
        edge = np.concatenate([points[JAW_189], points[HAIRLINE_189]])
    centre, extent = edge.mean(0), np.ptp(edge, axis=0)
    low, high = edge.min(0), edge.max(0)
    if len(points) == 68:
        low = low - [0, OVAL_ABOVE * extent[1]]
    centre, half = (low + high) / 2, (high - low) / 2
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return centre + np.stack([half[0] * np.cos(angles), half[1] * np.sin(angles)], 1)


SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"face": inner_face, "oval": oval}


def mask_of(points: np.ndarray, width: int, height: int, shape: str) -> np.ndarray:
    """1 inside a shape of `SHAPES`, fading to 0 at its outline: float32 [height, width].

    Raises:
        ConfigError: no such shape.
    """
    if shape not in SHAPES:
        raise ConfigError(f"The mask {shape!r} is not known.", f"One of {', '.join(SHAPES)}.")
    outline = SHAPES[shape](points)
    return soft_polygon(outline, width, height, FEATHER * float(np.ptp(outline, axis=0).max()) / 2)


def soft_polygon(outline: np.ndarray, width: int, height: int, blur_px: float) -> np.ndarray:
    """1 inside the polygon `outline` [N, 2], fading to 0 at its edge and not beyond: float32 [height, width]."""
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).polygon([(x, y) for x, y in outline], fill=255)
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(blur_px)), np.float32) / 255
    inside = np.clip(2 * soft - 1, 0, 1)  # 0 outside, where hair and background begin
    return inside * inside * (3 - 2 * inside)


def ground_colour(ground: str) -> tuple[int, int, int] | None:
    """The RGB colour of "#RRGGBB"; None for "transparent".

    Raises:
        ConfigError: it is neither.
    """
    if ground == "transparent":
        return None
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", ground):
        raise ConfigError(f"The background {ground!r} is not known.", '"transparent", or a colour like "#808080".')
    return tuple(bytes.fromhex(ground[1:]))  # type: ignore[return-value]


def cut_free(image: np.ndarray, points: np.ndarray, shape: str, ground: str = "#FFFFFF") -> np.ndarray:
    """An image, uint8 RGB [H, W, 3], with what is outside a shape replaced: [H, W, 3], or RGBA where transparent."""
    mask = mask_of(points, image.shape[1], image.shape[0], shape)
    colour = ground_colour(ground)
    if colour is None:
        return np.dstack([image, (255 * mask + 0.5).astype(np.uint8)])
    mixed = mask[..., None] * image + (1 - mask[..., None]) * np.array(colour, np.float32)
    return (mixed + 0.5).astype(np.uint8)
