"""A step captured in a CUDA graph: the GPU replays it without waiting for Python, with a fall-back to running it."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger("facemorph")

WARM_UP = 3  # steps that run before a capture, on a stream of their own (as torch's documentation of graphs asks)


class CapturedStep:
    """Runs `step` a few times, then captures it, then replays it. Every call is one step of training.

    A replay repeats the same operations on the same memory, so that `step` must take what changes from tensors that
    stay where they are. Random numbers go on from torch's global CUDA generator, which may be seeded between steps.
    Where the capture fails, the step goes on as before, and it is said.
    """

    def __init__(self, step: Callable[[], Tensor]) -> None:
        self.step, self.calls = step, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.numbers: Tensor | None = None
        self.failed = False

    def __call__(self) -> Tensor:
        self.calls += 1
        if self.failed:
            return self.step()
        if self.calls <= WARM_UP:
            return self._beside()
        if self.graph is None:
            self._capture()
            if self.graph is None:
                return self.step()
        assert self.graph is not None and self.numbers is not None
        self.graph.replay()
        return self.numbers.clone()  # the next replay writes there again

    def _beside(self) -> Tensor:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            numbers = self.step()
        torch.cuda.current_stream().wait_stream(side)
        numbers.record_stream(torch.cuda.current_stream())
        return numbers

    def _capture(self) -> None:
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.numbers = self.step()
        except (RuntimeError, AssertionError) as error:
            self.failed, self.numbers = True, None
            log.warning("The step cannot be captured in a CUDA graph and runs without: %s", str(error).split("\n")[0])
            torch.cuda.synchronize()
            return
        self.graph = graph
        log.info("The step is captured in a CUDA graph.")
