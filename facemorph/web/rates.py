"""How much and how often: requests a minute, requests open at once, and whose an open page is."""

import time
from collections import OrderedDict, defaultdict, deque

MOST_KEYS = 10_000
MOST_PAGES = 10_000  # open pages, of all visitors


class Rates:
    """How often each key came in the last minute."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = defaultdict(deque)

    def count(self, key: str) -> int:
        now = time.monotonic()
        return sum(now - one < 60 for one in self._times.get(key, ()))

    def too_many(self, key: str, most: int) -> bool:
        now, times = time.monotonic(), self._times[key]
        while times and now - times[0] > 60:
            times.popleft()
        if len(self._times) > MOST_KEYS:
            self._times = defaultdict(deque, {k: v for k, v in self._times.items() if v and now - v[-1] < 60})
            times = self._times[key]
        if len(times) >= most:
            return True
        times.append(now)
        return False


class Open:
    """Requests that are being answered, for each key."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = defaultdict(int)

    def enter(self, limits: dict[str, int]) -> bool:
        """Count one more for every key; nothing is counted where one of them has its most already."""
        if any(self._counts.get(key, 0) >= most for key, most in limits.items()):
            return False
        for key in limits:
            self._counts[key] += 1
        return True

    def leave(self, limits: dict[str, int]) -> None:
        for key in limits:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]


class Pages:
    """Whose an open page is: of the visitor who named it first. Gradio shows what it made to whoever knows the name."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, str] = OrderedDict()  # the one used last at the end
        self._unread: dict[str, int] = defaultdict(int)
        self._streams: dict[str, int] = defaultdict(int)

    def is_own(self, page: str, visitor: str) -> bool:
        owner = self._owners.setdefault(page, visitor)
        self._owners.move_to_end(page)
        while len(self._owners) > MOST_PAGES:
            self._unread.pop(self._owners.popitem(last=False)[0], None)
        return owner == visitor

    def asked(self, page: str, most: int) -> bool:
        """Whether work may begin for a page: not while more than that was made and nobody comes for it."""
        if self._streams.get(page):
            return True
        self._unread[page] += 1
        return self._unread[page] <= most

    def opened(self, page: str) -> None:
        """What was made for the page is being fetched."""
        self._streams[page] += 1
        self._unread.pop(page, None)

    def closed(self, page: str) -> None:
        self._streams[page] -= 1
        if not self._streams[page]:
            del self._streams[page]
