r"""Late L1: the distance to minimum L1 falls like e^{−4A·margin}, the margin from an LP."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import linprog

from mirrorflow.certificates.base import EPS, Certificate
from mirrorflow.checks import Array, InputError
from mirrorflow.limits import Interpolator
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.references import LOOSEST, Reference

__all__ = ["entropic_choice", "l1_excess", "l1_exponent", "margin", "relative_scale"]

FALL = 4.0  # rate at which the masses p̄ and q̄ of m ⊙ w fall with A


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
    limit: Interpolator, potential: HyperbolicEntropy | None, best: Reference, best_margin: float
) -> Certificate:
    """‖x‖₁ over the minimum falls like e^{−4A·margin}.

    Value: (‖x‖₁ − min‖·‖₁)/min‖·‖₁ with the minimum from cvxpy. Bound:
    10·relative_scale^margin + 1e-9, which is 10 e^{−4A·margin} for β = 1, x₀ = 0 and
    ‖x‖_∞ = 1; 1e-9 alone for `potential=None`, the limit at A = ∞, whose name is
    l1_at_infinity: from there to 1e-6, the accuracy of `references`, it judges nothing.
    `best_margin` is `margin(problem, best.x)`. An asymptotic law, refuted only where the power
    is below e^{−1} and the excess above 4d e^{spread} times it, spread that of log(|x|/p̄) over the
    support; with margin 0 (several minimisers) it says nothing. A reference without success gives
    inf and judges nothing.
    """
    name = "l1_excess" if potential is not None else "l1_at_infinity"
    if not (best.success and limit.success):
        return Certificate.of(name, math.inf, math.nan)
    value = float(np.abs(limit.x).sum()) / best.value - 1.0 if best.value > 0 else 0.0
    if potential is None:
        return Certificate.of(name, abs(value), 1e-9, LOOSEST)
    power, explained = relative_scale(potential, best.x) ** best_margin, math.inf
    if power < math.exp(-1.0) and best.value > 0:
        on = np.abs(best.x) > 1e-7 * np.abs(best.x).max()
        start = np.where(best.x > 0, potential.log_p, potential.log_q)[on]
        spread = float(np.ptp(np.log(np.abs(best.x[on])) - start))
        explained = 4.0 * best.x.size * math.exp(min(spread, 700.0)) * power
    return Certificate.of(name, value, 10.0 * power + 1e-9, explained)


def relative_scale(potential: HyperbolicEntropy, x: Array) -> float:
    """max(m₀² + w₀²) e^{−4A} / ‖x‖_∞: the size at which a coordinate counts as off."""
    masses = np.exp(np.logaddexp(potential.log_p, potential.log_q))
    return float(2.0 * masses.max() / (np.abs(x).max(initial=0.0) or 1.0))


def l1_exponent(
    problem: Regression,
    potential: HyperbolicEntropy,
    pair: tuple[Interpolator, Interpolator],
    totals: tuple[float, float],
    best: Array,
    best_margin: float,
) -> Certificate:
    r"""The mass off the support of minimum L1 falls like e^{−4A·margin}.

    With D(A) = Σ_{j∉S}(p_j + q_j) ≥ Σ_{j∉S}|x_j|, S the support of the unique minimiser x̂,

        −V(ℓ) + log min p̄  ≤  log D + 4A·margin  ≤  V(ℓ̂) + log(2(d − |S|) max p̄) + log 2,

    where V(ℓ) = min {max_{j∉S}|z_jᵀν| : z_jᵀν = ℓ_j on S} is a seminorm, ℓ_j = ±log(p_j/p̄_j) on the
    support, ℓ̂ the same with |x̂_j| for p_j, and p̄ stands for ½u₀², ½v₀². (Lower: ν solves the
    support's equations with right side 4A sign + ℓ. Upper: the dual optimum is at least its value
    at any other ν.) So the exponent is measured and the bound known, without a fit.

    Value: |log(D(A₁)/D(A₂))/(4(A₂ − A₁)) − margin|. Bound: the sum of both one-sided constants,
    divided by 4(A₂ − A₁), with V from the least-norm ν. nan, which never holds, where D(A₂) has
    fallen below 1e4 eps‖x‖₁: Zx = y in float64 leaves it undetermined there.

    Parameters
    ----------
    potential : HyperbolicEntropy
        At A = 0: p̄ and q̄.
    pair : the limits at `totals` = (A₁, A₂), A₁ < A₂.
    best, best_margin : x̂ of minimum L1, its margin > 0.
    """
    on = np.abs(best) > 1e-7 * np.abs(best).max()
    if on.all():
        raise InputError("best must have a zero, but all of its entries are nonzero.")
    V, sign = problem.row_space.V, np.sign(best[on])
    own = np.where(sign > 0, potential.log_p[on], potential.log_q[on])
    off = np.concatenate([potential.log_p[~on], potential.log_q[~on]])

    def seminorm(masses: Array) -> float:
        nu, *_ = np.linalg.lstsq(V[:, on].T, sign * (np.log(masses) - own), rcond=None)
        return float(np.abs(V[:, ~on].T @ nu).max())

    logs, lowest = [], -np.inf
    for limit in pair:
        mass = float(np.sum(limit.p[~on] + limit.q[~on]))
        lost = mass < 1e4 * EPS * float(np.abs(best).sum())
        logs.append(np.nan if lost else float(np.log(mass)))
        lowest = max(lowest, seminorm(np.where(sign > 0, limit.p[on], limit.q[on])) - off.min())
    highest = seminorm(np.abs(best[on])) + float(np.log(2.0 * off.size) + off.max())
    span = FALL * (totals[1] - totals[0])
    value = abs((logs[0] - logs[1]) / span - best_margin)
    return Certificate.of("l1_exponent", value, (lowest + highest) / span)


def entropic_choice(problem: Regression, factors: Factors, endless: Interpolator) -> Certificate:
    """Among several minimum-L1 interpolators the limit A → ∞ minimises an entropy.

    KKT on the face: (log(2x_i/u₀_i²) on x_i > 0, −log(2|x_i|/v₀_i²) on x_i < 0) is Zᵀν for some ν
    on the support. Value: its largest residual by least squares. Bound:
    1e3 eps (1 + max|log|)/σ, σ the least nonzero singular value of the support's columns of V.

    Parameters
    ----------
    endless : Interpolator
        `interpolator(problem, factors, inf)`.
    """
    V, x = problem.row_space.V, endless.x
    on = np.abs(x) > 1e-7 * np.abs(x).max(initial=0.0)
    mass = 0.5 * np.where(x > 0, factors.u, factors.v)[on] ** 2
    logs = np.sign(x[on]) * np.log(np.abs(x[on]) / mass)
    nu, _, _, singular = np.linalg.lstsq(V[:, on].T, logs, rcond=1e-10)
    value = float(np.abs(V[:, on].T @ nu - logs).max())
    least = float(singular[singular > 1e-10 * singular[0]].min())
    bound = 1e3 * EPS * (1.0 + float(np.abs(logs).max())) / least
    return Certificate.of("entropic_choice", value, bound)
