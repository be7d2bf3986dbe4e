"""Limits from A = 0 to ∞ against 60-digit cases, cvxpy, HiGHS and their own optimality."""

from __future__ import annotations

import dataclasses
import itertools
import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import mirrorflow as mf
from mirrorflow import certificates
from mirrorflow.certificates import margin
from mirrorflow.limits import columns, faces, polyhedral
from mirrorflow.limits.newton import Solver
from mirrorflow.limits.nonnegative import least_squares
from mirrorflow.limits.optimality import Points, proven
from mirrorflow.problems import random_stream
from mirrorflow.rowspace import Basis

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
    space, potential = problem.row_space, mf.HyperbolicEntropy.of(factors, 1.0)
    run = factors, factors.parts(), space.b, np.full(15, True), np.ones(1)
    solve = Solver(space.basis)
    good, far = solve(*run).kappa, solve(*run, np.full(space.rank, 20.0)).kappa
    x = [potential.inverse_gradient(kappa @ space.V) for kappa in np.vstack([good, far])]
    assert len(good) == 1
    assert len(far) == 0 or np.abs(x[0] - x[1]).max() < 1e-12


@pytest.mark.parametrize(
    ("total", "message"),
    [(-1.0, "total must be a number at least 0, but it is -1"), (np.nan, "total must be")],
)
def test_bad_total(small, total, message):
    with pytest.raises(mf.InputError, match=message):
        mf.interpolator(*small, total)


def test_bad_factors_and_alpha(small):
    problem, factors = small
    with pytest.raises(mf.InputError, match="start must have d = 15"):
        mf.interpolator(problem, mf.Factors([1.0], [0.0]), 1.0)
    with pytest.raises(mf.InputError, match="start must have d = 15"):
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


def lasso_violation(problem, x, penalty):
    """Largest violation of the KKT conditions of f + penalty‖x‖₁, in units of the penalty."""
    g = problem.gradient(x)
    off = np.where(x == 0, np.maximum(np.abs(g) - penalty, 0.0), np.abs(g + np.sign(x) * penalty))
    return off.max() / penalty


@pytest.mark.parametrize("tiny", [1e-3, 1e-6, 3e-10, 1e-11])
def test_minimum_l1_with_a_tiny_component(tiny):
    """Each of two atoms twice: the limit splits both evenly, however small one of them is."""
    Z = [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, -1.0, -1.0]]
    problem = mf.Regression(Z, [1.0, 1.0 - 2 * tiny])
    limit = mf.interpolator(problem, mf.Factors.pilot(np.zeros(4)), np.inf)
    assert limit.status == "converged"
    assert np.abs(limit.x - 0.5 * np.array([1 - tiny, 1 - tiny, tiny, tiny])).max() < 50 * EPS


@pytest.mark.parametrize("noise", [0.0, 1e-12, 1e-9, 1e-6, 1.0])
def test_minimum_l1_of_repeated_columns_and_noise(noise):
    """Noise makes entries of x of its own size; the dual proves that ‖x‖₁ is least."""
    rng = np.random.default_rng(1)
    for _ in range(15):
        Z = rng.standard_normal((8, 20))
        Z[:, 10:] = Z[:, :10]
        x = np.zeros(20)
        x[rng.permutation(20)[:3]] = [1.0, -1.0, 2.0]
        y = Z @ x + noise * rng.standard_normal(8)
        problem = mf.Regression(Z, y)
        limit = mf.interpolator(problem, mf.Factors.pilot(np.zeros(20)), np.inf)
        assert limit.status == "converged"
        assert limit.constraint_residual <= 1e-12 * scale(problem, limit)
        assert np.abs(Z.T @ limit.dual).max() <= 1 + 1e-9
        assert y @ limit.dual == pytest.approx(np.abs(limit.x).sum(), rel=1e-9)
        assert limit.x[:10] == pytest.approx(limit.x[10:], rel=1e-9, abs=1e-15)


def test_minimum_l1_does_not_hang_on_highs(recovery, monkeypatch):
    """Without a linear program, or from a coarse answer, the dual still rises to the same point."""
    problem, factors = recovery
    doubled = mf.Regression(np.hstack([problem.Z[:8, :20]] * 2), problem.y[:8])
    noise = mf.Regression(problem.Z, np.random.default_rng(3).standard_normal(problem.n))
    pairs = [(problem, factors), (doubled, mf.Factors.pilot(np.linspace(-1.0, 1.0, 40)))]
    pairs.append((noise, factors))  # 40 entries: more than the steps before HiGHS is asked
    expected = [mf.interpolator(*pair, np.inf) for pair in pairs]
    asked = []

    def none(*_, **__):
        return SimpleNamespace(x=None, status=4, message="(HiGHS Status 0: Not Set)")

    def coarse(*arguments, **options):
        result = linprog(*arguments, **options)
        result.x = np.where(result.x > 0.5 * result.x.max(), result.x, 0.0)
        result.eqlin.marginals *= 0.9
        asked.append(arguments)
        return result

    for program in (none, coarse):
        monkeypatch.setattr(faces, "linprog", program)
        for pair, before in zip(pairs, expected, strict=True):
            limit = mf.interpolator(*pair, np.inf)
            assert limit.status == "converged"
            assert np.abs(limit.x - before.x).max() < 1e-12
            assert limit.gap < 1e-12
    assert asked


def test_a_sparse_minimum_l1_is_found_without_highs(recovery, monkeypatch):
    problem, factors = recovery

    def never(*_, **__):
        raise AssertionError("HiGHS was asked")

    monkeypatch.setattr(faces, "linprog", never)
    limit = mf.interpolator(problem, factors, np.inf)
    assert limit.status == "converged"
    assert np.abs(limit.x - problem.x_true).max() < 1e-12


def test_no_minimum_l1_is_said_in_a_sentence(monkeypatch):
    """Never in the words of the solver."""
    problem, factors = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    monkeypatch.setattr(faces, "_reached", lambda *_: False)
    limit = mf.interpolator(problem, factors, np.inf)
    assert limit.status == "not_converged"
    assert limit.message.startswith("No minimum-L1 interpolator was found")
    assert "rescale Z and y" in limit.message
    assert "HiGHS" not in limit.message


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_the_largest_support_does_not_depend_on_sizes(seed):
    """Against one linear program for each column, with every entry of the point of size 1."""
    rng = np.random.default_rng(seed)
    G = rng.integers(-1, 2, (int(rng.integers(1, 5)), int(rng.integers(1, 9)))).astype(float)
    at_work, among = rng.random(G.shape[1]) < 0.4, rng.random(G.shape[1]) < 0.9
    at_work &= among
    bounds = [(None, 1.0) if on else (0.0, 1.0 if able else 0.0)
              for on, able in zip(at_work, among, strict=True)]  # fmt: skip
    largest = [
        -linprog(-np.eye(G.shape[1])[j], A_eq=G, b_eq=np.zeros(len(G)), bounds=bounds).fun
        for j in range(G.shape[1])
    ]
    expected = at_work | (np.array(largest) > 1e-6)
    for sizes in (np.ones(G.shape[1]), 10.0 ** rng.uniform(-12, 0, G.shape[1])):
        found = faces.largest_support(G, np.where(at_work, sizes, 0.0), among)
        assert found.tolist() == expected.tolist()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), ties=st.booleans())
def test_least_squares_over_the_cone(seed, ties):
    """KKT conditions to rounding, and no objective below, over all supports."""
    rng = np.random.default_rng(seed)
    r, N = int(rng.integers(1, 4)), int(rng.integers(1, 8))
    B, target = rng.standard_normal((r, N)), rng.standard_normal(r)
    if ties:
        B = rng.integers(-2, 3, (r, N)).astype(float)
    penalty = float(rng.choice([0.0, 1e-3, 0.3]))
    u, residual = least_squares(B, target, penalty)
    assert np.abs(target - B @ u - residual).max() < 1e-13 * (1 + np.abs(B).max())
    slopes = B.T @ residual - penalty
    assert u.min() >= 0
    assert slopes.max() < 1e-13 * (1 + np.abs(B).max())
    assert np.abs(slopes[u > 0]).max(initial=0.0) < 1e-11 * (1 + np.abs(B).max())
    on = np.flatnonzero(u)
    assert on.size == 0 or np.linalg.matrix_rank(B[:, on]) == on.size

    def objective(v):
        return 0.5 * np.sum((B @ v - target) ** 2) + penalty * v.sum()

    for size in range(1, r + 1):
        for support in map(list, itertools.combinations(range(N), size)):
            v = np.zeros(N)
            gram = B[:, support].T @ B[:, support]
            right = B[:, support].T @ target - penalty
            v[support] = np.linalg.lstsq(gram, right, rcond=None)[0]
            assert v.min() < 0 or objective(u) <= objective(v) + 1e-12


@pytest.mark.filterwarnings("ignore:Z has n = 12 samples")
def test_balanced_starts_on_data_of_low_precision():
    """y = float32(Zx), x ≥ 0 with zeros, more rows than columns: the least-squares point.

    Zx = y has no solution then, and entries of the size of the rounding lie on both sides of 0.
    """
    rng = np.random.default_rng(0)
    described = ("inconsistent", "converged", "no_interpolator_in_sign_cone")
    for _ in range(40):
        Z = np.round(rng.standard_normal((12, 6)), 1).astype("f4").astype(float)
        y = (Z @ np.array([1.0, 0.5, 0, 0, 0, 0])).astype("f4").astype(float)
        problem, statuses = mf.Regression(Z, y), set()
        for total in (0.0, 1.0, np.inf):
            limit = mf.interpolator(problem, mf.Factors.balanced(np.ones(6)), total)
            slopes = Z.T @ (Z @ limit.x - y)
            assert limit.status in described, limit.message
            assert limit.x.min() >= 0
            assert slopes.min() > -1e-12
            assert np.abs(slopes * limit.x).max() < 1e-12
            statuses.add(limit.status)
        assert len(statuses) == 1


@pytest.mark.parametrize(("distance", "outside"), [(1e-9, True), (1e-6, True), (1e-12, False)])
def test_how_near_the_sign_cone_counts_as_inside(distance, outside):
    """x ≥ 0 reaches y = (1, −distance) up to the distance: more than rounding is said."""
    problem = mf.Regression([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]], [1.0, -distance])
    for total in (0.0, 2.0, np.inf):
        limit = mf.interpolator(problem, mf.Factors.balanced(np.ones(3)), total)
        assert limit.status == ("no_interpolator_in_sign_cone" if outside else "converged")
        assert limit.x[2] == 0.0
        assert abs(limit.x[0] + 2 * limit.x[1] - 1) < 1e-14


def test_lasso_where_ties_are_the_rule():
    """±1 designs and a penalty that leaves entries of the size of the noise."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        Z = rng.choice([-1.0, 1.0], (6, 12))
        y = np.round(Z[:, 0] - 2 * Z[:, 1] + 1e-6 * rng.standard_normal(6), 9)
        problem, penalty = mf.Regression(Z, y), 0.1 * np.abs(Z.T @ y).max() / 6
        limit = mf.lasso_limit(problem, mf.Factors.pilot(np.zeros(12)), penalty / 2)
        assert limit.status == "converged", limit.message
        assert lasso_violation(problem, limit.x, penalty) < 1e-9


@pytest.mark.parametrize("apart", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("penalty", [1e-1, 1e-6])
def test_lasso_with_near_duplicates(apart, penalty):
    rng = np.random.default_rng(0)
    for _ in range(20):
        Z = np.round(rng.standard_normal((2, 4)), 1)
        Z[:, 2:] = Z[:, :2] + apart * rng.standard_normal((2, 2))
        problem = mf.Regression(Z, [1.0, -1.0])
        limit = mf.lasso_limit(problem, mf.Factors.pilot(np.zeros(4)), penalty / 2)
        assert limit.status == "converged", limit.message
        assert lasso_violation(problem, limit.x, penalty) < 1e-6


def test_lasso_of_zero_targets_on_unscaled_columns():
    """x = 0, whatever the columns' units (years squared, populations)."""
    years = np.arange(1950, 2010, 12.0)
    Z = np.stack([np.ones(5), years, years**2, years**3, 1e6 * years, years - 1980], axis=1)
    for alpha in (1e-12, 1e-4, 1e6):
        factors = mf.Factors.pilot(np.zeros(6))
        limit = mf.lasso_limit(mf.Regression(Z, np.zeros(5)), factors, alpha)
        assert limit.status == "converged"
        assert not limit.x.any()


@pytest.mark.parametrize("alpha", 10.0 ** -np.arange(0, 19, 1.5))
def test_a_lasso_that_calls_itself_converged_is_one(alpha):
    """A penalty below the rounding of y is refused; above it the certificate holds."""
    problem, factors = mf.gaussian_recovery(6, 15, 2, 0), mf.Factors.pilot(np.zeros(15))
    limit = mf.lasso_limit(problem, factors, alpha)
    assert limit.success == (alpha > 1e-12)
    if limit.success:
        assert limit.stationarity_residual < 1e-6
        assert limit.gap <= 1e-12 * alpha
    else:
        assert "lost in the rounding of y; take a larger alpha" in limit.message


def test_a_dual_that_proves_nothing_is_not_converged(recovery, monkeypatch):
    minimum = polyhedral.minimum_l1_face

    def spoiled(*arguments):
        face = minimum(*arguments)
        return faces.Face(face.point, face.support, 1.00001 * face.dual, face.unique)

    monkeypatch.setattr(polyhedral, "minimum_l1_face", spoiled)
    limit = mf.interpolator(*recovery, np.inf)
    assert limit.status == "not_converged"
    assert limit.stationarity_residual == pytest.approx(1e-5)


def test_what_the_solver_doubts_is_not_converged(small):
    """A small residual alone does not make a limit."""
    problem, factors = small
    limit = mf.interpolator(problem, factors, 1.0)
    kappa = problem.row_space.s * (problem.row_space.U.T @ limit.dual)
    for sure in (True, False):
        points = Points(
            *(a[None] for a in (limit.p, limit.q, limit.x, limit.parameters, limit.metric, kappa)),
            np.ones(1, int),
            np.array([sure]),
        )
        found = proven(problem, [factors], points, np.zeros(1), np.zeros(1))[0]
        assert found.success == sure


@pytest.mark.parametrize("beta", [1e3, 1e6, 1e9])
def test_masses_much_larger_than_x_cost_no_digits(beta):
    """x = p − q, of 1e9 each, solves Zx = y to rounding of x: the minimum-L2 limit."""
    problem = mf.gaussian_recovery(6, 15, 2, 0)
    limit = mf.interpolator(problem, mf.Factors.pilot(np.zeros(15), beta), 0.0)
    assert limit.status == "converged"
    assert np.abs(problem.Z @ limit.x - problem.y).max() <= 50 * EPS * scale(problem, limit)


def test_zeros_of_minimum_l1_are_exact():
    """Where x* of 2 entries is the least in L1, the vertex is degenerate: all others are 0."""
    exact_ones = 0
    for seed in range(40):
        problem = mf.gaussian_recovery(10, 30, 2, seed)
        limit = mf.interpolator(problem, mf.Factors.pilot(np.zeros(30)), np.inf)
        if np.abs(limit.x - problem.x_true).max() < 1e-9:
            exact_ones += 1
            assert np.count_nonzero(limit.p + limit.q) == 2
    assert exact_ones == 35


@pytest.mark.parametrize("violation", [1e-6, 1e-4, 1e-2])
def test_a_column_that_breaks_optimality_slightly_still_joins(violation, monkeypatch):
    """The last of 40 columns is above the level, but the start ranks it last."""
    monkeypatch.setattr(columns, "WHOLE", 0)
    V = np.vstack([np.full(40, 0.5), np.arange(40.0)])
    V[0, :4], V[0, 39] = 1.0, 1.0 + violation
    every = np.arange(40)
    G = columns.SignedColumns(Basis(V), every, every[:0])

    def solve(H):
        if H[1].max() < 38:
            return np.array([1.0, 0.0])
        # once column 39 is in, the dual is another, and column 38 breaks it
        return np.zeros(2) if 38 in H[1] else np.array([1 / (1 + violation), 0.02])

    chosen = columns.working_set(G, np.array([0.0, -1.0]), solve, 1.0, 1e-7)
    assert {38, 39} <= set(chosen.tolist())
    assert chosen.size < 40


UNITS = [1e-12, 1e-8, 1e-4, 1.0, 1e4, 1e8, 1e12]


def cases_in_units():
    """A free and a balanced start, one vertex, many minimisers, and more rows than columns."""
    rng = np.random.default_rng(4)
    wide, tall = rng.standard_normal((6, 15)), rng.standard_normal((12, 6))
    doubled = np.hstack([wide[:, :8]] * 2)
    y = rng.standard_normal(6)
    cases = [(wide, y), (doubled, y), (tall, tall @ np.r_[1.0, 0.5, np.zeros(4)] + 1e-8)]
    for Z, y in cases:
        for factors in (
            mf.Factors.pilot(rng.normal(0, 0.3, Z.shape[1])),
            mf.Factors.balanced(rng.choice([-1.0, 1.0], Z.shape[1])),
        ):
            yield Z, y, factors


@pytest.mark.filterwarnings("ignore:Z has n = 12 samples")
@pytest.mark.parametrize("case", list(cases_in_units()), ids=[f"case{i}" for i in range(6)])
@pytest.mark.parametrize("unit", UNITS)
def test_units_do_not_matter(case, unit):
    """Z, y → cZ, cy leaves limits as they are; y → cy takes x of the polyhedral ones to cx."""
    Z, y, factors = case
    plain, both = mf.Regression(Z, y), mf.Regression(unit * Z, unit * y)
    targets = mf.Regression(Z, unit * y)
    alpha = 0.02 * np.abs(Z.T @ y).max() / y.size

    def same(limit, other, factor=1.0):
        assert limit.success, limit.message
        assert limit.status == other.status
        assert np.abs(limit.x / factor - other.x).max() <= 1e-9 * np.abs(other.x).max()

    for total in (0.0, 2.0, np.inf):
        same(mf.interpolator(both, factors, total), mf.interpolator(plain, factors, total))
    endless = mf.interpolator(plain, factors, np.inf)
    same(mf.interpolator(targets, factors, np.inf), endless, unit)
    lasso = mf.lasso_limit(plain, factors, alpha)
    same(mf.lasso_limit(both, factors, alpha * unit**2), lasso)
    same(mf.lasso_limit(targets, factors, alpha * unit), lasso, unit)
    if not plain.row_space.consistent:
        return
    # rows may be weighed and mixed where Zx = y has a solution
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((y.size, y.size)))[0]
    rows = unit * Q * 10.0 ** rng.uniform(-1, 1, y.size)
    mixed = mf.interpolator(mf.Regression(rows @ Z, rows @ y), factors, np.inf)
    if endless.status == "converged":  # the least-squares point does depend on the rows' weights
        same(mixed, endless)


@pytest.mark.parametrize("seed", range(20))
def test_least_squares_takes_no_rounding_for_a_descent(seed):
    """A target that is orthogonal to all columns, to rounding, is met by none of them."""
    rng = np.random.default_rng(seed)
    B = rng.standard_normal((8, 5)) * 10.0 ** rng.uniform(-6, 6, 5)
    target = rng.standard_normal(8)
    Q = np.linalg.qr(B)[0]
    target -= Q @ (Q.T @ target)
    assert not least_squares(B, target)[0].any()


def exact_minimum_l1(Z, y, positive, negative):
    """The least ‖x‖₁ over Zx = y with these signs, by all its vertices in fractions; or None."""
    rows = [[Fraction(float(entry)) for entry in row] for row in np.column_stack([Z, y])]
    sizes = []
    for basis in itertools.combinations(range(Z.shape[1]), len(Z)):
        system = [[row[j] for j in (*basis, -1)] for row in rows]
        for k in range(len(system)):  # Gauss and Jordan
            pivot = next((i for i in range(k, len(system)) if system[i][k]), None)
            if pivot is None:
                break
            system[k], system[pivot] = system[pivot], system[k]
            for i in range(len(system)):
                if i != k:
                    factor = system[i][k] / system[k][k]
                    system[i] = [a - factor * b for a, b in zip(system[i], system[k], strict=True)]
        else:
            x = [system[k][-1] / system[k][k] for k in range(len(system))]
            if all(
                (v >= 0 or negative[j]) and (v <= 0 or positive[j])
                for v, j in zip(x, basis, strict=True)
            ):
                sizes.append(sum(map(abs, x)))
    return min(sizes, default=None)


@pytest.mark.parametrize("kind", ["uneven columns", "nearly equal columns", "both"])
def test_a_confirmed_minimum_l1_is_none_too_large_in_exact_arithmetic(kind):
    """Whatever rounding does to it: the value and the bound say by how much at most."""
    judged = 0
    for seed in range(60):
        draw = random_stream("exact minimum", kind, seed)
        n = int(draw.integers(1, 4))
        d = int(draw.integers(n + 1, 8))
        Z = draw.standard_normal((n, d))
        if kind != "uneven columns":
            few = int(draw.integers(1, d))
            noise = 10.0 ** draw.uniform(-12, -3) * draw.standard_normal((n, d - few))
            Z[:, few:] = Z[:, draw.integers(0, few, d - few)] * (1.0 + noise)
        if kind != "nearly equal columns":
            Z *= 10.0 ** draw.uniform(-6, 6, d)
        x = draw.standard_normal(d)
        m = draw.uniform(0.1, 2.0, d)
        w = np.where(draw.random(d) < 0.5, np.copysign(m, x), draw.standard_normal(d))
        problem, start = mf.Regression(Z, Z @ x), mf.Factors(m, w)
        limit = mf.interpolator(problem, start, math.inf)
        check = certificates.optimality(problem, limit, math.inf)
        assert check.verdict != "refuted"
        least = exact_minimum_l1(Z, problem.y, *start.signs)
        if check.holds and least is not None:
            judged += 1
            excess = float(Fraction(float(np.abs(limit.x).sum())) / least - 1)
            assert excess <= check.value + check.bound, seed
    assert judged > 30


def test_a_point_with_a_gap_is_not_proven(monkeypatch):
    """Columns (1, 0) and (½, δ): ε(1, −2) changes Zx by 2εδ alone, and ‖x‖₁ by ε."""
    problem = mf.Regression([[1.0, 0.5], [0.0, 1e-5]], [1.5, 1e-5])
    start, original = mf.Factors([1.0, 1.0], [1.0, 1.0]), polyhedral.minimum_l1_face
    assert mf.interpolator(problem, start, math.inf).status == "converged"
    for epsilon, status in ((1e-8, "converged"), (1e-4, "not_converged")):

        def moved(*arguments, epsilon=epsilon):
            face = original(*arguments)
            return dataclasses.replace(face, point=face.point + epsilon * np.array([1.0, -2.0]))

        monkeypatch.setattr(polyhedral, "minimum_l1_face", moved)
        limit = mf.interpolator(problem, start, math.inf)
        assert limit.status == status
        assert limit.gap == pytest.approx(epsilon, rel=1e-2)
