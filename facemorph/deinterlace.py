"""Interlaced frames made whole, by FFmpeg's bwdif."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.filter


class Deinterlacer:
    """Frames as they come, and from the first interlaced one on through FFmpeg's bwdif, one frame for each."""

    def __init__(self) -> None:
        self._graph: Any = None
        self._shape: tuple[Any, ...] = ()
        self.used = False

    def frames(self, source: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for frame in source:
            shape = (frame.width, frame.height, frame.format.name)
            if self._graph is not None and shape != self._shape:
                yield from self._flushed()
            if self._graph is None:
                if not frame.interlaced_frame:
                    yield frame
                    continue
                self._open(frame, shape)
            graph: Any = self._graph
            graph.push(frame)
            yield from self._ready()
        if self._graph is not None:
            yield from self._flushed()

    def _open(self, frame: av.VideoFrame, shape: tuple[Any, ...]) -> None:
        graph = av.filter.Graph()
        base = frame.time_base or Fraction(1, 25)
        ends = (
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base),
            graph.add("bwdif", "mode=send_frame:deint=interlaced"),
            graph.add("buffersink"),
        )
        graph.link_nodes(*ends).configure()
        self._graph, self._shape, self.used = graph, shape, True

    def _ready(self) -> Iterator[av.VideoFrame]:
        while True:
            try:
                frame = self._graph.pull()
            except (BlockingIOError, EOFError):
                return
            assert isinstance(frame, av.VideoFrame)
            yield frame

    def _flushed(self) -> Iterator[av.VideoFrame]:
        self._graph.push(None)
        yield from self._ready()
        self._graph = None
