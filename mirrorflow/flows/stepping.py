r"""One step of many runs of the dual system: explicit Dormand–Prince 8(5,3) or Rodas5P.

Each run has its own time and step size; nothing is summed across runs. An error is the largest
error of an exponent of p or q, in units of the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import DOP853

from mirrorflow.checks import Array
from mirrorflow.flows.dual import Clock, Dual, Masses
from mirrorflow.flows.rosenbrock import A_ROWS, C_ROWS, DERIVATIVE, GAMMA, NODES

__all__ = ["Explicit", "Implicit", "Method", "Points"]


@dataclass(slots=True)
class Points:
    """Where L runs stand.

    Attributes
    ----------
    t : (L,) array
    eta, slope : (L, r) arrays, η and η̇
    masses : Masses, at A = 0
    plan : (L,) array, which schedule
    """

    t: Array
    eta: Array
    slope: Array
    masses: Masses
    plan: NDArray[np.intp]


class Method(Protocol):
    """A one-step method of the given order with its cost."""

    order: int  # of the step size in the error estimate
    growth: float  # most from one step to the next
    derivatives: int
    factorizations: int

    def step(self, points: Points, h: Array) -> tuple[Array, Array, Array]:
        """η and η̇ after steps `h` (L,), and the errors (L,), nan where it went too far."""


class _OnDual:
    def __init__(self, dual: Dual, clock: Clock, tolerance: float) -> None:
        self.dual, self.clock, self.tolerance = dual, clock, tolerance

    def totals(self, points: Points, h: Array, nodes: Array) -> Array:
        """A at t + c_i h, (L, stages)."""
        return self.clock.totals(points.plan, points.t[:, None] + h[:, None] * nodes)

    def size(self, error: Array) -> Array:
        return np.abs(self.dual.bend(error)).max(1) / self.tolerance


class Explicit(_OnDual):
    """DOP853 of Hairer, Nørsett and Wanner, "Solving Ordinary Differential Equations I", II.5."""

    order, growth, derivatives, factorizations = 8, 10.0, 12, 0
    rows = tuple(DOP853.A[i, :i].copy() for i in range(12))
    nodes = DOP853.C[:12].copy()

    def step(self, points: Points, h: Array) -> tuple[Array, Array, Array]:
        dual, masses, shape = self.dual, points.masses, points.eta.shape
        totals, length = self.totals(points, h, self.nodes), h[:, None]
        k = np.empty((13, *shape))
        flat = k.reshape(13, -1)
        k[0] = points.slope
        for i in range(1, 12):
            increment = (self.rows[i] @ flat[:i]).reshape(shape)
            increment *= length
            increment += points.eta
            k[i] = dual.derivative(increment, masses.after(totals[:, i]))
        new = points.eta + length * (DOP853.B @ flat[:12]).reshape(shape)
        k[12] = dual.derivative(new, masses.after(totals[:, 11]))  # c₁₁ = 1
        fifth = self.size(length * (DOP853.E5 @ flat).reshape(shape))
        third = self.size(length * (DOP853.E3 @ flat).reshape(shape))
        scale = np.hypot(fifth, 0.1 * third)
        return new, k[12], fifth * np.divide(fifth, scale, out=np.ones_like(scale), where=scale > 0)


class Implicit(_OnDual):
    """Rodas5P (see `rosenbrock`): one Hessian and its inverse per step."""

    order, growth, derivatives, factorizations = 5, 6.0, 8, 1
    nodes = np.array([*NODES, 1.0])

    def step(self, points: Points, h: Array) -> tuple[Array, Array, Array]:
        dual, masses, (L, r) = self.dual, points.masses, points.eta.shape
        totals, length = self.totals(points, h, self.nodes), h[:, None]
        _, H = dual.linearised(points.eta, masses.after(totals[:, 0]))
        H[:, range(r), range(r)] += 1.0 / (GAMMA * length)
        inverse = np.linalg.inv(H)
        # only A depends on time: ∂η̇/∂t = 4α σ ⊙ Vx
        alpha = self.clock.alphas(points.plan, points.t)[:, None]
        drift = 4.0 * alpha * (dual.target - points.slope)
        k = np.empty((8, L, r))
        flat, point = k.reshape(8, -1), points.eta
        for i in range(8):
            if i == 0:
                right = points.slope
            else:
                if i < 6:
                    point = points.eta + (A_ROWS[i] @ flat[:i]).reshape(L, r)
                else:
                    point = point + k[i - 1]
                right = dual.derivative(point, masses.after(totals[:, i]))
                right += (C_ROWS[i] @ flat[:i]).reshape(L, r) / length
            if i < 5:
                right = right + DERIVATIVE[i] * length * drift
            k[i] = np.matmul(inverse, right[:, :, None])[:, :, 0]
        new = point + k[7]
        return new, dual.derivative(new, masses.after(totals[:, 8])), self.size(k[7])
