r"""Momentum flow of m ⊙ w, with decay: λθ̈ + θ̇ + ∇(f + α‖θ‖²) = 0 for θ = m, w, at rest at time 0.

With U = m + w, V = m − w, s = U̇/U and σ = V̇/V, while neither U nor V vanishes,

    Λ = 4A + λ∫(s² + σ²) + λ(s + σ),      r = ½λ∫(s² − σ²) + ½λ(s − σ)

give x_t = argmin {R_a(x) + ⟨r, x⟩ : Zx = Zx_t}, a = a₀e^{−Λ}; at the end s = σ = 0 (Papazov, Pesme
& Flammarion 2024; decay and finite times: this project). Momentum acts like more decay.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from mirrorflow.checks import Array, InputError, ascending, number
from mirrorflow.flows.trajectory import RTOL_RANGE
from mirrorflow.maps import Factors, check_pair
from mirrorflow.own_schedules import check_schedule
from mirrorflow.problems import Regression
from mirrorflow.result import Result
from mirrorflow.schedules import Schedule

__all__ = ["MomentumFlow", "momentum_flow", "momentum_lag"]

SMALL = 1e-3  # errors of θ are measured against itself, or this part of the largest at t = 0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MomentumFlow(Result):
    """A flow of `momentum_flow`; `discrete_limit` takes it too.

    Attributes
    ----------
    times : (T,) array
        Those reached, in flow time.
    m, w, x : (T, d) arrays, x = m ⊙ w
    start : Factors
    gain, shift : (T, d) arrays
        Λ and r up to each time, with the terms in s and σ.
    total : (T,) array, A(t)
    steps : int
        Of the integrator.
    status : str
        "completed"; "outside" (m + w or m − w of a coordinate came to 0, and Λ has no value from
        there on); "failed" (the integrator gave up). Both end `times`.
    message : str

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> flow = mf.momentum_flow(problem, start, mf.Constant(0.0), 0.1, [0.0, 40.0])
    >>> flow.status, bool((flow.gain[-1] > 0).all())
    ('completed', True)
    """

    table: ClassVar[tuple[str, ...]] = ("times", "total", "x", "gain", "shift")
    times: Array
    m: Array
    w: Array
    start: Factors
    gain: Array
    shift: Array
    total: Array
    steps: int
    status: str
    message: str

    @property
    def x(self) -> Array:
        return self.m * self.w

    @property
    def success(self) -> bool:
        """Whether every time asked for was reached."""
        return self.status == "completed"

    def _facts(self) -> dict[str, Any]:
        facts = {"times": self.times.size, "d": self.start.d, "status": self.status}
        return {**facts, "steps": self.steps}


def momentum_lag(step_size: float, momentum: float) -> float:
    """λ = γ(1 + μ)/(2(1 − μ)²) of heavy ball with steps γ under momentum μ, at time γk/(1 − μ).

    Right to second order in γ for every μ; Papazov et al.'s γ/(1 − μ)² is its limit for μ → 1.
    """
    step_size = number("step_size", step_size, 0.0, open_low=True)
    momentum = number("momentum", momentum, 0.0, 1.0)
    if momentum == 1.0:
        raise InputError("momentum must be below 1, but it is 1.")
    return step_size * (1.0 + momentum) / (2.0 * (1.0 - momentum) ** 2)


def momentum_flow(
    problem: Regression,
    factors: Factors,
    schedule: Schedule,
    lag: float,
    times: ArrayLike,
    rtol: float = 1e-9,
) -> MomentumFlow:
    """λθ̈ + θ̇ + ∇(f(m ⊙ w) + α_t(‖m‖² + ‖w‖²)) = 0, by an explicit method of order 8 on (θ, θ̇).

    Parameters
    ----------
    problem : Regression
        With any loss.
    factors : Factors
    schedule : Schedule
    lag : float > 0
        λ, in flow time; `momentum_lag` of heavy ball. The smaller, the more steps: some T/λ.
    times : (T,) floats, strictly ascending, finite
    rtol : float in [1e-13, 1e-2]

    Returns
    -------
    MomentumFlow

    Raises
    ------
    InputError
        If times don't ascend, a number is out of its range, or the start doesn't fit.

    Examples
    --------
    >>> from mirrorflow import Constant
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> flow = momentum_flow(problem, Factors.pilot([0.0, 0.0]), Constant(0.0), 0.1, [1.0, 40.0])
    >>> bool(abs(problem.Z @ flow.x[-1] - 2.0) < 1e-9)
    True
    """
    check_pair(problem, factors)
    if not isinstance(factors, Factors):
        raise InputError(f"factors must be Factors, but it is {type(factors).__name__}.")
    check_schedule(schedule)
    lag = number("lag", lag, 0.0, open_low=True)
    rtol = number("rtol", rtol, *RTOL_RANGE)
    asked = ascending("times", times)
    first = np.stack([factors.m + factors.w, factors.m - factors.w])
    # a factor near 0 takes ∫s² beyond all bounds before it gets there: look for zeros first
    result = _integrate(problem, schedule, lag, first, asked, rtol, 0)
    if result[2] == "completed":
        result = _integrate(problem, schedule, lag, first, asked, rtol, 1)
    states, steps, status, message = result
    reached = asked[: len(states)]
    theta, speed, integral = states[:, 0], states[:, 1], states[:, 2:].sum(axis=1)
    spent = lag * (integral + _quotient(speed, theta))  # (T, 2, d)
    total = np.broadcast_to(np.asarray(schedule.total(reached), float), reached.size)
    return MomentumFlow(
        reached,
        0.5 * (theta[:, 0] + theta[:, 1]),
        0.5 * (theta[:, 0] - theta[:, 1]),
        factors,
        4.0 * total[:, None] + spent[:, 0] + spent[:, 1],
        0.5 * (spent[:, 0] - spent[:, 1]),
        total,
        steps,
        status,
        message,
    )


def _quotient(speed: Array, theta: Array) -> Array:
    """θ̇/θ; 0 for what is 0 for ever."""
    return np.divide(speed, theta, out=np.zeros_like(theta), where=theta != 0.0)


def _integrate(
    problem: Regression,
    schedule: Schedule,
    lag: float,
    first: Array,
    asked: Array,
    rtol: float,
    integrals: int,
) -> tuple[Array, int, str, str]:
    """States (T, 2 + integrals, 2, d) at the times reached: U and V, their speeds, ∫s² and ∫σ²."""
    signs, last = np.sign(first), 0.0

    def velocity(t: float, state: Array) -> Array:
        theta, speed, *more = state.reshape(-1, *first.shape)
        grad_f = problem.gradient(0.25 * (theta[0] - theta[1]) * (theta[0] + theta[1]))
        pull = theta * (np.stack([grad_f, -grad_f]) + 2.0 * float(schedule.alpha(min(t, last))))
        squares = [_quotient(speed, theta) ** 2] * len(more)
        return np.stack([speed, -(speed + pull) / lag, *squares]).ravel()

    def least(t: float, state: Array) -> float:
        theta = state[: first.size].reshape(first.shape)
        return float(np.where(signs == 0.0, np.inf, theta * signs).min())

    least.terminal = True  # type: ignore[attr-defined]
    shape = (2 + integrals, *first.shape)
    state, steps = np.zeros(shape), 0
    state[0] = first
    floors = np.ones(shape)
    floors[0] = SMALL * np.abs(first).max()
    floors[1] = floors[0] / lag
    rows = [state.ravel()] * int(asked[0] == 0.0)
    state = state.ravel()
    edges = [0.0, *(b for b in schedule.breakpoints if b < asked[-1]), float(asked[-1])]
    for begin, end in itertools.pairwise(edges):
        last = float(np.nextafter(end, begin))  # α jumps at a breakpoint
        wanted = asked[(asked > begin) & (asked <= end)]
        times = np.union1d(wanted, end)
        run = solve_ivp(
            velocity, (begin, end), state, "DOP853", times,
            events=least, rtol=rtol, atol=rtol * floors.ravel(),
        )  # fmt: skip
        steps += run.nfev // 12
        rows += [row for t, row in zip(run.t, np.transpose(run.y), strict=True) if t in wanted]
        if run.status != 0:
            status, message = "failed", run.message
            if run.status == 1:
                at = run.t_events[0][0]
                status, message = "outside", f"At t = {at:.6g} a coordinate of m ± w came to 0."
            return np.reshape(rows, (-1, *shape)), steps, status, message
        state = run.y[:, -1]
    return np.reshape(rows, (-1, *shape)), steps, "completed", "Every time was reached."
