r"""Discrete steps as they are run: x_K minimises R with a gain and a shift, at any step size."""

from __future__ import annotations

import numpy as np

from mirrorflow.certificates.base import EPS, Certificate
from mirrorflow.checks import Array
from mirrorflow.descent.reference import DescentPath
from mirrorflow.limits import interpolator
from mirrorflow.problems import Regression

__all__ = ["discrete_argmin", "discrete_balance"]


def _bound(path: DescentPath) -> float:
    """Rounding of K products, and of exponents as large as Λ and r."""
    largest = max(1.0, float(np.abs(path.gain).max()), float(np.abs(path.shift).max()))
    return 10.0 * EPS * (float(path.steps[-1]) + 1000.0) * largest


def _size(path: DescentPath) -> float:
    return float((0.5 * (path.m**2 + path.w**2)).max()) or 1.0


def discrete_argmin(
    problem: Regression,
    path: DescentPath,
    gain: Array | None = None,
    shift: Array | None = None,
) -> Certificate:
    """x_K = argmin {R_a(x) + ⟨r, x⟩ : Zx = Zx_K} with a = a₀e^{−Λ} (Even et al. 2023 for α = 0).

    Λ and r are the sums that `follow_descent` takes over η, α and the gradients alone. Value:
    ‖x_K − argmin‖_∞ relative to the largest ½(m² + w²). Bound: 10 eps (K + 1000)
    max(1, max|Λ|, max|r|). nan where a momentum run set a factor to 0, or no argmin was found.

    Parameters
    ----------
    problem : Regression
    path : DescentPath
    gain, shift : (d,) arrays
        Other Λ and r to try.
    """
    if path.status == "outside":
        return Certificate.of("discrete_argmin", np.inf, np.nan)
    gain = path.gain[-1] if gain is None else gain
    shift = path.shift[-1] if shift is None else shift
    at = problem.with_targets(problem.Z @ path.x[-1])
    limit = interpolator(at, path.start, 0.0, gain=gain, shift=shift)
    if not limit.success:
        return Certificate.of("discrete_argmin", np.inf, np.nan)
    value = float(np.abs(path.x[-1] - limit.x).max()) / _size(path)
    return Certificate.of("discrete_argmin", value, _bound(path))


def discrete_balance(path: DescentPath, gain: Array | None = None) -> Certificate:
    """½|m_K² − w_K²| = ½|m₀² − w₀²| e^{−Λ}, whatever the step size.

    Value: the largest difference relative to the largest ½(m² + w²). Bound: as `discrete_argmin`.
    m² − w² is that of `path.start`: m²/η_m − w²/η_w up to a factor, where learning rates differ.
    """
    if path.status == "outside":
        return Certificate.of("discrete_balance", np.inf, np.nan)
    gain = path.gain[-1] if gain is None else gain
    ratio = path.ratio**0.25
    m, w = path.m[-1] * ratio, path.w[-1] / ratio
    ends = 0.5 * np.abs((m - w) * (m + w))
    claimed = 0.5 * np.abs(path.start.imbalance) * np.exp(-gain)
    size = _size(path) * max(ratio, 1.0 / ratio) ** 2
    return Certificate.of(
        "discrete_balance", float(np.abs(ends - claimed).max()) / size, _bound(path)
    )
