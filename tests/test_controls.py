"""Flows that nothing but a controller drives, other penalties, and the linear flow's risk."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow import certificates as certify

CASES = json.loads((Path(__file__).parent / "data/atlas_flow_cases.json").read_text("utf-8"))
RTOL = 1e-10
SCHEDULE = mf.Quadratic(0.3, 1.0)  # of the cases


def floats(words):
    return np.array([float(Fraction(word)) for word in words])


@pytest.fixture
def given():
    case = CASES["C01_mw_decay"]
    problem = mf.Regression([floats(row) for row in case["Z"]], floats(case["y"]))
    return problem, mf.Factors(floats(case["m0"]), floats(case["w0"])), case


def test_without_a_controller_it_is_the_flow(given):
    problem, start, case = given
    flow = mf.controlled_flow(problem, start, SCHEDULE, [float(case["T"])])
    assert flow.x[0] == pytest.approx(floats(case["x"]), abs=1e-10)
    assert certify.mirror_equation(start, flow, RTOL).holds
    squares = CASES["C03_uv_time_doubling"]
    start = mf.Powers(floats(squares["u0"]), floats(squares["v0"]), 2)
    t = float(squares["t"])
    # α_uv at t is that of m ⊙ w at 2t, doubled
    flow = mf.controlled_flow(problem, start, mf.Quadratic(0.6, 0.5), [t])
    assert flow.x[0] == pytest.approx(floats(squares["x"]), abs=1e-10)


def leave(t, x):
    return np.array([0.0, 0.3]) if t < 1.0 else np.array([-0.2, 0.0])


def swing(t, x):
    return np.array([np.sin(3.0 * t), x[0] - x[3]])


@pytest.mark.parametrize("control", [leave, swing, lambda t, x: np.clip(x[:2], -0.1, 0.1)])
@pytest.mark.parametrize("schedule", [SCHEDULE, mf.Constant(0.2, 1.5)])
def test_whatever_drives_it_x_is_the_argmin(given, control, schedule):
    problem, _, _ = given
    rng = np.random.default_rng(0)
    times = [0.0, 0.7, 1.3, 4.0]
    for start in (mf.Factors(rng.normal(size=4), 0.3 * np.ones(4)), mf.DeepFactors(
        rng.uniform(0.4, 1.2, (3, 4))
    )):  # fmt: skip
        flow = mf.controlled_flow(problem, start, schedule, times, control)
        assert np.array_equal(flow.x[0], start.x)
        assert certify.finite_time(problem, start, flow, RTOL).holds
        rates = np.array([1.0, 1.5, 0.5, 1.0])
        uneven = mf.controlled_flow(problem, start, schedule, times, control, rates=rates)
        assert certify.finite_time(problem, start, uneven, RTOL).verdict == "refuted"


def test_decay_of_each_coordinate(given):
    """C20: the adaptive LASSO, and at finite times a_j of A_j."""
    problem, start, _ = given
    case, times = CASES["C20_adaptive_lasso"], [0.5, 2.0, 20.0, 3000.0]
    alpha = floats(case["alpha"])
    flow = mf.controlled_flow(problem, start, mf.Constant(1.0), times, decay=alpha)
    assert flow.x[-1] == pytest.approx(floats(case["x"]), abs=1e-8)
    early = mf.controlled_flow(problem, start, SCHEDULE, times[:2], decay=alpha)
    assert certify.finite_time(problem, start, early, RTOL, decay=alpha).holds
    mean = np.full(4, alpha.mean())
    wrong = certify.finite_time(problem, start, early, RTOL, decay=mean)
    assert wrong.verdict == "refuted"


@pytest.mark.parametrize(("c", "delta"), [(0.7, 0.3), (0.7, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("depth", [3, 5])
def test_solvable_penalties(given, c, delta, depth):
    problem, rng = given[0], np.random.default_rng(1)
    start, kappa = mf.Powers(*rng.uniform(0.4, 1.0, (2, 4)), depth), 2.0 * delta * (depth - 2)

    def penalty(theta):
        return c * depth * theta ** (depth - 1) + 2.0 * delta * theta

    flow = mf.controlled_flow(
        problem, start, SCHEDULE, [1.0, 4.0], penalty=penalty, kappa=kappa, rtol=RTOL
    )
    assert certify.solvable_penalty(start, flow, c, delta, RTOL).value < 1e-9
    for share in (0.5, 2.0):
        wrong = certify.solvable_penalty(start, flow, c, delta, RTOL, share)
        assert wrong.verdict == "refuted"
    assert certify.solvable_penalty(start, flow, c + 0.1, delta, RTOL).verdict == "refuted"
    if c == 0.0:  # weight decay, as `Powers` has it
        direct = mf.direct_flow(problem, start, SCHEDULE, [1.0, 4.0], RTOL)
        assert np.abs(direct.x - flow.x).max() < 1e-8


def test_a_mirror_flow_is_a_gradient_flow(given):
    problem, start, _ = given
    flow = mf.direct_flow(problem, start, mf.Constant(0.0), [1.0, 4.0], RTOL)
    R = mf.HyperbolicEntropy.of(start)
    assert certify.isometry(problem, R, flow, RTOL).value < 1e-7
    for power in (0.45, 0.55):
        assert certify.isometry(problem, R, flow, RTOL, power).verdict == "refuted"


def test_shared_parameters_that_commute():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    A1, A2, B = (Q * values @ Q.T for values in rng.uniform(0.2, 1.0, (3, 4)))
    problem = mf.Regression([[1.0, 0.5]], [1.0])
    forms = problem, [A1, A2], B, rng.standard_normal(4), SCHEDULE, 5.0
    assert certify.commuting_quadratics(*forms).holds
    assert certify.commuting_quadratics(*forms, share=2.0).verdict == "refuted"
    other = B + 0.3 * np.diag([1.0, -1.0, 0.0, 0.0])  # does not commute
    assert certify.commuting_quadratics(*forms[:2], other, *forms[3:]).verdict == "refuted"


def test_risk_of_the_linear_flow(given):
    """C18, to 20 digits; and draws of the noise."""
    case = CASES["C18_linear_risk"]
    Z = np.array([[2.0, 1.0, 0.0, 1.0], [0.0, 1.0, -2.0, 0.5], [1.0, -1.0, 1.0, 1.0]])
    times, risks = floats(np.array(case["t_risk"])[:, 0]), floats(np.array(case["t_risk"])[:, 1])
    x_true = floats(case["x_true"])
    assert certify.linear_risk(Z, x_true, 0.5, times) == pytest.approx(risks, rel=1e-12)
    assert certify.risk_of_draws(Z, x_true, 0.5, times, 0).holds
    assert certify.risk_of_draws(Z, x_true, 2.0, times, 0, power=1.0).verdict == "refuted"


def test_bad_input(given):
    problem, start, _ = given
    with pytest.raises(mf.InputError, match="control must return 2 numbers"):
        mf.controlled_flow(problem, start, SCHEDULE, [1.0], lambda t, x: x)
    with pytest.raises(mf.InputError, match="times must be finite"):
        mf.controlled_flow(problem, start, SCHEDULE, [1.0, np.inf])


def test_a_control_that_is_not_finite_is_refused():
    problem = mf.Regression(np.eye(2, 4), np.ones(2))
    start = mf.Factors.pilot(np.zeros(4))
    with pytest.raises(mf.InputError, match=r"control must return finite numbers, but at t = 0"):
        mf.controlled_flow(problem, start, mf.Constant(0.1), [1.0], lambda t, x: [np.nan, 0.0])
    for name in ("decay", "rates"):
        with pytest.raises(mf.InputError, match=f"{name} must have 4 entries"):
            mf.controlled_flow(problem, start, mf.Constant(0.1), [1.0], **{name: np.ones(3)})
        with pytest.raises(mf.InputError, match=f"{name} must be finite"):
            mf.controlled_flow(problem, start, mf.Constant(0.1), [1.0], **{name: np.nan})
    deep = mf.Powers(np.ones(4), np.ones(4), 3)
    with pytest.raises(mf.InputError, match="factors must be Factors, but it is Powers"):
        mf.momentum_flow(problem, deep, mf.Constant(0.1), 0.1, [1.0])
