"""Random choice of frames, no two of them consecutive, from a stream of unknown length."""

import functools
import math
import random
from typing import Generic, TypeVar

Item = TypeVar("Item")


@functools.cache
def count_choices(n: int, k: int) -> int:
    """The number of ways to choose k of n items in a row with no two adjacent: C(n - k + 1, k).

    There is one empty choice even of -1 items, which is what "all but the last two" of one item leaves.
    """
    if k == 0:
        return 1
    return math.comb(n - k + 1, k) if n >= 2 * k - 1 else 0


class NonAdjacentReservoir(Generic[Item]):
    """Chooses `k` items of a stream, no two consecutive, every allowed choice equally likely.

    A reservoir: after each item it holds, for every size j <= k, one uniform choice among the items so far, so it
    keeps at most k (k + 1) items however long the stream is. The step from n to n + 1 items splits the allowed choices
    of size j into those with the new item, {new} + a choice of size j - 1 from the first n - 1 items, and those without
    it, choices of size j from the first n. Picking one of the two with probabilities in proportion to their counts
    keeps every size uniform.
    """

    def __init__(self, k: int, rng: random.Random) -> None:
        self._k, self._rng, self._n = k, rng, 0
        nothing: list[list[Item] | None] = [[], *[None] * k]
        self._now, self._before = nothing, nothing  # by size: choices among n and among n - 1 items

    def add(self, item: Item) -> None:
        following: list[list[Item] | None] = [[]]
        for size in range(1, self._k + 1):
            choices = count_choices(self._n + 1, size)
            with_item = count_choices(self._n - 1, size - 1)
            if choices and self._rng.randrange(choices) < with_item:
                shorter = self._before[size - 1]
                assert shorter is not None
                following.append([*shorter, item])
            else:
                following.append(self._now[size])
        self._now, self._before, self._n = following, self._now, self._n + 1

    def chosen(self) -> list[Item]:
        """The `k` items in order, or as many as the stream so far allows."""
        return next(choice for choice in reversed(self._now) if choice is not None)
