"""dlib's face descriptor in PyTorch: the same 128 numbers, many times faster on a CPU, in batches, and on CUDA.

King, "High quality face recognition with deep metric learning", 2017 (blog.dlib.net): a residual network of 29
convolutions (He et al. 2016, arXiv:1512.03385, with a few layers taken out and half the filters) over a 150-px face.
"""

import torch
from torch import nn
from torch.nn import functional

from facemorph.errors import InputError
from facemorph.faces.dlib_models import DESCRIPTOR, Convolution, ResnetFile, model_path, read_resnet


class Block(nn.Module):
    """Two convolutions around which the input passes unchanged, or, where the first has stride 2, halved."""

    def __init__(self, first: Convolution, second: Convolution) -> None:
        super().__init__()
        self.first, self.second = first.module(), second.module()
        self.halving = first.stride == 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(functional.relu_(self.first(x)))
        if self.halving:
            x = functional.avg_pool2d(x, 2)
        # dlib adds what overlaps: nought stands for missing channels, rows and columns
        channels, rows, columns = (max(a, b) for a, b in zip(x.shape[1:], y.shape[1:], strict=True))
        return functional.relu_(_grown(x, channels, rows, columns) + _grown(y, channels, rows, columns))


def _grown(x: torch.Tensor, channels: int, rows: int, columns: int) -> torch.Tensor:
    missing = (0, columns - x.shape[3], 0, rows - x.shape[2], 0, channels - x.shape[1])
    return functional.pad(x, missing) if any(missing) else x


class Resnet(nn.Module):
    """Face chips, uint8 [N, 150, 150, 3], to descriptors, float32 [N, 128].

    Raises:
        InputError: the convolutions are not a first one and pairs.
    """

    def __init__(self, file: ResnetFile) -> None:
        super().__init__()
        first, *others = file.convolutions
        if len(others) % 2 or any(second.stride != 1 for second in others[1::2]):
            raise InputError("The face descriptor's file holds another network than was expected.")
        self.mean = nn.Parameter(torch.tensor(file.mean_rgb), requires_grad=False)
        self.first = first.module()
        self.blocks = nn.Sequential(*map(Block, others[::2], others[1::2]))
        self.last = nn.Parameter(torch.tensor(file.last), requires_grad=False)  # [256, 128]

    def forward(self, chips: torch.Tensor) -> torch.Tensor:
        x = ((chips.float() - self.mean) / 256).permute(0, 3, 1, 2)  # [N, 3, 150, 150]
        x = functional.max_pool2d(functional.relu_(self.first(x)), 3, 2)  # [N, 32, 35, 35]
        x = self.blocks(x)  # [N, 256, 2, 2]
        return x.mean((2, 3)) @ self.last  # [N, 128]


def load_resnet() -> Resnet:
    """dlib's face descriptor, float32 on the CPU.

    Raises:
        InputError: the model file is missing or is not the published one.
    """
    network = Resnet(read_resnet(model_path(DESCRIPTOR))).eval()
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
