"""One step of many runs: explicit Dormand–Prince 8(5,3) or Rodas5P.

Each run has its own time and step size; nothing is summed across runs.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
from scipy.integrate import DOP853

from mirrorflow.checks import Array
from mirrorflow.flows import rosenbrock
from mirrorflow.flows.pace import Method, Paced
from mirrorflow.rowwise import Stages

__all__ = ["Explicit", "Implicit", "Start", "Stepper", "System"]

Runs = TypeVar("Runs", bound=Paced)
Seen = TypeVar("Seen", bound=Paced, contravariant=True)


class Start(rosenbrock.Start, Protocol):
    """The system seen from where the runs stand, and the size of an error there."""

    def size(self, error: Array) -> Array:
        """Of errors (L, N), in units of the tolerance: a step is taken where it is ≤ 1."""


class System(Protocol[Seen]):
    """ẏ = f(t, y) for many runs at once."""

    def start(self, runs: Seen, h: Array, nodes: Array) -> Start:
        """Seen from `runs`, which are to step by h (L,); stages are at t + h·nodes."""


class Stepper(Method, Protocol):
    """A one-step method."""

    def step(self, system: System[Runs], runs: Runs, h: Array) -> tuple[Array, Array, Array, Array]:
        """One step of each of `runs`.

        Returns
        -------
        y, slope : (L, N) arrays
            After steps `h` (L,).
        error : (L,) array
            nan where the step went too far.
        reach : (L,) array
            h times the fastest rate at the end, 0 where it doesn't matter.
        """


class Explicit:
    """DOP853 of Hairer, Nørsett and Wanner, "Solving Ordinary Differential Equations I", II.5."""

    order, growth, derivatives, factorizations = 8, 10.0, 12, 0
    rows = tuple(DOP853.A[i, :i].copy() for i in range(12))
    nodes = DOP853.C[:12].copy()

    def step(self, system: System[Runs], runs: Runs, h: Array) -> tuple[Array, Array, Array, Array]:
        start, length = system.start(runs, h, self.nodes), h[:, None]
        k = Stages(13, runs.state.shape)
        k[0] = runs.slope
        for i in range(1, 12):
            point = k.mix(self.rows[i])
            point *= length
            point += runs.state
            k[i] = start.derivative(i, point)
        new = runs.state + length * k.mix(DOP853.B)
        k[12] = start.derivative(11, new)  # c₁₁ = 1
        # two points at the end of the step: how much faster than h is the fastest change there?
        fast = np.linalg.norm(k[12] - k[11], axis=1) / np.linalg.norm(new - point, axis=1)
        fifth = start.size(length * k.mix(DOP853.E5))
        third = start.size(length * k.mix(DOP853.E3))
        scale = np.hypot(fifth, 0.1 * third)
        error = fifth * np.divide(fifth, scale, out=np.ones_like(scale), where=scale > 0)
        return new, k[12], error, h * fast


class Implicit:
    """Rodas5P (see `rosenbrock`): one Jacobian and its solve per step."""

    order, growth, derivatives, factorizations = 5, 6.0, 8, 1
    nodes = np.array([*rosenbrock.NODES, 1.0])

    def step(self, system: System[Runs], runs: Runs, h: Array) -> tuple[Array, Array, Array, Array]:
        start = system.start(runs, h, self.nodes)
        new, error = rosenbrock.step(start, runs.state, runs.slope, h)
        return new, start.derivative(8, new), start.size(error), np.zeros_like(h)
