"""The face descriptor of a place in a picture, differentiable: for making one face look like another."""

import numpy as np
import torch
import torch.nn.functional as F

from facemorph.faces.descriptors import CHIP_SIZE_PX, face_chip
from facemorph.faces.resnet import load_resnet


class Likeness(torch.nn.Module):
    """Descriptors of faces that lie at known places.

    Args:
        points: landmarks of the face in each of N square pictures, float [68, 2], in pixels.
        side_px: side of these pictures. Pictures given later may be of another size: places are kept as shares.
    """

    grid: torch.Tensor

    def __init__(self, points: list[np.ndarray], side_px: int) -> None:
        super().__init__()
        self.network = load_resnet().requires_grad_(False)
        places = torch.stack([torch.from_numpy(chip_places(one, side_px)) for one in points])
        self.register_buffer("grid", places.float())  # [N, 150, 150, 2]

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures float [N, 3, H, H] in [-1, 1] -> descriptors [N, 128]."""
        chips = F.grid_sample(pictures, self.grid, padding_mode="border", align_corners=False)  # [N, 3, 150, 150]
        return self.network((chips.permute(0, 2, 3, 1) + 1) * 127.5)


def chip_places(points: np.ndarray, side_px: int) -> np.ndarray:
    """Where each pixel of dlib's face chip lies in the picture, as shares from -1 to 1: float64 [150, 150, 2].

    dlib does not tell; so it cuts the chip of a picture whose colours are its coordinates.
    """
    y, x = (np.mgrid[:side_px, :side_px] + 0.5) / side_px * 255
    ramp = np.stack([x, y, np.full_like(x, 255)], 2).round().astype(np.uint8)
    chip = face_chip(ramp, points).astype(np.float64)
    inside = chip[..., 2] == 255  # outside the picture dlib leaves black
    chip += 0.5  # dlib rounds down
    v, u = np.mgrid[:CHIP_SIZE_PX, :CHIP_SIZE_PX].astype(np.float64)
    terms = np.stack([u, v, np.ones_like(u)], 2)
    affine = np.linalg.lstsq(terms[inside], chip[inside][:, :2] / 255, rcond=None)[0]  # [3, 2]
    return 2 * (terms @ affine) - 1
