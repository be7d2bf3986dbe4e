r"""Distance of limits to minimum L1: its constant, its exponent, and the decay that it takes.

With x̂ the minimum-L1 interpolator and S its support, for large A (this project)

    m ⊙ w:                     x_∞ − x̂ = θ(Σ_J σ_jξ_j e_j + δ on S) e^{−4A·margin} (1 + o(1))
    u^L − v^L, u₀ = v₀ = α:    x_∞ − x̂ = α^L (h_L(z_jᵀν) off S, δ on S) e^{−2LA} (1 + o(1))

J are the columns off S at which the margin's linear program is tight, σ their signs, and its
multipliers are ξ and δ; θ follows from the start. For L ≥ 3 no margin is in the exponent: ν
minimises Σ_{j∉S} H_L(z_jᵀν), H_L′ = h_L, among the duals of x̂.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, linprog

from mirrorflow.checks import Array, InputError, number
from mirrorflow.limits.exact import interpolator
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.log_factors import LogFactors
from mirrorflow.maps.pairs import check_pair
from mirrorflow.maps.powers import Powers
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.result import Result
from mirrorflow.threads import on_one_thread

__all__ = ["L1Distance", "l1_distance", "margin_program", "total_for_l1"]

TIGHT = 1e-9  # what counts as tight in a linear program, and as no margin
LATEST = 2.0**20  # largest total that is tried
X, DX = range(2)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class L1Distance(Result):
    """Where limits at large A are, to first order.

    Attributes
    ----------
    nearest : (d,) array
        x̂, the minimum-L1 interpolator.
    constant : (d,) array
        x_∞(A) = x̂ + constant·e^{−exponent·A}, in the coordinates where it is not 0 off the
        support; the others are smaller.
    exponent : float
        4·margin, or 2L.
    order : float
        The next term is smaller by a factor of order e^{−order·A}.
    total : float
        A.
    x : (d,) array
        That point at A.
    distance, excess : float
        ‖x_∞ − x̂‖₂ and ‖x_∞‖₁ − ‖x̂‖₁ to first order.
    status, message : str
        "converged"; "outside": the message says which condition fails, and numbers are nan.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> law = mf.l1_distance(problem, start, total=3.0)
    >>> law.exponent, law.nearest
    (2.0, array([0., 1.]))
    """

    table: ClassVar[tuple[str, ...]] = ("x", "nearest", "constant")
    nearest: Array
    constant: Array
    exponent: float
    order: float
    total: float
    status: str
    message: str

    @property
    def x(self) -> Array:
        return self.nearest + self._moved

    @property
    def distance(self) -> float:
        return math.hypot(*self._moved.tolist())

    @property
    def excess(self) -> float:
        moved, on = self._moved, self.nearest != 0
        return float(np.abs(moved[~on]).sum() + np.sign(self.nearest[on]) @ moved[on])

    @property
    def _moved(self) -> Array:
        return self.constant * math.exp(-self.exponent * self.total)

    @property
    def success(self) -> bool:
        """Whether the law's conditions hold."""
        return self.status == "converged"

    def _facts(self) -> dict[str, Any]:
        law = {"exponent": self.exponent, "total": self.total, "status": self.status}
        return {**law, "distance": self.distance, "excess": self.excess}


@on_one_thread
def l1_distance(problem: Regression, start: MirrorMap, total: float) -> L1Distance:
    """How far the limit after total A is from minimum L1, to first order.

    Parameters
    ----------
    problem : Regression
    start : Factors, LogFactors or Powers
        Factors with |m| ≠ |w|; Powers with all u₀ = v₀ = α for L ≥ 3.
    total : float ≥ 0
        A.

    Returns
    -------
    L1Distance
        "outside" where minimum L1 is not unique or its linear program is degenerate; `total_for_l1`
        and the certificate `l1_excess` need neither.

    Raises
    ------
    InputError
        If the start has no such law.

    Examples
    --------
    >>> from mirrorflow import Factors
    >>> law = l1_distance(Regression([[1.0, 2.0]], [2.0]), Factors.pilot([0.0, 0.0]), 3.0)
    >>> law.nearest, law.exponent, round(law.distance, 4)
    (array([0., 1.]), 2.0, 0.0014)
    """
    check_pair(problem, start)
    total = number("total", total, 0.0)
    deep = isinstance(start, Powers) and start.depth > 2
    if deep and not np.ptp(start.theta) == 0.0:
        raise InputError("start must have all u = v = α for L ≥ 3, but its entries differ.")
    if isinstance(start, Powers) and not deep:
        start = Factors(start.u + start.v, start.u - start.v)
    if not isinstance(start, Factors | LogFactors | Powers):
        raise InputError(f"start must be Factors or Powers, but it is {type(start).__name__}.")
    x = interpolator(problem, Factors.pilot(np.zeros(problem.d)), math.inf).x
    V, on = problem.row_space.V, x != 0
    nu, reached = margin_program(V, x, on)
    unique = np.linalg.matrix_rank(V[:, on]) == on.sum()
    if not (unique and TIGHT < 1.0 - reached < 1.0 - TIGHT):
        law = _outside(x, "Minimum L1 is not unique, or has no margin below 1.")
    elif isinstance(start, Powers):
        law = _deep(start, V, x, nu)
    else:
        law = _shallow(start.potential(), V, x, nu, reached)
    constant, rates, outside = law
    message = outside or "The law holds up to terms of higher order."
    return L1Distance(x, constant, *rates, total, "outside" if outside else "converged", message)


Law = tuple[Array, tuple[float, float], str]  # constant; exponent and order; why there is none


def _outside(x: Array, message: str) -> Law:
    return np.full_like(x, np.nan), (math.nan, math.nan), message + " See `total_for_l1`."


def margin_program(V: Array, x: Array, on: NDArray[np.bool_]) -> tuple[Array, float]:
    """The ν of least max_{j∉S}|v_jᵀν| over v_jᵀν = sign x_j on S, and that value (2 if none).

    S is `on`, (d,) bool, and v_j the columns of V (r, d).
    """
    rank, off = V.shape[0], V[:, ~on].T
    if on.all():
        return np.array(np.linalg.lstsq(V.T, np.sign(x), rcond=None)[0]), 0.0
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
    return (result.x[:-1], float(result.fun)) if result.status == 0 else (np.zeros(rank), 2.0)


def _shallow(potential: Any, V: Array, x: Array, nu: Array, reached: float) -> Law:
    """Constant and rates of m ⊙ w, from the vertex of the margin's linear program."""
    on, correlations = np.flatnonzero(x), V.T @ nu
    tight = np.flatnonzero((np.abs(correlations) >= reached - 1e-7) & (x == 0))
    signs = np.append(np.sign(x[on]), np.sign(correlations[tight]))
    columns, rank, k = np.append(on, tight), V.shape[0], on.size
    if columns.size != rank + 1:
        words = f"The margin's program is degenerate: {tight.size} tight columns, not"
        return _outside(x, f"{words} {rank + 1 - k}; perturb Z or y.")
    logs = np.where(signs > 0, potential.log_p[columns], potential.log_q[columns])
    # the vertex, its multipliers and ν − 4Aν̂ with log θ: one matrix
    M = np.hstack([V[:, columns].T * signs[:, None], -1.0 * (np.arange(rank + 1) >= k)[:, None]])
    *vertex, reached = np.linalg.solve(M, (np.arange(rank + 1) < k) * 1.0).tolist()
    weights = np.linalg.solve(M.T, np.append(np.zeros(rank), -1.0))
    if not (weights[k:] > 0).all() or np.isneginf(logs).any():
        return _outside(x, "A multiplier of the margin's program is 0, or a sign is locked.")
    sizes = np.log(np.append(np.abs(x[on]), weights[k:]))
    theta = math.exp(np.linalg.solve(M, sizes - logs)[-1])
    constant = np.zeros_like(x)
    constant[columns] = theta * signs * weights
    others = float(np.abs(np.delete(V, columns, axis=1).T @ np.array(vertex)).max(initial=0.0))
    margin = 1.0 - reached
    return constant, (4.0 * margin, 4.0 * min(reached - others, margin)), ""


def _deep(start: Powers, V: Array, x: Array, nu: Array) -> Law:
    """Constant and rates of u^L − v^L, by Newton's method on the barrier from the margin's ν."""
    on, depth = x != 0, start.depth
    unit, scale = Powers(np.ones(x.size), np.ones(x.size), depth), depth * (depth - 2.0)
    off, inner = V[:, ~on], np.linalg.svd(V[:, on])[0][:, int(on.sum()) :]

    def point(nu: Array) -> Array:
        return unit.at(np.where(on, 0.0, V.T @ nu) / scale)[:, ~on]

    rows = point(nu)
    for _ in range(200):
        gradient = inner.T @ (off @ rows[X])
        H = (inner.T @ off) * rows[DX] @ (off.T @ inner) / scale
        step = inner @ np.linalg.solve(H, -gradient) if gradient.size else np.zeros_like(nu)
        length = 1.0
        while length > 1e-12:  # inside the box, the derivative along the step at most ½ positive
            after = point(nu + length * step)
            descent = float(step @ (off @ rows[X]))
            if np.isfinite(after[DX]).all() and step @ (off @ after[X]) <= -0.5 * descent:
                break
            length *= 0.5
        nu, rows = nu + length * step, after
        if np.abs(off.T @ step).max(initial=0.0) <= 1e-13:
            break
    constant = np.zeros_like(x)
    constant[~on] = rows[X]
    constant[on] = -np.linalg.lstsq(V[:, on], off @ rows[X], rcond=None)[0]
    alpha = float(start.u[0])
    return alpha**depth * constant, (2.0 * depth, 2.0 * depth - 4.0), ""


def total_for_l1(problem: Regression, start: MirrorMap, excess: float) -> float:
    """The decay A after which the limit's L1 norm is within a fraction of the minimum.

    The A at which Σ(p + q) ≥ ‖x_∞‖₁ is (1 + excess) min ‖x‖₁, from limits at several A; 0 where the
    start is near enough. Σ(p + q) falls with A for m ⊙ w. No uniqueness is needed.

    Parameters
    ----------
    problem, start
        As in `l1_distance`; other starts whose limits have minimum L1 as A → ∞ will do as well.
    excess : float in [1e-9, 1e3]

    Returns
    -------
    float
        A, without unit.

    Raises
    ------
    InputError
        If a limit is not found, or the excess is not reached by A = 2^20.

    Examples
    --------
    >>> from mirrorflow import Factors
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> round(total_for_l1(problem, Factors.pilot([0.0, 0.0]), 1e-2), 3)
    1.608
    """
    excess = number("excess", excess, 1e-9, 1e3)
    check_pair(problem, start)
    at_infinity = interpolator(problem, Factors.pilot(np.zeros(problem.d)), math.inf)
    least = float(np.abs(at_infinity.x).sum())

    def above(total: float) -> float:
        limit = interpolator(problem, start, total)
        if {limit.status, at_infinity.status} - {"converged", "inconsistent"}:
            raise InputError(f"excess can't be told at A = {total:g}: {limit.message}")
        over = float(np.sum(limit.p + limit.q)) - least
        return math.log(max(over, 1e-15 * least) / (excess * least)) if least > 0 else -1.0

    if above(0.0) <= 0.0:
        return 0.0
    high = 0.125
    while above(high) > 0.0:
        high *= 1.5  # little more than needed: limits from tiny starts are hard to find
        if high > LATEST:
            raise InputError(f"excess must be one that decay reaches, but {excess:g} is not.")
    return float(brentq(above, high / 1.5 if high > 0.125 else 0.0, high, xtol=1e-9, rtol=1e-9))
