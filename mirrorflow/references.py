"""Independent answers by cvxpy: judges that share no code with the solvers they judge.

Only Z, y, m₀ and w₀ enter. Programs go to Clarabel, an interior-point solver; minimum L1 goes
to HiGHS's interior point with crossover, because Clarabel stalls at 1e-8 on its degenerate
vertices (`limits` uses the dual simplex method and polishes what it finds).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, InputError, number, vector
from mirrorflow.factors import Factors
from mirrorflow.problems import Regression

if TYPE_CHECKING:
    import cvxpy

__all__ = ["Reference", "lasso", "min_l1", "min_l2", "min_potential"]

TIGHT = {"tol_gap_abs": 1e-13, "tol_gap_rel": 1e-13, "tol_feas": 1e-13, "max_iter": 200}
# what Clarabel reports as `optimal` for an exponential cone; tighter settings stall
CONIC = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11, "max_iter": 200}


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A cvxpy solution: x (d,), the objective's value, cvxpy's status and a sentence about it."""

    x: Array
    value: float
    status: str
    message: str

    @property
    def success(self) -> bool:
        """Whether the solver vouches for x, if only at reduced accuracy."""
        return self.status in ("optimal", "optimal_inaccurate")


def min_l1(problem: Regression) -> Reference:
    """min ‖x‖₁ over Zx = y."""
    import cvxpy as cp

    x = cp.Variable(problem.d)
    rules = [problem.Z @ x == problem.y]
    return _solve(cp.Minimize(cp.norm1(x)), rules, x, {"method": "highs-ipm"}, "SCIPY")


def min_l2(problem: Regression, origin: ArrayLike | float = 0.0) -> Reference:
    """min ‖x − origin‖₂² over Zx = y, with origin (d,) or one number for all coordinates."""
    import cvxpy as cp

    full = np.broadcast_to(np.asarray(origin, dtype=float), (problem.d,))
    centre = vector("origin", full, problem.d, "one for each column of Z")
    x = cp.Variable(problem.d)
    goal = cp.Minimize(cp.sum_squares(x - centre))
    return _solve(goal, [problem.Z @ x == problem.y], x, TIGHT)


def lasso(problem: Regression, alpha: float) -> Reference:
    """min 1/(2n)‖Zx − y‖² + 2α‖x‖₁, the limit under a penalty α that stays."""
    import cvxpy as cp

    alpha = number("alpha", alpha, 0.0, open_low=True)
    x = cp.Variable(problem.d)
    fit = cp.sum_squares(problem.Z @ x - problem.y) / (2 * problem.n)
    return _solve(cp.Minimize(fit + 2 * alpha * cp.norm1(x)), [], x, TIGHT)


def min_potential(problem: Regression, factors: Factors, total: float) -> Reference:
    """min R_a(x) over Zx = y as an exponential-cone program.

    With p̄ = ½u₀²e^{−4A}, q̄ = ½v₀²e^{−4A} and x = p − q, p, q ≥ 0:

        min [Σ p log p − p(log p̄ + 1) + Σ q log q − q(log q̄ + 1)] / (1 + 4A).

    The division keeps the objective of order ‖x‖₁; without it Clarabel reports `optimal` at
    A = 4 with an error of 2e-3. The value returned is R_a(x) (the program's value times
    (1 + 4A)/2).
    """
    import cvxpy as cp

    total = number("total", total, 0.0)
    if factors.d != problem.d:
        raise InputError(
            f"factors must have d = {problem.d} coordinates like the problem, "
            f"but they have {factors.d}."
        )
    p, q = cp.Variable(problem.d), cp.Variable(problem.d)
    scale, goal, rules = 1.0 + 4.0 * total, 0.0, [problem.Z @ (p - q) == problem.y]
    for mass, root in ((p, (factors.m + factors.w) ** 2), (q, (factors.m - factors.w) ** 2)):
        there = root > 0  # ½u₀² = ¼(m₀ + w₀)²
        if there.any():
            offset = np.log(root[there] / 4.0) - 4.0 * total + 1.0
            goal = goal + cp.sum(-cp.entr(mass[there]))
            goal = goal - offset @ mass[there]
        if not there.all():
            rules.append(mass[~there] == 0)
    found = _solve(cp.Minimize(goal / scale), rules, p - q, CONIC)
    return Reference(found.x, 0.5 * scale * found.value, found.status, found.message)


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
