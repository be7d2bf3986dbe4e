"""Small problems with extreme, repeated and missing entries: a named status, or a refusal."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from test_fuzz import fuzzed, refused

from mirrorflow import Constant, Factors, InputError, Regression, gradient_flow, interpolator

STATUSES = {"converged", "inconsistent", "no_interpolator_in_sign_cone", "not_converged"}
TOTALS = 0.0, 1.0, 20.0, math.inf

small = st.integers(-3, 3).map(float)
usual = st.one_of(small, st.floats(-10.0, 10.0))
extreme = st.sampled_from([1e150, -1e150, 1e-150, 5e-324, 1e-300, 1e8, -1e-8])
# integrators take half a million steps, that is 12 s, before they give up on more than this
stiff = st.sampled_from([1e-150, 5e-324, 1e-300, 30.0, -1e-8])


@st.composite
def problems(
    draw: Any, extreme: Any = extreme
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Z, y, m, w: tame as a rule, with rows and columns repeated, zero or scaled."""
    n, d = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    wild = draw(st.integers(0, 2)) == 0
    entry = st.one_of(usual, usual, extreme) if wild else usual

    def array(*shape: int) -> np.ndarray:
        size = math.prod(shape)
        return np.array(draw(st.lists(entry, min_size=size, max_size=size))).reshape(shape)

    Z, m, w = array(n, d), array(d), array(d)
    # larger ones have masses ½(m ± w)² whose squares overflow: see test_interpolators
    m, w = np.clip(m, -1e75, 1e75), np.clip(w, -1e75, 1e75)
    for axis in (0, 1):
        for _ in range(draw(st.integers(0, 2))):
            lines = Z if axis == 0 else Z.T
            i, j = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
            lines[i] = draw(st.sampled_from([0.0, 1.0, -1.0, 1e-12])) * lines[j]
    if draw(st.booleans()):  # balanced or dead coordinates
        some = np.array(draw(st.lists(st.booleans(), min_size=d, max_size=d)))
        w = np.where(some, draw(st.sampled_from([1.0, -1.0])) * m, w)
    y = array(n)
    if draw(st.booleans()):
        with np.errstate(over="ignore", invalid="ignore"):
            y = Z @ np.array(draw(st.lists(usual, min_size=d, max_size=d)))
    return Z, y, m, w


@fuzzed(
    st.tuples(problems(), st.sampled_from(TOTALS)),
    quick=120,
    long=1500,
    kinds=("converged", "inconsistent", "no_interpolator_in_sign_cone"),
)
def test_limits_are_finite_and_named(
    case: tuple[tuple[np.ndarray, ...], float], folder: Path
) -> str:
    """Where the status says so, Zx = y holds by a product that shares nothing with the solver."""
    (Z, y, m, w), total = case
    try:
        problem, factors = Regression(Z, y), Factors(m, w)
        limit = interpolator(problem, factors, total)
    except InputError as error:
        return refused(error)
    assert limit.status in STATUSES
    assert limit.message
    for array in (limit.x, limit.p, limit.q, limit.dual):
        assert np.isfinite(array).all()
    assert (limit.p >= 0).all()
    assert (limit.q >= 0).all()
    for number in (limit.constraint_residual, limit.stationarity_residual, limit.gap):
        assert not math.isnan(number)
        assert number < math.inf or limit.status == "not_converged"
    if limit.status == "converged":
        size = np.abs(Z) @ (limit.p + limit.q) + np.abs(y)
        assert (np.abs(Z @ limit.x - y) <= 1e-7 * size.max() + 1e-300).all()
    kept = np.sign(m * w) * (np.abs(m) == np.abs(w))
    if limit.success:  # balanced coordinates keep their sign
        assert (limit.x * kept >= 0.0).all()
        assert not limit.x[(m == 0.0) & (w == 0.0)].any()
    return limit.status


schedules = st.builds(
    Constant, st.sampled_from([0.0, 0.1, 1.0, 100.0]), st.sampled_from([None, 1.0])
)


@fuzzed(
    st.tuples(problems(stiff), schedules), quick=200, long=500, kinds=("completed", "inconsistent")
)
def test_flows_are_finite_and_named(
    case: tuple[tuple[np.ndarray, ...], Constant], folder: Path
) -> str:
    """x = m ⊙ w at every time that was reached; the loss never rises without a penalty."""
    (Z, y, m, w), schedule = case
    try:
        problem, factors = Regression(Z, y), Factors(m, w)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="lsoda: ")  # beside a flow that has failed
            flow = gradient_flow(problem, factors, schedule, [0.0, 1.0, math.inf], rtol=1e-6)
    except InputError as error:
        return refused(error)
    assert flow.status in STATUSES | {"completed", "failed"}
    assert flow.message or flow.status == "completed"
    count = len(flow.times)
    assert count == 3 or flow.status == "failed"
    for array in (flow.x, flow.m, flow.w):
        assert array.shape == (count, problem.d)
        assert np.isfinite(array).all()
    assert flow.loss.shape == (count,)
    assert not np.isnan(flow.loss).any()
    if count:  # m = u + v: exact to rounding of the larger factor
        larger = np.maximum(np.abs(m), np.abs(w))
        assert (np.abs(flow.m[0] - m) <= 1e-12 * larger + 1e-300).all()
    if schedule.strength == 0.0 and flow.success:
        # an error of rtol in the parts of x moves residuals by rtol·|Z|½(m² + w²)
        sizes = np.abs(Z) @ (0.5 * (flow.m**2 + flow.w**2)).T
        error = (1e-6 * sizes.max(initial=0.0)) ** 2
        assert (np.diff(flow.loss) <= 1e-4 * flow.loss[0] + error + 1e-300).all()
    return flow.status


# ---- what was found


@pytest.mark.parametrize("total", TOTALS)
def test_a_matrix_of_zeros_and_balanced_factors(total):
    """An IndexError: without rows there is no largest singular value."""
    problem, factors = Regression(np.zeros((1, 2)), [0.0]), Factors([1.0, 2.0], [1.0, 0.5])
    with np.errstate(all="raise"):
        limit = interpolator(problem, factors, total)
    assert limit.status == "converged"
    decayed = np.array([1.0, 1.0]) * math.exp(-4.0 * total)
    # with p̄ alone x = p̄; with both a sinh c, and the same decay
    assert limit.x == pytest.approx(decayed, rel=1e-12, abs=0.0)


def test_targets_whose_squares_underflow_keep_their_sign():
    """The cone was taken to reach y, as ‖y‖ was 0 in float64, and x = 0 to have converged."""
    problem, factors = Regression([[-1.0, -2.0]], [1e-249]), Factors([1.0, 1.0], [1.0, 1.0])
    assert interpolator(problem, factors, 0.0).status == "no_interpolator_in_sign_cone"


def test_solutions_beyond_float64_are_refused():
    with pytest.raises(InputError, match="Z must have singular values of at least 1e-150"):
        interpolator(Regression([[1e-312, 0.0]], [-4.0]), Factors([1.0, 1.0], [0.0, 0.0]), 1.0)
    problem = Regression([[1e-100, 0.0]], [0.0])
    with pytest.raises(InputError, match=r"but they are 1e-100 and 1e\+200; rescale Z or y"):
        problem.with_targets([1e100])


@pytest.mark.parametrize(
    ("Z", "y", "w"), [([0.0, 1.0], 0.0, [1.0, 5e-324]), ([1e-299, 1.0], 1.0, [1.0, 0.0])]
)
def test_what_spans_all_of_float64_has_a_named_status(Z, y, w):
    """0·∞ on the way, with a warning."""
    limit = interpolator(Regression([Z], [y]), Factors([0.0, 0.0], w), 0.0)
    assert limit.status in STATUSES
    assert np.isfinite(limit.x).all()


def test_masses_whose_squares_overflow_are_weighed():
    """‖p + q‖ was inf, which passed every residual as rounding."""
    Z = [[6.9, 3.0, -10.0], [-3.0, 0.0, 5.6], [1.0, 3.0, 0.0], [-3.0, -2.0, 0.0], [0.0, 4.2, -1.0]]
    m, w = [0.0, 1e-206, 5.4e-113], [0.0, -1e-206, 2.0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        limit = interpolator(Regression(Z, [-2.0, 9.2, 0.0, 6.9, 0.0]), Factors(m, w), 1.0)
    assert np.isfinite(limit.x).all()
