"""The formulas of mixing, to the number."""

import numpy as np
import pytest

from facemorph.stylegan.editing.mixing import (
    add,
    babygan_mix,
    by_ranges,
    inherited_shares,
    interpolate,
    layer_groups,
    lerp,
    siblings,
    slerp,
)

RANDOM = np.random.default_rng(0)
MOTHER, FATHER = RANDOM.normal(size=(18, 6)), RANDOM.normal(size=(18, 6))
CENTRE = RANDOM.normal(size=6)


def test_the_global_share_is_babygans() -> None:
    for share in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(lerp(MOTHER, FATHER, share), (1 - share) * MOTHER + share * FATHER)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_the_share_by_layers_is_babygans(share: float, mirrored: bool) -> None:
    found = babygan_mix(MOTHER, FATHER, share, mirrored=mirrored)
    for layer in range(18):
        rate = ((layer + 1) / 18) ** share
        one, other = (MOTHER, FATHER) if mirrored else (FATHER, MOTHER)
        np.testing.assert_allclose(found[layer], rate * one[layer] + (1 - rate) * other[layer])


def test_slerp_keeps_the_ends_and_turns_evenly_around_the_centre() -> None:
    np.testing.assert_allclose(slerp(MOTHER, FATHER, 0, CENTRE), MOTHER)
    np.testing.assert_allclose(slerp(MOTHER, FATHER, 1, CENTRE), FATHER)
    a, b = MOTHER[3] - CENTRE, FATHER[3] - CENTRE
    middle = slerp(MOTHER, FATHER, 0.5, CENTRE)[3] - CENTRE
    assert np.linalg.norm(middle) == pytest.approx((np.linalg.norm(a) + np.linalg.norm(b)) / 2)

    def angle(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.arccos(x @ y / np.linalg.norm(x) / np.linalg.norm(y)))

    assert angle(a, middle) == pytest.approx(angle(middle, b))
    assert angle(a, middle) == pytest.approx(angle(a, b) / 2)


def test_slerp_of_what_lies_in_line_with_the_centre_is_straight() -> None:
    first = CENTRE + np.outer(np.ones(2), [1.0, 0, 0, 0, 0, 0])
    for second in (CENTRE + 3 * (first - CENTRE), CENTRE - (first - CENTRE), np.tile(CENTRE, (2, 1))):
        np.testing.assert_allclose(slerp(first, second, 0.25, CENTRE), lerp(first, second, 0.25), atol=1e-9)


def test_ranges_change_their_own_layers_alone() -> None:
    found = by_ranges(MOTHER, FATHER, {"coarse": 1.0, "fine": 0.5})
    np.testing.assert_allclose(found[:4], FATHER[:4])
    np.testing.assert_allclose(found[4:8], MOTHER[4:8])
    np.testing.assert_allclose(found[8:], (MOTHER[8:] + FATHER[8:]) / 2)
    assert by_ranges(MOTHER[:6], FATHER[:6], {"fine": 1.0}) == pytest.approx(MOTHER[:6])  # a network without them


def test_siblings_differ_and_are_the_same_for_the_same_seed() -> None:
    four, two = siblings(MOTHER, FATHER, 0.5, 4, seed=3), siblings(MOTHER, FATHER, 0.5, 2, seed=3)
    np.testing.assert_array_equal(four[:2], two)
    assert np.abs(four[0] - four[1]).max() > 0.1
    assert np.abs(siblings(MOTHER, FATHER, 0.5, 1, seed=4)[0] - four[0]).max() > 0.1


def test_a_child_lies_between_its_parents_with_the_share_on_average() -> None:
    zero, one = np.zeros((18, 1)), np.ones((18, 1))
    for share in (0.2, 0.5, 0.9):
        parts = np.stack(siblings(zero, one, share, 100, seed=0))
        assert parts.min() >= 0 and parts.max() <= 1
        assert parts[:, :10:2].mean() == pytest.approx(share, abs=0.06)
        assert parts[:, :8].var() > 0.3 * share * (1 - share), "groups are mostly one parent's"
    for share, parent in ((0, MOTHER), (1, FATHER)):
        np.testing.assert_array_equal(siblings(MOTHER, FATHER, share, 1, seed=0)[0], parent)


def test_every_child_has_its_share_of_both_parents() -> None:
    drawn: list[np.ndarray] = []
    for number in range(30):
        drawn.append(inherited_shares(5, 0.5, number, 0, drawn))
        assert abs(drawn[-1].mean() - 0.5) <= 0.1
    assert np.abs(drawn[0] - drawn[1]).mean() > 0.4, "the second child is unlike the first"


@pytest.mark.parametrize("num_layers", [1, 2, 5, 8, 12, 18])
def test_groups_of_layers_cover_all_of_them_once(num_layers: int) -> None:
    rows = [row for group in layer_groups(num_layers) for row in range(num_layers)[group]]
    assert rows == list(range(num_layers))
    assert len(layer_groups(num_layers)) == min(5, (num_layers + 1) // 2)


def test_a_direction_moves_its_layers_alone_and_leaves_the_latent_it_was_given() -> None:
    before = MOTHER.copy()
    moved = add(MOTHER, FATHER, -2, slice(0, 8))
    np.testing.assert_allclose(moved[:8], MOTHER[:8] - 2 * FATHER[:8])
    np.testing.assert_array_equal(moved[8:], MOTHER[8:])
    np.testing.assert_array_equal(MOTHER, before)


@pytest.mark.parametrize("kind", ["lerp", "slerp"])
def test_a_way_begins_and_ends_where_it_should(kind: str) -> None:
    latents = interpolate(MOTHER, FATHER, [0, 0.5, 1], kind, CENTRE)
    assert latents.shape == (3, 18, 6)
    np.testing.assert_allclose(latents[[0, -1]], [MOTHER, FATHER])
