"""The judges: cvxpy's answers against closed forms, scikit-learn and the paper's caution."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

import mirrorflow as mf


def test_min_l2_is_the_projection(small):
    problem, _ = small
    origin = np.linspace(-1, 1, 15)
    pinv = np.linalg.pinv(problem.Z)
    assert np.abs(mf.min_l2(problem).x - pinv @ problem.y).max() < 1e-8
    expected = origin + pinv @ (problem.y - problem.Z @ origin)
    assert np.abs(mf.min_l2(problem, origin).x - expected).max() < 1e-8
    shifted = mf.min_l2(problem, 0.5)
    expected = 0.5 + pinv @ (problem.y - problem.Z @ np.full(15, 0.5))
    assert np.abs(shifted.x - expected).max() < 1e-8


def test_min_l1_recovers_the_planted_vector():
    problem = mf.gaussian_recovery(40, 100, 5, 0)
    found = mf.min_l1(problem)
    assert found.success
    assert np.abs(found.x - problem.x_true).max() < 1e-9
    assert found.value == pytest.approx(5.0, abs=1e-9)


def test_lasso_is_scikit_learns(small):
    """λ = 2α on 1/(2n)‖·‖²: scikit-learn's alpha is λ."""
    from sklearn.linear_model import Lasso

    problem, _ = small
    model = Lasso(alpha=0.2, fit_intercept=False, tol=1e-14, max_iter=10**6)
    best = model.fit(problem.Z, problem.y).coef_
    found = mf.lasso(problem, 0.1)
    assert np.abs(found.x - best).max() < 1e-7
    x = found.x
    assert found.value == pytest.approx(problem.value(x) + 0.2 * np.abs(x).sum(), rel=1e-9)


def test_potential_value_is_the_potential(small):
    problem, factors = small
    for total in (0.0, 1.0, 4.0):
        found = mf.min_potential(problem, factors, total)
        R = mf.HyperbolicEntropy.of(factors, total)
        assert found.success
        # 1e-11 gap, scaled by (1 + 4A)/2, and a feasibility of the same order
        assert found.value == pytest.approx(R.value(found.x), rel=1e-7, abs=1e-7)


def test_infeasible_is_said():
    outside = mf.Regression([[1.0, 2.0, 3.0]], [-1.0])
    found = mf.min_potential(outside, mf.Factors.balanced(np.ones(3)), 0.0)
    assert not found.success
    assert found.value == np.inf
    assert "infeasible" in found.message


def test_inconsistent_targets_are_projected():
    """Twice the same rows with y ± 0.3: the same answers as with y."""
    rng = np.random.default_rng(0)
    Z, y = rng.standard_normal((3, 8)), rng.standard_normal(3)
    factors = mf.Factors.pilot(rng.normal(0, 0.3, 8))
    plain = mf.Regression(Z, y)
    apart = mf.Regression(np.vstack([Z, Z]), np.r_[y + 0.3, y - 0.3])
    for judge in (mf.min_l1, mf.min_l2):
        assert np.abs(judge(plain).x - judge(apart).x).max() < 1e-8
    entropic = [mf.min_potential(problem, factors, 1.0).x for problem in (plain, apart)]
    # strong convexity turns Clarabel's 1e-11 gap into some 1e-6
    assert np.abs(entropic[0] - entropic[1]).max() < 1e-5


@pytest.mark.parametrize("size", [1e-8, 1e-3, 1e6])
def test_answers_scale_with_the_data(small, size):
    """Clarabel's absolute tolerances must not decide: y × s and a × s give x × s."""
    problem, factors = small
    root = np.sqrt(size)
    larger = mf.Regression(problem.Z, size * problem.y)
    grown = mf.Factors(root * factors.m, root * factors.w)
    pairs = [
        (mf.min_l1(larger), mf.min_l1(problem)),
        (mf.min_l2(larger, 0.3 * size), mf.min_l2(problem, 0.3)),
        (mf.lasso(larger, 0.1 * size), mf.lasso(problem, 0.1)),
        (mf.min_potential(larger, grown, 1.0), mf.min_potential(problem, factors, 1.0)),
    ]
    for found, unit in pairs:
        assert np.abs(found.x / size - unit.x).max() < 1e-6


def test_bad_input(small):
    problem, factors = small
    with pytest.raises(mf.InputError, match="origin must have 15 entries"):
        mf.min_l2(problem, np.zeros(3))
    with pytest.raises(mf.InputError, match="alpha must be a finite number above 0"):
        mf.lasso(problem, -1.0)
    with pytest.raises(mf.InputError, match="total must be a finite number at least 0"):
        mf.min_potential(problem, factors, np.inf)
    with pytest.raises(mf.InputError, match="factors must have d = 15"):
        mf.min_potential(problem, mf.Factors([1.0], [0.0]), 0.0)


def test_importing_loads_no_heavy_package():
    """`import mirrorflow` and `--help` stay light; SciPy, cvxpy and friends come with first use."""
    import subprocess
    import sys

    heavy = ("torch", "cvxpy", "matplotlib", "pandas", "sklearn", "scipy", "numba", "tyro")
    code = (
        "import sys, mirrorflow, mirrorflow.sweep.__main__ as cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
        f"print('loaded', [m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("loaded []")


def test_sparse_problems_have_the_answers_of_dense_ones():
    rng = np.random.default_rng(4)
    Z = scipy.sparse.csr_array(rng.random((8, 30)) * (rng.random((8, 30)) < 0.4))
    y = Z @ np.where(np.arange(30) < 3, 1.0, 0.0)
    sparse, dense = mf.Regression(Z, y), mf.Regression(Z.toarray(), y)
    factors = mf.Factors.pilot(np.zeros(30))
    for solve in (
        mf.min_l1,
        mf.min_l2,
        lambda problem: mf.min_potential(problem, factors, 1.0),
        lambda problem: mf.lasso(problem, 0.1),
    ):
        one, two = solve(sparse), solve(dense)
        assert one.status == two.status == "optimal"
        np.testing.assert_allclose(one.x, two.x, rtol=0, atol=1e-6)


def units(problem, factors, judge_of):
    """x of the four judges for Z and y in units c, over 1e-12 … 1e12."""
    for c in 10.0 ** np.arange(-12, 13, 3):
        other = mf.Regression(c * problem.Z, c * problem.y)
        yield judge_of(other, c, factors)


@pytest.mark.parametrize("name", ["min_l1", "min_l2", "lasso", "min_potential"])
def test_answers_do_not_depend_on_the_unit_of_data(small, name):
    """Z and y times c: the same minimisers (a LASSO's penalty grows by c²)."""
    judges = {
        "min_l1": lambda problem, c, _: mf.min_l1(problem),
        "min_l2": lambda problem, c, _: mf.min_l2(problem, 0.3),
        "lasso": lambda problem, c, _: mf.lasso(problem, 0.1 * c**2),
        "min_potential": lambda problem, c, factors: mf.min_potential(problem, factors, 1.0),
    }
    right = judges[name](*small[:1], 1.0, small[1])
    for found in units(*small, judges[name]):
        assert found.success
        assert np.abs(found.x - right.x).max() < 1e-6
    # and its objective in its own unit
    for c, found in zip(10.0 ** np.arange(-12, 13, 3), units(*small, judges[name]), strict=True):
        value = right.value * (c**2 if name == "lasso" else 1.0)
        assert found.value == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("decades", [2, 5])
def test_rows_in_units_of_their_own(small, decades):
    """{Zx = y} stays the same set, however its equations are scaled."""
    problem, factors = small
    rows = 10.0 ** np.random.default_rng(1).uniform(-decades, decades, problem.n)
    other = mf.Regression(rows[:, None] * problem.Z, rows * problem.y)
    for judge in (mf.min_l1, mf.min_l2, lambda some: mf.min_potential(some, factors, 1.0)):
        found, right = judge(other), judge(problem)
        assert found.success
        assert np.abs(found.x - right.x).max() < 1e-5


@pytest.mark.parametrize("decades", [3, 6, 9])
def test_a_success_is_a_solution(decades):
    """Columns over many decades: whoever says optimal has Zx = y, or the LASSO's least value."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        columns = 10.0 ** rng.uniform(-decades, decades, 9)
        Z = rng.standard_normal((3, 9))
        problem = mf.Regression(Z / columns, Z[:, 0])
        factors = mf.Factors.pilot(np.zeros(9))
        for found in (
            mf.min_l1(problem),
            mf.min_l2(problem),
            mf.min_potential(problem, factors, 1.0),
        ):
            size = np.abs(problem.Z) @ np.abs(found.x) + np.abs(problem.y)
            if found.success:
                assert (np.abs(problem.Z @ found.x - problem.y) / size).max() < 1e-5
        found, alpha = mf.lasso(problem, 0.05), 0.05
        slope = problem.gradient(found.x) / (2 * alpha)
        theta = (problem.y - problem.Z @ found.x) / max(1.0, np.abs(slope).max())
        dual = (problem.y @ theta - 0.5 * theta @ theta) / 3
        if found.success:
            assert found.value - dual < 1e-5 * problem.value(np.zeros(9))


def test_a_wrong_answer_is_no_success(small, monkeypatch):
    """The solver's word counts where Zx = y, or the duality gap, bears it out."""
    from mirrorflow import references

    problem, factors = small
    right = references._solve

    def careless(goal, rules, x, *rest):
        found = right(goal, rules, x, *rest)
        return mf.Reference(1.01 * found.x, 1.01 * found.value, "optimal", found.message)

    monkeypatch.setattr(references, "_solve", careless)
    for found in (
        mf.min_l1(problem),
        mf.min_l2(problem),
        mf.lasso(problem, 0.1),
        mf.min_potential(problem, factors, 1.0),
    ):
        assert not found.success
        assert found.status == "inaccurate"
        assert "is off by" in found.message


def test_min_l2_value_is_the_squared_distance(small):
    problem, _ = small
    for size in (1.0, 1e3):
        origin = np.linspace(-size, size, 15)
        found = mf.min_l2(problem, origin)
        assert found.value == pytest.approx(np.sum((found.x - origin) ** 2), rel=1e-9)


def test_targets_off_by_little_are_projected():
    """Twice the same rows with y ± 1e-8: y apart from Z's range by 1e4 times the tolerance."""
    rng = np.random.default_rng(0)
    Z, y = rng.standard_normal((3, 8)), rng.standard_normal(3)
    apart = mf.Regression(np.vstack([Z, Z]), np.r_[y + 1e-8, y - 1e-8])
    from mirrorflow import references

    _, targets, scale = references._attainable(apart)
    assert np.abs(targets[:3] - targets[3:]).max() * scale < 1e-12
    assert np.abs(mf.min_l2(apart).x - np.linalg.pinv(Z) @ y).max() < 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_a_success_is_a_minimum_under_nearly_equal_columns(seed):
    """A residual of 1e-9 is no solution where the step that removes it is as long as x."""
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((5, 2))
    Z = np.hstack([G, G + 10.0 ** -(7 + seed % 4) * rng.standard_normal(G.shape)])
    with pytest.warns(UserWarning, match="nothing to select"):
        problem = mf.Regression(Z, Z @ np.array([1.0, 0.0, -0.5, 0.7]))
    found = mf.min_l1(problem)
    # independent columns leave one x, known to eps times the condition number
    assert not found.success or found.value == pytest.approx(2.2, rel=1e-5)


def test_targets_of_zero_are_in_units_of_the_start():
    """y = 0: x = m0 w0 e^(−4A) off the rows of Z, whatever A and the size of the start."""
    problem = mf.Regression([[1.0, 1.0, 0.0]], [0.0])
    for size in (1e-6, 1.0, 1e6):
        factors = mf.Factors(size * np.array([1.0, 2.0, 3.0]), size * np.array([0.3, 0.5, 2.0]))
        for total in (0.0, 2.0, 8.0):
            limit = mf.interpolator(problem, factors, total)
            found = mf.min_potential(problem, factors, total)
            # sqrt of the 1e-11 that Clarabel's gap may be, with a digit to spare
            assert found.success
            assert np.abs(found.x - limit.x).max() < 3e-5 * np.abs(limit.p + limit.q).max()
