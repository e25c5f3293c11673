"""A step captured in a CUDA graph: the GPU replays it without waiting for Python, with a fall-back to running it."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from facemorph.device import renew_random_numbers

log = logging.getLogger("facemorph")

WARM_UP = 3  # steps that run before a capture, on its stream (as torch's documentation of graphs asks)


class CapturedStep:
    """Runs `step` a few times, then captures it, then replays it. Every call is one step of training.

    A replay repeats the same operations on the same memory, so that `step` must take what changes from tensors that
    stay where they are. Random numbers go on from torch's global CUDA generator, which may be seeded between steps.
    If the capture fails, the step runs as before, and the log says so.
    """

    def __init__(self, step: Callable[[], Tensor], device: torch.device) -> None:
        self.step, self.device, self.calls = step, device, 0
        self.stream = torch.cuda.Stream(device)
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
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            numbers = self.step()
        current.wait_stream(self.stream)
        numbers.record_stream(current)
        return numbers

    def _capture(self) -> None:
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        try:
            # Of the two contexts the outer one puts the current stream back where the inner one ends with an error.
            with torch.cuda.stream(self.stream), torch.cuda.graph(graph, stream=self.stream):
                self.numbers = self.step()
        except (RuntimeError, AssertionError) as error:
            self.failed, self.numbers = True, None
            log.warning("The step cannot be captured in a CUDA graph and runs without: %s", str(error).split("\n")[0])
            torch.cuda.synchronize(self.device)
            seed = torch.initial_seed()
            renew_random_numbers(self.device)
            torch.manual_seed(seed)
            return
        self.graph = graph
        log.info("The step is captured in a CUDA graph.")
