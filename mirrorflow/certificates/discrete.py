r"""Discrete steps as they are run: x_K minimises R with a gain and a shift, at any step size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from mirrorflow.certificates.base import EPS, PATH_FACTOR, Certificate
from mirrorflow.checks import Array, InputError, number, vector
from mirrorflow.descent.mean_square import (
    gram,
    gram_of_gradients,
    stable_step_sgd,
    trace_bound,
)
from mirrorflow.descent.prediction import flow_integrals
from mirrorflow.descent.reference import DescentPath
from mirrorflow.flows.momentum import MomentumFlow
from mirrorflow.limits import Interpolator, interpolator
from mirrorflow.maps import Factors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Constant

__all__ = ["discrete_argmin", "discrete_balance", "energy", "lag_law", "noise_is_decay"]
__all__ += ["momentum_argmin", "scale_cap", "sgd_threshold"]


def _bound(path: DescentPath) -> float:
    """Rounding of K products, and of exponents as large as Λ and r."""
    largest = max(1.0, float(np.abs(path.gain).max()), float(np.abs(path.shift).max()))
    return 10.0 * EPS * (float(path.steps[-1]) + 1000.0) * largest


def _size(path: DescentPath | MomentumFlow) -> float:
    return float((0.5 * (path.m**2 + path.w**2)).max()) or 1.0


def discrete_argmin(
    problem: Regression, path: DescentPath, gain: Array | None = None, shift: Array | None = None
) -> Certificate:
    """x_K = argmin {R_a(x) + ⟨r, x⟩ : Zx = Zx_K} with a = a₀e^{−Λ} (Even et al. 2023 for α = 0).

    Λ and r are the sums that `follow_descent` takes over η, α and the gradients alone. Value:
    ‖x_K − argmin‖_∞ relative to the largest ½(m² + w²). Bound: 10 eps (K + 1000)
    max(1, max|Λ|, max|r|). nan where a momentum run set a factor to 0, or no argmin was found.

    Parameters
    ----------
    problem : Regression
    path : DescentPath
        Of `follow_descent`.
    gain, shift : (d,) arrays
        Other Λ and r to try.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = mf.follow_descent(problem, start, 0.1, 200, mf.Constant(0.01))
    >>> mf.certificates.discrete_argmin(problem, path).verdict
    'confirmed'
    >>> mf.certificates.discrete_argmin(problem, path, gain=2.0 * path.gain[-1]).verdict
    'refuted'
    """
    return _argmin("discrete_argmin", problem, path, gain, shift, _bound(path))


def momentum_argmin(
    problem: Regression,
    path: MomentumFlow,
    rtol: float,
    gain: Array | None = None,
    shift: Array | None = None,
) -> Certificate:
    """The same along momentum flow, at its last time (Papazov et al. 2024; decay: this project).

    Value: as `discrete_argmin`. Bound: rtol (100 + steps), the drift of an integrator.

    Parameters
    ----------
    problem : Regression
    path : MomentumFlow
    rtol : float
        That of `momentum_flow`.
    gain, shift : (d,) arrays
        Other Λ and r to try.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = mf.momentum_flow(problem, start, mf.Constant(0.1, 5.0), 0.1, [0.0, 5.0], 1e-9)
    >>> mf.certificates.momentum_argmin(problem, path, 1e-9).verdict
    'confirmed'
    """
    bound = rtol * (PATH_FACTOR + path.steps)
    return _argmin("momentum_argmin", problem, path, gain, shift, bound)


def _argmin(
    name: str,
    problem: Regression,
    path: DescentPath | MomentumFlow,
    gain: Array | None,
    shift: Array | None,
    bound: float,
) -> Certificate:
    if path.status == "outside":
        return Certificate.of(name, np.inf, np.nan)
    gain = path.gain[-1] if gain is None else gain
    shift = path.shift[-1] if shift is None else shift
    at = problem.with_targets(problem.Z @ path.x[-1])
    limit = interpolator(at, path.start, 0.0, gain=gain, shift=shift)
    if not limit.success:
        return Certificate.of(name, np.inf, np.nan)
    value = float(np.abs(path.x[-1] - limit.x).max()) / _size(path)
    return Certificate.of(name, value, bound)


def discrete_balance(path: DescentPath, gain: Array | None = None) -> Certificate:
    """½|m_K² − w_K²| = ½|m₀² − w₀²| e^{−Λ}, whatever the step size.

    Value: the largest difference relative to the largest ½(m² + w²). Bound: as `discrete_argmin`.
    m² − w² is that of `path.start`: m²/η_m − w²/η_w up to a factor, where learning rates differ.

    Parameters
    ----------
    path : DescentPath
        Of `follow_descent`.
    gain : (d,) array, optional
        Another Λ to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If `gain` does not have an entry for each coordinate.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = mf.follow_descent(problem, start, 0.1, 200, mf.Constant(0.01))
    >>> mf.certificates.discrete_balance(path).verdict
    'confirmed'
    """
    if path.status == "outside":
        return Certificate.of("discrete_balance", np.inf, np.nan)
    gain = path.gain[-1] if gain is None else vector("gain", gain, path.start.d, "one each")
    ratio = path.ratio**0.25
    m, w = path.m[-1] * ratio, path.w[-1] / ratio
    ends = 0.5 * np.abs((m - w) * (m + w))
    claimed = 0.5 * np.abs(path.start.imbalance) * np.exp(-gain)
    size = _size(path) * max(ratio, 1.0 / ratio) ** 2
    return Certificate.of(
        "discrete_balance", float(np.abs(ends - claimed).max()) / size, _bound(path)
    )


def lag_law(errors: Sequence[float], order: float = 2.0) -> Certificate:
    """A limit predicted with `predicted_gain` is off by O(η²); with the flow alone by O(η).

    Value: |log₂(e₂/e₃) − order| for the distances e₁, e₂, e₃ of converged gradient descent to its
    prediction at η, η/2, η/4. Bound: 0.25, what the next order may still be worth.

    Parameters
    ----------
    errors : floats > 0
        Of halved step sizes, the largest step first; the last two count.
    order : float

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If there are fewer than two, or one isn't above 0.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> mf.certificates.lag_law([1.6e-3, 4.1e-4, 1.0e-4]).verdict
    'confirmed'
    """
    if len(errors) < 2 or not min(errors) > 0:
        raise InputError(f"errors must be two numbers above 0 or more, but it is {errors!r}.")
    measured = math.log2(errors[-2] / errors[-1])
    return Certificate.of("lag_law", abs(measured - order), 0.25)


def energy(
    problem: Regression, factors: Factors, rtol: float = 1e-10, claimed: float = 2.0
) -> Certificate:
    """2∫f dt = D_{R_a₀}(x_∞, x₀) along gradient flow without penalty, Zx = y solvable.

    Value: |claimed·∫f dt/D − 1|. Bound: 100 rtol, the error of the flow; Gauss's rule and what is
    left after 40 e-folds are below it.

    Parameters
    ----------
    problem : Regression
    factors : Factors
    rtol : float
        Of the flow that is integrated here.
    claimed : float
        In place of 2, to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If Zx = y has no solution.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> mf.certificates.energy(problem, start).verdict
    'confirmed'
    """
    if not problem.row_space.consistent:
        raise InputError("problem must have a solution of Zx = y, but it has none.")
    potential = factors.potential()
    away = potential.divergence(interpolator(problem, factors, 0.0).x, factors.x)
    paid = flow_integrals(problem, factors, Constant(0.0), rtol)[3]
    return Certificate.of("energy", abs(claimed * paid / away - 1.0), PATH_FACTOR * rtol)


def noise_is_decay(problem: Regression, path: DescentPath, share: float = 1.0) -> Certificate:
    """With |z_ij| the same in each row, one-sample SGD ends where the penalised flow ends, exactly.

    All coordinates have the same gain then, and r lies in the row space: x_K is the argmin of R_A
    over Zx = Zx_K with A = Λ/δ, δ = 4. Value: ‖x_K − argmin‖_∞ relative to the largest ½(m² + w²),
    at a total of `share`·A. Bound: as `discrete_argmin`.

    Parameters
    ----------
    problem : Regression
    path : DescentPath
        Of `follow_descent` with batch_size=1.
    share : float
        A factor on A, to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If a row's |z_ij| differ.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, -1.0, 1.0], [1.0, 1.0, 1.0]], [1.0, 2.0])
    >>> start = mf.Factors.pilot(np.zeros(3))
    >>> path = mf.follow_descent(problem, start, step_size=0.1, steps=300, batch_size=1, seed=0)
    >>> mf.certificates.noise_is_decay(problem, path).verdict
    'confirmed'
    """
    sizes = np.abs(problem.Z)
    if np.ptp(sizes, axis=1).max() > 4.0 * EPS * sizes.max():
        raise InputError("problem must have rows z_i with all |z_ij| equal, such as ±1 designs.")
    total = share * float(path.gain[-1].mean()) / path.start.decay
    at, total = problem.with_targets(problem.Z @ path.x[-1]), number("share·A", total, 0.0)
    limit = interpolator(at, path.start, total)
    value = float(np.abs(path.x[-1] - limit.x).max()) / _size(path)
    return Certificate.of("noise_is_decay", value, _bound(path))


def scale_cap(problem: Regression, limit: Interpolator, step_size: float) -> Certificate:
    """A limit that gradient descent reaches from a generic start is stable: ηλ_max(H)/2 ≤ 1.

    So η λ_max(Z diag(a)Zᵀ)/n ≤ 1: the step size caps the effective scale a. For α = 0, constant η
    and the squared loss. Value: ηλ_max(H)/2 at the limit, H = (2/n) Z diag(√(x² + a²)) Zᵀ.
    Bound: 1 + 1e-9.

    Parameters
    ----------
    problem : Regression
    limit : Interpolator
        That gradient descent has reached.
    step_size : float
        η.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> limit = mf.interpolator(problem, start, total=0.0)
    >>> mf.certificates.scale_cap(problem, limit, 0.1).holds
    True
    """
    K = gram_of_gradients(problem, limit)
    value = 0.5 * step_size * float(np.linalg.eigvalsh(K / problem.n)[-1])
    return Certificate.of("scale_cap", value, 1.0 + 1e-9)


def sgd_threshold(K: Array, steps: Sequence[float] | None = None) -> Certificate:
    """η*(B) does not fall with B, keeps `trace_bound`, and ends at 2/λ_max(H) (Wu & Su 2023).

    Value: the largest relative violation of these, and of η*(1) ≤ 2/tr H. Bound: 1e-10, the
    rounding of a generalised eigenvalue problem.

    Parameters
    ----------
    K : (n, n) array
        `gram_of_gradients`.
    steps : n numbers
        Other η*(1), …, η*(n) to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If K is not square and symmetric, or `steps` are not n numbers above 0.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> mf.certificates.sgd_threshold(np.array([[2.0, 0.5], [0.5, 1.0]])).verdict
    'confirmed'
    """
    K = gram(K)
    n = K.shape[0]
    if steps is not None and (len(steps) != n or not min(steps) > 0.0):
        raise InputError(f"steps must be {n} numbers above 0, but it is {steps}.")
    steps = [stable_step_sgd(K, B) for B in range(1, n + 1)] if steps is None else steps
    bounds = [trace_bound(K, B) for B in range(1, n + 1)]
    top, trace = 2.0 * n / float(np.linalg.eigvalsh(K)[-1]), 2.0 * n / float(np.trace(K))
    worst = max(
        *(a / b - 1.0 for a, b in zip(steps, bounds, strict=True)),
        *(a / b - 1.0 for a, b in itertools.pairwise(steps)),
        abs(steps[-1] / top - 1.0),
        steps[0] / trace - 1.0,
    )
    return Certificate.of("sgd_threshold", max(worst, 0.0), 1e-10)
