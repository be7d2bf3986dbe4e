r"""Maximum margins: argmin {R_A(x) : y_i z_iᵀx ≥ γ for all i}, and its limit A → ∞, weighted L1.

Separable data under the logistic or the exponential loss have no minimum: margins grow without end.
But at every time the flow's x_t solves this problem for γ, its own least margin, up to the gap of
`certificates.margin_gap` (the finite form of Moroshko et al. 2020), so that x_t/γ nears the margin
problem of R with the scale a_t/γ.

The dual maximises γΣq − e^{−δA}Σ_j Q_j((Zᵀq)_j) over q ≥ 0, rows of Z times their labels: Newton's
method, or a quadratic program for each step, from a large scale down to R_A's, along which q grows
nearly linearly in the scale's logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.optimize import linprog

from mirrorflow.checks import Array, InputError, number
from mirrorflow.limits.exact import interpolator
from mirrorflow.limits.nonnegative import least_squares
from mirrorflow.maps.base import DX, MirrorMap, Q, X
from mirrorflow.maps.pairs import check_pair
from mirrorflow.problems import Regression
from mirrorflow.result import Result
from mirrorflow.threads import on_one_thread

__all__ = ["MaxMargin", "max_margin", "signed_rows"]

EPS = float(np.finfo(float).eps)
STEPS = 100  # Newton steps for one scale
PROVEN = 1e-6  # largest violation, and gap in units of γΣq
STRIDE = 2.0  # of the scale's logarithm; longer ones are tried as long as they succeed


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MaxMargin(Result):
    """A maximum-margin point with what proves it.

    Attributes
    ----------
    x : (d,) array
    dual : (n,) array
        q ≥ 0 with ∇R_A(x) = Σ_i q_i y_i z_i (A = ∞: in the subdifferential of the weighted L1).
    margin : float
        γ.
    violation : float
        How far the least margin is below γ, relative to γ.
    gap : float
        |R_A(x) − dual value|, or of the weighted L1.
    status, message : str
        "converged"; "not_separable": no x of the signs that the start leaves has positive margins
        on all samples, and x is the loss's minimum, or 0 where it has none; "not_converged".

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[2.0, 1.0]], [1.0], loss=mf.Logistic())
    >>> best = mf.max_margin(problem, mf.Factors.pilot([0.0, 0.0]), np.inf)
    >>> best.status, best.x
    ('converged', array([0.5, 0. ]))
    """

    table: ClassVar[tuple[str, ...]] = ("x",)
    x: Array
    dual: Array
    margin: float
    violation: float
    gap: float
    status: str

    @property
    def message(self) -> str:
        return {
            "converged": "The maximum-margin point was found; violation and gap say how exactly.",
            "not_separable": (
                "No x with the signs that the start leaves has y_i z_iᵀx > 0 for all i, so that "
                "there is no margin; x is the loss's minimum, or 0 where it has none."
            ),
            "not_converged": "Newton's method ended early; rescale Z, or take a smaller total.",
        }[self.status]

    @property
    def success(self) -> bool:
        """Whether x is the maximum-margin point."""
        return self.status == "converged"

    def _facts(self) -> dict[str, Any]:
        sizes = {"n": self.dual.size, "d": self.x.size, "status": self.status}
        return {**sizes, "violation": self.violation, "gap": self.gap}


def _least_norm(
    rows: Array, start: MirrorMap, total: float
) -> tuple[NDArray[np.bool_], float, Any]:
    """The least L1 norm of margin max|rows|, with the start's weights where A = ∞.

    Which of the 2d signs the start leaves, max|rows|, and SciPy's result; None where no x has a
    margin.
    """
    ones = (np.where(can, 1.0, np.inf) for can in start.signs)
    costs = np.concatenate(start.weights if math.isinf(total) else tuple(ones))
    allowed, units = np.isfinite(costs), float(np.abs(rows).max()) or 1.0
    if not allowed.any():
        return allowed, units, None
    signed = np.hstack([rows, -rows])[:, allowed] / units
    program = linprog(costs[allowed], -signed, -np.ones(len(rows)), method="highs")
    return allowed, units, None if program.status == 2 else program


def separable(rows: Array, start: MirrorMap) -> bool:
    """Whether some x with the signs that the start leaves has margins above 0."""
    return _least_norm(rows, start, 0.0)[2] is not None


def signed_rows(problem: Regression) -> Array:
    """Rows z_i times their labels y_i = ±1, (n, d)."""
    wrong = np.abs(problem.y) != 1.0
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InputError(
            f"y must hold labels −1 and 1 for a margin, but y[{i}] = {problem.y[i]:g}."
        )
    Z: Any = problem.Z
    return problem.y[:, None] * (Z.toarray() if scipy.sparse.issparse(Z) else Z)


@on_one_thread
def max_margin(
    problem: Regression, start: MirrorMap, total: float, margin: float = 1.0
) -> MaxMargin:
    """argmin {R_A(x) : y_i z_iᵀx ≥ γ}, the point of margin γ that R after total A prefers.

    Parameters
    ----------
    problem : Regression
        y are labels ±1.
    start : Factors, Powers, …
    total : float in [0, inf]
        A. inf: the least Σ t⁺x⁺ + t⁻x⁻, t^± = `start.weights` (the horizon function of R; for m ⊙ w
        ‖x‖₁).
    margin : float > 0
        γ. By R_a(γu) = γR_{a/γ}(u), for m ⊙ w a larger margin is a smaller scale.

    Returns
    -------
    MaxMargin

    Raises
    ------
    InputError
        If labels are not ±1, shapes don't fit, or a number is out of range.

    Examples
    --------
    >>> from mirrorflow import Factors
    >>> problem = Regression([[2.0, 1.0]], [1.0])
    >>> max_margin(problem, Factors.pilot([0.0, 0.0]), np.inf).x
    array([0.5, 0. ])
    """
    check_pair(problem, start)
    total = number("total", total, 0.0, infinite=True)
    margin = number("margin", margin, 0.0, open_low=True)
    rows = signed_rows(problem)
    n, d = rows.shape
    allowed, units, program = _least_norm(rows, start, total)
    if program is None:
        return _not_separable(problem, start, total, margin)
    if math.isinf(total):
        parts = np.zeros(2 * d)
        parts[allowed] = margin / units * program.x
        x, q = parts[:d] - parts[d:], -program.ineqlin.marginals / units
        gap = abs(margin / units * program.fun - margin * float(q.sum()))
        return MaxMargin(x, q, margin, _violation(rows, x, margin), gap, "converged")
    start.check_decay("total", total)
    scale = _first_scale(start, rows, total, margin)
    q, done = _climb(start, rows, total, scale, margin, np.zeros(n))
    growth, stride = np.zeros(n), STRIDE
    while scale > 0.0 and np.isfinite(q).all():
        lower = max(scale - stride, 0.0)
        guess = np.maximum(q + (scale - lower) * growth, 0.0)
        moved, converged = _climb(start, rows, total, lower, margin, guess)
        if not converged and stride > STRIDE:
            growth, stride = np.zeros(n), STRIDE
            continue
        growth, stride = (moved - q) / (scale - lower), 2.0 * stride
        q, done, scale = moved, converged, lower
    potential = start.potential(total)
    x = potential.inverse_gradient(rows.T @ q)
    if not np.isfinite(x).all():
        return MaxMargin(np.zeros(d), q, margin, 1.0, math.inf, "not_converged")
    dual = margin * float(q.sum()) - float(_at(start, rows.T @ q, total, 0.0)[Q].sum())
    proofs = _violation(rows, x, margin), abs(potential.value(x) - dual)
    # late A at depth L ≥ 3: μ is so near the end of its domain that rounding of it decides x
    done = done and proofs[0] <= PROVEN and (proofs[1] <= PROVEN * margin * q.sum() or not q.any())
    return MaxMargin(x, q, margin, *proofs, "converged" if done else "not_converged")


def _not_separable(problem: Regression, start: MirrorMap, total: float, margin: float) -> MaxMargin:
    try:
        x = interpolator(problem, start, total).x
    except InputError:  # the loss has no minimum
        x = np.zeros(problem.d)
    return MaxMargin(x, np.zeros(problem.n), margin, 1.0, math.inf, "not_separable")


def _violation(rows: Array, x: Array, margin: float) -> float:
    return max(0.0, 1.0 - float((rows @ x).min()) / margin)


def _at(start: MirrorMap, mu: Array, total: float, scale: float) -> Array:
    """The rows of `MirrorMap.at` times e^scale, where that has a law by less decay."""
    if math.isfinite(start.decay):
        return start.at(mu, total - scale / start.decay)
    return math.exp(scale) * start.at(mu, total)


def _first_scale(start: MirrorMap, rows: Array, total: float, margin: float) -> float:
    """log of the factor on X at which the metric at 0 is as large as the solution."""
    scale, zero = 0.0, np.zeros(start.d)
    metric = _at(start, zero, total, scale)[DX]
    while not metric.max(initial=0.0) > 1e-200 and scale < 1e6:  # below what kernels resolve
        scale += 300.0
        metric = _at(start, zero, total, scale)[DX]
    typical = margin / float(np.abs(rows).sum(axis=1).max())
    size = float(np.median(metric[metric > 0])) if metric.any() else 1.0
    return max(0.0, scale + math.log(typical / size))


def _climb(
    start: MirrorMap, rows: Array, total: float, scale: float, margin: float, q: Array
) -> tuple[Array, bool]:
    """The dual's maximum with X times e^scale, from q; whether it was reached to rounding."""

    def value(q: Array) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            point = _at(start, rows.T @ q, total, scale)
            result = margin * float(q.sum()) - float(point[Q].sum())
        return result if math.isfinite(result) else -math.inf

    for _ in range(STEPS):
        mu = rows.T @ q
        point = _at(start, mu, total, scale)
        if not np.isfinite(point).all():
            return q, False
        # μ is a sum, and X as exact as that allows
        worth = np.abs(point[X]) + point[DX] * (1.0 + np.abs(rows).T @ q)
        gradient, size = margin - rows @ point[X], np.abs(rows) @ worth
        off = np.abs(np.where(q > 0, gradient, np.maximum(gradient, 0.0)))
        if (off <= 100.0 * EPS * (margin + size)).all():
            return q, True
        free, moved = (q > 0) | (gradient > 0), None
        if free.sum() <= start.d:  # else Newton's matrix is singular
            moved = _ascend(value, gradient, q, _newton(rows, point, gradient, free), 1e-2)
        if moved is None:
            moved = _ascend(value, gradient, q, _quadratic(rows, mu, point, margin) - q, 1e-12)
        if moved is None or np.array_equal(moved, q):
            return q, bool((off <= 1e-9 * (margin + size)).all())
        q = moved
    return q, False


def _ascend(
    value: Callable[[Array], float], gradient: Array, q: Array, step: Array, least: float
) -> Array | None:
    """q moved along a step, clipped at 0, by the first length that ascends enough, if one does."""
    now, length = value(q), 1.0
    while length > least:
        moved = np.maximum(q + length * step, 0.0)
        if value(moved) - now >= 1e-4 * float(gradient @ (moved - q)) - 1e-15 * abs(now):
            return moved
        length *= 0.5
    return None


def _newton(rows: Array, point: Array, gradient: Array, free: NDArray[np.bool_]) -> Array:
    """Newton's step on the free q (Bertsekas, SIAM J. Control Optim. 20, 1982)."""
    H = (rows[free] * point[DX]) @ rows[free].T
    H.flat[:: H.shape[0] + 1] += 10.0 * EPS * max(float(np.trace(H)), 1e-300)
    step = np.zeros(free.size)
    step[free] = np.linalg.solve(H, gradient[free])
    return step


def _quadratic(rows: Array, mu: Array, point: Array, margin: float) -> Array:
    """Multipliers q ≥ 0 of min ½‖x − c‖² in the metric 1/X′ over rows·x ≥ γ, c = X − X′μ.

    That is the quadratic model of R at X(μ): a least-distance problem, solved by non-negative least
    squares (Lawson and Hanson, "Solving Least Squares Problems", 1974, ch. 23).
    """
    root = np.sqrt(point[DX])
    distance = margin - rows @ (point[X] - point[DX] * mu)
    unit = float(np.abs(distance).max()) or 1.0
    E = np.vstack([(rows * root).T, distance / unit])
    u, residual = least_squares(E, np.append(np.zeros(root.size), 1.0))
    return u / float(residual[-1]) * unit if residual[-1] > 0 else 0.0 * u
