r"""(m, w) integrated as the flow is written, for any loss of the residual, with ∫∇f beside it.

    ṁ = −w ⊙ ∇f(m ⊙ w) − 2α_t m,   ẇ = −m ⊙ ∇f(m ⊙ w) − 2α_t w,   ġ = ∇f(m ⊙ w)

by scipy's LSODA. Nothing of the theory enters, so that its path can refute every constant of it;
`direct_flow` is the faster integrator for the squared loss and does not carry g.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from mirrorflow.certificates.base import dense
from mirrorflow.certificates.losses import SQUARED, Loss
from mirrorflow.checks import Array, InputError, ascending, number
from mirrorflow.maps import check_pair
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["Path", "follow"]

RTOL_RANGE = (1e-12, 1e-2)


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """An integrated trajectory.

    Attributes
    ----------
    times : (T,) array, flow time
    m, w : (T, d) arrays
    accumulated : (T, d) array, g_t = ∫₀ᵗ ∇f(x_s) ds
    loss : (T,) array, f(x_t)
    total : (T,) array, A(t)
    steps : (T,) array
        Right-hand sides that LSODA needed up to the breakpoint after each time; no fewer than its
        steps.
    """

    times: Array
    m: Array
    w: Array
    accumulated: Array
    loss: Array
    total: Array
    steps: Array

    @property
    def x(self) -> Array:
        """m ⊙ w, shape (T, d)."""
        return self.m * self.w


def follow(
    problem: Regression,
    factors: Factors,
    schedule: Schedule,
    times: ArrayLike,
    loss: Loss = SQUARED,
    rtol: float = 1e-10,
) -> Path:
    """Integrate (m, w, ∫∇f) from t = 0 through `times`.

    Parameters
    ----------
    problem : Regression
        Z and y; f(x) = (1/n) Σ φ((Zx − y)_i) with φ from `loss`.
    factors, schedule
        As in `gradient_flow`.
    times : (T,) floats, strictly ascending, ≥ 0, finite
    loss : Loss
    rtol : float in [1e-12, 1e-2]
        Local error relative to m, w and 1 + |g|; of m and w also relative to the
        √(|m₀² − w₀²|e^{−4A}) below which √(m² + w²) cannot fall, or about 1e-8 of
        the largest of them.

    Raises
    ------
    InputError
        If the arguments don't fit each other, or the integration gives up.
    """
    check_pair(problem, factors)
    rtol = number("rtol", rtol, *RTOL_RANGE)
    asked = ascending("times", times)
    system = _System(problem, schedule, loss)
    d, last = problem.d, float(asked[-1])
    least = np.sqrt(np.abs(factors.imbalance) * np.exp(-4.0 * float(schedule.total(last))))
    state = np.concatenate([factors.m, factors.w, np.zeros(d)])
    largest = float(np.abs(state).max(initial=0.0)) or 1.0
    floor = 1e-8 * 1024.0 ** round(math.log(largest, 1024.0))
    atol = rtol * np.concatenate([np.maximum(np.tile(least, 2), floor), np.ones(d)])
    states = [state for t in asked if t == 0.0]
    calls, steps = 0, [0] * len(states)
    knots = [0.0, *(t for t in schedule.breakpoints if t < last), last]
    options = {"method": "LSODA", "rtol": rtol, "atol": atol, "jac": system.jacobian}
    for start, end in itertools.pairwise(knots):
        if end == start:
            continue
        system.end = end
        inside = asked[(asked > start) & (asked <= end)]
        stops = np.union1d(inside, [end])
        done = solve_ivp(system.derivative, (start, end), state, t_eval=stops, **options)
        if not done.success or not np.isfinite(done.y).all():
            raise InputError(
                f"times must end before the integration breaks down, but after t = {start:g} "
                f"LSODA says: {done.message}"
            )
        state, calls = done.y[:, -1], calls + int(done.nfev)
        steps += [calls] * inside.size
        states += list(done.y.T[np.isin(stops, inside)])
    points = np.array(states)
    m, w, g = points[:, :d], points[:, d : 2 * d], points[:, 2 * d :]
    residuals = (m * w) @ system.Z.T - problem.y
    value = np.mean(loss.value(residuals), axis=1)
    total = np.asarray(schedule.total(asked), float)
    return Path(asked, m, w, g, value, total, np.array(steps))


class _System:
    """The right-hand side of (m, w, g) and its Jacobian."""

    def __init__(self, problem: Regression, schedule: Schedule, loss: Loss) -> None:
        self.Z, self.y, self.n, self.d = dense(problem), problem.y, problem.n, problem.d
        self.schedule, self.loss, self.end = schedule, loss, np.inf

    def _alpha(self, t: float) -> float:
        # α jumps at the end of a segment: within it, its value from the left counts
        return float(self.schedule.alpha(min(t, np.nextafter(self.end, 0.0))))

    def derivative(self, t: float, state: Array) -> Array:
        d, alpha = self.d, self._alpha(t)
        m, w = state[:d], state[d : 2 * d]
        slope = self.Z.T @ self.loss.slope(self.Z @ (m * w) - self.y) / self.n
        return np.concatenate([-w * slope - 2 * alpha * m, -m * slope - 2 * alpha * w, slope])

    def jacobian(self, t: float, state: Array) -> Array:
        d, alpha = self.d, self._alpha(t)
        m, w = state[:d], state[d : 2 * d]
        residual = self.Z @ (m * w) - self.y
        slope = self.Z.T @ self.loss.slope(residual) / self.n
        H = (self.Z.T * self.loss.curvature(residual)) @ self.Z / self.n
        by_m, by_w = H * w, H * m
        J = np.zeros((3 * d, 3 * d))
        J[:d, :d] = -w[:, None] * by_m
        J[:d, d : 2 * d] = -w[:, None] * by_w
        J[d : 2 * d, :d] = -m[:, None] * by_m
        J[d : 2 * d, d : 2 * d] = -m[:, None] * by_w
        J[2 * d :, :d], J[2 * d :, d : 2 * d] = by_m, by_w
        both = np.arange(2 * d)
        J[both, both] -= 2 * alpha
        J[both[:d], both[d:]] -= slope
        J[both[d:], both[:d]] -= slope
        return J
