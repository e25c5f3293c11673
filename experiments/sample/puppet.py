"""One portrait as a puppet: a mesh with a small rig, warped and painted frame by frame.

Eyeballs and teeth do not move with the lids and lips that cover them: the triangles between the lids (lips) have
corner points of their own, which follow the lid on the screen while their place in the portrait slides so that eye
and teeth stay where they are. What a widely opened mouth uncovers is not in the portrait and is painted dark.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from facemorph.faces.warp import border_points, sample, sampling_map, triangulate
from facemorph.images import to_tensor, to_uint8

UPPER_LIDS, LOWER_LIDS = [37, 38, 43, 44], [41, 40, 47, 46]
EYES = [range(36, 42), range(42, 48)]
LID_LINE = np.zeros((10, 68))  # five points along each upper lid, below the five of its brow
for _row, _share in enumerate([{36: 1}, {37: 1}, {37: 0.5, 38: 0.5}, {38: 1}, {39: 1}]):
    for _point, _part in _share.items():
        LID_LINE[_row, _point] = LID_LINE[_row + 5, _point + 6] = _part
LASHES = [1, 2, 3, 6, 7, 8]  # those of the ten that move
BROWS = range(17, 27)
INNER_UPPER, INNER_LOWER = [61, 62, 63], [67, 66, 65]
OUTER_LIPS, INNER_LIPS = range(48, 60), range(60, 68)
# The lips as triangles between their outer and inner lines; the lower lip mirrors the upper one.
LIPS = [(48, 49, 60), (49, 61, 60), (49, 50, 61), (50, 62, 61), (50, 51, 62)]
LIPS += [(51, 52, 62), (52, 63, 62), (52, 53, 63), (53, 64, 63), (53, 54, 64)]
BELOW = {49: 59, 50: 58, 51: 57, 52: 56, 53: 55, 61: 67, 62: 66, 63: 65}
LIPS += [tuple(BELOW.get(corner, corner) for corner in reversed(triangle)) for triangle in LIPS]

PARAMETERS = {  # lowest and highest value of each; 0 is the portrait itself
    "smile": (-0.8, 1.0),
    "jaw": (0.0, 1.0),
    "pucker": (0.0, 1.0),
    "blink": (0.0, 1.0),
    "brow": (-0.5, 1.0),
    "yaw": (-11.0, 11.0),  # degrees; positive turns the nose to the right of the image
    "pitch": (-7.0, 7.0),  # degrees; positive looks down
    "roll": (-6.0, 6.0),  # degrees; positive tilts the head clockwise
    "shift_x": (-0.08, 0.08),  # of the face's height
    "shift_y": (-0.05, 0.05),
}
CLOSED = 0.94  # of the way to the lower lid
SHADE = np.array([0.30, 0.37, 0.40])  # of red, green, blue: how dark the top of a closed lid is under a brow
Pose = dict[str, np.ndarray]  # one array of F values for each of PARAMETERS


@dataclasses.dataclass(frozen=True)
class Portrait:
    """A frame-sized piece of an image, at `detail` times the pixels of a frame, and what the rig may do with it."""

    image: np.ndarray  # uint8 RGB, [(size_px + 2 margin_px) detail, ..., 3]
    size_px: int
    margin_px: int
    detail: int
    points: np.ndarray  # landmarks [68, 2] in frame pixels
    gains: dict[str, float]  # how much of a parameter suits this person, 1 if not named
    hidden_lids: bool = False  # nothing of the upper lids can be seen that could be drawn over the eyes


class Puppet:
    """A portrait's mesh, its rig, and the painter. Built once, then `frames` of any poses."""

    def __init__(self, portrait: Portrait) -> None:
        self.portrait = portrait
        face = portrait.points.copy()
        self.height = float(np.ptp(face[:, 1]))  # brows to chin, the unit of all movements
        self.centre = (face[0] + face[16]) / 2
        eyes = face[42:48].mean(0) - face[36:42].mean(0)
        self.right = eyes / np.hypot(*eyes)
        self.down = np.array([-self.right[1], self.right[0]])
        # Lips that are closed in the portrait meet in one seam, where they will part.
        gap = (face[INNER_LOWER] - face[INNER_UPPER]) @ self.down
        if gap.mean() < 0.03 * self.height:
            face[INNER_UPPER] = face[INNER_LOWER] = (face[INNER_UPPER] + face[INNER_LOWER]) / 2
        self.gap = np.maximum((face[INNER_LOWER] - face[INNER_UPPER]) @ self.down, 0)  # [3]

        # dlib puts the lids a little inside the eye. The lashes above it fall with the lid, the crease stays.
        face[UPPER_LIDS] -= (0 if portrait.hidden_lids else 0.012) * self.height * self.down
        lids = LID_LINE @ face  # [10, 2], along both eyes
        to_brows = face[17:27] - lids
        lashes, creases = (lids + 0.22 * to_brows)[LASHES], lids + 0.55 * to_brows
        size, margin = portrait.size_px, portrait.margin_px
        step = 0.2 * self.height
        lattice = np.stack(np.meshgrid(*[np.arange(-margin + step, size + margin - step / 2, step)] * 2), -1)
        lattice = lattice.reshape(-1, 2)
        near = np.linalg.norm(lattice[:, None] - np.concatenate([face, lashes, creases]), axis=2).min(1)
        self.neutral = np.concatenate(
            [face, lashes, creases, lattice[near > 0.13 * self.height], border_points(size, size, 8, margin)]
        )
        self._follow = self._falloff(self.neutral, face)
        opened = self._posed({name: np.array([0.0]) for name in PARAMETERS} | {"jaw": np.array([0.5])})[0]
        self._build(opened)

    def _falloff(self, points: np.ndarray, face: np.ndarray) -> np.ndarray:
        """How far a point shares the movement of each landmark: [P, 68], rows sum to 1 at most."""
        spread = 0.11 * self.height
        near = np.exp(-((points[:, None] - face) ** 2).sum(2) / (2 * spread**2))
        follow = near / (near.sum(1, keepdims=True) + 0.6)
        follow[:68] = np.eye(68)
        follow[68 : 68 + len(LASHES)] = 0.95 * LID_LINE[LASHES]
        follow[68 + len(LASHES) : 78 + len(LASHES)] = np.eye(68)[17:27] * 0.65
        return follow

    def _build(self, opened: np.ndarray) -> None:
        """Mesh the skin with mouth and eyes `opened` [P, 2], then lips, teeth and eyes with their own corner points."""
        count = len(self.neutral)
        self.covered = np.array(UPPER_LIDS + INNER_LOWER)  # points with a twin that lies under the lid or lip
        twin = dict(zip(self.covered.tolist(), range(count, count + len(self.covered)), strict=True))
        points = np.delete(np.arange(count), list(INNER_LIPS))
        skin = points[triangulate(opened[points])]
        inside = [np.isin(skin, list(opening)).all(1) for opening in (*EYES, OUTER_LIPS)]
        if [int(part.sum()) for part in inside] != [4, 4, 10]:
            raise ValueError("the landmarks of eyes or mouth are not in their usual order")
        eyes = [
            triangle
            for first in (36, 42)
            for triangle in _strip(
                [first, twin[first + 1], twin[first + 2], first + 3], [first, first + 5, first + 4, first + 3]
            )
        ]
        if self.portrait.hidden_lids:
            over = count + len(self.covered)  # the tops of the lids that come down, and after them their rims
            for first, top in ((36, over), (42, over + 2)):
                eyes += _strip([first, top, top + 1, first + 3], [first, top + 4, top + 5, first + 3])
        teeth = [60, *(twin[point] for point in INNER_LOWER), 64]
        mouth = _strip([60, *INNER_UPPER, 64], teeth) + _strip(teeth, [60, *INNER_LOWER, 64])
        self.triangles = np.concatenate([skin[~np.any(inside, 0)], np.array(LIPS + eyes + mouth)])

    def _expression(self, pose: Pose) -> np.ndarray:
        """Movement of the landmarks in the upright face, in face heights: [F, 68, 2] (right, down)."""
        gain = {name: pose[name] * self.portrait.gains.get(name, 1) for name in PARAMETERS}
        move = np.zeros((len(pose["jaw"]), 68, 2))

        def add(points: list[int], name: str, right: float, down: float, shares: list[float] | None = None) -> None:
            for point, share in zip(points, shares or [1.0] * len(points), strict=True):
                move[:, point] += gain[name][:, None] * share * np.array([right, down])

        corners = [1.0, 0.55, 0.8, 0.5]
        add([48, 49, 60, 59], "smile", -0.052, -0.042, corners)
        add([54, 53, 64, 55], "smile", 0.052, -0.042, corners)
        add([57, 58, 56, 66, 67, 65], "smile", 0, 0.004)
        add([50, 51, 52, 61, 62, 63], "smile", 0, -0.006)
        add([31, 35], "smile", 0, -0.010)
        add([4, 5, 3], "smile", -0.014, -0.012)
        add([12, 11, 13], "smile", 0.014, -0.012)
        add([40, 41, 46, 47], "smile", 0, -0.006)

        add([6, 7, 8, 9, 10], "jaw", 0, 0.125)
        add([5, 11, 4, 12, 3, 13], "jaw", 0, 0.125, [0.72, 0.72, 0.42, 0.42, 0.15, 0.15])
        add([59, 58, 57, 56, 55, 67, 66, 65], "jaw", 0, 0.125, [0.72, 0.95, 1, 0.95, 0.72, 0.9, 1.0, 0.9])
        add([48, 60, 54, 64], "jaw", 0, 0.045)
        add([48, 60, 59, 49], "jaw", 0.016, 0)
        add([54, 64, 55, 53], "jaw", -0.016, 0)
        add([50, 51, 52, 61, 62, 63], "jaw", 0, -0.008)

        add([48, 60], "pucker", 0.062, 0)
        add([54, 64], "pucker", -0.062, 0)
        add([49, 59, 61, 67, 50, 58], "pucker", 0.036, 0, [1, 1, 0.7, 0.7, 0.5, 0.5])
        add([53, 55, 63, 65, 52, 56], "pucker", -0.036, 0, [1, 1, 0.7, 0.7, 0.5, 0.5])
        add([50, 51, 52], "pucker", 0, -0.008)
        add([56, 57, 58], "pucker", 0, 0.010)

        add(list(BROWS), "brow", 0, -0.055, [0.6, 0.85, 1, 1, 0.9, 0.9, 1, 1, 0.85, 0.6])
        add(UPPER_LIDS, "brow", 0, -0.008)

        # Open teeth close by bringing the lower lip and chin up; a closed mouth has nothing to close.
        closing = np.clip(-pose["smile"], 0, 1)[:, None] * self.gap.mean() / self.height * 0.92
        lower = [55, 56, 57, 58, 59, 65, 66, 67]
        move[:, lower, 1] -= closing * np.array([0.5, 1, 1, 1, 0.5, 1, 1, 1])
        move[:, 7:10, 1] -= closing * 0.5

        overlap = np.minimum(self.gap / self.height + move[:, INNER_LOWER, 1] - move[:, INNER_UPPER, 1], 0)
        move[:, INNER_LOWER, 1] -= overlap
        move[:, [58, 57, 56], 1] -= overlap

        if self.portrait.hidden_lids:
            return move
        for upper, under in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
            opening = max(float((self.neutral[under] - self.neutral[upper]) @ self.down), 0) / self.height
            move[:, upper, 1] = move[:, upper, 1] * (1 - gain["blink"]) + CLOSED * opening * gain["blink"]
            move[:, upper, 1] += np.minimum(move[:, under, 1], 0) * gain["blink"]
        return move

    def _turned(self, points: np.ndarray, pose: Pose) -> np.ndarray:
        """Points [F, P, 2] of the upright face, turned as parts of a solid head about the neck: [F, P, 2]."""
        unit, neutral = self.height, self.neutral - self.centre
        across, along = neutral @ self.right / unit, neutral @ self.down / unit
        # The head, with hair or cap, is an ellipse; what lies outside it follows less and less, to nothing.
        along_head = np.where(along < 0, along / 1.45, along / 1.0)
        radius = np.hypot(across / 0.95, along_head)
        size, margin = self.portrait.size_px, self.portrait.margin_px
        to_border = np.minimum(self.neutral + margin + 0.5, size + margin - 0.5 - self.neutral).min(1)
        share = _smoothstep((1.75 - radius) / 0.85) * _smoothstep(to_border / margin)
        depth = 0.62 * np.clip(1 - (across / 0.9) ** 2 - (along / 1.35) ** 2, 0, 1)  # in face heights
        depth[27:36] += np.array([0.03, 0.06, 0.10, 0.14, 0.05, 0.07, 0.08, 0.07, 0.05])
        yaw, pitch, roll = (np.radians(pose[name])[:, None] * share for name in ("yaw", "pitch", "roll"))

        offset = points - self.centre
        x, y = offset @ self.right / unit, offset @ self.down / unit
        neck = 0.35  # below the ears, in front of which the chin swings
        x = x * np.cos(yaw) + depth * np.sin(yaw)
        y = neck + (y - neck) * np.cos(pitch) + depth * np.sin(pitch)
        pivot = 1.0
        x, y = (
            x * np.cos(roll) - (y - pivot) * np.sin(roll),
            pivot + x * np.sin(roll) + (y - pivot) * np.cos(roll),
        )
        x, y = x + share * pose["shift_x"][:, None], y + share * pose["shift_y"][:, None]
        return self.centre + unit * (x[..., None] * self.right + y[..., None] * self.down)

    def _posed(self, pose: Pose) -> np.ndarray:
        move = self._expression(pose) @ np.stack([self.right, self.down]) * self.height  # [F, 68, 2]
        return self._turned(self.neutral + np.einsum("pl,fld->fpd", self._follow, move), pose)

    def meshes(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Mesh points of F poses in the frame, and where in the portrait they come from: [F, P, 2] each."""
        target = self._posed(pose)
        still = self._turned(np.broadcast_to(self.neutral, target.shape), pose)
        # Where eye and teeth would be if nothing covered them: the upper lip carries no teeth, the head does.
        bare = still[:, self.covered]
        cover = target[:, self.covered]
        teeth = np.arange(len(UPPER_LIDS), len(self.covered))
        roll = np.radians(pose["roll"])[:, None]
        down = (np.cos(roll) * self.down - np.sin(roll) * self.right)[:, None]  # of the tilted head, [F, 1, 2]
        shown = cover.copy()
        lowered = ((cover - bare)[:, teeth] * down).sum(2, keepdims=True)
        shown[:, teeth] -= np.maximum(lowered, 0) * down
        below_lip = ((target[:, INNER_UPPER] - shown[:, teeth]) * down).sum(2, keepdims=True)
        shown[:, teeth] += np.maximum(below_lip, 0) * down
        lids, lower_lids = slice(0, len(UPPER_LIDS)), self.neutral[LOWER_LIDS]
        drop = CLOSED * pose["blink"][:, None, None] * (target[:, LOWER_LIDS] - cover[:, lids])
        if self.portrait.hidden_lids:
            shown[:, lids] += drop
        slide = ((shown - bare) * down).sum(2, keepdims=True)
        origin = self.neutral[self.covered] + slide * self.down
        targets = [target, shown]
        sources = [np.broadcast_to(self.neutral, target.shape), origin]
        if self.portrait.hidden_lids:
            # The skin below the eye, mirrored at the lower lid, unrolls over it without being stretched.
            unrolled = np.linalg.norm(drop, axis=2, keepdims=True) * self.down
            targets += [cover[:, lids], shown[:, lids]]
            sources += [lower_lids + unrolled, np.broadcast_to(lower_lids, unrolled.shape)]
        return np.concatenate(targets, 1), np.concatenate(sources, 1)

    def frames(self, pose: Pose) -> Iterator[np.ndarray]:
        """Yield F images, uint8 RGB [size_px, size_px, 3]."""
        portrait = self.portrait
        planes = to_tensor(portrait.image[None])
        targets, sources = self.meshes(pose)
        for target, source in zip(targets, sources, strict=True):
            source = (source + portrait.margin_px + 0.5) * portrait.detail - 0.5
            where = sampling_map(target, source, self.triangles, portrait.size_px, portrait.size_px)
            frame = to_uint8(sample(planes, where))[0]
            self._paint_mouth(frame, target)
            if portrait.hidden_lids:
                self._shade_lids(frame, target)
            yield frame

    def _paint_mouth(self, frame: np.ndarray, target: np.ndarray) -> None:
        """Darken what lies between the teeth (or the upper lip) and the lower lip, softly, in place."""
        first = len(self.neutral) + len(UPPER_LIDS)
        teeth, lip = target[[60, *range(first, first + len(INNER_LOWER)), 64]], target[[60, *INNER_LOWER, 64]]
        opening = ((lip - teeth) @ self.down).max()
        if opening < 0.4:
            return
        patch, cover, depth = self._between(frame, teeth, lip, soft_px=float(np.clip(opening / 3, 0.7, 1.6)))
        dark, tongue = np.array([38.0, 16, 16]), np.array([96.0, 44, 42])
        colour = dark + (tongue - dark) * _smoothstep((depth - 0.45) / 0.6) * min(opening / (0.1 * self.height), 1)
        patch[:] = np.round(patch * (1 - cover) + colour * cover).astype(np.uint8)

    def _shade_lids(self, frame: np.ndarray, target: np.ndarray) -> None:
        """Shade the lids that came down from under the brows, most at their tops, in place."""
        tops, rims = (
            len(self.neutral) + len(self.covered),
            len(self.neutral) + len(self.covered) + len(UPPER_LIDS),
        )
        for first, at in ((36, 0), (42, 2)):
            top = target[[first, tops + at, tops + at + 1, first + 3]]
            rim = target[[first, rims + at, rims + at + 1, first + 3]]
            if ((rim - top) @ self.down).max() > 0.4:
                patch, cover, depth = self._between(frame, top, rim, soft_px=1)
                patch[:] = np.round(patch * (1 - cover * (SHADE - 0.6 * SHADE * depth))).astype(np.uint8)

    def _between(
        self, frame: np.ndarray, upper: np.ndarray, lower: np.ndarray, soft_px: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The part of a frame with the area between two lines of points [K, 2], each drawn from left to right.

        Returns a view of the frame, how far each of its pixels is covered by the area, with soft edges, and how deep
        it lies from the upper (0) to the lower line (1): [h, w, 3], [h, w, 1], [h, w, 1].
        """
        left, top = np.maximum(np.floor(np.minimum(upper, lower).min(0) - 2).astype(int), 0)
        right, bottom = np.ceil(np.maximum(upper, lower).max(0) + 3).astype(int)
        patch = frame[top:bottom, left:right]
        y, x = np.mgrid[top : top + patch.shape[0], left : left + patch.shape[1]]
        pixels = np.stack([x, y], -1).astype(float)
        across, along = pixels @ self.right, pixels @ self.down
        above = _curve(across, upper @ self.right, upper @ self.down)
        below = _curve(across, lower @ self.right, lower @ self.down)
        cover = _smoothstep((along - above) / soft_px + 0.5) * _smoothstep((below - along) / soft_px + 0.5)
        cover *= np.clip((below - above) / (2 * soft_px), 0, 1)
        depth = np.clip((along - above) / np.maximum(below - above, 1), 0, 1)
        return patch, cover[..., None], depth[..., None]


def _strip(upper: list[int], lower: list[int]) -> list[tuple[int, int, int]]:
    """Triangles between two lines of points, drawn from left to right, that share their first and last point."""
    triangles = []
    for at in range(len(upper) - 1):
        triangles += [(upper[at], upper[at + 1], lower[at]), (upper[at + 1], lower[at + 1], lower[at])]
    return [triangle for triangle in triangles if len(set(triangle)) == 3]


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _curve(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth curve through a few points, as a polynomial, flat beyond its ends."""
    middle, scale = x.mean(), max(float(np.ptp(x)) / 2, 1e-6)
    coefficients = np.linalg.solve(np.vander((x - middle) / scale + 1e-9 * np.arange(len(x))), y)
    return np.polyval(coefficients, (np.clip(at, x.min(), x.max()) - middle) / scale)
