"""Read, write and arrange still images.

An image is uint8 RGB [H, W, 3]; networks take float [N, 3, H, W] in [-1, 1].
"""

import contextlib
import functools
import importlib.util
import io
import math
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageCms, ImageDraw, ImageFont, ImageOps, PngImagePlugin, UnidentifiedImageError

from facemorph.errors import ImageError, OutputError
from facemorph.files import replacing
from facemorph.folders import head_of, is_heif, what_it_is

if TYPE_CHECKING:
    import torch

WRITTEN = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
EXPECTED = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, GIF and BMP are expected."
SMALLEST_FONT_PX, CAPTION_MARGIN_PX = 9, 6  # below, letters run together; left and right of a caption, both
TEXT_BYTES = 64 << 20  # of text in a PNG: some tools store a whole workflow there, and Pillow stops at one megabyte
ORIENTATION = 0x0112  # EXIF's tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
PHOTOMETRIC, PLANES, SAMPLES, BITS = 262, 284, 339, 258  # TIFF's tags
SRGB_GAMMA, SAME_GAMMA = 1 / 2.2, 0.03  # of a PNG, and how far from it another one still counts as the same
MAX_PIXELS = 120_000_000  # 360 MB as RGB; more is a mistake or a decompression bomb


def read_image(path: str | PathLike[str]) -> np.ndarray:
    """The image in a file, upright: uint8 RGB [H, W, 3]; of an animation the first one.

    EXIF's orientation is applied; grey, palette, CMYK, 16-bit and float images become 8-bit RGB; colours of another
    space, which an ICC profile or a PNG's gamma names, become sRGB's; transparent pixels become white.

    Raises:
        ImageError: missing, not an image, damaged, cut short, or over `MAX_PIXELS`.
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(f"No such image: {path}.", "Check the path.")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise ImageError(f"{path} is {kind}; an image file was expected.", "Name a file in it.")
    head = head_of(path)
    if is_heif(head):
        _know_heif(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd EXIF and the like, in a picture that it can read
            PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, TEXT_BYTES)
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise _too_large(f"{path} is {image.width} x {image.height}")
                _refuse_misread(image)
                image.load()  # Pillow turns a TIFF here, and forgets its orientation
                return np.asarray(_as_rgb(_upright(image)))
    except ImageError as error:
        if str(path) in error.problem:
            raise
        raise ImageError(f"{path} is {error.problem}.", error.hint) from None
    except UnidentifiedImageError:
        kind = "an empty file" if not head else what_it_is(head) or "not an image that can be read"
        kind = "a TIFF of a kind that is not read here" if head.startswith((b"II*\0", b"MM\0*")) else kind
        raise ImageError(f"{path} is {kind}.", EXPECTED) from None
    except PermissionError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from None
    except Image.DecompressionBombError:
        raise _too_large(f"{path} has too many pixels") from None
    except MemoryError:
        raise ImageError(f"There is not enough memory for {path}.", "Scale it down first.") from None
    except Exception as error:  # a decoder may raise anything (struct.error, KeyError, ...) on a damaged file
        raise ImageError(f"{path} is damaged: {error}.", "Save or copy it again.") from error


def _too_large(what: str) -> ImageError:
    return ImageError(f"{what}; this toolkit reads at most {MAX_PIXELS // 10**6} megapixels.", "Scale it down first.")


def _know_heif(path: Path) -> None:
    """Let Pillow read HEIC, which iPhones write, by pillow-heif where it is installed."""
    if importlib.util.find_spec("pillow_heif") is None:
        raise ImageError(
            f"{path} is a HEIC image, for which a package is missing.", "pip install pillow-heif, or save it as JPEG."
        )
    register: Any = importlib.import_module("pillow_heif").register_heif_opener
    register(thumbnails=False)


def _upright(image: Image.Image) -> Image.Image:
    """The image as a viewer shows it. The rest of its EXIF is not looked at: in many files it is wrong somewhere."""
    orientation = None
    with contextlib.suppress(Exception):
        orientation = image.getexif().get(ORIENTATION)
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _refuse_misread(image: Image.Image) -> None:
    """Raises ImageError for what Pillow reads wrongly without a word: signed TIFFs, and 16-bit ones in planes."""
    tags: Any = getattr(image, "tag_v2", {})
    bits = max(tags.get(BITS, (8,)))
    if 2 in tags.get(SAMPLES, ()) and bits < 32:
        raise ImageError("a TIFF of signed numbers, whose black and white are not known", "Save it unsigned.")
    if tags.get(PLANES) == 2 and bits > 8:
        raise ImageError(f"a TIFF of {bits} bits in separate planes, which is not read here", "Save it interleaved.")


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        levels = _as_8_bits(np.asarray(image), image.mode)
        white_is_zero = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0
        return Image.fromarray(255 - levels if white_is_zero else levels).convert("RGB")
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "CMYK"):
        image = image.convert("RGB")
    if profile:
        image = _in_srgb(image, profile)
    elif gamma and "srgb" not in image.info and abs(gamma - SRGB_GAMMA) > SAME_GAMMA:
        levels = [round(255 * (level / 255) ** (SRGB_GAMMA / gamma)) for level in range(256)]
        image = image.convert("RGBA").point([*levels * 3, *range(256)])
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The image with its colours as a screen shows them; as it is where its profile is sRGB, damaged or of no use."""
    try:
        transform = _to_srgb(profile, image.mode)
        return image if transform is None else ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return image


@functools.lru_cache(8)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if "sRGB" in ImageCms.getProfileDescription(source):
        return None
    to = "RGBA" if mode == "RGBA" else "RGB"
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, to)


def _as_8_bits(values: np.ndarray, mode: str) -> np.ndarray:
    """Grey levels of more than 8 bits as uint8 [H, W]. Which number is white follows from the largest.

    Floats up to 1 (a little over, where a filter overshot) have white at 1; others up to 255 at 255, up to 65535 at
    65535. A 16-bit image whose largest level is 255, 1023 or 4095 would be black, so it holds 8, 10 or 12 bits.

    Raises:
        ImageError: no numbers, or larger ones.
    """
    levels = values.astype(np.float64)
    finite = levels[np.isfinite(levels)]
    highest = float(finite.max()) if finite.size else math.inf
    whites = (255, 65535) if mode == "F" else (255, 1023, 4095, 65535)
    white = 1 if mode == "F" and highest <= 1.5 else next((one for one in whites if highest <= one), None)
    if white is None:
        raise ImageError(f"an image of levels up to {highest:g}, whose white is not known", "Save it with 8 bits.")
    return np.clip(np.nan_to_num(levels) * (255 / white) + 0.5, 0, 255).astype(np.uint8)


def write_image(path: Path, image: np.ndarray | Image.Image, quality: int = 95) -> None:
    """Write an image, whole or not at all, in the format of the suffix.

    Raises:
        OutputError: the file cannot be written, or its suffix is of no format.
    """
    if path.suffix.lower() not in WRITTEN:
        raise OutputError(f"{path}: its suffix is of no image format.", f"Use one of {' '.join(sorted(WRITTEN))}.")
    pil_image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    options: dict[str, Any] = {"quality": quality, "subsampling": 0} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    with replacing(path) as temporary:
        pil_image.save(temporary, **options)


def resize(image: np.ndarray, size_px: int) -> np.ndarray:
    """The image scaled to `size_px` x `size_px` by Lanczos."""
    if image.shape[:2] == (size_px, size_px):
        return image
    return np.asarray(Image.fromarray(image).resize((size_px, size_px), Image.Resampling.LANCZOS))


def grid(images: Sequence[np.ndarray] | np.ndarray, columns: int | None = None, gap_px: int = 2) -> np.ndarray:
    """Images of equal size in rows on white: [H', W', 3]; as many columns as rows unless `columns` is given."""
    count = len(images)
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    height, width = images[0].shape[:2]
    sheet = np.full((rows * (height + gap_px) + gap_px, columns * (width + gap_px) + gap_px, 3), 255, np.uint8)
    for index, image in enumerate(images):
        y = gap_px + index // columns * (height + gap_px)
        x = gap_px + index % columns * (width + gap_px)
        sheet[y : y + height, x : x + width] = image
    return sheet


def contact_sheet(
    images: Sequence[np.ndarray], captions: Sequence[str], size_px: int = 96, columns: int | None = None
) -> np.ndarray:
    """Images of any size, fitted into squares of `size_px`, each with its caption below, arranged as in `grid`.

    All captions have one size, at which they fit; what is too long even when small is shortened in its middle.
    """
    cells = []
    font_px = min((_fitting_px(caption, size_px) for caption in captions), default=SMALLEST_FONT_PX)
    for image, caption in zip(images, captions, strict=True):
        small = ImageOps.contain(Image.fromarray(image), (size_px, size_px))
        square = Image.new("RGB", (size_px, size_px), "white")
        square.paste(small, ((size_px - small.width) // 2, (size_px - small.height) // 2))
        cells.append(captioned(np.asarray(square), caption, font_px))
    return grid(cells, columns)


def caption_height(width_px: int) -> int:
    """The room below an image of that width for its caption, pixels."""
    return round(1.5 * _largest_px(width_px))


def captioned(image: np.ndarray, caption: str, font_px: int | None = None) -> np.ndarray:
    """A square image [S, S, 3] with a line below it, in the middle: [S + `caption_height`, S, 3]."""
    side, height = len(image), caption_height(len(image))
    cell = Image.new("RGB", (side, side + height), "white")
    cell.paste(Image.fromarray(image), (0, 0))
    draw, font = ImageDraw.Draw(cell), _font(font_px or _fitting_px(caption, side))
    text, left, right = caption, (len(caption) + 1) // 2, len(caption) // 2
    while left > 1 and draw.textlength(text, font) > side - CAPTION_MARGIN_PX:
        left, right = (left - 1, right) if left > right else (left, right - 1)
        text = f"{caption[:left].rstrip()}…{caption[len(caption) - right :].lstrip()}"
    draw.text((side / 2, side + height / 2), text, fill="black", font=font, anchor="mm")
    return np.asarray(cell)


def _largest_px(width_px: int) -> int:
    return max(SMALLEST_FONT_PX, min(20, width_px // 12))


def _fitting_px(caption: str, width_px: int) -> int:
    """The largest font size at which a caption fits below an image; the smallest where it fits at none."""
    for size_px in range(_largest_px(width_px), SMALLEST_FONT_PX, -1):
        if _font(size_px).getlength(caption) <= width_px - CAPTION_MARGIN_PX:
            return size_px
    return SMALLEST_FONT_PX


@functools.cache
def _font(size_px: int) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    """DejaVu Sans, which comes with matplotlib and knows most alphabets; without it Pillow's own."""
    spec = importlib.util.find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
        if path.is_file():
            return ImageFont.truetype(str(path), size_px)
    return ImageFont.load_default(size_px)


def to_tensor(images: np.ndarray) -> "torch.Tensor":
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [-1, 1]."""
    import torch

    planes = torch.from_numpy(np.require(images, requirements=["C", "W"])).permute(0, 3, 1, 2).float()
    return planes.div_(127.5).sub_(1)


def to_uint8(images: "torch.Tensor") -> np.ndarray:
    """float [N, 3, H, W] in [-1, 1] (clipped) -> uint8 [N, H, W, 3], rounded to the nearest."""
    import torch

    levels = torch.add(torch.tensor(128.0), images.float(), alpha=127.5)  # half a level more: .to() rounds down
    levels = levels.clamp_(0, 255).permute(0, 2, 3, 1)
    pixels = torch.empty(levels.shape, dtype=torch.uint8, device=levels.device)
    for channel in range(levels.shape[3]):  # twice as fast as all at once
        pixels[..., channel] = levels[..., channel]
    return pixels.cpu().numpy()
