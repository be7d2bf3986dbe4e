r"""Theorems 2.1 and 2.3 as checks with a number, a bound and a verdict.

A certificate holds where value ≤ bound; a value that is not a number never holds. Paths are
judged from (m, w) as `direct_flow` returns them, because the dual flow satisfies the invariant
and the KKT form by construction. Bounds come from rtol, from rounding, from a solver's gap or
from what is left of the penalty; each function says which.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.optimize import linprog

from mirrorflow.checks import Array, InputError
from mirrorflow.factors import Factors
from mirrorflow.flows import Flow
from mirrorflow.limits import Interpolator, interpolator
from mirrorflow.potentials import HyperbolicEntropy
from mirrorflow.problems import Regression
from mirrorflow.references import Reference
from mirrorflow.schedules import Schedule

__all__ = [
    "Certificate",
    "agreement",
    "arrival",
    "convergence",
    "finite_time",
    "invariant",
    "l1_excess",
    "margin",
    "mirror_flow",
    "optimality",
    "path_difference",
    "relative_scale",
    "slowest_rate",
]

EPS = float(np.finfo(float).eps)
# Global error over local tolerance: steps × amplification. Between two integrators at the same
# rtol up to 20 was seen; a wrong constant moves every value here by 0.1 and more.
PATH_FACTOR = 1e2
SMALLEST = 1e-140  # factors below it add nothing to x = m ⊙ w


@dataclass(frozen=True, slots=True)
class Certificate:
    """One claim on one case: a number, the bound it must keep, and whether it does.

    Attributes
    ----------
    name : str
    value, bound : float
    holds : bool
        value ≤ bound.
    """

    name: str
    value: float
    bound: float
    holds: bool

    @classmethod
    def of(cls, name: str, value: float, bound: float) -> Certificate:
        """Compare: nan holds nowhere."""
        return cls(name, float(value), float(bound), bool(value <= bound))


def invariant(factors: Factors, flow: Flow, rtol: float) -> Certificate:
    """(m² − w²) e^{4A_t} = m₀² − w₀² along a flow (Theorem 2.1's proof).

    Value: largest |m_t² − w_t² − (m₀² − w₀²)e^{−4A_t}| / (m_t² + w_t²) over times and
    coordinates, the drift in units that an integrator with relative error control can keep.
    Bound: 100 rtol.
    """
    expected = factors.imbalance * np.exp(-4.0 * flow.total)[:, None]
    sizes = flow.m**2 + flow.w**2
    drift = np.abs((flow.m - flow.w) * (flow.m + flow.w) - expected)
    alive = sizes > SMALLEST**2
    value = np.max(drift[alive] / sizes[alive], initial=0.0)
    # a coordinate that ought to be there and is not has lost everything
    gone = ~alive & (np.abs(expected) > 1e3 * SMALLEST**2)
    return Certificate.of("invariant", math.inf if gone.any() else value, PATH_FACTOR * rtol)


def mirror_flow(problem: Regression, factors: Factors, flow: Flow, rtol: float) -> Certificate:
    """∇R_{a_t}(x_t) = −∫₀ᵗ∇f stays in the row space of Z, from ∇R_{a_0}(x_0) = 0 (Theorem 2.1).

    Value: largest max-norm over times of ∇R_{a_t}(x_t) minus its projection on the row space.
    Bound: 100 rtol, as ∇²R_a · (error of x) = (relative error of m, w). An x_t outside the
    potential's domain (a balanced coordinate that changed sign) gives inf.
    """
    alive = np.hypot(flow.m, flow.w) > SMALLEST
    worst = 0.0
    basis_of: dict[bytes, Array] = {}
    for x, total, seen in zip(flow.x, flow.total, alive, strict=True):
        potential = HyperbolicEntropy.of(factors, float(total))
        try:
            gradient = potential.gradient(x)[seen]
        except InputError:
            worst = math.inf
            break
        if seen.all():
            off = gradient - problem.row_space.V.T @ (problem.row_space.V @ gradient)
        else:
            key = seen.tobytes()
            if key not in basis_of:
                basis_of[key] = scipy.linalg.orth(problem.row_space.V[:, seen].T)
            off = gradient - basis_of[key] @ (basis_of[key].T @ gradient)
        worst = max(worst, float(np.abs(off).max(initial=0.0)))
    return Certificate.of("mirror_flow", worst, PATH_FACTOR * rtol)


def path_difference(dual: Flow, direct: Flow, rtol: float) -> Certificate:
    """x_t = ½e^{−4A}(u₀²e^{−2g} − v₀²e^{2g}), the dual form, against integrated (m, w).

    Value: largest ‖x_t − x'_t‖_∞ over the times both reached, relative to the largest
    √(x² + a²) = ½(m² + w²), of which rtol is a fraction. Bound: 100 rtol.
    """
    reached = min(dual.times.size, direct.times.size)
    difference = np.abs(dual.x[:reached] - direct.x[:reached]).max(initial=0.0)
    return Certificate.of("path_difference", difference / _size(direct), PATH_FACTOR * rtol)


def _size(flow: Flow) -> float:
    """Largest √(x² + a²) of a flow."""
    return float((0.5 * (flow.m**2 + flow.w**2)).max(initial=0.0)) or 1.0


def finite_time(
    problem: Regression, factors: Factors, flow: Flow, rtol: float, checks: int = 6
) -> Certificate:
    """x_t = argmin {R_{a_t}(x) : Zx = Zx_t} at every finite time.

    A flow that has not arrived gets its verdict here. Value: largest ‖x_t − argmin‖_∞ over
    `checks` times spread over the flow, relative to its largest √(x² + a²). Bound: 100 rtol.
    """
    chosen = np.unique(np.linspace(0, flow.times.size - 1, checks).astype(int))
    worst = 0.0
    for i in chosen[np.isfinite(flow.times[chosen])]:
        at = problem.with_targets(problem.Z @ flow.x[i])
        found = interpolator(at, factors, float(flow.total[i]))
        error = float(np.abs(flow.x[i] - found.x).max()) / _size(flow)
        worst = max(worst, error if found.success else math.inf)
    return Certificate.of("finite_time", worst, PATH_FACTOR * rtol)


def slowest_rate(problem: Regression, limit: Interpolator) -> float:
    """λ_min((2/n) Z diag(√(x² + a²)) Zᵀ) on the range of Z, in 1/time.

    Once α = 0, x_t − x_∞ falls like e^{−rate·t} and the loss like e^{−2·rate·t}. Eigenvalues
    below rounding of the largest come back as 0.
    """
    space = problem.row_space
    if space.rank == 0:
        return 0.0
    H = _weighted(problem, limit) * np.outer(space.s, space.s) * (2.0 / problem.n)
    values = np.linalg.eigvalsh(H)
    return float(values[0]) if values[0] > 10 * space.rank * EPS * values[-1] else 0.0


def _weighted(problem: Regression, limit: Interpolator) -> Array:
    V = problem.row_space.V
    return (V * (limit.p + limit.q)) @ V.T  # √(x² + a²) = p + q


@dataclass(frozen=True, slots=True)
class _Remainder:
    """To first order, how far a flow at time T is from the limit: from what A still grows by,
    from lagging behind a moving target, and from the transient after the start."""

    moving: float
    lagging: float
    misfit: float
    fading: float  # e^{−rate·(T − stop)}


def _remainder(
    problem: Regression, limit: Interpolator, schedule: Schedule, end: float
) -> _Remainder:
    # Along A: dx/dA = −4x + (p + q) ⊙ Vᵀκ' with V diag(p + q) Vᵀ κ' = 4Vx. The flow follows at
    # κ̇ = α_T κ', so (2/n)s²(b − Vx) = α_T κ' is its misfit; H⁻¹ turns a misfit into x.
    space, weights = problem.row_space, limit.p + limit.q
    H = _weighted(problem, limit)
    H.flat[:: H.shape[0] + 1] += EPS * max(float(H.trace()), 1e-300)
    factor = scipy.linalg.cho_factor(H, lower=True)
    slope = scipy.linalg.cho_solve(factor, 4.0 * (space.V @ limit.x))
    alpha, left = float(schedule.alpha(end)), schedule.remaining(end)
    drift = -4.0 * limit.x + weights * (slope @ space.V)
    misfit = alpha * slope * problem.n / (2.0 * space.s**2)
    lag = weights * (scipy.linalg.cho_solve(factor, misfit) @ space.V)
    stop = max((t for t in schedule.breakpoints if t <= end), default=0.0)
    moving = 0.0 if math.isinf(left) else float(np.abs(drift).max()) * left
    fading = math.exp(-min(slowest_rate(problem, limit) * (end - stop), 700.0))
    return _Remainder(
        moving,
        float(np.abs(lag).max()),
        float(np.linalg.norm(space.s * misfit)),
        fading,
    )


def arrival(
    problem: Regression, limit: Interpolator, schedule: Schedule, flow: Flow, rtol: float
) -> Certificate:
    """Zx_T → y (Theorem 2.3): relative misfit at the last finite time.

    Value: ‖Zx_T − ŷ‖ / max_t ‖Zx_t‖, ŷ the attainable part of y. Bound: twice the misfit
    (n/2)α_T‖dν/dA‖ of a flow that follows its moving target, plus 10 e^{−rate·(T − stop)} for
    the transient, plus 100 rtol.
    """
    last = int(np.flatnonzero(np.isfinite(flow.times))[-1])
    fit = problem.Z @ limit.x
    # the flow's own size: with y = 0 the fit alone is made of rounding
    scale = float(np.linalg.norm(problem.Z @ flow.x.T, axis=0).max()) or 1.0
    value = float(np.linalg.norm(problem.Z @ flow.x[last] - fit)) / scale
    left = _remainder(problem, limit, schedule, float(flow.times[last]))
    bound = 2.0 * left.misfit / scale + 10.0 * left.fading + PATH_FACTOR * rtol
    return Certificate.of("arrival", value, bound)


def convergence(
    problem: Regression, limit: Interpolator, schedule: Schedule, flow: Flow, rtol: float
) -> Certificate:
    """x_t → argmin {R_{a_∞}(x) : Zx = y} (Theorem 2.3): distance at the last finite time.

    Value: ‖x_T − x_∞‖_∞ relative to the flow's largest √(x² + a²). Bound: twice
    ‖dx_∞/dA‖(A_∞ − A_T) and the lag behind the moving target, plus 10 e^{−rate·(T − stop)},
    plus 100 rtol. With ∫α = ∞ hand over the limit
    after A_T: the flow must follow it.
    """
    last = int(np.flatnonzero(np.isfinite(flow.times))[-1])
    scale = _size(flow)
    left = _remainder(problem, limit, schedule, float(flow.times[last]))
    bound = 2.0 * (left.moving + left.lagging) + 10.0 * left.fading * scale
    value = float(np.abs(flow.x[last] - limit.x).max()) / scale
    return Certificate.of("convergence", value, bound / scale + PATH_FACTOR * rtol)


def optimality(problem: Regression, limit: Interpolator, total: float) -> Certificate:
    """The KKT conditions of the limit: Zx = ŷ, ∇R_a(x) in the row space, no duality gap.

    Value: the largest of the constraint residual relative to max_i Σ_j|Z_ij|√(x_j² + a_j²), the
    stationarity residual, and the gap relative to (1 + 4A)Σ√(x² + a²). Bound: 50 eps (1 + 4A), the
    rounding of exponents of size 4A.
    """
    reach = 1.0 + 4.0 * (0.0 if math.isinf(total) else total)
    scale = float((np.abs(problem.Z) @ (limit.p + limit.q)).max()) or 1.0
    mass = float(np.sum(limit.p + limit.q)) or 1.0
    value = max(
        limit.constraint_residual / scale,
        limit.stationarity_residual,
        limit.gap / (reach * mass),
    )
    return Certificate.of("optimality", value, 50.0 * EPS * reach)


def agreement(
    limit: Interpolator, reference: Reference, potential: HyperbolicEntropy
) -> Certificate:
    """The limit against cvxpy's solution of the same program.

    Value: ‖x − x_cvxpy‖₂. Bound: √(4·max√(x² + a²)·gap), the distance that strong convexity
    of R allows a point whose value is within `gap` = 1e-9·(|R| + Σ√(x² + a²)) of the minimum
    (Clarabel's own accuracy on exponential cones), plus 1e-7·‖x‖ for its infeasibility.
    """
    size = float(np.linalg.norm(limit.x))
    gap = 1e-9 * (abs(potential.value(limit.x)) + float(np.sum(limit.p + limit.q)))
    curvature = float((limit.p + limit.q).max())
    bound = math.sqrt(4.0 * curvature * gap) + 1e-7 * size
    value = float(np.linalg.norm(limit.x - reference.x)) if reference.success else math.inf
    return Certificate.of("agreement", value, bound)


def margin(problem: Regression, x: Array) -> float:
    """1 − min_ν max_{j∉S}|z_jᵀν| over ν with z_jᵀν = sign x_j on the support S of x.

    The largest margin of any dual certificate of minimum L1: positive where x is the unique
    minimiser and strictly complementary. The limit's distance to x falls like e^{−4A·margin}.
    Entries below 1e-7 of the largest count as 0. Returns 1 where the support is everything.
    """
    V = problem.row_space.V
    on = np.abs(x) > 1e-7 * np.abs(x).max(initial=0.0)
    if on.all():
        return 1.0
    rank, off = V.shape[0], V[:, ~on].T
    ones = np.ones((off.shape[0], 1))
    result = linprog(
        np.append(np.zeros(rank), 1.0),
        A_ub=np.block([[off, -ones], [-off, -ones]]),
        b_ub=np.zeros(2 * off.shape[0]),
        A_eq=np.hstack([V[:, on].T, np.zeros((int(on.sum()), 1))]),
        b_eq=np.sign(x[on]),
        bounds=[(None, None)] * rank + [(0.0, None)],
        method="highs",
    )
    return 1.0 - float(result.fun) if result.status == 0 else 0.0


def l1_excess(
    limit: Interpolator,
    potential: HyperbolicEntropy | None,
    best: Reference,
    best_margin: float,
) -> Certificate:
    """‖x‖₁ over the minimum falls like e^{−4A·margin}.

    Value: (‖x‖₁ − min‖·‖₁)/min‖·‖₁ with the minimum from cvxpy. Bound:
    10·relative_scale^margin + 1e-9, which is 10 e^{−4A·margin} for β = 1, x₀ = 0 and
    ‖x‖_∞ = 1; 1e-9 alone for `potential=None`, the limit at A = ∞. `best_margin` is
    `margin(problem, best.x)`. An asymptotic law, worth asking where relative_scale < 1; with
    margin 0 (several minimisers) its bound says nothing.
    """
    value = float(np.abs(limit.x).sum()) / best.value - 1.0 if best.value > 0 else 0.0
    if not best.success:
        value = math.inf
    if potential is None:
        return Certificate.of("l1_excess", abs(value), 1e-9)
    return Certificate.of(
        "l1_excess", value, 10.0 * relative_scale(potential, best.x) ** best_margin + 1e-9
    )


def relative_scale(potential: HyperbolicEntropy, x: Array) -> float:
    """max(m₀² + w₀²) e^{−4A} / ‖x‖_∞: the size at which a coordinate counts as off."""
    masses = np.exp(np.logaddexp(potential.log_p, potential.log_q))
    return float(2.0 * masses.max() / (np.abs(x).max(initial=0.0) or 1.0))
