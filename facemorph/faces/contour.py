"""Points along the lines of a template, so that a warp follows the outline of a jaw and not its few points alone."""

from collections.abc import Sequence

import numpy as np

from facemorph.faces.mesh import NUM_POINTS
from facemorph.faces.mesh_points import LINES_478

BETWEEN = 4  # points between each two of a line
# The lines of dlib's 68 points: first, last, and whether they close.
LINES_68 = ((0, 16, 0), (17, 21, 0), (22, 26, 0), (27, 30, 0), (31, 35, 0), (36, 41, 1), (42, 47, 1), (48, 59, 1),
            (60, 67, 1))  # fmt: skip


def lines_of(count: int, lines: Sequence[Sequence[int]] = ()) -> tuple[tuple[int, ...], ...]:
    """The lines (indices) between `count` points: those that a file says, or a known template's; of others none."""
    if lines:
        return tuple(tuple(line) for line in lines)
    if count == 68:
        return tuple((*range(first, last + 1), *([first] if closed else [])) for first, last, closed in LINES_68)
    return LINES_478 if count == NUM_POINTS else ()


def along_lines(points: np.ndarray, lines: Sequence[Sequence[int]]) -> np.ndarray:
    """Points [N, 2], then `BETWEEN` others between each two neighbours of a line, on a Catmull-Rom spline: [M, 2]."""
    found = [points]
    t = np.arange(1, BETWEEN + 1)[:, None] / (BETWEEN + 1)
    for line in lines:
        closed = len(line) > 3 and line[0] == line[-1]
        knots = points[list(line[:-1] if closed else line)]
        if len(knots) < 2:
            continue
        if closed:
            knots = np.concatenate([knots[-1:], knots, knots[:2]])
        else:  # beyond its ends a line goes straight on
            knots = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
        for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False):
            found.append(b + t * ((c - a) / 2 + t * ((2 * a - 5 * b + 4 * c - d) / 2 + t * (3 * (b - c) + d - a) / 2)))
    return np.concatenate(found)
