"""Trainer: SGD on a network whose prunable weights are x = mask ⊙ g(θ), for any method.

On CUDA one whole training step (forward, backward, update) is captured in a CUDA graph and
replayed, and so is the evaluation of a batch. The learning rate and α live in 0-d tensors on the
device: they change without a new capture, and nothing inside an epoch waits for the device. Several
ranks share each batch: their gradients are averaged, and what an epoch measures is summed, so that
all of them take the same steps and the same α.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from gpu_bench import masks
from gpu_bench.capture import Captured
from gpu_bench.checkpoints import entry, on_host, table, tabled
from gpu_bench.flat import Flat
from gpu_bench.methods import Method, Plan
from gpu_bench.ranks import Ranks
from gpu_bench.records import Epoch, History, Weights
from mirrorflow.checks import Array, InputError
from mirrorflow.pilot import BalanceLedger

__all__ = ["Epoch", "History", "Trainer", "Weights"]


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
    smoothing : float
        Label smoothing of the training loss, in [0, 1).
    half : bool
        Forward and backward in bfloat16 (autocast); weights and updates stay float32. On one rank
        the module holds bfloat16 copies of the prunable weights from the first step to `fold`.
    capture : bool
        Replay a CUDA graph (CUDA and one rank only).
    mask : bool Tensor, shape (N,), optional
        Which prunable weights there are, in the order of `gpu_bench.flat.Layout`; the others
        are 0 and get no gradient.
    start : Weights, optional
        What to start from instead of the model's own weights. The optimizer is fresh.
    passed : int
        Epochs of the run before these: they go on counting, and with them the data's order.
    ranks : Ranks, optional
        Processes that share each batch.
    network : nn.Module, optional
        What training runs forward, where it is not `model` itself but
        `DistributedDataParallel` around it.
    ledger : bool
        Follow m² − w² of a `decayed` method (`BalanceLedger`).

    Attributes
    ----------
    origin : Tensor, shape (N,)
        The x that the method began with.
    history : History
        The epochs so far.
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
        smoothing: float = 0.0,
        half: bool = False,
        capture: bool = False,
        mask: Tensor | None = None,
        start: Weights | None = None,
        passed: int = 0,
        ranks: Ranks | None = None,
        network: nn.Module | None = None,
        ledger: bool = False,
    ) -> None:
        self.model, self.method, self.rates, self.epochs = model, method, rates, epochs
        self.momentum, self.weight_decay, self.half = momentum, weight_decay, half
        self.smoothing, self.passed = smoothing, passed
        self.ranks = Ranks() if ranks is None else ranks
        prunable = masks.prunable(model)
        taken = {id(parameter) for parameter in prunable.values()}
        self.x = Flat(prunable)
        self.rest = Flat({k: p for k, p in model.named_parameters() if id(p) not in taken})
        self.buffers = tuple(model.buffers())
        x = self.x.values
        self.device = x.device
        # as numbers: multiplying costs one pass, choosing among two tensors three
        self.mask = None if mask is None else mask.to(self.device, x.dtype)
        if start is not None:
            x.copy_(start.x)
            self.rest.values.copy_(start.rest)
            _copy(self.buffers, start.buffers)
        if self.mask is not None:
            x.mul_(self.mask)
        self.origin = x.clone()
        self.initial_norm = float(torch.linalg.vector_norm(x, 1))
        layers = {name: tuple(weight.shape) for name, weight in prunable.items()}
        self.plan = Plan(epochs, rates, self.x.sizes, weight_decay, momentum, layers)
        method.begin(self.plan, x)
        self.parameters = method.inverse(x)
        if start is not None:
            _copy(self.parameters, start.parameters)
        self.decays = method.decays()
        self.velocities = [torch.zeros_like(theta) for theta in self.parameters]
        self.rest_velocity = torch.zeros_like(self.rest.values)
        self.ledger: BalanceLedger | None = None
        if ledger:
            factors = zip(self.x.layout.names, *map(self._by_layer, self.parameters), strict=True)
            self.ledger = BalanceLedger(factors, momentum)
        self.minus_rate = torch.zeros((), dtype=x.dtype, device=self.device)
        # Σ loss, Σ hits and images of the epoch; float64 counts what float32 would round
        self.sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.total = 0.0 if start is None else start.total
        self.steps = 0
        self.history = History()
        self.counts = torch.zeros(2, dtype=torch.float64, device=self.device)  # hits, images
        self._network = model if network is None else network
        alone = self.ranks.size == 1
        self._rounds = half and alone
        cuda = capture and alone and self.device.type == "cuda"
        # of steps and of evaluations
        self._captured = (Captured(self.device), Captured(self.device)) if cuda else None
        self._push()

    def train(
        self,
        batches: Any,
        evaluate: Callable[[], Tensor] | None = None,
        tell: Callable[[Epoch], None] | None = None,
    ) -> History:
        """Run the epochs that are left; `evaluate` gives the accuracy after each as a 0-d tensor.

        `tell` hears of each epoch when the trainer stands between it and the next: the state
        may be saved then. A loss or a norm ‖x‖₁ that is not finite stops the run with status
        "diverged".
        """
        history = self.history
        while history.status == "completed" and len(history.epochs) < self.epochs:
            record = self._epoch(len(history.epochs) + 1, batches, evaluate)
            if history.add(record):
                self._between(record)
            if tell is not None:
                tell(record)
        if self._captured is not None:
            self._captured[0].release()
        return history

    def step(self, images: Tensor, labels: Tensor, rate: float) -> None:
        """Take one step at learning rate η = `rate`; nothing waits for the device."""
        if self._rounds and self.x.narrow is None:
            self.x.round_to(torch.bfloat16)
        self.minus_rate.fill_(-rate)
        if self._captured is None:
            self._step(images, labels)
        else:
            self._captured[0](self._step, images, labels)
        self.steps += 1
        moving = self.parameters, self.velocities, self.x.gradient
        with torch.no_grad():
            if self.method.between_steps(self.steps, *moving):
                self._push()

    def weights(self) -> Weights:
        """Return a copy of what has been learned."""
        return Weights(
            self.x.values.clone(),
            tuple(theta.clone() for theta in self.parameters),
            self.rest.values.clone(),
            tuple(buffer.clone() for buffer in self.buffers),
            self.total,
        )

    def state(self) -> dict[str, Array]:
        """Return all that the next epoch depends on, as arrays on the host.

        There is no random state among it: whatever is drawn is keyed by seed and epoch.
        """
        state = on_host(self._tensors())
        state["epochs"] = tabled(self.history.epochs, Epoch)
        state["total"] = np.array(self.total)
        return state

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a `state` of a trainer that was made with the same arguments.

        Raises
        ------
        InputError
            If an entry is missing or has another shape or dtype; nothing is changed then.
        """
        tensors = self._tensors()
        for name, tensor in tensors.items():
            entry(state, name, tensor.detach().cpu().numpy())
        epochs, total = table(state, "epochs", Epoch), entry(state, "total", np.array(0.0))
        if len(epochs) > self.epochs:
            raise InputError(
                f"the checkpoint must hold the records of at most {self.epochs} epochs, but it "
                f"holds {len(epochs)}."
            )
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(torch.from_numpy(np.array(state[name])))
        if self.ledger is not None:
            self.ledger.resume()
        for number, *row in epochs:
            record = Epoch(int(number), *row)
            self.history.epochs.append(record)
            self._between(record)
        self.total = float(total)
        self.steps = len(self.history.epochs) * (len(self.rates) // self.epochs)

    def _tensors(self) -> dict[str, Tensor]:
        return {
            "rest": self.rest.values,
            "rest_velocity": self.rest_velocity,
            **{f"parameter_{i}": theta for i, theta in enumerate(self.parameters)},
            **{f"velocity_{i}": velocity for i, velocity in enumerate(self.velocities)},
            **{f"buffer_{i}": buffer for i, buffer in enumerate(self.buffers)},
            **({} if self.ledger is None else self.ledger.tensors()),
        }

    def _between(self, record: Epoch) -> None:
        self.method.after_epoch(record.number - self.passed, record.accuracy, record.norm)
        self._push()

    def fold(self) -> nn.Module:
        """Put the final weights into the model and return it."""
        with torch.no_grad():
            self.x.widen()
            self._set(self.method.fold(*self.parameters))
        return self.model

    def _epoch(self, epoch: int, batches: Any, evaluate: Callable[[], Tensor] | None) -> Epoch:
        started, rate_sum = time.perf_counter(), 0.0
        self._network.train()
        self.sums.zero_()
        for images, labels in batches.epoch(self.passed + epoch):
            rate = float(self.rates[self.steps])
            self.step(images, labels, rate)
            rate_sum += rate
        if self.ledger is not None:
            self.ledger.restart()
        alpha = self.method.alpha or 0.0
        self.total += alpha * rate_sum / (1.0 - self.momentum)
        norm = torch.linalg.vector_norm(self.x.values, 1)
        self.ranks.average_buffers(self.model)
        readings = [*self.ranks.sum(self.sums), norm.double()]
        if evaluate is not None:
            readings.append(evaluate().double())
        # the one synchronisation of the epoch
        loss, hits, seen, norm_read, *tested = torch.stack(readings).tolist()
        return Epoch(
            number=self.passed + epoch,
            loss=loss / seen,
            accuracy=hits / seen,
            test_accuracy=tested[0] if tested else math.nan,
            norm=norm_read,
            alpha=alpha,
            total=self.total,
            images_per_second=seen / (time.perf_counter() - started),
        )

    def _step(self, images: Tensor, labels: Tensor) -> None:
        self.x.zero_gradient()
        self.rest.zero_gradient()
        with self._autocast():
            logits = self._network(images)
            loss = functional.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        loss.backward()
        with torch.no_grad():
            self.x.read()
            self._update()
            self._push()
            hits = (logits.argmax(1) == labels).sum()
            images_seen = torch.full_like(self.sums[0], len(labels))
            self.sums.add_(torch.stack([loss.double() * len(labels), hits.double(), images_seen]))

    def _update(self) -> None:
        if self.mask is not None:
            self.x.gradient.mul_(self.mask)
        gradients = self.method.gradients(self.parameters, self.x.gradient)
        self.method.penalize(self.parameters, gradients)
        if self.ledger is not None:
            pairs = list(zip(*map(self._by_layer, gradients), strict=True))
            self.ledger.before_step(-self.minus_rate, 0.5 * self.decays[0], pairs)
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
        self.method.after_step(self.parameters, self.x.gradient, self.minus_rate)

    def _by_layer(self, vector: Tensor) -> tuple[Tensor, ...]:
        return vector.split(self.x.sizes)

    def _push(self) -> None:
        self._set(self.method.weight(*self.parameters))

    def _set(self, x: Tensor) -> None:
        if self.mask is not None:
            torch.mul(x, self.mask, out=self.x.values)
        elif x is not self.x.values:
            self.x.values.copy_(x)
        self.x.write()

    def _autocast(self) -> torch.autocast:
        # the cache of cast weights would outlive a captured step
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.half, cache_enabled=False
        )

    @torch.no_grad()
    def refresh(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Set batch norm's running statistics to their means over `batches` at these weights.

        Those of training average over some ten steps and lag behind weights that shrink or were
        cut since. Each rank gives its own `batches`, all of them equally many.
        """
        norms = [module for module in self.model.modules() if isinstance(module, _BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        self.model.train()
        with self._autocast():
            for count, (images, labels) in enumerate(batches, 1):
                for norm in norms:
                    norm.momentum = 1.0 / count  # the plain mean over the batches so far
                if self._captured is None:
                    self.model(images)
                else:  # its kernels may be searched for
                    self._captured[1].eager(lambda batch, _: self.model(batch), images, labels)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.ranks.average_buffers(self.model)

    @torch.no_grad()
    def accuracy(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the share of right answers in evaluation mode, a 0-d tensor on the device.

        Each rank gives its own `batches`; the share is that over all of them.
        """
        self.model.eval()
        self.counts.zero_()
        for images, labels in batches:
            if self._captured is None:
                self._count(images, labels)
            else:
                self._captured[1](self._count, images, labels)
        hits, seen = self.ranks.sum(self.counts)
        return hits / seen

    def _count(self, images: Tensor, labels: Tensor) -> None:
        with self._autocast():
            hits = (self.model(images).argmax(1) == labels).sum()
        self.counts[0] += hits
        self.counts[1] += len(labels)


def _copy(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> None:
    with torch.no_grad():
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)
