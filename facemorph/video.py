"""Clips to frames: a few random ones of each second, no two of them consecutive (2018 paper, section 4-2)."""

import logging
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.video.reformatter import VideoReformatter
from PIL import Image

from facemorph.errors import InputError, VideoError
from facemorph.files import read_jsonl, replacing, sha256, write_jsonl
from facemorph.frame_sampling import NonAdjacentReservoir
from facemorph.progress import progress_bar

log = logging.getLogger("facemorph")

VIDEO_SUFFIXES = {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
ENCODERS = 1  # threads that encode images, beside the decoder's own; more make it slower
WAITING = 16  # images that may wait for them, which bounds the memory
JPEG_QUALITY = 95


@dataclass(frozen=True)
class ExtractSettings:
    """Which frames are taken, and how they are stored."""

    per_second: int = 4
    seed: int = 0
    format: str = "jpg"


@dataclass(frozen=True)
class Person:
    """Clips whose frames go into one folder, named after a clip or after a folder of clips."""

    name: str
    clips: tuple[Path, ...]


@dataclass
class ClipReport:
    """What one pass over a clip counted."""

    frames_decoded: int = 0
    frames_taken: int = 0
    seconds: float = 0.0
    seconds_lost: float = 0.0
    damaged_packets: int = 0
    sparse_seconds: int = 0  # seconds with too few images for `per_second` frames


class Sampled(NamedTuple):
    """A frame: `number` counts decoded frames from 0, `time` is seconds since the first one."""

    number: int
    time: float
    frame: av.VideoFrame


def find_people(sources: list[Path], person: str | None = None) -> list[Person]:
    """One person per clip, or per folder of clips; with `person`, all clips show that one.

    Raises:
        InputError: a source is missing, a folder has no clips, or two sources would share a folder.
    """
    found: list[Person] = []
    for source in sources:
        if source.is_dir():
            clips = tuple(sorted(p for p in source.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES))
            if not clips:
                raise InputError(
                    f"The folder {source} holds no clips.",
                    f"Expected one of {' '.join(sorted(VIDEO_SUFFIXES))}.",
                )
            found.append(Person(source.resolve().name, clips))
        elif source.exists():
            found.append(Person(source.stem, (source,)))
        else:
            raise InputError(f"No such clip or folder: {source}.", "Check the path.")
    if person is not None:
        found = [Person(person, tuple(clip for one in found for clip in one.clips))]
    names = [one.name for one in found]
    for one in found:
        stems = [clip.stem for clip in one.clips]
        twice = next((stem for stem in stems if stems.count(stem) > 1), None)
        twice = one.name if names.count(one.name) > 1 else twice
        if twice:
            raise InputError(
                f"Two of the clips are called {twice!r} and their images would mix.",
                "Rename one, or extract them into different folders with -o.",
            )
    return found


def sample_frames(path: Path, settings: ExtractSettings, report: ClipReport, key: str = "") -> Iterator[Sampled]:
    """Decode a clip once and yield the chosen frames in order; `report` is filled meanwhile.

    In each second of presentation time, counted from the first frame, `per_second` frames are taken with no two
    consecutive, also across the boundary between seconds. Every allowed choice within a second is equally likely, given
    whether the last frame before it was taken. A second with too few frames gives as many as possible.
    The choice depends only on the seed, `key` (the clip's hash) and the second.

    Raises:
        VideoError: not a clip, no video stream, or nothing in it can be decoded.
    """
    second = 0
    reservoir: NonAdjacentReservoir[Sampled] | None = None
    last_taken = -2

    def close() -> list[Sampled]:
        chosen = reservoir.chosen() if reservoir else []
        report.frames_taken += len(chosen)
        return chosen

    for sample in _decode(path, report):
        if reservoir is None or int(sample.time) != second:
            chosen = close()
            if reservoir and len(chosen) < settings.per_second:
                report.sparse_seconds += 1
            last_taken = chosen[-1].number if chosen else last_taken
            yield from chosen
            second = int(sample.time)
            reservoir = NonAdjacentReservoir(settings.per_second, random.Random(f"{settings.seed}/{key}/{second}"))
        if sample.number != last_taken + 1:
            reservoir.add(sample)
    yield from close()


def _decode(path: Path, report: ClipReport) -> Iterator[Sampled]:
    with _open(path) as container:
        stream = next(s for s in container.streams.video if "ATTACHED_PIC" not in str(s.disposition).upper())
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        first: float | None = None
        now = 0.0
        for frame in _frames(container, stream, report):
            time = frame.time
            first = time if first is None else first
            if time is None or first is None:
                time, first = report.frames_decoded / rate, 0.0  # raw streams have no clock
            now = max(now, round(time - first, 6))  # microseconds, so that 0.9999999 s is not the second before
            report.seconds = now + 1 / rate
            yield Sampled(report.frames_decoded, now, frame)
            report.frames_decoded += 1
        if not report.frames_decoded:
            raise VideoError(f"No frame of {path} can be decoded.", "Is the clip damaged? Try to play it.")
        expected = _promised_seconds(container, stream)
        lost = expected - report.seconds
        report.seconds_lost = max(0.0, lost) if lost > max(0.25, 2.5 / rate) or report.damaged_packets else 0.0


def _promised_seconds(container: Any, stream: Any) -> float:
    """The duration of the video according to the file; 0 if it has none."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if "DURATION" in stream.metadata:  # Matroska, as 00:00:08.000000000
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return 3600 * float(hours) + 60 * float(minutes) + float(seconds)
    # A longer sound track would look like lost frames.
    return container.duration / 1e6 if container.duration and len(container.streams) == 1 else 0.0


def _frames(container: Any, stream: Any, report: ClipReport) -> Iterator[av.VideoFrame]:
    """Every frame that decodes; damaged packets are counted, not raised."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError:
            report.damaged_packets += 1
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:
            report.damaged_packets += 1
            continue
        for frame in frames:
            if frame.is_corrupt:
                report.damaged_packets += 1
            else:
                yield frame


def _open(path: Path) -> Any:
    if not path.exists():
        raise VideoError(f"No such clip: {path}.", "Check the path.")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes).", "Copy or record it again.")
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise VideoError(
            f"{path} cannot be read as a clip: {error.strerror}.",
            "A video file was expected (MP4, MOV, MKV, WebM, AVI). An MP4 cut off before its index cannot be read.",
        ) from error
    if all("ATTACHED_PIC" in str(stream.disposition).upper() for stream in container.streams.video):
        container.close()
        raise VideoError(f"{path} has no video stream.", "Is it a sound file?")
    return container


class _Encoders:
    """Writes frames as image files in threads of its own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(ENCODERS, "encode")
        self._local = threading.local()
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> "_Encoders":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            self.drain(0)

    def drain(self, leave: int) -> None:
        while len(self._waiting) > leave:
            self._waiting.pop(0).result()

    def submit(self, path: Path, frame: av.VideoFrame, aspect: float) -> None:
        self.drain(WAITING)
        self._waiting.append(self._pool.submit(self._write, path, frame, aspect))

    def _write(self, path: Path, frame: av.VideoFrame, aspect: float) -> None:
        if not hasattr(self._local, "reformatter"):
            self._local.reformatter = VideoReformatter()
        image = upright(frame, aspect, self._local.reformatter)
        with replacing(path) as temporary, temporary.open("wb") as file:
            if path.suffix == ".jpg":  # 4:2:0 as in the clip, which has no finer chroma
                image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=2)
            else:
                image.convert("RGB").save(file, "PNG")


def upright(frame: av.VideoFrame, aspect: float, reformatter: VideoReformatter) -> Image.Image:
    """A decoded frame as a player shows it: with square pixels and the clip's rotation applied.

    `aspect` is the pixel aspect ratio, width over height. The result has Pillow's mode RGBX, four bytes per pixel, as
    Pillow stores them internally: the decoder's buffer is used without a copy, which saves a third of the time.
    """
    width = round(frame.width * max(aspect, 1.0))
    height = round(frame.height / min(aspect, 1.0))
    plane = reformatter.reformat(frame, width=width, height=height, format="rgb0").planes[0]
    data: Any = plane  # it has the buffer protocol, which Pillow's types do not name
    image = Image.frombuffer("RGBX", (width, height), data, "raw", "RGBX", plane.line_size, 1)
    quarters = round(frame.rotation / 90) % 4
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return image.transpose(turns[quarters - 1]) if quarters else image


def extract(
    people: list[Person], output: Path, settings: ExtractSettings, *, progress: bool = False
) -> dict[str, list[ClipReport]]:
    """Write the chosen frames of every clip to `output`/<person>/<clip>-<index>.<format>, with a manifest.jsonl.

    Complete clips are skipped, missing frames are added, other files are left alone. A clip that cannot be read does
    not stop the others; it is named in a warning and has no report.

    Raises:
        InputError: the folder holds frames taken with other settings, or a clip could not be read.
    """
    for person in people:  # all of them before anything slow starts
        _finished(output / person.name, settings)
    reports: dict[str, list[ClipReport]] = {}
    failures: list[str] = []
    for person in people:
        done = _finished(output / person.name, settings)
        total = sum(_expected_frames(clip) for clip in person.clips) or None
        with progress_bar(progress, total=total, unit=" frames", description=f"extract {person.name}") as bar:
            for clip in person.clips:
                try:
                    digest = sha256(clip) if clip.exists() else ""
                    if (clip.name, digest) in done:
                        report = done[clip.name, digest]
                        _skip(bar, report.frames_decoded)
                        log.debug("%s: complete, nothing to do.", clip)
                    else:
                        report = _extract_clip(clip, digest, output / person.name, settings, bar.update)
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


def _skip(bar: Any, frames: int) -> None:
    """Advance the bar by frames of an earlier run, which say nothing about the rate."""
    if not bar.disable:
        bar.n, bar.initial, bar.last_print_n = bar.n + frames, bar.initial + frames, bar.last_print_n + frames
        bar.refresh()


def _finished(folder: Path, settings: ExtractSettings) -> dict[tuple[str, str], ClipReport]:
    """The clips whose frames are complete in `folder`, by name and hash."""
    done = {}
    for row in read_jsonl(folder / "manifest.jsonl"):
        if "state" not in row:
            continue
        if row["settings"] != asdict(settings):
            was = ", ".join(f"{key} {value}" for key, value in row["settings"].items())
            raise InputError(
                f"{folder} was extracted with other settings ({was}).", "Give another -o, or delete the folder."
            )
        if row["state"] == "done":
            done[row["clip"], row["clip_sha256"]] = ClipReport(**row["report"])
    return done


def _expected_frames(clip: Path) -> int:
    """The number of frames in the clip's header, for the progress bar; 0 if it cannot be read."""
    try:
        with _open(clip) as container:
            stream = container.streams.video[0]
            return stream.frames or round(float((container.duration or 0) / 1e6 * (stream.average_rate or 0)))
    except VideoError:
        return 0


def _extract_clip(
    clip: Path, digest: str, folder: Path, settings: ExtractSettings, advance: Callable[[int], object]
) -> ClipReport:
    report = ClipReport()
    with _open(clip) as container:
        aspect = float(container.streams.video[0].sample_aspect_ratio or 1)
    manifest = folder / "manifest.jsonl"
    source = {"clip": clip.name, "clip_sha256": digest}
    head: dict[str, Any] = {**source, "state": "begun", "settings": asdict(settings)}
    known = read_jsonl(manifest)
    if any(row["clip"] == clip.name and row["clip_sha256"] != digest for row in known):
        raise VideoError(
            f"{folder} holds frames of another clip that is also called {clip.name}.",
            "Rename this one, or give another -o.",
        )
    before = [row for row in known if row["clip"] != clip.name]
    rows = []
    shown = 0
    with _Encoders() as encoders:
        for sample in sample_frames(clip, settings, report, digest):
            if not rows:
                write_jsonl(manifest, [*before, head])  # so that a rerun with other settings is refused
            name = f"{clip.stem}-{sample.number:06d}.{settings.format}"
            rows.append({"file": name, **source, "index": sample.number, "time": sample.time, "seed": settings.seed})
            if not (folder / name).exists():
                encoders.submit(folder / name, sample.frame, aspect)
            advance(report.frames_decoded - shown)
            shown = report.frames_decoded
    advance(report.frames_decoded - shown)
    write_jsonl(manifest, [*before, {**head, "state": "done", "report": asdict(report)}, *rows])
    if report.seconds_lost or report.damaged_packets:
        log.warning(
            "%s is damaged: %.1f of %.1f s were read (%d damaged packets); the frames that decoded are kept.",
            clip, report.seconds, report.seconds + report.seconds_lost, report.damaged_packets,
        )  # fmt: skip
    return report
