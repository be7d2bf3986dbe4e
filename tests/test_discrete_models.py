"""Models of discrete steps: momentum flow, HAM, sign descent, resets."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow import certificates as certify
from mirrorflow.descent import ham_descent, sign_descent
from mirrorflow.flows.momentum import momentum_lag
from tests.drawn import case, drawn

RTOL = 1e-9
HAM = (0.1, 1.0, 10.0)


@pytest.mark.parametrize("name", ["0.05_alpha_0.0", "0.3_alpha_0.4"])
def test_momentum_flow_ends_at_the_argmin_of_its_gain_and_shift(name):
    inputs, expected = case(f"momentum_flow_lambda_{name}")
    problem, start = drawn(1)
    schedule = mf.Constant(inputs["alpha"], inputs["stop"] or None)
    flow = mf.momentum_flow(problem, start, schedule, inputs["lambda"], [0.0, 0.5, 300.0], RTOL)
    assert flow.success
    for value, key in ((flow.x, "x"), (flow.gain, "Lambda"), (flow.shift, "r")):
        assert np.abs(value[-1] - expected[key]).max() < 10 * RTOL
    assert np.abs(mf.discrete_limit(problem, flow).x - expected["x"]).max() < 10 * RTOL
    assert flow.x[0] == pytest.approx(start.x, rel=1e-15)
    assert not flow.gain[0].any()


@pytest.mark.parametrize("loss", [mf.Squared(), mf.PseudoHuber(0.5)])
@pytest.mark.parametrize("end", [0.5, 2.0, 20.0])
def test_at_any_time_each_wrong_constant_of_momentum_flow_flips(loss, end):
    problem, start = drawn(1)
    problem = mf.Regression(problem.Z, problem.y, loss=loss)
    flow = mf.momentum_flow(problem, start, mf.Constant(0.4, 1.0), 0.3, [end], RTOL)
    gain, shift, flow_gain = flow.gain[-1], flow.shift[-1], 4.0 * flow.total[-1]
    assert certify.momentum_argmin(problem, flow, RTOL).holds
    halves = flow_gain + 0.5 * (gain - flow_gain), 0.5 * shift
    for other in ((flow_gain + 0.0 * gain, shift), halves, (gain, 0.0 * shift), (gain, -shift)):
        assert certify.momentum_argmin(problem, flow, RTOL, *other).verdict == "refuted"


def test_a_factor_that_comes_to_zero_is_outside_of_the_theorem():
    problem, start = drawn(1)
    flow = mf.momentum_flow(problem, start, mf.Constant(0.4, 1.0), 5.0, [1.0, 200.0])
    assert flow.status == "outside"
    assert "came to 0" in flow.message
    assert flow.times.tolist() == [1.0]
    assert certify.momentum_argmin(problem, flow, RTOL).verdict == "can't be judged"
    # what is 0 for ever is balanced, and inside
    m, w = start.m.copy(), start.w.copy()
    w[0] = m[0]
    flow = mf.momentum_flow(problem, mf.Factors(m, w), mf.Constant(0.0), 0.1, [5.0], RTOL)
    assert certify.momentum_argmin(problem, flow, RTOL).holds
    assert flow.m[-1, 0] == flow.w[-1, 0]


def test_momentum_flow_is_heavy_balls_to_second_order():
    """λ = γ(1 + μ)/(2(1 − μ)²): its gain is off from heavy ball's by O(γ²), γ/(1 − μ)² by O(γ)."""
    problem, start = drawn(1)
    mu, misses = 0.5, {}
    for gamma in (0.01, 0.005):
        step = round(60.0 * (1.0 - mu) / gamma)
        path = mf.follow_descent(problem, start, gamma, step, momentum=mu, record=1)
        for name, lag in (("own", momentum_lag(gamma, mu)), ("paper", gamma / (1.0 - mu) ** 2)):
            flow = mf.momentum_flow(problem, start, mf.Constant(0.0), lag, [60.0], 1e-7)
            miss = np.abs(flow.gain[-1] - path.gain[-1]).max()
            misses.setdefault(name, []).append(miss)
    orders = {name: np.log2(a / b) for name, (a, b) in misses.items()}
    assert orders["own"] == pytest.approx(2.0, abs=0.25)
    assert orders["paper"] == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("alpha", HAM)
def test_hams_flow_ends_at_the_argmin_of_its_potential(alpha):
    expected = case(f"ham_flow_alpha_{alpha}")[1]["x"]
    problem, _ = drawn(6)
    start, schedule = mf.Ham(np.zeros(20), alpha), mf.Constant(0.0)
    limit = mf.interpolator(problem, start, 0.0)
    flow = mf.direct_flow(problem, start, schedule, [1.0, 300.0], RTOL)
    assert np.abs(limit.x - expected).max() < 1e-10
    assert certify.optimality(problem, limit, 0.0).holds
    assert certify.convergence(problem, limit, schedule, flow, RTOL).holds
    dual = mf.gradient_flow(problem, start, schedule, flow.times, RTOL)
    assert np.abs(dual.x - flow.x).max() < 100 * RTOL
    other = mf.interpolator(problem, mf.Ham(np.zeros(20), 2.0 * alpha), 0.0)
    assert certify.convergence(problem, other, schedule, flow, RTOL).verdict == "refuted"


@pytest.mark.parametrize("alpha", HAM)
def test_hams_potential_is_as_printed(alpha):
    """R = Σ[(1 + α|x|)log(1 + α|x|) − α|x|]/α² and ∇R = sign(x)log(1 + α|x|)/α, from 0."""
    potential, x = mf.Ham(np.zeros(4), alpha).potential(), np.array([-2.0, -1e-9, 0.3, 40.0])
    grown = 1.0 + alpha * np.abs(x)
    claimed = np.sum(grown * np.log1p(alpha * np.abs(x)) - alpha * np.abs(x)) / alpha**2
    assert potential.value(x) == pytest.approx(claimed, rel=1e-12)
    assert potential.gradient(x) == pytest.approx(np.sign(x) * np.log(grown) / alpha, rel=1e-7)
    assert 1.0 / potential.hessian_diagonal(x) == pytest.approx(grown, rel=1e-12)
    # from any x₀ the same but for ∇R(x₀)
    start = mf.Ham(x, alpha)
    assert start.x == pytest.approx(x, rel=1e-14)
    assert start.potential().gradient(np.zeros(4)) == pytest.approx(-potential.gradient(x))
    theta = start.theta + 0.1
    slopes = (start.g(theta + 1e-6) - start.g(theta - 1e-6)) / 2e-6
    assert start.grad_g(theta)[0] == pytest.approx(slopes, rel=1e-6)
    assert start.grad_g(theta)[0] ** 2 == pytest.approx(1.0 + alpha * np.abs(start.g(theta)))


def test_hams_steps_are_off_by_the_first_order_of_the_step_size():
    problem, _ = drawn(6)
    limit = mf.interpolator(problem, mf.Ham(np.zeros(20), 1.0), 0.0)
    errors = []
    for eta in (0.02, 0.01):
        x = ham_descent(problem, np.zeros(20), eta, round(300 / eta), 1.0)
        errors.append(float(np.abs(x - limit.x).max()))
    assert certify.lag_law(errors, order=1.0).holds
    assert not certify.lag_law(errors, order=2.0).holds
    with pytest.raises(mf.InputError, match=r"alpha must be .*above 0"):
        mf.Ham(np.zeros(3), 0.0)


@pytest.mark.parametrize("decay", ["0.0", "0.1"])
def test_sign_descent_keeps_the_difference_of_sizes(decay):
    inputs, expected = case(f"sign_descent_decay_{decay}")
    problem, start = drawn(6)
    eta, steps, rate = inputs["eta"], inputs["steps"], float(decay)
    run = sign_descent(problem, start, eta, steps, rate)
    assert (run.crossings == 0).sum() == expected["without_crossing"]
    assert certify.sign_balance(start, run, eta, steps, rate).holds
    # at the least cost of crossings that the page has seen
    least = run._replace(crossings=expected["worst_crossing_over_2_eta_crossings"] * run.crossings)
    slack = certify.sign_balance(start, least, eta, steps, rate)
    assert slack.value < 1e-12
    for other in (rate + 0.1, rate + 0.01):
        assert certify.sign_balance(start, run, eta, steps, other).verdict == "refuted"
    half = run._replace(crossings=run.crossings // 2)
    assert certify.sign_balance(start, half, eta, steps, rate).verdict == "refuted"
    before = start.m**2 - start.w**2
    assert np.abs(run.m**2 - run.w**2 - before * (1.0 - eta * rate) ** (2 * steps)).max() > 0.5


def test_sign_descent_follows_its_potential_while_no_factor_crosses():
    """∇R = ½ sign(x)(√(k² + 4|x|) − |k|) moves by −η sign(∇f) in each step, exactly."""
    problem, start = drawn(6)
    k = np.abs(start.m) - np.abs(start.w)

    def gradient(x):
        return 0.5 * np.sign(x) * (np.sqrt(k * k + 4.0 * np.abs(x)) - np.abs(k))

    moved, x = np.zeros(20), start.x
    for steps in range(1, 9):
        moved -= 2.0**-12 * np.sign(problem.gradient(x))
        run = sign_descent(problem, start, 2.0**-12, steps)
        x = run.m * run.w
        kept = run.crossings == 0
        assert np.abs(gradient(x) - gradient(start.x) - moved)[kept].max() < 1e-14


def test_after_resets_the_last_one_counts():
    """Sign-In: x kept, m² − w² set back to β; the limit belongs to the last reset."""
    inputs, expected = case("resets")
    problem, start = drawn(6)
    paths, begin = [], start
    for steps in [*np.diff([0, *inputs["resets"]]), 6000]:
        paths.append(mf.follow_descent(problem, begin, inputs["eta"], int(steps)))
        begin = mf.Factors.pilot(paths[-1].x[-1], inputs["beta"])
    last = paths[-1]
    assert np.abs(last.x[-1] - expected["x"]).max() < 1e-10
    assert np.abs(mf.discrete_limit(problem, last).x - expected["x"]).max() < 1e-10
    gain, shift = (sum(getattr(path, name)[-1] for path in paths) for name in ("gain", "shift"))
    ignored = dataclasses.replace(last, start=start, gain=gain[None], shift=shift[None])
    assert certify.discrete_argmin(problem, ignored).verdict == "refuted"


@pytest.mark.parametrize("start", [([1.0, 1.0], [0.0, 0.2]), ([0.0, -0.5], [0.5, 0.0])])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_a_step_away_from_zero_costs_the_balance_of_sign_descent_no_more_than_a_crossing(
    start, decay
):
    problem, factors = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors(*start)
    run = sign_descent(problem, factors, 0.01, 40, decay)
    assert certify.sign_balance(factors, run, 0.01, 40, decay).holds
    unseen = run._replace(crossings=0 * run.crossings)
    assert certify.sign_balance(factors, unseen, 0.01, 40, decay).verdict == "refuted"
