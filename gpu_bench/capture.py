"""A training step replayed as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Captured"]

EAGER_STEPS = 3  # before the capture: cuDNN chooses its kernels, autograd its buffers


class Captured:
    """A step (images, labels) ↦ None as a CUDA graph over fixed input tensors.

    The first steps run eagerly on a side stream, as capturing requires; a batch of another shape
    than the captured one does too.

    Parameters
    ----------
    step : callable
        Reads and writes memory that stays where it is.
    device : torch.device
        Where all of it lies; it need not be the current one.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], None], device: torch.device) -> None:
        self.step, self.device = step, device
        # one stream for all eager steps: the allocator keeps freed memory for each stream apart
        self.side = torch.cuda.Stream(device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.calls = 0
        self.images = self.labels = torch.empty(0)

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        if self.graph is None and self.calls == EAGER_STEPS:
            self._capture(images, labels)
        if self.graph is None or images.shape != self.images.shape:
            self.calls += 1
            self._eager(images, labels)
            return
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.graph.replay()

    def _capture(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images.clone(), labels.clone()
        # records without running; what other threads do (pinning memory) must not end it
        with torch.cuda.device(self.device):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self.side, capture_error_mode="thread_local"):
                self.step(self.images, self.labels)
        self.graph = graph

    def _eager(self, images: Tensor, labels: Tensor) -> None:
        current = torch.cuda.current_stream(self.device)
        self.side.wait_stream(current)
        with torch.cuda.stream(self.side):
            self.step(images, labels)
        current.wait_stream(self.side)
