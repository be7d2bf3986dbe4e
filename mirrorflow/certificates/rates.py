r"""Theorem 2.2's rates: linear once the penalty is gone, α_t² while it decays like a power."""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.certificates.base import (
    PATH_FACTOR,
    SMALLEST,
    Certificate,
    Trajectory,
    dense,
    misfit_unit,
)
from mirrorflow.certificates.limits import tracking_misfit
from mirrorflow.certificates.losses import SQUARED, Loss
from mirrorflow.certificates.lyapunov import pl_constant
from mirrorflow.checks import Array, InputError
from mirrorflow.limits import Interpolator, interpolator
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["asymptotic_rate", "linear_rate", "lower_rate", "power_law"]


def lower_rate(
    problem: Regression,
    factors: Factors,
    total: float,
    path: Trajectory,
    stop: float,
    rtol: float,
    loss: Loss = SQUARED,
) -> Certificate:
    """Once α = 0 the loss falls at least like e^{−2λ min a_∞ t} (Theorem 2.2).

    λ from `pl_constant`, after `stop`. Value: Λ = 2λ min a_∞ over the smallest rate
    −Δlog f/Δt between output times from `stop` on. Bound: 1 + the relative error of that rate,
    4·100 rtol·unit/(√f Δt·rate) with √f at the later time. Times with √f below 1e4 rtol·unit
    are left out; unit is the √f of |Z|½(m² + w²).
    """
    late = path.times >= stop
    times, f = path.times[late], path.loss[late]
    unit = misfit_unit(problem, path)
    alive = np.sqrt(f) > 1e4 * rtol * unit
    times, f = times[alive], f[alive]
    if times.size < 2:
        raise InputError(f"stop must leave two output times with a loss, but stop is {stop:g}.")
    a = float(np.exp(HyperbolicEntropy.of(factors, total).log_a).min())
    claimed = 2.0 * pl_constant(problem, path, loss) * a
    spans = np.diff(times)
    rates = -np.diff(np.log(f)) / spans
    slack = 4.0 * PATH_FACTOR * rtol * unit / (np.sqrt(f[1:]) * spans * np.maximum(rates, claimed))
    worst = int(np.argmin(rates))
    value = claimed / rates[worst] if rates[worst] > 0 else math.inf
    return Certificate.of("lower_rate", value, 1.0 + float(slack.max()))


def asymptotic_rate(
    problem: Regression, limit: Interpolator, path: Trajectory, rtol: float, loss: Loss = SQUARED
) -> Certificate:
    r"""Late residuals obey r_t = e^{−H(t−t₁)} r_{t₁}, H = (2/n) Z diag(√(x_∞² + a_∞²)) Zᵀ.

    So the loss falls exactly like e^{−2λ_min(H)t}, and before that like the mixture of H's modes
    that r_{t₁} holds. Measured between two output times t₁ < t₂: t₂ is the last one whose misfit
    is above 1e4 rtol of ‖y‖, t₁ among those with a misfit below 1e-3 the one with the least
    bound. Value: |log(‖r_{t₂}‖²/‖r_{t₁}‖²) − log Σ c_j² e^{−2λ_j(t₂−t₁)}| relative to
    |log(‖r_{t₂}‖²/‖r_{t₁}‖²)|, c the modes' shares of r_{t₁}. Bound, by Duhamel's formula:
    −2 log(1 − B) in the same unit with B = εe^ε/|c₁|, ε = ∫‖H_t − H‖dt along the path, c₁ the
    slowest mode's share, plus 2·100 rtol over the last misfit. nan, which never holds, where the
    path ends too early for any B < 1.
    """
    Z = dense(problem)
    H = (Z * (limit.p + limit.q)) @ Z.T * (2.0 / problem.n)
    rates, modes = np.linalg.eigh(H)
    residuals = path.x @ Z.T - problem.y
    sizes = np.linalg.norm(residuals, axis=1) / float(np.linalg.norm(problem.y))
    window = np.flatnonzero((sizes < 1e-3) & (sizes > 1e4 * rtol))
    off = np.array([_departure(problem, H, path, int(i), loss) for i in window])
    best = Certificate.of("asymptotic_rate", math.nan, math.nan)
    if window.size < 2:
        return best
    pieces = 0.5 * (off[1:] + off[:-1]) * np.diff(path.times[window])
    noise = 2.0 * PATH_FACTOR * rtol / float(sizes[window[-1]])
    last = window[-1]
    for k, first in enumerate(window[:-1]):
        shares = modes.T @ residuals[first] / np.linalg.norm(residuals[first])
        epsilon = float(np.sum(pieces[k:]))
        B = epsilon * math.exp(min(epsilon, 700.0)) / max(abs(float(shares[0])), SMALLEST)
        if B >= 1.0:
            continue
        decays = np.exp(-2.0 * rates * (path.times[last] - path.times[first]))
        expected = math.log(float(np.sum(shares**2 * decays)))
        seen = 2.0 * math.log(sizes[last] / sizes[first])
        bound = (-2.0 * math.log1p(-B) + noise) / abs(seen)
        if not bound >= best.bound:
            best = Certificate.of("asymptotic_rate", abs(seen - expected) / abs(seen), bound)
    return best


def _departure(problem: Regression, H: Array, path: Trajectory, i: int, loss: Loss) -> float:
    """‖H_t − H‖ with ṙ = −H_t r: (1/n) Z diag(m² + w²) Zᵀ diag(φ'(r)/r)."""
    Z = dense(problem)
    r = Z @ path.x[i] - problem.y
    ratio = np.divide(loss.slope(r), r, out=np.ones_like(r), where=r != 0)
    now = (Z * (path.m[i] ** 2 + path.w[i] ** 2)) @ Z.T / problem.n * ratio
    return float(np.linalg.norm(now - H, 2))


def power_law(
    problem: Regression,
    factors: Factors,
    schedule: Schedule,
    path: Trajectory,
    rtol: float,
    loss: Loss = SQUARED,
) -> Certificate:
    """While α_t decays like a power, f_t = α_t²‖h‖²/(2n)(1 + o(1)): no linear rate.

    The flow follows argmin R_{a_t} at the misfit α h of `tracking_misfit`. Value:
    |f_T/(α_T²‖h‖²/(2n)) − 1| at the last time. Bound: twice the next order,
    2‖H⁻¹ d(αh)/dt‖/‖αh‖ (derivative by difference, through limits after A_T and A_{T−δ}), plus
    what the loss is from quadratic, (max|αh|/δ)² for pseudo-Huber, measured by `steepness`, plus
    2·100 rtol·(size of Zx)/‖αh‖.
    """
    end = float(path.times[-1])
    now, before = (end, 0.99 * end)
    vectors, limit = [], None
    for t in (before, now):
        limit = interpolator(problem, factors, float(schedule.total(t)))
        vectors.append(float(schedule.alpha(t)) * tracking_misfit(problem, limit))
    assert limit is not None
    space = problem.row_space
    H = (space.V * (limit.p + limit.q)) @ space.V.T * np.outer(space.s, space.s) * 2 / problem.n
    slope = (vectors[1] - vectors[0]) / (now - before)
    size = float(np.linalg.norm(vectors[1]))
    lag = float(np.linalg.norm(np.linalg.solve(H, slope))) / size
    expected = size**2 / (2.0 * problem.n)
    bent = 2.0 * (1.0 - loss.steepness(size))
    noise = 2.0 * PATH_FACTOR * rtol * float(np.linalg.norm(problem.Z @ limit.x)) / size
    value = abs(float(path.loss[-1]) / expected - 1.0)
    return Certificate.of("power_law", value, 4.0 * lag + bent + noise)


def linear_rate(
    problem: Regression, factors: Factors, total: float, path: Trajectory, loss: Loss = SQUARED
) -> Certificate:
    """The printed linear rate at the path's end: −d log f/dt ≥ Λ = 2λ min a_∞ (v1 3.2).

    True once α = 0; under a schedule that decays like a power it is refuted by −d log f/dt → 0.
    Value: Λ over the measured rate between the last two output times. Bound: 1.
    """
    a = float(np.exp(HyperbolicEntropy.of(factors, total).log_a).min())
    claimed = 2.0 * pl_constant(problem, path, loss) * a
    rate = -math.log(path.loss[-1] / path.loss[-2]) / (path.times[-1] - path.times[-2])
    return Certificate.of("linear_rate", claimed / rate if rate > 0 else math.inf, 1.0)
