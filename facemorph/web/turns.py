"""Long work, one job at a time: visitors take turns, see their place in the queue and the time left, and may stop."""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any

log = logging.getLogger("facemorph")

Work = Callable[["Job"], Any]


class Cancelled(Exception):
    """The visitor stopped the work."""


class Job:
    """A piece of long work. `state` is "waiting", "running", "done", "failed" or "cancelled"."""

    def __init__(self, work: Work, what: str) -> None:
        self.work, self.what = work, what
        self.state = "waiting"
        self.done, self.total = 0.0, 0.0
        self.part = 0  # of work that tells its progress part by part
        self.error: BaseException | None = None
        self.finished = threading.Event()
        self._stop = False
        self._began = self._base = 0.0

    def tell(self, done: float, total: float | None) -> None:
        """How far it is; ends the work where the visitor stopped it."""
        if self._stop:
            raise Cancelled
        if not self._began or done < self.done:
            self.part += 1
            self._began, self._base = time.monotonic(), done
        self.done, self.total = done, total or 0.0

    def cancel(self) -> None:
        self._stop = True

    @property
    def seconds_left(self) -> float | None:
        """As long as the rest takes at the rate so far; None before there is a rate."""
        moved = self.done - self._base
        if self.state != "running" or moved <= 0 or not self.total:
            return None
        return max(0.0, (self.total - self.done) * (time.monotonic() - self._began) / moved)

    def run(self) -> None:
        self.state = "running"
        try:
            if self._stop:
                raise Cancelled
            self.work(self)
            self.state = "done"
        except Cancelled:
            self.state = "cancelled"
        except BaseException as error:  # told to the visitor, who waits for it
            self.error, self.state = error, "failed"
        finally:
            self.finished.set()


class Turns:
    """A line of jobs in which every visitor has one place: who has several waits longer for the second."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, deque[Job]] = OrderedDict()  # the next visitor first
        self._changed = threading.Condition()
        self._open = True
        self._running: Job | None = None
        self._thread = threading.Thread(target=self._work, name="turns", daemon=True)
        self._thread.start()

    def join(self, visitor: Hashable, work: Work, what: str) -> Job:
        """Put work at the end of the visitor's own line."""
        job = Job(work, what)
        with self._changed:
            self._waiting.setdefault(visitor, deque()).append(job)
            self._changed.notify()
        return job

    def place(self, job: Job) -> int:
        """How many jobs run before this one, the one that runs now included; 0 for one that waits no more."""
        with self._changed:
            if job.state != "waiting":
                return 0
            lines = [list(line) for line in self._waiting.values()]
        before, depth = 1, 0
        while any(len(line) > depth for line in lines):
            for line in lines:
                if len(line) > depth:
                    if line[depth] is job:
                        return before
                    before += 1
            depth += 1
        return 0

    @property
    def idle(self) -> bool:
        """Whether no work waits or runs."""
        with self._changed:
            return not self._waiting and (self._running is None or self._running.finished.is_set())

    def close(self) -> None:
        with self._changed:
            self._open = False
            for line in self._waiting.values():
                for job in line:
                    job.cancel()
            self._changed.notify()

    def _next(self) -> Job | None:
        with self._changed:
            while self._open and not self._waiting:
                self._changed.wait()
            if not self._waiting:
                return None
            visitor, line = self._waiting.popitem(last=False)
            job = line.popleft()
            if line:
                self._waiting[visitor] = line  # behind all others
            job.state = "running"
            self._running = job
            return job

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.run()
