"""Flows against 13-digit reference paths, against each other, and at their edges."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mirrorflow as mf
from mirrorflow.flows import runs


def worst(flow: mf.Flow, case) -> float:
    return max(np.abs(flow.m - case.raw["m"]).max(), np.abs(flow.w - case.raw["w"]).max())


def test_reference_paths(case):
    """m and w to 1e-7 at rtol 1e-10, from every kind of initialisation and schedule."""
    flow = mf.gradient_flow(case.problem, case.factors, case.schedule, case.raw["times"], 1e-10)
    assert flow.success
    assert worst(flow, case) < 1e-7


def test_reference_paths_direct(case):
    flow = mf.direct_flow(case.problem, case.factors, case.schedule, case.raw["times"], 1e-10)
    assert flow.success
    assert worst(flow, case) < 1e-9


def test_reference_limits(case):
    """t = inf is the 60-digit limit to 1e-10 (harmonic: a minimum-L1 point)."""
    flow = mf.gradient_flow(case.problem, case.factors, case.schedule, [0.0, np.inf])
    if case.raw["limit"] is not None:
        assert np.abs(flow.x[-1] - case.raw["limit"]).max() < 1e-10
    else:
        best = mf.min_l1(case.problem)
        # Clarabel's own accuracy
        assert abs(np.abs(flow.x[-1]).sum() - best.value) < 1e-8
    assert np.abs(flow.m[-1] * flow.w[-1] - flow.x[-1]).max() == 0.0


def test_tolerance_is_proportional(small):
    """Global error follows rtol: slope 1 ± 0.3 in the logarithm over four decades."""
    problem, factors = small
    schedule, times = mf.Quadratic(1.0, 1.0), [0.5, 2.0, 8.0]
    best = mf.direct_flow(problem, factors, schedule, times, 1e-12)
    tolerances = np.array([1e-5, 1e-6, 1e-7, 1e-8, 1e-9])
    for integrate in (mf.gradient_flow, mf.direct_flow):
        errors = [
            np.abs(integrate(problem, factors, schedule, times, rtol).x - best.x).max()
            for rtol in tolerances
        ]
        slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
        assert 0.7 < slope < 1.3
        assert max(errors / tolerances) < 100


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from([(2, 5), (4, 9), (3, 12)]),
    alphas=st.lists(st.floats(0.0, 2.0), min_size=1, max_size=4),
)
def test_dual_equals_direct(seed, shape, alphas):
    """The two integrators share no formula: any initialisation, piecewise schedule, rank."""
    rng = np.random.default_rng(seed)
    n, d = shape
    Z = rng.standard_normal((n, d))
    if seed % 3 == 0:
        Z[-1] = Z[0] + (Z[1] if n > 2 else 0.0)  # rank-deficient, y inconsistent
    m, w = rng.standard_normal((2, d))
    m[0], w[1] = 0.0, 0.0
    problem, factors = mf.Regression(Z, rng.standard_normal(n)), mf.Factors(m, w)
    schedule = mf.Piecewise(np.arange(len(alphas)) * 0.7, alphas)
    times = np.array([0.0, 0.1, 0.7, 1.4, 3.0, 20.0])
    dual = mf.gradient_flow(problem, factors, schedule, times, 1e-9)
    direct = mf.direct_flow(problem, factors, schedule, times, 1e-9)
    assert dual.success
    assert direct.success
    scale = 1.0 + np.abs(direct.m).max()
    assert np.abs(dual.m - direct.m).max() < 1e-6 * scale
    assert np.abs(dual.w - direct.w).max() < 1e-6 * scale


def test_breakpoints_are_integrated_to(small):
    """A stop between two far output times must not be stepped over."""
    problem, factors = small
    schedule = mf.Piecewise([0.0, 1.0, 1.001, 5.0, 5.001], [0.0, 500.0, 0.0, 500.0, 0.0])
    dual = mf.gradient_flow(problem, factors, schedule, [0.0, 30.0], 1e-9)
    direct = mf.direct_flow(problem, factors, schedule, [0.0, 30.0], 1e-9)
    assert np.abs(dual.x - direct.x).max() < 1e-6
    drift = (dual.m**2 - dual.w**2)[-1] * np.exp(4 * 1.0) - factors.imbalance
    assert np.abs(drift).max() < 1e-6


def test_output_at_a_breakpoint(small):
    problem, factors = small
    schedule = mf.Constant(0.7, stop=2.0)
    alone = mf.gradient_flow(problem, factors, schedule, [2.0], 1e-10)
    among = mf.gradient_flow(problem, factors, schedule, [0.0, 1.0, 2.0, 3.0], 1e-10)
    direct = mf.direct_flow(problem, factors, schedule, [0.0, 2.0, 3.0], 1e-10)
    assert np.abs(alone.x[0] - among.x[2]).max() < 1e-8
    assert np.abs(direct.x[1] - among.x[2]).max() < 1e-8
    assert among.times.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_stiff_flow_is_cheap_and_arrives(recovery):
    """α = 1 until t = 2, t = 1e6: fewer than 1,500 right-hand sides, at the limit."""
    problem, factors = recovery
    flow = mf.gradient_flow(problem, factors, mf.Constant(1.0, 2.0), [0.0, 1e6, np.inf])
    assert flow.right_hand_sides < 1500
    assert np.abs(flow.x[1] - flow.x[2]).max() < 1e-9


def test_far_end_and_tiny_scale(recovery):
    """a_∞ ≈ 1e-8 (A = 4.5) to t = 1e9."""
    problem, factors = recovery
    flow = mf.gradient_flow(problem, factors, mf.Constant(4.5, 1.0), [1e9, np.inf])
    assert flow.success
    assert np.abs(flow.x[0] - flow.x[1]).max() < 1e-9


@pytest.mark.parametrize("schedule", [mf.Constant(0.05), mf.Piecewise([0, 3], [0.0, 0.05])])
def test_lasting_penalty_leads_to_the_lasso(recovery, schedule):
    from sklearn.linear_model import Lasso

    problem, factors = recovery
    flow = mf.gradient_flow(problem, factors, schedule, [0.0, 3e3, np.inf])
    model = Lasso(alpha=0.1, fit_intercept=False, tol=1e-12, max_iter=100_000)
    best = model.fit(problem.Z, problem.y).coef_
    assert np.abs(flow.x[-1] - best).max() < 1e-8
    assert np.abs(flow.x[-2] - best).max() < 1e-3
    direct = mf.direct_flow(problem, factors, schedule, [3e3])
    assert np.abs(direct.x[-1] - flow.x[-2]).max() < 1e-5


def test_sign_cone_without_interpolator():
    """Balanced start: the flow reaches the sign-constrained least-squares point."""
    rng = np.random.default_rng(2)
    problem = mf.gaussian_recovery(10, 14, 3, 1)
    factors = mf.Factors.balanced(rng.normal(0, 0.5, 14))
    flow = mf.gradient_flow(problem, factors, mf.Constant(0.0), [0.0, 1e4, 1e8, np.inf])
    assert flow.status == "no_interpolator_in_sign_cone"
    assert (np.sign(flow.x) * np.sign(factors.x) >= 0).all()
    from scipy.optimize import lsq_linear

    bounds = (np.where(factors.x > 0, 0.0, -np.inf), np.where(factors.x > 0, np.inf, 0.0))
    best = lsq_linear(problem.Z, problem.y, bounds, method="bvls", tol=1e-14)
    assert np.abs(flow.x[-1] - best.x).max() < 1e-8
    assert np.abs(flow.x[2] - best.x).max() < 1e-6  # algebraic approach, t = 1e8


def test_positional_bias_without_data():
    """Z x = 0 constrains nothing where x stays e^{−4A} m₀ ⊙ w₀."""
    problem = mf.Regression(np.zeros((2, 4)), np.zeros(2))
    factors = mf.Factors([1.0, -2.0, 0.5, 0.0], [0.3, 1.0, 0.5, 2.0])
    flow = mf.gradient_flow(problem, factors, mf.Constant(0.5), [0.0, 1.0, 2.0])
    expected = np.exp(-4 * 0.5 * flow.times)[:, None] * factors.x
    assert np.abs(flow.x - expected).max() < 1e-12


def test_loss_and_totals_are_those_of_x(small):
    problem, factors = small
    schedule = mf.Harmonic(0.5, 2.0)
    flow = mf.gradient_flow(problem, factors, schedule, [0.0, 1.0, 10.0])
    assert [problem.value(x) for x in flow.x] == pytest.approx(flow.loss, rel=1e-12)
    assert flow.total == pytest.approx(1.0 * np.log1p(flow.times / 2.0))
    assert np.array_equal(flow.x, flow.m * flow.w)


def test_many_flows_are_the_single_ones(small):
    problem, factors = small
    other = mf.Factors.pilot(np.linspace(-1, 1, 15))
    schedules = [mf.Constant(0.0), mf.Geometric(0.5, 0.7)]
    times = [0.0, 1.0, 5.0]
    both = mf.gradient_flows(problem, [factors, other], schedules, times)
    for flow, start, schedule in zip(both, [factors, other], schedules, strict=True):
        alone = mf.gradient_flow(problem, start, schedule, times)
        assert np.abs(flow.x - alone.x).max() < 1e-7  # ten times rtol
        assert np.array_equal(flow.times, alone.times)
    one = mf.gradient_flows(problem, [factors, other], schedules[0], times)
    assert np.abs(one[0].x - both[0].x).max() < 1e-12


def test_zero_interval(small):
    problem, factors = small
    for integrate in (mf.gradient_flow, mf.direct_flow):
        flow = integrate(problem, factors, mf.Constant(1.0), [0.0])
        assert flow.success
        assert np.abs(flow.x[0] - factors.x).max() < 1e-14


def test_failure_keeps_what_was_reached(small, monkeypatch):
    from mirrorflow.flows import multistep

    problem, factors = small
    monkeypatch.setattr(multistep, "MOST_CALLS", 200)
    flow = mf.direct_flow(problem, factors, mf.Constant(0.1), [0.0, 1e-3, 1e3], 1e-10)
    assert flow.status == "failed"
    assert flow.times.tolist() == [0.0, 1e-3]
    assert flow.message.startswith("more than 200 right-hand sides were needed to pass t = ")
    assert "use a larger rtol or an earlier end" in flow.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [0.0, 2.0, 1.0]}, r"times must ascend strictly, but times\[2\] = 1 follows 2"),
        ({"times": [-1.0, 2.0]}, r"times must be at least 0, but it holds -1"),
        ({"times": [0.0, np.nan]}, r"times must be at least 0, but it holds nan"),
        ({"times": []}, r"times must be a non-empty list"),
        ({"times": [np.inf, np.inf]}, r"times must ascend"),
        ({"rtol": 0.5}, r"rtol must be a finite number at least 1e-13 and at most 0.01.* 0.5"),
        ({"rtol": float("nan")}, r"rtol must be a finite number"),
        ({"factors": mf.Factors([1.0], [1.0])}, r"start must have d = 15 .* it has 1"),
    ],
)
def test_bad_input(small, change, message):
    problem, factors = small
    given = {"factors": factors, "times": [0.0, 1.0], "rtol": 1e-8, **change}
    for integrate in (mf.gradient_flow, mf.direct_flow):
        with pytest.raises(mf.InputError, match=message):
            integrate(problem, given["factors"], mf.Constant(1.0), given["times"], given["rtol"])


def test_direct_flow_refuses_inf(small):
    with pytest.raises(mf.InputError, match="times must be finite for direct_flow"):
        mf.direct_flow(*small, mf.Constant(1.0), [0.0, np.inf])


def test_gradient_flows_refuses_mismatched_lists(small):
    problem, factors = small
    with pytest.raises(mf.InputError, match=r"schedules must be one or as many .* \(1\)"):
        mf.gradient_flows(problem, [factors], [mf.Constant(1.0)] * 2, [1.0])


def test_a_jump_of_alpha_costs_nothing_but_a_new_start(small):
    """Through a breakpoint: as many right-hand sides as for the two parts one after the other."""
    problem, factors = small
    whole = mf.direct_flow(problem, factors, mf.Constant(3.0, 0.5), [0.5, 3.0], 1e-10)
    first = mf.direct_flow(problem, factors, mf.Constant(3.0), [0.5], 1e-10)
    middle = mf.Factors(first.m[0], first.w[0])
    second = mf.direct_flow(problem, middle, mf.Constant(0.0), [2.5], 1e-10)
    parts = first.right_hand_sides + second.right_hand_sides
    assert abs(whole.right_hand_sides - parts) <= 24  # two steps
    assert np.array_equal(whole.m[0], first.m[0])
    assert np.abs(whole.m[1] - second.m[0]).max() < 1e-12


def test_the_reference_integrator_turns_implicit_where_stability_holds_it_down(recovery):
    """To t = 1e4 explicit steps are at most 6/λ_max long, which makes some 10⁶ of them."""
    problem, factors = recovery
    flow = mf.direct_flow(problem, factors, mf.Constant(1.0, 2.0), [1e4])
    assert flow.success
    assert flow.factorizations > 20
    assert flow.right_hand_sides < 3000


@pytest.mark.filterwarnings("ignore:Z has n = 1 samples")
@pytest.mark.parametrize("beta", [1e4, 1e6])
@pytest.mark.parametrize("integrator", ["gradient_flow", "gradient_flows", "direct_flow"])
def test_paths_where_beta_is_much_larger_than_x(integrator, beta):
    """n = d = 1: dx/dt = √(β² + 4x²)(1 − x), so that x = 1 − 1/e + O(β⁻²) at t = 1/β."""
    problem, factors = mf.Regression([[1.0]], [1.0]), mf.Factors.pilot([0.0], beta)
    constant, times = mf.Constant(0.0), [0.0, 1 / beta]
    if integrator == "gradient_flows":
        flow = mf.gradient_flows(problem, [factors], constant, times)[0]
    else:
        flow = getattr(mf, integrator)(problem, factors, constant, times)
    assert flow.status == "completed"
    assert abs(flow.x[-1, 0] / -np.expm1(-1.0) - 1) < 1e-6


@pytest.mark.parametrize("integrator", ["gradient_flow", "gradient_flows", "direct_flow"])
def test_paths_whose_dual_grows_without_end(integrator):
    """A balanced start whose signs allow no interpolator, against log|m| by Radau's method.

    |m| = |w| lasts, so that x = s exp(2 log|m|).
    """
    from scipy.integrate import solve_ivp

    Z = np.array([[1.6, -1.6, 1.2, -2.2], [-0.3, 0.4, -1.4, -1.5]])
    y, s = np.array([0.2, 0.9]), np.array([1.0, -1.0, 1.0, -1.0])
    problem, factors = mf.Regression(Z, y), mf.Factors(np.ones(4), s)
    schedule, times = mf.Quadratic.from_total(1.0, 10.0), np.geomspace(1e-2, 1e7, 30)

    def slope(t, logs):
        return -s * (Z.T @ (Z @ (s * np.exp(2 * logs)) - y)) / 2 - 2 * float(schedule.alpha(t))

    logs = solve_ivp(slope, (0, 1e7), np.zeros(4), "Radau", times, rtol=1e-12, atol=1e-11)
    right = s * np.exp(2 * logs.y.T)
    if integrator == "gradient_flows":
        flow = mf.gradient_flows(problem, [factors], schedule, times)[0]
    else:
        flow = getattr(mf, integrator)(problem, factors, schedule, times)
    assert flow.status == "completed"
    error = np.abs(flow.x - right).max(axis=1) / np.abs(right).max(axis=1)
    assert error.max() < 1e-6  # 100 rtol


@pytest.mark.parametrize(
    ("Z", "y"),
    [
        ([[-300.0, 1900.0, 1100.0], [-0.0015, 0.0, -0.0002]], [-0.8, 2.2]),
        ([[-80.0, 160.0, -50.0], [-0.001, 0.0018, 0.0012]], [0.7, -0.5]),
        ([[-0.0014, 0.0004, 0.0], [280.0, -50.0, -80.0]], [0.8, -0.2]),
    ],
)
def test_rows_in_units_of_1000_and_of_a_thousandth(Z, y):
    """Stiff rows whose sizes differ by a million: every time is reached."""
    problem, factors = mf.Regression(Z, y), mf.Factors.pilot(np.zeros(3))
    schedule, times = mf.Quadratic.from_total(1.0, 10.0), [0.0, 0.1, 1.0, 10.0, 1e3, 1e6]
    one = mf.gradient_flow(problem, factors, schedule, times)
    many = mf.gradient_flows(problem, [factors], schedule, times)[0]
    assert (one.status, many.status) == ("completed", "completed")
    difference = np.abs(one.x - many.x).max(axis=1)
    assert (difference < 1e-6 * np.abs(one.x).max(axis=1).clip(1e-12)).all()


@pytest.mark.parametrize(("size", "beta"), [(3.0, 1e-2), (10.0, 1e-3), (10.0, 1e-6)])
def test_coordinates_far_from_where_they_started(size, beta):
    """Slowest and fastest rates lie decades apart; what has not faded yet still counts."""
    rng = np.random.default_rng(0)
    problem = mf.gaussian_recovery(20, 60, 3, 0)
    factors, times = mf.Factors.pilot(size * rng.choice([-1.0, 1.0], 60), beta), [1.0, 10.0, 100.0]
    many = mf.gradient_flows(problem, [factors], mf.Constant(0.0), times)[0]
    one = mf.gradient_flow(problem, factors, mf.Constant(0.0), times, 1e-11)
    assert np.abs(many.x - one.x).max() < 1e-6  # 100 rtol


def test_a_flow_without_its_limit_is_no_success(small, monkeypatch):
    from mirrorflow.flows import gradient

    problem, factors = small
    flow = mf.gradient_flow(problem, factors, mf.Constant(1.0, 2.0), [1.0, np.inf])
    assert flow.success
    solve = gradient.interpolators

    def unsure(*arguments):
        return [
            [dataclasses.replace(p, status="not_converged") for p in path]
            for path in solve(*arguments)
        ]

    monkeypatch.setattr(gradient, "interpolators", unsure)
    flow = mf.gradient_flow(problem, factors, mf.Constant(1.0, 2.0), [1.0, np.inf])
    assert flow.status == "not_converged"
    assert not flow.success


@pytest.mark.parametrize("exponent", [0.0, 6.0, 9.5, 9.9, 10.1, 12.0, 16.0, np.inf])
def test_full_rank_is_what_the_eigenvalues_say(exponent):
    """Also where the bound by the inverse is too coarse to decide."""
    draw = np.random.default_rng(4)
    Q = np.linalg.qr(draw.standard_normal((12, 12)))[0]
    for unit in (1e-12, 1.0, 1e12):
        values = unit * np.append(np.linspace(0.5, 1.0, 11), 10.0**-exponent)
        G = (Q * values) @ Q.T
        assert runs._full_rank(0.5 * (G + G.T)) == (exponent < 10.0)
