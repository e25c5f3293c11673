"""Latents of two parents to those between them and to those of their children. No network is needed here.

A latent is float [L, w_size], a row a layer of the network; `share` is the fraction of the second one (the father).
"""

from collections.abc import Mapping, Sequence

import numpy as np

# Layers by what they decide (Karras et al. 2019, section 3.1): pose and shape at 4 to 8 px, features at 16 to 32 px,
# colours and skin from 64 px on. A smaller network lacks the last of them.
RANGES = {"coarse": slice(0, 4), "middle": slice(4, 8), "fine": slice(8, None)}

GROUP_STARTS = (0, 2, 4, 6, 8)  # first layers of what children inherit together
BALANCE = 0.1  # by which the mean of a child's parts may differ from the share that was asked for
DRAWS, CANDIDATES = 256, 16
COLOUR_SHARPNESS = 4.0  # of the last group's distribution; 1 is for one parent or the other, more for both


def lerp(first: np.ndarray, second: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """The straight way between two latents."""
    return first + share * (second - first)


def slerp(first: np.ndarray, second: np.ndarray, share: float, centre: np.ndarray) -> np.ndarray:
    """The way around `centre` (w_avg [w_size]), each layer by itself: direction by angle, distance evenly.

    In the middle of the straight way a latent is nearer to the average than both ends, and so is the face.
    Layers in line with the centre, or at it, go straight.
    """
    a, b = first - centre, second - centre
    long_a, long_b = (np.linalg.norm(one, axis=-1, keepdims=True) for one in (a, b))
    safe_a, safe_b = np.maximum(long_a, 1e-12), np.maximum(long_b, 1e-12)
    angle = np.arccos(np.clip((a / safe_a * (b / safe_b)).sum(-1, keepdims=True), -1, 1))
    sine = np.sin(angle)
    in_line = (sine < 1e-4) | (np.minimum(long_a, long_b) < 1e-9)
    sine = np.where(in_line, 1, sine)
    interpolate = (np.sin((1 - share) * angle) * a / safe_a + np.sin(share * angle) * b / safe_b) / sine
    around = centre + interpolate * ((1 - share) * long_a + share * long_b)
    return np.where(in_line, lerp(first, second, share), around)


def by_ranges(first: np.ndarray, second: np.ndarray, shares: Mapping[str, float]) -> np.ndarray:
    """A linear mix with a fraction for each of RANGES; a range that is not named stays the first one's."""
    mixed = first.copy()
    for name, share in shares.items():
        rows = RANGES[name]
        mixed[rows] = lerp(first[rows], second[rows], share)
    return mixed


def babygan_mix(mother: np.ndarray, father: np.ndarray, share: float, *, mirrored: bool = False) -> np.ndarray:
    """BabyGAN's mix by layers: the father's part of layer l of L is (l / L) ** share, l from 1.

    The fine layers are the father's, the coarse ones mostly the mother's, the more so the larger `share`; `mirrored`
    changes the parents' places.
    """
    count = len(mother)
    rates = (np.arange(1, count + 1) / count)[:, None] ** share  # [L, 1]
    if mirrored:
        mother, father = father, mother
    return rates * father + (1 - rates) * mother


def layer_groups(num_layers: int) -> list[slice]:
    """The layers that a child inherits together: two each of about 4, 8, 16 and 32 px, and the finer ones.

    Measured on faces-256, where 40 pairs of its faces had one group exchanged: each group then changes dlib's
    descriptor about as much as any other (40 to 48 % of an exchange of all layers), the first the landmarks most
    (66 %, the others 14 to 37 %), first and last the colours (docs/faces-256.md). faces-128 was much the same.
    For other networks it is the default, unmeasured.
    """
    starts = [start for start in GROUP_STARTS if start < num_layers]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], num_layers], strict=True)]


def inherited_shares(num_groups: int, share: float, number: int, seed: int, before: list[np.ndarray]) -> np.ndarray:
    """The father's part of each group of layers for one child: float64 [num_groups], 0 to 1.

    A part is drawn from a Beta distribution of mean `share` that favours the ends, so that what a group decides is
    mostly one parent's; the last one's from a narrower one, since skin and hair of two parents blend. Draws whose mean
    strays from `share` by more than `BALANCE` go, so that no child is one parent's alone; of the first `CANDIDATES` the
    one least like the siblings `before` is taken.
    """
    random = np.random.default_rng([seed, number])
    size = (DRAWS, num_groups)
    sharpness = np.array([*[1.0] * (num_groups - 1), COLOUR_SHARPNESS])
    drawn = random.beta(np.broadcast_to(sharpness * share, size), np.broadcast_to(sharpness * (1 - share), size))
    stray = np.abs(drawn.mean(1) - share)
    fair = drawn[stray <= BALANCE] if (stray <= BALANCE).any() else drawn[stray.argsort()[:1]]
    candidates = fair[:CANDIDATES]
    if not before:
        return candidates[0]
    apart = np.abs(candidates[:, None] - np.stack(before)).mean(2).min(1)  # [candidates]
    return candidates[apart.argmax()]


def siblings(mother: np.ndarray, father: np.ndarray, share: float, count: int, seed: int) -> list[np.ndarray]:
    """`count` children of the same parents, each with its own part of every group of layers (see `inherited_shares`).

    The n-th child of a seed is the same however many there are. Shares of 0 and 1 give the parent.
    """
    if share in (0, 1):
        return [(father if share else mother).copy() for _ in range(count)]
    groups = layer_groups(len(mother))
    drawn: list[np.ndarray] = []
    children = []
    for number in range(count):
        drawn.append(inherited_shares(len(groups), share, number, seed, drawn))
        parts = np.concatenate([np.full(len(mother[rows]), part) for rows, part in zip(groups, drawn[-1], strict=True)])
        children.append(lerp(mother, father, parts[:, None]))
    return children


def add(latent: np.ndarray, direction: np.ndarray, strength: float, layers: slice) -> np.ndarray:
    """`latent` moved by `strength` times a direction [L, w_size] in `layers` alone."""
    moved = latent.copy()
    moved[layers] += strength * direction[layers]
    return moved


def interpolate(
    first: np.ndarray, second: np.ndarray, shares: Sequence[float], kind: str, centre: np.ndarray
) -> np.ndarray:
    """The latents [N, L, w_size] at the fractions `shares` of the way: "lerp" or "slerp"."""
    if kind == "slerp":
        return np.stack([slerp(first, second, share, centre) for share in shares])
    return np.stack([lerp(first, second, share) for share in shares])
