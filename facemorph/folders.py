"""What lies in a folder: images and clips, recognised by name or content, and whose they are.

One rule for all commands. Images (or clips) that lie directly in a folder are one person's, named as the folder is
called here, not as a link's target is. A folder without any stands for the folders in it. Hidden files are ignored.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from facemorph.errors import InputError
from facemorph.files import MANIFEST, NAME_BYTES, distinct, fit_name, printable

log = logging.getLogger("facemorph")

IMAGE_SUFFIXES = {
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp",
}  # fmt: skip
CLIP_SUFFIXES = {
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv",
}  # fmt: skip
SHEETS = ("-accepted.jpg", "-rejected.jpg")  # contact sheets, which lie beside a person's folder
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini"}  # Windows leaves them where pictures were looked at
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
HEAD_BYTES = 200  # two packets of a transport stream


def head_of(path: Path) -> bytes:
    """The first bytes of a file; none of what cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def looks_like_image(head: bytes) -> bool:
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or is_heif(head)
        or (head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"))
    )


def is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS


def looks_like_clip(head: bytes) -> bool:
    return (
        head.startswith((b"\x1aE\xdf\xa3", b"FLV\x01", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"\x00\x00\x01\xba"))
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or (head[4:8] == b"ftyp" and head[8:11] != b"M4A" and not looks_like_image(head))
        or head[4:8] in (b"moov", b"mdat", b"wide")  # QuickTime before it had a ftyp
        or (len(head) > 196 and (head[0] == head[188] == 0x47 or head[4] == head[196] == 0x47))
    )


def what_it_is(head: bytes) -> str:
    """What a file that is no image is, in words for a message; empty if that is not known."""
    kinds: list[tuple[bool, str]] = [
        (head.startswith(b"\x93NUMPY"), "a NumPy array"),
        (head.startswith(b"PK"), "a zip file (a torch file, an .npz or a document)"),
        (head[8:9] == b"{" and b'"' in head[9:12], "a safetensors file"),
        (head.startswith(b"\x80") and head[1:2] in b"\x02\x03\x04\x05", "a pickle"),
        (head.startswith(b"%PDF"), "a PDF"),
        (head.lstrip().lower().startswith((b"<!doctype", b"<html")), "a web page"),
        (head.startswith(b"version https://git-lfs"), "a Git LFS pointer, not the file itself"),
        (looks_like_clip(head), "a clip"),
    ]
    return next((words for holds, words in kinds if holds), "")


def list_images(folder: Path) -> list[Path]:
    """The images in a folder, sorted by name; contact sheets of the people in it and hidden files are ignored."""
    return [path for path in _files(folder) if not _is_sheet(path) and _is(path, IMAGE_SUFFIXES, looks_like_image)]


def list_clips(folder: Path) -> list[Path]:
    """The clips in a folder, sorted by name; hidden files are ignored."""
    return [path for path in _files(folder) if _is(path, CLIP_SUFFIXES, looks_like_clip)]


def _files(folder: Path) -> list[Path]:
    # A pipe or a link to nothing is no file: reading it would wait, or fail.
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())


def _is_sheet(path: Path) -> bool:
    end = next((end for end in SHEETS if path.name.endswith(end)), None)
    if end is None:
        return False
    beside = path.with_name(path.name.removesuffix(end))
    return beside.is_dir() or any(
        child.is_dir() and fit_name(child.name, end) == path.name
        for child in path.parent.iterdir()
        if len(os.fsencode(path.name)) > NAME_BYTES - 2
    )


def _is(path: Path, suffixes: set[str], recognise: Callable[[bytes], bool]) -> bool:
    suffix = path.suffix.lower()
    if suffix in suffixes:
        return True
    if suffix in IMAGE_SUFFIXES | CLIP_SUFFIXES | {".jsonl", ".json", ".txt", ".csv"}:
        return False
    return recognise(head_of(path))


def left_out(folder: Path, taken: Iterable[Path]) -> str:
    """In words, what in a folder was not taken: "3 .txt, 1 folder (bad)"; empty where nothing was."""
    names = {path.name for path in taken}
    others = [path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in names]
    kinds = Counter(
        path.suffix.lower() or "without a suffix"
        for path in others
        if not path.is_dir() and path.name != MANIFEST and not _is_sheet(path) and path.name.lower() not in SYSTEM_FILES
    )
    words = [f"{count} {printable(kind)}" for kind, count in sorted(kinds.items())]
    inner = [
        printable(path.name) for path in sorted(others) if path.is_dir() and (list_images(path) or list_clips(path))
    ]
    if inner:
        words.append(
            f"{len(inner)} folder{'s' if inner[1:] else ''} ({', '.join(inner[:3])}{', ...' if inner[3:] else ''})"
        )
    return ", ".join(words)


def tell_left_out(folder: Path, taken: Iterable[Path]) -> None:
    """A line of the log, where a folder holds something that was not taken."""
    words = left_out(folder, taken)
    if words:
        log.warning("%s: left out %s.", folder, words)


def refuse_same(source: Path, output: Path) -> None:
    """Raises InputError where the results would go into the folder of the sources, whose names they may have."""
    if source.is_dir() and output.is_dir() and output.samefile(source):
        raise InputError(f"{output} holds the sources; the results would mix with them.", "Give another -o.")


def name_of_folder(folder: Path) -> str:
    """What a folder is called where the user named it: a link has its own name, and `.` that of the folder here."""
    return Path(os.path.abspath(folder)).name or "root"  # noqa: PTH100, Path.resolve follows links


def find_persons(
    sources: Sequence[Path], listing: Callable[[Path], list[Path]] = list_images, what: str = "images"
) -> dict[str, Path]:
    """The folder of each person, by name: each of `sources` that holds such files, or else the folders in it.

    Raises:
        InputError: missing, not a folder, without such files, or two folders of one name.
    """
    found: dict[str, Path] = {}
    for source in sources:
        if not source.is_dir():
            wanted = "frames" if what == "images" else what
            kind = f"is a file; a folder of {wanted} was expected" if source.exists() else "does not exist"
            hint = f"Put each person's {what} into a folder, and name that." if source.exists() else "Check the path."
            raise InputError(f"{source} {kind}.", hint)
        folders = [source] if listing(source) else folders_inside(source, listing)
        if not folders:
            suffixes = CLIP_SUFFIXES if what == "clips" else IMAGE_SUFFIXES
            there = left_out(source, ())
            raise InputError(
                f"The folder {source} holds no {what}{f', only {there}' if there else ''}.",
                f"Expected {' '.join(sorted(suffixes))}, or folders of them.",
            )
        for folder in folders:
            name = name_of_folder(folder)
            same = next((known for known in found if distinct(known) == distinct(name)), None)
            if same is None:
                found[name] = folder
            elif not found[same].samefile(folder):
                raise InputError(
                    f"Two of the folders are called {name!r} and would be mixed: {found[same]}, {folder}.",
                    "Rename one, or move the files of one person into one folder.",
                )
    return found


def folders_inside(folder: Path, listing: Callable[[Path], list[Path]] = list_images) -> list[Path]:
    """The folders in a folder that hold such files, sorted by name."""
    inner = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    return [child for child in inner if listing(child)]
