r"""Gradient flow of F_t(θ) = f(g(θ)) + α_t‖θ‖² in continuous time, for any map and loss.

`gradient_flow` integrates the dual system of `dual`, n unknowns; `direct_flow` integrates θ as it
stands. The two share a stepper, but no formula: `direct_flow` is the reference integrator, which
can confirm or refute what the dual form satisfies by construction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import InputError
from mirrorflow.flows.runs import direct_runs, dual_runs
from mirrorflow.flows.trajectory import Flow, Runs, check_runs, trajectory
from mirrorflow.limits import Interpolator, interpolators, lasso_limit
from mirrorflow.maps.base import MirrorMap
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule
from mirrorflow.threads import on_one_thread

__all__ = ["direct_flow", "direct_flows", "gradient_flow", "gradient_flows"]


@on_one_thread
def gradient_flow(
    problem: Regression, start: MirrorMap, schedule: Schedule, times: ArrayLike, rtol: float = 1e-8
) -> Flow:
    """Gradient flow from any start, by its dual system in n unknowns.

    Parameters
    ----------
    problem : Regression
        With any loss.
    start : Factors, Powers, DeepFactors, …
        θ₀, with as many coordinates as the problem.
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
        If shapes don't fit, times don't ascend, rtol is out of range, or the start has no dual
        form under this schedule.

    Examples
    --------
    >>> from mirrorflow import Constant, Factors
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> flow = gradient_flow(problem, Factors.pilot([0.0, 0.0]), Constant(0.0), [0.0, 50.0])
    >>> bool(flow.loss[-1] < 1e-15)
    True
    """
    return gradient_flows(problem, [start], [schedule], [times], rtol)[0]


@on_one_thread
def gradient_flows(
    problem: Regression,
    starts: Sequence[MirrorMap],
    schedules: Sequence[Schedule] | Schedule,
    times: ArrayLike | Sequence[ArrayLike],
    rtol: float = 1e-8,
) -> list[Flow]:
    """`gradient_flow` for many runs on one problem, on all cores.

    A run is the same to the bit in any list, in any order and on any number of cores.

    Parameters
    ----------
    problem : Regression
    starts : sequence of Factors, Powers, …
    schedules : sequence of Schedule, one for each of `starts`, or one for all
    times : (T,) floats for all runs, or a sequence with such floats for each run
        As in `gradient_flow`; runs may differ in T.
    rtol
        As in `gradient_flow`.

    Returns
    -------
    list of Flow, in the order of `starts`

    Raises
    ------
    InputError
        As `gradient_flow`, and if there are neither one nor as many schedules, or arrays of
        times, as runs.

    Examples
    --------
    >>> from mirrorflow import Constant, Factors
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> starts = [Factors.pilot([0.0, 0.0]), Factors.pilot([1.0, -1.0])]
    >>> flows = gradient_flows(problem, starts, Constant(0.0), [0.0, 50.0])
    >>> [bool(flow.loss[-1] < 1e-15) for flow in flows]
    [True, True]
    """
    asked = check_runs(problem, starts, schedules, times, rtol)
    for start, schedule in zip(asked.starts, asked.schedules, strict=True):
        start.check_decay("∫α of the schedule", float(schedule.total_infinity))
    limits = _limits(problem, asked)
    flows = []
    for i, run in enumerate(dual_runs(problem, asked)):
        reached, theta, limit = run.times, run.theta, limits.get(i)
        if limit is not None and not run.failure:
            reached = np.append(reached, np.inf)
            theta = np.concatenate([theta, limit.parameters[None]])
        flow = trajectory(problem, asked, i, reached, theta, None, run.counts, run.failure, limit)
        flows.append(flow)
    return flows


def direct_flow(
    problem: Regression,
    start: MirrorMap,
    schedule: Schedule,
    times: ArrayLike,
    rtol: float = 1e-8,
    *,
    accumulate: bool = False,
) -> Flow:
    """Gradient flow by integrating the parameters θ as it is written: the reference integrator.

        θ̇_k = −∂_k g(θ) ⊙ ∇f(x) − 2α_t θ_k,      x = g(θ)

    for m ⊙ w: ṁ = −w ⊙ ∇f − 2α_t m, ẇ = −m ⊙ ∇f − 2α_t w. The error of each coordinate is measured
    against the length of its θ (√(m_i² + w_i²)), and where x is small against that of x; rtol
    bounds it per step. The Jacobian is a small block for each coordinate plus rank n, so that an
    implicit step costs O(n²d).

    Parameters
    ----------
    problem, start, schedule, rtol
        As in `gradient_flow`; every schedule is allowed.
    times : (T,) floats, strictly ascending, finite
        Integration alone can't say where t = inf leads.
    accumulate : bool
        Whether to integrate g_t = ∫₀ᵗ e^{−κA}∇f beside θ, to rtol times |g| + e^{−κA}|θ|/|∂g|
        (1 for m ⊙ w), as `Flow.accumulated`.

    Returns
    -------
    Flow

    Raises
    ------
    InputError
        As `gradient_flow`, and if the last time is inf.

    Notes
    -----
    The smaller of |m ± w| is what carries a coordinate to the other sign, and (m, w) in double
    precision hold it only down to 1e-16 of the larger. Balanced coordinates, where it is 0, may
    therefore change sign here after long times, though not in exact arithmetic; so may others
    once e^{−4A} is below that, from A ≈ 9 on, and from A ≈ 40 on the path itself is lost. Look
    at the drift of (m² − w²)e^{4A} before trusting this flow there.

    Examples
    --------
    >>> from mirrorflow import Constant, Factors
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> flow = direct_flow(problem, Factors.pilot([0.0, 0.0]), Constant(0.1), [0.0, 5.0])
    >>> balance = (flow.m**2 - flow.w**2) * np.exp(4 * flow.total)[:, None]  # Theorem 2.1
    >>> bool(np.allclose(balance, 1.0, rtol=1e-6))
    True
    """
    return direct_flows(problem, [start], [schedule], [times], rtol, accumulate=accumulate)[0]


@on_one_thread
def direct_flows(
    problem: Regression,
    starts: Sequence[MirrorMap],
    schedules: Sequence[Schedule] | Schedule,
    times: ArrayLike | Sequence[ArrayLike],
    rtol: float = 1e-8,
    *,
    accumulate: bool = False,
) -> list[Flow]:
    """`direct_flow` for many runs on one problem, on all cores; bits as in `gradient_flows`.

    Parameters
    ----------
    problem, starts, schedules, times, rtol, accumulate
        As in `gradient_flows` and `direct_flow`; all times are finite.

    Returns
    -------
    list of Flow, in the order of `starts`

    Raises
    ------
    InputError
        As `gradient_flows`, and if a last time is inf.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> starts = [start, mf.Factors.pilot([0.5, 0.0])]
    >>> flows = mf.direct_flows(problem, starts, mf.Constant(0.0), [0.0, 50.0])
    >>> [flow.status for flow in flows]
    ['completed', 'completed']
    """
    asked = check_runs(problem, starts, schedules, times, rtol)._replace(accumulate=accumulate)
    if any(asked.endless):
        raise InputError("times must be finite for direct_flow, but the last is inf.")
    return [
        trajectory(problem, asked, i, *run) for i, run in enumerate(direct_runs(problem, asked))
    ]


def _limits(problem: Regression, asked: Runs) -> dict[int, Interpolator]:
    """The limit of each run that asks for it; those with the same A_∞ are found together."""
    together: dict[float, list[int]] = {}
    limits: dict[int, Interpolator] = {}
    for i, schedule in enumerate(asked.schedules):
        if not asked.endless[i]:
            continue
        if schedule.alpha_infinity > 0:
            limits[i] = lasso_limit(problem, asked.starts[i], schedule.alpha_infinity)
        else:
            together.setdefault(float(schedule.total_infinity), []).append(i)
    for total, which in together.items():
        paths = interpolators(problem, [asked.starts[i] for i in which], [total])
        limits.update({i: path[0] for i, path in zip(which, paths, strict=True)})
    return limits
