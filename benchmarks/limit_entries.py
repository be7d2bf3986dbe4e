"""Who finds limits: this toolkit, cvxpy's cone solvers, and for A = ∞ HiGHS and LASSO paths."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import linprog

import mirrorflow as mf
from benchmarks.measure import BASE, Answer, Entry
from benchmarks.settings import LimitSetting
from mirrorflow.checks import Array

__all__ = ["cone", "lasso_path", "minimum_l1", "ours", "ours_l1", "ours_single"]

CLARABEL = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11, "max_iter": 200}
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "Clarabel": ("CLARABEL", {}),
    "Clarabel, tolerances 1e-11": ("CLARABEL", CLARABEL),
    "SCS": ("SCS", {"eps_abs": 1e-6, "eps_rel": 1e-6, "max_iters": 20_000}),
}
DECADES, TOLERANCES = range(3, 11), (1e-6, 1e-8, 1e-10, 1e-12, 1e-14)


def ours(setting: LimitSetting, one_by_one: bool = False) -> Entry:
    """`interpolators`, or `interpolator` in a loop; one factorization of Z included."""

    def compute() -> list[list[mf.Interpolator]]:
        problem, totals = mf.Regression(setting.problem.Z, setting.problem.y), setting.totals
        if one_by_one:
            starts = setting.factors
            return [[mf.interpolator(problem, one, total) for total in totals] for one in starts]
        return mf.interpolators(problem, setting.factors, totals)

    name = f"{BASE}, one by one" if one_by_one else BASE
    return Entry(name, _count(setting), lambda: compute, _read)


ours_single = functools.partial(ours, one_by_one=True)


def _count(setting: LimitSetting) -> int:
    return len(setting.factors) * len(setting.totals)


def _read(limits: list[list[mf.Interpolator]]) -> Answer:
    flat = [limit for path in limits for limit in path]
    failed = [limit.message for limit in flat if not limit.success]
    if failed:
        raise RuntimeError(f"{len(failed)} limits failed: {failed[0]}")
    factorizations = float(np.mean([limit.iterations for limit in flat]))
    x = np.array([[limit.x for limit in path] for path in limits])
    return Answer(x, {"factorizations": factorizations})


def cone(setting: LimitSetting, solver: str) -> Entry:
    """The exponential-cone program of R_a by cvxpy, in its scaled form.

        min [Σ p log p − p(log p̄ + 1) + Σ q log q − q(log q̄ + 1)] / (1 + 4A),  Z(p − q) = y

    `solver` names one of `OPTIONS`. The solver's own seconds, without cvxpy's modelling, are
    stated in the row besides.
    """
    name, options = OPTIONS[solver]

    def solve(start: mf.Factors, total: float) -> tuple[Array, float]:
        import cvxpy as cp

        p, q = cp.Variable(setting.problem.d), cp.Variable(setting.problem.d)
        goal = 0.0
        for mass, root in ((p, start.m + start.w), (q, start.m - start.w)):
            goal += cp.sum(-cp.entr(mass)) - (np.log(root**2 / 4) - 4 * total + 1) @ mass
        rules = [setting.problem.Z @ (p - q) == setting.problem.y]
        program = cp.Problem(cp.Minimize(goal / (1 + 4 * total)), rules)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error beside the time says what is amiss
            program.solve(solver=name, **options)
        return p.value - q.value, program.solver_stats.solve_time

    def compute() -> list[list[tuple[Array, float]]]:
        return [[solve(start, total) for total in setting.totals] for start in setting.factors]

    def read(answers: list[list[tuple[Array, float]]]) -> Answer:
        inside = [seconds for path in answers for _, seconds in path]
        x = np.array([[x for x, _ in path] for path in answers])
        return Answer(x, {"solver_seconds": float(np.mean(inside))})

    return Entry(f"cvxpy/{solver}", _count(setting), lambda: compute, read, ("cvxpy", name.lower()))


def ours_l1(problems: list[mf.Regression], factors: mf.Factors) -> Entry:
    """`interpolator` at A = ∞ for several problems, each factored anew."""

    def compute() -> list[mf.Interpolator]:
        return [mf.interpolator(mf.Regression(p.Z, p.y), factors, np.inf) for p in problems]

    def read(limits: list[mf.Interpolator]) -> Answer:
        return Answer(np.array([limit.x for limit in limits]))

    return Entry(BASE, len(problems), lambda: compute, read)


def minimum_l1(problems: list[mf.Regression], through: str) -> Entry:
    """min ‖x‖₁ over Zx = y by HiGHS, through "cvxpy" or scipy's "linprog"."""

    def by_cvxpy(problem: mf.Regression) -> Array:
        import cvxpy as cp

        x = cp.Variable(problem.d)
        cp.Problem(cp.Minimize(cp.norm1(x)), [problem.Z @ x == problem.y]).solve(solver="HIGHS")
        return x.value

    def by_linprog(problem: mf.Regression) -> Array:
        signed = np.hstack([problem.Z, -problem.Z])
        solution = linprog(np.ones(2 * problem.d), A_eq=signed, b_eq=problem.y, method="highs").x
        return solution[: problem.d] - solution[problem.d :]

    solve = by_cvxpy if through == "cvxpy" else by_linprog

    def compute() -> list[Array]:
        return [solve(problem) for problem in problems]

    requires = ("cvxpy", "highspy") if through == "cvxpy" else ()
    return Entry(
        f"{through}/HiGHS", len(problems), lambda: compute, lambda x: Answer(np.array(x)), requires
    )


def lasso_path(
    problems: list[mf.Regression],
    solver: str,
    gap: Callable[[mf.Regression, Array], float],
    wanted: float,
) -> Entry:
    """The end of a LASSO path as minimum L1, by "celer" or "scikit-learn".

    λ falls from λ_max by ten values a decade. The shortest path and the loosest tolerance whose
    end has a `gap` of at most `wanted` on every problem are chosen before, not timed.
    """

    def prepare() -> Callable[[], list[Array]]:
        if solver == "celer":
            from celer import celer_path

            def path(Z: Array, y: Array, values: Array, tolerance: float) -> Array:
                return celer_path(Z, y, "lasso", alphas=values, tol=tolerance, max_iter=1000)[1]
        else:
            from sklearn.linear_model import lasso_path

            def path(Z: Array, y: Array, values: Array, tolerance: float) -> Array:
                return lasso_path(Z, y, alphas=values, tol=tolerance, max_iter=100_000)[1]

        # Fortran order as both want it; celer also wants writable arrays
        data = [(np.array(p.Z, order="F"), np.array(p.y)) for p in problems]

        def run(decades: int, tolerance: float) -> list[Array]:
            solutions = []
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # not converged: its gap shows it
                for Z, y in data:
                    largest = np.abs(Z.T @ y).max() / y.size
                    values = largest * np.logspace(0, -decades, 10 * decades + 1)
                    solutions.append(path(Z, y, values, tolerance)[:, -1])
            return solutions

        for decades in DECADES:
            for tolerance in TOLERANCES:
                ends = run(decades, tolerance)
                if max(gap(p, x) for p, x in zip(problems, ends, strict=True)) <= wanted:
                    return lambda: run(decades, tolerance)
        raise RuntimeError(f"no path of up to {DECADES[-1]} decades has a gap of {wanted:g}")

    package = "celer" if solver == "celer" else "sklearn"
    return Entry(
        f"{solver} LASSO path",
        len(problems),
        prepare,
        lambda ends: Answer(np.array(ends)),
        (package,),
        note=f"shortest path with gap ≤ {wanted:g}",
    )
