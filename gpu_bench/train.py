"""SGD on a network whose prunable weights are x = g(θ); knows neither method nor protocol.

On CUDA one whole training step (forward, backward, update) is captured in a CUDA graph and
replayed. The learning rate and α live in 0-d tensors on the device: they change without a new
capture, and nothing inside an epoch waits for the device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gpu_bench import masks
from gpu_bench.flat import Flat
from gpu_bench.methods import Method, Plan
from mirrorflow.checks import Array

__all__ = ["Epoch", "History", "Trainer"]

EAGER_STEPS = 3  # before the capture: cuDNN chooses its kernels, autograd its buffers


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch leaves behind, all on the host.

    Attributes
    ----------
    loss, accuracy
        Over the training images as they went by, while the weights moved.
    test_accuracy
        After the epoch, on the held-out images; NaN where it was not read.
    norm
        ‖x‖₁ over the prunable weights, after the epoch.
    alpha
        α in force during the epoch; 0 without such a penalty.
    total
        A = Σ η_k α_k/(1 − momentum) so far.
    """

    number: int
    loss: float
    accuracy: float
    test_accuracy: float
    norm: float
    alpha: float
    total: float
    images_per_second: float


@dataclass(slots=True)
class History:
    """The epochs of a run and how it ended: "completed" or "diverged"."""

    status: str = "completed"
    message: str = ""
    epochs: list[Epoch] = field(default_factory=list)


class Trainer:
    """One network, one method, one optimizer: SGD with momentum, decays coupled to the gradient.

        v ← momentum · v + ∂θ + λθ,   θ ← θ − ηv       for every parameter, with its own λ

    Parameters
    ----------
    model : nn.Module
        On its device; changed in place. Its prunable weights become the method's x.
    method : Method
        Fresh.
    rates : Array, shape (epochs · steps per epoch,)
        η of every step.
    epochs : int
    momentum : float
        In [0, 1).
    weight_decay : float
        Of what is not prunable: biases and normalisation.
    half : bool
        Forward and backward in bfloat16 (autocast); weights and updates stay float32.
    capture : bool
        Replay a CUDA graph (CUDA only).
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        rates: Array,
        epochs: int,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        *,
        half: bool = False,
        capture: bool = False,
    ) -> None:
        self.model, self.method, self.rates, self.epochs = model, method, rates, epochs
        self.momentum, self.weight_decay, self.half = momentum, weight_decay, half
        prunable = masks.prunable(model)
        taken = {id(parameter) for parameter in prunable.values()}
        self.x = Flat(prunable)
        self.rest = Flat({k: p for k, p in model.named_parameters() if id(p) not in taken})
        self.device = self.x.values.device
        self.initial_norm = float(torch.linalg.vector_norm(self.x.values, 1))
        rate_sum = float(rates.sum()) / (1.0 - momentum)
        self.plan = Plan(epochs, rate_sum, self.x.sizes)
        method.begin(self.plan, self.x.values)
        self.parameters = method.start(self.x.values)
        self.decays = method.decays()
        self.velocities = [torch.zeros_like(theta) for theta in self.parameters]
        self.rest_velocity = torch.zeros_like(self.rest.values)
        self.minus_rate = torch.zeros((), dtype=self.x.values.dtype, device=self.device)
        # Σ loss and Σ hits of the epoch; float64 counts exactly what float32 would round
        self.sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        self.total = 0.0
        self.steps = 0
        capture = capture and self.device.type == "cuda"
        self._advance: Callable[[Tensor, Tensor], None] = (
            _Captured(self._step) if capture else self._step
        )
        self._push()

    def train(
        self,
        batches: Any,
        evaluate: Callable[[], Tensor] | None = None,
        tell: Callable[[Epoch], None] | None = None,
    ) -> History:
        """Run all epochs; `evaluate` gives the accuracy after each as a 0-d tensor.

        A loss that is not finite stops the run with status "diverged".
        """
        history = History()
        for epoch in range(1, self.epochs + 1):
            record = self._epoch(epoch, batches, evaluate)
            history.epochs.append(record)
            if tell is not None:
                tell(record)
            if not (math.isfinite(record.loss) and math.isfinite(record.norm)):
                history.status = "diverged"
                history.message = (
                    f"the loss is {record.loss} in epoch {epoch}; lower --lr, --alpha or --total."
                )
                return history
            self.method.after_epoch(epoch, record.accuracy, record.norm)
            self._push()
        return history

    def fold(self) -> nn.Module:
        """Put the final weights into the model and return it."""
        with torch.no_grad():
            self.x.values.copy_(self.method.fold(*self.parameters))
        return self.model

    def _epoch(self, epoch: int, batches: Any, evaluate: Callable[[], Tensor] | None) -> Epoch:
        started, seen, rate_sum = time.perf_counter(), 0, 0.0
        self.model.train()
        self.sums.zero_()
        for images, labels in batches.epoch(epoch):
            rate = float(self.rates[self.steps])
            self.minus_rate.fill_(-rate)
            self._advance(images, labels)
            rate_sum += rate
            seen += len(labels)
            self.steps += 1
        alpha = self.method.alpha or 0.0
        self.total += alpha * rate_sum / (1.0 - self.momentum)
        norm = torch.linalg.vector_norm(self.x.values, 1)
        readings = [*self.sums, norm.double()]
        if evaluate is not None:
            readings.append(evaluate().double())
        # the one synchronisation of the epoch
        loss, hits, norm_read, *tested = torch.stack(readings).tolist()
        return Epoch(
            number=epoch,
            loss=loss / seen,
            accuracy=hits / seen,
            test_accuracy=tested[0] if tested else math.nan,
            norm=norm_read,
            alpha=alpha,
            total=self.total,
            images_per_second=seen / (time.perf_counter() - started),
        )

    def _step(self, images: Tensor, labels: Tensor) -> None:
        self.x.gradient.zero_()
        self.rest.gradient.zero_()
        with self._autocast():
            logits = self.model(images)
            loss = functional.cross_entropy(logits, labels)
        loss.backward()
        with torch.no_grad():
            self._update()
            self._push()
            hits = (logits.argmax(1) == labels).sum()
            self.sums.add_(torch.stack([loss.double() * len(labels), hits.double()]))

    def _update(self) -> None:
        gradients = self.method.gradients(self.parameters, self.x.gradient)
        self.method.penalize(self.parameters, gradients)
        everything: Iterator[tuple[Tensor, Tensor, Tensor, Tensor | float]] = zip(
            (*self.parameters, self.rest.values),
            (*gradients, self.rest.gradient),
            (*self.velocities, self.rest_velocity),
            (*self.decays, self.weight_decay),
            strict=True,
        )
        for theta, gradient, velocity, decay in everything:
            velocity.mul_(self.momentum).add_(gradient)
            if isinstance(decay, Tensor):
                velocity.addcmul_(theta, decay)
            elif decay:
                velocity.add_(theta, alpha=decay)
            theta.addcmul_(velocity, self.minus_rate)

    def _push(self) -> None:
        """Set x = g(θ)."""
        x = self.method.weight(*self.parameters)
        if x is not self.x.values:
            self.x.values.copy_(x)

    def _autocast(self) -> torch.autocast:
        # the cache of cast weights would outlive a captured step
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.half, cache_enabled=False
        )

    @torch.no_grad()
    def accuracy(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the share of right answers in evaluation mode, a 0-d tensor on the device."""
        self.model.eval()
        hits = torch.zeros((), dtype=torch.float64, device=self.device)
        seen = 0
        with self._autocast():
            for images, labels in batches:
                hits += (self.model(images).argmax(1) == labels).sum()
                seen += len(labels)
        return hits / seen


class _Captured:
    """A step as a CUDA graph over fixed input tensors.

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
