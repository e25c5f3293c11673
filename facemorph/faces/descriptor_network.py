"""dlib's face descriptor network in PyTorch: the same 128 numbers, many times faster on a CPU, batched, and on CUDA.

King, "High quality face recognition with deep metric learning", 2017 (blog.dlib.net): a residual network of 29
convolutions (He et al. 2016, arXiv:1512.03385, with fewer layers and half the filters) on a face of 150 px.
"""

import torch
from torch import nn
from torch.nn import functional

from facemorph.errors import InputError
from facemorph.faces.dlib_models import DESCRIPTOR, Convolution, ResnetFile, model_path, read_resnet


class Block(nn.Module):
    """Two convolutions and a skip connection, which halves the image where the first convolution has stride 2."""

    def __init__(self, first: Convolution, second: Convolution) -> None:
        super().__init__()
        self.first, self.second = first.module(), second.module()
        self.halving = first.stride == 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(functional.relu_(self.first(x)))
        if self.halving:
            x = functional.avg_pool2d(x, 2)
        # dlib adds images of different shapes: missing channels, rows and columns count as 0
        channels, rows, columns = (max(a, b) for a, b in zip(x.shape[1:], y.shape[1:], strict=True))
        return functional.relu_(_zero_padded(x, channels, rows, columns) + _zero_padded(y, channels, rows, columns))


def _zero_padded(x: torch.Tensor, channels: int, rows: int, columns: int) -> torch.Tensor:
    missing = (0, columns - x.shape[3], 0, rows - x.shape[2], 0, channels - x.shape[1])
    return functional.pad(x, missing) if any(missing) else x


class Resnet(nn.Module):
    """Face chips, uint8 [N, 150, 150, 3], to descriptors, float32 [N, 128].

    Raises:
        InputError: the convolutions are not one and then pairs of them.
    """

    def __init__(self, file: ResnetFile) -> None:
        super().__init__()
        first, *others = file.convolutions
        if len(others) % 2 or any(second.stride != 1 for second in others[1::2]):
            raise InputError("The file of the face descriptor holds another network than expected.")
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
