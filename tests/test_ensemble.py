"""Many flows at once: against single ones and references, in any batch, up to their limits."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from scipy.integrate import solve_ivp

import mirrorflow as mf
from mirrorflow.flows import direct, dual_ensemble, ensemble
from mirrorflow.flows.arrival import Tails, find_limits, finish_error, rest_error
from mirrorflow.flows.clock import Clock
from mirrorflow.flows.dual import Dual, Masses
from mirrorflow.flows.dual_ensemble import integrate_runs
from mirrorflow.flows.stepping import Explicit, Implicit
from mirrorflow.flows.trajectory import check_runs

SCHEDULES = [
    mf.Constant(0.0),
    mf.Constant(1.0, stop=2.0),
    mf.Constant(0.05),
    mf.Geometric(0.5, 0.7),
    mf.Harmonic(0.5, 2.0),
    mf.Quadratic(1.0, 1.0),
    mf.Piecewise([0.0, 0.7, 1.4, 3.0], [0.5, 0.0, 1.0, 0.0]),
]


def starts(count: int, d: int, seed: int = 0) -> list[mf.Factors]:
    rng = np.random.default_rng(seed)
    return [mf.Factors.pilot(rng.normal(0.0, d**-0.25, d)) for _ in range(count)]


def distance(flow: mf.Flow, other: mf.Flow) -> float:
    assert np.array_equal(flow.times, other.times)
    return max(np.abs(flow.m - other.m).max(), np.abs(flow.w - other.w).max())


def test_reference_paths(case):
    """m and w to 1e-9 at rtol 1e-10, and the 60-digit limit, beside other runs."""
    times = [*case.raw["times"], np.inf]
    runs = [mf.Factors.pilot(case.factors.x), case.factors, case.factors]
    flow = mf.gradient_flows(case.problem, runs, case.schedule, times, 1e-10)[1]
    assert flow.success
    assert np.abs(flow.m[:-1] - case.raw["m"]).max() < 1e-9
    assert np.abs(flow.w[:-1] - case.raw["w"]).max() < 1e-9
    if case.raw["limit"] is not None:
        assert np.abs(flow.x[-1] - case.raw["limit"]).max() < 1e-10


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_single_flows(seed):
    """Every schedule in one batch; balanced, zero, arbitrary coordinates; inconsistent Zx = y."""
    rng = np.random.default_rng(seed)
    n, d = [(2, 5), (4, 9), (5, 12)][seed % 3]
    Z = rng.standard_normal((n, d))
    if seed % 2:
        Z[-1] = Z[0]
    m, w = rng.standard_normal((2, d))
    m[0], w[1], m[2], w[2], m[3] = 0.0, 0.0, 0.0, 0.0, -w[3]
    if seed == 4:
        w = np.abs(m)  # balanced throughout: no interpolator with these signs
    problem, factors = mf.Regression(Z, rng.standard_normal(n)), mf.Factors(m, w)
    times = [0.0, 0.1, 0.7, 1.4, 3.0, 20.0, 1e3, np.inf]
    flows = mf.gradient_flows(problem, [factors] * len(SCHEDULES), SCHEDULES, times, 1e-9)
    for schedule, flow in zip(SCHEDULES, flows, strict=True):
        alone = mf.gradient_flow(problem, factors, schedule, times, 1e-11)
        assert (flow.status, flow.message) == (alone.status, alone.message)
        assert distance(flow, alone) < 3e-8
        assert np.array_equal(flow.total, alone.total)


def same(flow: mf.Flow, other: mf.Flow) -> bool:
    names = ("times", "m", "w", "loss", "total")
    return all(np.array_equal(getattr(flow, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("flows", [mf.gradient_flows, mf.direct_flows])
@pytest.mark.parametrize("problem", [(40, 100), (7, 23)], ids=str)
def test_a_run_is_the_same_to_the_bit_in_any_company(flows, problem, monkeypatch):
    """Alone, in another order, in part, or three at a time; d = 23 is no multiple of anything."""
    n, d = problem
    problem = mf.gaussian_recovery(n, d, 2, 0)
    runs = starts(21, d)
    schedules = [SCHEDULES[i % len(SCHEDULES)] for i in range(21)]
    times = [np.array([0.0, 0.5, 2.0, 7.0, 30.0, 60.0])[: 3 + i % 4] for i in range(21)]
    if flows is mf.gradient_flows:
        times = [np.append(one, np.inf) for one in times]

    def of(chosen: list[int]) -> list[mf.Flow]:
        parts = [[whole[i] for i in chosen] for whole in (runs, schedules, times)]
        return flows(problem, *parts)

    together = of(list(range(21)))
    order = np.random.default_rng(1).permutation(21).tolist()
    for chosen in (order, order[:9], order[9:], [3], [20]):
        for i, flow in zip(chosen, of(chosen), strict=True):
            assert same(flow, together[i])
            assert flow.steps == together[i].steps
            assert flow.right_hand_sides == together[i].right_hand_sides
    monkeypatch.setattr(ensemble, "WIDEST", 3)
    assert all(same(a, b) for a, b in zip(of(list(range(21))), together, strict=True))


def test_every_run_has_times_of_its_own(recovery):
    """As if each had been asked for alone, whether or not it shares schedule, start or end."""
    problem, _ = recovery
    runs = starts(8, problem.d)
    schedules = [SCHEDULES[i % 4] for i in range(8)]
    times = [
        np.array([0.0, 0.3, 40.0]),
        np.array([1e4, np.inf]),
        np.array([np.inf]),
        np.geomspace(1e-2, 1e6, 9),
        np.array([0.0]),
        np.array([0.0, 0.3, 40.0]),  # the first one's, under another schedule
        np.array([2.0, np.inf]),
        np.array([0.0, 0.3, 41.0]),
    ]
    flows = mf.gradient_flows(problem, runs, schedules, times)
    for flow, factors, schedule, asked in zip(flows, runs, schedules, times, strict=True):
        alone = mf.gradient_flow(problem, factors, schedule, asked, 1e-10)
        assert np.array_equal(flow.times, asked)
        assert flow.status == alone.status
        assert distance(flow, alone) < 3e-7  # 30 rtol


@pytest.mark.parametrize("long", [0, 40, 110])
def test_long_runs_go_on_alone(recovery, monkeypatch, long):
    """From wherever they stand, before, between and behind their outputs and breakpoints."""
    problem, _ = recovery
    runs, schedules = starts(7, problem.d), SCHEDULES
    # so dense at first that after their first step they stand on an output
    times = np.array([*np.arange(0.0, 1e-3, 1e-5), 0.5, 1.4, 7.0, 60.0, np.inf])
    expected = mf.gradient_flows(problem, runs, schedules, times, 1e-9)
    seen = []
    original = dual_ensemble.continue_alone
    monkeypatch.setattr(dual_ensemble, "LONG", long)
    monkeypatch.setattr(
        dual_ensemble, "continue_alone", lambda *args: seen.append(args[3]) or original(*args)
    )
    flows = mf.gradient_flows(problem, runs, schedules, times, 1e-9)
    assert len(seen) == 7
    for flow, other in zip(flows, expected, strict=True):
        assert flow.status == other.status
        assert distance(flow, other) < 1e-7
        assert flow.right_hand_sides > 500  # both parts are counted


def test_stiff_runs_with_large_hessians_go_on_alone(recovery, monkeypatch):
    problem, _ = recovery
    runs, times = starts(4, problem.d), np.array([0.0, 1.0, 1e3])
    expected = mf.gradient_flows(problem, runs, mf.Harmonic(0.5, 2.0), times, 1e-10)
    monkeypatch.setattr(dual_ensemble, "HEAVY", 0.0)
    monkeypatch.setattr(Implicit, "step", None)  # must not be taken
    flows = mf.gradient_flows(problem, runs, mf.Harmonic(0.5, 2.0), times, 1e-10)
    assert max(distance(a, b) for a, b in zip(flows, expected, strict=True)) < 3e-8


@pytest.mark.parametrize("schedule", [mf.Constant(0.0), mf.Quadratic(0.3, 1.0)])
def test_error_follows_rtol(recovery, schedule):
    """No output is off by more than 5 rtol, before and after the run is finished."""
    problem, factors = recovery
    times = np.linspace(0.0, 60.0, 31)
    best = mf.gradient_flow(problem, factors, schedule, times, 1e-12)
    errors = []
    for rtol in (1e-5, 1e-7, 1e-9):
        flow = mf.gradient_flows(problem, [factors], schedule, times, rtol)[0]
        errors.append(distance(flow, best))
        assert errors[-1] < 5 * rtol
    assert errors[0] > 100 * errors[2]


def test_finished_runs_are_within_rtol_of_the_path(recovery):
    """Output times crowd around the moment at which the run is finished."""
    problem, factors = recovery
    times = np.linspace(8.0, 60.0, 200)
    best = mf.gradient_flow(problem, factors, mf.Constant(0.0), times, 1e-12)
    for rtol in (1e-4, 1e-6, 1e-8):
        flow = mf.gradient_flows(problem, [factors], mf.Constant(0.0), times, rtol)[0]
        assert distance(flow, best) < 3 * rtol


def scalar(start: float) -> tuple[Dual, Masses, np.ndarray]:
    """One balanced coordinate, x = p = e^E → 1, from E = start: E' = −λ(e^E − 1)."""
    problem = mf.Regression([[2.0, 0.0]], [2.0])
    dual = Dual(problem)
    masses = Masses(np.array([[0.0, -np.inf]]), np.full((1, 2), -np.inf))
    # E = Vᵀ(σ η) with V = ±(1, 0)
    eta = np.array([[start]]) / dual.bend(np.ones((1, 1)))[0, 0]
    return dual, masses, eta


@pytest.mark.parametrize("u", [1e-3, 0.1, 1.0, 5.0])
def test_bound_of_the_distance_is_attained(u):
    """From below, one coordinate follows log(1 + (e^u − 1)e^{−λt}) exactly."""
    dual, masses, eta = scalar(-u)
    rate = dual.linearised(np.zeros((1, 1)), masses)[1][0, 0, 0]
    assert dual.reach * abs(eta[0, 0]) == pytest.approx(u, rel=1e-12)
    for t in np.array([8.0, 15.0, 25.0]) / rate:
        run = solve_ivp(
            lambda _, y: dual.derivative(y[None], masses)[0],
            (0.0, t),
            eta[0],
            method="DOP853",
            rtol=1e-13,
            atol=1e-18,
        )
        left = abs(dual.bend(run.y[:, -1:].T)).max()
        bound = finish_error(np.array([u]), np.array([rate * t]))[0]
        linear = u * np.exp(-rate * t)  # what `states` adds to the limit
        assert bound == pytest.approx(min(2 * left, 0.25 * u**2 * np.exp(1.5 * u)), rel=1e-6)
        assert abs(left - linear) <= bound


@pytest.mark.parametrize("u", [1e-3, 1e-2, 0.1])
def test_bound_of_linear_decay_is_sharp(u):
    """The worst error over time is half the bound for one coordinate, never above it."""
    dual, masses, eta = scalar(-u)
    tails = Tails.at(dual, np.zeros((1, 1)), masses)
    times = np.linspace(0.0, 4.0, 81) / tails.rates[0, 0]
    run = solve_ivp(
        lambda _, y: dual.derivative(y[None], masses)[0],
        (0.0, times[-1]),
        eta[0],
        method="DOP853",
        t_eval=times,
        rtol=1e-13,
        atol=1e-16,
    )
    error = np.abs(dual.bend(run.y.T - tails.states(0, eta[0], times))).max()
    bound = finish_error(np.array([u]), np.zeros(1))[0]
    assert 0.3 * bound < error < bound


@pytest.mark.parametrize("u", [0.03, 0.3, 1.5])
def test_bounds_hold_in_many_dimensions(recovery, u):
    """Random displacements from a limit: neither bound is ever crossed."""
    problem, factors = recovery
    dual, rng = Dual(problem), np.random.default_rng(4)
    masses = Masses.of([factors], problem.d).after(np.array([0.3]))
    limit, found, _ = find_limits(dual, np.zeros((1, dual.r)), masses, 1e-8)
    assert found.all()
    tails = Tails.at(dual, limit, masses)
    assert tails.doubt[0] < 1e-12
    nearby = Tails.at(dual, limit + 1e-6 * rng.standard_normal(limit.shape), masses)
    assert np.abs(dual.bend(nearby.limit - tails.limit)).max() < 1e-10
    exact = mf.interpolator(problem, factors, 0.3)
    p, q = dual.parts(tails.limit, masses)
    assert np.abs(p - q - exact.x).max() < 1e-12
    times = np.array([0.0, 0.3, 2.0, 10.0, 40.0])
    for _ in range(3):
        away = rng.standard_normal(dual.r)
        eta = tails.limit[0] + away * u / (dual.reach * np.linalg.norm(away))
        run = solve_ivp(
            lambda _, y: dual.derivative(y[None], masses)[0],
            (0.0, times[-1]),
            eta,
            method="LSODA",
            t_eval=times,
            rtol=1e-11,
            atol=1e-11,
        )
        error = np.abs(dual.bend(run.y.T - tails.states(0, eta, times))).max(1)
        fading = tails.slowest[0] * times
        assert (error <= finish_error(np.full(5, u), fading) + 1e-8).all()
        left = np.abs(dual.bend(run.y.T - tails.limit)).max(1)
        assert (left <= np.log1p(np.expm1(u) * np.exp(-fading)) + 1e-8).all()


def test_bound_of_the_rest_of_a_penalty(small):
    """A geometric schedule taken as over while 4(A_∞ − A) = 1e-3: below the bound, not far."""
    problem, factors = small
    schedule, dual = mf.Geometric(0.01, 0.98), Dual(problem)
    early = np.log(4e3 * schedule.total_infinity) / -np.log(0.98)
    assert 4 * schedule.remaining(early) == pytest.approx(1e-3)
    before = Masses.of([factors], problem.d)
    after = before.after(np.array([schedule.total_infinity]))
    limit, found, _ = find_limits(dual, np.zeros((1, dual.r)), after, 1e-10)
    assert found.all()

    def slope(t, y):
        return dual.derivative(y[None], before.after(np.array([schedule.total(early + t)])))[0]

    times = np.linspace(0.0, 100.0, 41)
    run = solve_ivp(slope, (0.0, 100.0), limit[0], "LSODA", times, rtol=1e-11, atol=1e-12)
    rest = 4 * (schedule.total_infinity - schedule.total(early + times))
    error = np.abs(dual.bend(run.y.T - limit)).max(1) + rest
    p, q = dual.parts(limit, after)
    bound = rest_error(np.full(1, 1e-3), (p + q).sum(1), dual.reach, np.array([100.0]))[0]
    assert 1e-3 <= error.max() <= bound
    assert bound < 50 * error.max()


def test_a_doubtful_limit_finishes_nothing(recovery, monkeypatch):
    """Without trust in the limit, runs are integrated to the end, and agree."""
    problem, factors = recovery
    quick = mf.gradient_flows(problem, [factors], mf.Constant(0.0), [20.0, 60.0])[0]

    def doubtful(dual, limit, masses):
        tails = Tails.at(dual, limit, masses)
        tails.doubt[:] = 2e-8  # twice rtol
        return tails

    class Doubtful(Tails):
        at = staticmethod(doubtful)

    monkeypatch.setattr(dual_ensemble, "Tails", Doubtful)
    slow = mf.gradient_flows(problem, [factors], mf.Constant(0.0), [20.0, 60.0])[0]
    assert slow.steps >= quick.steps + 5
    assert distance(slow, quick) < 1e-7


def test_a_far_end_is_reached_at_once(recovery):
    """A = 2 until t = 2, t = 1e6: the proof of arrival replaces the integration."""
    problem, _ = recovery
    runs = starts(8, problem.d)
    for run, flow in zip(
        runs, mf.gradient_flows(problem, runs, mf.Constant(1.0, 2.0), [1e6]), strict=True
    ):
        assert flow.right_hand_sides < 400
        assert flow.factorizations < 40
        assert np.abs(flow.x[0] - mf.interpolator(problem, run, 2.0).x).max() < 1e-11


@pytest.mark.parametrize("flows", [mf.gradient_flows, mf.direct_flows])
def test_outputs_close_together_cost_a_step_each(recovery, flows):
    """A step cut short for an output leaves the size that was in use to the next one."""
    problem, factors = recovery
    times = np.linspace(0.1, 4.0, 14)
    plain = flows(problem, [factors], mf.Constant(0.0), times)[0]
    pairs = np.sort(np.concatenate([times, times + 1e-7]))
    double = flows(problem, [factors], mf.Constant(0.0), pairs)[0]
    assert double.steps <= plain.steps + 20


def test_a_single_output_on_the_way_is_not_the_limit(recovery):
    """After most of the stiff phase, some 1e-6 before the limit: integrated, not jumped to."""
    problem, factors = recovery
    end = mf.interpolator(problem, factors, 2.0).x
    for t in (5e3, 7e3):
        flow = mf.gradient_flows(problem, [factors], mf.Constant(1.0, 2.0), [t])[0]
        alone = mf.gradient_flow(problem, factors, mf.Constant(1.0, 2.0), [t], 1e-11)
        assert np.abs(alone.x[0] - end).max() > 1e-7
        assert distance(flow, alone) < 1e-8


def test_stiff_path_is_cheap_and_right(recovery):
    """The way to the limit in between: five decades, implicit where it pays."""
    problem, factors = recovery
    times = np.logspace(-2, 6, 30)
    flow = mf.gradient_flows(problem, [factors] * 2, mf.Constant(1.0, 2.0), times)[0]
    alone = mf.gradient_flow(problem, factors, mf.Constant(1.0, 2.0), times, 1e-11)
    assert distance(flow, alone) < 5e-8
    assert flow.right_hand_sides < 6000  # explicit: 40,000 to t = 1e4
    assert flow.factorizations < 300


def test_memory_does_not_grow_with_the_number_of_runs(recovery, monkeypatch):
    problem, _ = recovery
    monkeypatch.setattr(ensemble, "WIDEST", 16)
    dual, times = Dual(problem), np.linspace(0.0, 50.0, 11)

    def peak(count: int) -> int:
        masses = Masses.of(starts(count, problem.d), problem.d)
        schedules = [mf.Constant(0.0)] * count
        tracemalloc.start()
        for _ in integrate_runs(dual, masses, schedules, [times] * count, 1e-6):
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(16)  # makes what is made once
    assert peak(256) < 2 * peak(32)  # states kept: 4 times


def test_failure_keeps_what_was_reached_and_spares_the_others(recovery, monkeypatch):
    problem, factors = recovery
    monkeypatch.setattr(ensemble, "MOST_CALLS", 500)
    schedules = [mf.Harmonic(0.3, 2.0), mf.Constant(0.0)]
    failed, done = mf.gradient_flows(problem, [factors] * 2, schedules, [0.1, 20.0, np.inf], 1e-7)
    assert failed.status == "failed"
    assert failed.times.tolist() == [0.1]
    assert failed.message.startswith("more than 500 right-hand sides were needed to pass t = ")
    assert failed.message.endswith("use a larger rtol or an earlier end.")
    assert done.success
    assert done.times.size == 3


@pytest.mark.parametrize("flows", [mf.gradient_flows, mf.direct_flows])
@pytest.mark.parametrize(("scale", "size"), [(1.0, 1e160), (1e10, 1e145)])
def test_a_run_that_overflows_spares_the_others(small, flows, scale, size):
    """At once, without a warning: its right-hand side, or only its Hessian, is not finite."""
    problem, factors = small
    problem = mf.Regression(problem.Z * scale, problem.y)
    huge = mf.Factors(factors.m * size, factors.w * size)
    alone = flows(problem, [factors], mf.Constant(0.1), [0.0, 1e-20])[0]
    lost, kept = flows(problem, [huge, factors], mf.Constant(0.1), [0.0, 1e-20])
    assert same(kept, alone)
    assert lost.status == "failed"
    assert lost.times.tolist() == [0.0]


class Own:
    """A user's schedule: one number for all times, and no hash."""

    total_infinity, alpha_infinity, breakpoints = np.inf, 0.1, [2.0, 1.0, -1.0, 1.0]
    __hash__ = None

    def alpha(self, t):
        return 0.1

    def total(self, t):
        return 0.1 * np.asarray(t)

    def slope(self, t):
        return 0.0

    def remaining(self, t):
        return np.inf


@pytest.mark.parametrize("flows", [mf.gradient_flows, mf.direct_flows])
def test_schedules_of_the_users_own(small, flows):
    problem, factors = small
    own = flows(problem, [factors] * 2, [Own(), Own()], [0.5, 3.0])
    plain = flows(problem, [factors], mf.Constant(0.1), [0.5, 3.0])[0]
    assert max(distance(flow, plain) for flow in own) < 1e-7

    class Single(Own):
        def alpha(self, t):
            return 0.1 if t < 1 else 0.0

    message = "schedule.alpha must take an array of times, but that of .* does not"
    with pytest.raises(mf.InputError, match=message):
        flows(problem, [factors], Single(), [0.5, 3.0])


def test_sparse_matrix():
    dense = mf.gaussian_recovery(8, 20, 2, 3)
    sparse = mf.Regression(scipy.sparse.csr_array(dense.Z), dense.y)
    runs = starts(3, 20)
    for a, b in zip(
        mf.gradient_flows(dense, runs, mf.Constant(0.2, 1.0), [0.5, 5.0]),
        mf.gradient_flows(sparse, runs, mf.Constant(0.2, 1.0), [0.5, 5.0]),
        strict=True,
    ):
        assert distance(a, b) < 1e-10


def test_no_runs_and_no_data(small):
    assert mf.gradient_flows(small[0], [], mf.Constant(1.0), [1.0]) == []
    nothing = mf.Regression(np.zeros((2, 4)), np.zeros(2))
    factors = mf.Factors([1.0, -2.0, 0.5, 0.0], [0.3, 1.0, 0.5, 2.0])
    flow = mf.gradient_flows(nothing, [factors], mf.Constant(0.5), [0.0, 1.0, 2.0])[0]
    expected = np.exp(-4 * 0.5 * flow.times)[:, None] * factors.x
    assert np.abs(flow.x - expected).max() < 1e-12
    only = mf.gradient_flows(*[small[0], [small[1]], mf.Constant(0.3, 1.0)], [np.inf])[0]
    assert np.abs(only.x[0] - mf.interpolator(*small, 0.3).x).max() < 1e-14


@pytest.mark.parametrize("which", ["dual", "direct"])
@pytest.mark.parametrize(("method", "order"), [(Explicit(), 8), (Implicit(), 5)])
def test_order_of_a_step(small, which, method, order):
    """The error at the end falls with that power, under a penalty that changes with time."""
    problem, factors = small
    schedule, end = mf.Harmonic(0.5, 2.0), 0.3
    if which == "dual":
        masses = Masses.of([factors], problem.d)
        system = dual_ensemble._DualEnsemble(
            Dual(problem), masses, [schedule], [np.array([end])], 1e-8
        )
    else:
        asked = check_runs(problem, [factors], schedule, [end], 1e-8)
        system = direct._Referee(problem, asked)
    first = np.zeros(1, dtype=np.intp)

    def run(steps: int) -> np.ndarray:
        runs = system.begin(first, first, first)
        system.set_out(runs, first)
        h = np.array([end / steps])
        for i in range(steps):
            runs.state, runs.slope, _, _ = method.step(system, runs, h)
            runs.t = (i + 1) * h
        return runs.state

    counts = np.array([4, 6, 8, 12]) if order == 8 else np.array([8, 12, 16])
    best = mf.gradient_flow(problem, factors, schedule, [end], 1e-13)
    fine = run(16 * counts[-1])
    if which == "dual":
        p, q = system.dual.parts(fine, masses.after(np.array([schedule.total(end)])))
        assert np.abs(p - q - best.x).max() < 1e-10
    else:
        assert np.abs(fine - np.hstack([best.m, best.w])).max() < 1e-10
    errors = [np.abs(run(int(n)) - fine).max() for n in counts]
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert order - 0.5 < slope < order + 0.5


@pytest.mark.parametrize("problem", ["small", "recovery"])
def test_the_fastest_rate_is_seen(problem, request):
    """DOP853's two last points give h times the largest eigenvalue, within a factor of 1.5."""
    problem, factors = request.getfixturevalue(problem)
    asked = check_runs(problem, [factors], mf.Constant(0.1), [1e4], 1e-6)
    referee = direct._Referee(problem, asked)
    flow = mf.direct_flow(problem, factors, mf.Constant(0.1), [30.0])
    first = np.zeros(1, dtype=np.intp)
    runs = referee.begin(first, first, first)
    runs.state = np.hstack([flow.m, flow.w])
    referee.set_out(runs, first)
    energy = np.sum(flow.m**2 + flow.w**2, axis=0)
    rate = np.linalg.eigvalsh((problem.Z * energy) @ problem.Z.T).max() / problem.n
    # long enough for the fastest mode to outgrow the others
    _, _, _, reach = Explicit().step(referee, runs, np.array([6.0 / rate]))
    assert 4.0 < reach[0] < 9.0


def test_many_referees_are_the_single_one(small):
    """Each with a schedule and times of its own, through breakpoints, within 30 rtol of fine."""
    problem, factors = small
    runs = [factors, *starts(6, problem.d)]
    times = [np.array([0.0, 0.7, 1.4, 5.0 + i]) for i in range(7)]
    for flow, start, schedule, asked in zip(
        mf.direct_flows(problem, runs, SCHEDULES, times), runs, SCHEDULES, times, strict=True
    ):
        fine = mf.direct_flow(problem, start, schedule, asked, 1e-12)
        assert np.array_equal(flow.times, asked)
        assert distance(flow, fine) < 3e-7
        assert np.array_equal(flow.total, schedule.total(asked))
    assert mf.direct_flows(problem, [], mf.Constant(0.0), [1.0]) == []
    with pytest.raises(mf.InputError, match="times must be finite for direct_flow"):
        mf.direct_flows(problem, runs, SCHEDULES, [*times[:-1], [1.0, np.inf]])


def test_clock_asks_each_schedule_once():
    calls = []

    class Counting(mf.Constant):
        def total(self, t):
            calls.append(np.shape(t))
            return super().total(t)

    schedules = [Counting(0.5), mf.Harmonic(0.5, 2.0), Counting(0.5)]
    clock = Clock(schedules)
    assert len(clock.schedules) == 2
    times = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    totals = clock.totals(clock.plan, times)
    assert calls == [(4,)]
    assert totals == pytest.approx(
        np.array([s.total(row) for s, row in zip(schedules, times, strict=True)])
    )


def test_one_bad_run_is_named(small):
    problem, factors = small
    with pytest.raises(mf.InputError, match=r"factors must have d = 15 .* they have 1"):
        mf.gradient_flows(problem, [factors, mf.Factors([1.0], [1.0])], mf.Constant(1.0), [1.0])
    with pytest.raises(mf.InputError, match=r"schedule must be a Schedule, but it is 3"):
        mf.gradient_flows(problem, [factors], [3], [1.0])
    with pytest.raises(mf.InputError, match="rtol must be a finite number"):
        mf.gradient_flows(problem, [factors], mf.Constant(1.0), [1.0], 1.0)
    with pytest.raises(mf.InputError, match=r"times must be one array or as many .* \(2\)"):
        mf.gradient_flows(problem, [factors] * 2, mf.Constant(1.0), [[1.0], [2.0], [3.0]])
    for ragged in ([[1.0], 2.0], [1.0, [2.0]], [[1.0], [2.0, 1.0]], [], [[], [1.0]]):
        with pytest.raises(mf.InputError, match="times must"):
            mf.gradient_flows(problem, [factors] * 2, mf.Constant(1.0), ragged)
