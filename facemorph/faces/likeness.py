"""dlib's face descriptor of a known place in an image, differentiable, for identity losses."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from facemorph.faces.descriptor_network import load_resnet
from facemorph.faces.descriptors import CHIP_SIZE_PX, face_chip


class Likeness(torch.nn.Module):
    """Descriptors of faces at known places: `grid` [N or 1, 150, 150, 2], coordinates from -1 to 1."""

    grid: torch.Tensor

    def __init__(self, grid: np.ndarray) -> None:
        super().__init__()
        self.network = load_resnet().requires_grad_(False)
        self.register_buffer("grid", torch.from_numpy(grid).float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images float [N, 3, H, H] in [-1, 1] -> descriptors [N, 128]."""
        grid = self.grid.expand(len(images), -1, -1, -1)
        chips = F.grid_sample(images, grid, padding_mode="border", align_corners=False)  # [N, 3, 150, 150]
        return self.network((chips.permute(0, 2, 3, 1) + 1) * 127.5)


def likeness_at(points: Sequence[np.ndarray], side_px: int) -> Likeness:
    """For N square images with the landmarks `points`, [68, 2] each, in pixels of an image of `side_px`."""
    return Likeness(np.stack([chip_places(one, side_px) for one in points]))


def likeness_of_aligned(chip: tuple[float, float, float]) -> Likeness:
    """For any number of aligned images, whose faces are all in about the same place.

    `chip`: the place of dlib's face chip in them, in coordinates from -1 to 1: centre x, centre y, half its side.
    """
    x, y, half = chip
    line = half * ((np.arange(CHIP_SIZE_PX) + 0.5) / CHIP_SIZE_PX * 2 - 1)
    return Likeness(np.stack(np.meshgrid(x + line, y + line), 2)[None])


def chip_places(points: np.ndarray, side_px: int) -> np.ndarray:
    """The place of each pixel of dlib's face chip in the image, coordinates from -1 to 1: float64 [150, 150, 2].

    dlib has no function for it, so the chip is cut from an image whose colours are its coordinates.
    """
    y, x = (np.mgrid[:side_px, :side_px] + 0.5) / side_px * 255
    ramp = np.stack([x, y, np.full_like(x, 255)], 2).round().astype(np.uint8)
    chip = face_chip(ramp, points).astype(np.float64)
    inside = chip[..., 2] == 255  # outside the image dlib's chip is black
    chip += 0.5  # dlib rounds down
    v, u = np.mgrid[:CHIP_SIZE_PX, :CHIP_SIZE_PX].astype(np.float64)
    terms = np.stack([u, v, np.ones_like(u)], 2)
    affine = np.linalg.lstsq(terms[inside], chip[inside][:, :2] / 255, rcond=None)[0]  # [3, 2]
    return 2 * (terms @ affine) - 1
