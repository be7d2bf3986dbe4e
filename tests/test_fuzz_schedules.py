"""Schedules from any arguments: refused, or A(t) is the integral of α(t) and nothing overflows."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from test_fuzz import fuzzed, refused

from mirrorflow import InputError
from mirrorflow.schedules import Constant, Geometric, Harmonic, Piecewise, Quadratic, Schedule

EXTREME = 0.0, -0.0, 5e-324, 1e-310, 1e-60, 1e-50, 1e50, 1e60, 1e150, 1e308, -1.0
EXTREME += math.nan, math.inf, -math.inf, np.float32(0.1), np.longdouble("1e4000")
WRONG = None, "much", "1\n2", [1.0], {}, 1j, b"1", 10**400, 10**5000, np.ones((3, 3)), object, True
LATEST = 1e50  # of flow times

usual = st.floats(1e-3, 1e3)
scalars = st.one_of(usual, usual, st.sampled_from(EXTREME), st.floats())
arguments = st.one_of(scalars, scalars, scalars, st.sampled_from(WRONG))
decays = st.one_of(st.floats(0.0, 1.0), st.sampled_from([1 - 2**-53, 5e-324, 1.0]), arguments)


@st.composite
def knots(draw: Any) -> Any:
    """Times that ascend from 0 as a rule."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.one_of(arguments, st.lists(arguments, max_size=4)))
    gaps = st.one_of(usual, usual, st.sampled_from([1e-50, 1e-40, 1e40]))
    return list(itertools.accumulate(draw(st.lists(gaps, max_size=3)), initial=0.0))


@st.composite
def heights(draw: Any, count: int) -> Any:
    """As many as there are knots and ending with 0 as a rule."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.one_of(arguments, st.lists(arguments, max_size=4)))
    size = max(count - draw(st.integers(0, 1)), 0)
    given = draw(st.lists(st.one_of(usual, st.sampled_from(EXTREME)), min_size=size, max_size=size))
    return [*given, *[0.0] * (count - size)]


@st.composite
def calls(draw: Any) -> tuple[Any, tuple[Any, ...]]:
    """A constructor, and arguments for it."""
    made = draw(st.integers(0, 9))
    if made < 8:
        kind = (Constant, Harmonic, Quadratic, Geometric)[made % 4]
        second = draw(decays if kind is Geometric else st.one_of(arguments, arguments, st.none()))
        if made < 4:
            return kind, (draw(arguments), second)
        by = (draw(arguments),) if kind is Harmonic else ()
        return kind.from_total, (draw(arguments), second, *by)
    times = draw(knots())
    weights = draw(heights(len(times) if isinstance(times, list) else 2))
    if made == 8:
        return Piecewise, (times, weights)
    return Piecewise.from_total, (draw(arguments), times, weights)


points = st.one_of(
    st.floats(1e-9, 1e4), st.sampled_from([0.0, 1 / LATEST, 1e-3, 1e9, 1e30, LATEST])
)
cases = st.tuples(calls(), st.lists(points, min_size=2, max_size=6))


@fuzzed(cases, quick=400, long=2500)
def test_a_schedule_is_refused_or_consistent(
    case: tuple[tuple[Any, tuple[Any, ...]], list[float]], folder: Path
) -> str:
    """α ≥ 0 and A are finite; A starts at 0, ascends, is ∫α and ends at A_∞."""
    (make, given), times = case
    try:
        schedule = make(*given)
    except InputError as error:
        return refused(error)
    times = sorted({0.0, *times, *(t for knot in schedule.breakpoints for t in (knot, 2 * knot))})
    alphas = np.array([schedule.alpha(t) for t in times])
    totals = np.array([schedule.total(t) for t in times])
    assert np.array_equal(schedule.alpha(np.array(times)), alphas)
    assert np.array_equal(schedule.total(np.array(times)), totals)
    assert (alphas >= 0.0).all()
    assert np.isfinite(alphas).all()
    assert np.isfinite(totals).all()
    assert totals[0] == 0.0
    # a sum or a product may be off by rounding where it is as large as this
    rounding = 4e-16 * totals
    assert (np.diff(totals) >= -rounding[1:]).all()
    assert (totals <= schedule.total_infinity * (1 + 4e-16)).all()
    end = schedule.total_infinity
    assert not math.isnan(end)
    assert math.isinf(end) == (schedule.alpha_infinity > 0 or _endless(schedule))
    assert schedule.total(math.inf) == pytest.approx(end, rel=1e-15, abs=0.0)
    for t, total in zip(times, totals, strict=True):
        left = schedule.remaining(t)
        if math.isinf(end):
            assert left == math.inf
        else:
            assert left + total == pytest.approx(end, rel=1e-14, abs=5e-324)
            assert left >= 0.0
        assert schedule.slope(t) <= 0.0
    _check_integral(schedule, times)
    if make.__name__ == "from_total":
        _check_total(schedule, make, given)
    return "right"


def _endless(schedule: Schedule) -> bool:
    return isinstance(schedule, Harmonic) and schedule.strength > 0


def _check_integral(schedule: Schedule, times: list[float]) -> None:
    """α falls between breakpoints, so that ∫α lies between its rectangles; A must do so too."""
    for low, high in itertools.pairwise(times):
        if high - low < 1e-6 * high:  # the difference of the totals would be rounding
            continue
        step = high - low
        grown = schedule.total(high) - schedule.total(low)
        # from the left of `high`: α is right-continuous
        before = math.nextafter(high, 0.0)
        above, below = float(schedule.alpha(low)), float(schedule.alpha(before))
        slack = 1e-9 * schedule.total(high) + 1e-300 * step  # strengths below that are rounding
        if any(low < knot < high for knot in schedule.breakpoints):
            continue
        assert below * step - slack <= grown <= above * step + slack
    # and at a point by finite differences, to the order of the step's square
    t = 1.5 * _scale(schedule)
    h = 1e-4 * t
    if all(not t - h <= knot <= t + h for knot in schedule.breakpoints):
        measured = (schedule.total(t + h) - schedule.total(t - h)) / (2 * h)
        tolerance = 1e-10 * schedule.total(t) / t + 1e-6 * schedule.alpha(t) + 1e-300
        assert measured == pytest.approx(schedule.alpha(t), rel=0.0, abs=tolerance)


def _scale(schedule: Schedule) -> float:
    """A time on which α changes."""
    match schedule:
        case Harmonic() | Quadratic():
            return schedule.timescale
        case Geometric():
            return -1.0 / math.log(schedule.decay)
        case _:
            return schedule.breakpoints[0] / 3.0 if schedule.breakpoints else 1.0


def _check_total(schedule: Schedule, make: Any, given: tuple[Any, ...]) -> None:
    """The total asked for, but for what underflows: α itself may be below the least float."""
    wanted = float(given[0])
    reached = schedule.total(float(given[2])) if make.__self__ is Harmonic else None
    reached = schedule.total_infinity if reached is None else reached
    span = max(_scale(schedule), *schedule.breakpoints, 1.0)
    if isinstance(schedule, Harmonic):
        span *= 512.0
    assert reached == pytest.approx(wanted, rel=1e-13, abs=2.3e-308 * span)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Constant(1e300, stop=1e50), "alpha·stop must be finite"),
        (lambda: Constant(1e300), "alpha·stop must be finite"),
        (lambda: Harmonic(1e300, 1e20), "alpha·timescale must be finite"),  # 0 · ∞ at t = 0
        (lambda: Harmonic(1.0, 5e-324), "timescale must be a finite number at least 1e-50"),
        (lambda: Harmonic.from_total(1.0, 1.0, 1e-300), "by must be a finite number at least"),
        (lambda: Quadratic(1e300, 1e20), "alpha·timescale must be finite"),
        (lambda: Geometric(1e300, 1 - 2**-53), r"alpha/log\(1/decay\) must be finite"),
        (lambda: Piecewise([0, 1e20], [1e300, 0]), "the integral of alphas must be finite"),
        (lambda: Piecewise.from_total(1e300, [0, 1e-20], [1, 0]), "the largest alpha must be a"),
        (lambda: Constant(10**5000), "alpha must be a number, but it is a int too long to show"),
        (lambda: Constant(np.ones((3, 3))), "alpha must be a number, but it is array"),
        (lambda: Piecewise([0.0, 10**400], [1, 0]), "times must "),
        (lambda: Piecewise([0.0, 1.0], [1.0, 10**400]), "alphas must "),
    ],
)
def test_what_float64_cannot_hold_is_refused(make, said):
    """Each gave inf or NaN without a word, or a traceback."""
    with pytest.raises(InputError, match=said) as caught:
        make()
    refused(caught.value)


def test_weights_of_any_size_reach_the_total():
    """Products of tiny weights and times lost their digits."""
    schedule = Piecewise.from_total(2.0, [0.0, 1e-20], [1e-300, 0.0])
    assert schedule.total_infinity == pytest.approx(2.0, rel=1e-14)
