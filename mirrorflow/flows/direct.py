"""The referee: gradient flow of (m, w) as it stands, by Rodas5P.

It shares no formula with the dual flow, which satisfies the invariant and the KKT form by
construction and so can't confirm them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from scipy.linalg import lapack

from mirrorflow.checks import Array, InputError
from mirrorflow.factors import Factors
from mirrorflow.flows.rosenbrock import Counts, StepLimit, integrate
from mirrorflow.flows.trajectory import Flow, check_schedule, check_times, segments, trajectory
from mirrorflow.limits.exact import check_pair
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["direct_flow"]

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

    Rodas5P; the Jacobian is two diagonals plus rank n, so a step costs O(n²d). The error of
    each coordinate is measured against √(m_i² + w_i²): rtol bounds it per step.

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
    check_pair(problem, factors)
    check_schedule(schedule)
    finite, ask_limit, rtol = check_times(times, rtol)
    if ask_limit:
        raise InputError("times must be finite for direct_flow, but the last is inf.")
    system = _DirectSystem(problem, schedule, rtol)
    state, counts, failure = np.concatenate([factors.m, factors.w]), Counts(), ""
    reached: list[float] = []
    states: list[Array] = []
    try:
        for start, asked, end in segments(finite, schedule):
            system.end = end
            stops = np.unique(np.concatenate([[start], asked, [end]]))
            points = itertools.chain([state], integrate(system, state, stops, counts))
            for t, state in zip(stops, points, strict=True):
                if t in asked:
                    reached.append(float(t))
                    states.append(state)
    except StepLimit as error:
        failure = str(error)
    m, w = np.array(states).reshape(-1, 2, problem.d).transpose(1, 0, 2)
    return trajectory(problem, schedule, np.array(reached), m, w, counts, failure)


class _DirectSystem:
    """(m, w) with ∇f = Zᵀ(Zx − y)/n and the Woodbury solve of its Jacobian."""

    def __init__(self, problem: Regression, schedule: Schedule, rtol: float) -> None:
        self.Z, self.y, self.n, self.d = problem.Z, problem.y, problem.n, problem.d
        self.schedule, self.rtol = schedule, rtol
        self.end = np.inf

    def alpha(self, t: float) -> float:
        # α jumps at the end of a segment: within it, its value from the left counts
        return float(self.schedule.alpha(min(t, np.nextafter(self.end, 0.0))))

    def gradient(self, m: Array, w: Array) -> Array:
        return self.Z.T @ (self.Z @ (m * w) - self.y) / self.n

    def derivative(self, t: float, state: Array) -> Array:
        m, w = state[: self.d], state[self.d :]
        slope, alpha = self.gradient(m, w), self.alpha(t)
        return np.concatenate([-w * slope - 2 * alpha * m, -m * slope - 2 * alpha * w])

    def time_derivative(self, t: float, state: Array) -> Array:
        return -2.0 * self.schedule.slope(t) * state

    def solver(self, t: float, state: Array, shift: float) -> Callable[[Array], Array]:
        # (shift − J) = D + BᵀB/n: D couples m_i and w_i only, through ∇f_i, and
        # B = Z [diag(w), diag(m)] is the rank-n rest
        m, w = state[: self.d], state[self.d :]
        slope, diagonal = self.gradient(m, w), shift + 2 * self.alpha(t)
        determinant = (diagonal - slope) * (diagonal + slope)
        own, cross = diagonal / determinant, -slope / determinant
        to_m, to_w = own * w + cross * m, own * m + cross * w  # D⁻¹ on a column (w, m)
        product: Any = (self.Z * (w * to_m + m * to_w)) @ self.Z.T
        small = (product.toarray() if scipy.sparse.issparse(product) else product) / self.n
        small.flat[:: self.n + 1] += 1.0
        # symmetric, but indefinite where a long step meets a large gradient
        factor, pivots, _ = lapack.dgetrf(small, overwrite_a=1)

        def solve(b: Array) -> Array:
            first, second = b[: self.d], b[self.d :]
            easy_m, easy_w = own * first + cross * second, own * second + cross * first
            inner = self.Z @ (w * easy_m + m * easy_w) / self.n
            back = self.Z.T @ lapack.dgetrs(factor, pivots, inner)[0]
            return np.concatenate([easy_m - to_m * back, easy_w - to_w * back])

        return solve

    def error(self, increment: Array, state: Array) -> float:
        sizes = np.hypot(state[: self.d], state[self.d :])
        errors = np.hypot(increment[: self.d], increment[self.d :])
        # below SMALLEST a factor adds nothing to x, and denormals can't be that exact
        return float(np.max(errors / np.maximum(sizes, SMALLEST))) / self.rtol
