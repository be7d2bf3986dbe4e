"""Limits of every map and every loss: against root finding, late flows and what proves them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, root

import mirrorflow as mf
from mirrorflow import certificates as certify
from mirrorflow.losses import Exponential, Logistic, Poisson, PseudoHuber

EPS = float(np.finfo(float).eps)
RNG = np.random.default_rng(3)
SIZES = 0.4 + 0.4 * RNG.random((2, 12))
STARTS = {
    "m ⊙ w": mf.Factors(*RNG.standard_normal((2, 12))),
    "u³ − v³": mf.Powers(*SIZES, 3),
    "u⁴ − v⁴": mf.Powers(*SIZES, 4),
    "3 layers": mf.DeepFactors(RNG.standard_normal((3, 12))),
    "5 layers": mf.DeepFactors(RNG.standard_normal((5, 12))),
    "θ|θ|^½": mf.SignedPower(RNG.standard_normal(12), 1.5),
    "sinh θ": mf.Custom(lambda theta: np.sinh(theta[0]), 0.3 * RNG.standard_normal((1, 12))),
    "θ₁θ₂": mf.Custom(lambda theta: theta[0] * theta[1], RNG.standard_normal((2, 12))),
}


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(5)
    return mf.Regression(0.5 * rng.standard_normal((4, 12)), rng.standard_normal(4))


def same_as(name):
    """A start of another class with the same flow."""
    m, w = RNG.uniform(0.2, 1.0, (2, 12))
    u = np.full((2, 12), 0.3)
    return {
        "θ₁³ − θ₂³ from 0": (mf.Custom(lambda t: t[0] ** 3 - t[1] ** 3, u), mf.Powers(*u, 3)),
        "logarithms": (
            mf.LogFactors(2 * np.log(0.5 * (m + w)), 2 * np.log(0.5 * np.abs(m - w))),
            mf.Factors(m, w),
        ),
    }[name]


def totals_of(start):
    return [0.0, 0.2, 1.2] if np.isfinite(start.decay) else [0.0]


@pytest.mark.parametrize("name", STARTS)
def test_limits_are_roots_of_the_dual_and_ends_of_flows(problem, name):
    """x = e^{−δA}X(Zᵀν) with Zx = y, by scipy's hybrid method and by flows to t = 1e6."""
    start, Z = STARTS[name], problem.Z
    for total, limit in zip(
        totals_of(start), mf.interpolators(problem, [start], totals_of(start))[0], strict=True
    ):
        assert limit.status == "converged"
        size = np.abs(limit.x).max()
        # near an end of the domain the digits of μ are those of x (1 + rate·|μ|)
        mu = 0.5 * Z.T @ limit.dual
        steep = 1.0 + np.abs(mu * limit.metric).max() / size
        if total <= 0.2:  # later scipy's method is lost near the ends of the domains
            found = root(
                lambda nu, total=total: Z @ start.at(Z.T @ nu, total)[0] - problem.y,
                0.45 * limit.dual,
                tol=1e-13,
            )
            assert np.abs(start.at(Z.T @ found.x, total)[0] - limit.x).max() <= 1e-9 * size
        assert np.abs(Z @ limit.x - problem.y).max() <= 100 * EPS * steep * size
        assert limit.stationarity_residual <= 1e3 * EPS * max(np.abs(mu).max(), 1.0)
        assert limit.gap <= 1e-9 * max(np.abs(mu @ limit.x), size)
        # what is told of the point
        assert start.g(limit.parameters) == pytest.approx(limit.x, abs=1e-9 * size)
        assert limit.metric == pytest.approx(start.at(mu, total)[1], rel=1e-9 * steep)
        assert limit.p - limit.q == pytest.approx(limit.x, abs=1e-12 * max(limit.p.max(), size))
        schedule = mf.Constant(2.0 * total, 0.5) if total else mf.Constant(0.0)
        flow = mf.gradient_flow(problem, start, schedule, [1e6, np.inf], 1e-10)
        assert np.abs(flow.x - limit.x).max() < 1e-8 * size
        assert np.array_equal(flow.parameters[-1], limit.parameters) or total


@pytest.mark.parametrize("name", STARTS)
def test_totals_threads_and_order_change_no_bit(problem, name, monkeypatch):
    start = STARTS[name]
    others = [STARTS["3 layers"], mf.Factors.pilot(np.zeros(12)), start]
    totals = totals_of(start)
    alone = mf.interpolators(problem, [start], totals)[0]
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        last = mf.interpolators(problem, others, totals)[-1]
        for limit, other in zip(alone, last, strict=True):
            for field in ("x", "dual", "p", "q", "parameters", "metric"):
                assert np.array_equal(getattr(limit, field), getattr(other, field))
            assert limit.iterations == other.iterations


def test_no_path_to_each_total_is_the_same_point(problem):
    """What follows a total begins at its solution, and ends where a start from 0 does."""
    for start in STARTS.values():
        totals = totals_of(start)
        for total, limit in zip(totals, mf.interpolators(problem, [start], totals)[0], strict=True):
            other = mf.interpolator(problem, start, total)
            assert np.abs(limit.x - other.x).max() <= 1e-9 * np.abs(limit.x).max()


@pytest.mark.parametrize("alpha", [1e-1, 1e-2, 1e-3])
def test_small_uniform_starts_of_depth_three(alpha):
    """u³ − v³ from u₀ = v₀ = α: the smaller, the nearer to minimum L1, in few steps."""
    problem = mf.gaussian_recovery(20, 50, 3, 0)
    start = mf.Powers(np.full(50, alpha), np.full(50, alpha), 3)
    limit = mf.interpolator(problem, start, 0.0)
    assert limit.status == "converged"
    assert limit.iterations <= 30
    excess = np.abs(limit.x).sum() / np.abs(problem.x_true).sum() - 1.0
    assert -1e-9 <= excess <= 30.0 * alpha


@pytest.mark.parametrize("total", [0.0, 1.0, 3.0])
def test_balanced_layers_keep_their_signs(total):
    """x ≥ 0 of three equal layers: within the sign cone, and outside of it."""
    Z = np.random.default_rng(7).standard_normal((5, 9))
    start = mf.DeepFactors(np.ones((3, 9)))
    inside = mf.Regression(Z, Z @ np.random.default_rng(1).uniform(0.5, 1.0, 9))
    limit = mf.interpolator(inside, start, total)
    assert limit.status == "converged"
    assert limit.x.min() > 0
    limit = mf.interpolator(mf.Regression([[1.0] * 9], [-1.0]), start, total)
    assert limit.status == "no_interpolator_in_sign_cone"
    assert not limit.x.any()
    assert not limit.parameters.any()


def test_decay_inside_moves_the_start(problem):
    """θ₁³ − θ₂³ under h = Σθ³: A enters inside and there is no scale."""
    start = mf.Custom(
        lambda theta: theta[0] ** 3 - theta[1] ** 3, SIZES, lambda theta: (theta**3).sum()
    )
    limit = mf.interpolator(problem, start, 0.4)
    moved = mf.interpolator(problem, start.after(0.4), 0.0)
    assert limit.status == "converged"
    assert np.abs(limit.x - moved.x).max() <= 1e-11 * np.abs(moved.x).max()
    assert start.g(limit.parameters) == pytest.approx(limit.x, abs=1e-9)
    sinh = STARTS["sinh θ"]
    with pytest.raises(mf.InputError, match="use direct_flow"):
        mf.interpolator(problem, sinh, 0.4)


@pytest.mark.parametrize("name", ["u³ − v³", "sinh θ"])
def test_what_m_w_alone_has(problem, name):
    start = STARTS[name]
    if not start.degree > 2.0:
        with pytest.raises(mf.InputError, match="total may be inf for Factors and degree L > 2"):
            mf.interpolator(problem, start, np.inf)
    with pytest.raises(mf.InputError, match="start must be Factors, as a penalty that stays"):
        mf.lasso_limit(problem, start, 0.1)
    with pytest.raises(mf.InputError, match="gain and shift are for Factors"):
        mf.interpolator(problem, start, 0.0, gain=np.zeros(12))


# ---- losses


def late(problem, start, total):
    schedule = mf.Constant(2.0 * total, 0.5) if total else mf.Constant(0.0)
    return mf.gradient_flow(problem, start, schedule, [1e7], 1e-10).x[-1]


@pytest.mark.parametrize("total", [0.0, 1.0])
def test_targets_are_what_minimises_the_loss(total):
    rng = np.random.default_rng(2)
    Z, counts = 0.5 * rng.standard_normal((4, 12)), np.array([1.0, 3.0, 2.0, 5.0])
    start = STARTS["m ⊙ w"]
    for loss, y, target in (
        (PseudoHuber(0.3), counts, counts),
        (Poisson(), counts, np.log(counts)),
    ):
        limit = mf.interpolator(mf.Regression(Z, y, loss=loss), start, total)
        same = mf.interpolator(mf.Regression(Z, target), start, total)
        assert limit.status == "converged"
        assert np.array_equal(limit.x, same.x)
        assert np.abs(late(mf.Regression(Z, y, loss=loss), start, total) - limit.x).max() < 1e-6


@pytest.mark.filterwarnings("ignore:Z has n = 20 samples")
@pytest.mark.parametrize("loss", [PseudoHuber(0.3), Poisson(), Logistic(), Exponential()], ids=str)
@pytest.mark.parametrize("total", [0.0, 1.0])
def test_targets_out_of_reach_are_the_minimum_over_the_range(loss, total):
    """Twenty samples of a design of rank 3: by scipy's minimiser, and by a late flow."""
    rng = np.random.default_rng(4)
    Z = rng.standard_normal((20, 3)) @ rng.standard_normal((3, 12)) / 3
    labels = isinstance(loss, Logistic | Exponential)
    y = rng.choice([-1.0, 1.0], 20) if labels else rng.poisson(1.0, 20).astype(float)
    problem, start = mf.Regression(Z, y, loss=loss), STARTS["m ⊙ w"]
    limit = mf.interpolator(problem, start, total)
    assert limit.status == "inconsistent"
    assert limit.success
    assert "minimisers of the loss" in limit.message
    assert np.abs(problem.gradient(limit.x)).max() < 1e-12
    best = minimize(problem.value, np.zeros(12), jac=problem.gradient, tol=1e-12)
    assert problem.value(limit.x) <= best.fun + 1e-14
    assert np.abs(late(problem, start, total) - limit.x).max() < 1e-6
    endless = mf.interpolator(problem, start, np.inf)
    assert endless.success
    assert np.abs(problem.gradient(endless.x)).max() < 1e-12
    assert certify.lasso_kkt(problem, mf.lasso_limit(problem, start, 0.1).x, 0.1).holds


def test_losses_without_a_minimum():
    rng = np.random.default_rng(0)
    Z, start = rng.standard_normal((4, 12)), STARTS["m ⊙ w"]
    for loss, y in (
        (Logistic(), [1.0, -1.0, 1.0, 1.0]),
        (Exponential(), [1.0, 1.0, -1.0, 1.0]),
        (Poisson(), [0.0, 2.0, 1.0, 0.0]),
    ):
        with pytest.raises(mf.InputError, match=r"no minimum on these data \(separable\)"):
            mf.interpolator(mf.Regression(Z, y, loss=loss), start, 0.0)


@pytest.mark.parametrize("name", ["θ₁³ − θ₂³ from 0", "logarithms"])
def test_limits_do_not_depend_on_how_a_map_is_written(problem, name):
    """A table's X″/X′ is 0 where u = v, which says nothing of how far a step may go."""
    start, usual = same_as(name)
    for total in (0.0, 0.3, 1.0):
        limit, other = (mf.interpolator(problem, one, total) for one in (start, usual))
        assert limit.status == "converged"
        assert np.abs(limit.x - other.x).max() <= 1e-9 * np.abs(other.x).max()
    flow = mf.gradient_flow(problem, start, mf.Constant(0.3, 1.0), [1.0, np.inf])
    assert np.abs(flow.x[-1] - mf.interpolator(problem, usual, 0.3).x).max() <= 1e-9
