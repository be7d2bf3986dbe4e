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
    """

    def __init__(self, step: Callable[[Tensor, Tensor], None]) -> None:
        self.step = step
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
        graph = torch.cuda.CUDAGraph()
        # records without running; what other threads do (pinning memory) must not end it
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.step(self.images, self.labels)
        self.graph = graph

    def _eager(self, images: Tensor, labels: Tensor) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.step(images, labels)
        torch.cuda.current_stream().wait_stream(side)
