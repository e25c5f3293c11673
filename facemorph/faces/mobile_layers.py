"""The layers of which MediaPipe's face networks are made, and their weights from the package."""

import contextlib
import threading
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from facemorph.embedded import FOLDER


def same_padding(x: torch.Tensor, kernel: int) -> torch.Tensor:
    """TensorFlow's padding "same" for a convolution of stride 2 over an even side: the odd pixel right and below."""
    before = (kernel - 2) // 2
    return F.pad(x, (before, kernel - 2 - before, before, kernel - 2 - before))


class Stem(nn.Module):
    """The first layer: a convolution that halves the side, then `activation`."""

    def __init__(self, channels: int, kernel: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, kernel, 2)
        self.activation = activation

    def forward(self, image: torch.Tensor) -> torch.Tensor:  # [N, 3, S, S] -> [N, channels, S/2, S/2]
        return self.activation(self.conv(same_padding(image, self.conv.kernel_size[0])))


class Block(nn.Module):
    """A depthwise 3x3 convolution, a 1x1 convolution, the shortcut, then `activation`.

    With `down` the side is halved and the shortcut is pooled. New channels of the shortcut are zero.
    """

    def __init__(self, channels: int, out_channels: int, activation: nn.Module, *, down: bool = False) -> None:
        super().__init__()
        self.down = down
        self.depthwise = nn.Conv2d(channels, channels, 3, 2 if down else 1, 0 if down else 1, groups=channels)
        self.pointwise = nn.Conv2d(channels, out_channels, 1)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [N, channels, S, S]
        y = self.pointwise(self.depthwise(same_padding(x, 3) if self.down else x))
        if self.down:
            x = F.max_pool2d(x, 2)
        y[:, : x.shape[1]] += x
        return self.activation(y)  # [N, out_channels, S or S/2, ...]


_ONE_AT_A_TIME = threading.Lock()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inference of these small networks: on one thread, so that results do not depend on how many there are.

    More are no faster (18.2 and 18.3 ms for a mesh), and far slower on a busy machine.
    """
    with _ONE_AT_A_TIME, torch.inference_mode():
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def load_embedded(network: nn.Module, name: str) -> nn.Module:
    """`network` with the weights of `embedded/NAME.safetensors` in float32, frozen, for inference."""
    from safetensors.torch import load_file

    file = load_file(FOLDER / f"{name}.safetensors")
    layers = {key: value for key, value in file.items() if not key.startswith("view.")}
    network.load_state_dict(
        {key: value.float() if value.is_floating_point() else value for key, value in layers.items()}
    )
    # a quarter faster, a third for BlazeFace, than with the channels first
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
