"""Adam for a few tensors. torch.optim would do, but its first optimiser in a process loads a compiler for 2 to 3 s: as
long as several steps of a search."""

import torch

EPSILON = 1e-8


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1), step by step as torch.optim.Adam.

    Args:
        betas: decay of the means of gradients and of their squares.
    """

    def __init__(self, betas: tuple[float, float]) -> None:
        self.betas = betas
        self.means: dict[torch.Tensor, tuple[torch.Tensor, torch.Tensor]] = {}  # of a tensor's gradients, and squares
        self.steps: dict[torch.Tensor, int] = {}

    @torch.no_grad()
    def step(self, tensors: list[torch.Tensor], learning_rate: float) -> None:
        """Move tensors against their gradients, which are then forgotten."""
        beta1, beta2 = self.betas
        for x in tensors:
            if x.grad is None:
                continue
            mean, square = self.means.setdefault(x, (torch.zeros_like(x), torch.zeros_like(x)))
            count = self.steps[x] = self.steps.get(x, 0) + 1
            mean.lerp_(x.grad, 1 - beta1)
            square.mul_(beta2).addcmul_(x.grad, x.grad, value=1 - beta2)
            length = square.sqrt().div_((1 - beta2**count) ** 0.5).add_(EPSILON)
            x.addcdiv_(mean, length, value=-learning_rate / (1 - beta1**count))
            x.grad = None
