"""A step replayed as a CUDA graph."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from gpu_bench.memory import is_full

__all__ = ["Captured"]

EAGER_STEPS = 3  # before the capture: cuDNN chooses its kernels, autograd its buffers

# Of all threads: while one captures, no other may wait for the device, as cuDNN's search does.
_turn = threading.RLock()
_streams: dict[tuple[int, torch.device], torch.cuda.Stream] = {}


class Captured:
    """A step (images, labels) ↦ None as a CUDA graph over fixed input tensors.

    The first steps run eagerly on a side stream, as capturing requires; a batch of another shape
    than the captured one does too, and every step where the capture failed, with a warning. The
    step is no part of this object: what owns both is freed with its graph as soon as nobody
    refers to it.

    Parameters
    ----------
    device : torch.device
        Where all that steps read and write lies, always in the same place; it need not be the
        current one.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.graph: torch.cuda.CUDAGraph | None = None
        self.calls = 0  # eager ones
        self.failed = False
        self.images = self.labels = torch.empty(0)

    def __call__(
        self, step: Callable[[Tensor, Tensor], None], images: Tensor, labels: Tensor
    ) -> None:
        """Do one step, always the same function."""
        if self.graph is None and self.calls == EAGER_STEPS and not self.failed:
            self._capture(step, images, labels)
        if self.graph is None or images.shape != self.images.shape:
            self.calls += 1
            self.eager(step, images, labels)
            return
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.graph.replay()

    def release(self) -> None:
        """Free the graph and its memory; the next steps are eager, then captured anew."""
        self.graph, self.calls = None, 0
        self.images = self.labels = torch.empty(0)

    def _capture(
        self, step: Callable[[Tensor, Tensor], None], images: Tensor, labels: Tensor
    ) -> None:
        self.images, self.labels = images.clone(), labels.clone()
        # records without running; what other threads do (pinning memory) must not end it
        with _turn, torch.cuda.device(self.device):
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(
                    graph, stream=_side(self.device), capture_error_mode="thread_local"
                ):
                    step(self.images, self.labels)
            except RuntimeError as error:
                if is_full(error):
                    raise
                self.failed = True
                warnings.warn(
                    f"a step could not be captured as a CUDA graph ({str(error)[:200]}); steps "
                    f"run eagerly, some three times slower.",
                    stacklevel=2,
                )
            else:
                self.graph = graph

    def eager(self, step: Callable[[Tensor, Tensor], None], images: Tensor, labels: Tensor) -> None:
        """Do any step without a graph, never while another thread captures one."""
        current, side = torch.cuda.current_stream(self.device), _side(self.device)
        side.wait_stream(current)
        with _turn, torch.cuda.stream(side):
            step(images, labels)
        current.wait_stream(side)


def _side(device: torch.device) -> torch.cuda.Stream:
    """The one side stream of this thread: torch has 32, given out in turn, and would share them.

    One for all eager steps: the allocator keeps freed memory for each stream apart.
    """
    key = threading.get_ident(), device
    if key not in _streams:
        _streams[key] = torch.cuda.Stream(device)
    return _streams[key]
