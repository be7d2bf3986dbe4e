r"""Theorem 2.3: where the flow ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from mirrorflow.certificates.base import (
    EPS,
    PATH_FACTOR,
    Certificate,
    growth,
    metric,
    path_bounds,
    sharpened,
    size_of,
    sizes,
)
from mirrorflow.checks import Array
from mirrorflow.flows.trajectory import Flow
from mirrorflow.limits import Interpolator
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.problems import Regression
from mirrorflow.references import LOOSEST, Reference
from mirrorflow.schedules import Schedule

__all__ = ["agreement", "arrival", "convergence", "optimality", "slowest_rate"]
__all__ += ["tracking_misfit"]

SOLVED = 1e-8  # relative residual at which `limits` calls a point converged
TIED = 1e-6  # the same for the dual of an L1 face, which near ties leave less exact


def slowest_rate(problem: Regression, limit: Interpolator) -> float:
    """λ_min((1/n) C^½ Z diag(|∂g|²) Zᵀ C^½) on the range of Z, in 1/time; C = diag φ″ at the limit.

    |∂g|² = 2√(x² + a²) for m ⊙ w. Once α = 0, x_t − x_∞ falls like e^{−rate·t} and the loss like
    e^{−2·rate·t}. Eigenvalues below rounding of the largest come back as 0, and so does what
    float64 can't hold.

    Parameters
    ----------
    problem : Regression
    limit : Interpolator

    Returns
    -------
    float
        In 1/time.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> limit = mf.interpolator(problem, start, total=0.5)
    >>> round(mf.certificates.slowest_rate(problem, limit), 3)
    7.707
    """
    return _slowest(problem, limit.x, metric(limit.start, limit.parameters))


def _slowest(problem: Regression, x: Array, weights: Array) -> float:
    rank = problem.row_space.rank
    with np.errstate(over="ignore", invalid="ignore"):
        H = sharpened(problem, x, weights)
    if rank == 0 or not np.isfinite(H).all():
        return 0.0
    values = np.linalg.eigvalsh(H)[-rank:]
    return float(values[0]) if values[0] > 10 * rank * EPS * values[-1] else 0.0


def _transient(
    problem: Regression, limit: Interpolator, schedule: Schedule, flow: Flow, last: int
) -> float:
    """What the start may still add at a flow's last time, relative to the flow's |∂g||θ|/L.

    The misfit falls like exp(−∫rate dt) with the rate of where the flow is: on a plateau near 0,
    where a large A leads, it is below that of the limit by orders. Each interval counts with the
    smaller rate of its ends.
    """
    times, at = flow.times[: last + 1], metric(flow.start, flow.parameters[: last + 1])
    stop = max((t for t in schedule.breakpoints if t <= times[-1]), default=0.0)
    rates = np.array([_slowest(problem, *here) for here in zip(flow.x, at, strict=False)])
    faded = float(np.minimum(rates[1:], rates[:-1]) @ np.diff(np.maximum(times, stop)))
    largest = sizes(limit.start, limit.parameters).max()
    return 10.0 * max(1.0, float(largest) / size_of(flow)) * math.exp(-min(faded, 700.0))


@dataclass(frozen=True, slots=True)
class Moving:
    """How a limit moves with A, to first order, and by how much a flow lags behind it.

    With weights |∂g|² and k = e^{κA}dκ/dA, where ∇R_A(x) = Vᵀκ: V diag(weights) Vᵀk = δVx and
    dx/dA = −δx + weights ⊙ Vᵀk. A flow follows at κ̇ = ακ', so Uᵀφ′ = −nαk/s is its misfit per α.
    """

    drift: Array  # dx/dA, (d,)
    misfit: Array  # Uᵀ(ŷ − Zx) per α, (r,)
    lag: Array  # what that misfit is in x, (d,)
    rates: Array  # H with ρ̇ = −Hρ for misfits ρ, (r, r)

    @classmethod
    def at(cls, problem: Regression, limit: Interpolator) -> Moving:
        """At a limit; of a loss φ with φ″ at its fit."""
        space, weights = problem.row_space, metric(limit.start, limit.parameters)
        V, n = space.V, problem.n
        H = (V * weights) @ V.T
        curved = space.U.T * problem.loss.curvature(problem.Z @ limit.x, problem.y) @ space.U
        rates = H * np.outer(space.s, space.s) @ curved / n
        H.flat[:: H.shape[0] + 1] += EPS * max(float(H.trace()), 1e-300)
        factor = scipy.linalg.cho_factor(H, lower=True)
        k = scipy.linalg.cho_solve(factor, limit.start.decay * (V @ limit.x))
        misfit = np.linalg.solve(curved, n * k / space.s)
        lag = weights * (scipy.linalg.cho_solve(factor, misfit / space.s) @ V)
        return cls(-limit.start.decay * limit.x + weights * (k @ V), misfit, lag, rates)


def _remainder(
    problem: Regression, limit: Interpolator, schedule: Schedule, flow: Flow, last: int
) -> tuple[float, float, float]:
    """To first order, how far a flow is from its limit in x, as A still grows and the flow lags
    behind; how far in Zx; and e^{−rate·(T − stop)}, what remains of its start."""
    end = float(flow.times[last])
    alpha, remaining, away, misfit = float(schedule.alpha(end)), schedule.remaining(end), 0.0, 0.0
    if alpha > 0 or remaining > 0:
        along = Moving.at(problem, limit)
        moving = 0.0 if math.isinf(remaining) else float(np.abs(along.drift).max()) * remaining
        away = moving + alpha * float(np.abs(along.lag).max())
        misfit = alpha * float(np.linalg.norm(along.misfit))
    stop = max((t for t in schedule.breakpoints if t <= end), default=0.0)
    rate = slowest_rate(problem, limit)
    return away, misfit, math.exp(-min(rate * (end - stop), 700.0))


def arrival(
    problem: Regression, limit: Interpolator, schedule: Schedule, flow: Flow, rtol: float
) -> Certificate:
    """Zx_T → y (Theorem 2.3): relative misfit at the last finite time.

    Value: ‖Zx_T − ŷ‖ / max_t ‖Zx_t‖, ŷ = Zx_∞ the attainable part of y. Bound: twice the
    misfit α_T·`tracking_misfit` of a flow that follows its target, plus 10 e^{−rate·(T − stop)} for
    the transient, plus 100 rtol. Above it a flow that was on a plateau, and may be under way,
    judges nothing.

    Parameters
    ----------
    problem : Regression
    limit : Interpolator
    schedule : Schedule
    flow : Flow
        Of `direct_flow`.
    rtol : float
        That of the path's integration.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> schedule = mf.Constant(0.1, 5.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 5.0, 50.0], 1e-9)
    >>> limit = mf.interpolator(problem, start, total=0.5)
    >>> mf.certificates.arrival(problem, limit, schedule, path, 1e-9).verdict
    'confirmed'
    """
    if not limit.success:
        return Certificate.of("arrival", math.inf, math.nan)
    last = int(np.flatnonzero(np.isfinite(flow.times))[-1])
    fit = problem.Z @ limit.x
    # the flow's own size: with y = 0 the fit alone is made of rounding
    scale = float(np.linalg.norm(problem.Z @ flow.x.T, axis=0).max()) or 1.0
    value = float(np.linalg.norm(problem.Z @ flow.x[last] - fit)) / scale
    _, misfit, fading = _remainder(problem, limit, schedule, flow, last)
    bound = 2.0 * misfit / scale + 10.0 * fading + PATH_FACTOR * rtol
    if value <= bound:
        return Certificate.of("arrival", value, bound)
    size = max(1.0, float(np.linalg.norm(fit)) / scale)
    still = size * _transient(problem, limit, schedule, flow, last)
    return Certificate.of("arrival", value, bound, bound + still)


def convergence(
    problem: Regression, limit: Interpolator, schedule: Schedule, flow: Flow, rtol: float
) -> Certificate:
    """x_t → argmin {R_{A_∞}(x) : Zx = y} (Theorem 2.3): distance at the last finite time.

    Value: ‖x_T − x_∞‖_∞ relative to the flow's largest |∂g||θ|/L = √(x² + a²). Bound: twice
    ‖dx_∞/dA‖(A_∞ − A_T) and the lag behind the moving target, plus 10 e^{−rate·(T − stop)},
    plus rtol (100 + steps), the drift off the row space, which the limit keeps. With ∫α = ∞ hand
    over the limit after A_T: the flow must follow it.

    Parameters
    ----------
    problem : Regression
    limit : Interpolator
    schedule : Schedule
    flow : Flow
        Of `direct_flow`.
    rtol : float
        That of the path's integration.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> schedule = mf.Constant(0.1, 5.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 5.0, 50.0], 1e-9)
    >>> limit = mf.interpolator(problem, start, total=0.5)
    >>> mf.certificates.convergence(problem, limit, schedule, path, 1e-9).verdict
    'confirmed'
    >>> other = mf.interpolator(problem, start, total=1.0)
    >>> mf.certificates.convergence(problem, other, schedule, path, 1e-9).verdict
    'refuted'
    """
    if not limit.success:
        return Certificate.of("convergence", math.inf, math.nan)
    last = int(np.flatnonzero(np.isfinite(flow.times))[-1])
    scale = size_of(flow)
    away, _, fading = _remainder(problem, limit, schedule, flow, last)
    bound = 2.0 * away / scale + 10.0 * fading
    value = float(np.abs(flow.x[last] - limit.x).max()) / scale
    tight, explained = path_bounds(flow, rtol, growth(flow), bound)
    if value > tight:  # a plateau, as in `arrival`
        explained += _transient(problem, limit, schedule, flow, last)
    return Certificate.of("convergence", value, tight, explained)


def optimality(problem: Regression, limit: Interpolator, total: float) -> Certificate:
    """The KKT conditions of the limit: Zx = ŷ, ∇R_A(x) in the row space, no duality gap.

    With sizes |∂g||θ|/L, √(x² + a²) for m ⊙ w, and δ = 4 there. Value: the largest of the
    constraint residual relative to max_i Σ_j|Z_ij|size_j, the stationarity residual, and the gap
    relative to (1 + δA)Σ size. Bound: 50 eps (1 + δA), the rounding of exponents of size δA, or
    8 eps max |Z|ᵀ|ν|, that of Zᵀν, where its terms cancel. From there to 1e-8, or 1e-6 at A = ∞,
    where solvers call a point converged, nothing is judged.

    Other maps have no exponents: ∇R is held relative to its largest entry, the gap to Σ|x∇R| beside
    Σ size, and in place of 1 + δA stands 1 + max |∇R|X′/size, what rounding of ∇R is worth in x.

    Parameters
    ----------
    problem : Regression
    limit : Interpolator
    total : float in [0, inf]
        A of the limit.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> limit = mf.interpolator(problem, start, total=0.5)
    >>> mf.certificates.optimality(problem, limit, 0.5).verdict
    'confirmed'
    """
    start, dual = limit.start, 0.5 * np.abs(problem.Z.T @ limit.dual)
    units = sizes(start, limit.parameters)
    scale = float(problem.magnitude(units).max()) or 1.0
    mass, stationarity = float(np.sum(units)) or 1.0, limit.stationarity_residual
    amplification = 1.0 + (start.decay * total if 0.0 < total < math.inf else 0.0)
    rounding = 8.0 * EPS * float((abs(problem.Z).T @ np.abs(limit.dual)).max())
    if start.rate == 0.0:
        worth = np.divide(dual * limit.metric, units, out=np.zeros_like(units), where=units > 0)
        amplification = 1.0 + float(worth.max(initial=0.0))
        unit = float(dual.max(initial=0.0)) or 1.0
        stationarity, rounding = stationarity / unit, rounding / unit
        mass += float(np.abs(limit.x) @ dual)
    value = max(limit.constraint_residual / scale, stationarity, limit.gap / (amplification * mass))
    solved = TIED if math.isinf(total) else SOLVED
    bound = max(50.0 * EPS * amplification, rounding)
    if bound >= solved:
        bound = math.nan
    explained = solved if limit.success else math.inf
    return Certificate.of("optimality", value, bound, explained)


def agreement(
    limit: Interpolator, reference: Reference, potential: HyperbolicEntropy
) -> Certificate:
    """The limit against cvxpy's solution of the same program.

    Value: ‖x − x_cvxpy‖₂. Bound: √(2·max 2√(x² + a²)·gap), the distance that strong convexity
    of R allows a point whose value is within `gap` = 1e-9·(|R| + Σ√(x² + a²)) of the minimum
    (Clarabel's own accuracy on exponential cones), plus 1e-7·‖x‖ for its infeasibility. A
    reference without success gives inf and judges nothing, and so does one above the bound that
    is off by what `references` lets pass: 1e-6 of ‖x‖, or anything if Clarabel calls it inaccurate.

    Parameters
    ----------
    limit : Interpolator
        Of Factors or LogFactors.
    reference : Reference
        Of `min_potential` for the same potential.
    potential : HyperbolicEntropy

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> limit = mf.interpolator(problem, start, total=0.5)
    >>> reference = mf.min_potential(problem, start, total=0.5)
    >>> mf.certificates.agreement(limit, reference, start.potential(0.5)).verdict
    'confirmed'
    """
    size = float(np.linalg.norm(limit.x))
    gap = 1e-9 * (abs(potential.value(limit.x)) + float(np.sum(limit.p + limit.q)))
    metric = 2.0 * float((limit.p + limit.q).max())
    bound = math.sqrt(2.0 * metric * gap) + 1e-7 * size
    if not reference.success:
        return Certificate.of("agreement", math.inf, math.nan)
    explained = bound + LOOSEST * size if reference.status == "optimal" else math.inf
    value = float(np.linalg.norm(limit.x - reference.x))
    return Certificate.of("agreement", value, bound, explained)


def tracking_misfit(problem: Regression, limit: Interpolator) -> Array:
    """The misfit Uᵀ(y − Zx) per unit of α at which a flow follows argmin R_{A_t}, shape (r,).

    h = H⁻¹·δ diag(s)Vx with H = (1/n) diag(s)V diag(|∂g|²) Vᵀdiag(s) for the squared loss: the
    misfit obeys ρ̇ = −Hρ + δα sVx, so ρ ≈ α h where α is small and slow, and f ≈ α²‖h‖²/(2n).

    Parameters
    ----------
    problem : Regression
    limit : Interpolator

    Returns
    -------
    (r,) array
        In units of y over units of α.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> limit = mf.interpolator(problem, start, total=0.5)
    >>> mf.certificates.tracking_misfit(problem, limit).shape
    (1,)
    """
    return Moving.at(problem, limit).misfit
