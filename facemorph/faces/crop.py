"""Landmarks to an aligned crop: the table `CROPS` at the end has one entry for each kind.

Every crop is a quad in the image, sampled into a square. `points` are landmarks float64 [68, 2], x before y.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from facemorph.errors import ConfigError
from facemorph.faces.landmarks import LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE

# Eyes in the `eyes` crop, as fractions of its side: level, with room for the brows and the chin.
EYE_HEIGHT, EYE_SPACING = 0.37, 0.36
PAPER_MARGIN = 1.5  # side of the paper's crop, as a multiple of the landmarks' extent


def paper_quad(points: np.ndarray, side_px: float = 0) -> np.ndarray:
    """An upright square of a fixed size around the centre of the landmarks (2018 paper, section 4-1).

    A `side_px` of 0 takes `PAPER_MARGIN` times the extent of these landmarks.
    """
    side_px = side_px or PAPER_MARGIN * float(np.ptp(points, axis=0).max())
    return _quad(points.mean(0), np.array([side_px / 2, 0.0]))


def eyes_quad(points: np.ndarray, height: float = EYE_HEIGHT, spacing: float = EYE_SPACING) -> np.ndarray:
    """The square in which both eyes lie in fixed places, as fractions of its side: level, and `spacing` apart."""
    left, right = points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0)
    x = (right - left) / spacing / 2  # half a side
    y = np.array([-x[1], x[0]])
    return _quad((left + right) / 2 + y * (1 - 2 * height), x)


def ffhq_quad(points: np.ndarray) -> np.ndarray:
    """The oriented square of the FFHQ data set (Karras et al. 2019, appendix A; the recipe's constants)."""
    left, right, mouth = points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0), points[MOUTH_CORNERS].mean(0)
    eyes, between = (left + right) / 2, right - left
    down = mouth - eyes
    x = between - down[::-1] * [-1, 1]
    x = x / np.hypot(*x) * max(np.hypot(*between) * 2.0, np.hypot(*down) * 1.8)
    return _quad(eyes + down * 0.1, x)


def _quad(centre: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The square around `centre` whose half-axis to the right is `x`."""
    y = x[::-1] * [-1, 1]
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def cut(image: np.ndarray, quad: np.ndarray, size_px: int, transform_px: int = 4096) -> np.ndarray:
    """Sample `quad` of an image into a square of `size_px`; beyond its borders the image is mirrored and blurred.

    This is the FFHQ recipe (shrink, crop, pad, quad transform, Lanczos), and equals the original's output pixel for
    pixel at the default `transform_px`. With 4 * `size_px` it is many times faster, and differs by a few grey levels.

    Args:
        image: uint8 RGB [H, W, 3].
        quad: corners in pixels of the image, float [4, 2]: top left, bottom left, bottom right, top right.
        size_px: side of the result.
        transform_px: side of the bilinear transform before the last Lanczos step.

    Returns:
        uint8 RGB [size_px, size_px, 3].
    """
    side = float(np.hypot(*(quad[3] - quad[0])))
    pil_image = Image.fromarray(image)

    shrink = int(np.floor(side / size_px * 0.5))
    if shrink > 1:  # a big face: reduce first, or the bilinear transform would alias
        width, height = (max(1, int(np.rint(length / shrink))) for length in pil_image.size)
        pil_image = pil_image.resize((width, height), Image.Resampling.LANCZOS)
        quad, side = quad / shrink, side / shrink

    border = max(int(np.rint(side * 0.1)), 3)
    low, high = np.floor(quad.min(0)).astype(int), np.ceil(quad.max(0)).astype(int)
    left, top = np.maximum(low - border, 0)
    right, bottom = np.minimum(high + border, pil_image.size)
    if right <= left or bottom <= top:
        left, top, right, bottom = 0, 0, *pil_image.size
    if right - left < pil_image.width or bottom - top < pil_image.height:
        pil_image = pil_image.crop((left, top, right, bottom))
        quad = quad - [left, top]

    low, high = np.floor(quad.min(0)).astype(int), np.ceil(quad.max(0)).astype(int)
    pads = np.maximum([*(border - low), *(high - pil_image.size + border)], 0)  # left, top, right, bottom
    if pads.max() > border - 4:
        pads = np.maximum(pads, int(np.rint(side * 0.3)))
        pil_image = _pad(np.asarray(pil_image), pads, sigma=side * 0.02)
        quad = quad + pads[:2]

    pil_image = pil_image.transform(
        (transform_px, transform_px),
        Image.Transform.QUAD,
        tuple((quad + 0.5).flatten()),
        Image.Resampling.BILINEAR,
    )
    if size_px < transform_px:
        pil_image = pil_image.resize((size_px, size_px), Image.Resampling.LANCZOS)
    return np.asarray(pil_image)


def _pad(image: np.ndarray, pads: np.ndarray, sigma: float) -> Image.Image:
    """Mirror the image over its borders, blurred and then greyed with the distance from it."""
    left, top, right, bottom = (int(pad) for pad in pads)
    padded = np.pad(image.astype(np.float32), ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width = padded.shape[:2]
    y, x = np.ogrid[:height, :width]
    mask = np.maximum(
        1.0 - np.minimum(np.float32(x) / left, np.float32(width - 1 - x) / right),
        1.0 - np.minimum(np.float32(y) / top, np.float32(height - 1 - y) / bottom),
    )[..., None]
    padded += (gaussian(padded, sigma) - padded) * np.clip(mask * 3.0 + 1.0, 0.0, 1.0)
    padded += (np.median(padded, axis=(0, 1)) - padded) * np.clip(mask, 0.0, 1.0)
    return Image.fromarray(np.clip(np.rint(padded), 0, 255).astype(np.uint8))


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of [H, W, C] along H and W, mirrored at the edge, cut off at 4 sigma; float32.

    Sums in float64 and rounds to float32 after each axis, as scipy.ndimage does: the FFHQ recipe is pixel-exact.
    """
    radius = int(4.0 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 / (sigma * sigma) * offsets**2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        widths = [(0, 0)] * 3
        widths[axis] = (radius, radius)
        padded = np.pad(image, widths, "symmetric").astype(np.float64)
        blurred = np.zeros(image.shape, np.float64)
        length = image.shape[axis]
        for offset, weight in enumerate(kernel):
            blurred += weight * (padded[offset : offset + length] if axis == 0 else padded[:, offset : offset + length])
        image = blurred.astype(np.float32)
    return image


@dataclass(frozen=True)
class Crop:
    """A kind of crop.

    Attributes:
        meaning: in words, for `facemorph align --help`.
        quad: landmarks float64 [68, 2] to the crop's corners in the image, as `cut` takes them.
        fixed_size: its side in px is the same for all images of a person: `quad` takes it as second argument, and 0
            measures it on these landmarks.
        transform_px: as in `cut`; 0 is 4 times the size of the result.
    """

    meaning: str
    quad: Callable[..., np.ndarray]
    fixed_size: bool = False
    transform_px: int = 0

    def cut(self, image: np.ndarray, points: np.ndarray, size_px: int, side_px: float = 0) -> np.ndarray:
        """The face with landmarks `points` [68, 2] in an image uint8 RGB [H, W, 3]: [size_px, size_px, 3].

        `side_px`: side of a crop of fixed size, in pixels of the image; the others do without.
        """
        quad = self.quad(points, side_px) if self.fixed_size else self.quad(points)
        return cut(image, quad, size_px, self.transform_px or 4 * size_px)


CROPS: dict[str, Crop] = {
    "eyes": Crop("both eyes in fixed places", eyes_quad),
    "ffhq": Crop("as StyleGAN's FFHQ data", ffhq_quad, transform_px=4096),
    "paper": Crop("fixed size around the landmarks' centre", paper_quad, fixed_size=True),
}


def find_crop(name: str) -> Crop:
    """The crop of this name in `CROPS`.

    Raises:
        ConfigError: there is none.
    """
    if name not in CROPS:
        raise ConfigError(f"Unknown crop {name!r}.", f"Choose from {', '.join(CROPS)}.")
    return CROPS[name]
