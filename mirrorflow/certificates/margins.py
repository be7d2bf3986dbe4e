r"""Separable classification: at every time the flow solves a margin problem up to a known gap."""

from __future__ import annotations

import numpy as np

from mirrorflow.certificates.base import EPS, Certificate, drift, dual_units, integral
from mirrorflow.checks import Array, InputError, vector
from mirrorflow.flows import Flow, MarginFlow
from mirrorflow.limits.max_margin import max_margin, signed_rows
from mirrorflow.limits.nonnegative import least_squares
from mirrorflow.maps import Factors, HyperbolicEntropy, MirrorMap
from mirrorflow.problems import Regression

__all__ = ["margin_direction", "margin_gap", "margin_identity", "softmax_invariant"]


def _end(problem: Regression, flow: Flow | MarginFlow) -> tuple[Array, Array, Array, float]:
    """Signed rows, x, q ≥ 0 with −∫e^{−κA}∇f = Σ q_i y_i z_i, and A, at the last time."""
    rows, x, total = signed_rows(problem), flow.x[-1], float(flow.total[-1])
    if isinstance(flow, MarginFlow):
        return rows, x, flow.dual[-1], total
    return rows, x, least_squares(rows.T, -integral(flow)[-1])[0], total


def _error(flow: Flow | MarginFlow, rtol: float) -> float:
    """Relative error of θ along a path; of `margin_flow`, whose x is that of its q, rounding."""
    return drift(flow, rtol) if isinstance(flow, Flow) else 1e3 * EPS


def margin_gap(
    problem: Regression,
    start: MirrorMap,
    flow: Flow | MarginFlow,
    rtol: float,
    total: float | None = None,
) -> Certificate:
    """R_A(x_t) − R_A(x*_γ) ≤ Σ q_i(margin_i − γ): x_t nearly solves the margin problem.

    γ is x_t's least margin, q_i = (1/n)∫(−φ′)dt ≥ 0, x*_γ = `max_margin(problem, start, A, γ)`;
    true at every finite time for losses that fall with the margin (in the limit Moroshko et al.
    2020; the finite form: this project).
    Value: the gap of R over the bound's right side. Bound: 1 + the errors of ∫∇f and R in that
    unit, rtol (100 + steps)·Σ|x ∇R|. nan where margins are not all positive yet.

    Parameters
    ----------
    problem : Regression
    start : MirrorMap
        Where the path starts, such as `Factors`.
    flow : Flow or MarginFlow
        Of `direct_flow(…, accumulate=True)`, or `margin_flow`.
    rtol : float
        That of the path's integration.
    total : float
        Another A to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If `flow` is a Flow without ∫∇f, or labels are not ±1.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> Z, labels = [[1.0, 2.0, 0.0], [2.0, -1.0, 1.0]], [1.0, 1.0]
    >>> problem = mf.Regression(Z, labels, loss=mf.Logistic())
    >>> start = mf.Factors.pilot(np.zeros(3))
    >>> path = mf.margin_flow(problem, start, [0.0, 5.0, 10.0])
    >>> mf.certificates.margin_gap(problem, start, path, 1e-9).verdict
    'confirmed'
    """
    rows, x, q, reached = _end(problem, flow)
    margins = rows @ x
    gamma = float(margins.min())
    if gamma <= 0:
        return Certificate.of("margin_gap", np.inf, np.nan)
    best = max_margin(problem, start, reached if total is None else total, gamma)
    if not best.success:
        return Certificate.of("margin_gap", np.inf, np.nan)
    potential = start.potential(reached if total is None else total)
    paid = float(q @ (margins - gamma))
    error = _error(flow, rtol) * float(np.abs(x * potential.gradient(x)).sum()) + best.gap
    unit = paid if paid > 0 else max(error, EPS)  # of a single sample both sides are 0
    value = (potential.value(x) - potential.value(best.x)) / unit
    return Certificate.of("margin_gap", value, (paid + error) / unit)


def margin_identity(
    problem: Regression,
    start: MirrorMap,
    flow: Flow | MarginFlow,
    rtol: float,
    other: Array,
    total: float | None = None,
) -> Certificate:
    """R_A(x_t) − R_A(x*) + D(x*, x_t) = Σ q_i(margin_i − y_i z_iᵀx*) for any x*.

    It holds iff ∇R_A(x_t) = Σ q_i y_i z_i up to what is orthogonal to x_t − x*. Value: the
    difference of the sides relative to the sum of their terms' sizes. Bound: rtol (100 + steps)
    plus 1e3 eps.

    Parameters
    ----------
    problem : Regression
    start : MirrorMap
        Where the path starts, such as `Factors`.
    flow : Flow or MarginFlow
        As in `margin_gap`.
    rtol : float
        That of the path's integration.
    other : (d,) array
        x*.
    total : float, optional
        Another A to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If `flow` is a Flow without ∫∇f, or labels are not ±1.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> Z, labels = [[1.0, 2.0, 0.0], [2.0, -1.0, 1.0]], [1.0, 1.0]
    >>> problem = mf.Regression(Z, labels, loss=mf.Logistic())
    >>> start = mf.Factors.pilot(np.zeros(3))
    >>> path, other = mf.margin_flow(problem, start, [0.0, 5.0, 10.0]), np.ones(3)
    >>> mf.certificates.margin_identity(problem, start, path, 1e-9, other).verdict
    'confirmed'
    """
    other = vector("other", other, problem.d, "one for each coordinate")
    rows, x, q, reached = _end(problem, flow)
    potential = start.potential(reached if total is None else total)
    terms = np.array([potential.value(x), -potential.value(other), potential.divergence(other, x)])
    right = q * (rows @ x - rows @ other)
    size = float(np.abs(terms).sum() + np.abs(right).sum())
    value = abs(float(terms.sum() - right.sum())) / size
    return Certificate.of("margin_identity", value, _error(flow, rtol) + 1e3 * EPS)


def margin_direction(
    problem: Regression, start: MirrorMap, flow: Flow | MarginFlow, rtol: float, norm: int = 1
) -> Certificate:
    """u = x_t/γ nears the least L1 norm û of its margin, at a known distance (m ⊙ w):

        ‖u‖₁ − ‖û‖₁ ≤ [2G/γ + B(û) − B(u) + Σε] / log(1/max ε),    ε = a_t/γ,

    G = Σq_i(margin_i − γ), B(u) = Σ|u|(log 2|u| − 1 + log(max ε/ε)) − ⟨c, u⟩; as 2R_ε(u) is
    log(1/max ε)‖u‖₁ + B(u) − Σε up to Σε (the limit: Pesme, Dragomir, Flammarion 2024; the bound:
    this project). Value: the excess relative to ‖û‖₁. Bound: the right side in that unit, and what
    rtol is worth in it, or rounding in log-time. nan where γ ≤ 0 or max ε ≥ 1.

    Parameters
    ----------
    problem : Regression
    start : Factors or LogFactors
    flow : Flow or MarginFlow
        As in `margin_gap`.
    rtol : float
        That of the path's integration.
    norm : 1 or 2
        2: the same for the L2 norm, to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the start is another one, `flow` a Flow without ∫∇f, or labels are not ±1.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> Z, labels = [[1.0, 2.0, 0.0], [2.0, -1.0, 1.0]], [1.0, 1.0]
    >>> problem = mf.Regression(Z, labels, loss=mf.Logistic())
    >>> start = mf.Factors.pilot(np.zeros(3), beta=0.01)
    >>> path = mf.margin_flow(problem, start, [0.0, 5.0, 100.0])
    >>> mf.certificates.margin_direction(problem, start, path, 1e-9).verdict
    'confirmed'
    """
    rows, x, q, total = _end(problem, flow)
    potential, gamma = start.potential(total), float((rows @ x).min())
    if not isinstance(potential, HyperbolicEntropy):
        raise InputError(f"start must be Factors or LogFactors, but it is {type(start).__name__}.")
    log_scale = potential.log_a - np.log(gamma) if gamma > 0 else np.zeros(x.size)
    logs, u = -float(log_scale.max()), x / gamma
    if norm not in (1, 2):
        raise InputError(f"norm must be 1 or 2, but it is {norm}.")
    best = max_margin(problem, start, np.inf, 1.0)
    if logs <= 0 or not best.success:
        return Certificate.of("margin_direction", np.inf, np.nan)

    def rest(u: Array) -> float:
        sizes = np.abs(u)
        terms = np.log(2.0 * np.maximum(sizes, 1e-300)) - 1.0 - logs - log_scale
        return float(sizes @ terms - potential.c @ u)

    error = 2.0 * _error(flow, rtol)
    error *= float(np.abs(u * potential.gradient(x)).sum())
    paid = 2.0 * float(q @ (rows @ x - gamma)) / gamma + float(np.exp(log_scale).sum())
    least = float(np.abs(best.x).sum())
    bound = (paid + rest(best.x) - rest(u) + error) / (logs * least)
    other = best.x
    if norm == 2:
        other = max_margin(problem, Factors.pilot(np.zeros(x.size), 1e6), 0.0, 1.0).x  # R_a ~ L2
    value = float(np.linalg.norm(u, norm) / np.linalg.norm(other, norm)) - 1.0
    return Certificate.of("margin_direction", value, bound)


def softmax_invariant(flow: Flow, classes: int, rtol: float, share: float = 1.0) -> Certificate:
    """Σ_k ∇R_{A_t}(x_jk) = Σ_k ∇R_0(x_jk(0)) for every feature j, as softmax's residuals add up to
    0 over the classes k (this project).

    Value: the largest difference over times and features. Bound: rtol (100 + steps)·K times what
    relative errors of θ are worth in ∇R, 1 for m ⊙ w.

    Parameters
    ----------
    flow : Flow
        Of `softmax_flow`.
    classes : int
        K.
    rtol : float
        That of the path's integration.
    share : float
        A factor on A_t, to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the coordinates are not those of this number of classes.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> rng = np.random.default_rng(0)
    >>> Z, labels = rng.standard_normal((4, 3)), [0, 1, 2, 0]
    >>> start = mf.Factors.pilot(np.zeros(9))
    >>> path = mf.softmax_flow(Z, labels, start, mf.Constant(0.1, 1.0), [0.0, 2.0], 1e-8)
    >>> mf.certificates.softmax_invariant(path, 3, 1e-8).verdict
    'confirmed'
    """
    if classes < 1 or flow.start.d % classes:
        raise InputError(f"classes must divide d = {flow.start.d}, but it is {classes}.")
    sums = [
        flow.start.potential(share * float(total)).gradient(x).reshape(-1, classes).sum(axis=1)
        for x, total in zip(flow.x, flow.total, strict=True)
    ]
    first = flow.start.potential().gradient(flow.start.x).reshape(-1, classes).sum(axis=1)
    value = float(np.abs(np.array(sums) - first).max())
    bound = drift(flow, rtol) * classes * float(dual_units(flow).max(initial=1.0))
    return Certificate.of("softmax_invariant", value, bound)
