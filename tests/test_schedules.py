"""Schedules: α(t) as printed, A(t) against quadrature, constructors from a total, edges."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from mirrorflow import Factors, Regression, descend, direct_flow, gradient_flow, gradient_flows
from mirrorflow.checks import InputError
from mirrorflow.schedules import Constant, Geometric, Harmonic, Piecewise, Quadratic, Schedule

identity = settings(deadline=None, max_examples=50, derandomize=True)

strengths = st.floats(1e-3, 1e3)
spans = st.floats(1e-2, 1e2)
decays = st.floats(0.05, 0.99)
times = st.one_of(st.just(0.0), st.floats(1e-3, 50.0))


@st.composite
def piecewise(draw: st.DrawFn) -> Piecewise:
    gaps = draw(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=4))
    alphas = draw(st.lists(st.floats(0.0, 10.0), min_size=len(gaps), max_size=len(gaps)))
    return Piecewise(np.cumsum([0.0, *gaps]), [*alphas, 0.0])


# by hand, because hypothesis draws the simpler branches of one_of far more often
FINITE = [
    st.builds(Constant, strengths, spans),
    st.builds(Quadratic, strengths, spans),
    st.builds(Geometric, strengths, decays),
    piecewise(),
]
ENDLESS = [st.builds(Constant, strengths), st.builds(Harmonic, strengths, spans)]
finite = st.sampled_from(FINITE).flatmap(lambda kind: kind)
endless = st.sampled_from(ENDLESS).flatmap(lambda kind: kind)
every = st.sampled_from(FINITE + ENDLESS).flatmap(lambda kind: kind)

SAMPLES = [
    Constant(0.3),
    Constant(0.3, 2.0),
    Harmonic(0.7, 2.5),
    Quadratic(0.7, 2.5),
    Geometric(0.7, 0.9),
    Piecewise([0.0, 1.0, 3.0], [0.2, 0.5, 0.0]),
    Piecewise([0.0, 1.0], [0.2, 0.5]),
]


def kind(schedule: Schedule) -> str:
    """The name of a case; not its `repr`, which is code under test."""
    return type(schedule).__name__


def by_hand(schedule: Schedule) -> Callable[[float], float]:
    """α(t) from the formulas of the class docstrings, in plain floats."""
    match schedule:
        case Constant(strength=alpha, stop=stop):
            return lambda t: alpha if stop is None or t < stop else 0.0
        case Harmonic(strength=alpha, timescale=tau):
            return lambda t: alpha / (1 + t / tau)
        case Quadratic(strength=alpha, timescale=tau):
            return lambda t: alpha / (1 + t / tau) ** 2
        case Geometric(strength=alpha, decay=decay):
            return lambda t: alpha * decay**t
        case Piecewise(times=knots, alphas=alphas):
            pairs = list(zip(knots, alphas, strict=True))
            return lambda t: [value for knot, value in pairs if knot <= t][-1]
    raise AssertionError(schedule)


def area(schedule: Schedule, low: float, high: float) -> float:
    """∫ α from `low` to `high` by adaptive quadrature, between jumps and on the scale of decay."""
    f = by_hand(schedule)
    if isinstance(schedule, Constant | Piecewise):
        marks = set(schedule.breakpoints)
    else:
        fast = isinstance(schedule, Geometric)
        unit = -1 / math.log(schedule.decay) if fast else low + schedule.timescale
        if math.isinf(high) and not fast:
            return unit * quad(lambda s: f(low + unit * s), 0.0, high, epsabs=0.0, epsrel=1e-11)[0]
        marks = {low + factor * unit for factor in (1, 10, 100, 1000, 10_000)}
        high = min(high, low + 40 * unit) if fast else high  # e⁻⁴⁰ is left
    cuts = sorted({low, high} | {t for t in marks if low < t < high})
    return sum(
        quad(f, a, b, epsabs=0.0, epsrel=1e-11, limit=200)[0] if f(a) > 0 else 0.0
        for a, b in itertools.pairwise(cuts)
    )


def near(value: float, rel: float = 1e-14):
    """Relative only: pytest's own absolute 1e-12 would hide what is small."""
    return pytest.approx(value, rel=rel, abs=0.0)


QUAD = 1e-9  # quad is asked for 1e-11 on each stretch; a wrong constant is off by 1


@identity
@given(schedule=every, t=times)
def test_alpha_is_the_formula(schedule, t):
    # decay**t against exp(t log decay): the exponent's rounding, |t log decay| ≤ 150
    assert schedule.alpha(t) == near(by_hand(schedule)(t), rel=1e-13)


@identity
@given(schedule=every, t=times)
def test_total_is_the_integral_of_alpha(schedule, t):
    assert schedule.total(t) == near(area(schedule, 0.0, t), QUAD)


@pytest.mark.parametrize("schedule", SAMPLES, ids=kind)
def test_alpha_total_and_remaining_between_and_after_the_jumps(schedule):
    for t in (0.0, 0.4, 1.0, 1.7, 2.0, 2.9, 3.0, 7.5, 40.0):
        assert schedule.alpha(t) == near(by_hand(schedule)(t))
        assert schedule.total(t) == near(area(schedule, 0.0, t), QUAD)
        if math.isfinite(schedule.total_infinity):
            assert schedule.remaining(t) == near(area(schedule, t, math.inf), QUAD)


@identity
@given(schedule=finite)
def test_total_infinity_is_the_whole_integral(schedule):
    assert schedule.total_infinity == near(area(schedule, 0.0, math.inf), QUAD)
    assert schedule.total(math.inf) == near(schedule.total_infinity, rel=1e-14)
    assert schedule.alpha_infinity == 0.0
    assert schedule.alpha(math.inf) == 0.0


@identity
@given(schedule=finite, t=times)
def test_remaining_is_the_integral_from_t_on(schedule, t):
    """Relative to itself, not to A_∞: late in a geometric schedule little is left."""
    assert schedule.remaining(t) == near(area(schedule, t, math.inf), QUAD)


@identity
@given(schedule=endless, t=times)
def test_endless_schedules_reach_every_total(schedule, t):
    assert schedule.total_infinity == schedule.total(math.inf) == math.inf
    assert schedule.remaining(t) == math.inf


def test_limits_of_alpha():
    assert [s.alpha_infinity for s in SAMPLES] == [0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5]


@identity
@given(schedule=every, t=st.floats(0.01, 20.0))
def test_slope_is_the_derivative_of_alpha(schedule, t):
    h = 1e-3 * min(1.0, getattr(schedule, "timescale", 1.0)) * min(t, 1.0)
    if any(abs(t - jump) <= 2 * h for jump in schedule.breakpoints):
        return
    f = by_hand(schedule)
    # fourth order in h/τ ≤ 1e-3; the rest is rounding of f divided by h
    stencil = (8 * (f(t + h) - f(t - h)) - (f(t + 2 * h) - f(t - 2 * h))) / (12 * h)
    assert schedule.slope(t) == pytest.approx(stencil, rel=1e-7, abs=1e-14 * f(t) / h)


@pytest.mark.parametrize("schedule", SAMPLES, ids=kind)
def test_slope_of_each(schedule):
    """By differences that are not small against the slope itself."""
    for t in (0.4, 2.5, 6.0):
        grown = schedule.alpha(t + 1e-4) - schedule.alpha(t - 1e-4)
        assert schedule.slope(t) == pytest.approx(grown / 2e-4, rel=1e-6, abs=1e-11)


@identity
@given(total=st.just(0.0) | st.floats(1e-100, 1e3), span=spans, by=spans, decay=decays)
def test_constructors_from_a_total(total, span, by, decay):
    made = [
        Constant.from_total(total, span),
        Quadratic.from_total(total, span),
        Geometric.from_total(total, decay),
        Piecewise.from_total(total, [0.0, span, span + by, 2 * span + by], [1.0, 0.0, 3.0, 0.0]),
    ]
    for schedule in made:
        assert schedule.total_infinity == near(total, rel=1e-14)
    harmonic = Harmonic.from_total(total, span, by)
    assert harmonic.total(by) == near(total, rel=1e-14)
    assert (made[0].stop, made[1].timescale, made[2].decay) == (span, span, decay)
    assert harmonic.timescale == span
    even = Piecewise.from_total(total, [0.0, span, span + by], [1.0, 1.0, 0.0])
    assert even.alphas[0] == even.alphas[1] == near(total / (span + by), rel=1e-13)
    first, second, third, last = made[3].alphas
    assert (second, last) == (0.0, 0.0)
    assert third == near(3 * first)


@identity
@given(schedule=every, ts=st.lists(times, min_size=1, max_size=6))
def test_arrays_and_numbers_agree(schedule, ts):
    array = np.array(sorted(ts))
    assert np.array_equal(schedule.alpha(array), [schedule.alpha(t) for t in array])
    assert np.array_equal(schedule.total(array), [schedule.total(t) for t in array])
    assert schedule.alpha(array).dtype == schedule.total(array).dtype == np.float64
    # monotone up to the last digit of the largest
    assert (np.diff(schedule.total(array)) >= -1e-15 * schedule.total(array[-1])).all()
    assert np.ndim(schedule.alpha(ts[0])) == np.ndim(schedule.total(ts[0])) == 0


@pytest.mark.parametrize("schedule", SAMPLES, ids=kind)
def test_members_of_every_schedule(schedule):
    assert isinstance(schedule, Schedule)
    assert schedule.total(0.0) == 0.0
    assert schedule.total(0) == 0.0
    assert schedule.alpha(2) == schedule.alpha(2.0)
    assert schedule.total(np.array([1, 4]))[1] == schedule.total(4.0)
    assert isinstance(schedule.total_infinity, float)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, dataclasses.fields(schedule)[0].name, 1.0)


@pytest.mark.parametrize("schedule", SAMPLES, ids=kind)
def test_alpha_is_right_continuous_and_jumps_only_at_breakpoints(schedule):
    for jump in schedule.breakpoints:
        assert schedule.alpha(jump) == schedule.alpha(math.nextafter(jump, math.inf))
        assert schedule.alpha(jump) != schedule.alpha(math.nextafter(jump, 0.0))
    assert all(t > 0 for t in schedule.breakpoints)
    grid = np.linspace(0.0, 5.0, 1001) + 1e-4
    steps = np.abs(np.diff(schedule.alpha(grid)))
    assert np.count_nonzero(steps > 0.05) == len(schedule.breakpoints)


SILENT = [
    Constant(0.0),
    Constant(0.0, 3.0),
    Constant(2.0, 0.0),
    Harmonic(0.0, 1.0),
    Quadratic(0.0, 1.0),
    Geometric(0.0, 0.5),
    Piecewise([0.0], [0.0]),
    Piecewise([0.0, 1.0], [0.0, 0.0]),
]


@pytest.mark.parametrize("schedule", SILENT, ids=kind)
def test_no_penalty_is_no_penalty_at_any_time(schedule):
    """0·inf must be 0: without strength nothing is summed up, not even in infinite time."""
    t = np.array([0.0, 1.0, 1e100, np.inf])
    assert np.array_equal(schedule.alpha(t), np.zeros(4))
    assert np.array_equal(schedule.total(t), np.zeros(4))
    assert schedule.total_infinity == schedule.alpha_infinity == 0.0
    assert schedule.remaining(0.0) == schedule.remaining(7.0) == 0.0
    assert schedule.slope(1.0) == 0.0


def test_a_stop_at_zero_has_no_breakpoint():
    assert Constant(2.0, stop=0.0).breakpoints == ()
    assert Constant(2.0).breakpoints == ()
    assert Constant(2.0, stop=1.5).breakpoints == (1.5,)
    assert Piecewise([0.0, 1.0, 4.0], [1.0, 2.0, 0.0]).breakpoints == (1.0, 4.0)


def test_huge_alpha():
    assert Constant(1e300, 1e5).total_infinity == near(1e305)
    assert Quadratic(1e300, 1e5).total(1e5) == near(5e304)
    assert Harmonic(1e300, 1.0).total(math.e - 1.0) == near(1e300)
    assert Geometric(1e300, math.exp(-1.0)).total(1.0) == near(1e300 * (1 - math.exp(-1)))
    assert Piecewise([0, 1], [1e300, 0]).total(0.25) == near(2.5e299)


def test_tiny_totals_do_not_cancel():
    """A(t) ≈ αt for t ≪ τ: log1p and expm1, not log(1 + ·) and 1 − exp."""
    for schedule in (Harmonic(2.0, 1.0), Quadratic(2.0, 1.0), Geometric(2.0, 0.5)):
        assert schedule.total(1e-20) == near(2e-20, rel=1e-14)


def test_what_remains_is_not_a_difference_of_totals():
    """The protocol promises A_∞ − A(t) without cancellation; integrators wait for it to vanish."""
    assert Geometric(1.0, 0.5).remaining(100.0) == near(0.5**100 / math.log(2))
    assert Quadratic(1.0, 1.0).remaining(1e20) == near(1e-20)
    faint = Piecewise([0.0, 1.0, 2.0], [1.0, 1e-17, 0.0])
    assert faint.remaining(1.0) == near(1e-17)
    assert faint.remaining(1.5) == near(5e-18)


def test_nothing_remains_at_infinity():
    for schedule in SAMPLES:
        left = schedule.remaining(math.inf)
        assert left == (0.0 if math.isfinite(schedule.total_infinity) else math.inf)


@pytest.mark.parametrize("schedule", SAMPLES, ids=kind)
def test_very_late_times(schedule):
    """Nothing overflows on the way to 0."""
    for t in (1e60, 1e120, 1e200, 1e300):
        assert schedule.alpha(t) == near(by_hand_late(schedule, t))
        assert abs(schedule.slope(t)) < 1e-50
        assert schedule.total(t) <= schedule.total_infinity


def by_hand_late(schedule: Schedule, t: float) -> float:
    if isinstance(schedule, Harmonic):
        return schedule.strength * schedule.timescale / t
    if isinstance(schedule, Quadratic):
        return schedule.strength * (schedule.timescale / t) * (schedule.timescale / t)
    return schedule.alpha_infinity


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Constant(-1.0), r"alpha must be a finite number at least 0, but it is -1\.0"),
        (lambda: Constant(math.nan), r"alpha must be a finite number at least 0, but it is nan"),
        (lambda: Constant(math.inf), r"alpha must be a finite number at least 0, but it is inf"),
        (lambda: Constant(None), r"alpha must be a number, but it is None"),
        (lambda: Constant("much"), r"alpha must be a number, but it is 'much'"),
        (lambda: Constant(1.0, -2.0), r"stop must be a finite number at least 0, but it is -2\.0"),
        (lambda: Constant(1.0, math.inf), r"stop must be a finite number.* but it is inf"),
        (lambda: Constant.from_total(1.0, 0.0), r"stop must be .*above 0, but it is 0\.0"),
        (lambda: Constant.from_total(-1.0, 1.0), r"total must be .*at least 0, but it is -1\.0"),
        (lambda: Harmonic(1.0, 0.0), r"timescale must be .*above 0, but it is 0\.0"),
        (lambda: Harmonic(-1.0, 1.0), r"alpha must be .*at least 0, but it is -1\.0"),
        (lambda: Harmonic.from_total(1.0, 1.0, 0.0), r"by must be .*above 0, but it is 0\.0"),
        (lambda: Harmonic.from_total(1.0, -1.0, 1.0), r"timescale must be .*above 0.*-1\.0"),
        (lambda: Harmonic.from_total(math.inf, 1.0, 1.0), r"total must be a finite .* is inf"),
        (lambda: Quadratic(1.0, math.nan), r"timescale must be .*above 0, but it is nan"),
        (lambda: Quadratic.from_total(1.0, 0.0), r"timescale must be .*above 0, but it is 0\.0"),
        (lambda: Quadratic.from_total(-2.0, 1.0), r"total must be .*at least 0, but it is -2\.0"),
        (lambda: Harmonic.from_total(-1.0, 1.0, 1.0), r"total must be .*at least 0.*-1\.0"),
        (lambda: Geometric(-1.0, 0.5), r"alpha must be .*at least 0, but it is -1\.0"),
        (lambda: Geometric.from_total(-1.0, 0.5), r"total must be .*at least 0.*-1\.0"),
        (lambda: Piecewise([0, 1], [0, 1e300]), r"the integral of alphas must be finite"),
        (lambda: Piecewise([0, 1, 1e20], [0, 1e300, 0]), r"the integral of alphas must be finite"),
        (lambda: Piecewise.from_total(1.0, [0, 1, 2], [1, 0, 1]), r"weights must end with 0"),
        (lambda: Geometric(1.0, 0.0), r"decay must be .*above 0, but it is 0\.0"),
        (lambda: Geometric(1.0, 1.0), r"decay must be below 1, but it is 1\.0; use Constant"),
        (lambda: Geometric(1.0, 1.5), r"decay must be below 1, but it is 1\.5"),
        (lambda: Geometric.from_total(math.nan, 0.5), r"total must be .* but it is nan"),
        (lambda: Piecewise([], []), r"times must be a non-empty list of numbers, but it is \[\]"),
        (lambda: Piecewise([[0.0, 1.0]], [1.0]), r"times must be a non-empty list of numbers"),
        (lambda: Piecewise(["0"], [1.0]), r"times must be a non-empty list of numbers"),
        (lambda: Piecewise([[0.0, 1.0], [2.0]], [1.0, 2.0]), r"times must be "),
        (lambda: Piecewise([0.5, 1.0], [1, 0]), r"times must start at 0, but times\[0\] is 0\.5"),
        (lambda: Piecewise([-1.0, 1.0], [1, 0]), r"times must be at least 0, but it holds -1\.0"),
        (lambda: Piecewise([0.0, math.nan], [1, 0]), r"times must be .*holds nan"),
        (lambda: Piecewise([0.0, math.inf], [1, 0]), r"times must be finite.* is inf"),
        (lambda: Piecewise([0, 2, 1], [1, 1, 0]), r"ascend strictly, but times\[2\] = 1 follows 2"),
        (lambda: Piecewise([0, 1, 1], [1, 1, 0]), r"ascend strictly, but times\[2\] = 1 follows 1"),
        (lambda: Piecewise([0, 1], [1, 2, 0]), r"alphas must have 2 entries .*times.* has 3"),
        (lambda: Piecewise([0, 1], [1, -2]), r"alphas must be at least 0, but one is -2"),
        (lambda: Piecewise([0, 1], [1, math.nan]), r"alphas must be finite, but .* is nan"),
        (lambda: Piecewise.from_total(1.0, [0, 1], [1, 1]), r"weights must end with 0 .*\[1, 1\]"),
        (lambda: Piecewise.from_total(1.0, [0, 1], [0, 0]), r"weights must .*positive.*\[0, 0\]"),
        (lambda: Piecewise.from_total(-1.0, [0, 1], [1, 0]), r"total must be .*at least 0.*-1\.0"),
    ],
)
def test_errors_name_argument_value_and_rule(make, rule):
    with pytest.raises(InputError, match=rule):
        make()


# --- schedules of the user's own --------------------------------------------------------------


class Own:
    """A schedule by another's members, some of them replaced."""

    def __init__(self, schedule: Schedule, **instead: Any) -> None:
        for name in ("total_infinity", "alpha_infinity", "breakpoints"):
            setattr(self, name, getattr(schedule, name))
        for name in ("alpha", "total", "slope", "remaining"):
            setattr(self, name, getattr(schedule, name))
        vars(self).update(instead)


PROBLEM = Regression([[1.0, 2.0, -1.0]], [2.0])
START = Factors.pilot(np.zeros(3))
USES = [
    lambda schedule: gradient_flow(PROBLEM, START, schedule, [1.0]),
    lambda schedule: gradient_flows(PROBLEM, [START], schedule, [1.0]),
    lambda schedule: gradient_flows(PROBLEM, [START], [schedule], [1.0]),
    lambda schedule: direct_flow(PROBLEM, START, schedule, [1.0]),
    lambda schedule: descend(PROBLEM, START, schedule, 0.01, 10),
    lambda schedule: descend(PROBLEM, START, [schedule], 0.01, 10),
]
SCALES = [Quadratic(1e-3, 1e6), Quadratic(1e8, 1e-8), Geometric(1e-5, 1 - 1e-9), Constant(0.0)]
SCALES += [Schedule.of(lambda t: (1.0 + t) ** -1.1, total_infinity=10.0), Constant(2.0, 1e-20)]
SCALES += [Schedule.of(lambda t: np.exp(-t) * (1 + np.cos(40 * t)))]
LATE = Piecewise(np.r_[0.0, np.linspace(1.0, 500.0, 40)], np.r_[np.linspace(1.0, 2.0, 40), 0.0])


@pytest.mark.parametrize("schedule", SAMPLES, ids=kind)
def test_a_representation_makes_the_schedule_again(schedule):
    again = eval(repr(schedule))
    t = np.array([0.0, 0.4, 1.0, 2.0, 2.9, 3.0, 7.5])
    assert repr(again) == repr(schedule)
    np.testing.assert_array_equal(again.alpha(t), schedule.alpha(t))
    np.testing.assert_array_equal(again.total(t), schedule.total(t))


@pytest.mark.parametrize("schedule", [*SAMPLES, *SCALES, LATE], ids=kind)
def test_members_that_agree_are_accepted_everywhere(schedule):
    """On every scale of time, with slow ends, many jumps and waves: no false refusal."""
    for use in USES:
        use(Own(schedule))
    total = schedule.total_infinity
    found = Schedule.of(schedule.alpha, schedule.breakpoints, total_infinity=total)
    for use in USES:
        use(found)


@pytest.mark.parametrize("use", USES)
def test_missing_members_are_named(use):
    class MySchedule:
        alpha_infinity = total_infinity = 0.0

        def alpha(self, t):
            return 0.0 * t

        slope = remaining = alpha

    with pytest.raises(InputError, match="but MySchedule lacks breakpoints and total"):
        use(MySchedule())
    with pytest.raises(InputError, match=r"but Lazy lacks total\.$"):
        use(type("Lazy", (MySchedule,), {"breakpoints": ()})())
    with pytest.raises(InputError, match=r"schedule\.alpha must take an array of times"):
        use(Own(Constant(0.0), alpha=lambda t: float(t)))


S = Harmonic(0.7, 2.5)
Q = Quadratic(0.7, 2.5)
DISAGREE = {
    "A twice ∫α": (Own(S, total=lambda t: 2 * S.total(t)), r"A\(t\) − A\(0\) of Own is .* should"),
    "A off at 0": (Own(S, total=lambda t: S.total(t) + 1.0), r"at t = 0 A\(0\) of Own is 1 .* 0\."),
    "A off late": (
        Own(S, total=lambda t: S.total(np.minimum(t, 50.0))),
        r"at t = 100 A\(t\) − A\(1\) of Own is 4\.73\d+ and should be 5\.90\d+",
    ),
    "A off by 1e-5": (Own(Q, total=lambda t: (1 + 1e-5) * Q.total(t)), r"A\(t\) − A\(0\)"),
    "A off behind the jumps": (
        Own(LATE, total=lambda t: np.minimum(LATE.total(t), 700.0)),
        r"A\(t\) \+ remaining\(t\)",
    ),
    "A∞ too large": (Own(Q, total_infinity=2.0), r"at t = 0\.01 A\(t\) \+ remaining.* be 2\."),
    "A∞ finite": (Own(S, total_infinity=2.0), r"A\(t\) \+ remaining\(t\) of Own is inf .* be 2"),
    "A∞ infinite": (Own(Q, total_infinity=math.inf), r"A\(t\) \+ remaining\(t\) .* be inf"),
    "remaining too large": (
        Own(Q, total_infinity=3.75, remaining=lambda t: Q.remaining(t) + 2.0),
        r"remaining\(t\) of Own is 2\.\d+ and should be 0\.00\d+",
    ),
    "remaining nan": (Own(Q, remaining=lambda t: math.nan), r"A\(t\) \+ remaining\(t\) .* is nan"),
    "α negative": (
        Own(S, alpha=lambda t: S.alpha(t) - 0.1, total=lambda t: S.total(t) - 0.1 * t),
        r"schedule\.alpha must be at least 0 and finite, but at t = \d+\.\d* it is -0\.",
    ),
    "α nan": (Own(S, alpha=lambda t: np.nan * t), r"schedule\.alpha must be .* it is nan"),
    "breakpoint nan": (Own(S, breakpoints=(math.nan,)), r"schedule\.breakpoints must be"),
}


@pytest.mark.parametrize("name", DISAGREE)
def test_members_that_disagree_are_refused(name):
    schedule, said = DISAGREE[name]
    for use in USES:
        with pytest.raises(InputError, match=said):
            use(schedule)


@settings(identity, max_examples=15)
@given(schedule=every, ts=st.lists(times, min_size=1, max_size=4))
def test_alpha_alone_is_integrated_to_1e12(schedule, ts):
    """Also far below and above the scale of α, and late, relative to what is left."""
    found = Schedule.of(schedule.alpha, schedule.breakpoints)
    assert found.breakpoints == schedule.breakpoints
    assert found.total_infinity == near(schedule.total_infinity, 1e-12)
    assert found.alpha_infinity == near(schedule.alpha_infinity, 1e-12)
    for t in (0.0, 1e-25, 1e6, 1e50, math.inf, *ts):
        assert found.total(t) == near(schedule.total(t), 1e-12)
        if t < math.inf:
            assert found.alpha(t) == schedule.alpha(t)
        left, expected = found.remaining(t), schedule.remaining(t)
        # where next to nothing is left, only quad's first look at a piece saw it
        assert left == near(expected, 1e-12) or max(left, expected) < 1e-20 * found.total_infinity
    for t in ts:
        if all(abs(t - knot) > 1e-9 for knot in schedule.breakpoints):
            rough = 1e-9 * schedule.alpha(t) / max(t, 1e-3)
            assert found.slope(t) == pytest.approx(schedule.slope(t), rel=1e-8, abs=rough)
    array = np.array([0.0, *sorted(ts), 1e60])
    assert np.array_equal(found.total(array), [found.total(t) for t in array])


def test_alpha_of_one_time_at_a_time_will_do():
    found = Schedule.of(lambda t: math.exp(-t) * (1 + math.sin(t)))
    assert found.total_infinity == near(1.5, 1e-12)
    ends = 1 + 0.5 * (math.sin(1) + math.cos(1))
    assert found.total(np.array([1.0]))[0] == near(1.5 - math.exp(-1) * ends, 1e-12)
    assert found.remaining(1.0) == near(math.exp(-1) * ends, 1e-12)
    assert Schedule.of(lambda t: 0.25).alpha_infinity == 0.25
    assert "1.5" in repr(found)
    assert len(repr(found)) < 100


def test_a_jump_that_is_not_named_is_found():
    """A is right all the same; only integrators of flows would like to know."""
    found = Schedule.of(lambda t: np.where(np.asarray(t) < math.pi, 0.5, 0.1 / (1.0 + t) ** 2))
    exact = 0.5 * math.pi + 0.1 / (1 + math.pi)
    assert found.total_infinity == near(exact, 1e-12)


def test_what_falls_slowly_needs_its_total():
    def alpha(t):
        return 0.3 * (1.0 + t) ** -1.1

    with pytest.raises(InputError, match=r"total_infinity must be given, because alpha falls"):
        Schedule.of(alpha)
    found = Schedule.of(alpha, total_infinity=3.0)
    for t in (0.0, 1.0, 1e10, 1e40):
        assert found.total(t) + found.remaining(t) == near(3.0, 1e-12)
        assert found.total(t) == near(-3.0 * math.expm1(-0.1 * math.log1p(t)), 1e-12)
    gradient_flow(PROBLEM, START, found, [1.0, np.inf])
    endless = Schedule.of(lambda t: 1.0 / (1.0 + t), total_infinity=math.inf)
    assert endless.remaining(3.0) == math.inf
    assert Schedule.of(lambda t: 1.0 / np.log(t + 2.0)).alpha_infinity == 0.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"alpha": 0.1}, r"alpha must be a function of t, but it is 0\.1"),
        ({"alpha": lambda t: t - 1.0}, r"alpha must be at least 0 .* at t = 0\.\d+ it is -0\."),
        ({"alpha": lambda t: t * np.nan}, r"alpha must be .* finite"),
        ({"alpha": lambda t: 1.0 + np.sin(t)}, r"alpha must be smooth .* and settle"),
        ({"alpha": lambda t: 1.0 * t}, r"alpha_infinity must be given where alpha grows"),
        ({"breakpoints": [2.0, 1.0]}, r"breakpoints must ascend"),
        ({"breakpoints": [-1.0]}, r"breakpoints must be at least 0"),
        ({"total_infinity": 1.0}, r"total_infinity must be ∫α, but it is 1, .* is 1\.75 "),
        ({"total_infinity": -1.0}, r"total_infinity must be a number at least 0"),
        ({"alpha_infinity": -1.0}, r"alpha_infinity must be a finite number at least 0"),
        ({"alpha_infinity": 0.5, "total_infinity": 9.0}, r"total_infinity must be ∫α, but it is 9"),
    ],
)
def test_what_can_not_be_integrated_is_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        Schedule.of(**{"alpha": Q.alpha, **arguments})


def test_an_integrated_schedule_drives_flows_like_the_formula():
    times = [0.3, 2.0, 40.0, np.inf]
    start = Factors.pilot([0.2, -0.1, 0.0])
    for schedule in (Q, Piecewise([0.0, 1.0, 3.0], [0.2, 0.5, 0.0])):
        found = Schedule.of(schedule.alpha, schedule.breakpoints)
        for flow in (gradient_flow, direct_flow):
            ends = times if flow is gradient_flow else times[:-1]
            one = flow(PROBLEM, start, schedule, ends)
            two = flow(PROBLEM, start, found, ends)
            np.testing.assert_allclose(two.x, one.x, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(two.total, one.total, rtol=1e-12)


@pytest.mark.parametrize("kind", [Harmonic, Quadratic, Constant, Geometric, Piecewise])
def test_a_forgotten_argument_is_asked_for_by_the_public_name(kind):
    with pytest.raises(TypeError, match=rf"{kind.__name__}\.__init__\(\) missing"):
        kind() if kind is Constant else kind(2.0)


def test_an_integrated_schedule_bends_after_its_breakpoint():
    """At a breakpoint dα/dt is that of the piece after it, as α is right-continuous."""
    schedule = Schedule.of(lambda t: np.where(t < 1.0, t, np.exp(1.0 - t)), [1.0])
    assert schedule.slope(1.0) == pytest.approx(-1.0, abs=1e-9)
    assert schedule.slope(0.5) == pytest.approx(1.0, abs=1e-9)


def test_an_infinite_strength_is_refused():
    with pytest.raises(InputError, match=r"schedule\.alpha must be at least 0 and finite"):
        Schedule.of(lambda t: np.where(t < 1.0, np.inf, 0.0), [1.0])
