"""Files of the published layout with random weights: a VGG16 of torchvision (features only) and heads of LPIPS."""

from pathlib import Path

import torch

LAYERS = ((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256), (14, 256, 256),
          (17, 256, 512), (19, 512, 512), (21, 512, 512), (24, 512, 512), (26, 512, 512), (28, 512, 512))  # fmt: skip


def write_random_vgg(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Write and return the paths of both files."""
    numbers = torch.Generator().manual_seed(seed)
    state = {}
    for index, wide, out in LAYERS:
        scale = (2 / (9 * wide)) ** 0.5
        state[f"features.{index}.weight"] = scale * torch.randn(out, wide, 3, 3, generator=numbers)
        state[f"features.{index}.bias"] = 0.1 * torch.randn(out, generator=numbers)
    widths = (64, 128, 256, 512, 512)
    heads = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1, generator=numbers) / 5 for i, c in enumerate(widths)}
    paths = folder / "vgg16.pth", folder / "lpips.pth"
    for path, value in zip(paths, (state, heads), strict=True):
        torch.save(value, path)
    return paths
