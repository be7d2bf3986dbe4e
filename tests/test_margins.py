"""Maximum margins: optimality, cvxpy's answer, and flows that near them at every time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mirrorflow as mf
from mirrorflow import certificates as certify

CASES = json.loads((Path(__file__).parent / "data" / "atlas_flow_cases.json").read_text())


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


@pytest.mark.filterwarnings("ignore:Z has n")
def test_data_that_are_not_separable_have_a_status_and_the_minimiser():
    draw = np.random.default_rng(0)
    problem = mf.Regression(
        draw.standard_normal((12, 3)), draw.choice([-1.0, 1.0], 12), loss=mf.Logistic()
    )
    start = mf.Factors.pilot(np.zeros(3))
    best = mf.max_margin(problem, start, 0.5)
    assert best.status == "not_separable"
    assert not best.success
    assert "there is no margin" in best.message
    assert np.abs(problem.gradient(best.x)).max() < 1e-12
    # without a minimum
    half = mf.Regression(
        [[1.0, 0.0, 2.0], [-1.0, 0.0, -2.0], [0.0, 1.0, 0.0]], np.ones(3), loss=mf.Logistic()
    )
    assert not mf.max_margin(half, start, 0.5).x.any()


@pytest.mark.filterwarnings("ignore:Z has n")
@pytest.mark.parametrize(
    "start", [mf.Factors.balanced([1.0, -1.0]), mf.SignedPower([1.0, -1.0], 3.0)]
)
def test_signs_that_the_start_keeps_can_leave_no_margin(start):
    allowed = mf.Regression([[2.0, 1.0], [0.1, -1.0]], [1.0, 1.0], loss=mf.Logistic())
    assert mf.max_margin(allowed, start, 0.2).success
    forbidden = mf.Regression([[2.0, 3.0], [0.0, 1.0]], [1.0, 1.0], loss=mf.Logistic())
    assert mf.max_margin(forbidden, start, 0.2).status == "not_separable"
    assert mf.max_margin(forbidden, mf.Factors.pilot([0.0, 0.0]), 0.2).success


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("log_1_over_a", [50.0, 500.0, 5000.0])
def test_tiny_starts(seed, log_1_over_a):
    """Exponents of thousands: a tolerance that knows what they round to, and a path of scales."""
    n, d = (30, 34) if seed % 2 else (8, 24)
    problem = separable(n, d, seed)
    best = mf.max_margin(problem, mf.LogFactors.of_scale(d, log_1_over_a), 0.0)
    assert best.success
    # exponents of 5000 round to 5e-13, and a small margin is a difference
    assert best.violation < 1e-9
    least = np.abs(mf.max_margin(problem, mf.LogFactors.of_scale(d, 1.0), np.inf).x).sum()
    assert -1e-9 < np.abs(best.x).sum() / least - 1.0 < 2.0 * d / log_1_over_a


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
    with pytest.raises(mf.InputError, match=r"total must be finite for SignedPower of degree 1\.5"):
        mf.max_margin(problem, mf.SignedPower(np.ones(9), 1.5), np.inf)
    for times, told in (
        ([0.0, np.inf], "finite"),
        ([0.0, np.nan], "finite"),
        ([1.0, 1.0], "ascend"),
    ):
        with pytest.raises(mf.InputError, match=f"log_times must .*{told}"):
            mf.margin_flow(problem, start, times)
    with pytest.raises(mf.InputError, match=r"loss must be Logistic\(\) or Exponential"):
        mf.margin_flow(mf.Regression(problem.Z, problem.y), start, [1.0])
    with pytest.raises(mf.InputError, match="∫α < ∞"):
        mf.margin_flow(problem, start, [1.0], mf.Constant(0.1))
    twice = mf.Regression(np.ones((2, 9)), [1.0, -1.0], loss=mf.Logistic())
    with pytest.raises(mf.InputError, match="y must be separable"):
        mf.margin_flow(twice, start, [1.0])
    deep = mf.Powers(np.ones(9), np.ones(9), 3)
    late = mf.margin_flow(problem, deep, [3.0])
    with pytest.raises(mf.InputError, match="start must be Factors or LogFactors"):
        certify.margin_direction(problem, deep, late, 1e-8)
    with pytest.raises(mf.InputError, match="labels must be whole numbers from 0 to 2"):
        mf.softmax_flow(np.ones((2, 3)), [0, 3], start, mf.Constant(0.0), [1.0])
    with pytest.raises(mf.InputError, match="K ≥ 2 classes, but it has 9"):
        mf.softmax_flow(np.ones((2, 5)), [0, 1], start, mf.Constant(0.0), [1.0])
    with pytest.raises(mf.InputError, match="start must have d = 9"):
        mf.max_margin(problem, mf.Factors.pilot(np.zeros(3)), 0.0)
    flow = mf.direct_flow(problem, start, mf.Constant(0.0), [1.0])
    with pytest.raises(mf.InputError, match="accumulate=True"):
        certify.margin_gap(problem, start, flow, 1e-8)


def numbers(case, *names):
    return [np.array(CASES[case][name], float) for name in names]


def test_reference_case_c12():
    """The flow at t = 20 to 40 digits, its q, and the point of its margin."""
    Z, m, w, x, q, best, T = numbers("C12_classification", "Z", "m0", "w0", "x", "q", "x_star", "T")
    problem, start = mf.Regression(Z, np.ones(3), loss=mf.Exponential()), mf.Factors(m, w)
    schedule = mf.Quadratic.from_total(0.3, 1.0)
    flow = mf.margin_flow(problem, start, [np.log(T)], schedule, 1e-11)
    assert flow.x[0] == pytest.approx(x, rel=1e-9)
    assert flow.dual[0] == pytest.approx(q, rel=1e-9)
    gamma = float(flow.margins.min())
    assert mf.max_margin(problem, start, flow.total[0], gamma).x == pytest.approx(best, rel=1e-9)
    gap = certify.margin_gap(problem, start, flow, 1e-11)
    assert gap.value == pytest.approx(
        float(CASES["C12_classification"]["R_gap"]) / float(CASES["C12_classification"]["G"])
    )
    # wrong: the scale 2a
    wide = mf.Factors(np.sqrt(2.0) * m, np.sqrt(2.0) * w)
    off = mf.max_margin(problem, wide, flow.total[0], gamma).x - best
    assert np.abs(off).max() > 0.01


@pytest.mark.parametrize("loss", [mf.Logistic(), mf.Exponential()])
@pytest.mark.parametrize("name", ["m w", *STARTS])
def test_log_time_agrees_with_the_direct_flow(loss, name):
    problem = separable(4, 6, 7, loss)
    start = STARTS.get(name, lambda draw: mf.Factors.pilot(draw.standard_normal(6)))(
        np.random.default_rng(7)
    )
    schedule, times = mf.Constant(0.03, 5.0), np.array([0.5, 5.0, 300.0])
    flow = mf.margin_flow(problem, start, np.log(times), schedule, 1e-11)
    direct = mf.direct_flow(problem, start, schedule, times, 1e-11)
    assert flow.success
    assert flow.total == pytest.approx(direct.total)
    assert np.abs(flow.x - direct.x).max() < 1e-8 * np.abs(direct.x).max()


def test_to_log_time_1e5():
    """The L1 norm nears the least one of its margin like 1/log(γ/a); an L2 norm does not."""
    problem, start = separable(6, 24, 5), mf.Factors.pilot(np.full(24, 0.1))
    log_times = [1e2, 1e3, 1e4, 1e5]
    flow = mf.margin_flow(problem, start, log_times, mf.Constant(0.05, 8.0))
    assert flow.success
    assert flow.margins.min(axis=1) == pytest.approx(log_times, rel=0.1)
    checks = []
    for end in log_times:
        alone = mf.margin_flow(problem, start, [end], mf.Constant(0.05, 8.0))
        checks.append(certify.margin_direction(problem, start, alone, 1e-8))
        assert checks[-1].holds
        assert certify.margin_gap(problem, start, alone, 1e-8).holds
    assert certify.margin_direction(problem, start, alone, 1e-8, norm=2).verdict == "refuted"
    assert (np.diff([check.value for check in checks]) < 0.0).all()
    assert (np.diff([check.bound for check in checks]) < 0.0).all()
    early = mf.margin_flow(problem, start, [-3.0])
    assert certify.margin_direction(problem, start, early, 1e-8).verdict == certify.UNJUDGED


HORIZONS = {
    # norm that R is for large x, and where it is reached
    "u³ − v³": (lambda draw: mf.Powers(*draw.uniform(0.3, 1.0, (2, 12)), 3), np.inf),
    "4 layers": (lambda draw: mf.DeepFactors(draw.uniform(0.3, 1.5, (4, 12))), np.inf),
    "u² − v²": (lambda draw: mf.Powers(*draw.uniform(0.3, 1.0, (2, 12)), 2), np.inf),
    "HAM": (lambda draw: mf.Ham(draw.standard_normal(12), 200.0), np.inf),
    "tiny a": (lambda draw: mf.LogFactors.of_scale(12, 9.0), np.inf),
    "θ|θ|^¼": (lambda draw: mf.SignedPower(np.full(12, 1e-20), 1.25), 0.0),
    "θ|θ|^½": (lambda draw: mf.SignedPower(np.full(12, 1e-20), 1.5), 0.0),
}


@pytest.mark.parametrize("name", HORIZONS)
def test_horizon_functions_agree_with_cvxpy(name):
    cvxpy = pytest.importorskip("cvxpy")
    make, total = HORIZONS[name]
    start, problem = make(np.random.default_rng(3)), separable(5, 12, 9)
    rows, x = problem.y[:, None] * problem.Z, cvxpy.Variable(12)
    if total == np.inf:
        up, down = start.weights
        goal = up @ cvxpy.pos(x) + down @ cvxpy.neg(x)
    else:
        goal = cvxpy.pnorm(x, 2.0 / start.power)
    cvxpy.Problem(cvxpy.Minimize(goal), [rows @ x >= 1.0]).solve(solver="CLARABEL")
    best = mf.max_margin(problem, start, total)
    assert best.success
    assert np.abs(best.x - x.value).max() < 1e-4  # the root of what Clarabel leaves of the value
    # and the point of a large margin nears it, as the flow does
    if total == np.inf:
        size = 1e6 if start.degree > 2 else 1e30
        assert np.abs(mf.max_margin(problem, start, 0.0, size).x / size - best.x).max() < 0.1


@pytest.mark.parametrize("kappa", [1.25, 1.5])
def test_powers_below_two_near_the_lp_margin(kappa):
    """‖x‖_p/γ, p = 2/κ, over its minimum: O(1/γ)."""
    problem, start = separable(5, 12, 9), mf.SignedPower(np.full(12, 1.0), kappa)
    flow = mf.margin_flow(problem, start, [1e2, 1e3, 1e4], rtol=1e-10)
    best = mf.max_margin(problem, mf.SignedPower(np.full(12, 1e-20), kappa), 0.0).x
    norms = np.linalg.norm(flow.x, 2.0 / kappa, axis=1) / flow.margins.min(axis=1)
    excess = norms / np.linalg.norm(best, 2.0 / kappa) - 1.0
    assert (excess > -1e-9).all()
    assert (excess[1:] < 0.5 * excess[:-1]).all()


@pytest.mark.parametrize("start", ["m w", "u³ − v³"])
def test_softmax_keeps_a_sum_over_classes(start):
    draw = np.random.default_rng(2)
    start = (
        mf.Factors.pilot(0.3 * draw.standard_normal(12), 0.7)
        if start == "m w"
        else mf.Powers(*draw.uniform(0.5, 1.0, (2, 12)), 3)
    )
    Z, labels = draw.standard_normal((15, 4)), np.arange(15) % 3
    flow = mf.softmax_flow(Z, labels, start, mf.Constant(0.05, 3.0), [0.0, 1.0, 3.0, 12.0])
    assert flow.success
    assert (np.diff(flow.loss) < 0).all()
    assert certify.softmax_invariant(flow, 3, 1e-10).holds
    assert certify.softmax_invariant(flow, 3, 1e-10, 0.5).verdict == "refuted"


def test_two_classes_of_softmax_are_logistic_regression():
    """x_0 = −x_1 from x = 0: the logistic flow of x_1 − x_0, at twice the speed per output."""
    draw = np.random.default_rng(4)
    Z, y = draw.standard_normal((9, 5)), draw.choice([-1.0, 1.0], 9)
    start = mf.Factors.pilot(np.zeros(10), 0.6)
    flow = mf.softmax_flow(Z, (y > 0).astype(float), start, mf.Constant(0.0), [0.7, 4.0])
    x = flow.x.reshape(2, 5, 2)
    assert np.abs(x.sum(axis=2)).max() < 1e-9
    # 2x_1 = a sinh of what m ⊙ w with twice the scale has
    with pytest.warns(UserWarning, match="n"):
        problem = mf.Regression(Z, y, loss=mf.Logistic())
    twin = mf.direct_flow(
        problem, mf.Factors.pilot(np.zeros(5), 1.2), mf.Constant(0.0), [0.7, 4.0], 1e-10
    )
    assert np.abs(2.0 * x[:, :, 1] - twin.x).max() < 1e-8


@pytest.mark.parametrize("seed", range(4))
def test_late_margins_at_depth_are_proven_or_not_converged(seed):
    """Near the end of its domain μ rounds so that x says nothing; then that is said."""
    draw = np.random.default_rng(seed)
    problem = separable(4, 11, seed)
    for depth, total in ((4, 2.0), (4, 8.0), (6, 1.0), (6, 4.0)):
        start = mf.Powers(np.full(11, 0.3), draw.uniform(0.2, 0.4, 11), depth)
        found = mf.max_margin(problem, start, total, 10.0 ** draw.uniform(-4.0, 4.0))
        assert found.status != "not_separable"
        if found.success:
            assert found.violation <= 1e-6
            assert found.gap <= 1e-6 * found.margin * found.dual.sum()
    assert not mf.max_margin(problem, start, 12.0).success


def test_exponential_losses_of_large_starts():
    """log(−φ′) of 10⁶ at the start: the flow begins where the loss's own time scale is."""
    problem = separable(1, 5, 0, mf.Exponential())
    start = mf.Factors(np.full(5, 3e3), -2e3 * problem.y[0] * np.sign(problem.Z[0]))
    flow = mf.margin_flow(problem, start, [5.0])
    assert flow.success
    assert np.isfinite(flow.x).all()
    assert flow.margins[0, 0] > -10.0
