"""Train steps on buffers that stay where they are, so that on CUDA a step can be one captured graph.

A step of the usual networks is some thousand small operations, and the host takes longer to begin them than a large
GPU to do them. Captured, they are begun at once. The code is the same, captured or not: everything random comes from
one generator, which is set to the step's seed; which faces are taken and what changes from step to step is written into
buffers before it; and nothing in it waits for the device.
"""

import contextlib
import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from facemorph.dcgan.checkpoint import State
from facemorph.dcgan.config import Config
from facemorph.dcgan.step import is_penalised, train_on_batch
from facemorph.device import renew_random_numbers
from facemorph.distributed import ALONE, ProcessGroup

log = logging.getLogger("facemorph")

# Steps before the first is captured, on the stream of the capture, and one at least of each kind: the optimisers' state
# and the libraries' plans are made in them.
WARM_UP = 3


class Stepper:
    """Takes the steps of a run, the next one at each call.

    Args:
        images, labels: all faces, uint8 [N, 3, H, W], and the numbers of their persons [N], on the run's device.
        capture: whether to capture steps; None: on CUDA, for one process.
    """

    def __init__(
        self,
        state: State,
        images: Tensor,
        labels: Tensor,
        config: Config,
        dtype: torch.dtype,
        group: ProcessGroup = ALONE,
        capture: bool | None = None,
    ) -> None:
        self.state, self.images, self.labels = state, images, labels
        self.config, self.dtype, self.group = config, dtype, group
        device = images.device
        self.capture = device.type == "cuda" and (group.world == 1 if capture is None else capture)
        self.random = torch.Generator(device)
        self.noise = torch.zeros((), device=device)  # std of this step's instance noise
        part = group.part(config.training.batch_size)
        self.chosen = torch.zeros(part.stop - part.start, dtype=torch.long, device=device)
        self._order, self._epoch, self._taken = torch.empty(0), -1, 0
        self._graphs: dict[bool, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._warm: set[bool] = set()  # kinds of steps that were taken
        self._stream = torch.cuda.Stream(device) if self.capture else None

    def __call__(self) -> Tensor:
        """Take one step; return its numbers for the log, as `train_on_batch`."""
        self._prepare()
        kind = is_penalised(self.config.training, self.state.step)  # a step with R1 is another graph
        ready = self.capture and self._taken >= WARM_UP and kind in self._warm
        with self._beside():
            numbers = self._replayed(kind) if ready else self.compute()
        self._warm.add(kind)
        self.state.step += 1
        self._taken += 1
        return numbers

    def _prepare(self) -> None:
        """Write into the buffers what differs from step to step."""
        cfg, step = self.config.training, self.state.step
        self.random.manual_seed(self._seed())
        epoch, place = divmod(step, len(self.images) // cfg.batch_size)
        if epoch != self._epoch:  # every face once an epoch, in a new order each epoch
            order = np.random.default_rng([cfg.seed, epoch]).permutation(len(self.images))
            # Not waited for: from memory that is not pinned the host's numbers are taken before the call returns.
            self._order, self._epoch = torch.from_numpy(order).to(self.images.device, non_blocking=True), epoch
        batch = self._order[place * cfg.batch_size : (place + 1) * cfg.batch_size]
        self.chosen.copy_(batch[self.group.part(cfg.batch_size)])
        self.noise.fill_(cfg.instance_noise * (1 - step / cfg.steps))

    def compute(self) -> Tensor:
        """The step's operations, which are captured as they are."""
        cfg, state = self.config.training, self.state
        batch = self.images.index_select(0, self.chosen).float().div_(127.5).sub_(1)
        labels = self.labels[self.chosen]
        numbers = train_on_batch(state, batch, labels, self.config, self.dtype, self.random, self.group, self.noise)
        state.update_ema(cfg.ema)
        return numbers

    def _replayed(self, kind: bool) -> Tensor:
        if kind not in self._graphs:
            try:
                self._graphs[kind] = self._captured()
            except (RuntimeError, AssertionError) as error:
                self.capture = False
                reason = str(error).split("\n")[0]
                log.warning("Steps cannot be captured as a CUDA graph here; they will be slower. (%s)", reason)
                self._recover()
                return self.compute()
        graph, numbers = self._graphs[kind]
        graph.replay()
        return numbers.clone()

    def _captured(self) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.random)
        pool = next((other.pool() for other, _ in self._graphs.values()), None)
        with torch.cuda.graph(graph, pool=pool, stream=self._stream):
            numbers = self.compute()
        return graph, numbers

    def _recover(self) -> None:
        """After a capture that failed: random numbers that it does not hold, at the place where the step begins."""
        torch.cuda.synchronize()
        renew_random_numbers(self.images.device)
        self.random = torch.Generator(self.images.device)
        self.random.manual_seed(self._seed())

    def _seed(self) -> int:
        return (self.config.training.seed << 32) + self.state.step

    @contextlib.contextmanager
    def _beside(self) -> Iterator[None]:
        """All steps go to one stream of their own, on which they can be captured; what comes after waits for it."""
        if self._stream is None:
            yield
            return
        current = torch.cuda.current_stream(self.images.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)


def train_step(
    state: State, images: Tensor, labels: Tensor, config: Config, dtype: torch.dtype, group: ProcessGroup = ALONE
) -> Tensor:
    """One step, not captured, for those who take few of them: see `Stepper`."""
    return Stepper(state, images, labels, config, dtype, group, capture=False)()
