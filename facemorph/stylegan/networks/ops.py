"""The operations of both generations on channels-last tensors, without compiled extensions.

Filters follow NVIDIA's convention: they are convolved, not correlated, so an asymmetric one acts mirrored.

Operations are in place where possible: at 1024 px, allocating a new tensor of activations takes several times as long
as the arithmetic, because of page faults.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

EPSILON = 1e-8


def normalize(x: torch.Tensor, dim: int = 1) -> torch.Tensor:
    """Unit mean square along `dim` ("pixel norm", Karras et al. 2018, section 4.2)."""
    return x * (x.square().mean(dim, keepdim=True) + EPSILON).rsqrt()


def kernel_2d(taps: torch.Tensor) -> torch.Tensor:
    """A separable filter's [n] taps as [n, n]."""
    return taps[:, None] * taps[None, :]


def depthwise(
    x: torch.Tensor, kernel: torch.Tensor, pads: tuple[int, int], bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Convolve every channel with a filter [h, w], zero-padded by `pads` before and after on both axes."""
    channels = x.shape[1]
    weight = kernel.flip(0, 1).to(x.dtype).expand(channels, 1, *kernel.shape).contiguous()
    if pads[0] != pads[1]:
        x = F.pad(x, (*pads, *pads))
    padding = pads[0] if pads[0] == pads[1] else 0
    return F.conv2d(x, weight, bias, padding=padding, groups=channels)


def upsample(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Zeros between the pixels, then the filter [n, n] with gain 4: [N, C, H, W] -> [N, C, 2H, 2W].

    As one depthwise transposed convolution.
    """
    channels, height, width = x.shape[1:]
    taps = kernel.shape[-1]
    weight = (4 * kernel).to(x.dtype).expand(channels, 1, taps, taps)
    begin, end = taps - 1 - (taps + 1) // 2, (taps + 1) // 2 - 1  # extra pixels before and after
    crop = min(begin, end)
    y = F.conv_transpose2d(x, weight, stride=2, padding=crop, groups=channels)  # [N, C, 2H + ., 2W + .]
    return y[:, :, begin - crop : begin - crop + 2 * height, begin - crop : begin - crop + 2 * width]


def up_convolve(
    x: torch.Tensor, weight: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """StyleGAN2's up-sampling convolution: transposed convolution, then the filter with gain 4.

    Args:
        x: [N, in, H, W].
        weight: [out, in, 3, 3], as stored by StyleGAN2-ADA (mirrored, compared with up-sampling and convolving).
        kernel: [n, n], sum 1.

    Returns: [N, out, 2H, 2W].
    """
    if x.is_cuda and x.dtype != torch.float32 and kernel.shape == (4, 4):
        return up_convolve_in_phases(x, weight, kernel, bias)
    taps = kernel.shape[-1]
    y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # [N, out, 2H + 1, 2W + 1]
    return depthwise(y, 4 * kernel, ((taps + 1) // 2 - 1, (taps - 2) // 2), bias)  # [N, out, 2H, 2W]


def up_convolve_in_phases(
    x: torch.Tensor, weight: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """`up_convolve` with a filter of 4 taps, as one convolution to the four phases of a pixel, which then take places.

    Four times the arithmetic, and yet on an H200 in bfloat16 (64 images, 256 channels, 32 to 64 px, forward and
    backward) 1.3 ms, where the transposed convolution with the same fused kernel took 7.2.
    """
    out, wide = weight.shape[:2]
    if kernel.shape != (4, 4):
        raise ValueError(f"a filter of 4 x 4 taps was expected, not {tuple(kernel.shape)}")
    fused = weight.flatten(2) @ taps_of_phases(kernel.to(weight.dtype))  # [out, in, 36]
    fused = fused.view(out, wide, 4, 3, 3).permute(2, 0, 1, 3, 4).flatten(0, 1)  # [4 out, in, 3, 3]
    y = F.conv2d(x, fused.contiguous(memory_format=torch.channels_last), padding=1)  # [N, 4 out, H, W]
    count, _, height, width = y.shape
    # As pixel_shuffle, which would leave channels last.
    phases = y.permute(0, 2, 3, 1).reshape(count, height, width, 2, 2, out).transpose(2, 3)  # [N, H, 2, W, 2, out]
    y = phases.reshape(count, 2 * height, 2 * width, out).permute(0, 3, 1, 2)  # [N, out, 2H, 2W]
    return y if bias is None else y + bias[:, None, None]


def taps_of_phases(kernel: torch.Tensor) -> torch.Tensor:
    """What each of a weight's 3 x 3 taps adds to the 3 x 3 of the four phases: [9, 36].

    The transposed convolution's 3 taps and the filter's 4 make 6; each phase of a pixel takes every other one.
    """
    each = torch.eye(9, dtype=kernel.dtype, device=kernel.device).view(9, 1, 3, 3)
    turned = F.conv_transpose2d(each, 4 * kernel[None, None]).flip(2, 3)[:, 0]  # [9, 6, 6]
    return torch.stack([turned[:, 1 - a :: 2, 1 - b :: 2] for a in range(2) for b in range(2)], 1).flatten(1)


def doubling_kernel(weight: torch.Tensor) -> torch.Tensor:
    """StyleGAN's "nearest neighbour, then convolve 3x3" as one transposed convolution of stride 2, padding 1.

    Each pixel becomes 2x2 equal ones, so the kernel is the mirrored one summed over four shifts.
    weight: [out, in, 3, 3] -> [in, out, 4, 4].
    """
    padded = F.pad(weight.flip(2, 3), (1, 1, 1, 1))  # [out, in, 5, 5]
    summed = padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]
    return summed.transpose(0, 1).contiguous()  # [in, out, 4, 4]


def styled_instance_norm(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Instance norm (mean 0 and std 1 in each channel of each image), then `scale` and `shift` [N, C] ("AdaIN")."""
    if len(x) == 1:  # batch norm of a single image is the same, in half the passes over memory
        return F.batch_norm(x, None, None, scale[0], shift[0], training=True, eps=EPSILON)
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0)  # [N, C]
    scale = scale * (variance + EPSILON).rsqrt()
    return scale_shift(x, scale, shift - mean * scale)


def scale_shift(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """x * scale + shift, both [N or 1, C]; in place without gradients."""
    scale, shift = scale[:, :, None, None].to(x.dtype), shift[:, :, None, None].to(x.dtype)
    return torch.addcmul(shift, x, scale) if torch.is_grad_enabled() else torch.addcmul(shift, x, scale, out=x)


def clamp(x: torch.Tensor, clamp: float | None) -> torch.Tensor:
    if clamp is None:
        return x
    # With gradients as hardtanh, whose backward pass is one operation where that of clamp is three.
    return F.hardtanh(x, -clamp, clamp) if torch.is_grad_enabled() else x.clamp_(-clamp, clamp)


def image_by_image(x: torch.Tensor) -> bool:
    """Whether a batch is processed faster image by image: on a CPU, once an image fills its caches."""
    return len(x) > 1 and x.device.type == "cpu" and not torch.is_grad_enabled() and x[0].numel() >= 1 << 20


MODES = ("const", "none", "random")


@dataclass(frozen=True)
class Noise:
    """`mode`: "const", the noise in the file; "none"; "random", new for every image, from `random` if given."""

    mode: str = "const"
    random: torch.Generator | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"unknown noise mode {self.mode!r}; choose from {', '.join(MODES)}")

    def plane(self, stored: torch.Tensor, num_images: int) -> torch.Tensor | None:
        """The noise of one layer: [H, W], or [N, 1, H, W] if random; None for none."""
        if self.mode == "none":
            return None
        if self.mode == "const":
            return stored
        device = stored.device if self.random is None else self.random.device
        fresh = torch.randn(num_images, 1, *stored.shape, generator=self.random, device=device)
        return fresh.to(stored.device, stored.dtype)
