r"""Limits of discrete runs: exact after the run, and to second order in the step size before it.

After: x_∞ = argmin {R_a(x) + ⟨r, x⟩ : Zx = y} with the gain and the shift of `follow_descent`.
Before, along the gradient flow x_t, with η = γ/(1 − μ) for steps γ under momentum μ:

    Λ = 4A + η ∫ [(1 + 2ℓ)((∂_jf)² + 4α²) + c₂((1/n) Σ_i z_ij² r_i² − (∂_jf)²)] dt + O(η²)

ℓ is the mean lag of the gradients that a step uses (μ/(1 − μ) for heavy ball, μ²/(1 − μ) for
Nesterov), c₂ = (n − B)/(B(n − 1)) for minibatches of B of n: drift counts 1 + 2ℓ times, noise once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mirrorflow.checks import Array, InputError, instance, number, whole
from mirrorflow.descent.reference import DescentPath, Sam
from mirrorflow.flows import MomentumFlow, gradient_flow
from mirrorflow.flows.quadrature import gauss_nodes
from mirrorflow.limits import Interpolator, interpolator
from mirrorflow.maps import Factors, check_pair
from mirrorflow.own_schedules import check_schedule
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["discrete_limit", "flow_integrals", "predicted_gain"]

DECAYS = 40.0  # e-folds of the slowest mode after which nothing is left to integrate


def discrete_limit(problem: Regression, path: DescentPath | MomentumFlow) -> Interpolator:
    """Where a run of `follow_descent` or `momentum_flow` ends, if gain and shift stay.

    The argmin of R_a(x) + ⟨r, x⟩ over Zx = y with the gain Λ and the shift r of the whole path
    (Even et al. 2023 for α = 0). Exact once the path has converged, at any step size; until then
    off by what the steps to come add.

    Parameters
    ----------
    problem : Regression
    path : DescentPath or MomentumFlow
        That of the problem.

    Returns
    -------
    Interpolator

    Raises
    ------
    InputError
        If problem and path don't fit, or Λ has no value.

    Examples
    --------
    >>> from mirrorflow import follow_descent
    >>> problem = Regression([[1.0, 2.0, 0.5]], [2.0])
    >>> path = follow_descent(problem, Factors.pilot([0.3, 0.0, -0.2]), 0.2, 300)
    >>> bool(np.abs(discrete_limit(problem, path).x - path.x[-1]).max() < 1e-14)
    True
    """
    instance("path", path, DescentPath, MomentumFlow)
    if path.status == "outside":
        raise InputError(f"path must have a gain and a shift, but: {path.message}")
    return interpolator(problem, path.start, 0.0, gain=path.gain[-1], shift=path.shift[-1])


def predicted_gain(
    problem: Regression,
    factors: Factors,
    schedule: Schedule,
    step_size: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    batch_size: int | None = None,
    sam: Sam | None = None,
    delay: float = 0.0,
) -> Array:
    """Λ − 4A of (S)GD known before training, to O(η²); its shift r is O(η²) off the row space.

    `interpolator(problem, factors, A, gain=predicted_gain(…))` is then the limit to O(η²); for SGD
    the mean over runs, each of which is off by O(η^1.5).

    Parameters
    ----------
    problem : Regression
    factors : Factors
    schedule : Schedule
        α(t) in flow time t = Σ η, with α(∞) = 0.
    step_size : float > 0
        γ; η = γ/(1 − μ).
    momentum, nesterov, batch_size
        As in `follow_descent`; batches are drawn afresh in each step.
    sam : Sam, optional
        Not normalized: ρ adds 2ρ∫(∂f)², for 1-SAM 2ρ(1/n)Σ_i z_ij²∫r_i².
    delay : float ≥ 0
        Further mean lag of the gradients, in steps: s for gradients s steps late, s/2 for the mean
        of the last s + 1.

    Returns
    -------
    (d,) array

    Raises
    ------
    InputError
        If a number is out of its range or the penalty stays, so that the gain grows without end.

    Examples
    --------
    >>> from mirrorflow import Constant
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> gain = predicted_gain(problem, Factors.pilot([0.0, 0.0]), Constant(0.0), 0.1)
    >>> bool((gain > 0).all())
    True
    """
    check_pair(problem, factors)
    instance("factors", factors, Factors)
    instance("nesterov", nesterov, bool, np.bool_)
    check_schedule(schedule)
    if sam is not None:
        instance("sam", sam, Sam)
    momentum = number("momentum", momentum, 0.0, 1.0)
    if momentum == 1.0:
        raise InputError("momentum must be below 1, but it is 1.")
    n, eta = problem.n, number("step_size", step_size, 0.0, open_low=True) / (1.0 - momentum)
    batch = n if batch_size is None else whole("batch_size", batch_size, 1, n)
    lag = momentum ** (2 if nesterov else 1) / (1.0 - momentum) + number("delay", delay, 0.0)
    squares, samples, penalty, _ = flow_integrals(problem, factors, schedule)
    noise = (n - batch) / (batch * max(n - 1, 1)) * (samples - squares)
    gain = eta * ((1.0 + 2.0 * lag) * (squares + 4.0 * penalty) + noise)
    if sam is not None:
        if sam.normalized:
            raise InputError("sam must not be normalized for predicted_gain, but it is.")
        gain = gain + 2.0 * sam.rho * (samples if sam.per_sample else squares)
    return gain


def flow_integrals(
    problem: Regression, factors: Factors, schedule: Schedule, rtol: float = 1e-10
) -> tuple[Array, Array, float, float]:
    """∫(∂_jf)², ∫(1/n)Σ_i z_ij²φ′_i², ∫α² and ∫(f − min f) dt along gradient flow from 0 to ∞.

    By Gauss's rule on pieces that double in length, cut at the schedule's breakpoints; the first
    two have shape (d,).
    """
    if schedule.alpha_infinity > 0:
        raise InputError(
            f"schedule must fade, but its α(∞) is {schedule.alpha_infinity:g}: the gain of a "
            "penalty that stays grows without end (see lasso_limit)."
        )
    limit = interpolator(problem, factors, schedule.total_infinity)
    space = problem.row_space
    half = space.s[:, None] * space.V * np.sqrt(2.0 * (limit.p + limit.q))
    rates = np.linalg.eigvalsh(half @ half.T / problem.n)
    slowest = rates[rates > 1e-12 * rates.max(initial=0.0)].min(initial=np.inf)
    after = max(schedule.breakpoints, default=0.0)
    first = 0.01 / max(float(rates.max(initial=0.0)), 1e-300)
    end = after + DECAYS / float(slowest) if np.isfinite(slowest) else after + first
    times, weights = gauss_nodes(schedule, first, [end])
    flow = gradient_flow(problem, factors, schedule, times, rtol)
    if not flow.success:
        raise InputError(f"schedule must lead to an end that integration reaches: {flow.message}")
    Z: Any = problem.Z
    dphi = problem.loss.slope((Z @ flow.x.T).T, problem.y)
    squares = weights @ ((dphi @ Z) / problem.n) ** 2
    samples = (weights @ dphi**2) @ np.square(Z) / problem.n
    alpha = np.broadcast_to(np.asarray(schedule.alpha(times), float), times.size)
    least = problem.value(limit.x)
    return squares, samples, float(weights @ alpha**2), float(weights @ (flow.loss - least))
