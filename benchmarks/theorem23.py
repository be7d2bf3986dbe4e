"""Limit and flow against their rivals, as ratios within one run.

    python benchmarks/theorem23.py

Limit: `interpolator` against cvxpy/Clarabel on the same entropic program (40×100, A = 1), with
the distance of both to a 60-digit solution. Flow: `gradient_flow` against scipy's LSODA on
(m, w) to t = 1e6 (α = 1 until t = 2). Each line is the median over repetitions, with the range.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import mpmath
import numpy as np
from scipy.integrate import solve_ivp
from threadpoolctl import threadpool_limits

import mirrorflow as mf

T = TypeVar("T")


def timed(function: Callable[[], T], repetitions: int) -> tuple[T, np.ndarray]:
    """The result and the seconds of each repetition, after one warm-up."""
    result, seconds = function(), []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return result, np.array(seconds)


def exact_limit(problem: mf.Regression, factors: mf.Factors, total: float, start: np.ndarray):
    """argmin R_a over Zx = y by Newton's method in 60 digits, from ν near the solution."""
    mpmath.mp.dps = 60
    Z, y = mpmath.matrix(problem.Z.tolist()), mpmath.matrix(problem.y.tolist())
    m, w = (mpmath.matrix(values.tolist()) for values in (factors.m, factors.w))
    decay, nu, d = mpmath.exp(-4 * mpmath.mpf(total)), mpmath.matrix(start.tolist()), problem.d
    p0 = [(m[i] + w[i]) ** 2 / 4 * decay for i in range(d)]
    q0 = [(m[i] - w[i]) ** 2 / 4 * decay for i in range(d)]
    for _ in range(8):
        bend = Z.T * nu
        p = [p0[i] * mpmath.exp(bend[i]) for i in range(d)]
        q = [q0[i] * mpmath.exp(-bend[i]) for i in range(d)]
        x = mpmath.matrix([p[i] - q[i] for i in range(d)])
        weighted = Z.copy()
        for i in range(d):
            for j in range(problem.n):
                weighted[j, i] *= p[i] + q[i]
        step = mpmath.cholesky_solve(weighted * Z.T, y - Z * x)
        nu += step
        if mpmath.norm(step) < mpmath.mpf(10) ** -55:
            break
    return np.array([mpmath.nstr(value, 40) for value in x], dtype=object)


def distance(x: np.ndarray, exact: np.ndarray) -> float:
    """max|x − exact| without rounding `exact` first."""
    return float(
        max(abs(mpmath.mpf(float(a)) - mpmath.mpf(b)) for a, b in zip(x, exact, strict=True))
    )


def integrate_factors(problem: mf.Regression, factors: mf.Factors, end: float, rtol: float):
    """(m, w) as 2d unknowns by LSODA, with the stop of α integrated to."""
    d = problem.d

    def derivative(t, state, alpha):
        m, w = state[:d], state[d:]
        slope = problem.gradient(m * w)
        return np.concatenate([-w * slope - 2 * alpha * m, -m * slope - 2 * alpha * w])

    state = np.concatenate([factors.m, factors.w])
    for span, alpha in (((0.0, 2.0), 1.0), ((2.0, end), 0.0)):
        run = solve_ivp(
            derivative, span, state, method="LSODA", rtol=rtol, atol=rtol * 1e-3, args=(alpha,)
        )
        state = run.y[:, -1]
    return state[:d] * state[d:]


def line(name: str, seconds: np.ndarray, note: str) -> None:
    low, mid, high = seconds.min(), np.median(seconds), seconds.max()
    print(f"  {name:34s} {1e3 * mid:9.2f} ms  [{1e3 * low:.2f}, {1e3 * high:.2f}]  {note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=7, help="timed runs of each entry")
    repetitions = parser.parse_args().repetitions
    rng = np.random.default_rng(0)
    problem = mf.gaussian_recovery(40, 100, 5, 0)
    factors = mf.Factors.pilot(rng.normal(0, 100**-0.25, 100))

    print("Limit, 40×100, A = 1 (median, [min, max] of", repetitions, "runs):")
    limit, ours = timed(lambda: mf.interpolator(problem, factors, 1.0), 20 * repetitions)
    cold, first = timed(
        lambda: mf.interpolator(mf.Regression(problem.Z, problem.y), factors, 1.0), repetitions
    )
    cone, theirs = timed(lambda: mf.min_potential(problem, factors, 1.0), repetitions)
    exact = exact_limit(problem, factors, 1.0, limit.dual)
    near, far = distance(limit.x, exact), distance(cone.x, exact)
    line("interpolator", ours, f"error {near:.1e}, {limit.iterations} factorizations")
    line("interpolator, Z factored anew", first, f"error {distance(cold.x, exact):.1e}")
    line("cvxpy/Clarabel, exponential cone", theirs, f"error {far:.1e}")
    print(f"  ratio: {np.median(theirs) / np.median(ours):.0f}× faster", end="")
    print(f" ({np.median(theirs) / np.median(first):.0f}× with the factorization of Z),", end="")
    print(f" {far / near:.0e}× closer to the 60-digit limit\n")

    print("Flow to t = 1e6, α = 1 until t = 2, rtol = 1e-8:")
    schedule = mf.Constant(1.0, 2.0)
    flow, ours = timed(
        lambda: mf.gradient_flow(problem, factors, schedule, [1e6], 1e-8), repetitions
    )
    x, theirs = timed(lambda: integrate_factors(problem, factors, 1e6, 1e-8), repetitions)
    end = mf.interpolator(problem, factors, 2.0).x
    line(
        "gradient_flow",
        ours,
        f"error {np.abs(flow.x[-1] - end).max():.1e}, {flow.right_hand_sides} right-hand sides",
    )
    line("LSODA on (m, w)", theirs, f"error {np.abs(x - end).max():.1e}")
    print(f"  ratio: {np.median(theirs) / np.median(ours):.0f}× faster")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
