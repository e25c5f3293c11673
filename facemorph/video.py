"""Clips to frames: in each second a few random images, no two of them consecutive (2018 paper, section 4-2)."""

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

VIDEO_SUFFIXES = {
    ".3gp",
    ".avi",
    ".flv",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".ts",
    ".webm",
    ".wmv",
}
ENCODERS = 1  # threads that encode images beside the decoder's own; more only get in their way
WAITING = 16  # images that may wait for them: bounds the memory
JPEG_QUALITY = 95


@dataclass(frozen=True)
class ExtractSettings:
    """What decides which frames are taken and how they are stored."""

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
    """What one pass over a clip found."""

    frames_decoded: int = 0
    frames_taken: int = 0
    seconds: float = 0.0
    seconds_lost: float = 0.0
    damaged_packets: int = 0
    sparse_seconds: int = 0  # whole seconds with too few frames for the asked number


class Sampled(NamedTuple):
    """A frame: `number` counts decoded frames from 0, `time` is seconds since the first one."""

    number: int
    time: float
    frame: av.VideoFrame


def find_people(sources: list[Path], person: str | None = None) -> list[Person]:
    """One person a clip, or one a folder of clips; with `person`, all of them are that one.

    Raises:
        InputError: missing, a folder without clips, or two sources that would share a folder.
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
    """Decode a clip once and yield the chosen frames in order; `report` is filled on the way.

    In each second of presentation time, counted from the first frame, `per_second` frames are taken with no two
    consecutive, not across the border between seconds either; every allowed choice within a second is equally likely,
    given whether the last frame before its border was taken. A second with less room gives as many as fit.
    The choice depends on the seed, `key` (the clip's hash) and the second alone.

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
            raise VideoError(f"Nothing in {path} can be decoded.", "Is the clip damaged? Try to play it.")
        expected = _promised_seconds(container, stream)
        lost = expected - report.seconds
        report.seconds_lost = max(0.0, lost) if lost > max(0.25, 2.5 / rate) or report.damaged_packets else 0.0


def _promised_seconds(container: Any, stream: Any) -> float:
    """How long the video should be by the file's own account; 0 where it gives none."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if "DURATION" in stream.metadata:  # Matroska, as 00:00:08.000000000
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return 3600 * float(hours) + 60 * float(minutes) + float(seconds)
    # A longer sound track would look like lost images.
    return container.duration / 1e6 if container.duration and len(container.streams) == 1 else 0.0


def _frames(container: Any, stream: Any, report: ClipReport) -> Iterator[av.VideoFrame]:
    """Every frame that decodes; what does not is counted, not raised."""
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
        raise VideoError(f"{path} is empty (0 bytes).", "Copy or record it anew.")
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise VideoError(
            f"{path} is not a clip that can be read: {error.strerror}.",
            "A video file was expected (MP4, MOV, MKV, WebM, AVI). An MP4 cut off before its index cannot be read.",
        ) from error
    if all("ATTACHED_PIC" in str(stream.disposition).upper() for stream in container.streams.video):
        container.close()
        raise VideoError(f"{path} has no video stream.", "Is it a sound file?")
    return container


class _Encoders:
    """Turns frames into image files in threads of their own."""

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
            if path.suffix == ".jpg":  # 4:2:0 as in the clip: finer chroma would only be made up
                image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=2)
            else:
                image.convert("RGB").save(file, "PNG")


def upright(frame: av.VideoFrame, aspect: float, reformatter: VideoReformatter) -> Image.Image:
    """A decoded frame as a person sees it: square pixels, the clip's rotation flag obeyed.

    `aspect` is the pixel aspect ratio, width over height. The result has Pillow's mode RGBX, four bytes a pixel as
    Pillow keeps them itself: so the decoder's image is used where it lies, which saves a third of the time.
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

    What is complete is skipped, what is missing is added, nothing else is touched. A clip that cannot be read does not
    stop the others; it is named in a warning and has no report.

    Raises:
        InputError: the folder holds frames made with other settings, or no clip could be read.
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
                        bar.update(report.frames_decoded)
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


def _finished(folder: Path, settings: ExtractSettings) -> dict[tuple[str, str], ClipReport]:
    """The clips whose frames lie complete in `folder`, by name and hash."""
    done = {}
    for row in read_jsonl(folder / "manifest.jsonl"):
        if "state" not in row:
            continue
        if row["settings"] != asdict(settings):
            was = ", ".join(f"{key} {value}" for key, value in row["settings"].items())
            raise InputError(
                f"{folder} was made with other settings ({was}).", "Give another -o, or delete the folder."
            )
        if row["state"] == "done":
            done[row["clip"], row["clip_sha256"]] = ClipReport(**row["report"])
    return done


def _expected_frames(clip: Path) -> int:
    """What the clip's header promises, for the progress bar; 0 where it cannot be read."""
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
                write_jsonl(manifest, [*before, head])  # a rerun with other settings must notice
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
            "%s is damaged: %.1f of %.1f s were read (%d damaged pieces); what decoded is kept.",
            clip, report.seconds, report.seconds + report.seconds_lost, report.damaged_packets,
        )  # fmt: skip
    return report
