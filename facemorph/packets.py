"""A clip's packets: which frames they will give, known before any is decoded, so that most need not be.

A frame to which no other refers is decoded only if it is wanted. H.264 and H.265 mark such frames (about half of them
where there are B-frames), and where every frame stands for itself (Motion JPEG, ProRes) all are.
"""

import itertools
from array import array
from bisect import bisect_left
from collections.abc import Container, Iterator
from typing import Any


def passes_over(context: Any) -> bool:
    """Whether a decoder can leave out frames that no others refer to, each of its packets being a frame."""
    if context.codec.intra_only or context.name == "h264":
        return True
    # A picture of H.265 that none of its own temporal layer refers to is marked, so there must be one layer only:
    # `numTemporalLayers` of the decoder configuration record (ISO/IEC 14496-15, 8.3.3.1).
    head = context.extradata or b""
    return context.name == "hevc" and len(head) > 22 and head[0] == 1 and head[21] >> 3 & 7 == 1


def presentation_times(container: Any, stream: Any) -> array | None:
    """When each frame of a clip is shown, in order, in the stream's units; None if its packets do not tell for sure.

    They do where each of them has a time of its own, the clock never restarts, nothing is damaged, and nothing comes
    before the first key frame.
    """
    if not passes_over(stream.codec_context):
        return None
    shown, key, key_before = array("q"), None, None
    try:
        for packet in container.demux(stream):
            if not packet.size:  # the last one, which flushes the decoder
                continue
            if packet.is_corrupt or packet.pts is None:
                return None
            if packet.is_keyframe:
                key_before, key = packet.pts if key is None else key, packet.pts
            # Up to the next key frame, frames may be shown before this one, but not before the last one.
            if key is None or key_before is None or not key_before <= min(packet.pts, key):
                return None
            if not packet.is_discard:  # by an edit list
                shown.append(packet.pts)
    except Exception:  # what a demuxer raises on a damaged file
        return None
    if stream.codec_context.has_b_frames and all(a < b for a, b in itertools.pairwise(shown)):
        return None  # an AVI has no times but those of decoding; in an MP4 there are no B-frames to pass over
    times = array("q", sorted(shown))
    return times if times and all(a < b for a, b in itertools.pairwise(times)) else None


def without_unneeded(packets: Iterator[Any], context: Any, wanted: Container[int]) -> Iterator[Any]:
    """Packets to decode, in order: for the frames with a `wanted` time, and those to which they refer."""
    for packet in packets:
        needed = not packet.size or packet.pts in wanted
        if needed or not context.codec.intra_only:
            context.skip_frame = "DEFAULT" if needed else "NONREF"
            yield packet


def place(times: array, time: int | None) -> int | None:
    """The number of the frame that is shown at this time, from 0; None if there is none."""
    if time is None:
        return None
    number = bisect_left(times, time)
    return number if number < len(times) and times[number] == time else None
