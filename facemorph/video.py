"""Clips to frames: a few random ones of each second, no two of them consecutive (2018 paper, section 4-2)."""

import logging
import os
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from facemorph.clip import (
    ClipReport,
    Foreseen,
    Foresight,
    Sampled,
    Unforeseen,
    decode,
    decode_chosen,
    expected_frames,
    foresee,
)
from facemorph.errors import InputError, VideoError
from facemorph.files import (
    MANIFEST,
    check_name,
    distinct,
    fit_name,
    output_stems,
    read_jsonl,
    remove_torn,
    sha256,
    write_jsonl,
)
from facemorph.folders import find_persons, list_clips, refuse_same, tell_left_out
from facemorph.frame_image import Encoders
from facemorph.frame_sampling import NonAdjacentReservoir
from facemorph.progress import progress_bar

log = logging.getLogger("facemorph")

Frame = TypeVar("Frame", Sampled, Foreseen)

FRAME_END = "-0000000.jpg"  # room for it is kept in a frame's name


@dataclass(frozen=True)
class ExtractSettings:
    """Which frames are taken, and how they are stored."""

    per_second: int = 4
    seed: int = 0
    format: str = "jpg"


@dataclass(frozen=True)
class Person:
    """Clips whose frames go into one folder, named after a clip or after a `folder` of clips, if they lie in one."""

    name: str
    clips: tuple[Path, ...]
    folder: Path | None = None


def find_people(sources: list[Path], person: str | None = None) -> list[Person]:
    """One person per clip, or per folder of clips; with `person`, all clips show that one.

    A folder without clips stands for the folders of clips in it.

    Raises:
        InputError: a source is missing, a folder has no clips, a name cannot be a folder's, or two sources would share
            a folder.
    """
    found: list[Person] = []
    for source in sources:
        if source.is_dir():
            for name, folder in find_persons([source], list_clips, "clips").items():
                clips = list_clips(folder)
                tell_left_out(folder, clips)
                found.append(Person(name, tuple(clips), folder))
        elif source.is_file():
            found.append(Person(fit_name(source.stem), (source,)))
        elif source.exists():  # reading a pipe would wait for ever
            raise InputError(f"{source} is not a regular file; a clip was expected.", "Save it as a file.")
        else:
            raise InputError(f"No such clip or folder: {source}.", "Check the path.")
    if person is not None:
        folders = {one.folder for one in found}
        folder = folders.pop() if len(folders) == 1 else None
        found = [Person(person, tuple(clip for one in found for clip in one.clips), folder)]
    names = [distinct(one.name) for one in found]
    for one in found:
        check_name(one.name)
        clips = [distinct(clip.name) for clip in one.clips]
        twice = next((clip.name for clip in one.clips if clips.count(distinct(clip.name)) > 1), None)
        twice = one.name if names.count(distinct(one.name)) > 1 else twice
        if twice:
            raise InputError(
                f"Two of the clips are called {twice!r} and their images would mix.",
                "Rename one, or extract them into different folders with -o.",
            )
    return found


def sample_frames(
    path: Path, settings: ExtractSettings, report: ClipReport, key: str = "", foresight: Foresight | None = None
) -> Iterator[Sampled]:
    """Decode a clip once and yield the chosen frames in order; `report` is filled meanwhile.

    In each second of presentation time, counted from the first frame, `per_second` frames are taken with no two
    consecutive, also across the boundary between seconds. Every allowed choice within a second is equally likely, given
    whether the last frame before it was taken. A second with too few frames gives as many as possible.
    The choice depends only on the seed, `key` (the clip's hash) and the second. Where `foresight` (by `foresee`) knows
    the frames, it is made before decoding, and frames that neither it nor others need are not decoded.

    Raises:
        VideoError: not a clip, no video stream, or nothing in it can be decoded.
        Unforeseen: the clip must be sampled without foresight.
    """
    if foresight and foresight.times:
        chosen = list(_choose(foresight.frames(), settings, report, key))
        yield from decode_chosen(path, foresight, chosen, report)
    else:
        yield from _choose(decode(path, report), settings, report, key)


def _choose(frames: Iterator[Frame], settings: ExtractSettings, report: ClipReport, key: str) -> Iterator[Frame]:
    """The chosen ones of all frames; `report` counts them."""
    second = 0
    reservoir: NonAdjacentReservoir[Frame] | None = None
    last_taken = -2

    def close() -> list[Frame]:
        chosen = reservoir.chosen() if reservoir else []
        report.frames_taken += len(chosen)
        return chosen

    for frame in frames:
        if reservoir is None or int(frame.time) != second:
            chosen = close()
            if reservoir and len(chosen) < settings.per_second:
                report.sparse_seconds += 1
            last_taken = chosen[-1].number if chosen else last_taken
            yield from chosen
            second = int(frame.time)
            reservoir = NonAdjacentReservoir(settings.per_second, random.Random(f"{settings.seed}/{key}/{second}"))
        if frame.number != last_taken + 1:
            reservoir.add(frame)
    yield from close()


@dataclass
class _Frames:
    """The frames of a person: their folder, and what its manifest says of each clip."""

    folder: Path
    settings: ExtractSettings
    heads: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, settings: ExtractSettings) -> "_Frames":
        """Raises InputError if frames were taken with other settings."""
        found = cls(folder, settings)
        for row in read_jsonl(folder / MANIFEST):
            if "state" not in row:
                found.rows.setdefault(row["clip"], []).append(row)
                continue
            if row["settings"] != asdict(settings):
                was = ", ".join(f"{key} {value}" for key, value in row["settings"].items())
                raise InputError(
                    f"{folder} was extracted with other settings ({was}).", "Give another -o, or delete the folder."
                )
            found.heads[row["clip"]] = row
        return found

    def write(self) -> None:
        write_jsonl(self.folder / MANIFEST, (r for name, head in self.heads.items() for r in (head, *self.of(name))))

    def of(self, clip: str) -> list[dict[str, Any]]:
        return self.rows.get(clip, [])

    def stem(self, clip: str) -> str:
        return self.heads[clip].get("stem") or Path(clip).stem

    def done(self, clip: Path, digest: str) -> ClipReport | None:
        """What was counted when this clip was extracted, if all its frames are here."""
        head = self.heads.get(clip.name, {})
        if head.get("state") != "done" or head["clip_sha256"] != digest:
            return None
        there = all((self.folder / row["file"]).exists() for row in self.of(clip.name))
        return ClipReport(**head["report"]) if there else None

    def forget(self, clip: str) -> None:
        """Remove the frames of a clip that is gone or was replaced, and then its rows."""
        frame = re.compile(re.escape(self.stem(clip)) + r"-\d{6,}\.(jpg|png)")
        others = {row["file"] for name, rows in self.rows.items() if name != clip for row in rows}
        begun = [path.name for path in self.folder.iterdir() if frame.fullmatch(path.name)]
        for name in {*begun, *(row["file"] for row in self.of(clip))} - others:
            (self.folder / name).unlink(missing_ok=True)
        del self.heads[clip]
        self.rows.pop(clip, None)
        self.write()


def extract(
    people: list[Person], output: Path, settings: ExtractSettings, *, progress: bool = False
) -> dict[str, list[ClipReport]]:
    """Write the chosen frames of every clip to `output`/<person>/<clip>-<index>.<format>, with a manifest.jsonl.

    Complete clips are skipped, missing frames are added, other files are left alone. Frames of a clip that was replaced
    under its name, or is gone from the folder that was given, are removed. A clip that cannot be read does not stop the
    others; it is named in a warning and has no report.

    Raises:
        InputError: a folder holds the clips, or frames taken with other settings, or a clip could not be read.
    """
    for person in people:  # all of them before anything slow starts
        if person.folder:
            refuse_same(person.folder, output / person.name)
        _Frames.read(output / person.name, settings)
    reports: dict[str, list[ClipReport]] = {}
    failures: list[str] = []
    for person in people:
        frames = _Frames.read(output / person.name, settings)
        remove_torn(frames.folder)
        _forget_gone(person, frames)
        total = (sum(expected_frames(clip) for clip in person.clips) or None) if progress else None
        with progress_bar(progress, total=total, unit=" frames", description=f"extract {person.name}") as bar:
            for clip in person.clips:
                try:
                    digest = _digest(clip)
                    _forget_replaced(clip, digest, frames)
                    report = frames.done(clip, digest)
                    if report is not None:
                        _skip(bar, report.frames_decoded)
                        log.debug("%s: complete, nothing to do.", clip)
                    else:
                        report = _extract_clip(clip, digest, person, frames, bar.update)
                    reports.setdefault(person.name, []).append(report)
                except VideoError as error:
                    failures.append(str(clip))
                    log.warning("%s Skipped. %s", error.problem, error.hint)
    if failures:
        raise InputError(
            f"{len(failures)} of {sum(len(p.clips) for p in people)} clips could not be read: {', '.join(failures)}.",
            f"The others are in {output}." if reports else "Nothing was written.",
        )
    return reports


def _digest(clip: Path) -> str:
    try:
        return sha256(clip)
    except OSError as error:
        raise VideoError(f"{clip} cannot be read: {error.strerror}.", "Check the path and its permissions.") from error


def _where(folder: Path | None) -> str:
    return os.fsdecode(os.path.abspath(folder)) if folder else ""  # noqa: PTH100, links stay


def _forget_gone(person: Person, frames: _Frames) -> None:
    """Remove the frames of clips that came from this person's folder of clips and are no longer in it."""
    here, names = _where(person.folder), {clip.name for clip in person.clips}
    for name, head in list(frames.heads.items()):
        if here and name not in names and (head.get("folder") == here or _moved(head)):
            log.warning("%s is gone from %s; its frames are removed.", name, person.folder)
            frames.forget(name)


def _moved(head: dict[str, Any]) -> bool:
    return "folder" in head and not Path(head["folder"]).is_dir()


def _forget_replaced(clip: Path, digest: str, frames: _Frames) -> None:
    """Remove the frames of another clip that had this one's name.

    Raises:
        VideoError: that one is still there, in another folder.
    """
    head = frames.heads.get(clip.name)
    if head is None or head["clip_sha256"] == digest:
        return
    before = Path(head.get("folder", ""), clip.name)
    if "folder" in head and before.exists() and not before.samefile(clip):
        raise VideoError(
            f"{frames.folder} holds frames of another clip that is also called {clip.name}.",
            "Rename this one, or give another -o.",
        )
    log.warning("%s has changed; its frames in %s are extracted again.", clip, frames.folder)
    frames.forget(clip.name)


def _skip(bar: Any, frames: int) -> None:
    """Advance the bar by frames of an earlier run, which say nothing about the rate."""
    if not bar.disable:
        bar.n, bar.initial, bar.last_print_n = bar.n + frames, bar.initial + frames, bar.last_print_n + frames
        bar.refresh()


def _extract_clip(
    clip: Path,
    digest: str,
    person: Person,
    frames: _Frames,
    advance: Callable[[int], object],
    foresight: Foresight | None = None,
) -> ClipReport:
    report, settings, folder = ClipReport(), frames.settings, frames.folder
    foresight = foresight or foresee(clip)
    known = {name: frames.stem(name) for name in frames.heads}
    stem = output_stems({*known, *(one.name for one in person.clips)}, FRAME_END, known)[clip.name]
    source = {"clip": clip.name, "clip_sha256": digest}
    head: dict[str, Any] = {**source, "state": "begun", "settings": asdict(settings)}
    head |= {"stem": stem} if stem != clip.stem else {}
    head |= {"folder": _where(person.folder)} if person.folder else {}
    ours = clip.name in frames.heads  # what is there was written from this clip
    rows = []
    shown = 0
    try:
        with Encoders() as encoders:
            for sample in sample_frames(clip, settings, report, digest, foresight):
                if not rows:
                    frames.heads[clip.name], frames.rows[clip.name] = head, []
                    frames.write()  # so that a rerun with other settings is refused
                name = f"{stem}-{sample.number:06d}.{settings.format}"
                rows.append(
                    {"file": name, **source, "index": sample.number, "time": sample.time, "seed": settings.seed}
                )
                if not ours or not (folder / name).exists():
                    encoders.submit(folder / name, sample.frame, foresight.aspect)
                advance(report.frames_decoded - shown)
                shown = report.frames_decoded
    except Unforeseen:
        log.debug("%s decodes to other frames than its packets announce; it is decoded again in full.", clip)
        advance(-shown)
        if rows:  # chosen among other frames
            frames.forget(clip.name)
        return _extract_clip(clip, digest, person, frames, advance, Foresight(foresight.aspect))
    advance(report.frames_decoded - shown)
    frames.heads[clip.name] = {**head, "state": "done", "report": asdict(report)}
    frames.rows[clip.name] = rows
    frames.write()
    if report.seconds_lost or report.damaged_packets:
        log.warning(
            "%s is damaged: %.1f of %.1f s were read (%d damaged packets); the frames that decoded are kept.",
            clip, report.seconds, report.seconds + report.seconds_lost, report.damaged_packets,
        )  # fmt: skip
    return report
