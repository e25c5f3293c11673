"""Reading images of every kind that people have, and what is refused in which words."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facemorph.animation import write_walk
from facemorph.errors import ImageError
from facemorph.images import caption_height, captioned, grid, read_image, to_tensor, to_uint8, write_image


@pytest.fixture
def image() -> np.ndarray:
    """Smooth, and different in every corner: uint8 [40, 60, 3]."""
    y, x = np.mgrid[:40, :60]
    return np.stack([x * 4, y * 6, 255 - x * 2 - y], -1).astype(np.uint8)


def test_small_walks_are_enlarged_smoothly(tmp_path: Path) -> None:
    step = np.zeros((64, 64, 3), np.uint8)
    step[:, 32:] = 200
    png, gif, mp4 = write_walk(tmp_path / "walk", [[step, step]], [[step, step]])
    assert read_image(png).shape == (68, 134, 3) and mp4.stat().st_size > 500
    with Image.open(gif) as opened:
        row = np.asarray(opened.convert("RGB"))[128, :, 0].astype(int)
    assert len(row) == 256
    assert len(set(row[120:136])) > 3  # grey levels across the edge: no repeated pixels


def test_colours_and_modes(tmp_path: Path, image: np.ndarray) -> None:
    pil_image = Image.fromarray(image)
    grey = np.asarray(pil_image.convert("L"))
    cases = {
        "rgb.png": (pil_image, image, 0),
        "grey.png": (pil_image.convert("L"), grey[..., None].repeat(3, 2), 0),
        "deep.png": (Image.fromarray(grey.astype(np.uint16) * 257), grey[..., None].repeat(3, 2), 1),
        "deep.tiff": (Image.fromarray(grey.astype(np.uint16) * 257), grey[..., None].repeat(3, 2), 1),
        "cmyk.jpg": (pil_image.convert("CMYK"), image, 12),
        "palette.png": (pil_image.convert("P", palette=Image.Palette.ADAPTIVE), image, 40),
        "bilevel.png": (pil_image.convert("1"), np.asarray(pil_image.convert("1").convert("RGB")), 0),
        "webp.webp": (pil_image, image, 40),
    }
    for name, (stored, expected, tolerance) in cases.items():
        stored.save(tmp_path / name)
        found = read_image(tmp_path / name)
        assert (found.dtype, found.shape) == (np.uint8, (40, 60, 3)), name
        assert np.abs(found.astype(int) - expected).max() <= tolerance, name


def test_transparency_is_laid_on_white(tmp_path: Path, image: np.ndarray) -> None:
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:20] = 255
    with_alpha = Image.fromarray(np.dstack([image, alpha]))
    with_alpha.save(tmp_path / "a.png")
    palette = Image.fromarray(image).quantize(16)
    palette.info["transparency"] = palette.getpixel((59, 39))
    palette.save(tmp_path / "p.png")
    found = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(found[:20], image[:20])
    assert (found[20:] == 255).all()
    assert (read_image(tmp_path / "p.png")[39, 59] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_obeyed(tmp_path: Path, image: np.ndarray, orientation: int) -> None:
    stored = {  # how a camera held that way stores what stands upright
        1: image, 2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1],
        5: image.transpose(1, 0, 2), 6: np.rot90(image), 7: image[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(image, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_what_cannot_be_read_is_said(tmp_path: Path, image: np.ndarray) -> None:
    (tmp_path / "text.jpg").write_text("no image at all")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "bomb.png").write_bytes(png_that_claims(60_000, 60_000))
    (tmp_path / "large.png").write_bytes(png_that_claims(12_000, 11_000))
    Image.fromarray(image).resize((600, 400)).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:3000])
    for name, words in {
        "text.jpg": "is not an image that can be read",
        "empty.png": "is an empty file",
        "folder.png": "is a folder; an image file was expected",
        "missing.png": "No such image",
        "bomb.png": "has too many pixels",
        "large.png": "at most 120 megapixels",
        "cut.jpg": "is damaged",
    }.items():
        with pytest.raises(ImageError) as error:
            read_image(tmp_path / name)
        assert words in str(error.value), name
        assert name in str(error.value)


@pytest.mark.parametrize("size", [(20, 20), (3840, 2160)])
def test_small_and_large(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (10, 200, 30)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (size[1], size[0], 3)


def test_pixel_ranges_go_both_ways(image: np.ndarray) -> None:
    tensor = to_tensor(image[None])
    assert (tensor.shape, float(tensor.min()) >= -1, float(tensor.max()) <= 1) == ((1, 3, 40, 60), True, True)
    np.testing.assert_array_equal(to_uint8(tensor)[0], image)


def test_a_grid_holds_every_image(image: np.ndarray) -> None:
    sheet = grid([image] * 5, columns=3, gap_px=2)
    assert sheet.shape == (2 * 42 + 2, 3 * 62 + 2, 3)
    np.testing.assert_array_equal(sheet[44:84, 64:124], image)
    assert (sheet[44:84, 126:] == 255).all()


def test_an_image_is_written_whole_or_not_at_all(tmp_path: Path, image: np.ndarray) -> None:
    write_image(tmp_path / "a.png", image)
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises((ValueError, TypeError, KeyError)):
        write_image(tmp_path / "a.png", np.zeros((3, 3, 7), np.uint8))
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("caption", ["mother", "father: " + "a-very-long-name-of-a-file_" * 5, "Ödön, 60 years", ""])
@pytest.mark.parametrize("side", [96, 192, 256])
def test_a_caption_fits_its_image(caption: str, side: int) -> None:
    cell = captioned(np.full((side, side, 3), 255, np.uint8), caption)
    assert cell.shape == (side + caption_height(side), side, 3)
    ink = np.asarray((cell < 128).all(2))
    assert not ink[:side].any(), "nothing is written on the image"
    assert ink.any() == bool(caption)
    below = ink[side:]
    assert not below[[0, -1]].any() and not below[:, [0, -1]].any(), "nothing is cut off at the edges"


def test_a_long_caption_keeps_its_ends() -> None:
    names = ["child-of-anna", "child-of-anna-and-somebody-with-a-very-long-name-1", "child-of-anna-and-somebody-2"]
    cells = [captioned(np.zeros((96, 96, 3), np.uint8), name)[96:] for name in names]
    assert len({cell.tobytes() for cell in cells}) == 3
