"""Every kind of flow against its plain equations, with jumps of α, output at 0 and at a jump."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy.sparse
from scipy.integrate import solve_ivp

import mirrorflow as mf
from mirrorflow.flows import momentum as momentum_module
from mirrorflow.flows import multistep
from mirrorflow.flows import quadrature as quadrature_module
from mirrorflow.flows.controlled import controlled_flow
from mirrorflow.flows.margins import margin_flow
from mirrorflow.flows.momentum import momentum_flow, momentum_lag
from mirrorflow.flows.quadrature import gauss_nodes, time_average
from mirrorflow.flows.saddles import saddle_path
from mirrorflow.flows.softmax import softmax_flow
from mirrorflow.flows.trajectory import check_runs, check_times

JUMPS = mf.Piecewise([0.0, 0.7, 1.5], [0.4, 0.1, 0.0])
TIMES = np.array([0.0, 0.3, 0.7, 1.1, 2.5])
RNG = np.random.default_rng(0)
Z = RNG.standard_normal((3, 5))
THETA = RNG.standard_normal((2, 5))


def problem_of(loss=None):
    return mf.Regression(Z, Z @ np.array([1.0, 0.0, -0.5, 0.0, 0.0]), loss=loss or mf.Squared())


def plainly(velocity, state, schedule, times, rtol=1e-12):
    """scipy's DOP853 from jump to jump, states (T, N) at the times."""
    rows, now = {0.0: state}, 0.0
    for end in sorted({*(t for t in schedule.breakpoints if t < times[-1]), float(times[-1])}):
        inside = [t for t in times if now < t <= end]
        alpha = float(schedule.alpha(0.5 * (now + end)))  # constant between jumps
        some = np.union1d(inside, [end])
        run = solve_ivp(
            lambda t, s, a=alpha: velocity(t, s, a), (now, end), state, "DOP853", some,
            rtol=rtol, atol=1e-14,
        )  # fmt: skip
        assert run.success
        rows |= dict(zip(run.t.tolist(), run.y.T, strict=True))
        now, state = end, run.y[:, -1]
    return np.array([rows[float(t)] for t in times])


# ---- under a controller


@pytest.mark.parametrize("loss", [None, mf.PseudoHuber(0.5)])
@pytest.mark.parametrize("driven", [False, True])
def test_controlled_flows_by_their_equation(loss, driven):
    """Residual, decay and rates of each coordinate, another penalty, and the weighted integral."""
    problem, start = problem_of(loss), mf.Factors(*THETA)
    decay, rates, kappa = np.linspace(0.5, 1.5, 5), np.linspace(1.0, 0.6, 5), 0.7

    def control(t, x):
        return np.sin(t) * (Z @ x) - 0.2

    def velocity(t, state, alpha):
        m, w, total = state[:5], state[5:10], float(JUMPS.total(t))
        if driven:
            r = control(t, m * w)
        else:
            r = problem.loss.slope(Z @ (m * w), problem.y) / 3.0
        slope = Z.T @ r
        pull = [3.0 * np.abs(p) * p if driven else 2.0 * p for p in (m, w)]
        moved = [
            -rates * slope * other - alpha * decay * p
            for other, p in zip((w, m), pull, strict=True)
        ]
        return np.concatenate([*moved, math.exp(-kappa * total) * slope])

    given = {"control": control, "penalty": lambda t: 3.0 * np.abs(t) * t} if driven else {}
    flow = controlled_flow(
        problem, start, JUMPS, TIMES, decay=decay, rates=rates, kappa=kappa, rtol=1e-11, **given
    )
    states = plainly(velocity, np.append(THETA, np.zeros(5)), JUMPS, TIMES)
    assert (flow.times == TIMES).all()
    assert flow.parameters.reshape(5, 10) == pytest.approx(states[:, :10], abs=1e-8)
    assert flow.accumulated == pytest.approx(states[:, 10:], abs=1e-8)
    assert flow.x == pytest.approx(states[:, :5] * states[:, 5:10], abs=1e-8)
    assert flow.total == pytest.approx([float(JUMPS.total(t)) for t in TIMES])
    assert flow.loss == pytest.approx([problem.value(x) for x in flow.x])
    assert flow.status == "completed"
    assert flow.steps == flow.right_hand_sides > 20
    assert flow.factorizations == 0


def test_a_controlled_flow_that_ends_early_says_when():
    """A residual that pushes x to infinity in finite time."""
    problem, start = problem_of(), mf.Factors(*THETA)
    flow = controlled_flow(
        problem,
        start,
        mf.Constant(0.0),
        [0.0, 0.1, 50.0],
        lambda t, x: -((Z @ x) ** 3),
        method="RK45",
    )
    assert flow.status == "failed"
    assert flow.message.startswith("The integration ended at t = ")
    assert flow.times.tolist() in ([0.0], [0.0, 0.1])
    assert len(flow.x) == len(flow.accumulated) == flow.times.size


def test_what_a_controlled_flow_refuses():
    problem, start = problem_of(), mf.Factors(*THETA)
    for times, options, words in (
        ([1.0, np.inf], {}, "times must be finite for a controlled flow"),
        ([1.0], {"decay": [1.0]}, "decay must have 5 entries .one a coordinate."),
        ([1.0], {"rates": np.ones(4)}, "rates must have 5 entries .one a coordinate."),
        ([1.0], {"kappa": np.nan}, "kappa must be"),
        ([1.0], {"control": lambda t, x: np.zeros(2)}, "control must return 3 numbers"),
        ([1.0], {"rtol": 1.0}, "rtol must be"),
    ):
        with pytest.raises(mf.InputError, match=words):
            controlled_flow(problem, start, mf.Constant(0.1), times, **options)


# ---- with momentum


@pytest.mark.parametrize("lag", [0.2, 1.3])
def test_momentum_by_its_equation_and_its_sums(lag):
    """θ by λθ̈ + θ̇ + ∇ = 0, Λ and r by the integrals of s and σ beside it."""
    problem, start = problem_of(), mf.Factors.pilot(np.linspace(-0.2, 0.3, 5), 3.0)
    schedule = mf.Piecewise([0.0, 0.7, 1.5], [0.1, 0.02, 0.0])

    def velocity(t, state, alpha):
        m, w, dm, dw = state[:20].reshape(4, 5)
        slope = problem.gradient(m * w)
        pulls = slope * w + 2.0 * alpha * m, slope * m + 2.0 * alpha * w
        u, v, du, dv = m + w, m - w, dm + dw, dm - dw
        return np.concatenate([
            dm, dw, -(dm + pulls[0]) / lag, -(dw + pulls[1]) / lag, (du / u) ** 2, (dv / v) ** 2,
        ])  # fmt: skip

    states = plainly(velocity, np.concatenate([start.m, start.w, np.zeros(20)]), schedule, TIMES)
    flow = momentum_flow(problem, start, schedule, lag, TIMES, 1e-11)
    m, w, dm, dw, one, two = states.reshape(-1, 6, 5).transpose(1, 0, 2)
    s, sigma = (dm + dw) / (m + w), (dm - dw) / (m - w)
    total = np.array([float(schedule.total(t)) for t in TIMES])
    assert flow.status == "completed"
    assert flow.success
    assert (flow.times == TIMES).all()
    assert flow.m == pytest.approx(m, abs=1e-8)
    assert flow.w == pytest.approx(w, abs=1e-8)
    assert flow.x == pytest.approx(m * w, abs=1e-8)
    gain = 4.0 * total[:, None] + lag * (one + two) + lag * (s + sigma)
    assert flow.gain == pytest.approx(gain, abs=1e-7)
    assert flow.shift == pytest.approx(0.5 * lag * (one - two + s - sigma), abs=1e-7)
    assert flow.total == pytest.approx(total)
    assert flow.start is start
    alone = momentum_flow(problem, start, schedule, lag, TIMES[1:], 1e-11)
    assert alone.x == pytest.approx(flow.x[1:], abs=1e-9)
    assert 5 < flow.steps < 500


def test_momentum_ends_where_a_factor_does():
    """Under a large λ a factor swings through 0: the time is said, and what was before is kept."""
    problem, start = problem_of(), mf.Factors.pilot(np.full(5, 0.1), 0.2)
    flow = momentum_flow(problem, start, mf.Constant(0.0), 30.0, [0.0, 0.5, 100.0])
    assert flow.status == "outside"
    assert not flow.success
    at = float(flow.message.split("t = ")[1].split()[0])
    assert 0.5 < at < 100.0
    assert flow.times.tolist() == [0.0, 0.5]
    assert len(flow.m) == len(flow.gain) == len(flow.total) == 2
    assert flow.gain[0] == pytest.approx(0.0, abs=1e-15)


def test_momentum_of_a_coordinate_that_is_0_for_ever():
    problem = problem_of()
    start = mf.Factors([0.0, 1.0, 1.0, 1.0, 1.0], [0.0, 0.2, -0.1, 0.3, 0.1])
    flow = momentum_flow(problem, start, mf.Constant(0.1, 1.0), 0.1, [0.5, 2.0])
    assert flow.status == "completed"
    assert not flow.x[:, 0].any()
    assert flow.shift[:, 0] == pytest.approx(0.0)
    assert flow.gain[:, 0] == pytest.approx(4.0 * flow.total)


def test_momentum_refuses_and_fails_in_words(monkeypatch):
    problem, start = problem_of(), mf.Factors(*THETA)
    still = mf.Constant(0.0)
    with pytest.raises(mf.InputError, match="factors must be Factors, but it is Powers"):
        momentum_flow(problem, mf.Powers(np.ones(5), np.ones(5), 3), still, 0.1, [1.0])
    for lag, rtol, words in ((0.0, 1e-9, "lag must be"), (0.1, 1.0, "rtol must be")):
        with pytest.raises(mf.InputError, match=words):
            momentum_flow(problem, start, still, lag, [1.0], rtol)
    right = momentum_module.solve_ivp

    def early(*given, **options):
        run = right(*given, **options)
        run.status, run.message = -1, "no more steps"
        return run

    monkeypatch.setattr(momentum_module, "solve_ivp", early)
    start = mf.Factors.pilot(np.zeros(5), 3.0)
    flow = momentum_flow(problem, start, still, 0.1, [0.0, 1.0])
    assert (flow.status, flow.message) == ("failed", "no more steps")
    assert momentum_lag(0.02, 0.5) == pytest.approx(0.02 * 1.5 / 0.5)


# ---- of many classes


@pytest.mark.parametrize("deep", [False, True])
def test_softmax_by_its_equation(deep):
    rng = np.random.default_rng(1)
    features, labels = rng.standard_normal((6, 2)), np.array([0, 1, 2, 0, 1, 2])
    theta = rng.uniform(0.4, 1.0, (2, 6))
    start = mf.Powers(*theta, 3) if deep else mf.Factors(*theta)

    def velocity(_, state, alpha):
        a, b = state.reshape(2, 6)
        x = (a**3 - b**3 if deep else a * b).reshape(2, 3)
        grad = np.zeros((2, 3))
        for z, label in zip(features, labels, strict=True):
            p = np.exp(z @ x)
            p /= p.sum()
            grad += np.outer(z, p - (np.arange(3) == label)) / 6.0
        slopes = (3 * a * a, -3 * b * b) if deep else (b, a)
        moved = [-s * grad.ravel() for s in slopes]
        return np.concatenate([moved[0] - 2.0 * alpha * a, moved[1] - 2.0 * alpha * b])

    flow = softmax_flow(features, labels, start, JUMPS, TIMES, 1e-11)
    states = plainly(velocity, theta.ravel(), JUMPS, TIMES)
    assert (flow.times == TIMES).all()
    assert flow.parameters.reshape(5, 12) == pytest.approx(states, abs=1e-8)
    for x, loss in zip(flow.x, flow.loss, strict=True):
        scores = features @ x.reshape(2, 3)
        logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        assert loss == pytest.approx(-np.mean(logs[np.arange(6), labels]), rel=1e-12)
    assert flow.total == pytest.approx([float(JUMPS.total(t)) for t in TIMES])
    assert flow.status == "completed"
    assert 3 < flow.steps < flow.right_hand_sides
    assert flow.factorizations == 0
    later = softmax_flow(features, labels, start, JUMPS, TIMES[1:], 1e-11)
    assert later.x == pytest.approx(flow.x[1:], abs=1e-9)


def test_what_softmax_refuses():
    features, start = np.ones((3, 2)), mf.Factors(np.ones(6), np.full(6, 0.1))
    for labels, made, words in (
        ([0, 1, 3], start, "labels must be whole numbers from 0 to 2, but one is 3"),
        ([0, 1, 0.5], start, "labels must be whole numbers from 0 to 2, but one is 0.5"),
        ([0, 1], start, "labels must have 3 entries .one for each row"),
        ([0, 0, 0], mf.Factors(np.ones(5), np.ones(5)), r"K ≥ 2 classes, but it has 5"),
        ([0, 0, 0], mf.Factors(np.ones(2), np.ones(2)), r"K ≥ 2 classes, but it has 2"),
    ):
        with pytest.raises(mf.InputError, match=words):
            softmax_flow(features, labels, made, mf.Constant(0.0), [1.0])


# ---- in logarithmic time


def test_a_log_time_flow_that_ends_before_its_first_time_says_when(monkeypatch):
    """Radau gives up at once: no time is reached, and the message has the one it began at."""
    from mirrorflow.flows import margins

    right = margins.solve_ivp

    def early(speed, span, q, method, times, **options):
        return right(lambda s, q: np.full_like(q, np.nan), span, q, method, times, **options)

    monkeypatch.setattr(margins, "solve_ivp", early)
    problem = mf.Regression([[1.0, 0.2, 0.0]], [1.0], loss=mf.Logistic())
    flow = margin_flow(problem, mf.Factors.pilot(np.zeros(3)), [3.0, 4.0])
    assert not flow.success
    assert flow.message.startswith("At log t = -")
    assert flow.x.shape == (0, 3)
    assert flow.dual.shape == (0, 1)


@pytest.mark.parametrize("loss", [mf.Logistic(), mf.Exponential()])
@pytest.mark.parametrize("deep", [False, True])
def test_log_time_is_the_logarithm_of_time(loss, deep):
    """x and q at e^s of the flow of θ, before, at and after jumps of α."""
    rng = np.random.default_rng(2)
    features = rng.standard_normal((3, 5))
    labels = np.array([1.0, -1.0, 1.0])
    problem = mf.Regression(features, labels, loss=loss)
    theta = rng.uniform(0.5, 1.0, (2, 5))
    start = mf.Powers(*theta, 3) if deep else mf.Factors(theta[0], theta[1] - 0.7)
    logs = np.log([1e-3, 0.3, 0.7, 5.0, 40.0])
    flow = margin_flow(problem, start, logs, JUMPS, 1e-10)
    direct = mf.direct_flow(problem, start, JUMPS, np.exp(logs), 1e-11, accumulate=True)
    assert flow.success
    assert (flow.log_times == logs).all()
    assert flow.x == pytest.approx(direct.x, abs=1e-6)
    assert flow.total == pytest.approx(direct.total, rel=1e-12)
    rows = labels[:, None] * features
    assert flow.dual @ rows == pytest.approx(-direct.accumulated, abs=1e-6)
    assert (flow.dual >= 0).all()
    assert flow.margins == pytest.approx(flow.x @ rows.T, rel=1e-12)
    assert flow.steps > 10
    # without a schedule there is no decay; the first time may be far before the first step
    still = margin_flow(problem, start, [-200.0, 1.0], None, 1e-10)
    assert still.x[0] == pytest.approx(start.x, rel=1e-12)
    alone = mf.direct_flow(problem, start, mf.Constant(0.0), [math.e], 1e-11)
    assert still.x[1] == pytest.approx(alone.x[0], abs=1e-6)


def test_what_log_time_refuses():
    data = np.array([[1.0, 0.2, 0.0], [0.3, -1.0, 0.1]])
    problem = mf.Regression(data, [1.0, -1.0], loss=mf.Logistic())
    start = mf.Factors.pilot(np.zeros(3))
    wrong = mf.Regression(np.vstack([data[0], data[0]]), [1.0, -1.0], loss=mf.Logistic())
    for given, at, schedule, words in (
        (wrong, start, None, "y must be separable"),
        (problem, start, mf.Constant(0.1), "schedule must have ∫α < ∞"),
        (problem, mf.Ham(np.zeros(3), 1.0), mf.Constant(0.1, 1.0), "schedule's total must be 0"),
        (mf.Regression(data, [1.0, -1.0]), start, None, r"loss must be Logistic\(\) or Expon"),
    ):
        with pytest.raises(mf.InputError, match=words):
            margin_flow(given, at, [0.0, 1.0], schedule)
    with pytest.raises(mf.InputError, match="log_times must ascend strictly"):
        margin_flow(problem, start, [0.0, 0.0])
    with pytest.raises(mf.InputError, match="rtol must be"):
        margin_flow(problem, start, [0.0], rtol=1.0)


# ---- integrals along a flow


def test_nodes_are_gausss_on_pieces_that_double():
    """Exact for polynomials of degree 19 on each piece; pieces end at jumps and asked ends."""
    times, weights = gauss_nodes(JUMPS, 0.05, [1.0, 4.0])
    for power in (0, 1, 7, 19):
        assert weights @ times**power == pytest.approx(4.0 ** (power + 1) / (power + 1), rel=1e-12)
    edges = np.concatenate([[0.0], np.cumsum(weights.reshape(-1, 10).sum(axis=1))])
    for mark in (0.7, 1.0, 1.5, 4.0):
        assert np.abs(edges - mark).min() < 1e-12
    lengths = np.diff(edges)
    assert lengths[0] == pytest.approx(0.05)
    for jump in (0.7, 1.5):
        after = lengths[np.argmin(np.abs(edges - jump))]
        assert after == pytest.approx(0.05)
    assert edges[1:5] == pytest.approx([0.05, 0.1, 0.2, 0.4])
    assert edges[5] == pytest.approx(0.7)
    steps = np.where((times > 0.7) & (times < 1.5), 1.0, 0.0)
    assert weights @ steps == pytest.approx(0.8, rel=1e-12)


def test_averages_are_integrals_over_time():
    problem, start = problem_of(), mf.Factors(*THETA)
    mean, flow = time_average(problem, start, JUMPS, [0.7, 3.0, 20.0], 1e-9)
    grid = np.linspace(0.0, 20.0, 40_001)
    fine = mf.gradient_flow(problem, start, JUMPS, grid, 1e-11).x
    for average, end in zip(mean, (0.7, 3.0, 20.0), strict=True):
        some = fine[: round(end * 2000) + 1]
        by_trapezoids = (some.sum(axis=0) - 0.5 * (some[0] + some[-1])) / (end * 2000)
        assert average == pytest.approx(by_trapezoids, abs=1e-6)
    assert flow.times.tolist() == [0.7, 3.0, 20.0]
    direct = mf.direct_flow(problem, start, JUMPS, flow.times, 1e-11)
    for name in ("x", "parameters", "loss", "total"):
        assert getattr(flow, name) == pytest.approx(getattr(direct, name), abs=1e-7)
    with pytest.raises(mf.InputError, match=r"times must be above 0, .* κ = 2"):
        time_average(problem, mf.Powers(np.ones(5), np.ones(5), 3), JUMPS, [1.0])


def test_pieces_are_halved_where_x_turns(monkeypatch):
    """Few pieces to begin with, x with a sharp bend: the average is as exact; halvings stop at
    their limit."""
    problem = mf.Regression([[1.0, 0.5]], [4.0])
    start = mf.Factors.pilot([0.0, 0.0], 1e-6)
    mean, _ = time_average(problem, start, mf.Constant(0.0), [40.0], 1e-8)
    grid = np.linspace(0.0, 40.0, 80_001)
    x = mf.gradient_flow(problem, start, mf.Constant(0.0), grid, 1e-10).x
    expected = (x.sum(axis=0) - 0.5 * (x[0] + x[-1])) / 80_000
    assert mean[0] == pytest.approx(expected, abs=1e-6)
    monkeypatch.setattr(quadrature_module, "ROUNDS", 1)
    rough, _ = time_average(problem, start, mf.Constant(0.0), [40.0], 1e-8)
    assert rough[0] == pytest.approx(expected, abs=1e-4)  # of the pieces that there were


# ---- saddles


@pytest.mark.parametrize("alpha", [0.0, 0.05])
@pytest.mark.parametrize("sparse", [False, True])
def test_between_events_a_saddle_path_keeps_its_equations(alpha, sparse):
    """Duals move at (2/n)(y − Zx); x_j has its sign where z_jᵀν is at its threshold, else is 0."""
    rng = np.random.default_rng(4)
    data = rng.standard_normal((4, 9))
    data[:, 5] = data[:, 1]
    y = data[:, 0] - 0.7 * data[:, 1]
    upper, lower = rng.uniform(0.8, 1.2, (2, 9))
    problem = mf.Regression(scipy.sparse.csr_array(data) if sparse else data, y)
    path = saddle_path(problem, alpha=alpha, thresholds=(upper, lower))
    assert path.success
    assert path.times[0] == 0.0
    assert (np.diff(path.times) > 0).all()
    rates = [(2.0 / 4.0) * (y - data @ x) for x in path.x]
    assert path.rate == pytest.approx(rates[-1], abs=1e-12)
    for i, (before, after) in enumerate(itertools.pairwise(path.dual)):
        step = path.times[i + 1] - path.times[i]
        assert (after - before) / step == pytest.approx(rates[i], abs=1e-9)
    ends = [*path.times, path.times[-1] + 1.0]
    for first, last in itertools.pairwise(ends):
        for share in (0.0, 0.4, 0.999):
            tau = first + share * (last - first)
            (x,), (nu,) = path.at([tau])
            slope, grown = data.T @ nu, 4.0 * alpha * tau
            assert (slope <= upper + grown + 1e-8).all()
            assert (slope >= -lower - grown - 1e-8).all()
            assert slope[x > 0] == pytest.approx((upper + grown)[x > 0], abs=1e-8)
            assert slope[x < 0] == pytest.approx(-(lower + grown)[x < 0], abs=1e-8)
    few = saddle_path(problem, alpha=alpha, thresholds=(upper, lower), most=1)
    assert few.status == "failed"
    assert "More than 1 events" in few.message
    assert few.times.size == 2


# ---- what is asked, and what comes back


def test_runs_are_checked_one_by_one():
    problem, start = problem_of(), mf.Factors(*THETA)
    other = mf.Constant(0.2, 1.0)
    asked = check_runs(problem, [start, start], [JUMPS, other], [[0.0, 1.0], [2.0, np.inf]], 1e-7)
    assert asked.starts == [start, start]
    assert asked.schedules == [JUMPS, other]
    assert [some.tolist() for some in asked.times] == [[0.0, 1.0], [2.0]]
    assert asked.endless == [False, True]
    assert (asked.rtol, asked.accumulate) == (1e-7, False)
    shared = check_runs(problem, [start, start], JUMPS, [1.0, 2.0], 1e-7)
    assert [some.tolist() for some in shared.times] == [[1.0, 2.0]] * 2
    assert shared.endless == [False, False]
    assert shared.schedules == [JUMPS] * 2
    times, endless, rtol = check_times([0.5, np.inf], 1e-5)
    assert (times.tolist(), endless, rtol) == ([0.5], True, 1e-5)
    for schedules, given, rtol, words in (
        ([JUMPS], [1.0], 1e-7, r"schedules must be one or as many as starts \(2\), .* are 1"),
        (JUMPS, [[1.0]], 1e-7, r"times must be one array or as many as starts \(2\), .* are 1"),
        (JUMPS, [1.0], 0.5, "rtol must be"),
        (JUMPS, [[1.0], [2.0]], 0.5, "rtol must be"),
        (JUMPS, [2.0, 1.0], 1e-7, "times must"),
        (3.0, [1.0], 1e-7, "schedule"),
    ):
        with pytest.raises(mf.InputError, match=words):
            check_runs(problem, [start, start], schedules, given, rtol)


SHAPES = {
    "wide": (3, 5, 3),
    "square": (5, 5, 5),
    "tall": (9, 5, 5),
    "rank 2": (4, 6, 2),
    "tall of rank 3": (9, 5, 3),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", [mf.Squared(), mf.PseudoHuber(0.5)], ids=["squared", "huber"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.filterwarnings("ignore:Z has n = ")
def test_data_of_any_shape_give_the_plain_flow(shape, loss, sparse):
    """What is made ready for compiled code (fewer rows, a basis) changes no path."""
    n, d, rank = SHAPES[shape]
    rng = np.random.default_rng(7)
    data = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d)) / math.sqrt(rank)
    y, theta = rng.standard_normal(n), rng.standard_normal((2, d))
    problem = mf.Regression(scipy.sparse.csr_array(data) if sparse else data, y, loss=loss)
    start, times = mf.Factors(*theta), np.array([0.0, 0.3, 0.7, 1.1, 2.5])

    def velocity(_, state, alpha):
        m, w = state.reshape(2, d)
        slope = data.T @ loss.slope(data @ (m * w), y) / n
        return np.concatenate([-w * slope - 2.0 * alpha * m, -m * slope - 2.0 * alpha * w])

    states = plainly(velocity, theta.ravel(), JUMPS, times).reshape(-1, 2, d)
    for integrate in (mf.gradient_flow, mf.direct_flow):
        flow = integrate(problem, start, JUMPS, times, 1e-9)
        assert flow.success
        assert flow.parameters == pytest.approx(states, abs=1e-6)
        assert flow.loss == pytest.approx(
            [np.mean(loss.value(data @ x, y)) for x in flow.x], rel=1e-9
        )


@pytest.mark.parametrize("accumulate", [False, True])
def test_radau_integrates_users_functions_the_same(accumulate):
    """u³ − v³ as Powers and as a user's function: paths, ∫e^{−κA}∇f, and work that is counted."""
    problem = problem_of()
    theta = np.random.default_rng(3).uniform(0.5, 1.0, (2, 5))
    known = mf.Powers(*theta, 3)
    own = mf.Custom(lambda t: t[0] ** 3 - t[1] ** 3, theta)
    flows = [
        mf.direct_flow(problem, start, JUMPS, TIMES, 1e-9, accumulate=accumulate)
        for start in (known, own)
    ]
    assert flows[1].x == pytest.approx(flows[0].x, abs=1e-6)
    assert flows[1].parameters == pytest.approx(flows[0].parameters, abs=1e-6)
    if accumulate:
        assert flows[1].accumulated == pytest.approx(flows[0].accumulated, abs=1e-6)
    else:
        assert flows[1].accumulated is None
    for flow in flows:
        assert flow.steps > 5
        assert flow.right_hand_sides > flow.steps
    assert flows[1].factorizations > 3
    with pytest.raises(mf.InputError, match="start must have an equation of θ for direct_flow"):
        mf.direct_flow(problem, mf.LogFactors.of_scale(5, 3.0), JUMPS, TIMES)


def test_coefficients_are_those_of_adams_moulton_and_bdf():
    """l of Nordsieck's form, and the steps' error constants, against the tables of both methods."""
    l, c = multistep._coefficients()
    adams, bdf = l[multistep.ADAMS], l[multistep.BDF]
    leading = 1.0, 1 / 2, 5 / 12, 3 / 8, 251 / 720, 95 / 288
    gaps = 1 / 2, 1 / 12, 1 / 24, 19 / 720, 3 / 160, 863 / 60480  # Adams and Moulton's
    for q, (first, gap) in enumerate(zip(leading, gaps, strict=True), start=1):
        assert adams[q, 0] == pytest.approx(first, rel=1e-13)
        assert adams[q, 1] == pytest.approx(1.0, rel=1e-13)
        assert c[multistep.ADAMS, q, 1] == pytest.approx(1.0 / gap, rel=1e-12)
        assert c[multistep.ADAMS, q, 2] == pytest.approx(c[multistep.ADAMS, q + 1, 1], rel=1e-13)
        below = 1.0 / gap / math.factorial(q) / (q + 1)
        assert c[multistep.ADAMS, q + 1, 0] == pytest.approx(below, rel=1e-12)
        # l(−1) = 0, and l′ vanishes at −1, …, 1 − q
        s = -np.arange(1.0, q)
        assert np.polyval(adams[q, q::-1], -1.0) == pytest.approx(0.0, abs=1e-12)
        slopes = np.polyval(np.polyder(adams[q, q::-1]), s)
        assert slopes == pytest.approx(np.zeros(q - 1), abs=1e-10)
    for q in range(1, 6):
        harmonic = sum(1.0 / i for i in range(1, q + 1))
        roots = np.polyval(bdf[q, q::-1], -np.arange(1.0, q + 1))
        assert roots == pytest.approx(np.zeros(q), abs=1e-11)
        assert bdf[q, :2] == pytest.approx([1.0 / harmonic, 1.0], rel=1e-13)
        wanted = 1.0 / math.factorial(q - 1), (q + 1) * harmonic, (q + 2) * harmonic
        assert c[multistep.BDF, q] == pytest.approx(wanted, rel=1e-12)
    assert (l == multistep.L).all()
    assert (c == multistep.CONSTANTS).all()


@pytest.mark.parametrize("loss", [mf.Squared(), mf.PseudoHuber(0.5)], ids=["squared", "huber"])
@pytest.mark.parametrize("name", ["m ⊙ w", "u³ − v³", "3 layers"])
def test_late_flows_are_implicit_and_end_at_their_limit(name, loss):
    """Rates of 1e4 beside the slowest: few steps to t = 1e5, by Jacobians that are right."""
    rng = np.random.default_rng(5)
    layers = rng.uniform(0.5, 1.0, (3, 5))
    start = {
        "m ⊙ w": mf.Factors(layers[0], layers[1] - 0.7),
        "u³ − v³": mf.Powers(layers[0], layers[1], 3),
        "3 layers": mf.DeepFactors(layers),
    }[name]
    x = np.array([0.3, 0.0, -0.1, 0.0, 0.0]) if name != "3 layers" else 0.3 * start.x
    data = Z * np.array([[1.0], [10.0], [100.0]])
    problem = mf.Regression(data, data @ x, loss=loss)
    schedule = mf.Constant(0.2, 1.0)
    limit = mf.interpolator(problem, start, 0.2)
    assert limit.success
    for integrate in (mf.gradient_flow, mf.direct_flow):
        flow = integrate(problem, start, schedule, [1.0, 1e5], 1e-8)
        assert flow.success
        assert flow.x[-1] == pytest.approx(limit.x, abs=1e-5 * abs(limit.x).max())
        assert flow.factorizations > 3
        assert flow.steps < 5000


def test_no_pulse_is_stepped_over():
    """Nothing moves but by a penalty for a 10,000th of the time: θ falls by e^{−2A}, A = 0.2."""
    pulse, start = mf.Piecewise([0.0, 0.5, 0.5001], [0.0, 2000.0, 0.0]), mf.Factors(*THETA)
    nothing = mf.Regression(np.zeros((2, 5)), [0.0, 0.0])
    many = mf.Factors(np.tile(THETA[0], 2), np.tile(THETA[1], 2))
    for flow in (
        controlled_flow(nothing, start, pulse, [3.0]),
        softmax_flow(np.zeros((2, 5)), [0, 1], many, pulse, [3.0]),
        mf.direct_flow(nothing, start, pulse, [3.0]),
        mf.direct_flow(nothing, mf.Custom(lambda t: t[0] * t[1], THETA), pulse, [3.0]),
    ):
        fallen = math.exp(-0.4) * flow.start.theta
        assert flow.parameters[-1] == pytest.approx(fallen, rel=1e-6)


def test_results_show_themselves_in_a_line():
    problem, start = problem_of(), mf.Factors.pilot(np.zeros(5), 2.0)
    flow = momentum_flow(problem, start, mf.Constant(0.0), 0.1, [0.5, 1.0])
    assert flow._facts() == {"times": 2, "d": 5, "status": "completed", "steps": flow.steps}
    labels = mf.Regression([[1.0, 0.2, 0.0]], [1.0], loss=mf.Logistic())
    late = margin_flow(labels, mf.Factors.pilot(np.zeros(3)), [0.0, 1.0])
    sizes = {"n": 1, "d": 3, "log_times": 2}
    assert late._facts() == {**sizes, "status": "completed", "steps": late.steps}
    path = saddle_path(problem)
    facts = {"n": 3, "d": 5, "events": path.times.size, "status": "completed"}
    assert path._facts() == {**facts, "last_time": path.times[-1]}


def test_flows_know_success_and_their_facts():
    problem, start = problem_of(), mf.Factors(*THETA)
    flow = mf.gradient_flow(problem, start, JUMPS, [0.0, 2.0])
    assert (flow.m == flow.parameters[:, 0]).all()
    assert (flow.w == flow.parameters[:, 1]).all()
    for status, success in (
        ("completed", True),
        ("failed", False),
        ("not_converged", False),
        ("inconsistent", True),
    ):
        assert dataclasses.replace(flow, status=status).success == success
    facts = flow._facts()
    assert facts["times"] == 2
    assert facts["d"] == 5
    assert facts["t_end"] == 2.0
    assert facts["loss_end"] == flow.loss[-1]
    assert facts["steps"] == flow.steps
    empty = dataclasses.replace(flow, times=np.empty(0), loss=np.empty(0))
    assert empty._facts()["t_end"] == 0.0
    assert math.isnan(empty._facts()["loss_end"])


def test_limits_of_many_runs_are_each_their_own():
    """At t = inf: the interpolator of the run's A_∞, under a lasting α its LASSO."""
    problem = problem_of()
    starts = [mf.Factors(*THETA), mf.Factors(*THETA[::-1]), mf.Factors(THETA[0], 0.5 * THETA[1])]
    starts.append(starts[0])
    schedules = [JUMPS, mf.Constant(0.05), mf.Constant(0.5, 1.0), mf.Constant(0.0)]
    times = [[1.0, np.inf], [np.inf], [2.0, np.inf], [1.0]]
    flows = mf.gradient_flows(problem, starts, schedules, times)
    for flow, start, schedule, some in zip(flows, starts, schedules, times, strict=True):
        assert flow.times.tolist() == some
        if schedule.alpha_infinity > 0:
            limit = mf.lasso_limit(problem, start, schedule.alpha_infinity)
        elif math.isinf(some[-1]):
            limit = mf.interpolator(problem, start, schedule.total_infinity)
        else:
            continue
        assert flow.x[-1] == pytest.approx(limit.x, abs=1e-12)
        assert flow.parameters[-1] == pytest.approx(limit.parameters, abs=1e-12)
        assert flow.total[-1] == schedule.total_infinity


@pytest.mark.parametrize("flow", [mf.gradient_flow, mf.direct_flow])
def test_at_time_zero_nothing_is_evaluated(flow):
    """The start needs no right-hand side, step or matrix; afterwards each is counted from 0 on."""
    for start in (mf.Factors(*THETA), mf.Powers(*np.abs(THETA), 3)):
        here = flow(problem_of(), start, JUMPS, [0.0])
        assert (here.steps, here.right_hand_sides, here.factorizations) == (0, 0, 0)
        assert here.x == pytest.approx(start.x[None], rel=1e-15)
