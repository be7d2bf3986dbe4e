r"""Gradient flow of F_t(m, w) = f(m ⊙ w) + α_t(‖m‖² + ‖w‖²) in continuous time.

Both functions integrate the dual system of `dual`: r ≤ n unknowns, whatever d, the rank and the
consistency of Zx = y. One flow goes by LSODA, many by the batched integrator of `dual_ensemble`.
`direct_flow` integrates (m, w) as it stands and shares none of this: it is the referee.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array
from mirrorflow.factors import Factors
from mirrorflow.flows.dual import Dual, Masses
from mirrorflow.flows.dual_ensemble import integrate_runs
from mirrorflow.flows.ensemble import Path
from mirrorflow.flows.pace import Counts
from mirrorflow.flows.single import continue_alone
from mirrorflow.flows.trajectory import (
    Flow,
    check_runs,
    check_schedule,
    check_times,
    trajectory,
)
from mirrorflow.limits.exact import Interpolator, check_pair, interpolator, lasso_limit
from mirrorflow.limits.paths import interpolators
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule
from mirrorflow.threads import on_one_thread

__all__ = ["gradient_flow", "gradient_flows"]


@on_one_thread
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
    dual, masses, counts = Dual(problem), Masses.of([factors], factors.d), Counts()
    start = np.zeros(dual.r)
    states, failure = continue_alone(dual, masses, schedule, 0.0, start, finite, rtol, counts)
    limit = None
    if ask_limit and not failure:
        limit = _limit(problem, factors, schedule)
    return _flow(
        problem, dual, masses, factors, schedule, finite, Path(0, states, counts, failure), limit
    )


@on_one_thread
def gradient_flows(
    problem: Regression,
    factors_list: Sequence[Factors],
    schedules: Sequence[Schedule] | Schedule,
    times: ArrayLike | Sequence[ArrayLike],
    rtol: float = 1e-8,
) -> list[Flow]:
    """`gradient_flow` for many runs on one problem, integrated together.

    Each run has a step size of its own, explicit (DOP853) or implicit (Rodas5P). A run whose
    penalty is over is finished by linear decay to its limit as soon as the error of that is
    proven to be below rtol in the exponents (see `arrival`). The path of a run is the same to
    the bit in any company and order; that of `gradient_flow` is the same to within rtol. For
    less than some ten runs `gradient_flow`, one by one, is faster.

    Parameters
    ----------
    problem : Regression
    factors_list : sequence of Factors
    schedules : sequence of Schedule, one for each of `factors_list`, or one for all
        Runs that share a schedule are faster than runs that don't.
    times : (T,) floats for all runs, or a sequence with such floats for each run
        As in `gradient_flow`; runs may differ in T.
    rtol
        As in `gradient_flow`.

    Returns
    -------
    list of Flow, in the order of `factors_list`

    Raises
    ------
    InputError
        As `gradient_flow`, and if there are neither one nor as many schedules, or arrays of
        times, as runs.

    Examples
    --------
    >>> from mirrorflow import Constant
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> starts = [Factors.pilot([0.0, 0.0]), Factors.pilot([1.0, -1.0])]
    >>> flows = gradient_flows(problem, starts, Constant(0.0), [0.0, 50.0])
    >>> [bool(flow.loss[-1] < 1e-15) for flow in flows]
    [True, True]
    """
    given = check_runs(problem, factors_list, schedules, times, rtol)
    runs, chosen, finite = given.factors, given.schedules, given.times
    dual, masses = Dual(problem), Masses.of(runs, problem.d)
    asked = [i for i in range(len(runs)) if given.endless[i]]
    found = _limits(problem, [runs[i] for i in asked], [chosen[i] for i in asked])
    limits = dict(zip(asked, found, strict=True))
    flows: dict[int, Flow] = {}
    for path in integrate_runs(dual, masses, chosen, finite, given.rtol):
        i, own = path.run, masses.at(np.array([path.run]))
        limit = limits.pop(i, None)
        flows[i] = _flow(problem, dual, own, runs[i], chosen[i], finite[i], path, limit)
    return [flows[i] for i in range(len(runs))]


def _flow(
    problem: Regression,
    dual: Dual,
    masses: Masses,
    factors: Factors,
    schedule: Schedule,
    times: Array,
    path: Path,
    limit: Interpolator | None,
) -> Flow:
    """m and w along η and at the limit: ±√p ± √q with the signs of u₀ and v₀."""
    reached = times[: len(path.states)]
    masses = masses.after(np.asarray(schedule.total(reached), float))
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


def _limit(problem: Regression, factors: Factors, schedule: Schedule) -> Interpolator:
    if schedule.alpha_infinity > 0:
        return lasso_limit(problem, factors, schedule.alpha_infinity)
    return interpolator(problem, factors, schedule.total_infinity)


def _limits(
    problem: Regression, runs: Sequence[Factors], schedules: Sequence[Schedule]
) -> list[Interpolator]:
    """The limit of every run; those with the same A_∞ are found together."""
    together: dict[float, list[int]] = {}
    limits: dict[int, Interpolator] = {}
    for i, schedule in enumerate(schedules):
        if schedule.alpha_infinity > 0:
            limits[i] = _limit(problem, runs[i], schedule)
        else:
            together.setdefault(float(schedule.total_infinity), []).append(i)
    for total, which in together.items():
        paths = interpolators(problem, [runs[i] for i in which], [total])
        limits.update({i: path[0] for i, path in zip(which, paths, strict=True)})
    return [limits[i] for i in range(len(runs))]
