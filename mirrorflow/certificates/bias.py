r"""What R_a prefers as A grows: where its minimum is, whether it is L2 or L1, what it can reach."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mirrorflow.certificates.base import EPS, Certificate
from mirrorflow.checks import Array, InputError, vector
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import Factors

__all__ = ["bias_exponent", "early_l2", "late_l1", "reachable_range", "smoothness", "type_of_bias"]


def _nonzero(d: int, x: Array) -> Array:
    x = vector("x", x, d, "one for each coordinate")
    if (x == 0).any():
        raise InputError(f"x must have no zero entry, but x[{int(np.argmin(np.abs(x)))}] = 0.")
    return x


def _ascending(totals: Sequence[float]) -> None:
    if len(totals) < 2 or not (np.diff(totals) > 0).all():
        raise InputError(f"totals must be two numbers or more that ascend, but it is {totals!r}.")


def late_l1(
    factors: Factors, x: Array, totals: tuple[float, float], claimed: float = 0.5
) -> Certificate:
    """R_a(x) ~ ½ log(1/a)‖x‖₁ as a → 0 (v1 lacks the ½); no entry of x may be 0.

    Value: |ΔR/Δlog(1/a)/‖x‖₁ − ½| between A₁ < A₂ = `totals`, Δlog(1/a) = 4(A₂ − A₁); `claimed`
    stands for the ½. Bound: ½Σ(√(x² + a₁²) − |x|)/‖x‖₁ + rounding, as
    ∂R/∂log(1/a) = ½Σ√(x² + a²) exactly.

    Parameters
    ----------
    factors : Factors
    x : (d,) array
        Without zeros.
    totals : (float, float)
        A₁ < A₂.
    claimed : float
        In place of ½, to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If x has a zero, or totals don't ascend.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> start, x = mf.Factors.pilot([0.0, 0.0]), np.array([1.0, -2.0])
    >>> mf.certificates.late_l1(start, x, (2.0, 3.0)).verdict
    'confirmed'
    >>> mf.certificates.late_l1(start, x, (2.0, 3.0), claimed=1.0).verdict
    'refuted'
    """
    x = _nonzero(factors.d, x)
    _ascending(totals)
    first, second = (HyperbolicEntropy.of(factors, total) for total in totals)
    values = first.value(x), second.value(x)
    span, norm1 = factors.decay * (totals[1] - totals[0]), float(np.abs(x).sum())
    measured = (values[1] - values[0]) / (span * norm1)
    a = np.exp(first.log_a)
    excess = 0.5 * float(np.sum(a * a / (np.hypot(x, a) + np.abs(x)))) / norm1
    rounding = 10.0 * x.size * EPS * (abs(values[0]) + abs(values[1])) / (span * norm1)
    return Certificate.of("late_l1", abs(measured - claimed), excess + rounding)


def early_l2(potential: HyperbolicEntropy, x: Array) -> Certificate:
    """R_a is quadratic where a ≫ |x|: D_R(x, 0) = Σ x²/(4a) (1 + O((x/a)²)).

    Value: |D_R(x, 0)/Σ(x²/(4a)) − 1|. Bound: max (x/a)²/12, the next term of the series
    ρ arcsinh ρ − √(1 + ρ²) + 1 = ½ρ² − ρ⁴/24 + … , whose signs alternate, plus the rounding
    of a difference of order x²/a between terms of order a: 100 eps Σa/Σ(x²/a).

    Parameters
    ----------
    potential : HyperbolicEntropy
    x : (d,) array
        Without zeros, far below a.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If x has a zero.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> potential = mf.Factors.pilot([0.0], beta=100.0).potential()
    >>> mf.certificates.early_l2(potential, np.array([1.0])).verdict
    'confirmed'
    """
    x, a = _nonzero(potential.c.size, x), np.exp(potential.log_a)
    quadratic = float(np.sum(x**2 / (4.0 * a)))
    value = abs(potential.divergence(x, np.zeros_like(x)) / quadratic - 1.0)
    bound = float(((x / a) ** 2).max()) / 12.0 + 25.0 * EPS * float(np.sum(a)) / quadratic
    return Certificate.of("early_l2", value, bound)


def bias_exponent(potential: HyperbolicEntropy, x: Array) -> Array:
    """d log D_R(sx, 0)/d log s at s = 1 of each coordinate, (d,): 2 for L2, 1 for L1.

    Parameters
    ----------
    potential : HyperbolicEntropy
    x : (d,) array
        Without zeros.

    Returns
    -------
    (d,) array
        From 1 to 2.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> potential = mf.Factors.pilot([0.0, 0.0]).potential()  # a = ½
    >>> mf.certificates.bias_exponent(potential, np.array([1e-3, 1e3])).round(2)
    array([2.  , 1.14])
    """
    derivative = (potential.gradient(x) - potential.gradient(np.zeros_like(x))) * x
    parts = zip(potential.log_p, potential.log_q, potential.c, x, strict=True)
    single = [
        HyperbolicEntropy(np.array([p]), np.array([q]), np.array([c])).divergence(
            np.array([at]), np.zeros(1)
        )
        for p, q, c, at in parts
    ]
    return derivative / np.array(single)


def type_of_bias(factors: Factors, x: Array, totals: Sequence[float]) -> Certificate:
    """Each coordinate's exponent falls with A from 2 (L2) to 1 (L1).

    It is E(ρ) = ρ arcsinh ρ/(ρ arcsinh ρ − √(1 + ρ²) + 1) with ρ = |x|/a: falling, within
    [2 − ρ²/6, 2], and at most 1 + 1/(log 2ρ − 1) once 2ρ > e. Value: the largest violation of
    these along `totals`. Bound: 100 eps (1 + |c|)/min(ρ, 1)², the digits that divergences of
    order ρ² lose. No entry of x may be 0.

    Parameters
    ----------
    factors : Factors
    x : (d,) array
        Without zeros.
    totals : ascending floats
        Values of A.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If x has a zero, or totals don't ascend.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> start = mf.Factors.pilot([0.0, 0.0])
    >>> mf.certificates.type_of_bias(start, np.array([1.0, -2.0]), [0.0, 1.0, 2.0]).verdict
    'confirmed'
    """
    x = _nonzero(factors.d, x)
    _ascending(totals)
    potentials = [HyperbolicEntropy.of(factors, total) for total in totals]
    exponents = np.array([bias_exponent(potential, x) for potential in potentials])
    log_rho = np.array([np.log(np.abs(x)) - potential.log_a for potential in potentials])
    rho = np.exp(np.minimum(log_rho, 5.0))
    excess = log_rho + np.log(2.0) - 1.0
    above = np.where(excess > 0, exponents - 1.0 - 1.0 / np.maximum(excess, 1e-300), 0.0)
    value = max(
        float(np.diff(exponents, axis=0).max(initial=0.0)),
        float((2.0 - rho**2 / 6.0 - exponents).max()),
        float((exponents - 2.0).max()),
        float(above.max()),
    )
    smallest = min(float(rho.min()), 1.0)
    bound = 100.0 * EPS * (1.0 + float(np.abs(potentials[0].c).max())) / smallest**2
    return Certificate.of("type_of_bias", max(value, 0.0), bound)


def reachable_range(factors: Factors, totals: Sequence[float], budget: float) -> Certificate:
    """What gradients |∫∇f| ≤ `budget` can reach shrinks like e^{−4A}: [lo, hi] = e^{−4A}[lo₀, hi₀].

    The domain of R_a stays R for |m₀| ≠ |w₀| (half of it for balanced coordinates), but its
    gradient at any x ≠ 0 grows like 2A. Value: largest difference of the ends, relative to
    √(x² + a²) there, read from the inverse gradient at ±budget. Bound: 100 eps
    (1 + 4A + 2 budget + |log p̄|), the rounding of exponents.

    Parameters
    ----------
    factors : Factors
    totals : floats
        Values of A.
    budget : float
        Largest |∫∇f|.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If totals is empty.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> mf.certificates.reachable_range(mf.Factors.pilot([0.0]), [0.5, 1.0], 2.0).verdict
    'confirmed'
    """
    ends = np.full(factors.d, float(budget))
    start = HyperbolicEntropy.of(factors)
    worst = 0.0
    for total in totals:
        potential = HyperbolicEntropy.of(factors, total)
        for theta in (-ends, ends):
            now, first = potential.inverse_gradient(theta), start.inverse_gradient(theta)
            sizes = np.add(*start.split(theta))
            worst = max(
                worst, float((np.abs(now * np.exp(factors.decay * total) - first) / sizes).max())
            )
    logs = np.array([start.log_p, start.log_q])
    largest = float(np.abs(logs[np.isfinite(logs)]).max(initial=0.0))
    bound = 100.0 * EPS * (1.0 + factors.decay * max(totals) + 2.0 * abs(budget) + largest)
    return Certificate.of("reachable_range", worst, bound)


def smoothness(potential: HyperbolicEntropy, claimed: float | None = None) -> Certificate:
    """∇R_a is Lipschitz with least constant 1/(2 min a) (v1 Remark 2.1 prints a).

    Value: |largest difference quotient of ∇R on [−h, h] · 2 min a − 1| with h = 1e-3 a; another
    constant L may be `claimed` in place of 1/(2 min a). Bound: (h/a)²/6 of arcsinh's series plus
    1e4 eps, the rounding of differences that are 1e-3 of their terms, times 1 + |c|.

    Parameters
    ----------
    potential : HyperbolicEntropy
    claimed : float, optional
        Another constant, to try.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> mf.certificates.smoothness(mf.Factors.pilot([0.0]).potential(1.0)).verdict
    'confirmed'
    """
    a = np.exp(potential.log_a)
    h = 1e-3 * a
    quotients = (potential.gradient(h) - potential.gradient(-h)) / (2.0 * h)
    constant = 0.5 / float(a.min()) if claimed is None else claimed
    value = abs(float(quotients.max()) / constant - 1.0)
    bound = 1e-6 / 6.0 + 1e4 * EPS * (1.0 + float(np.abs(potential.c).max()))
    return Certificate.of("smoothness", value, bound)
