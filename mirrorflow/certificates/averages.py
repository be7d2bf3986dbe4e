r"""Integrals along the flow: Theorem 2.2's energy balance, and time averages as LASSO points."""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.certificates.base import EPS, PATH_FACTOR, Certificate
from mirrorflow.checks import Array, InputError, vector
from mirrorflow.flows import direct_flow
from mirrorflow.flows.quadrature import gauss_nodes, time_average
from mirrorflow.maps import HyperbolicEntropy, MirrorMap
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["energy_balance", "lasso_of_average"]

RTOL = 1e-9


def energy_balance(
    problem: Regression,
    start: MirrorMap,
    schedule: Schedule,
    end: float,
    x_star: Array,
    share: float = 1.0,
) -> Certificate:
    """W_0 − W_t = ∫ [⟨∇f, x − x*⟩ + α‖θ‖²] ds from 0 to t for any x*, along integrated θ.

    W_t = −R_{A_t}(x_t) − ⟨∇R_{A_t}(x_t), x* − x_t⟩: the drop of Theorem 2.2's witness is what the
    loss and the penalty have cost (this project). For maps whose decay commutes, κ = 0. Value: the
    difference of both sides, relative to the sum of their sizes. Bound: 100 rtol, rtol = 1e-9, and
    100 eps of the terms of W.

    Parameters
    ----------
    problem : Regression
    start : MirrorMap
        Where the path starts, such as `Factors`.
    schedule : Schedule
    end : float > 0
        t, in flow time.
    x_star : (d,) array
    share : float
        A factor on the penalty's term, to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If κ isn't 0, shapes don't fit, or integration ends before t.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> schedule = mf.Constant(0.1, 5.0)
    >>> mf.certificates.energy_balance(problem, start, schedule, 10.0, [0.4, 0.8]).verdict
    'confirmed'
    """
    if start.kappa != 0.0:
        raise InputError(f"start must have κ = 0 for an energy balance, but it is {start.kappa:g}.")
    x_star = vector("x_star", x_star, problem.d, "one for each coordinate")
    # 16 pieces at least: where a bounded slope ends, x turns in the middle of the path
    times, weights = gauss_nodes(schedule, end * 2.0**-12, np.linspace(0.0, end, 17)[1:])
    flow = direct_flow(problem, start, schedule, np.append(times, end), RTOL)
    if not flow.success:
        raise InputError(f"end must be a time that integration reaches: {flow.message}")
    x, theta = flow.x[:-1], flow.parameters[:-1]
    gradients = np.array([problem.gradient(point) for point in x])
    alpha = np.broadcast_to(np.asarray(schedule.alpha(times), float), times.size)
    by_loss = weights @ np.sum(gradients * (x - x_star), axis=1)
    by_penalty = weights @ (alpha * np.sum(theta**2, axis=(1, 2)))
    drop, sizes = 0.0, 0.0
    for sign, point, total in ((1.0, start.x, 0.0), (-1.0, flow.x[-1], float(flow.total[-1]))):
        potential = start.potential(total)
        value, product = potential.value(point), potential.gradient(point) * (x_star - point)
        drop -= sign * (value + float(product.sum()))
        sizes += abs(value) + float(np.abs(product).sum())
    scale = abs(drop) + abs(float(by_loss)) + float(by_penalty)
    value = abs(drop - float(by_loss) - share * float(by_penalty)) / scale
    return Certificate.of("energy_balance", value, PATH_FACTOR * (RTOL + EPS * sizes / scale))


def lasso_of_average(
    problem: Regression, start: MirrorMap, schedule: Schedule, time: float, share: float = 1.0
) -> tuple[Certificate, float]:
    """x̄_t = (1/t)∫x is a LASSO point for λ = (log(1/a₀) + 4A_t)/(2t) up to a gap that is known.

    With θ = 2∇R_{A_t}(x_t)/log(1/a_t) exactly ∇f(x̄_t) = −λθ, and the duality gap of x̄_t is
    λΣ(|x̄_j| − sθ_jx̄_j) + (1 − s)²f(x̄), s = 1/max(1, ‖θ‖_∞) (Berthier 2025 as a → 0; the finite
    form: this project). Squared loss, all a_j equal and below 1.

    Parameters
    ----------
    problem : Regression
    start : Factors or LogFactors
    schedule : Schedule
    time : float > 0
        t, in flow time.
    share : float
        A factor on λ, to try.

    Returns
    -------
    Certificate, float
        Value: the gap from Z, y and x̄ against that formula, relative to the objective. Bound: 1000
        rtol, rtol = 1e-9. And the gap itself over the objective: near 0 iff the LASSO path is
        monotone up to t.

    Raises
    ------
    InputError
        If the start is another one, or has several scales, or one above 1.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> check, gap = mf.certificates.lasso_of_average(problem, start, mf.Constant(0.0), 50.0)
    >>> check.verdict, round(gap, 3)
    ('confirmed', 0.146)
    """
    mean, flow = time_average(problem, start, schedule, [time], RTOL)
    potential = start.potential(float(flow.total[-1]))
    if not isinstance(potential, HyperbolicEntropy):
        raise InputError(f"start must be Factors or LogFactors, but it is {type(start).__name__}.")
    logs = potential.log_a
    if np.ptp(logs) > 1e-9 or logs[0] >= 0:
        raise InputError(
            f"start must have one scale a below 1, but a is from e^{logs.min():.3g} to "
            f"e^{logs.max():.3g}."
        )
    average, size = mean[-1], -float(logs[0])
    penalty = share * size / (2.0 * time)
    theta = 2.0 * potential.gradient(flow.x[-1]) / size
    s = 1.0 / max(1.0, float(np.abs(theta).max()))
    f = problem.value(average)
    claimed = penalty * float(np.sum(np.abs(average) - s * theta * average)) + (1.0 - s) ** 2 * f
    residual = problem.y - problem.Z @ average
    grad_norm = float(np.abs(problem.Z.T @ residual).max()) / problem.n
    dual = residual * min(1.0, penalty / grad_norm if grad_norm > 0 else 1.0)
    objective = f + penalty * float(np.abs(average).sum())
    gap = objective - float(problem.y @ dual - 0.5 * dual @ dual) / problem.n
    value = abs(gap - claimed) / objective if math.isfinite(claimed) else math.inf
    return Certificate.of("lasso_of_average", value, 1e3 * RTOL), gap / objective
