r"""Gradient flow of F_t(m, w) = f(m ⊙ w) + α_t(‖m‖² + ‖w‖²) in continuous time.

Both functions integrate the dual system of `dual`: r ≤ n unknowns, whatever d, the rank and the
consistency of Zx = y. One flow goes by LSODA, many by the batched integrator of `ensemble`.
`direct_flow` integrates (m, w) as it stands and shares none of this: it is the referee.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import LSODA

from mirrorflow.checks import Array, InputError
from mirrorflow.factors import Factors
from mirrorflow.flows.dual import Dual, Masses
from mirrorflow.flows.ensemble import Path, integrate_runs
from mirrorflow.flows.rosenbrock import Counts
from mirrorflow.flows.trajectory import (
    Flow,
    check_schedule,
    check_times,
    segments,
    trajectory,
)
from mirrorflow.limits.exact import Interpolator, check_pair, interpolator, lasso_limit
from mirrorflow.limits.paths import interpolators
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["gradient_flow", "gradient_flows"]

MOST_CALLS = 500_000
HOPELESS = 1e100  # a slope that gets a trial step rejected, but is finite, as LSODA wants it


def gradient_flow(
    problem: Regression,
    factors: Factors,
    schedule: Schedule,
    times: ArrayLike,
    rtol: float = 1e-8,
) -> Flow:
    """Gradient flow from any real m₀, w₀, by LSODA on the dual system.

    Parameters
    ----------
    problem : Regression
    factors : Factors
        m₀, w₀ with as many coordinates as the problem.
    schedule : Schedule
        α(t); its breakpoints are integrated to, not over.
    times : (T,) floats, strictly ascending, ≥ 0
        The last may be inf: the exact limit for this schedule (the LASSO with λ = 2α_∞ where
        α_∞ > 0, else the interpolator after A_∞ ≤ ∞).
    rtol : float in [1e-13, 1e-2]
        Local error of the exponents of p and q, that is relative error of x, per step; the
        error at the end is usually some 10 times larger, and never below about
        1e-16·4A, the rounding of those exponents. 1e-8 suits plots and verdicts, 1e-10
        comparisons with other integrators; below 1e-11 rounding costs many steps.

    Returns
    -------
    Flow

    Raises
    ------
    InputError
        If shapes don't fit, times don't ascend or rtol is out of range.

    Examples
    --------
    >>> from mirrorflow import Constant
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> flow = gradient_flow(problem, Factors.pilot([0.0, 0.0]), Constant(0.0), [0.0, 50.0])
    >>> bool(flow.loss[-1] < 1e-15)
    True
    """
    check_pair(problem, factors)
    check_schedule(schedule)
    finite, ask_limit, rtol = check_times(times, rtol)
    system = _Single(Dual(problem), factors, schedule)
    eta, counts, failure = np.zeros(system.dual.r), Counts(), ""
    states: list[Array] = []
    for start, asked, end in segments(finite, schedule):
        points, eta, failure = _lsoda(system, eta, start, asked, end, rtol, counts)
        states += points
        if failure:
            break
    eta_path = np.array(states).reshape(len(states), system.dual.r)
    path = Path(0, eta_path, system.start, counts, failure)
    limit = _limits(problem, [factors], [schedule])[0] if ask_limit and not failure else None
    return _flow(problem, system.dual, factors, schedule, finite, path, limit)


def gradient_flows(
    problem: Regression,
    factors_list: Sequence[Factors],
    schedules: Sequence[Schedule] | Schedule,
    times: ArrayLike,
    rtol: float = 1e-8,
) -> list[Flow]:
    """`gradient_flow` for many runs on one problem, integrated together.

    Each run has a step size of its own, explicit (DOP853) or implicit (Rodas5P), and does not
    see the others: in another batch or order it differs by rounding only. A run whose penalty is
    over is finished by linear decay to its limit as soon as the
    error of that is proven to be below rtol in the exponents (see `arrival`).

    Parameters
    ----------
    problem : Regression
    factors_list : sequence of Factors
    schedules : sequence of Schedule, one for each of `factors_list`, or one for all
        Runs that share a schedule are faster than runs that don't.
    times, rtol
        As in `gradient_flow`.

    Returns
    -------
    list of Flow, in the order of `factors_list`

    Raises
    ------
    InputError
        As `gradient_flow`, and if there are neither one nor as many schedules as runs.

    Examples
    --------
    >>> from mirrorflow import Constant
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> starts = [Factors.pilot([0.0, 0.0]), Factors.pilot([1.0, -1.0])]
    >>> flows = gradient_flows(problem, starts, Constant(0.0), [0.0, 50.0])
    >>> [bool(flow.loss[-1] < 1e-15) for flow in flows]
    [True, True]
    """
    runs = list(factors_list)
    chosen = [schedules] * len(runs) if isinstance(schedules, Schedule) else list(schedules)
    if len(chosen) != len(runs):
        raise InputError(
            f"schedules must be one or as many as factors_list ({len(runs)}), "
            f"but there are {len(chosen)}."
        )
    for factors in runs:
        check_pair(problem, factors)
    for schedule in {id(schedule): schedule for schedule in chosen}.values():
        check_schedule(schedule)
    finite, ask_limit, rtol = check_times(times, rtol)
    dual = Dual(problem)
    limits: list[Interpolator | None] = [None] * len(runs)
    if ask_limit:
        limits = [*_limits(problem, runs, chosen)]
    flows: dict[int, Flow] = {}
    for path in integrate_runs(dual, runs, chosen, finite, rtol):
        i = path.run
        flows[i] = _flow(problem, dual, runs[i], chosen[i], finite, path, limits[i])
        limits[i] = None
    return [flows[i] for i in range(len(runs))]


class _Single:
    """η̇ and its Jacobian of one run, as LSODA wants them."""

    def __init__(self, dual: Dual, factors: Factors, schedule: Schedule) -> None:
        self.dual, self.schedule = dual, schedule
        self.start = Masses.of([factors], factors.d)
        self.first = Masses(self.start.log_p[0], self.start.log_q[0])
        self.total, self.masses = 0.0, self.first

    def derivative(self, t: float, eta: Array) -> Array:
        total = float(self.schedule.total(t))
        if total != self.total:  # with α = 0 it stays
            self.total, self.masses = total, self.first.after(np.asarray(total))
        with np.errstate(over="ignore", invalid="ignore"):
            slope = self.dual.derivative(eta, self.masses)
        return slope if np.isfinite(slope).all() else np.full_like(slope, HOPELESS)

    def jacobian(self, t: float, eta: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            masses = self.start.after(np.array([self.schedule.total(t)]))
            _, H = self.dual.linearised(eta[None], masses)
        return -np.where(np.isfinite(H[0]), H[0], HOPELESS)


def _lsoda(
    system: _Single,
    eta: Array,
    start: float,
    asked: Array,
    end: float,
    rtol: float,
    counts: Counts,
) -> tuple[list[Array], Array, str]:
    """η at the times asked for in [start, end], η at `end`, and why it stopped before, if so."""
    points = [eta for t in asked if t == start]
    if end == start or eta.size == 0:
        return [eta] * asked.size, eta, ""
    # an error τ in every σ_j η_j moves an exponent by about τ√(r/d), as the rows of V are unit
    # vectors in R^d: this scaling makes rtol the error of the exponents; 3e-14 is LSODA's least
    r, d = system.dual.basis.shape
    tolerance = max(rtol * np.sqrt(d / r), 3e-14)
    solver = LSODA(
        system.derivative,
        start,
        eta,
        end,
        rtol=tolerance,
        atol=tolerance / system.dual.sigma,
        jac=system.jacobian,
    )
    reason = ""
    while solver.status == "running" and not reason:
        reason = solver.step() or ""
        counts.steps += 1
        if not np.isfinite(solver.y).all():
            reason = "the state is no longer finite"
        elif solver.nfev > MOST_CALLS:
            reason = f"more than {MOST_CALLS} right-hand sides were needed"
        elif solver.status != "failed":
            inside = asked[len(points) :]
            inside = inside[inside <= solver.t]
            if inside.size:
                points += list(solver.dense_output()(inside).T)
    counts.derivatives += int(solver.nfev)
    counts.factorizations += int(solver.njev)
    failure = f"LSODA stopped at t = {solver.t:.6g}: {reason}" if reason else ""
    return points, solver.y, failure


def _flow(
    problem: Regression,
    dual: Dual,
    factors: Factors,
    schedule: Schedule,
    times: Array,
    path: Path,
    limit: Interpolator | None,
) -> Flow:
    """m and w along η and at the limit: ±√p ± √q with the signs of u₀ and v₀."""
    reached = times[: len(path.states)]
    masses = path.masses.after(np.asarray(schedule.total(reached), float))
    bend = dual.bend(path.states)
    # half the exponents: p underflows long before its root does
    u, v = np.exp(0.5 * (masses.log_p + bend)), np.exp(0.5 * (masses.log_q - bend))
    if limit is not None and not path.failure:
        reached = np.append(reached, np.inf)
        u, v = np.vstack([u, np.sqrt(limit.p)]), np.vstack([v, np.sqrt(limit.q)])
    u *= np.copysign(1.0, factors.u)
    v *= np.copysign(1.0, factors.v)
    m, w = u + v, u - v
    return trajectory(problem, schedule, reached, m, w, path.counts, path.failure, limit)


def _limits(
    problem: Regression, runs: Sequence[Factors], schedules: Sequence[Schedule]
) -> list[Interpolator]:
    """The limit of every run; those with the same A_∞ are found together."""
    together: dict[float, list[int]] = {}
    limits: dict[int, Interpolator] = {}
    for i, schedule in enumerate(schedules):
        if schedule.alpha_infinity > 0:
            limits[i] = lasso_limit(problem, runs[i], schedule.alpha_infinity)
        else:
            together.setdefault(float(schedule.total_infinity), []).append(i)
    for total, which in together.items():
        if len(which) == 1:
            limits[which[0]] = interpolator(problem, runs[which[0]], total)
        else:
            paths = interpolators(problem, [runs[i] for i in which], [total])
            limits.update({i: path[0] for i, path in zip(which, paths, strict=True)})
    return [limits[i] for i in range(len(runs))]
