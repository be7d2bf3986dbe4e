"""One step of many runs at once: the gradient they share, and each regulariser's own part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.descent.products import BLOCK, LARGE, products
from mirrorflow.problems import Regression

L1_STEPS = ("proximal", "subgradient")
LARGEST = 1e50  # beyond it a parameter has diverged; up to it x and the loss are finite numbers


@dataclass(frozen=True, slots=True)
class StepMatrices:
    """What a step multiplies x with: ∇f = (x @ first − offset) @ second, runs as rows."""

    first: Array  # Zᵀ, (d, n); or ZᵀZ/n, (d, d), which needs no second
    offset: Array  # y, or Zᵀy/n
    second: Array | None  # Z, to be weighted by the minibatch, or Z/n, (n, d)

    @classmethod
    def of(cls, problem: Regression, full: bool) -> StepMatrices:
        first, second = problem.Z.T.copy(), problem.Z / (problem.n if full else 1)
        # one product with ZᵀZ is cheaper than two with Z only where d is below 2n; else the
        # residual comes first, which also rounds less where it is small
        if full and problem.d < 2 * problem.n:
            return cls(first @ second, problem.y @ second, None)
        return cls(first, problem.y, second)


class Batch(ABC):
    """Runs with one regulariser, the rows of `state` (1 or 2, B, d), and their buffers.

    `products` takes a number of rows at once; the point is filled up to it with zeros, and what
    a run computes is the same to the last bit whatever runs beside it.
    """

    def __init__(self, matrices: StepMatrices, state: Array, step_sizes: Array, l1: str) -> None:
        self.matrices, self.state, self.step_sizes, self.l1 = matrices, state, step_sizes, l1
        self.count, d = state.shape[1:]
        spare_rows = 0 if matrices.first.size > LARGE else -self.count % BLOCK
        self.point = np.zeros((self.count + spare_rows, d))
        self.x = self.point[: self.count]
        self.spare = np.empty_like(state)

    @classmethod
    def start(cls, matrices: StepMatrices, m: Array, w: Array, step_sizes: Array, l1: str) -> Batch:
        """Runs from m, w, both (B, d), with step sizes (B,)."""
        return cls(matrices, cls.encode(m, w), step_sizes, l1)

    def take(self, rows: NDArray[np.intp], state: Array | None = None) -> Batch:
        """A batch of only these runs, of another state where given."""
        state = self.state if state is None else state
        return type(self)(self.matrices, state[:, rows], self.step_sizes[rows], self.l1)

    def read(self, state: Array | None = None) -> tuple[Array, Array]:
        """m and w, both (B, d), of another state where given; may share its memory."""
        return self.decode(self.state if state is None else state)

    def run(self, strengths: Array, weights: Array | None) -> None:
        """One step for each row of `strengths` (steps, B), ηα; weights (steps, B, n) or None."""
        each = [None] * len(strengths) if weights is None else weights
        for strength, weight in zip(strengths[:, :, None], each, strict=True):
            self.step(strength, weight)

    def inside(self) -> NDArray[np.bool_]:
        """Which runs are still within bounds, (B,); NaN is not."""
        return np.abs(self.state).max(axis=(0, 2)) <= LARGEST

    def descent(self, weight: Array | None) -> Array:
        """−η∇f at `self.x`, (B, d); weight (B, n): 1/batch size in the minibatch, else 0."""
        product = products(self.point, self.matrices.first)
        mine = product[: self.count]
        mine -= self.matrices.offset
        mine *= -self.step_sizes[:, None]
        if self.matrices.second is None:
            return mine
        if weight is not None:
            mine *= weight
        return products(product, self.matrices.second)[: self.count]

    @staticmethod
    def shrink(parameter: Array, strength: Array, spare: Array) -> None:
        """The proximal step of ηα‖·‖₁: what is cut off is the parameter clipped to ±ηα."""
        np.clip(parameter, -strength, strength, out=spare)
        np.subtract(parameter, spare, out=parameter)

    @staticmethod
    @abstractmethod
    def encode(m: Array, w: Array) -> Array:
        """The state of m and w, both (B, d)."""

    @staticmethod
    @abstractmethod
    def decode(state: Array) -> tuple[Array, Array]:
        """m and w, both (B, d), of a state."""

    @abstractmethod
    def step(self, strength: Array, weight: Array | None) -> None:
        """One step; strength (B, 1), weight (B, n) or None as in `descent`."""


class FactorsBatch(Batch):
    """α(‖m‖² + ‖w‖²); the state is ũ = (m + w)/2 and ṽ = (m − w)/2."""

    @staticmethod
    def encode(m: Array, w: Array) -> Array:
        return np.stack([0.5 * m + 0.5 * w, 0.5 * m - 0.5 * w])

    @staticmethod
    def decode(state: Array) -> tuple[Array, Array]:
        return state[0] + state[1], state[0] - state[1]

    def step(self, strength: Array, weight: Array | None) -> None:
        state, spare = self.state, self.spare
        np.multiply(state, state, out=spare)
        np.subtract(spare[0], spare[1], out=self.x)
        change = self.descent(weight)
        decay = 1.0 - 2.0 * strength
        np.add(decay, change, out=spare[0])
        np.subtract(decay, change, out=spare[1])
        np.multiply(state, spare, out=state)


class MaskBatch(Batch):
    """α‖m‖₁; the state is m and w."""

    @staticmethod
    def encode(m: Array, w: Array) -> Array:
        return np.stack([m, w])

    @staticmethod
    def decode(state: Array) -> tuple[Array, Array]:
        return state[0], state[1]

    def step(self, strength: Array, weight: Array | None) -> None:
        state, spare = self.state, self.spare
        m, w = state
        np.multiply(m, w, out=self.x)
        change = self.descent(weight)
        np.multiply(w, change, out=spare[0])
        np.multiply(m, change, out=spare[1])
        if self.l1 == "subgradient":
            spare[0] -= strength * np.sign(m)  # of the old m
            state += spare
        else:
            state += spare
            self.shrink(m, strength, spare[0])


class DirectBatch(Batch):
    """α‖x‖₁; the state is x."""

    @staticmethod
    def encode(m: Array, w: Array) -> Array:
        return (m * w)[None]

    @staticmethod
    def decode(state: Array) -> tuple[Array, Array]:
        return state[0], np.ones_like(state[0])

    def step(self, strength: Array, weight: Array | None) -> None:
        x = self.state[0]
        self.x[:] = x
        change = self.descent(weight)
        if self.l1 == "subgradient":
            change -= strength * np.sign(x)
        x += change
        if self.l1 == "proximal":
            self.shrink(x, strength, self.spare[0])


BATCHES: dict[str, type[Batch]] = {
    "factors": FactorsBatch,
    "mask_l1": MaskBatch,
    "l1_on_x": DirectBatch,
}
REGULARIZERS = tuple(BATCHES)
