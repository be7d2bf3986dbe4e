r"""Late L1: how far limits are from minimum L1, and how that falls with A."""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.certificates.base import EPS, Certificate
from mirrorflow.checks import Array, InputError
from mirrorflow.limits import Interpolator, interpolator, l1_distance
from mirrorflow.limits.l1_distance import margin_program
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.powers import Powers
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.references import LOOSEST, Reference

__all__ = ["entropic_choice", "l1_excess", "l1_exponent", "margin", "sharp_l1"]

FALL = 4.0  # rate at which the masses p̄ and q̄ of m ⊙ w fall with A


def margin(problem: Regression, x: Array) -> float:
    """1 − min_ν max_{j∉S}|z_jᵀν| over ν with z_jᵀν = sign x_j on the support S of x.

    The largest margin of any dual certificate of minimum L1: positive where x is the unique
    minimiser and strictly complementary. The limit's distance to x falls like e^{−4A·margin}.
    Entries below 1e-7 of the largest count as 0. Returns 1 where the support is everything.

    Parameters
    ----------
    problem : Regression
    x : (d,) array
        Of minimum L1.

    Returns
    -------
    float
        In [0, 1], without unit.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
    >>> mf.certificates.margin(problem, np.array([0.0, 1.0]))
    0.5
    """
    on = np.abs(x) > 1e-7 * np.abs(x).max(initial=0.0)
    return max(1.0 - margin_program(problem.row_space.V, x, on)[1], 0.0)


def l1_excess(
    limit: Interpolator, best: Reference, total: float, share: float = 1.0
) -> Certificate:
    """‖x_∞‖₁ exceeds the minimum by no more than an entropy over 4A, unique or not (this project).

    As R_A(x_∞) ≤ R_A(x̂) for any minimum-L1 interpolator x̂ that the start's signs allow,

        Σ(p + q) − min ‖·‖₁ ≤ [E(x̂) − E(p, q)]/(4A),  E = Σ p(log(p/p̄) − 1) + q(log(q/q̄) − 1),

    with p̄ = ½u₀², q̄ = ½v₀² and Σ(p + q) ≥ ‖x_∞‖₁ of m ⊙ w; and of u^L − v^L from u = v = α,
    with α e^{−2A} for α,

        ‖x_∞‖₁ − min ‖·‖₁ ≤ ½L α^{L−2} Σ[|x_∞|^{2/L} − (|x̂| + α^L)^{2/L} + α²].

    Value: the left side over min ‖·‖₁ from cvxpy. Bound: the right side + 1e-9; what 1e-6, the
    accuracy of `references`, explains judges nothing. At A = ∞, where the name is
    l1_at_infinity, the bound is 1e-9. A reference without success gives inf and judges nothing.

    Parameters
    ----------
    limit : Interpolator
        Of Factors, LogFactors or such Powers.
    best : Reference
        Of `min_l1`.
    total : float in (0, inf]
        Its A.
    share : float
        A factor on the right side, to try.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> limit = mf.interpolator(problem, start, total=1.0)
    >>> mf.certificates.l1_excess(limit, mf.min_l1(problem), 1.0).verdict
    'confirmed'
    """
    name = "l1_excess" if total < math.inf else "l1_at_infinity"
    if not (best.success and limit.success):
        return Certificate.of(name, math.inf, math.nan)
    least, start = best.value if best.value > 0 else 1.0, limit.start
    value = float(np.sum(limit.p + limit.q)) / least - 1.0 if best.value > 0 else 0.0
    if total == math.inf:
        return Certificate.of(name, abs(value), 1e-9, LOOSEST)
    if isinstance(start, Powers) and start.depth > 2:
        alpha, power = float(start.u[0]) * math.exp(-2.0 * total), 2.0 / start.depth
        spread = np.sum(np.abs(limit.x) ** power - (np.abs(best.x) + alpha**start.depth) ** power)
        paid = alpha ** (start.depth - 2) / power * float(spread + best.x.size * alpha**2)
    else:
        potential = start.potential()
        far = _entropy(potential, np.maximum(best.x, 0.0), np.maximum(-best.x, 0.0))
        paid = (far - _entropy(potential, limit.p, limit.q)) / (FALL * total)
    bound = share * paid / least + 1e-9
    return Certificate.of(name, value, bound, bound + LOOSEST)


def _entropy(potential: HyperbolicEntropy, p: Array, q: Array) -> float:
    """Σ p(log(p/p̄) − 1) + q(log(q/q̄) − 1)."""
    masses, logs = np.append(p, q), np.append(potential.log_p, potential.log_q)
    on = masses > 0
    return float(masses[on] @ (np.log(masses[on]) - logs[on] - 1.0))


def sharp_l1(problem: Regression, start: MirrorMap, share: float = 1.0) -> Certificate:
    """x_∞ − x̂ ~ constant·e^{−exponent·A}, with constant and exponent of `l1_distance`.

    E(A) = max_{j∉S} |x_j e^{exponent·A} − constant_j|/max|constant_j| falls like e^{−order·A}.
    Value: E(A) where the law says max|x_j| = 1e-6‖x̂‖₁, so that Zx = y in float64 leaves E some
    1e-9. Bound: 0.4, as the law has no rate of its own that is proven; another exponent, and a
    constant that is doubled or halved, give ½ and more. nan where the law's conditions fail, it
    has not set in (E(½A) > ½ or e^{−order·A} > 1/20), or a limit was not found.

    Parameters
    ----------
    problem : Regression
    start : Factors, LogFactors or Powers
    share : float
        A factor on the exponent of E(A), to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the start has no such law, see `l1_distance`.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> mf.certificates.sharp_l1(problem, start).verdict
    'confirmed'
    >>> mf.certificates.sharp_l1(problem, start, share=0.5).verdict
    'refuted'
    """
    law, unjudged = l1_distance(problem, start, 0.0), Certificate.of("sharp_l1", math.nan, math.nan)
    off = law.nearest == 0
    constant, size = law.constant[off], float(np.abs(law.nearest).sum())
    top = float(np.abs(constant).max(initial=0.0))
    if not (law.success and top > 1e-6 * size):
        return unjudged
    errors, late = [], math.log(top / size / 1e-6) / law.exponent
    for total, factor in ((0.5 * late, 1.0), (late, share)):
        limit = interpolator(problem, start, total)
        apart = limit.x[off] * math.exp(factor * law.exponent * total) - constant
        errors.append(float(np.abs(apart).max()) / top if limit.success else math.nan)
    if not (errors[0] <= 0.5 and law.order * late > math.log(20.0)):
        return unjudged
    return Certificate.of("sharp_l1", errors[1], 0.4)


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
    problem : Regression
    potential : HyperbolicEntropy
        At A = 0: p̄ and q̄.
    pair : (Interpolator, Interpolator)
        The limits at `totals`.
    totals : (float, float)
        A₁ < A₂.
    best : (d,) array
        x̂ of minimum L1.
    best_margin : float > 0
        Its margin.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If no entry of `best` is 0.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> pair = mf.interpolator(problem, start, 2.0), mf.interpolator(problem, start, 4.0)
    >>> best, args = np.array([0.0, 1.0]), (start.potential(), pair, (2.0, 4.0))
    >>> mf.certificates.l1_exponent(problem, *args, best, 0.5).verdict
    'confirmed'
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
    problem : Regression
    factors : Factors
    endless : Interpolator
        `interpolator(problem, factors, inf)`.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 1.0]], [2.0]), mf.Factors.pilot([0.0, 0.3])
    >>> endless = mf.interpolator(problem, start, np.inf)  # all of x₁ + x₂ = 2, x ≥ 0 have least L1
    >>> mf.certificates.entropic_choice(problem, start, endless).verdict
    'confirmed'
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
