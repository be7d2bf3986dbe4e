"""One step of many runs at once: the gradient they share, and each regulariser's own part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.descent.backends import Backend
from mirrorflow.problems import Regression

L1_STEPS = ("proximal", "subgradient")
LARGEST = 1e50  # beyond it a parameter has diverged; up to it x and the loss are finite numbers


@dataclass(frozen=True, slots=True)
class Plan:
    """The matrices of a step; a trailing column, against a 1 below x, carries y."""

    backend: Backend
    forward: Any  # [Z, −y], (n, d + 1), or None where `gram` is used
    back: Any  # −ηZᵀ (to be weighted by the minibatch), or −ηZᵀ/n, (d, n)
    gram: Any  # −η[ZᵀZ, −Zᵀy]/n, (d, d + 1), or None

    @classmethod
    def of(cls, backend: Backend, problem: Regression, eta: float, full: bool) -> Plan:
        forward = np.column_stack([problem.Z, -problem.y])
        back = -eta * problem.Z.T / (problem.n if full else 1)
        # one product with ZᵀZ is cheaper than two with Z only where d is below 2n; else the
        # residual comes first, which also rounds less where it is small
        if full and problem.d < 2 * problem.n:
            return cls(backend, None, None, backend.send(back @ forward))
        return cls(backend, backend.send(forward), backend.send(back), None)


class Batch(ABC):
    """Runs with one regulariser, the columns of `state` (1 or 2, d, B), and their buffers."""

    def __init__(self, plan: Plan, state: Any, l1: str) -> None:
        self.plan, self.state, self.l1 = plan, state, l1
        self.xp = plan.backend.xp
        _, d, count = state.shape
        self.point = plan.backend.empty(d + 1, count)
        self.point[d] = 1.0
        self.x = self.point[:d]
        self.slope = plan.backend.empty(d, count)
        self.spare = self.xp.empty_like(state)
        if plan.forward is not None:
            self.residual = plan.backend.empty(plan.forward.shape[0], count)

    @classmethod
    def start(cls, plan: Plan, m: Array, w: Array, l1: str) -> Batch:
        """Runs from m, w, both (d, B)."""
        return cls(plan, plan.backend.send(cls.encode(m, w)), l1)

    def take(self, columns: NDArray[np.intp], state: Any = None) -> Batch:
        """A batch of only these columns, of another state where given."""
        state = self.state if state is None else state
        return type(self)(self.plan, self.plan.backend.columns(state, columns), self.l1)

    def put(self, columns: NDArray[np.intp], other: Batch) -> None:
        """Set these columns to those of the other batch."""
        for i, column in enumerate(columns.tolist()):
            self.state[:, :, column] = other.state[:, :, i]

    def copy_state(self) -> Any:
        return self.plan.backend.copy(self.state)

    def read(self, state: Any = None) -> tuple[Array, Array]:
        """m and w, both (d, B), of another state where given; may share its memory."""
        return self.decode(self.plan.backend.fetch(self.state if state is None else state))

    def run(self, strengths: Array, weights: Array | None) -> None:
        """One step for each row of `strengths` (steps, B), ηα; weights (steps, n, B) or None."""
        send = self.plan.backend.send
        each = [None] * len(strengths) if weights is None else send(weights)
        for strength, weight in zip(send(strengths), each, strict=True):
            self.step(strength, weight)

    def inside(self) -> NDArray[np.bool_]:
        """Which runs are still within bounds, (B,); NaN is not."""
        sizes = self.xp.amax(self.xp.abs(self.state), (0, 1))
        return np.asarray(self.plan.backend.fetch(sizes)) <= LARGEST

    def descent(self, weight: Any) -> Any:
        """−η∇f at `self.x`, (d, B); weight (n, B): 1/batch size in the minibatch, else 0."""
        xp, plan = self.xp, self.plan
        if plan.gram is not None:
            return xp.matmul(plan.gram, self.point, out=self.slope)
        xp.matmul(plan.forward, self.point, out=self.residual)
        if weight is not None:
            xp.multiply(self.residual, weight, out=self.residual)
        return xp.matmul(plan.back, self.residual, out=self.slope)

    def shrink(self, parameter: Any, strength: Any, spare: Any) -> None:
        """The proximal step of ηα‖·‖₁: what is cut off is the parameter clipped to ±ηα."""
        self.xp.minimum(parameter, strength, out=spare)
        self.xp.maximum(spare, -strength, out=spare)
        self.xp.subtract(parameter, spare, out=parameter)

    @staticmethod
    @abstractmethod
    def encode(m: Array, w: Array) -> Array:
        """The state of m and w, both (d, B)."""

    @staticmethod
    @abstractmethod
    def decode(state: Array) -> tuple[Array, Array]:
        """m and w, both (d, B), of a state."""

    @abstractmethod
    def step(self, strength: Any, weight: Any) -> None:
        """One step; strength (B,), weight (n, B) or None as in `descent`."""


class FactorsBatch(Batch):
    """α(‖m‖² + ‖w‖²); the state is ũ = (m + w)/2 and ṽ = (m − w)/2."""

    @staticmethod
    def encode(m: Array, w: Array) -> Array:
        return np.stack([0.5 * m + 0.5 * w, 0.5 * m - 0.5 * w])

    @staticmethod
    def decode(state: Array) -> tuple[Array, Array]:
        return state[0] + state[1], state[0] - state[1]

    def step(self, strength: Any, weight: Any) -> None:
        xp, state, spare = self.xp, self.state, self.spare
        xp.multiply(state, state, out=spare)
        xp.subtract(spare[0], spare[1], out=self.x)
        slope = self.descent(weight)
        decay = 1.0 - 2.0 * strength
        xp.add(slope, decay, out=spare[0])
        xp.subtract(decay, slope, out=spare[1])
        xp.multiply(state, spare, out=state)


class MaskBatch(Batch):
    """α‖m‖₁; the state is m and w."""

    @staticmethod
    def encode(m: Array, w: Array) -> Array:
        return np.stack([m, w])

    @staticmethod
    def decode(state: Array) -> tuple[Array, Array]:
        return state[0], state[1]

    def step(self, strength: Any, weight: Any) -> None:
        xp, state, spare = self.xp, self.state, self.spare
        m, w = state[0], state[1]
        xp.multiply(m, w, out=self.x)
        slope = self.descent(weight)
        xp.multiply(w, slope, out=spare[0])
        xp.multiply(m, slope, out=spare[1])
        if self.l1 == "subgradient":
            # x is no longer needed: its buffer holds ηα sign(m) of the old m
            xp.sign(m, out=self.x)
            xp.multiply(self.x, strength, out=self.x)
            xp.add(state, spare, out=state)
            xp.subtract(m, self.x, out=m)
        else:
            xp.add(state, spare, out=state)
            self.shrink(m, strength, spare[0])


class DirectBatch(Batch):
    """α‖x‖₁; the state is x."""

    @staticmethod
    def encode(m: Array, w: Array) -> Array:
        return (m * w)[None]

    @staticmethod
    def decode(state: Array) -> tuple[Array, Array]:
        return state[0], np.ones_like(state[0])

    def step(self, strength: Any, weight: Any) -> None:
        xp, x, spare = self.xp, self.state[0], self.spare[0]
        self.x[:] = x
        slope = self.descent(weight)
        if self.l1 == "subgradient":
            xp.sign(x, out=spare)
            xp.multiply(spare, strength, out=spare)
            xp.add(x, slope, out=x)
            xp.subtract(x, spare, out=x)
        else:
            xp.add(x, slope, out=x)
            self.shrink(x, strength, spare)


BATCHES: dict[str, type[Batch]] = {
    "factors": FactorsBatch,
    "mask_l1": MaskBatch,
    "l1_on_x": DirectBatch,
}
REGULARIZERS = tuple(BATCHES)
