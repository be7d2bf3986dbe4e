"""Maximum margins: optimality, cvxpy's answer, and flows that near them at every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mirrorflow as mf
from mirrorflow import certificates as certify


def separable(n, d, seed, loss=None):
    rng = np.random.default_rng(seed)
    Z, truth = rng.standard_normal((n, d)), rng.standard_normal(d)
    return mf.Regression(Z, np.sign(Z @ truth), truth, loss=loss or mf.Logistic())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(2, 15),
    d=st.integers(2, 25),
    total=st.sampled_from([0.0, 0.5, 2.0, 6.0]),
    margin=st.sampled_from([1e-2, 1.0, 50.0]),
    seed=st.integers(0, 2**16),
)
@pytest.mark.filterwarnings("ignore:Z has n")
def test_the_point_meets_its_conditions(n, d, total, margin, seed):
    """Margins ≥ γ, q ≥ 0, q = 0 off the margin, ∇R = Σ q_i y_i z_i, and no duality gap."""
    problem = separable(n, d, seed)
    start = mf.Factors.pilot(0.2 * np.random.default_rng(seed).standard_normal(d))
    best = mf.max_margin(problem, start, total, margin)
    assert best.success
    rows = problem.y[:, None] * problem.Z
    assert best.violation < 1e-8
    assert (best.dual >= 0).all()
    potential = start.potential(total)
    theta = rows.T @ best.dual
    assert potential.gradient(best.x) == pytest.approx(theta, abs=1e-7 * (1 + np.abs(theta).max()))
    slack = (rows @ best.x - margin) * best.dual
    assert np.abs(slack).max() <= 1e-7 * margin * max(1.0, best.dual.max())
    assert best.gap <= 1e-7 * (1.0 + abs(potential.value(best.x)))


def test_no_decay_agrees_with_cvxpy_and_endless_decay_is_minimum_l1():
    cvxpy = pytest.importorskip("cvxpy")
    problem, start = separable(12, 30, 1), mf.Factors.pilot(np.zeros(30))
    rows = problem.y[:, None] * problem.Z
    x = cvxpy.Variable(30)
    least = cvxpy.Problem(cvxpy.Minimize(cvxpy.norm1(x)), [rows @ x >= 1]).solve()
    endless = mf.max_margin(problem, start, np.inf)
    assert np.abs(endless.x).sum() == pytest.approx(least, rel=1e-6)
    assert endless.gap < 1e-10
    p, q = cvxpy.Variable(30), cvxpy.Variable(30)
    entropy = cvxpy.sum(cvxpy.kl_div(p, 0.25)) + cvxpy.sum(cvxpy.kl_div(q, 0.25))
    cvxpy.Problem(cvxpy.Minimize(entropy), [rows @ (p - q) >= 1]).solve(solver="CLARABEL")
    smooth = mf.max_margin(problem, start, 0.0)  # p̄ = q̄ = ½u₀² = ¼
    assert np.abs(smooth.x - (p.value - q.value)).max() < 1e-3
    # the scale falls: from near L2 to near L1
    norms = [np.abs(mf.max_margin(problem, start, A).x).sum() / least for A in (0, 2, 4, 8)]
    assert (np.diff(norms) < 0).all()
    assert 1.0 <= norms[-1] < 1.02


def test_margin_and_scale_are_one_parameter():
    """R_a(γu) = γ R_{a/γ}(u): the point of margin γ is γ times that of margin 1 at a/γ."""
    problem = separable(8, 20, 3)
    wide = mf.max_margin(problem, mf.Factors.pilot(np.zeros(20), 2.0), 0.0, 10.0).x
    unit = mf.max_margin(problem, mf.Factors.pilot(np.zeros(20), 0.2), 0.0, 1.0).x
    assert wide == pytest.approx(10.0 * unit, abs=1e-8)


@pytest.mark.parametrize("loss", [mf.Logistic(), mf.Exponential()])
@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_flows_near_the_margin_problem_at_every_time(loss, alpha):
    problem = separable(6, 14, 4, loss)
    start = mf.Factors.pilot(np.full(14, 0.05), 0.5)
    schedule = mf.Constant(alpha, 8.0)
    for end in (5.0, 50.0, 2000.0):
        flow = mf.direct_flow(problem, start, schedule, [end], 1e-10, accumulate=True)
        gap = certify.margin_gap(problem, start, flow, 1e-10)
        assert gap.verdict != "refuted"
        best = mf.max_margin(problem, start, flow.total[-1], 1.0).x
        assert certify.margin_identity(problem, start, flow, 1e-10, best).holds
        wrong = flow.total[-1] + 0.2
        check = certify.margin_identity(problem, start, flow, 1e-10, best, wrong)
        assert check.verdict == "refuted"
    assert gap.holds
    # an inequality: the scale must be far off to break it
    assert certify.margin_gap(problem, start, flow, 1e-10, 3.0).verdict == "refuted"


def test_data_that_are_not_separable_have_a_status():
    problem = mf.Regression([[1.0, 0.0, 2.0], [-1.0, 0.0, -2.0]], [1.0, 1.0], loss=mf.Logistic())
    best = mf.max_margin(problem, mf.Factors.pilot(np.zeros(3)), 0.0)
    assert best.status == "not_separable"
    assert not best.success
    assert "there is no margin" in best.message


STARTS = {
    "u³ − v³": lambda draw: mf.Powers(*draw.uniform(0.3, 1.0, (2, 6)), 3),
    "u⁵ − v⁵": lambda draw: mf.Powers(*draw.uniform(0.3, 1.0, (2, 6)), 5),
    "3 layers": lambda draw: mf.DeepFactors(draw.uniform(0.3, 1.5, (3, 6))),
    "5 layers": lambda draw: mf.DeepFactors(draw.uniform(0.3, 1.5, (5, 6))),
}


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("seed", range(5))
def test_maps_with_a_bounded_domain_have_their_points_too(name, seed):
    """Steps of the dual that leave the domain, beyond which Q is no number, are not taken."""
    draw = np.random.default_rng(seed)
    problem, start = separable(4, 6, seed), STARTS[name](draw)
    best = mf.max_margin(problem, start, 0.3)
    low, high = start.domain
    theta = (problem.y[:, None] * problem.Z).T @ best.dual
    assert best.success
    assert best.violation < 1e-8
    assert ((low < theta) & (theta < high)).all()
    assert np.isinf(start.potential().conjugate(np.where(np.isinf(high), 1e300, 1.1 * high))).all()


def test_a_single_sample_has_no_gap():
    problem, start = separable(1, 5, 0), mf.Factors.pilot(np.zeros(5))
    flow = mf.direct_flow(problem, start, mf.Constant(0.0), [1.0, 100.0], accumulate=True)
    assert certify.margin_gap(problem, start, flow, 1e-8).holds
    assert not certify.margin_gap(problem, start, flow, 1e-8, total=1.0).holds


def test_bad_input():
    problem, start = separable(4, 9, 0), mf.Factors.pilot(np.zeros(9))
    with pytest.raises(mf.InputError, match="labels −1 and 1 for a margin"):
        mf.max_margin(mf.gaussian_recovery(4, 9, 2, 0), start, 0.0)
    with pytest.raises(mf.InputError, match=r"margin must be .*above 0"):
        mf.max_margin(problem, start, 0.0, 0.0)
    with pytest.raises(mf.InputError, match="total must be finite for LogFactors"):
        mf.max_margin(problem, mf.LogFactors.of_scale(9, 3.0), np.inf)
    with pytest.raises(mf.InputError, match="start must have d = 9"):
        mf.max_margin(problem, mf.Factors.pilot(np.zeros(3)), 0.0)
    flow = mf.direct_flow(problem, start, mf.Constant(0.0), [1.0])
    with pytest.raises(mf.InputError, match="accumulate=True"):
        certify.margin_gap(problem, start, flow, 1e-8)
