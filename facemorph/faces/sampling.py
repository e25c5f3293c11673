"""A turned square of an image, sampled as MediaPipe samples it."""

import numpy as np

MOST_PER_PIXEL = 40  # pixels of the image for one sampled, up to which all of them are looked at

Frame = tuple[np.ndarray, np.ndarray, np.ndarray]  # corner, right, down: float [2] each, x before y, in pixels


def sample_square(image: np.ndarray, frame: Frame, size_px: int, *, outside: int | None = None) -> np.ndarray:
    """A parallelogram of an image, bilinear: float32 [size_px, size_px, 3] in 0 to 255.

    Pixel [row, column] of the result is the image at `corner + column * right + row * down`, where whole numbers are
    the middles of the image's pixels. Nothing is averaged, however coarse the steps: so the networks were trained.

    Args:
        image: uint8 RGB [H, W, 3].
        frame: corner, right and down, in pixels of the image.
        outside: the value outside the image; None repeats its border.
    """
    corner, right, down = frame
    height, width = image.shape[:2]
    ends = corner + np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) @ np.stack([right, down]) * (size_px - 1)  # [4, 2]
    low, high = np.floor(ends.min(0)).astype(int), np.floor(ends.max(0)).astype(int) + 2
    part_low, part_high = np.maximum(low, 0), np.minimum(high, [width, height])  # of the image
    if outside is None or ((part_low == low) & (part_high == high)).all():
        part = part_high - part_low
        if (part > 0).all() and part.prod() < MOST_PER_PIXEL * size_px**2:
            shown = image[part_low[1] : part_high[1], part_low[0] : part_high[0]]
            return _of_part(shown, (corner - part_low, right, down), size_px)
    if right[1] == 0 == down[0] and outside == 0:
        return _level(image, (corner, right, down), size_px)
    steps = np.arange(size_px)
    x = corner[0] + steps * right[0] + steps[:, None] * down[0]  # [size_px, size_px]
    y = corner[1] + steps * right[1] + steps[:, None] * down[1]
    left, top = np.floor(x), np.floor(y)
    across, along = (x - left).astype(np.float32)[..., None], (y - top).astype(np.float32)[..., None]
    left, top = left.astype(np.int64), top.astype(np.int64)
    flat = image.reshape(-1, 3)

    def pixels(columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        inside = flat[np.clip(rows, 0, height - 1) * width + np.clip(columns, 0, width - 1)].astype(np.float32)
        if outside is not None:
            inside[(columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)] = outside
        return inside

    upper = pixels(left, top) * (1 - across) + pixels(left + 1, top) * across
    lower = pixels(left, top + 1) * (1 - across) + pixels(left + 1, top + 1) * across
    return upper * (1 - along) + lower * along


def _level(image: np.ndarray, frame: Frame, size_px: int) -> np.ndarray:
    """The same of a level square, black outside: rows and columns one after the other, three times as fast."""

    def line(start: float, step: float, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Neighbours [2, size_px] in a line of pixels, which of them are inside, and the share of the second."""
        places = start + np.arange(size_px) * step
        first = np.floor(places).astype(np.int64)
        both = np.stack([first, first + 1])
        share = (places - first).astype(np.float32)
        return np.clip(both, 0, length - 1), ((both >= 0) & (both < length)).astype(np.float32), share

    (x, y), (right, _), (_, down) = frame
    columns, inside_x, across = line(x, right, image.shape[1])
    rows, inside_y, along = line(y, down, image.shape[0])
    weight_x = (np.stack([1 - across, across]) * inside_x)[:, :, None]
    weight_y = (np.stack([1 - along, along]) * inside_y)[:, :, None, None]
    upper, lower = (
        line[:, columns[0]] * weight_x[0] + line[:, columns[1]] * weight_x[1]
        for line in (image[rows[0]], image[rows[1]])
    )
    return upper * weight_y[0] + lower * weight_y[1]


def _of_part(image: np.ndarray, frame: Frame, size_px: int) -> np.ndarray:
    """The same where the border is repeated, if need be, four times as fast."""
    import torch

    corner, right, down = frame
    height, width = image.shape[:2]
    planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    steps = np.arange(size_px)[:, None]
    places = corner + 0.5 + steps[:, None] * down + steps * right  # [size_px, size_px, 2]
    where = torch.from_numpy((places * (2 / np.array([width, height])) - 1).astype(np.float32))
    made = torch.nn.functional.grid_sample(planes, where[None], padding_mode="border", align_corners=False)
    return made[0].permute(1, 2, 0).contiguous().numpy()
