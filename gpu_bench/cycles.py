"""Training in cycles: each has a mask, a fresh optimizer and a full learning-rate schedule.

Every protocol is a `CyclePlan`. Between two of its cycles a new mask may be made, and the
weights may go back to where they once were. After an epoch, every ten seconds, all of it goes to
disk; the same plan goes on from there and, on the CPU, ends with the same bits as if it had not
stopped.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gpu_bench import masks
from gpu_bench.checkpoints import Checkpoints, entry, table, tabled
from gpu_bench.experiment import Experiment
from gpu_bench.methods import Method
from gpu_bench.train import Epoch, Trainer, Weights
from mirrorflow.checks import Array, InputError

__all__ = ["CURVES", "Cycle", "CyclePlan", "Outcome", "predicted_scale", "run"]

CURVES = ("loss", "accuracy", "test_accuracy", "norm", "alpha", "total", "images_per_second")
Masks = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class CyclePlan:
    """Plan of the cycles: how many, and what happens between them.

    Attributes
    ----------
    cycles : int
    mask : callable
        mask(cycle, model, kept) -> masks of cycle 0, 1, …; None keeps those there are. The model
        holds the weights at the end of the cycle before, or the initial ones; `kept` are the
        masks of the cycle before, None at the start.
    rewind : int, optional
        Epoch of the first cycle to whose end every later cycle's weights, biases and
        normalisation go back; 0 is the start. None: they stay as they are.
    carry : {"parameters", "weights"}
        What stays, where nothing is rewound: the method's parameters θ as they are, or x alone,
        from which the method starts anew.
    last_sparsity : float
        Of the last mask.
    """

    cycles: int
    mask: Callable[[int, nn.Module, Masks | None], Masks | None]
    rewind: int | None = None
    carry: Literal["parameters", "weights"] = "parameters"
    last_sparsity: float = 0.0


@dataclass(frozen=True, slots=True)
class Cycle:
    """Measurements of a finished cycle.

    Attributes
    ----------
    accuracy, fresh_accuracy
        Of the folded network, on the images held out; and with batch norm's statistics taken at
        its weights (`Experiment.read_fresh`): where the first is far below, they lagged behind.
    train_loss, train_accuracy
        Over its last epoch.
    norm_initial, norm_final
        ‖x‖₁ at its start and its end.
    alpha_first, alpha_last
        α of its first and its last epoch; NaN without such a penalty.
    total
        A at its end; it goes on from the cycle before where θ was carried over.
    flops
        Multiply-adds of its training.
    """

    accuracy: float
    fresh_accuracy: float
    train_loss: float
    train_accuracy: float
    norm_initial: float
    norm_final: float
    alpha_first: float
    alpha_last: float
    total: float
    flops: float


@dataclass(slots=True)
class Outcome:
    """Result of a run in cycles, as far as it went.

    Attributes
    ----------
    status, message : str
        "completed" or "diverged".
    epochs : list of Epoch
        Of all cycles.
    cycles : list of Cycle
        The finished ones.
    masks : list of bool Tensor, shape (N,)
        Of every cycle that was begun.
    candidates : list of bool Tensor, shape (N,)
        At the end of every cycle, the weights that pruning to the last sparsity would keep.
    trainer : Trainer
        Of the last cycle; its model is folded.
    """

    trainer: Trainer
    status: str = "completed"
    message: str = ""
    epochs: list[Epoch] = field(default_factory=list)
    cycles: list[Cycle] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)
    candidates: list[Tensor] = field(default_factory=list)

    def curves(self) -> dict[str, Array]:
        """Return one array (epochs,) for each of CURVES."""
        return {name: np.array([getattr(e, name) for e in self.epochs]) for name in CURVES}


def run(
    experiment: Experiment,
    plan: CyclePlan,
    checkpoints: Checkpoints | None = None,
    tell: Callable[[Epoch], None] | None = None,
) -> Outcome:
    """Train by the plan, from where the checkpoints say it stopped."""
    return _Run(experiment, plan, checkpoints, tell).finish()


def predicted_scale(method: Method, total: float) -> float | None:
    """Return a = ½βe^{−4A}: the potential is L1 where |x| ≫ a and quadratic below it.

    None for a method without m and w.
    """
    if method.imbalance is None or method.alpha is None:
        return None
    return 0.5 * method.imbalance * math.exp(-4.0 * total)


@dataclass(slots=True)
class _Run:
    """The state between two epochs, and how it goes to and comes from arrays."""

    experiment: Experiment
    plan: CyclePlan
    checkpoints: Checkpoints | None
    tell: Callable[[Epoch], None] | None
    epochs: list[Epoch] = field(default_factory=list)  # of the finished cycles
    cycles: list[Cycle] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)
    candidates: list[Tensor] = field(default_factory=list)
    rewound: Weights | None = None
    trainer: Trainer | None = None

    def finish(self) -> Outcome:
        try:
            return self._trained()
        finally:
            if self.checkpoints is not None:
                self.checkpoints.finish()

    def _trained(self) -> Outcome:
        trainer = self._resumed() or self._begin(None)
        while True:
            history = trainer.train(self.experiment.batches, self._read, self._after_epoch)
            trainer.fold()
            if history.status == "completed":
                self._close(trainer)
            else:
                self.epochs += history.epochs
            if history.status != "completed" or len(self.cycles) == self.plan.cycles:
                break
            trainer = self._begin(trainer)
        lists = self.epochs, self.cycles, self.masks, self.candidates
        return Outcome(trainer, history.status, history.message, *lists)

    def _read(self) -> Tensor:
        assert self.trainer is not None
        return self.experiment.read(self.trainer)

    def _begin(self, before: Trainer | None) -> Trainer:
        """Prune, rewind if the plan says so, and make the next cycle's trainer."""
        experiment, cycle = self.experiment, len(self.cycles)
        start = None
        if before is not None:
            if self.rewound is not None:
                start = self.rewound
            elif self.plan.carry == "parameters":
                start = before.weights()
        kept = experiment.layout.views(self.masks[-1]) if self.masks else None
        mask = self.plan.mask(cycle, experiment.model, kept)
        if mask is not None:
            # rank 0's: SNIP's comes from each rank's own part of the images
            flat = experiment.layout.flatten(mask).to(experiment.device, torch.uint8)
            self.masks.append(experiment.ranks.broadcast(flat).bool())
        elif self.masks:
            self.masks.append(self.masks[-1])
        else:
            ones = torch.ones(sum(experiment.layout.sizes), dtype=torch.bool)
            self.masks.append(ones.to(experiment.device))
        self.trainer = self._trainer(start)
        if cycle == 0 and self.plan.rewind == 0:
            self.rewound = self.trainer.weights()
        return self.trainer

    def _trainer(self, start: Weights | None) -> Trainer:
        mask = self.masks[-1]
        # a mask of ones is no mask: one pass over the weights less per step
        chosen = None if bool(mask.all()) else mask
        return self.experiment.trainer(chosen, start, cycle=len(self.cycles))

    def _after_epoch(self, epoch: Epoch) -> None:
        assert self.trainer is not None
        if epoch.number == self.plan.rewind:
            self.rewound = self.trainer.weights()
        going_on = self.trainer.history.status == "completed" and self.experiment.ranks.first
        if self.checkpoints is not None and going_on and self.checkpoints.due:
            self.checkpoints.save(epoch.number, self._state())
        if self.tell is not None:
            self.tell(epoch)

    def _close(self, trainer: Trainer) -> None:
        history = trainer.history.epochs
        self.epochs += history
        alpha = trainer.method.alpha
        penalized = alpha is not None
        weights = {k: v.detach() for k, v in masks.prunable(trainer.model).items()}
        candidate = masks.magnitude(weights, self.plan.last_sparsity)
        self.candidates.append(self.experiment.layout.flatten(candidate))
        per_epoch = self.experiment.training_flops(self.masks[-1])
        self.cycles.append(
            Cycle(
                accuracy=float(self._read()),
                fresh_accuracy=float(self.experiment.read_fresh(trainer)),
                train_loss=history[-1].loss,
                train_accuracy=history[-1].accuracy,
                norm_initial=trainer.initial_norm,
                norm_final=float(torch.linalg.vector_norm(trainer.x.values, 1)),
                alpha_first=history[0].alpha if penalized else float("nan"),
                alpha_last=history[-1].alpha if penalized else float("nan"),
                total=trainer.total,
                flops=per_epoch * len(history),
            )
        )

    def _state(self) -> dict[str, Array]:
        assert self.trainer is not None
        state = {f"trainer_{name}": array for name, array in self.trainer.state().items()}
        state["origin"] = self.trainer.origin.cpu().numpy()
        state["cycles"] = tabled(self.cycles, Cycle)
        state["passed"] = tabled(self.epochs, Epoch)
        state["masks"] = _packed(self.masks, self.masks[0].numel())
        state["candidates"] = _packed(self.candidates, self.masks[0].numel())
        if self.rewound is not None:
            again = self.rewound
            tensors = (again.x, again.rest, *again.parameters, *again.buffers)
            for i, tensor in enumerate(tensors):
                state[f"rewind_{i}"] = tensor.cpu().numpy()
            state["rewind_total"] = np.array(again.total)
        return state

    def _resumed(self) -> Trainer | None:
        """Go on from the newest checkpoint that can be used; say why another can't."""
        if self.checkpoints is None:
            return None
        initial = {k: v.clone() for k, v in self.experiment.model.state_dict().items()}
        source, trainer = "none", None
        for path, arrays in self.checkpoints.read():
            try:
                if isinstance(arrays, InputError):
                    raise arrays
                trainer, source = self._restored(arrays), path.name
                break
            except InputError as error:
                print(f"A checkpoint is passed over: {error}", file=sys.stderr)
                self._reset(initial)
        self.experiment.ranks.agree(f"go on from checkpoint: {source}")
        return trainer

    def _reset(self, state: dict[str, Tensor]) -> None:
        """Be as if nothing had been done, with these weights."""
        self.cycles, self.epochs, self.masks, self.candidates = [], [], [], []
        self.rewound = self.trainer = None
        # not strict: torch would look for batch norm's counters, which are off
        self.experiment.model.load_state_dict(state, strict=False)

    def _restored(self, arrays: Mapping[str, Array]) -> Trainer:
        device, weights = self.experiment.device, masks.prunable(self.experiment.model)
        start = self.experiment.layout.flatten(weights)
        cycles, passed = table(arrays, "cycles", Cycle), table(arrays, "passed", Epoch)
        kept = _unpacked(arrays, "masks", len(start), len(cycles) + 1)
        candidates = _unpacked(arrays, "candidates", len(start), len(cycles))
        if len(cycles) >= self.plan.cycles:
            raise InputError(
                f"the checkpoint must be of at most {self.plan.cycles} cycles, but {len(cycles)} "
                f"are over in it."
            )
        origin = _tensor(arrays, "origin", start)
        with torch.no_grad():
            for name, view in self.experiment.layout.views(origin).items():
                weights[name].copy_(view)
        self.cycles = [Cycle(*row) for row in cycles]
        self.epochs = [Epoch(int(number), *row) for number, *row in passed]
        self.masks = [mask.to(device) for mask in kept]
        self.candidates = [mask.to(device) for mask in candidates]
        trainer = self._trainer(None)
        own = len("trainer_")
        trainer.restore({k[own:]: v for k, v in arrays.items() if k.startswith("trainer_")})
        if "rewind_total" in arrays:
            self.rewound = self._rewound(arrays, trainer.weights())
        self.trainer = trainer
        return trainer

    @staticmethod
    def _rewound(arrays: Mapping[str, Array], like: Weights) -> Weights:
        tensors = (like.x, like.rest, *like.parameters, *like.buffers)
        x, rest, *others = (_tensor(arrays, f"rewind_{i}", t) for i, t in enumerate(tensors))
        count = len(like.parameters)
        parameters, buffers = tuple(others[:count]), tuple(others[count:])
        return Weights(x, parameters, rest, buffers, float(arrays["rewind_total"]))


def _tensor(arrays: Mapping[str, Array], name: str, like: Tensor) -> Tensor:
    return torch.from_numpy(np.array(entry(arrays, name, like.cpu().numpy()))).to(like.device)


def _packed(vectors: list[Tensor], size: int) -> Any:
    """Return masks (size,) as one array, eight weights to a byte."""
    masks = [vector.cpu().numpy() for vector in vectors]
    return np.packbits(np.array(masks, dtype=bool).reshape(-1, size), axis=1)


def _unpacked(arrays: Mapping[str, Array], name: str, size: int, count: int) -> list[Tensor]:
    packed: Any = entry(arrays, name, np.empty((count, -(-size // 8)), dtype=np.uint8))
    return list(torch.from_numpy(np.unpackbits(packed, axis=1, count=size).astype(bool)))
