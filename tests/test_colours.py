"""Images whose numbers mean something else than 8 bits of sRGB: read right, or refused with the reason."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from facemorph.errors import ImageError
from facemorph.images import read_image

# Display P3 in the profile connection space (D50), and sRGB from there; the columns of lcms's own sRGB profile agree.
P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def ramp(bits: int = 8) -> np.ndarray:
    """Grey levels [32, 64] from black to white."""
    return np.broadcast_to(np.linspace(0, 2**bits - 1, 64).round(), (32, 64)).astype(np.uint16)


def grey_of(path: Path) -> np.ndarray:
    image = read_image(path)
    assert np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(image[..., 0], image[..., 2])
    return image[..., 0]


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_greys_hold_8_10_12_or_16_bits(tmp_path: Path, bits: int, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(ramp(bits)).save(path)
    np.testing.assert_allclose(grey_of(path), ramp() if bits == 8 else ramp(bits) * (255 / (2**bits - 1)), atol=0.51)


def tiff(path: Path, values: np.ndarray, **tags: int) -> Path:
    """A TIFF of one grey plane or three, written tag by tag."""
    planes = values.shape[0] if values.ndim == 3 else 1
    height, width = values.shape[-2:]
    data, size = values.tobytes(), values[0].nbytes if planes > 1 else values.nbytes
    bits = 8 * values.itemsize
    entries = {256: (3, [width]), 257: (3, [height]), 258: (3, [bits] * planes), 259: (3, [1]),
               262: (3, [2 if planes > 1 else tags.get("photometric", 1)]), 277: (3, [planes]), 278: (3, [height]),
               284: (3, [tags.get("planes", 1)]), 339: (3, [tags.get("sample", 1)] * planes)}  # fmt: skip
    start = 8 + 2 + 12 * (len(entries) + 2) + 4
    extra = b""
    places = [start + 200 + size * number for number in range(planes)]
    entries |= {273: (4, places), 279: (4, [size] * planes)}
    body = struct.pack("<H", len(entries))
    for tag, (kind, numbers) in sorted(entries.items()):
        packed = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", start + len(extra)), extra + packed
        body += struct.pack("<HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + body + bytes(4) + extra.ljust(200, b"\0") + data)
    return path


def test_white_may_be_zero_in_a_tiff_of_8_or_16_bits(tmp_path: Path) -> None:
    deep = ramp(16)
    np.testing.assert_allclose(grey_of(tiff(tmp_path / "a.tif", 65535 - deep, photometric=0)), deep / 257, atol=0.51)
    shallow = ramp().astype(np.uint8)
    np.testing.assert_array_equal(grey_of(tiff(tmp_path / "b.tif", 255 - shallow, photometric=0)), shallow)


def test_what_pillow_reads_wrongly_is_refused(tmp_path: Path) -> None:
    signed = (ramp().astype(np.int16) - 128).astype(np.int8)
    with pytest.raises(ImageError, match="is a TIFF of signed numbers"):
        read_image(tiff(tmp_path / "a.tif", signed, sample=2))
    with pytest.raises(ImageError, match="is a TIFF of signed numbers"):
        read_image(tiff(tmp_path / "b.tif", signed.astype(np.int16) * 128, sample=2))
    with pytest.raises(ImageError, match="16 bits in separate planes"):
        read_image(tiff(tmp_path / "c.tif", np.stack([ramp(16)] * 3), planes=2))
    with pytest.raises(ImageError, match="a TIFF of a kind that is not read here"):
        read_image(tiff(tmp_path / "d.tif", ramp().astype(np.float16), sample=3))
    np.testing.assert_array_equal(
        grey_of(tiff(tmp_path / "e.tif", np.stack([ramp().astype(np.uint8)] * 3), planes=2)), ramp()
    )


def profile(columns: np.ndarray, gamma: float) -> bytes:
    """An ICC profile (version 2, matrix and gamma) of a screen with these primaries, XYZ in its columns."""

    def xyz(values: np.ndarray | list[float]) -> bytes:
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))

    words = b"wide\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(words)) + words + bytes(78)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * gamma))
    tags = [(b"desc", description), (b"cprt", b"text" + bytes(4) + b"none\0"), (b"wtpt", xyz([0.9642, 1, 0.8249]))]
    tags += [(name, xyz(column)) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T, strict=True)]
    tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags:
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s12s4s", size, b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ", bytes(12), b"acsp")
    head += bytes(28) + struct.pack(">3i", round(65536 * 0.9642), 65536, round(65536 * 0.8249))
    return head.ljust(128, b"\0") + table + body


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_colours_of_a_wide_gamut_become_those_of_srgb(tmp_path: Path, suffix: str) -> None:
    """Against the matrices by hand; skin and cloth, which lie within sRGB."""
    patches = np.array([[196, 150, 130], [120, 90, 80], [90, 110, 150], [128, 128, 128], [230, 220, 210]])
    light = (patches / 255) ** 2.2 @ (np.linalg.inv(SRGB) @ P3).T
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)
    image = np.repeat(np.repeat(patches[None].astype(np.uint8), 32, 0), 32, 1)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(image).save(path, icc_profile=profile(P3, 2.2), lossless=True, subsampling=0, quality=100)
    found = read_image(path)[16, 16::32].astype(float)
    np.testing.assert_allclose(found, 255 * coded, atol=3)
    assert np.abs(found - patches).max() > 5  # it is a change that can be seen


def test_a_profile_of_srgb_or_of_no_use_changes_nothing(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number, icc in enumerate((own, b"no profile", profile(P3, 2.2)[:200])):
        Image.fromarray(image).save(tmp_path / f"{number}.png", icc_profile=icc)
        np.testing.assert_array_equal(read_image(tmp_path / f"{number}.png"), image)


def test_transparency_and_a_profile_together(tmp_path: Path) -> None:
    image = np.full((8, 8, 4), (196, 150, 130, 255), np.uint8)
    image[:4, :, 3] = 0
    Image.fromarray(image).save(tmp_path / "a.png", icc_profile=profile(P3, 2.2))
    Image.fromarray(image[..., :3]).save(tmp_path / "b.png", icc_profile=profile(P3, 2.2))
    found = read_image(tmp_path / "a.png")
    assert (found[:4] == 255).all() and np.array_equal(found[4:], read_image(tmp_path / "b.png")[4:])


def test_the_gamma_of_a_png(tmp_path: Path) -> None:
    def write(gamma: float | None, extra: bytes = b"") -> Path:
        grey = ramp().astype(np.uint8)

        def chunk(name: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

        head = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 32, 8, 0, 0, 0, 0))
        head += extra and chunk(extra, b"\0")
        head += chunk(b"gAMA", struct.pack(">I", round(1e5 * gamma))) if gamma else b""
        rows = b"".join(b"\0" + row.tobytes() for row in grey)
        path = tmp_path / "a.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
        return path

    for gamma, extra in ((None, b""), (0.45455, b""), (1.0, b"sRGB")):
        np.testing.assert_array_equal(grey_of(write(gamma, extra)), ramp())
    np.testing.assert_allclose(grey_of(write(1.0)), 255 * (ramp() / 255) ** (1 / 2.2), atol=0.51)
