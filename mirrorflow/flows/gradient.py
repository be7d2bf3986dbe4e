r"""Gradient flow of F_t(m, w) = f(m ⊙ w) + α_t(‖m‖² + ‖w‖²) in continuous time.

`gradient_flow` integrates the dual system of `dual`, n unknowns; `direct_flow` integrates (m, w) as
it stands. The two share a stepper, but no formula: `direct_flow` is the reference integrator, which
can confirm or refute what the dual form satisfies by construction.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Sequence
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import InputError
from mirrorflow.factors import Factors
from mirrorflow.flows.trajectory import Flow, check_runs, trajectory
from mirrorflow.limits.exact import Interpolator, interpolator, lasso_limit
from mirrorflow.limits.paths import interpolators
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule
from mirrorflow.threads import on_one_thread

__all__ = ["direct_flow", "direct_flows", "gradient_flow", "gradient_flows"]


@on_one_thread
def gradient_flow(
    problem: Regression,
    factors: Factors,
    schedule: Schedule,
    times: ArrayLike,
    rtol: float = 1e-8,
) -> Flow:
    """Gradient flow from any real m₀, w₀, by its dual system in n unknowns.

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
        Relative error of each part of x, and of x itself, per step; the error at the end is
        usually some 10 times larger. 1e-8 suits plots and verdicts, 1e-10 comparisons with other
        integrators; below 1e-11 rounding costs many steps.

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
    return gradient_flows(problem, [factors], [schedule], [times], rtol)[0]


@on_one_thread
@on_one_thread
def gradient_flows(
    problem: Regression,
    factors_list: Sequence[Factors],
    schedules: Sequence[Schedule] | Schedule,
    times: ArrayLike | Sequence[ArrayLike],
    rtol: float = 1e-8,
) -> list[Flow]:
    """`gradient_flow` for many runs on one problem, on all cores.

    A run is the same to the bit in any list, in any order and on any number of cores.

    Parameters
    ----------
    problem : Regression
    factors_list : sequence of Factors
    schedules : sequence of Schedule, one for each of `factors_list`, or one for all
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
    asked = check_runs(problem, factors_list, schedules, times, rtol)
    limits = _limits(problem, asked.factors, asked.schedules, asked.endless)
    flows = []
    for i, run in enumerate(_compiled().dual_runs(problem, asked)):
        reached, m, w, limit = run.times, run.m, run.w, limits.get(i)
        if limit is not None and not run.failure:
            reached = np.append(reached, np.inf)
            u = np.copysign(np.sqrt(limit.p), asked.factors[i].u)
            v = np.copysign(np.sqrt(limit.q), asked.factors[i].v)
            m, w = np.vstack([m, u + v]), np.vstack([w, u - v])
        flow = trajectory(
            problem, asked.schedules[i], reached, m, w, run.counts, run.failure, limit
        )
        flows.append(flow)
    return flows


def direct_flow(
    problem: Regression,
    factors: Factors,
    schedule: Schedule,
    times: ArrayLike,
    rtol: float = 1e-8,
) -> Flow:
    """Gradient flow by integrating (m, w) ∈ R²ᵈ as written: the reference integrator.

        ṁ = −w ⊙ ∇f(m ⊙ w) − 2α_t m,      ẇ = −m ⊙ ∇f(m ⊙ w) − 2α_t w

    The error of each coordinate is measured against √(m_i² + w_i²), and where x is small against
    that of x; rtol bounds it per step. The Jacobian is two diagonals plus rank n, so that an
    implicit step costs O(n²d).

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
    return direct_flows(problem, [factors], [schedule], [times], rtol)[0]


@on_one_thread
def direct_flows(
    problem: Regression,
    factors_list: Sequence[Factors],
    schedules: Sequence[Schedule] | Schedule,
    times: ArrayLike | Sequence[ArrayLike],
    rtol: float = 1e-8,
) -> list[Flow]:
    """`direct_flow` for many runs on one problem, on all cores; bits as in `gradient_flows`.

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
    return [
        trajectory(problem, schedule, run.times, run.m, run.w, run.counts, run.failure)
        for schedule, run in zip(
            asked.schedules, _compiled().direct_runs(problem, asked), strict=True
        )
    ]


def _compiled() -> ModuleType:
    """The module of compiled runs, which is compiled when a machine first imports it."""
    if "mirrorflow.flows.runs" not in sys.modules:
        words = "mirrorflow: compiling its integrator, once on this machine (some 20 s)"
        notice = threading.Timer(2.0, print, [words], {"file": sys.stderr})
        notice.daemon = True
        notice.start()
        try:
            return importlib.import_module("mirrorflow.flows.runs")
        finally:
            notice.cancel()
    return sys.modules["mirrorflow.flows.runs"]


def _limits(
    problem: Regression,
    runs: Sequence[Factors],
    schedules: Sequence[Schedule],
    endless: Sequence[bool],
) -> dict[int, Interpolator]:
    """The limit of each run that asks for it; those with the same A_∞ are found together."""
    together: dict[float, list[int]] = {}
    limits: dict[int, Interpolator] = {}
    for i, schedule in enumerate(schedules):
        if not endless[i]:
            continue
        if schedule.alpha_infinity > 0:
            limits[i] = lasso_limit(problem, runs[i], schedule.alpha_infinity)
        else:
            together.setdefault(float(schedule.total_infinity), []).append(i)
    for total, which in together.items():
        if len(which) == 1:
            limits[which[0]] = interpolator(problem, runs[which[0]], total)
            continue
        paths = interpolators(problem, [runs[i] for i in which], [total])
        limits.update({i: path[0] for i, path in zip(which, paths, strict=True)})
    return limits
