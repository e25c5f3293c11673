"""The random choice of frames, against exhaustive enumeration."""

import itertools
from collections import Counter
from fractions import Fraction

import pytest

from facemorph.frame_sampling import NonAdjacentReservoir, count_choices


def allowed(n: int, k: int) -> list[tuple[int, ...]]:
    return [c for c in itertools.combinations(range(n), k) if all(b - a > 1 for a, b in itertools.pairwise(c))]


class EveryDraw:
    """Stands in for random.Random and follows one branch of the tree of all draws."""

    def __init__(self, branch: list[int]) -> None:
        self.branch, self.weight, self.sizes = branch, Fraction(1), []

    def randrange(self, size: int) -> int:
        position = len(self.sizes)
        self.sizes.append(size)
        self.weight /= size
        return self.branch[position] if position < len(self.branch) else 0


def exact_distribution(n: int, k: int) -> Counter[tuple[int, ...]]:
    """Probability of each choice, by walking every branch of the draws."""
    found: Counter[tuple[int, ...]] = Counter()
    branch: list[int] = []
    while True:
        rng = EveryDraw(branch)
        reservoir: NonAdjacentReservoir[int] = NonAdjacentReservoir(k, rng)  # type: ignore[arg-type]
        for item in range(n):
            reservoir.add(item)
        found[tuple(reservoir.chosen())] += rng.weight  # type: ignore[assignment]
        branch = [*branch, *[0] * (len(rng.sizes) - len(branch))]
        while branch and branch[-1] == rng.sizes[len(branch) - 1] - 1:
            branch.pop()
        if not branch:
            return found
        branch[-1] += 1


@pytest.mark.parametrize("n", range(9))
@pytest.mark.parametrize("k", range(5))
def test_choices_are_counted_as_enumerated(n: int, k: int) -> None:
    assert count_choices(n, k) == len(allowed(n, k))


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 1), (4, 1), (3, 2), (4, 2), (5, 2), (5, 3)])
def test_every_allowed_choice_is_exactly_equally_likely(n: int, k: int) -> None:
    choices = allowed(n, k)
    assert exact_distribution(n, k) == {choice: Fraction(1, len(choices)) for choice in choices}


@pytest.mark.parametrize(("n", "k", "fit"), [(0, 4, 0), (1, 4, 1), (2, 4, 1), (3, 4, 2), (6, 4, 3), (7, 4, 4)])
def test_a_short_second_gives_as_many_as_fit(n: int, k: int, fit: int) -> None:
    import random

    reservoir: NonAdjacentReservoir[int] = NonAdjacentReservoir(k, random.Random(0))
    for item in range(n):
        reservoir.add(item)
    assert tuple(reservoir.chosen()) in allowed(n, fit)


def test_a_second_of_10_frames_is_uniform_by_chi_square() -> None:
    import random

    rng, counts, draws = random.Random(1), Counter(), 40_000
    for _ in range(draws):
        reservoir: NonAdjacentReservoir[int] = NonAdjacentReservoir(4, rng)
        for item in range(10):
            reservoir.add(item)
        counts[tuple(reservoir.chosen())] += 1
    choices = allowed(10, 4)  # 35
    assert set(counts) == set(choices)
    chi_square = sum((counts[c] - draws / len(choices)) ** 2 / (draws / len(choices)) for c in choices)
    assert chi_square < 65.2  # 34 degrees of freedom, p = 0.001


def test_memory_does_not_grow_with_the_stream() -> None:
    import random

    reservoir: NonAdjacentReservoir[int] = NonAdjacentReservoir(4, random.Random(0))
    for item in range(1000):
        reservoir.add(item)
        held = {i for state in (reservoir._now, reservoir._before) for choice in state for i in choice or []}
        assert len(held) <= 20  # k (k + 1)
