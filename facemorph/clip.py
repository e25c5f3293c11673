"""A clip: opened as a file and nothing else, decoded, its clock made to run forwards."""

import itertools
import logging
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.filter

from facemorph.deinterlace import Deinterlacer
from facemorph.errors import VideoError
from facemorph.files import printable
from facemorph.folders import head_of, looks_like_image, what_it_is
from facemorph.frame_image import is_hdr
from facemorph.images import MAX_PIXELS
from facemorph.packets import place, presentation_times, without_unneeded
from facemorph.threads import usable

log = logging.getLogger("facemorph")

# A title in another encoding than UTF-8 makes no clip unreadable: PyAV 19 sees to that itself, and takes no such word.
TITLES: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
LEAP_SECONDS = 600  # a clock that leaps ahead further has restarted
BACK_SECONDS = 0.5  # a clock that steps back further has restarted,
BEHIND_FRAMES = 3  # and so has one that stays behind for more frames: it runs backwards, or stands
SMALL_PIXELS = 640 * 480  # of frames that one thread decodes about as fast as two
# Formats that FFmpeg recognises by content and that name other files, or the network.
PLAYLISTS = {"concat", "dash", "hls", "imf", "rtp", "rtsp", "sdp"}
NO_CLIP = "A video file was expected (MP4, MOV, MKV, WebM, AVI). An MP4 cut off before its index cannot be read."


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


class Foreseen(NamedTuple):
    """A frame before it is decoded: its `number` and `time` as Sampled has them, and its time as the file has it."""

    number: int
    time: float
    pts: int


@dataclass(frozen=True)
class Foresight:
    """A clip before it is decoded.

    `aspect` is width over height of its pixels, `times` those of all its frames as the file has them, and `seconds` the
    same since the first one; both are empty where only decoding tells.
    """

    aspect: float
    times: array = field(default_factory=lambda: array("q"))
    seconds: array = field(default_factory=lambda: array("d"))

    def frames(self) -> Iterator[Foreseen]:
        return itertools.starmap(Foreseen, zip(itertools.count(), self.seconds, self.times, strict=False))


class Unforeseen(Exception):
    """A clip's frames are not those that its packets told of: it must be decoded as a whole."""


class Clock:
    """Presentation times as a file has them to seconds since the first frame, which never run backwards.

    A step back opens a new stretch of time, which begins a frame after the last one: recordings that were joined begin
    their clock anew. Frames that are only a little out of order stand still.
    """

    def __init__(self, fps: float) -> None:
        self._frame_seconds = 1 / fps
        self._offset, self._behind = 0.0, 0
        self._top: float | None = None  # the latest time of this stretch
        self._now: float | None = None
        self.stretches = 1

    def at(self, time: float | None) -> float:
        """Seconds since the first frame, of the next frame; `time` is None where the file has no clock."""
        if self._now is None:
            self._now, self._top, self._offset = 0.0, time, -(time or 0.0)
        elif time is None:
            self._now += self._frame_seconds
            self._top = None
        elif self._top is not None and 0 < time - self._top <= LEAP_SECONDS:
            self._top, self._behind = time, 0
            self._now = max(self._now, time + self._offset)
        else:
            self._behind += 1
            ahead = 0.0 if self._top is None else time - self._top
            if self._top is None or not -BACK_SECONDS <= ahead <= 0 or self._behind > BEHIND_FRAMES:
                self.stretches += abs(ahead) > BACK_SECONDS
                self._now += self._behind * self._frame_seconds
                self._offset, self._top, self._behind = self._now - time, time, 0
        self._now = round(self._now, 6)  # microseconds, so that 0.9999999 s is not the second before
        return self._now


def open_clip(path: Path) -> Any:
    """The clip as a PyAV container. The path is always a file's, whatever it looks like; nothing else is opened.

    Raises:
        VideoError: missing, empty, no clip, or without moving images.
    """
    if not path.exists():
        raise VideoError(f"No such clip: {path}.", "Check the path.")
    if not path.is_file():
        raise VideoError(f"{path} is not a regular file.", "A video file was expected.")
    if path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes).", "Copy or record it again.")
    head = head_of(path)
    if looks_like_image(head) and not head.startswith(b"GIF8"):
        raise VideoError(f"{path} is an image, not a clip.", "Images go into a folder, for `facemorph align`.")
    try:
        name = f"file:{os.path.abspath(path)}"  # noqa: PTH100, links stay
        options = {"protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
        container = av.open(name, options=options, **TITLES)
    except Exception as error:  # PyAV and FFmpeg raise many kinds
        kind = what_it_is(head)
        why = f"it is {kind}" if kind and kind != "a clip" else getattr(error, "strerror", None) or str(error)
        raise VideoError(f"{path} cannot be read as a clip: {why}.", NO_CLIP) from error
    problem = ""
    if PLAYLISTS & set(container.format.name.split(",")):
        problem = "is a list of other files, not a clip"
    elif container.format.name == "tty" or not _moving(container):
        problem = "has no video stream"
    elif (codec := _moving(container)[0].codec_context) is None:
        problem = "is coded in a way for which there is no decoder here"
    elif codec.width * codec.height > MAX_PIXELS:
        problem = f"has more than the {MAX_PIXELS // 10**6} megapixels that this toolkit reads"
    if problem:
        container.close()
        hint = "Is it a sound file?" if "stream" in problem else "Give a video file."
        raise VideoError(f"{path} {problem}.", hint)
    return container


def _moving(container: Any) -> list[Any]:
    """The video streams, without covers."""
    return [s for s in container.streams.video if "ATTACHED_PIC" not in str(s.disposition).upper()]


def expected_frames(path: Path) -> int:
    """The number of frames in the clip's header, for the progress bar; 0 if it cannot be read."""
    try:
        with open_clip(path) as container:
            stream = _moving(container)[0]
            return max(0, stream.frames or round(float((container.duration or 0) / 1e6 * (stream.average_rate or 0))))
    except (VideoError, ArithmeticError):
        return 0


def foresee(path: Path) -> Foresight:
    """What a clip will give, from its packets.

    Raises:
        VideoError: as `open_clip`.
    """
    with open_clip(path) as container:
        stream = _moving(container)[0]
        aspect = float(stream.sample_aspect_ratio or 1)
        times = presentation_times(container, stream)
        if times is None:
            return Foresight(aspect)
        clock, base = Clock(_rate(stream)), stream.time_base
        seconds = array("d", (clock.at(float(time) * base.numerator / base.denominator) for time in times))
        return Foresight(aspect, times, seconds) if clock.stretches == 1 else Foresight(aspect)


def decode(path: Path, report: ClipReport) -> Iterator[Sampled]:
    """Every frame of a clip that decodes; `report` is filled meanwhile, and remarks go into the log.

    Raises:
        VideoError: as `open_clip`, or nothing in it can be decoded.
    """
    with open_clip(path) as container:
        stream = _moving(container)[0]
        _share_cpus(stream)
        rate = _rate(stream)
        clock, remarks, deinterlacer = Clock(rate), _Remarks(path, stream), Deinterlacer()
        for frame in deinterlacer.frames(_frames(container.demux(stream), report)):
            now = clock.at(frame.time)
            remarks.look(frame)
            report.seconds = now + 1 / rate
            yield Sampled(report.frames_decoded, now, frame)
            report.frames_decoded += 1
        if not report.frames_decoded:
            raise VideoError(f"No frame of {path} can be decoded.", "Is the clip damaged? Try to play it.")
        _count_lost(container, stream, report)
    remarks.say(clock.stretches, deinterlacer.used)


def decode_chosen(path: Path, foresight: Foresight, chosen: list[Foreseen], report: ClipReport) -> Iterator[Sampled]:
    """These frames of a clip alone, as `decode` gives them; those that no other refers to are not decoded.

    Raises:
        Unforeseen: the clip is damaged or interlaced, or gives other frames than was foreseen.
        VideoError: as `open_clip`.
    """
    times, seconds = foresight.times, foresight.seconds
    wanted = {times[0], *(one.pts for one in chosen)}  # the first one is looked at for remarks
    waiting, last = iter(chosen), -1
    due = next(waiting, None)
    with open_clip(path) as container:
        stream = _moving(container)[0]
        _share_cpus(stream)
        remarks = _Remarks(path, stream)
        for frame in _frames(without_unneeded(container.demux(stream), stream.codec_context, wanted), report):
            number = place(times, frame.pts)
            if report.damaged_packets or frame.interlaced_frame or number is None or number <= last:
                raise Unforeseen
            last = number
            remarks.look(frame)
            report.frames_decoded = number + 1
            if due and number >= due.number:
                if number > due.number:
                    raise Unforeseen
                due = next(waiting, None)
                yield Sampled(number, seconds[number], frame)
        if report.damaged_packets or due:
            raise Unforeseen
        report.frames_decoded = len(times)
        report.seconds = seconds[-1] + 1 / _rate(stream)
        _count_lost(container, stream, report)
    remarks.say()


def _share_cpus(stream: Any) -> None:
    # Of two CPUs the second is better used for encoding, unless frames are large.
    small = stream.codec_context.width * stream.codec_context.height <= SMALL_PIXELS
    stream.thread_type = "NONE" if usable() == 1 or (small and usable() == 2) else "AUTO"
    # More than CPUs: a thread waits for what others decode, and for its CPU while a frame is encoded there.
    stream.codec_context.thread_count = min(2 * usable(), 16)


def _rate(stream: Any) -> float:
    return next((float(r) for r in (stream.average_rate, stream.guessed_rate) if r and 0.001 < r <= 1000), 25.0)


def _count_lost(container: Any, stream: Any, report: ClipReport) -> None:
    lost = _promised_seconds(container, stream) - report.seconds
    report.seconds_lost = max(0.0, lost) if lost > max(0.25, 2.5 / _rate(stream)) or report.damaged_packets else 0.0


class _Remarks:
    """Log messages about a clip, from its frames."""

    def __init__(self, path: Path, stream: Any) -> None:
        self._name = printable(str(path))
        self._hdr, self._begun = False, False
        self._transparent = stream.metadata.get("alpha_mode") == "1"

    def look(self, frame: av.VideoFrame) -> None:
        self._hdr = self._hdr or is_hdr(frame)
        if not self._begun:
            self._transparent = self._transparent or _is_transparent(frame)
        self._begun = True

    def say(self, stretches: int = 1, deinterlaced: bool = False) -> None:
        if stretches > 1:
            log.info("%s: its clock restarts (%d x); it was read as one recording.", self._name, stretches - 1)
        if self._hdr:
            log.info("%s is HDR; its frames were tone-mapped to SDR.", self._name)
        if deinterlaced:
            log.info("%s is interlaced; its frames were deinterlaced.", self._name)
        if self._transparent:
            log.info("%s has transparent parts; its frames show the colours that lie there.", self._name)


def _is_transparent(frame: av.VideoFrame) -> bool:
    if not any(part.is_alpha for part in frame.format.components):
        return False
    return int(frame.reformat(format="rgba", threads=1).to_ndarray()[..., 3].min()) < 255


def _promised_seconds(container: Any, stream: Any) -> float:
    """The duration of the video according to the file; 0 if it has none."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if "DURATION" in stream.metadata:  # Matroska, as 00:00:08.000000000
        try:
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            start = float((stream.start_time or 0) * (stream.time_base or 0))
            return 3600 * float(hours) + 60 * float(minutes) + float(seconds) - max(0.0, start)
        except ValueError:
            return 0.0
    # A longer sound track would look like lost frames.
    return container.duration / 1e6 if container.duration and len(container.streams) == 1 else 0.0


def _frames(packets: Iterator[Any], report: ClipReport) -> Iterator[av.VideoFrame]:
    """Every frame that decodes; damaged packets are counted, not raised."""
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except Exception:  # what a demuxer raises on a damaged file ends it
            report.damaged_packets += 1
            return
        try:
            frames = packet.decode()
        except Exception:
            report.damaged_packets += 1
            continue
        for frame in frames:
            if frame.is_corrupt or frame.width * frame.height > MAX_PIXELS:
                report.damaged_packets += 1
            else:
                yield frame
