"""Face Mesh with attention: 478 points of a face in a square of 192 x 192, and whether there is a face.

A trunk places 468 points. Around the lips and either eye, its features are sampled into an upright square, from which
smaller networks place the points of the lips, of the eye's surroundings and of the iris once more.

Source: Grishchenko, Ablavatski, Kartynnik, Raveendran and Grundmann, "Attention mesh: high-fidelity face mesh
prediction in real-time", 2020 (arXiv:2006.10962). Weights: MediaPipe's, see embedded/face-mesh.json.
"""

import torch
import torch.nn.functional as F
from torch import nn

from facemorph.faces.mobile_layers import Block, Stem

INPUT_PX = 192
NUM_POINTS, NUM_LIPS, NUM_EYE, NUM_IRIS = 468, 80, 71, 5
NUM_EYELID = 16  # the first points of an eye are its lids; their mean depth is the iris's
MARGIN = 1.5  # side of a region, as a multiple of its points' extent
REGION_PX, FEATURES_PX = 16, 48


def _stage(channels: int, out_channels: int) -> list[nn.Module]:
    """Halve the side, then two blocks."""
    return [
        Block(channels, out_channels, nn.PReLU(out_channels), down=True),
        *(Block(out_channels, out_channels, nn.PReLU(out_channels)) for _ in range(2)),
    ]


def _narrow(channels: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, 32, 1), nn.PReLU(32), Block(32, 32, nn.PReLU(32))]


class RegionHead(nn.Module):
    """Points of a region, from its features [N, 128, 4, 4]: [N, num_points, 2] in quarters of the region's pixels."""

    def __init__(self, num_points: int) -> None:
        super().__init__()
        blocks = [Block(128, 128, nn.PReLU(128)) for _ in range(2)]
        self.layers = nn.Sequential(*blocks, *_stage(128, 128), *_narrow(128), nn.Conv2d(32, num_points * 2, 2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layers(features).reshape(len(features), -1, 2)


class Region(nn.Module):
    """The lips or an eye: where it is, and its points placed once more by `heads`."""

    indices: torch.Tensor  # points of the mesh that belong to the region
    level: torch.Tensor  # two points of the mesh that are level in the upright region, the left one first

    def __init__(self, num_points: int, *heads: int) -> None:
        super().__init__()
        self.register_buffer("indices", torch.zeros(num_points, dtype=torch.int64))
        self.register_buffer("level", torch.zeros(2, dtype=torch.int64))
        blocks = [Block(32, 32, nn.PReLU(32)) for _ in range(2)]
        self.stem = nn.Sequential(*blocks, *_stage(32, 64), Block(64, 128, nn.PReLU(128), down=True))
        self.heads = nn.ModuleList(RegionHead(count) for count in heads)

    def frame(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Axes [N, 2, 2] (a pixel to the right, a pixel down) and top left corner [N, 2] of the upright region.

        `points`: the mesh [N, 468, 2], in the pixels of the result.
        """
        across = points[:, self.level[1]] - points[:, self.level[0]]
        right = across / across.norm(dim=1, keepdim=True).clamp_min(1e-6)  # [N, 2]
        turn = torch.stack([right, torch.stack([-right[:, 1], right[:, 0]], 1)], 1)  # [N, 2, 2]: right, down
        upright = points[:, self.indices] @ turn.mT
        low, high = upright.amin(1), upright.amax(1)
        axes = turn * ((high - low) * MARGIN / REGION_PX)[:, :, None]
        middle = ((low + high) / 2)[:, None] @ turn
        corner = middle[:, 0] - axes.sum(1) * (REGION_PX / 2)
        return axes, corner

    def forward(self, features: torch.Tensor, points: torch.Tensor) -> list[torch.Tensor]:
        """For each head its points [N, num_points, 2] in pixels of the image.

        Args:
            features: [N, 32, 48, 48].
            points: the mesh [N, 468, 2] in pixels of the image of 192 x 192.
        """
        scale = INPUT_PX / FEATURES_PX
        axes, corner = self.frame(points / scale)
        grid = torch.arange(REGION_PX, dtype=points.dtype, device=points.device) + 0.5
        rows, columns = torch.meshgrid(grid, grid, indexing="ij")
        pixels = torch.stack([columns, rows], -1).reshape(1, -1, 2) @ axes + corner[:, None]  # [N, 256, 2]
        places = (pixels * (2 / FEATURES_PX) - 1).reshape(-1, REGION_PX, REGION_PX, 2)
        region = self.stem(F.grid_sample(features, places, align_corners=False))
        return [head(region) @ axes + corner[:, None] * scale for head in self.heads]


class FaceMesh(nn.Module):
    """An image [N, 3, 192, 192] in 0 to 1 to its mesh [N, 478, 3] in pixels (z as large), and the logit of a face [N].

    The points 468 to 472 and 473 to 477 are the irises left and right in the image.
    """

    def __init__(self) -> None:
        super().__init__()
        wide = nn.PReLU(16), nn.PReLU(16)
        self.stem = nn.Sequential(Stem(16, 3, nn.PReLU(16)), *(Block(16, 16, prelu) for prelu in wide))
        first, *rest = _stage(16, 32)
        self.features = first
        stages = [layer for sides in ((32, 64), (64, 128), (128, 128), (128, 128)) for layer in _stage(*sides)]
        self.trunk = nn.Sequential(*rest, *stages, *_narrow(128))
        self.points = nn.Conv2d(32, NUM_POINTS * 3, 3)
        self.face = nn.Conv2d(32, 1, 3)
        self.lips = Region(NUM_LIPS, NUM_LIPS)
        self.left_eye = Region(NUM_EYE, NUM_EYE, NUM_IRIS)
        self.right_eye = Region(NUM_EYE, NUM_EYE, NUM_IRIS)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.features(self.stem(image))  # [N, 32, 48, 48]
        deep = self.trunk(features)  # [N, 32, 3, 3]
        mesh = self.points(deep).reshape(len(image), NUM_POINTS, 3)
        rough = mesh[:, :, :2]
        refined, irises = mesh.clone(), []
        for region in (self.lips, self.left_eye, self.right_eye):
            places, *iris = region(features, rough)
            refined[:, region.indices, :2] = places
            if iris:
                depth = mesh[:, region.indices[:NUM_EYELID], 2:].mean(1, keepdim=True)
                irises.append(torch.cat([iris[0], depth.expand(-1, NUM_IRIS, 1)], 2))
        return torch.cat([refined, *irises], 1), self.face(deep).flatten()
