"""A list of pairs (CSV), one or more pictures of each: resumed, bad rows skipped, with a manifest and a sheet."""

import csv
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from facemorph.errors import FacemorphError, InputError, OutputError
from facemorph.files import (
    check_name,
    distinct,
    fit_name,
    locked,
    printable,
    read_jsonl,
    remove_torn,
    sha256,
    write_jsonl,
)
from facemorph.images import contact_sheet, read_image, write_image
from facemorph.progress import progress_bar

MANIFEST, SHEET = "manifest.jsonl", "sheet.png"
COLUMNS = ("first", "second", "amount", "name")
SHEET_PX, SHEET_COLUMNS, SHEET_MOST = 160, 8, 400  # a thumbnail's side; pictures in a row; pictures on the sheet
LONGEST_END = "-percent_000.0000.png"  # of the names of a pair's pictures
MOST_AMOUNT = 5.0  # of a fraction: more is a per cent that someone wrote


@dataclass(frozen=True)
class Pair:
    """A row of the list: `number` is its line in the file, `problem` what is wrong with it ("" for nothing).

    Paths are as the list means them: from its own folder. `second` is None where the list has none.
    """

    number: int
    first: Path
    second: Path | None
    amount: float | None
    name: str
    problem: str = ""


@dataclass(frozen=True)
class Made:
    """What a row became: pictures by file name, uint8 [H, W, 3 or 4], and where they came from, for the manifest."""

    pictures: Mapping[str, np.ndarray]
    sources: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Report:
    """How many rows were made, had been made before, and failed: `failed` holds (line, name, why)."""

    made: int
    kept: int
    failed: list[tuple[int, str, str]]


def read_pairs(path: Path, needs_second: bool = True) -> list[Pair]:
    """The rows of a CSV file with the columns first, second and, optionally, amount (a fraction) and name.

    A row that cannot be used has a `problem`; the others can be made all the same.

    Raises:
        InputError: the file cannot be read, has no rows, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:  # names of any bytes
            table = csv.reader(file)
            rows = [(table.line_num, row) for row in table if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not CSV in UTF-8"
        raise InputError(f"{path} cannot be read: {reason}.", "A CSV file is expected: first,second") from None
    head = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    needed = COLUMNS[: 2 if needs_second else 1]
    wrong = [name for name in head if name not in COLUMNS or head.count(name) > 1]
    if wrong or any(name not in head for name in needed):
        raise InputError(
            f"{path}, line {rows[0][0] if rows else 1} names the columns {', '.join(head) or 'none'}.",
            f"Its first line should be {','.join(needed)}, optionally with amount and name.",
        )
    if len(rows) == 1:
        raise InputError(f"{path} holds no pairs.", "After the header, one pair a line is expected.")
    pairs: list[Pair] = []
    taken: dict[str, int] = {}
    before: set[tuple[Path, Path | None, float | None]] = set()
    for number, row in rows[1:]:
        pair = _pair(number, row, head, path.parent, needs_second)
        again = (pair.first, pair.second, pair.amount) in before
        if distinct(pair.name) in taken and not again and not _named(head, row):
            pair = replace(pair, name=_longer_name(pair, taken))
        key = distinct(pair.name)
        if not pair.problem and key in taken:
            problem = f"the name {pair.name!r} is that of line {taken[key]} too. A column name tells them apart"
            pair = replace(pair, problem=problem)
        taken.setdefault(key, number)
        before.add((pair.first, pair.second, pair.amount))
        pairs.append(pair)
    return pairs


def _pair(number: int, row: list[str], head: list[str], folder: Path, needs_second: bool) -> Pair:
    cells = dict(zip(head, (cell.strip() for cell in row), strict=False))
    first, second = (folder / cells[key] if cells.get(key) else None for key in ("first", "second"))
    problem, amount = "", None
    if len(row) != len(head):
        problem = f"it has {len(row)} cells, the head {len(head)}"
    elif first is None or (needs_second and second is None):
        problem = f"it has no {'first' if first is None else 'second'}"
    elif cells.get("amount"):
        try:
            amount = float(cells["amount"])
        except ValueError:
            amount = math.nan
        if not abs(amount) <= MOST_AMOUNT:
            problem, amount = f"the amount {cells['amount']!r} is no fraction, such as 0.5", None
    stems = [path.stem for path in (first, second) if path is not None]
    name = cells.get("name") or _joined(stems, "" if amount is None else cells["amount"]) or f"line-{number}"
    try:
        check_name(name)
    except InputError as error:
        problem = problem or error.problem.rstrip(".")
    return Pair(number, first or folder, second, amount, name, problem)


def _joined(parts: Sequence[str], amount: str) -> str:
    name = "-".join([*parts, *([amount] if amount else [])])
    return fit_name(name, LONGEST_END).removesuffix(LONGEST_END) if name else ""


def _named(head: list[str], row: list[str]) -> bool:
    return len(row) == len(head) and "name" in head and bool(row[head.index("name")].strip())


def _longer_name(pair: Pair, taken: Mapping[str, int]) -> str:
    """A name that no line before has: with suffixes, then folders."""
    paths = [path for path in (pair.first, pair.second) if path is not None]
    longer = ([path.name for path in paths], [f"{path.parent.name}-{path.name}" for path in paths])
    names = [_joined(parts, "" if pair.amount is None else f"{pair.amount:g}") for parts in longer]
    return next((name for name in names if distinct(name) not in taken), names[-1])


def run_batch(
    pairs: Sequence[Pair],
    folder: Path,
    make: Callable[[Pair], Made],
    recipe: Mapping[str, Any],
    *,
    depends: Callable[[Pair], Sequence[Path]],
    overwrite: bool = False,
    jobs: int = 1,
    progress: bool = False,
) -> Report:
    """Make every pair into `folder`, which may hold some of them already.

    Written as they are made: the pictures, and in manifest.jsonl a row for each pair, so that a killed batch continues
    where it was. A pair is kept if its row, the recipe, and the contents of the files it `depends` on are the same.
    At the end the manifest is put into the order of the list, and sheet.png shows the pictures.

    Args:
        make: the pictures of a pair; it may raise FacemorphError, which is reported, and the next pair is made.
        recipe: the settings, as JSON can hold them.
        depends: the files of a pair.
        jobs: threads.

    Raises:
        OutputError: `folder` cannot be written, or another process is writing into it.
    """

    def in_use() -> OutputError:
        return OutputError(f"Another batch is writing into {folder}.", "Wait for it, or choose another -o.")

    with locked(folder / ".batch.lock", in_use):
        remove_torn(folder)
        before = _known_rows(folder)
        write_jsonl(folder / MANIFEST, before.values())  # without a line that was cut short
        rows = dict(before)
        failed: list[tuple[int, str, str]] = []
        kept = 0
        with (
            (folder / MANIFEST).open("a", encoding="utf-8", errors="backslashreplace") as manifest,
            ThreadPoolExecutor(jobs) as pool,
            progress_bar(progress, total=len(pairs), unit=" pairs", description="batch") as bar,
        ):
            one_at_a_time = threading.Lock()

            def note(row: dict[str, Any]) -> None:
                with one_at_a_time:
                    rows[row["name"]] = row
                    manifest.write(json.dumps(row, ensure_ascii=False) + "\n")
                    manifest.flush()

            running = {}
            for pair in pairs:
                try:
                    row = _row(pair, recipe, depends)
                except (OSError, FacemorphError) as error:
                    failed.append((pair.number, pair.name, _why(error)))
                    bar.update()
                    continue
                if _is_made(before.get(pair.name), row, folder) and not overwrite:
                    kept += 1
                    bar.update()
                    continue
                running[pool.submit(_make_one, make, pair, row, folder, overwrite, before.get(pair.name), note)] = pair
            try:
                for future in as_completed(running):
                    try:
                        future.result()
                    except FacemorphError as error:
                        failed.append((running[future].number, running[future].name, _why(error)))
                    bar.update()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        problems = {number: why for number, _, why in failed}
        listed = _in_order(pairs, rows, before, problems)
        names = {pair.name for pair in pairs}
        others = [row for name, row in before.items() if name not in names]  # of another list: still here
        write_jsonl(folder / MANIFEST, [*listed, *others])
        _write_sheet(folder, listed)
    return Report(len(running) - sum(pair.number in problems for pair in running.values()), kept, sorted(failed))


def _known_rows(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifest's rows by name. A line that failed gives way to another of its name."""
    rows: dict[str, dict[str, Any]] = {}
    for row in read_jsonl(folder / MANIFEST):
        if "name" in row and not (row.get("status") == "failed" and row["name"] in rows):
            rows[row["name"]] = row
    return rows


def _row(pair: Pair, recipe: Mapping[str, Any], depends: Callable[[Pair], Sequence[Path]]) -> dict[str, Any]:
    """What the manifest will say of a pair. Raises where it has a problem, or a file cannot be read."""
    if pair.problem:
        raise InputError(f"{pair.problem}.")
    row = {"name": pair.name, "line": pair.number, "first": str(pair.first)}
    row |= {"second": pair.second and str(pair.second), "amount": pair.amount, "recipe": dict(recipe)}
    return row | {"files": {str(path): sha256(path) for path in depends(pair)}}


def _in_order(
    pairs: Sequence[Pair], rows: Mapping[str, dict[str, Any]], before: Mapping[str, dict[str, Any]],
    problems: Mapping[int, str],
) -> list[dict[str, Any]]:  # fmt: skip
    """The rows of all pairs in the order of the list; `problems` are those that failed, by line."""
    sound = {pair.name for pair in pairs if pair.number not in problems}
    listed = []
    for pair in pairs:
        if pair.number in problems:  # pictures of an earlier run are still ours, if not another line's
            there = {} if pair.name in sound else before.get(pair.name, {}).get("pictures", {})
            row = {"name": pair.name, "line": pair.number, "status": "failed", "why": problems[pair.number]}
            listed.append({**row, "pictures": there})
        else:
            listed.append(rows[pair.name])
    return listed


def _why(error: Exception) -> str:
    if isinstance(error, FacemorphError):
        return " ".join(str(error).split("\n"))
    return f"{getattr(error, 'filename', '') or 'a file'} cannot be read: {getattr(error, 'strerror', '') or error}."


def _is_made(known: dict[str, Any] | None, row: dict[str, Any], folder: Path) -> bool:
    """Whether a row of the manifest is of this pair, made as now, and its pictures are whole."""
    if known is None or known.get("status") != "made":
        return False
    wanted = json.loads(json.dumps(row))
    if any(known.get(key) != wanted[key] for key in ("amount", "recipe", "files")):
        return False
    return all(
        (folder / name).is_file() and sha256(folder / name) == digest for name, digest in known["pictures"].items()
    )


def _make_one(
    make: Callable[[Pair], Made], pair: Pair, row: dict[str, Any], folder: Path, overwrite: bool,
    known: dict[str, Any] | None, note: Callable[[dict[str, Any]], None],
) -> None:  # fmt: skip
    made = make(pair)
    ours = set((known or {}).get("pictures", ()))
    foreign = [name for name in made.pictures if (folder / name).exists() and name not in ours]
    changed = known is not None and known.get("status") == "made" and not overwrite
    if (foreign or (changed and any((folder / name).exists() for name in ours))) and not overwrite:
        there = (foreign or sorted(ours))[0]
        raise InputError(
            f"{folder / there} exists, made with other settings.", "Choose another -o, or add --overwrite."
        )
    # first that it is begun: what a kill leaves between picture and manifest is known as ours
    note({**row, "status": "begun", "pictures": dict.fromkeys(made.pictures, "")})
    for name, image in made.pictures.items():
        write_image(folder / name, image)
    digests = {name: sha256(folder / name) for name in made.pictures}
    note({**row, "status": "made", "pictures": digests, "sources": list(made.sources)})


def _write_sheet(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Thumbnails of the pictures with their names; of a list longer than `SHEET_MOST`, evenly chosen ones."""
    names = [name for row in rows if row.get("status") == "made" for name in row["pictures"]]
    if not names:
        return
    chosen = names[:: -(-len(names) // SHEET_MOST)]
    images = [_small(read_image(folder / name)) for name in chosen]
    captions = [printable(Path(name).stem) for name in chosen]
    write_image(folder / SHEET, contact_sheet(images, captions, SHEET_PX, min(SHEET_COLUMNS, len(images))))


def _small(image: np.ndarray) -> np.ndarray:
    return np.asarray(ImageOps.contain(Image.fromarray(image), (SHEET_PX, SHEET_PX)))
