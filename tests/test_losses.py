"""Losses: kernels against exact formulas, targets refused, flows that end where ∇f = 0."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import mirrorflow as mf

EPS = float(np.finfo(float).eps)
LOSSES = [
    mf.Squared(),
    mf.PseudoHuber(0.3),
    mf.PseudoHuber(2.0),
    mf.Logistic(),
    mf.Exponential(),
    mf.Poisson(),
]
FORMS = mf.gradient_flow, mf.direct_flow
ids = repr


def targets(loss, count, rng):
    if isinstance(loss, mf.Poisson):
        return rng.integers(0, 9, count).astype(float)
    signs = rng.choice([-1.0, 1.0], count)
    return signs if np.isinf(loss.minimiser(signs)).any() else 3.0 * rng.standard_normal(count)


@pytest.fixture(params=LOSSES, ids=ids)
def loss(request):
    return request.param


def test_slope_and_curvature_are_derivatives(loss):
    rng, h = np.random.default_rng(0), 1e-4
    z, y = rng.uniform(-4.0, 4.0, 200), targets(loss, 200, rng)
    steps = np.array([-2.0, -1.0, 1.0, 2.0])[:, None] * h
    weights = np.array([1.0, -8.0, 8.0, -1.0]) / (12.0 * h)
    size = 1.0 + np.abs(loss.value(z, y))
    # differences of order 4: h⁴ of the fifth derivative, and eps/h of rounding
    assert (np.abs(weights @ loss.value(z + steps, y) - loss.slope(z, y)) < 1e-9 * size).all()
    assert (np.abs(weights @ loss.slope(z + steps, y) - loss.curvature(z, y)) < 1e-9 * size).all()
    assert (loss.curvature(z, y) > 0).all()


@pytest.mark.parametrize("z", [1e-9, -1e-5, 0.3, -3.0, 40.0, -700.0, 1e5])
def test_no_digit_is_lost(loss, z):
    """Against 60 digits, at margins and residuals from 1e-9 to 1e5."""
    mpmath = pytest.importorskip("mpmath")
    mpmath.mp.dps = 60
    y = 1.0
    exact_z = mpmath.mpf(z)
    r = exact_z - 1
    delta = mpmath.mpf(loss.parameter or 1)
    root = mpmath.sqrt(1 + (r / delta) ** 2)
    grown, shrunk = mpmath.exp(exact_z), mpmath.exp(-exact_z)
    exact = {
        "Squared": (r**2 / 2, r, 1),
        "PseudoHuber": (delta**2 * (root - 1), r / root, root**-3),
        "Logistic": (mpmath.log1p(shrunk), -1 / (1 + grown), 1 / ((1 + grown) * (1 + shrunk))),
        "Exponential": (shrunk, -shrunk, shrunk),
        "Poisson": (grown - exact_z, grown - 1, grown),
    }[type(loss).__name__]
    found = [f(z, y) for f in (loss.value, loss.slope, loss.curvature)]
    for value, right in zip(found, exact, strict=True):
        if not np.isfinite(float(right)):
            assert value == float(right)
            continue
        # exponents round to eps|z|, and e^z − y near log y is as exact as e^z
        rounding = 4 * EPS * (1 + abs(z)) * max(abs(float(right)), type(loss) is mf.Poisson)
        assert abs(float(value) - float(right)) <= rounding + 1e-300


def test_the_minimiser_is_where_the_slope_vanishes(loss):
    rng = np.random.default_rng(1)
    y = targets(loss, 50, rng)
    z = loss.minimiser(y)
    known = np.isfinite(z)
    assert np.abs(loss.slope(z[known], y[known])).max(initial=0.0) <= 10 * EPS * (1 + y.max())
    # where none is attained φ falls all the way
    away = np.outer([1.0, 2.0, 5.0, 10.0], np.sign(z[~known]))
    assert (np.diff(loss.value(away, y[~known]), axis=0) < 0).all()
    assert known.all() == (type(loss) in (mf.Squared, mf.PseudoHuber))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(delta=st.floats(1e-12, 1e12), size=st.floats(1e-12, 1e12))
def test_steepness_is_the_least_ratio(delta, size):
    loss = mf.PseudoHuber(delta)
    r = np.linspace(0.0, size, 1001)[1:]
    least = np.min(loss.slope(r, 0.0) ** 2 / (2.0 * loss.value(r, 0.0)))
    assert loss.steepness(size) == pytest.approx(least, rel=1e-9)
    assert mf.Squared().steepness(size) == 1.0


@pytest.mark.parametrize("loss", [mf.Logistic(), mf.Exponential(), mf.Poisson()], ids=ids)
def test_no_steepness_is_said(loss):
    with pytest.raises(mf.InputError, match="loss must be Squared.* but it is " + repr(loss)[:-2]):
        loss.steepness(1.0)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        (
            mf.Logistic(),
            [1.0, 0.0],
            r"y must hold labels −1 and 1 for Logistic\(\), but y\[1\] = 0",
        ),
        (mf.Exponential(), [0.5, 1.0], r"y must hold labels .* but y\[0\] = 0.5"),
        (mf.Poisson(), [2.5, -1.0], r"y must hold counts ≥ 0 for Poisson\(\), but y\[1\] = -1"),
    ],
)
def test_targets_that_a_loss_is_not_made_for(loss, y, message):
    with pytest.raises(mf.InputError, match=message):
        mf.Regression(np.eye(2, 5), y, loss=loss)


def test_labels_cannot_be_centred():
    problem = mf.Regression(np.eye(2, 5), [1.0, 1.0], loss=mf.Logistic())
    with pytest.raises(mf.InputError, match="y must hold labels"):
        problem.standardized()


def test_bad_delta():
    with pytest.raises(mf.InputError, match="delta must be a finite number above 0"):
        mf.PseudoHuber(0.0)


def test_both_forms_agree(loss):
    """100 times the tolerance of one step, for errors that add up."""
    rng = np.random.default_rng(2)
    Z = rng.standard_normal((6, 15))
    problem = mf.Regression(Z, targets(loss, 6, rng), loss=loss)
    start = mf.Factors.pilot(0.3 * rng.standard_normal(15))
    times = [0.1, 1.0, 10.0, 100.0]
    runs = [f(problem, start, mf.Constant(0.1, 2.0), times, 1e-9) for f in FORMS]
    assert np.abs(runs[0].x - runs[1].x).max() < 1e-7 * np.abs(runs[0].x).max()
    assert runs[0].loss == pytest.approx([problem.value(x) for x in runs[0].x], rel=1e-14)
    assert (np.diff(runs[0].loss[1:]) <= 0).all()


@pytest.mark.parametrize("shape", ["tall", "wide of rank 3", "sparse"])
@pytest.mark.filterwarnings("ignore:Z has n =")
def test_dependent_rows_leave_nothing_to_rounding(loss, shape):
    """No x has φ′ = 0 in every row: to t = 1e12 both forms stay where Zᵀφ′ = 0, and agree there."""
    rng = np.random.default_rng(3)
    Z = rng.standard_normal((12, 5))
    if shape == "wide of rank 3":
        Z = rng.standard_normal((8, 3)) @ rng.standard_normal((3, 20))
    n, d = Z.shape
    y = targets(loss, n, rng)
    y[:4], Z[2:4] = y[[0, 0, 0, 0]], -Z[:2]  # not separable; as many events on both sides
    data = scipy.sparse.csr_array(Z) if shape == "sparse" else Z
    problem, start = mf.Regression(data, y, loss=loss), mf.Factors.pilot(np.full(d, 0.1))
    flows = [f(problem, start, mf.Constant(0.1, 1.0), [1.0, 1e4, 1e12], 1e-9) for f in FORMS]
    for flow in flows:
        assert flow.success
        rounding = 1e3 * EPS * np.abs(Z.T) @ (1 + np.abs(loss.slope(Z @ flow.x[-1], y))) / n
        assert (np.abs(problem.gradient(flow.x[-1])) < rounding).all()
    assert np.abs(flows[0].x - flows[1].x).max() < 1e-7 * np.abs(flows[0].x).max()
    assert flows[0].right_hand_sides < 5000


# ---- kernels, and what log-time asks


def test_kernels_are_the_losses(loss):
    """Rows of the kernel against φ and its derivatives as the class has them; the third row is
    left out where there is no place for it."""
    rng = np.random.default_rng(1)
    z, y = rng.uniform(-3.0, 3.0, 40), targets(loss, 40, rng)
    out = np.full((3, 40), np.nan)
    loss.rows(z, y, loss.parameter, out)
    for row, of in enumerate((loss.slope, loss.curvature, loss.value)):
        assert out[row] == pytest.approx(of(z, y), rel=1e-14, abs=1e-15)
    few = np.full((2, 40), np.nan)
    loss.rows(z, y, loss.parameter, few)
    assert (few == out[:2]).all()


@pytest.mark.parametrize("loss", [mf.Logistic(), mf.Exponential()], ids=ids)
def test_logarithms_of_slopes(loss):
    """log(−φ′) of the margin, and minus its derivative, where φ′ is a number and where it is 0."""
    margin = np.linspace(-30.0, 30.0, 301)
    log_slope, fall = loss.log_slope(margin)
    assert log_slope == pytest.approx(np.log(-loss.slope(margin, 1.0)), rel=1e-12, abs=1e-13)
    h = 1e-5
    change = (loss.log_slope(margin - h)[0] - loss.log_slope(margin + h)[0]) / (2.0 * h)
    assert fall == pytest.approx(change, abs=1e-9)
    far = np.array([1e4, 1e6])
    assert loss.log_slope(far)[0] == pytest.approx(-far, rel=1e-15)


@pytest.mark.parametrize("loss", [mf.Poisson(), mf.Logistic()], ids=ids)
def test_the_first_wrong_target_is_named(loss):
    y = np.array([0.5 if isinstance(loss, mf.Poisson) else 1.0, 1.0, -3.0, -2.0])
    with pytest.raises(mf.InputError, match=r"but y\[2\] = -3\.$"):
        loss.check(y)
    loss.check(np.abs(np.sign(y)))
    if isinstance(loss, mf.Poisson):
        loss.check(np.array([0.0, 2.5]))


def test_margins_at_zero():
    """Where the two formulas of the logistic loss meet: ½, ¼ and log 2, from both sides."""
    z = np.array([-1e-9, -0.0, 0.0, 1e-9])
    loss = mf.Logistic()
    assert loss.slope(z, 1.0) == pytest.approx(-0.5, rel=1e-8)
    assert loss.curvature(z, 1.0) == pytest.approx(0.25, rel=1e-8)
    assert loss.value(z, 1.0) == pytest.approx(np.log(2.0), rel=1e-8)


def test_whole_numbers_are_numbers(loss):
    """Labels and predictions of ints, also as lists: what compiled code gets are floats."""
    for of in (loss.value, loss.slope, loss.curvature):
        assert of([2, -1], [1, 1]) == pytest.approx(of(np.array([2.0, -1.0]), np.ones(2)))
        assert of(2, 1).shape == ()


def test_predictions_and_targets_broadcast(loss):
    """Either may have the shape that the other lacks; entries are those of each pair."""
    z, y = np.array([[0.3], [-1.2], [2.0]]), np.ones(2)
    for of in (loss.value, loss.slope, loss.curvature):
        each = np.array([[of(a, b) for b in y] for a in z[:, 0]])
        assert np.array_equal(of(z, y), each)
        assert np.array_equal(of(z, 1.0), each[:, :1])
        assert np.array_equal(of(0.3, y), each[0])


def test_what_a_kernel_is_told_besides(loss):
    """δ of pseudo-Huber; 0 where a loss has no parameter."""
    assert loss.parameter == getattr(loss, "delta", 0.0)
