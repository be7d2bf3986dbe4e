r"""Theorem 2.2's rates: linear once the penalty is gone, α_t² while it decays like a power."""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.certificates.base import (
    PATH_FACTOR,
    SMALLEST,
    Certificate,
    dense,
    faded,
    growth,
    metric,
    misfit_unit,
    path_bounds,
)
from mirrorflow.certificates.limits import Moving, tracking_misfit
from mirrorflow.certificates.lyapunov import linear_constant
from mirrorflow.checks import Array, InputError
from mirrorflow.flows.trajectory import Flow
from mirrorflow.limits import Interpolator, interpolator
from mirrorflow.maps.base import MirrorMap
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["asymptotic_rate", "linear_rate", "loss_slope", "lower_rate", "power_law"]


def loss_slope(
    problem: Regression,
    schedule: Schedule,
    path: Flow,
    rtol: float,
    factors: tuple[float, float] = (1.0, 1.0),
) -> Certificate:
    """df/dt = −Σ e^{−κA}(∂f)²/R_A″(x) − δα_t⟨x, ∇f⟩; of m ⊙ w −Σ 2√(x² + a_t²)(∂f)² − 4α_t⟨x, ∇f⟩.

    v1 Appendix A prints half of both: `factors` to try. df/dt is ⟨∂f, ∂g θ̇⟩ with θ̇ as the flow is
    written. Value: largest difference over times, relative to the sum of the terms' sizes. Bound:
    rtol (100 + steps), the drift of a_t.

    Parameters
    ----------
    problem : Regression
    schedule : Schedule
    path : Flow
        Of `direct_flow`.
    rtol : float
        That of the path's integration.
    factors : (float, float)
        On the two sums, to try.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> schedule = mf.Constant(0.1, 5.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 5.0, 50.0], 1e-9)
    >>> mf.certificates.loss_slope(problem, schedule, path, 1e-9).verdict
    'confirmed'
    """
    start, worst = path.start, 0.0
    grad_g, weights = start.grad_g(path.parameters), faded(start.kappa, path.total)
    for i, (x, total) in enumerate(zip(path.x, path.total.tolist(), strict=True)):
        grad_f, alpha = problem.gradient(x), float(schedule.alpha(path.times[i]))
        theta_dot = -grad_g[i] * grad_f - 2.0 * alpha * path.parameters[i]
        true = float(np.sum(grad_f * np.sum(grad_g[i] * theta_dot, axis=0)))
        by_loss = weights[i] * np.sum(grad_f**2 / start.potential(total).hessian_diagonal(x))
        by_penalty = (start.decay if alpha > 0 else 0.0) * alpha * x * grad_f
        scale = float(by_loss + np.sum(np.abs(by_penalty)))
        claimed = -factors[0] * float(by_loss) - factors[1] * float(np.sum(by_penalty))
        worst = max(worst, abs(true - claimed) / scale if scale > 0 else 0.0)
    return Certificate.of("loss_slope", worst, *path_bounds(path, rtol, growth(path)))


def lower_rate(
    problem: Regression, start: MirrorMap, total: float, path: Flow, stop: float, rtol: float
) -> Certificate:
    """Once α = 0 the loss falls at least like e^{−λ min|∂g|² t}, e^{−2λ min a_∞ t} for m ⊙ w.

    λ from `pl_constant`, after `stop`. Value: Λ = λ min|∂g|² over the smallest rate
    −Δlog f/Δt between output times from `stop` on. Bound: 1 + the relative error of that rate,
    4·100 rtol·unit/(√f Δt·rate) with √f at the later time. Times with √f below 1e4 rtol·unit
    are left out; unit is the √f of |Z||∂g||θ|/L = |Z|½(m² + w²).

    Parameters
    ----------
    problem : Regression
    start : MirrorMap
        Where the path starts, such as `Factors`.
    total : float in [0, inf)
        A after `stop`.
    path : Flow
        Of `direct_flow`.
    stop : float
        From where on α = 0, in flow time.
    rtol : float
        That of the path's integration.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If fewer than two output times are left.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> schedule = mf.Constant(0.1, 5.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 5.0, 5.5, 6.0], 1e-9)
    >>> mf.certificates.lower_rate(problem, start, 0.5, path, 5.0, 1e-9).verdict
    'confirmed'
    """
    unit = misfit_unit(problem, path)
    seen = (path.times >= stop) & (np.sqrt(path.loss) > 1e4 * rtol * unit)
    times, f = path.times[seen], path.loss[seen]
    if times.size < 2:
        raise InputError(f"stop must leave two output times with a loss, but stop is {stop:g}.")
    claimed = linear_constant(problem, start, total, path)
    spans = np.diff(times)
    rates = -np.diff(np.log(f)) / spans
    slack = 4.0 * PATH_FACTOR * rtol * unit / (np.sqrt(f[1:]) * spans * np.maximum(rates, claimed))
    worst = int(np.argmin(rates))
    value = claimed / rates[worst] if rates[worst] > 0 else math.inf
    return Certificate.of("lower_rate", value, 1.0 + float(slack.max()))


def asymptotic_rate(
    problem: Regression, limit: Interpolator, path: Flow, rtol: float
) -> Certificate:
    r"""Late residuals obey r_t = e^{−H(t−t₁)} r_{t₁}, H = (1/n) C^½ Z diag(|∂g(θ_∞)|²) Zᵀ C^½.

    For m ⊙ w |∂g|² = 2√(x_∞² + a_∞²); C = diag φ″ at the minimiser ẑ of the loss, and r = C^½(Zx −
    ẑ): 1 and y for the squared loss. So the loss falls exactly like e^{−2λ_min(H)t}, and before
    that like the mixture of H's modes that r_{t₁} holds. Measured between two output times t₁ < t₂:
    t₂ is the last one whose misfit is above 1e4 rtol of ‖C^½ẑ‖, t₁ among those with a misfit below
    1e-3 the one with the least bound. Value: the difference of ℓ = log(‖r_{t₂}‖²/‖r_{t₁}‖²) and
    log Σ c_j² e^{−2λ_j(t₂−t₁)} relative to |ℓ|, c the modes' shares of r_{t₁}. Bound, by Duhamel's
    formula: −2 log(1 − B) in the same unit with B = εe^ε/|c₁|, ε = ∫‖H_t − H‖dt along the path, c₁
    the slowest mode's share, plus 2·100 rtol over the last misfit. nan, which never holds, where
    the path ends too early for any B < 1.

    Parameters
    ----------
    problem : Regression
    limit : Interpolator
    path : Flow
        Of `direct_flow`, dense in its last times.
    rtol : float
        That of the path's integration.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the loss has no minimum.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> times = np.linspace(0.0, 4.0, 200)
    >>> path = mf.direct_flow(problem, start, mf.Constant(0.0), times, 1e-11)
    >>> limit = mf.interpolator(problem, start, total=0.0)
    >>> mf.certificates.asymptotic_rate(problem, limit, path, 1e-11).verdict
    'confirmed'
    """
    Z, goal = dense(problem), problem.loss.minimiser(problem.y)
    if not np.isfinite(goal).all():
        raise InputError(f"loss must have a minimum for a rate, but it is {problem.loss!r}.")
    roots = np.sqrt(problem.loss.curvature(goal, problem.y))

    def rates_at(theta: Array, ratio: Array) -> Array:
        # ṙ = −H_t r with φ′/(z − ẑ) in place of φ″
        moved = (Z * metric(path.start, theta)) @ Z.T / problem.n
        return moved * np.multiply.outer(roots, ratio / roots)

    H = rates_at(limit.parameters, roots**2)
    rates, modes = np.linalg.eigh(H)
    apart = path.x @ Z.T - goal
    residuals = apart * roots
    lengths = np.linalg.norm(residuals, axis=1) / float(np.linalg.norm(goal * roots))
    window = np.flatnonzero((lengths < 1e-3) & (lengths > 1e4 * rtol))
    best = Certificate.of("asymptotic_rate", math.nan, math.nan)
    if window.size < 2:
        return best
    dphi = problem.loss.slope(apart + goal, problem.y)
    ratios = np.divide(dphi, apart, out=np.ones_like(apart) * roots**2, where=apart != 0)
    off = np.array([np.linalg.norm(rates_at(path.parameters[i], ratios[i]) - H, 2) for i in window])
    pieces = 0.5 * (off[1:] + off[:-1]) * np.diff(path.times[window])
    noise = 2.0 * PATH_FACTOR * rtol / float(lengths[window[-1]])
    last = window[-1]
    for k, first in enumerate(window[:-1]):
        shares = modes.T @ residuals[first] / np.linalg.norm(residuals[first])
        epsilon = float(np.sum(pieces[k:]))
        B = epsilon * math.exp(min(epsilon, 700.0)) / max(abs(float(shares[0])), SMALLEST)
        if B >= 1.0:
            continue
        decays = np.exp(-2.0 * rates * (path.times[last] - path.times[first]))
        expected = math.log(float(np.sum(shares**2 * decays)))
        seen = 2.0 * math.log(lengths[last] / lengths[first])
        bound = (-2.0 * math.log1p(-B) + noise) / abs(seen)
        if not bound >= best.bound:
            best = Certificate.of("asymptotic_rate", abs(seen - expected) / abs(seen), bound)
    return best


def power_law(
    problem: Regression, start: MirrorMap, schedule: Schedule, path: Flow, rtol: float
) -> Certificate:
    """While α_t decays like a power, f_t = α_t²‖h‖²/(2n)(1 + o(1)): no linear rate.

    The flow follows argmin R_{A_t} at the misfit α h of `tracking_misfit`; for losses that are
    ½(z − y)² near y. Value: |f_T/(α_T²‖h‖²/(2n)) − 1| at the last time. Bound: twice the next
    order, 2‖H⁻¹ d(αh)/dt‖/‖αh‖ (derivative by difference, through limits after A_T and A_{T−δ}),
    plus what the loss is from quadratic, (max|αh|/δ)² for pseudo-Huber, measured by `steepness`,
    plus 2·100 rtol·(size of Zx)/‖αh‖.

    Parameters
    ----------
    problem : Regression
    start : MirrorMap
        Where the path starts, such as `Factors`.
    schedule : Schedule
        Such as Quadratic.
    path : Flow
        Of `direct_flow`.
    rtol : float
        That of the path's integration.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the loss isn't ½(z − y)² near y.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> schedule = mf.Quadratic.from_total(0.5, timescale=1.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 500.0], 1e-9)
    >>> mf.certificates.power_law(problem, start, schedule, path, 1e-9).verdict
    'confirmed'
    """
    end = float(path.times[-1])
    vectors = []
    for t in (0.99 * end, end):
        limit = interpolator(problem, start, float(schedule.total(t)))
        vectors.append(float(schedule.alpha(t)) * tracking_misfit(problem, limit))
    H = Moving.at(problem, limit).rates
    derivative = (vectors[1] - vectors[0]) / (0.01 * end)
    size = float(np.linalg.norm(vectors[1]))
    lag = float(np.linalg.norm(np.linalg.solve(H, derivative))) / size
    expected = size**2 / (2.0 * problem.n)
    non_quadratic = 2.0 * (1.0 - problem.loss.steepness(size))
    noise = 2.0 * PATH_FACTOR * rtol * float(np.linalg.norm(problem.Z @ limit.x)) / size
    value = abs(float(path.loss[-1]) / expected - 1.0)
    return Certificate.of("power_law", value, 4.0 * lag + non_quadratic + noise)


def linear_rate(problem: Regression, start: MirrorMap, total: float, path: Flow) -> Certificate:
    """The printed linear rate at the path's end: −d log f/dt ≥ Λ, 2λ min a_∞ of m ⊙ w (v1 3.2).

    True once α = 0; under a schedule that decays like a power it is refuted by −d log f/dt → 0.
    Value: Λ over the measured rate between the last two output times. Bound: 1.

    Parameters
    ----------
    problem : Regression
    start : MirrorMap
        Where the path starts, such as `Factors`.
    total : float in [0, inf)
        A_∞.
    path : Flow
        Of `direct_flow`.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the loss has no λ, see `pl_constant`.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> schedule = mf.Quadratic.from_total(0.5, timescale=1.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 400.0, 500.0], 1e-9)
    >>> mf.certificates.linear_rate(problem, start, 0.5, path).verdict
    'refuted'
    """
    claimed = linear_constant(problem, start, total, path)
    rate = -math.log(path.loss[-1] / path.loss[-2]) / (path.times[-1] - path.times[-2])
    return Certificate.of("linear_rate", claimed / rate if rate > 0 else math.inf, 1.0)
