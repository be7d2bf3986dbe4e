"""Limits from A = 0 to ∞ against 60-digit cases, cvxpy, HiGHS and their own optimality."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import mirrorflow as mf
from mirrorflow.certificates import margin
from mirrorflow.limits.entropic import solve_entropic

EPS = np.finfo(float).eps
TOTALS = [0.0, 0.25, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 100.0, 186.0, 300.0, 1000.0]


def scale(problem, limit):
    """Rounding of Zx is eps times this."""
    return float((np.abs(problem.Z) @ np.abs(limit.x)).max())


def test_reference_limits(case):
    limit = mf.interpolator(case.problem, case.factors, case.total)
    assert limit.status == "converged"
    if case.raw["limit"] is None:  # ∫α = ∞: the file has no limit, minimum L1 is the claim
        best = mf.min_l1(case.problem)
        assert np.abs(limit.x).sum() == pytest.approx(best.value, rel=1e-12)
    else:
        assert np.abs(limit.x - case.raw["limit"]).max() < 1e-13  # asked: 1e-10


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("name", ["gaussian", "digits", "diabetes"])
def test_residuals_at_rounding(recovery, name, total):
    problem = {
        "gaussian": lambda: recovery[0],
        "digits": lambda: mf.digits_sensing(0, 40, 0),
        "diabetes": mf.diabetes,
    }[name]()
    rng = np.random.default_rng(1)
    factors = mf.Factors.pilot(rng.normal(0, problem.d**-0.25, problem.d))
    limit = mf.interpolator(problem, factors, total)
    bound = 50 * EPS * (1 + 4 * total)
    assert limit.status == "converged"
    assert limit.constraint_residual <= bound * scale(problem, limit)
    assert limit.stationarity_residual <= bound
    assert limit.gap <= bound * (1 + 4 * total) * np.abs(limit.x).sum()


@pytest.mark.parametrize("seed", range(5))
def test_factorizations_on_the_default_problem(seed):
    rng = np.random.default_rng(seed)
    problem = mf.gaussian_recovery(40, 100, 5, seed)
    factors = mf.Factors.pilot(rng.normal(0, 100**-0.25, 100))
    for total in (0.0, 1.0, 2.0, 4.0, 8.0):
        assert mf.interpolator(problem, factors, total).iterations <= 25


@pytest.mark.parametrize("seed", range(3))
def test_l1_excess_and_rate(seed):
    """Excess ≤ 10 e^{−4A·margin}‖x‖₁; its logarithm falls with slope −4·margin."""
    problem = mf.gaussian_recovery(40, 100, 5, seed)
    best = mf.min_l1(problem)
    gap = margin(problem, best.x)
    factors = mf.Factors.pilot(np.zeros(100))
    totals = np.array([4.0, 5.0, 6.0])
    found = [mf.interpolator(problem, factors, a).x for a in totals]
    excess = [np.abs(x).sum() / best.value - 1 for x in found]
    assert (excess <= 10 * np.exp(-4 * totals * gap)).all()
    distance = [np.linalg.norm(x - best.x) for x in found]
    slope = np.polyfit(totals, np.log(distance), 1)[0]
    assert slope == pytest.approx(-4 * gap, rel=0.05)
    endless = mf.interpolator(problem, factors, np.inf)
    assert abs(np.abs(endless.x).sum() - best.value) < 1e-9
    assert np.abs(endless.x - best.x).max() < 1e-9


def test_minimum_l2_from_huge_imbalance(recovery):
    problem, _ = recovery
    limit = mf.interpolator(problem, mf.Factors.pilot(np.zeros(100), 1e5), 0.0)
    assert np.abs(limit.x - np.linalg.pinv(problem.Z) @ problem.y).max() < 1e-8


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), total=st.sampled_from([0.0, 0.5, 3.0, 20.0, np.inf]))
def test_optimality_for_any_factors(seed, total):
    """Arbitrary signs, magnitudes over six decades, zeros: KKT holds to rounding."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 6)), int(rng.integers(8, 20))
    Z = rng.standard_normal((n, d))
    problem = mf.Regression(Z, rng.standard_normal(n))
    sizes = 10.0 ** rng.uniform(-3, 3, (2, d))
    m, w = sizes * rng.choice([-1.0, 1.0], (2, d))
    m[0] = w[0] = 0.0
    factors = mf.Factors(m, w)
    limit = mf.interpolator(problem, factors, total)
    reach = 1 + 4 * (0 if np.isinf(total) else total) + 20  # log of six decades
    assert limit.status == "converged"
    # p − q loses what √(x² + a²) exceeds |x| by
    mass = float((np.abs(Z) @ (limit.p + limit.q)).max())
    assert limit.constraint_residual <= 50 * EPS * reach * mass
    assert limit.stationarity_residual <= 50 * EPS * reach
    assert limit.x[0] == 0.0


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), total=st.sampled_from([0.0, 1.0, 4.0]))
def test_against_the_cone_solver(seed, total):
    rng = np.random.default_rng(seed)
    problem = mf.Regression(rng.standard_normal((3, 9)), rng.standard_normal(3))
    m, w = rng.standard_normal((2, 9))
    w[:3] = m[:3]  # balanced, but the other six still reach every y
    factors = mf.Factors(m, w)
    limit = mf.interpolator(problem, factors, total)
    reference = mf.min_potential(problem, factors, total)
    assert reference.success
    # strong convexity turns Clarabel's 1e-11 gap into 1e-5 at worst
    assert np.abs(limit.x - reference.x).max() < 1e-5
    value = mf.HyperbolicEntropy.of(factors, total).value(limit.x)
    assert value <= reference.value + 1e-8 * (1 + abs(value))


def test_infinity_picks_the_entropic_minimiser():
    """Duplicate columns: many minimum-L1 points, one limit; mass splits like u₀², v₀²."""
    rng = np.random.default_rng(3)
    half = rng.standard_normal((5, 12))
    problem = mf.Regression(np.hstack([half, half]), half @ np.r_[1.0, -2.0, 0.5, np.zeros(9)])
    factors = mf.Factors.pilot(rng.normal(0, 0.4, 24))
    limit = mf.interpolator(problem, factors, np.inf)
    late = mf.interpolator(problem, factors, 1000.0)  # the margin is 0.014: e^{−56} is left
    assert np.abs(limit.x - late.x).max() < 50 * EPS * 4001
    on = np.flatnonzero(np.abs(limit.x[:12]) > 0)
    weights = np.where(limit.x > 0, factors.u**2, factors.v**2)
    # the entropy Σ x (log(2x/u²) − 1) over x_i + x_{i+12} = const gives x ∝ u²
    assert limit.x[on] / limit.x[on + 12] == pytest.approx(
        weights[on] / weights[on + 12], rel=1e-10
    )
    best = mf.min_l1(problem)
    assert abs(np.abs(limit.x).sum() - best.value) < 1e-9


def test_infinity_agrees_with_highs():
    for seed in range(5):
        problem = mf.gaussian_recovery(20, 50, 4, seed)
        columns = np.hstack([problem.Z, -problem.Z])
        other = linprog(np.ones(100), A_eq=columns, b_eq=problem.y, method="highs-ipm")
        limit = mf.interpolator(problem, mf.Factors.pilot(np.zeros(50)), np.inf)
        assert abs(np.abs(limit.x).sum() - other.fun) < 1e-9
        assert limit.gap < 1e-12
        slope = problem.Z.T @ limit.dual
        assert np.abs(slope).max() <= 1 + 1e-9


def test_rank_deficient_and_inconsistent():
    """Twice the same rows with other targets: the least-squares solutions are what counts."""
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((3, 8))
    y = rng.standard_normal(3)
    factors = mf.Factors.pilot(rng.normal(0, 0.3, 8))
    for total in (0.0, 2.0, np.inf):
        plain = mf.interpolator(mf.Regression(Z, y), factors, total)
        twice = mf.interpolator(mf.Regression(np.vstack([Z, Z]), np.r_[y, y]), factors, total)
        apart = mf.Regression(np.vstack([Z, Z]), np.r_[y + 0.3, y - 0.3])
        other = mf.interpolator(apart, factors, total)
        assert plain.status == twice.status == "converged"
        assert other.status == "inconsistent"
        assert np.abs(plain.x - twice.x).max() < 1e-12
        assert np.abs(plain.x - other.x).max() < 1e-12
        assert np.abs(apart.Z.T @ (apart.Z @ other.x - apart.y)).max() < 1e-12


def test_sign_cone():
    """Balanced coordinates: feasible, feasible on the boundary only, infeasible."""
    rng = np.random.default_rng(7)
    Z = rng.standard_normal((6, 9))
    inside = rng.uniform(0.5, 1.0, 9)
    factors = mf.Factors.balanced(np.ones(9))
    limit = mf.interpolator(mf.Regression(Z, Z @ inside), factors, 1.0)
    assert limit.status == "converged"
    assert limit.x.min() > 0
    # y = 0·z₁ + z₂ with z₁ = −z₀: x₀ = x₁ is free; with a third row x₀ + x₁ = 0 forces both to 0
    pinned = mf.Regression([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.0]], [0.0, 1.0])
    limit = mf.interpolator(pinned, mf.Factors.balanced(np.ones(4)), 0.0)
    assert limit.status == "converged"
    assert limit.x[:2].tolist() == [0.0, 0.0]
    assert limit.constraint_residual < 1e-15
    outside = mf.Regression([[1.0, 2.0, 3.0]], [-1.0])
    for total in (0.0, 3.0, np.inf):
        limit = mf.interpolator(outside, mf.Factors.balanced([1.0, 1.0, 1.0]), total)
        assert limit.status == "no_interpolator_in_sign_cone"
        assert limit.x.tolist() == [0.0, 0.0, 0.0]
        assert "Use an initialisation with" in limit.message
    # the coordinate that is not balanced can do what the others can't
    free = mf.Factors([1.0, 1.0, 1.0], [1.0, 1.0, 0.0])
    limit = mf.interpolator(outside, free, 0.0)
    assert limit.status == "converged"
    assert limit.x[2] < 0


def test_lasso_limit_is_the_lasso(recovery):
    problem, factors = recovery
    for alpha in (1e-4, 1e-2, 0.1, 0.5):
        limit = mf.lasso_limit(problem, factors, alpha)
        reference = mf.lasso(problem, alpha)
        assert limit.gap < 1e-13
        # KKT by hand: |∇f| ≤ 2α, equality with the sign of −x on the support
        slope = problem.gradient(limit.x)
        assert np.abs(slope).max() <= 2 * alpha * (1 + 1e-8)
        on = limit.x != 0
        assert slope[on] == pytest.approx(-2 * alpha * np.sign(limit.x[on]), rel=1e-8)
        assert np.abs(limit.x - reference.x).max() < 1e-7  # Clarabel's accuracy
    assert not mf.lasso_limit(problem, factors, 100.0).x.any()


def test_lasso_among_many_solutions_splits_by_entropy():
    rng = np.random.default_rng(3)
    half = rng.standard_normal((5, 12))
    problem = mf.Regression(np.hstack([half, half]), half @ np.r_[1.0, -2.0, 0.5, np.zeros(9)])
    factors = mf.Factors.pilot(rng.normal(0, 0.4, 24))
    limit = mf.lasso_limit(problem, factors, 0.05)
    flow = mf.gradient_flow(problem, factors, mf.Constant(0.05), [3e3])
    assert np.abs(flow.x[-1] - limit.x).max() < 1e-7


def test_continuation_survives_a_bad_start(small):
    """A far start must not end in a wrong answer that calls itself converged."""
    problem, factors = small
    space = problem.row_space
    potential = mf.HyperbolicEntropy.of(factors, 1.0)
    good = solve_entropic(space.basis, space.b, potential)
    far = solve_entropic(space.basis, space.b, potential, np.full(space.rank, 40.0))
    assert good.converged
    assert not far.converged or np.abs(far.x - good.x).max() < 1e-12


@pytest.mark.parametrize(
    ("total", "message"),
    [(-1.0, "total must be a number at least 0, but it is -1"), (np.nan, "total must be")],
)
def test_bad_total(small, total, message):
    with pytest.raises(mf.InputError, match=message):
        mf.interpolator(*small, total)


def test_bad_factors_and_alpha(small):
    problem, factors = small
    with pytest.raises(mf.InputError, match="factors must have d = 15"):
        mf.interpolator(problem, mf.Factors([1.0], [0.0]), 1.0)
    with pytest.raises(mf.InputError, match="factors must have d = 15"):
        mf.lasso_limit(problem, mf.Factors([1.0], [0.0]), 1.0)
    with pytest.raises(mf.InputError, match="alpha must be a finite number above 0"):
        mf.lasso_limit(problem, factors, 0.0)


@pytest.mark.parametrize("total", [0.0, 1.0, 186.0, 300.0, 1000.0])
def test_zero_targets_at_any_size_of_the_masses(total):
    """κ does not depend on A where y = 0; at A = 186 the masses are all but 0."""
    Z = np.random.default_rng(1).standard_normal((3, 8))
    factors = mf.Factors.pilot(np.random.default_rng(2).normal(0, 0.3, 8))
    problem = mf.Regression(Z, np.zeros(3))
    limit = mf.interpolator(problem, factors, total)
    start = mf.interpolator(problem, factors, 0.0)
    assert limit.status == "converged"
    assert limit.dual == pytest.approx(start.dual, rel=1e-12)
    assert limit.x == pytest.approx(np.exp(-4 * total) * start.x, rel=1e-11, abs=1e-320)
