"""Saddle-to-saddle: exact events, where the path ends, and how near a flow from e^{−5000} stays."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mirrorflow as mf
from mirrorflow import certificates as certify

Z = [["2", "1", "0", "1"], ["0", "1", "-2", "1/2"], ["1", "-1", "1", "1"]]
Y = ["2", "-1", "1/2"]
# exact rationals: τ, x and ν̃ at each event, by decay α
PATHS = {
    "0": [
        ("0", "0 0 0 0", "0 0 0"),
        ("1/3", "9/10 0 0 0", "4/9 -2/9 1/9"),
        ("3/4", "5/6 0 1/3 0", "1/2 -1/2 0"),
        ("3", "1/2 1 1 0", "1 -1 -1"),
    ],
    "1/20": [
        ("0", "0 0 0 0", "0 0 0"),
        ("5/14", "21/25 0 0 0", "10/21 -5/21 5/42"),
        ("15/17", "47/60 0 17/60 0", "10/17 -10/17 0"),
        ("15/2", "13/20 2/5 11/20 0", "5/2 -5/2 -5/2"),
    ],
}


def floats(words):
    return np.array([float(Fraction(word)) for word in words])


@pytest.fixture
def rational():
    return mf.Regression([floats(row) for row in Z], floats(Y))


@pytest.mark.parametrize("alpha", PATHS)
def test_events_are_the_rational_ones(rational, alpha):
    path = mf.saddle_path(rational, alpha=float(Fraction(alpha)))
    assert path.success
    times, points, duals = zip(*PATHS[alpha], strict=True)
    assert path.times == pytest.approx(floats(times), abs=1e-14)
    for values, rows in ((path.x, points), (path.dual, duals)):
        expected = np.array([floats(row.split()) for row in rows])
        assert np.abs(values - expected).max() < 1e-14
    middle = 0.5 * (path.times[1] + path.times[2])
    x, dual = path.at([middle])
    assert np.array_equal(x[0], path.x[1])
    assert dual[0] == pytest.approx(0.5 * (path.dual[1] + path.dual[2]))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(2, 9), more=st.integers(1, 20), seed=st.integers(0, 2**16), noise=st.booleans()
)
def test_the_path_keeps_its_box_and_ends_at_minimum_l1(n, more, seed, noise):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((n, n + more))
    y = matrix[:, 0] - matrix[:, -1] + (0.3 * rng.standard_normal(n) if noise else 0.0)
    problem = mf.Regression(matrix, y)
    path = mf.saddle_path(problem)
    assert path.success
    assert np.abs(path.dual @ matrix).max() <= 1.0 + 1e-9
    assert (np.diff(path.times) >= 0).all()
    least = mf.interpolator(problem, mf.Factors.pilot(np.zeros(n + more)), np.inf)
    assert np.abs(path.x[-1]).sum() == pytest.approx(np.abs(least.x).sum(), rel=1e-9)
    assert np.abs(matrix @ path.x[-1] - y).max() < 1e-9
    losses = [problem.value(x) for x in path.x]
    assert (np.diff(losses) <= 1e-14).all()


def test_with_decay_the_path_ends_at_the_lasso():
    problem = mf.gaussian_recovery(20, 50, 4, 1, 0.2)
    limit = mf.lasso_limit(problem, mf.Factors.pilot(np.zeros(50)), 0.05)
    path = mf.saddle_path(problem, alpha=0.05)
    assert np.abs(path.x[-1] - limit.x).max() < 1e-12
    off = mf.saddle_path(problem, alpha=0.1)
    assert np.abs(off.x[-1] - limit.x).max() > 1e-3


def test_thresholds_weigh_the_coordinates():
    """Starts a^{k_j}: the end minimises Σ k_j|x_j|."""
    problem = mf.gaussian_recovery(6, 15, 3, 4)
    weights = np.linspace(0.5, 2.0, 15)
    path = mf.saddle_path(problem, thresholds=(weights, weights))
    scaled = mf.Regression(problem.Z / weights, problem.y)
    least = mf.interpolator(scaled, mf.Factors.pilot(np.zeros(15)), np.inf)
    assert weights * path.x[-1] == pytest.approx(least.x, abs=1e-10)


@pytest.mark.parametrize("alpha", [0.0, 0.05])
@pytest.mark.parametrize("ell", [50.0, 1000.0, 5000.0])
def test_the_flow_stays_within_the_proven_bound(alpha, ell):
    problem = mf.gaussian_recovery(40, 100, 5, 0)
    assert certify.saddle_deviation(problem, ell, 1.5, alpha).holds
    twice = 2.0 * np.ones(100)
    wrong = mf.saddle_path(problem, alpha=alpha, thresholds=(twice, twice))
    assert certify.saddle_deviation(problem, ell, 1.5, alpha, wrong).verdict == "refuted"


@pytest.mark.parametrize("depth", [3, 4])
def test_at_depth_the_start_sets_the_thresholds(depth):
    """Within the bound, which falls like α^{½(L−2)}; not with equal, swapped or scaled weights."""
    problem, rng = mf.gaussian_recovery(8, 20, 2, 1), np.random.default_rng(1)
    shape, end = rng.uniform(0.6, 1.2, (2, 20)), 3.0 * 8.0 / np.abs(problem.y).max() / 8.0
    for alpha in (1e-2, 1e-3):
        start = mf.Powers(*(alpha * shape), depth)
        assert certify.deep_saddle_deviation(problem, start, end).holds
        low, high = start.domain
        unit = min(high.min(), -low.max())
        for weights in ((-low / unit, high / unit), (1.2 * high / unit, -1.2 * low / unit)):
            other = mf.saddle_path(problem, thresholds=weights)
            check = certify.deep_saddle_deviation(problem, start, end, other)
            assert check.verdict == "refuted"
    with pytest.raises(mf.InputError, match="start must have depth 3 or more"):
        certify.deep_saddle_deviation(problem, mf.Powers(*shape, 2), 1.0)


def test_a_flow_from_logarithms_is_that_of_its_factors():
    """Where floats hold both."""
    problem = mf.gaussian_recovery(5, 12, 2, 3)
    rng = np.random.default_rng(0)
    m, w = 0.3 + rng.random(12), 0.2 * rng.standard_normal(12)
    start = mf.LogFactors(2 * np.log(0.5 * (m + w)), 2 * np.log(0.5 * (m - w)))
    schedule, times = mf.Constant(0.3, 2.0), np.array([0.5, 1.0, 2.0, 20.0])
    flow = mf.gradient_flow(problem, start, schedule, times, 1e-10)
    usual = mf.gradient_flow(problem, mf.Factors(m, w), schedule, times, 1e-10)
    assert np.abs(flow.x - usual.x).max() < 1e-9
    with pytest.raises(mf.InputError, match="LogFactors hasn't"):
        start.grad_g(start.theta)


def test_a_flow_from_e_to_the_minus_30_is_that_of_40_digits(rational):
    """x at four times between the events, integrated from the raw parameters in 50 digits."""
    tau = floats(["1/6", "13/24", "15/8", "6"])
    start = mf.LogFactors.of_scale(4, 30.0)
    flow = mf.gradient_flow(rational, start, mf.Constant(0.0), 30.0 * tau, 1e-10)
    expected = [
        [1.529511342371554e-7, 2.388820664632091e-13, 1.946507985514568e-10, 3.676472701279538e-11],
        [0.8998945760576451, 2.711670769560736e-13, 7.141460761308635e-4, 2.224773019215136e-9],
        [0.8333332733887271, 2.376273017807774e-7, 0.3333334437459234, -1.372679860240524e-12],
        [0.5000003471940248, 0.9999997022839601, 0.9999997519211681, -3.967058379636249e-7],
    ]
    assert flow.x == pytest.approx(np.array(expected), rel=1e-7)


def test_logarithms_have_no_equation_of_their_own(rational):
    with pytest.raises(mf.InputError, match=r"start must have an equation of θ .*LogFactors"):
        mf.direct_flow(rational, mf.LogFactors.of_scale(4, 9.0), mf.Constant(0.0), [1.0])


@pytest.mark.parametrize("ell", [300.0, 640.0, 1000.0])
def test_long_plateaus_do_not_stop_the_integrator(ell):
    """Steps that overshoot into x = e^{600} are taken back, and what was linearised there too."""
    problem = mf.gaussian_recovery(40, 100, 5, 0)
    start = mf.LogFactors.of_scale(100, ell)
    flow = mf.gradient_flow(problem, start, mf.Constant(0.0), np.linspace(0.01, 1.5, 100) * ell)
    assert flow.success
    assert np.abs(flow.x[-1] - mf.saddle_path(problem).x[-1]).max() < 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": -1.0}, "alpha must be .*at least 0"),
        ({"thresholds": (np.ones(4), np.zeros(4))}, "thresholds must be above 0"),
        ({"thresholds": (np.ones(3), np.ones(4))}, "thresholds must have 4 entries"),
    ],
)
def test_bad_input(rational, change, message):
    with pytest.raises(mf.InputError, match=message):
        mf.saddle_path(rational, **change)


def test_too_many_events_and_other_losses_are_named(rational):
    assert mf.saddle_path(rational, most=1).status == "failed"
    with pytest.raises(mf.InputError, match="squared loss"):
        mf.saddle_path(mf.Regression(rational.Z, rational.y, loss=mf.PseudoHuber(1.0)))
    with pytest.raises(mf.InputError, match="tau must be at least 0"):
        mf.saddle_path(rational).at([-1.0])


@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_deviation_with_inconsistent_labels(alpha):
    """What no x fits adds to ν without end, and moves nothing."""
    draw = np.random.default_rng(4)
    Z = draw.standard_normal((4, 9))
    Z[1] = Z[0]
    problem = mf.Regression(Z, 3.0 * draw.standard_normal(4))
    assert certify.saddle_deviation(problem, 300.0, 4.0, alpha).holds
    start = mf.Powers(np.full(9, 1e-2), np.full(9, 1e-2), 3)
    assert certify.deep_saddle_deviation(problem, start, 4.0).holds


@pytest.mark.parametrize("alpha", [0.0, 0.05])
@pytest.mark.parametrize("unit", [1e-14, 1e-11, 1e4, 1e9])
def test_paths_in_any_units(unit, alpha):
    """Z in units of 1/unit, x in units of unit: the same events, at times times unit."""
    draw = np.random.default_rng(5)
    Z, y = draw.standard_normal((5, 12)), draw.standard_normal(5)
    path = mf.saddle_path(mf.Regression(Z, y), alpha=alpha)
    other = mf.saddle_path(mf.Regression(Z / unit, y), alpha=alpha / unit)
    assert other.times == pytest.approx(path.times * unit, rel=1e-9)
    assert other.x == pytest.approx(path.x * unit, rel=1e-7, abs=1e-9 * unit)


@pytest.mark.parametrize("unit", [1.0, 1e4, 1e8])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore:Z has n = ")
def test_what_only_rounding_correlates_does_not_move(unit, seed):
    """y is orthogonal to all columns: Zᵀy is rounding, or 0 where (2/n)Zᵀy is not."""
    a, b = unit * np.random.default_rng(seed).random(2)
    data = np.array([[a, 0.3 * unit, unit], [b, 0.1 * unit, 2.0 * unit], np.zeros(3)])
    y = np.array([b, a, 5.0 * unit, b, a])
    path = mf.saddle_path(mf.Regression(np.vstack([data, -data[:2]]), y))
    assert path.times.tolist() == [0.0]
    assert not path.x.any()
    assert path.rate == pytest.approx(0.4 * y, rel=1e-15)
