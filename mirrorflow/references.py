"""Independent answers by cvxpy: judges that share no code with the solvers they judge.

Only Z, y, m₀ and w₀ enter. Programs go to Clarabel, an interior-point solver; minimum L1 goes
to HiGHS's interior point with crossover, because Clarabel stalls at 1e-8 on its degenerate
vertices (`limits` uses the dual simplex method and polishes what it finds).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, InputError, number, vector
from mirrorflow.extras import require
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.result import Result

if TYPE_CHECKING:
    import cvxpy

__all__ = ["Reference", "lasso", "min_l1", "min_l2", "min_potential"]

LOOSEST = 1e-6  # relative error of x beyond which an answer is none, whatever the solver says
TIGHT = {"tol_gap_abs": 1e-13, "tol_gap_rel": 1e-13, "tol_feas": 1e-13, "max_iter": 200}
# what Clarabel reports as `optimal` for an exponential cone; tighter settings stall
CONIC = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11, "max_iter": 200}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reference(Result):
    """A cvxpy solution.

    Attributes
    ----------
    x : (d,) array
    value : float
        Of the objective.
    status, message : str
        cvxpy's status, and a sentence about it.

    Examples
    --------
    >>> reference = min_l1(Regression([[1.0, 2.0]], [2.0]))
    >>> reference.status, round(reference.value, 6)
    ('optimal', 1.0)
    """

    table: ClassVar[tuple[str, ...]] = ("x",)
    x: Array
    value: float
    status: str
    message: str

    @property
    def success(self) -> bool:
        """Whether the solver vouches for x, if only at reduced accuracy."""
        return self.status in ("optimal", "optimal_inaccurate")

    def _facts(self) -> dict[str, Any]:
        return {"d": self.x.size, "status": self.status, "value": self.value}


def min_l1(problem: Regression) -> Reference:
    """min ‖x‖₁ over Zx = y (over the least-squares solutions where there is none).

    Parameters
    ----------
    problem : Regression

    Returns
    -------
    Reference

    Raises
    ------
    InputError
        If cvxpy is missing.

    Examples
    --------
    >>> round(min_l1(Regression([[1.0, 2.0]], [2.0])).value, 9)
    1.0
    """
    cp = _cvxpy("min_l1")
    x, (Z, y, scale) = cp.Variable(problem.d), _attainable(problem)
    solution = _solve(cp.Minimize(cp.norm1(x)), [Z @ x == y], x, {"method": "highs-ipm"}, "SCIPY")
    return _rescaled(solution, _misfit(solution, Z, y), scale, scale)


def min_l2(problem: Regression, origin: ArrayLike | float = 0.0) -> Reference:
    """min ‖x − origin‖₂² over Zx = y (over the least-squares solutions where there is none).

    Parameters
    ----------
    problem : Regression
    origin : (d,) floats, or one number for all coordinates

    Returns
    -------
    Reference

    Raises
    ------
    InputError
        If cvxpy is missing or `origin` doesn't fit.

    Examples
    --------
    >>> min_l2(Regression([[1.0, 2.0]], [2.0])).x.round(9)
    array([0.4, 0.8])
    """
    cp = _cvxpy("min_l2")
    if np.ndim(origin) == 0:
        origin = np.full(problem.d, number("origin", origin))
    centre = vector("origin", origin, problem.d, "one for each column of Z")
    # the step from the origin, in units of its least-norm solution
    Z, y, scale = _attainable(problem, centre)
    step = cp.Variable(problem.d)
    solution = _solve(cp.Minimize(cp.sum_squares(step)), [Z @ step == y], step, TIGHT)
    moved = _rescaled(solution, _misfit(solution, Z, y), scale, scale**2)
    return Reference(centre + moved.x, moved.value, moved.status, moved.message)


def lasso(problem: Regression, alpha: float) -> Reference:
    """min 1/(2n)‖Zx − y‖² + 2α‖x‖₁, the limit under a penalty α that stays.

    Parameters
    ----------
    problem : Regression
    alpha : float > 0

    Returns
    -------
    Reference

    Raises
    ------
    InputError
        If cvxpy is missing or α is no number > 0.

    Examples
    --------
    >>> lasso(Regression([[1.0, 2.0]], [2.0]), 0.5).x.round(6)
    array([0.  , 0.75])
    """
    cp = _cvxpy("lasso")
    alpha = number("alpha", alpha, 0.0, open_low=True)
    x, (_, _, scale) = cp.Variable(problem.d), _attainable(problem)
    unit = float(_units(abs(problem.Z).max()))
    Z, y, penalty = problem.Z / unit, problem.y / unit / scale, 2 * alpha / unit / unit / scale
    fit = cp.sum_squares(Z @ x - y) / (2 * problem.n)
    solution = _solve(cp.Minimize(fit + penalty * cp.norm1(x)), [], x, TIGHT)
    # the duality gap: y − Zx, shrunk until |Zᵀ(y − Zx)|/n ≤ penalty, is a point of the dual
    residual = y - Z @ solution.x
    grad_norm = float(np.abs(Z.T @ residual).max()) / problem.n
    theta = residual * min(1.0, penalty / grad_norm if grad_norm > 0 else 1.0)
    gap = solution.value - float(y @ theta - 0.5 * theta @ theta) / problem.n
    at_zero = 0.5 * float(y @ y) / problem.n
    return _rescaled(solution, gap / at_zero if at_zero > 0 else 0.0, scale, scale**2 * unit**2)


def min_potential(problem: Regression, factors: Factors, total: float) -> Reference:
    """min R_a(x) over Zx = y as an exponential-cone program.

    With p̄ = ½u₀²e^{−4A}, q̄ = ½v₀²e^{−4A} and x = p − q, p, q ≥ 0:

        min [Σ p log p − p(log p̄ + 1) + Σ q log q − q(log q̄ + 1)] / (1 + 4A),

    over the least-squares solutions where Zx = y has none, and in units of the least-norm
    solution (of a, if that is 0), so that the solver's absolute tolerances mean something. The
    division keeps the objective of order ‖x‖₁; without it Clarabel reports `optimal` at A = 4
    with an error of 2e-3. The value returned is R_a(x).

    Parameters
    ----------
    problem : Regression
    factors : Factors
    total : float in [0, 1e9]
        A.

    Returns
    -------
    Reference

    Raises
    ------
    InputError
        If cvxpy is missing, `factors` doesn't fit or A is out of range.

    Examples
    --------
    >>> found = min_potential(Regression([[1.0, 2.0]], [2.0]), Factors.pilot([0.0, 0.0]), 1.0)
    >>> found.success
    True
    """
    cp = _cvxpy("min_potential")
    total = number("total", total, 0.0, 1e9)
    if factors.d != problem.d:
        raise InputError(
            f"factors must have d = {problem.d} coordinates like the problem, "
            f"but they have {factors.d}."
        )
    masses = np.abs(factors.m**2 - factors.w**2) * np.exp(-4.0 * total)
    Z, y, unit = _attainable(problem, otherwise=float(masses.max()))
    p, q = cp.Variable(problem.d), cp.Variable(problem.d)
    scale, goal, rules = 1.0 + 4.0 * total, 0.0, [Z @ (p - q) == y]
    for mass, root in ((p, (factors.m + factors.w) ** 2), (q, (factors.m - factors.w) ** 2)):
        there = root > 0  # ½u₀² = ¼(m₀ + w₀)²
        if there.any():
            offset = np.log(root[there] / 4.0 / unit) - 4.0 * total + 1.0
            goal = goal + cp.sum(-cp.entr(mass[there]))
            goal = goal - offset @ mass[there]
        if not there.all():
            rules.append(mass[~there] == 0)
    solution = _solve(cp.Minimize(goal / scale), rules, p - q, CONIC)
    return _rescaled(solution, _misfit(solution, Z, y), unit, 0.5 * scale * unit)


def _cvxpy(purpose: str) -> Any:
    """cvxpy, or an error that says how to install it and its solver."""
    require(purpose, "cvxpy", "clarabel")
    import cvxpy

    return cvxpy


def _units(sizes: ArrayLike) -> Array:
    """Powers of 2¹⁰ near `sizes`, 1 for 0: to divide by them rounds nothing."""
    sizes = np.asarray(sizes, float)
    return 2.0 ** (10.0 * np.round(np.log2(np.where(sizes > 0, sizes, 1.0)) / 10.0))


def _attainable(
    problem: Regression, origin: Array | None = None, otherwise: float = 1.0
) -> tuple[Array, Array, float]:
    """Z, ŷ/s and s: the part of y − Z·origin that Z reaches, in units of its least-norm solution.

    Where that is 0 the unit is `otherwise`.

    Rows of Zx = ŷ/s in units of their own, as the solvers' tolerances are absolute.
    """
    Z: Any = problem.Z
    y = problem.y if origin is None else problem.y - Z @ origin
    unit = float(_units(abs(Z).max()))
    dense = (Z.toarray() if scipy.sparse.issparse(Z) else Z) / unit
    least, _, _, _ = np.linalg.lstsq(dense, y / unit, rcond=None)
    scale = float(np.abs(least).max()) or otherwise or 1.0
    reached = Z @ least
    solvable = np.linalg.norm(y - reached) <= 1e-10 * np.linalg.norm(y)
    rows = _units(np.abs(dense).max(axis=1))
    return dense / rows[:, None], (y if solvable else reached) / unit / rows / scale, scale


def _misfit(solution: Reference, Z: Array, y: Array) -> float:
    """Residual of Zx = y relative to its own terms, or the step that removes it relative to x.

    The larger one: where columns are nearly dependent, a small residual hides a long step.
    """
    residual, tiny = Z @ solution.x - y, np.finfo(float).tiny
    size = np.maximum(np.abs(Z) @ np.abs(solution.x) + np.abs(y), tiny)
    step, _, _, _ = np.linalg.lstsq(Z, residual, rcond=None)
    far = float(np.abs(step).max()) / max(float(np.abs(solution.x).max()), tiny)
    return max(float((np.abs(residual) / size).max()), far)


def _rescaled(solution: Reference, off: float, scale: float, value: float) -> Reference:
    """In the data's units; the solver's word counts where it is `off` by little, relatively."""
    status, message = solution.status, solution.message
    if solution.success and not off <= LOOSEST:
        status, message = "inaccurate", f"{message} But it is off by {off:.1e}, relatively."
    return Reference(scale * solution.x, value * solution.value, status, message)


def _solve(
    goal: cvxpy.Minimize,
    rules: list[cvxpy.Constraint],
    x: cvxpy.Expression,
    settings: dict[str, Any],
    solver: str = "CLARABEL",
) -> Reference:
    import cvxpy as cp

    program = cp.Problem(goal, rules)
    empty = np.zeros(x.shape)
    options = {"scipy_options": settings} if solver == "SCIPY" else settings
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `status` says it: optimal_inaccurate
            program.solve(solver=solver, **options)
    except cp.SolverError as error:
        return Reference(empty, float("inf"), "failed", f"{solver} gave up: {error}")
    if x.value is None:
        message = f"{solver} reports {program.status}; there is no x with Zx = y and these signs."
        return Reference(empty, float("inf"), str(program.status), message)
    message = f"{solver} reports {program.status}."
    return Reference(np.asarray(x.value), float(program.value), str(program.status), message)
