"""Depth L ≥ 3: late bias, which of several minima, decay that stays; LASSO limits of any loss."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mirrorflow as mf
from mirrorflow import certificates as certify

CASES = json.loads((Path(__file__).parent / "data" / "atlas_flow_cases.json").read_text())


def numbers(case, *names):
    """Arrays of a case, whose entries are decimals or fractions."""
    read = np.vectorize(lambda text: float(Fraction(text)), otypes=[float])
    return [read(CASES[case][name]) for name in names]


def problem_of(n, d, seed):
    draw = np.random.default_rng(seed)
    return mf.Regression(draw.standard_normal((n, d)), draw.standard_normal(n))


def test_c16_weights_and_the_late_limit():
    Z, y, W, up, down, late, plain = numbers(
        "C16_weighted_L1_depth3", "Z", "y", "W", "t_plus", "t_minus", "x_weighted", "x_plain_L1"
    )
    problem, start = mf.Regression(Z, y), mf.DeepFactors(W)
    assert start.weights[0] == pytest.approx(up, rel=1e-13)
    assert start.weights[1] == pytest.approx(down, rel=1e-13)
    best = mf.interpolator(problem, start, np.inf)
    assert best.success
    assert best.x == pytest.approx(late, abs=1e-14)
    assert certify.optimality(problem, best, np.inf).holds
    assert start.g(best.parameters) == pytest.approx(late, abs=1e-14)
    for row in CASES["C16_weighted_L1_depth3"]["rows"]:
        smaller = mf.DeepFactors(float(row["s"]) * W)
        x = mf.interpolator(problem, smaller, 0.0).x
        assert x == pytest.approx(np.array(row["x"], float), abs=1e-12)
        # scale and decay are one: s = e^{−2A}
        decayed = mf.interpolator(problem, start, -0.5 * np.log(float(row["s"]))).x
        assert decayed == pytest.approx(x, abs=1e-11)
    assert np.abs(best.x - plain).max() > 0.3
    assert (
        np.abs(plain - mf.interpolator(problem, mf.Factors.pilot(np.zeros(4)), np.inf).x).max()
        < 1e-12
    )


@pytest.mark.parametrize("depth", [3, 4])
def test_c15_selection(depth):
    Z, y, expected, near = numbers(
        "C15_selection", "Z", "y", f"L{depth}_limit", f"L{depth}_alpha_1e_4"
    )
    problem, start = mf.Regression(Z, y), mf.Powers(np.full(4, 1e-4), np.full(4, 1e-4), depth)
    best = mf.interpolator(problem, start, np.inf)
    assert best.x == pytest.approx(expected, abs=1e-14)
    assert best.x == pytest.approx(near, abs=1e-14)
    assert certify.power_choice(problem, best).holds
    assert certify.power_choice(problem, best, 2.0 / (depth + 1) - 1.0).verdict == "refuted"
    (entropic,) = numbers("C15_selection", "L2_limit")
    assert np.abs(best.x - entropic).max() > 2e-3


STARTS = {
    "u³ − v³": lambda draw, d: mf.Powers(*draw.uniform(0.4, 1.0, (2, d)), 3),
    "u⁴ − v⁴": lambda draw, d: mf.Powers(*draw.uniform(0.4, 1.0, (2, d)), 4),
    "3 layers": lambda draw, d: mf.DeepFactors(
        draw.uniform(0.4, 1.2, (3, d)) * draw.choice([-1, 1], (3, d))
    ),
    "4 layers": lambda draw, d: mf.DeepFactors(draw.uniform(0.4, 1.2, (4, d))),
    "θ³, signs kept": lambda draw, d: mf.SignedPower(
        draw.uniform(0.4, 1.0, d) * draw.choice([-1, 1], d), 3.0
    ),
}


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("seed", range(3))
def test_endless_decay_is_the_least_weighted_l1_norm(name, seed):
    """Against cvxpy; and limits at finite A near it."""
    cvxpy = pytest.importorskip("cvxpy")
    draw = np.random.default_rng(seed)
    start = STARTS[name](draw, 14)
    Z = draw.standard_normal((5, 14))
    problem = mf.Regression(Z, Z @ (start.x * draw.uniform(0.0, 2.0, 14)))  # within reach of signs
    best = mf.interpolator(problem, start, np.inf)
    assert best.success
    assert certify.optimality(problem, best, np.inf).holds
    up, down = (np.where(np.isfinite(t), t, 1e9) for t in start.weights)
    x = cvxpy.Variable(14)
    goal = up @ cvxpy.pos(x) + down @ cvxpy.neg(x)
    least = cvxpy.Problem(cvxpy.Minimize(goal), [Z @ x == problem.y]).solve(solver="CLARABEL")
    assert up @ best.p + down @ best.q == pytest.approx(least, rel=1e-6)
    near = [np.abs(mf.interpolator(problem, start, A).x - best.x).max() for A in (1.0, 2.0, 3.0)]
    assert near[2] < 0.2 * near[1] < 0.2 * near[0]


@pytest.mark.parametrize("name", ["u³ − v³", "u⁴ − v⁴", "3 layers"])
def test_late_weights_certificate(name):
    start = STARTS[name](np.random.default_rng(3), 16)
    last, other = 4.2 if start.degree == 3 else 2.4, 2.0 * start.degree - 2.0
    totals, late = (0.6 * last, 0.8 * last, last), 0
    for seed in range(8):
        check = certify.late_weights(problem_of(5, 16, seed), start, totals)
        assert check.verdict != "refuted"
        if check.bound < 0.5:  # where A is late enough to tell exponents apart
            late += 1
            wrong = certify.late_weights(problem_of(5, 16, seed), start, totals, other)
            assert wrong.verdict == "refuted"
    assert late >= 2


@pytest.mark.parametrize("name", ["u³ − v³", "3 layers", "4 layers"])
def test_rates_at_depth(name):
    """f falls at least with the floor Πμ², and late with 2λ_min(H): 1 % shows."""
    start, problem = STARTS[name](np.random.default_rng(1), 16), problem_of(4, 16, 1)
    schedule, stop = mf.Constant(0.1, 1.0), 1.0
    limit = mf.interpolator(problem, start, 0.1)
    rate = certify.slowest_rate(problem, limit)
    times = np.concatenate([[0.0, stop], stop + np.linspace(0.0, 14.0, 29)[1:] / rate])
    path = mf.direct_flow(problem, start, schedule, times, 1e-12)
    assert certify.lower_rate(problem, start, 0.1, path, stop, 1e-12).holds
    if not name.startswith("u"):
        mu2 = np.sort(start.layers**2, axis=0)
        floor = np.prod(mu2[1:] - mu2[0], axis=0)
        at_time = start.potential(0.1).floor * np.exp(-0.1 * start.kappa)
        assert at_time == pytest.approx(floor * np.exp(-0.4 * (start.degree - 1.0)), rel=1e-8)
    seen = -np.diff(np.log(path.loss[-6:])) / np.diff(times[-6:])
    assert seen / (2.0 * rate) == pytest.approx(np.ones(5), abs=3e-3)


@pytest.mark.parametrize("name", ["u³ − v³", "u⁴ − v⁴", "3 layers", "4 layers"])
def test_decay_that_stays(name):
    start, problem = STARTS[name](np.random.default_rng(2), 12), problem_of(5, 12, 2)
    alpha = 0.005
    held = mf.direct_flow(problem, start, mf.Constant(alpha), [50.0 / alpha], 1e-10)
    assert certify.deep_stationarity(problem, held, alpha, 1e-10).holds
    assert certify.deep_stationarity(problem, held, alpha, 1e-10, 0.5).verdict == "refuted"
    on = np.abs(held.x[-1]) > 1e-6 * np.abs(held.x[-1]).max()
    # not the LASSO, whose exponent is 0
    slopes = np.abs(problem.gradient(held.x[-1])[on])
    assert on.sum() == 1 or np.ptp(slopes) > 1e-3 * slopes.max()
    strong = 1e4
    gone = mf.direct_flow(problem, start, mf.Constant(strong), [10.0 / strong], 1e-10)
    assert certify.collapse(problem, gone, strong, 1e-10).holds
    faster = 2.0 * start.degree + 2.0
    assert certify.collapse(problem, gone, strong, 1e-10, faster).verdict == "refuted"
    assert certify.deep_stationarity(problem, gone, strong, 1e-10).verdict == certify.UNJUDGED
    assert certify.collapse(problem, held, alpha, 1e-10).verdict == certify.UNJUDGED


def targets(loss, Z, draw):
    scores = Z @ (draw.standard_normal(Z.shape[1]) * (draw.random(Z.shape[1]) < 0.2))
    if isinstance(loss, mf.Logistic | mf.Exponential):
        return np.where(scores > 0, 1.0, -1.0)
    return (
        np.round(np.exp(np.minimum(scores / 2.0, 5.0))) if isinstance(loss, mf.Poisson) else scores
    )


LOSSES = [mf.Logistic(), mf.Exponential(), mf.Poisson(), mf.PseudoHuber(0.1), mf.PseudoHuber(3.0)]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(2, 15),
    d=st.integers(2, 25),
    loss=st.sampled_from(LOSSES),
    alpha=st.sampled_from([1e-4, 1e-2, 0.2]),
    seed=st.integers(0, 2**16),
)
@pytest.mark.filterwarnings("ignore:Z has n")
def test_lasso_limits_of_any_loss_meet_their_kkt_conditions(n, d, loss, alpha, seed):
    draw = np.random.default_rng(seed)
    Z = draw.standard_normal((n, d))
    problem = mf.Regression(Z, targets(loss, Z, draw), loss=loss)
    limit = mf.lasso_limit(problem, mf.Factors.pilot(0.1 * draw.standard_normal(d)), alpha)
    assert limit.success
    assert certify.lasso_kkt(problem, limit.x, alpha).verdict != "refuted"
    slope = problem.gradient(limit.x) / (2.0 * alpha)
    assert np.abs(slope).max() <= 1.0 + 1e-8
    assert np.abs(slope + np.sign(limit.x))[limit.x != 0].max(initial=0.0) <= 1e-8


@pytest.mark.parametrize("loss", LOSSES)
def test_the_flow_descends_to_it_whatever_the_loss(loss):
    draw = np.random.default_rng(5)
    Z = draw.standard_normal((6, 14))
    problem = mf.Regression(Z, targets(loss, Z, draw), loss=loss)
    start, alpha = mf.Factors.pilot(0.1 * draw.standard_normal(14)), 0.05
    limit = mf.lasso_limit(problem, start, alpha)
    times = np.geomspace(0.1, 2000.0, 12)
    path = mf.direct_flow(problem, start, mf.Constant(alpha), times, 1e-10)
    assert certify.lasso_suboptimality(problem, start, limit, alpha, path, 1e-10).holds
    assert np.abs(path.x[-1] - limit.x).max() < 1e-2
    wrong = mf.lasso_limit(problem, start, 0.5 * alpha)
    assert np.abs(path.x[-1] - wrong.x).max() > 1e-2


def test_bad_input():
    problem = problem_of(3, 6, 0)
    with pytest.raises(mf.InputError, match=r"start must be Factors.*it is Powers"):
        mf.lasso_limit(problem, mf.Powers(np.ones(6), np.ones(6), 3), 0.1)
    with pytest.raises(mf.InputError, match=r"total may be inf for .* SignedPower of degree 1\.5"):
        mf.interpolator(problem, mf.SignedPower(np.ones(6), 1.5), np.inf)
    with pytest.raises(mf.InputError, match="degree above 2, but it has 2"):
        certify.late_weights(problem, mf.Factors.pilot(np.zeros(6)), (1.0, 2.0, 3.0))


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1.0, 1e4])
def test_late_weights_judges_nothing_before_the_law_sets_in(unit):
    """In any units of y, with n = d and two equal columns too; and x = 0."""
    for seed in range(12):
        draw = np.random.default_rng(seed)
        n = int(draw.integers(1, 6))
        Z = draw.standard_normal((n, n + seed % 4 * 3))
        Z[:, -1] = Z[:, 0] if seed % 2 else Z[:, -1]
        problem = mf.Regression(Z, unit * (Z @ draw.standard_normal(Z.shape[1])))
        start = mf.Powers(*draw.uniform(0.1, 1.0, (2, problem.d)), 3 + seed % 3)
        for first, step in ((0.1, 0.2), (0.3, 1.0), (1.5, 0.4)):
            totals = (first, first + step, first + 2.0 * step)
            assert certify.late_weights(problem, start, totals).verdict != "refuted"
    zero = mf.Regression(np.eye(2, 4), np.zeros(2))
    start = mf.Powers(np.ones(4), np.ones(4), 3)
    assert certify.late_weights(zero, start, (1.0, 2.0, 3.0)).verdict == certify.UNJUDGED
    assert certify.power_choice(zero, mf.interpolator(zero, start, np.inf)).holds


@pytest.mark.parametrize("apart", [0.0, 1e-12, 3e-12, 1e-11, 1e-6])
def test_deep_limits_among_nearly_equal_columns_are_proven_or_not_converged(apart):
    """Columns that rounding hardly tells apart make the Newton step's equations singular."""
    for seed in range(10):
        draw = np.random.default_rng(seed)
        Z = draw.standard_normal((8, 24))
        Z[:, 12:] = Z[:, draw.integers(0, 12, 12)] + apart * draw.standard_normal((8, 12))
        problem = mf.Regression(Z, Z[:, 0] + Z[:, -1])
        limit = mf.interpolator(problem, mf.Powers(np.ones(24), np.ones(24), 3), np.inf)
        least = mf.interpolator(problem, mf.Factors.pilot(np.zeros(24)), np.inf)
        assert limit.status in ("converged", "not_converged")
        assert limit.success or 0.0 < apart < 1e-6
        if limit.success and least.success:
            assert np.abs(limit.x).sum() == pytest.approx(np.abs(least.x).sum(), rel=1e-9)


@pytest.mark.parametrize("unit", [1.0, 1e2, 1e4, 1e8])
def test_lasso_limits_of_any_loss_are_proven_or_not_converged(unit):
    """Far outliers, where the curvature of pseudo-Huber is 0 to rounding."""
    for seed in range(4):
        problem = problem_of(5, 11, seed)
        problem = mf.Regression(problem.Z, unit * problem.y, loss=mf.PseudoHuber(1.0))
        alpha = 1e-2 * float(np.abs(problem.gradient(np.zeros(11))).max())
        limit = mf.lasso_limit(problem, mf.Factors.pilot(np.zeros(11)), alpha)
        assert limit.success or unit > 1e3
        if limit.success:
            slope = problem.gradient(limit.x)
            assert np.abs(slope).max() <= 2.0 * alpha * (1.0 + 1e-5)
            on = limit.x != 0.0
            assert slope[on] == pytest.approx(-2.0 * alpha * np.sign(limit.x[on]), rel=1e-5)
