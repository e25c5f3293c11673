"""Where the layers' noise comes from."""

from dataclasses import dataclass

import torch

MODES = ("const", "none", "random")


@dataclass(frozen=True)
class Noise:
    """`mode`: "const", the file's own; "none"; "random", anew for every picture, from `random` if given."""

    mode: str = "const"
    random: torch.Generator | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"noise mode {self.mode!r}; {', '.join(MODES)} are known")

    def plane(self, stored: torch.Tensor, num_images: int) -> torch.Tensor | None:
        """The noise of one layer: [H, W], or [N, 1, H, W] where random; None for none."""
        if self.mode == "none":
            return None
        if self.mode == "const":
            return stored
        device = stored.device if self.random is None else self.random.device
        fresh = torch.randn(num_images, 1, *stored.shape, generator=self.random, device=device)
        return fresh.to(stored.device, stored.dtype)
