"""A turned square of an image, sampled as MediaPipe samples it."""

import numpy as np

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
    steps = np.arange(size_px, dtype=np.float32)
    x = corner[0] + steps * right[0] + steps[:, None] * down[0]  # [size_px, size_px]
    y = corner[1] + steps * right[1] + steps[:, None] * down[1]
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    across, along = (x - left).astype(np.float32)[..., None], (y - top).astype(np.float32)[..., None]
    flat = image.reshape(-1, 3)

    def pixels(columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        inside = flat[np.clip(rows, 0, height - 1) * width + np.clip(columns, 0, width - 1)].astype(np.float32)
        if outside is not None:
            inside[(columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)] = outside
        return inside

    upper = pixels(left, top) * (1 - across) + pixels(left + 1, top) * across
    lower = pixels(left, top + 1) * (1 - across) + pixels(left + 1, top + 1) * across
    return upper * (1 - along) + lower * along
