r"""The referee: gradient flow of (m, w) as it stands.

It shares no formula with the dual flow, which satisfies the invariant and the KKT form by
construction and so can't confirm them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, InputError
from mirrorflow.factors import Factors
from mirrorflow.flows.clock import Clock
from mirrorflow.flows.ensemble import Ensemble
from mirrorflow.flows.pace import Index, Paced
from mirrorflow.flows.trajectory import Flow, Runs, check_runs, trajectory
from mirrorflow.problems import Regression
from mirrorflow.rowwise import Outer, inverses, products
from mirrorflow.schedules import Schedule
from mirrorflow.threads import on_one_thread

__all__ = ["direct_flow", "direct_flows"]

SMALLEST = 1e-140


def direct_flow(
    problem: Regression,
    factors: Factors,
    schedule: Schedule,
    times: ArrayLike,
    rtol: float = 1e-8,
) -> Flow:
    """Gradient flow by integrating (m, w) ∈ R²ᵈ as written, the referee for everything else.

        ṁ = −w ⊙ ∇f(m ⊙ w) − 2α_t m,      ẇ = −m ⊙ ∇f(m ⊙ w) − 2α_t w

    DOP853 while its steps are short for the sake of accuracy, then Rodas5P; the Jacobian is two
    diagonals plus rank n, so that an implicit step costs O(n²d). The error of each coordinate is
    measured against √(m_i² + w_i²): rtol bounds it per step.

    Parameters
    ----------
    problem, factors, schedule, rtol
        As in `gradient_flow`.
    times : (T,) floats, strictly ascending, finite
        Integration alone can't say where t = inf leads.

    Notes
    -----
    The smaller of |m ± w| is what carries a coordinate to the other sign, and (m, w) in double
    precision hold it only down to 1e-16 of the larger. Balanced coordinates, where it is 0, may
    therefore change sign here after long times, though not in exact arithmetic; so may others
    once e^{−4A} is below that, from A ≈ 9 on, and from A ≈ 40 on the path itself is lost. Look
    at the drift of (m² − w²)e^{4A} before trusting this flow there.
    """
    return direct_flows(problem, [factors], [schedule], times, rtol)[0]


@on_one_thread
def direct_flows(
    problem: Regression,
    factors_list: Sequence[Factors],
    schedules: Sequence[Schedule] | Schedule,
    times: ArrayLike | Sequence[ArrayLike],
    rtol: float = 1e-8,
) -> list[Flow]:
    """`direct_flow` for many runs on one problem, integrated together.

    Each run has a step size of its own, and its path is the same to the bit in any company.

    Parameters
    ----------
    problem, factors_list, schedules, times, rtol
        As in `gradient_flows`, but all times are finite.

    Returns
    -------
    list of Flow, in the order of `factors_list`
    """
    asked = check_runs(problem, factors_list, schedules, times, rtol)
    if any(asked.endless):
        raise InputError("times must be finite for direct_flow, but the last is inf.")
    flows: dict[int, Flow] = {}
    for path in _Referee(problem, asked).integrate() if asked.factors else ():
        m, w = path.states[:, : problem.d], path.states[:, problem.d :]
        schedule, reached = asked.schedules[path.run], asked.times[path.run][: len(m)]
        flows[path.run] = trajectory(problem, schedule, reached, m, w, path.counts, path.failure)
    return [flows[run] for run in range(len(flows))]


class _Referee(Ensemble[Paced]):
    """The state of a run is (m, w), 2d numbers one after the other."""

    def __init__(self, problem: Regression, asked: Runs) -> None:
        super().__init__(
            asked.schedules, asked.times, asked.rtol, 50 * problem.d + 4 * problem.n**2
        )
        self.field, self.factors = _Field(problem), asked.factors

    def start(self, runs: Paced, h: Array, nodes: Array) -> _Start:
        times = runs.t[:, None] + h[:, None] * nodes
        # α jumps at the end of a segment: within it, its value from the left counts
        ends = np.nextafter(self.stops.ends[runs.line, runs.stop], 0.0)
        alpha = self.clock.alphas(runs.plan, np.minimum(times, ends[:, None]))
        return _Start(self.field, self.clock, runs, alpha, self.rtol)

    def begin(self, run: Index, plan: Index, line: Index) -> Paced:
        states = [np.concatenate([self.factors[i].m, self.factors[i].w]) for i in run]
        state = np.array(states).reshape(run.size, 2 * self.field.d)
        return Paced.at_zero(run, plan, line, state, np.zeros_like(state))

    def set_out(self, runs: Paced, at: Index) -> None:
        alpha = self.clock.alphas(runs.plan[at], runs.t[at, None])
        runs.slope[at] = self.field.derivative(runs.state[at], alpha)
        # a first step, or one behind a jump of α, is to change m and w by some 1 %
        speed = _relative(runs.slope[at], runs.state[at])
        runs.h[at] = 1e-2 / np.maximum(speed, 1e-300)


class _Field:
    """The right-hand side, with ∇f = Zᵀ(Zx − y)/n."""

    def __init__(self, problem: Regression) -> None:
        self.Z, self.y, self.n, self.d = problem.Z, problem.y, problem.n, problem.d
        self.outer = Outer.where_small(self.Z)

    def gradient(self, m: Array, w: Array) -> Array:
        return products(products(m * w, self.Z.T) - self.y, self.Z) / self.n

    def derivative(self, state: Array, alpha: Array) -> Array:
        """For states (L, 2d) and α (L, 1)."""
        m, w = state[:, : self.d], state[:, self.d :]
        slope = self.gradient(m, w)
        return np.concatenate([-w * slope - 2 * alpha * m, -m * slope - 2 * alpha * w], axis=1)

    def weighted(self, weights: Array) -> Array:
        """Z diag(weights) Zᵀ, (L, n, n)."""
        if self.outer is not None:
            return self.outer(weights)
        found: list[Any] = [(self.Z * one) @ self.Z.T for one in weights]
        dense = [a.toarray() if scipy.sparse.issparse(a) else a for a in found]
        return np.array(dense).reshape(-1, self.n, self.n)


class _Start:
    """The flow from where `runs` stand, for α (L, stages)."""

    def __init__(
        self, field: _Field, clock: Clock, runs: Paced, alpha: Array, tolerance: float
    ) -> None:
        self.field, self.clock, self.runs, self.state = field, clock, runs, runs.state
        self.alpha, self.tolerance = alpha, tolerance

    def derivative(self, stage: int, state: Array) -> Array:
        return self.field.derivative(state, self.alpha[:, stage, None])

    def drift(self) -> Array:
        change = self.clock.slopes(self.runs.plan, self.runs.t)[:, None]
        return -2.0 * change * self.state

    def size(self, error: Array) -> Array:
        return _relative(error, self.state) / self.tolerance

    def solver(self, shift: Array) -> Callable[[Array], Array]:
        """By Woodbury: shift − J = D + BᵀB/n, where D couples m_i and w_i only, through ∇f_i,
        and B = Z [diag(w), diag(m)] is the rank-n rest."""
        Z, d, n = self.field.Z, self.field.d, self.field.n
        m, w = self.state[:, :d], self.state[:, d:]
        slope = self.field.gradient(m, w)
        diagonal = (shift + 2 * self.alpha[:, 0])[:, None]
        determinant = (diagonal - slope) * (diagonal + slope)
        own, cross = diagonal / determinant, -slope / determinant
        to_m, to_w = own * w + cross * m, own * m + cross * w  # D⁻¹ on a column (w, m)
        small = self.field.weighted(w * to_m + m * to_w) / n
        small[:, range(n), range(n)] += 1.0
        # symmetric, but indefinite where a long step meets a large gradient
        inverse = inverses(small)

        def solve(b: Array) -> Array:
            first, second = b[:, :d], b[:, d:]
            easy_m, easy_w = own * first + cross * second, own * second + cross * first
            inner = products(w * easy_m + m * easy_w, Z.T) / n
            back = products(np.matmul(inverse, inner[:, :, None])[:, :, 0], Z)
            return np.concatenate([easy_m - to_m * back, easy_w - to_w * back], axis=1)

        return solve


def _relative(change: Array, state: Array) -> Array:
    """The largest change of a coordinate (m_i, w_i) of each run, relative to its length."""
    d = state.shape[1] // 2
    sizes = np.hypot(state[:, :d], state[:, d:])
    changes = np.hypot(change[:, :d], change[:, d:])
    # below SMALLEST a factor adds nothing to x, and denormals can't be that exact
    return (changes / np.maximum(sizes, SMALLEST)).max(axis=1)
