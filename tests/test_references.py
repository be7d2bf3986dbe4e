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
    assert found.value == pytest.approx(problem.loss(x) + 0.2 * np.abs(x).sum(), rel=1e-9)


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
    """`import mirrorflow` and `--help` stay light; cvxpy and friends come with their first use."""
    import subprocess
    import sys

    heavy = ("torch", "cvxpy", "matplotlib", "pandas", "sklearn")
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
