"""Laws that every mirror map keeps: scaling by decay, its parameters, invariants, potentials."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow.maps.base import DX, RATES, Q, X
from mirrorflow.maps.sizes import check_sizes

EPS = 2.0**-52
RNG = np.random.default_rng(0)
LAYERS = RNG.uniform(0.4, 1.2, (6, 5)) * RNG.choice([-1.0, 1.0], (6, 5))
STARTS = {
    "m ⊙ w": mf.Factors(LAYERS[0], LAYERS[1]),
    "m = w": mf.Factors.balanced(LAYERS[0]),
    "log p, log q": mf.LogFactors(LAYERS[0], LAYERS[1] - 0.5),
    "u² − v²": mf.Powers(abs(LAYERS[0]), abs(LAYERS[1]), 2),
    "u³ − v³": mf.Powers(abs(LAYERS[0]), abs(LAYERS[1]), 3),
    "u⁴ − v⁴": mf.Powers(abs(LAYERS[0]), abs(LAYERS[1]), 4),
    "u⁷ − v⁷": mf.Powers(abs(LAYERS[0]), abs(LAYERS[1]), 7),
    "2 layers": mf.DeepFactors(LAYERS[:2]),
    "3 layers": mf.DeepFactors(LAYERS[:3]),
    "5 layers": mf.DeepFactors(LAYERS[:5]),
    "4, ties": mf.DeepFactors(np.abs(LAYERS[[0, 0, 2, 3]])),
    "|θ|^1.5": mf.SignedPower(LAYERS[0], 1.5),
    "θ|θ|": mf.SignedPower(LAYERS[0], 2.0),
    "|θ|^3": mf.SignedPower(LAYERS[0], 3.0),
    "HAM": mf.Ham(LAYERS[0], 1.7),
}
DECAYING = [name for name, start in STARTS.items() if math.isfinite(start.decay)]
WRITTEN = [name for name in STARTS if STARTS[name].written is not None]
TOTAL = 0.3


@pytest.fixture(params=STARTS)
def start(request):
    return STARTS[request.param]


def points(start, shares=(-0.6, -0.1, 0.25, 0.7)):
    """μ at shares of the way to the ends of the domain, or to ∓1 where it has none."""
    low, high = (np.clip(end, -1.0, 1.0) for end in start.domain)
    return [share * high if share > 0 else -share * low for share in shares]


def test_rows_are_derivatives_of_each_other(start):
    """Q′ = X and X′ by differences of the fourth order; X(0) = x₀."""
    h = 1e-3 * np.minimum(*(np.minimum(abs(end), 1.0) for end in start.domain))
    for mu in points(start):
        rows = [start.at(mu + k * h) for k in (-2, -1, 1, 2)]
        slopes = (rows[0] - 8.0 * rows[1] + 8.0 * rows[2] - rows[3]) / (12.0 * h)
        here = start.at(mu)
        assert slopes[Q] == pytest.approx(here[X], rel=1e-6, abs=1e-8)
        assert slopes[X] == pytest.approx(here[DX], rel=1e-6, abs=1e-8)
    assert start.at(np.zeros(5))[X] == pytest.approx(start.x, rel=1e-13)
    assert start.x == pytest.approx(start.g(start.theta), rel=1e-15)
    assert start.d == 5


@pytest.mark.parametrize("name", DECAYING)
def test_decay_is_a_scale(name):
    """e^{−δA} of X, X′ and Q, for δ = 2L; θ falls like e^{−2A}, and κ = 2(L − 2)."""
    start = STARTS[name]
    scale = math.exp(-start.decay * TOTAL)
    assert start.decay == 2.0 * start.degree
    assert start.kappa == pytest.approx(2.0 * (start.degree - 2.0))
    for mu in points(start):
        here, later = start.at(mu), start.at(mu, TOTAL)
        for row in (X, DX, Q):
            assert later[row] == pytest.approx(scale * here[row], rel=1e-12)
        if start.rate == 0.0:
            assert later[RATES] == pytest.approx(here[RATES], rel=1e-12)
    theta = start.parameters(np.array([0.0, TOTAL]), np.stack([points(start)[0]] * 2))
    if name == "log p, log q":
        assert theta[1] == pytest.approx(theta[0] - 4.0 * TOTAL, rel=1e-12)
    else:
        assert theta[1] == pytest.approx(math.exp(-2.0 * TOTAL) * theta[0], rel=1e-12)


def test_parameters_are_those_of_the_map(start):
    """g(θ) = X, and |∂g|² = e^{−κA}X′ with e^{−δA}X′ as the map gives it."""
    totals = np.array([0.0, TOTAL if math.isfinite(start.decay) else 0.0])
    for mu in points(start):
        theta = start.parameters(totals, np.stack([mu, mu]))
        assert theta.shape == (2, *start.theta.shape)
        for one, total in zip(theta, totals, strict=True):
            rows = start.at(mu, total)
            assert start.g(one) == pytest.approx(rows[X], rel=1e-9, abs=1e-13)
            if start.written is not None:
                weight = math.exp(-start.kappa * total) if total > 0 else 1.0
                squares = np.sum(start.grad_g(one) ** 2, axis=0)
                assert squares == pytest.approx(weight * rows[DX], rel=1e-9)
    at_start = start.parameters(np.zeros(1), np.zeros((1, 5)))[0]
    assert at_start == pytest.approx(start.theta, rel=1e-12)


@pytest.mark.parametrize("name", WRITTEN)
def test_written_rows_are_derivatives_of_g(name):
    """First derivatives of g, second ones of the first, for many θ at once or one."""
    start = STARTS[name]
    K = len(start.theta)
    theta = 1.1 * start.theta + 0.05
    pairs = [(k, l) for k in range(K) for l in range(k, K)]
    out = np.empty((1 + K + len(pairs), 5))
    start.written(np.array(theta), 0, 5, float(start.parameter), np.empty(5), out)
    assert out[0] == pytest.approx(start.g(theta), rel=1e-13)
    assert out[1 : K + 1] == pytest.approx(start.grad_g(theta), rel=1e-13)
    few = np.full((K + 1, 5), np.nan)
    start.written(np.array(theta), 0, 5, float(start.parameter), np.empty(5), few)
    assert few == pytest.approx(out[: K + 1], rel=1e-15)
    h = 1e-4
    for k in range(K):
        moves = np.where(np.arange(K)[:, None] == k, h, 0.0)
        slope = (start.g(theta + moves) - start.g(theta - moves)) / (2.0 * h)
        assert out[1 + k] == pytest.approx(slope, rel=1e-6, abs=1e-6)
        bent = (start.grad_g(theta + moves) - start.grad_g(theta - moves)) / (2.0 * h)
        for l in range(k, K):
            row = 1 + K + pairs.index((k, l))
            assert out[row] == pytest.approx(bent[l], rel=1e-5, abs=1e-6)
    many = np.stack([theta, 2.0 * theta, -0.5 * theta] if K > 2 else [theta, 2.0 * theta])
    for one, rows in zip(many, start.grad_g(many), strict=True):
        assert rows == pytest.approx(start.grad_g(one), rel=1e-15)
        assert start.g(many).shape == many[:, 0].shape


def test_invariants_are_invariant(start):
    """Along μ they stay; decay scales them like what they are homogeneous to; their terms are
    what relative errors of θ may change them by, at most."""
    values, terms = start.invariants(start.theta)
    assert values.shape == terms.shape
    for mu in points(start):
        theta = start.parameters(np.zeros(1), mu[None])[0]
        now, size = start.invariants(theta)
        assert now == pytest.approx(values, abs=1e-9 * float(np.max(size, initial=1.0)))
    if values.size:
        theta, worst = start.theta, np.zeros_like(values)
        h = 1e-6
        for signs in itertools.product([-1.0, 1.0], repeat=len(theta)):
            length = np.sqrt(np.sum(theta**2, axis=0))
            moves = h * np.array(signs)[:, None] * length / math.sqrt(len(theta))
            change = (start.invariants(theta + moves)[0] - values) / h
            worst = np.maximum(worst, abs(change))
        assert (worst <= 2.0 * terms * (1 + 1e-4)).all()
        assert (worst >= 0.05 * terms).any()


def test_another_start_on_the_path_has_the_same_path(start):
    if isinstance(start, mf.LogFactors):
        with pytest.raises(mf.InputError, match="start must be a map that begins anywhere"):
            start.through(start.theta)
        return
    mu, more = points(start, (0.3, -0.2))
    theta = start.parameters(np.zeros(1), mu[None])[0]
    there = start.through(theta)
    assert type(there) is type(start)
    rows = slice(2 if start.degree < 2.0 else 3)  # the largest rate is that of the largest θ₀
    assert there.at(more)[rows] == pytest.approx(start.at(mu + more)[rows], rel=1e-8)


def test_the_shortest_parameters(start):
    """g(θ) = x, and any other θ with that x is longer."""
    if isinstance(start, mf.Factors | mf.LogFactors | mf.Ham):
        with pytest.raises(NotImplementedError):
            start.shortest(start.x)
        return
    positive, negative = start.signs
    for sign in (1.0, -1.0):
        x = np.where(np.where(sign > 0, positive, negative), sign, 0.0) * np.linspace(0.5, 2.0, 5)
        theta = start.shortest(x)
        assert theta.shape == start.theta.shape
        assert start.g(theta) == pytest.approx(x, rel=1e-12, abs=1e-300)
        seen = x != 0
        length = np.sum(theta**2, axis=0)[seen]
        if isinstance(start, mf.Powers | mf.SignedPower):
            assert length == pytest.approx(abs(x[seen]) ** (2.0 / start.degree))
        else:
            assert length == pytest.approx(start.degree * abs(x[seen]) ** (2.0 / start.degree))


def test_the_domain_ends_where_x_does(start):
    """X grows without end towards each finite end, and is infinite or nan beyond; signs and range
    say what it reaches."""
    low, high = start.domain
    assert (low < 0).all()
    assert (high > 0).all()
    positive, negative = start.signs
    least, most = start.range
    assert (np.isinf(most) == positive).all()
    assert (np.isinf(least) == negative).all()
    for end, sign in ((low, -1.0), (high, 1.0)):
        far = np.where(np.isfinite(end), (1.0 - 1e-7) * end, 30.0 * sign)
        x = start.at(far)[X]
        can = positive if sign > 0 else negative
        assert (np.sign(x[can]) == sign).all()
        size = abs(start.at(0.5 * np.where(np.isfinite(end), end, 2.0 * sign))[X])
        assert (abs(x[can]) > 20.0 * size[can]).all()
        bounded = np.isfinite(end) & can
        beyond = start.at(np.where(np.isfinite(end), 1.01 * end, 0.0))
        assert not np.isfinite(beyond[X][bounded]).any()
        assert not np.isfinite(beyond[DX][bounded]).any()
        assert (sign * beyond[X][bounded] > 0).all()
        assert (beyond[Q][bounded] == np.inf).all()
        # a sign that is locked is never reached
        assert (sign * x[~can] <= 0).all()


@pytest.mark.parametrize("total", [0.0, TOTAL])
def test_potentials_by_their_map(start, total):
    """Inverse, metric and Hessian, value by the integral of the gradient, Bregman's divergence."""
    if total > 0 and not math.isfinite(start.decay):
        with pytest.raises(mf.InputError, match="total must be 0 for Ham"):
            start.potential(total)
        return
    R = start.potential(total)
    for mu in points(start):
        rows = start.at(mu, total)
        x = R.inverse_gradient(mu)
        assert x == pytest.approx(rows[X], rel=1e-12)
        assert R.metric(mu) == pytest.approx(rows[DX], rel=1e-12)
        assert R.gradient(x) == pytest.approx(mu, rel=1e-9, abs=1e-9)
        assert R.hessian_diagonal(x) == pytest.approx(1.0 / rows[DX], rel=1e-7)
        p, q = R.split(mu)
        assert (np.minimum(p, q) >= 0).all()
        assert p - q == pytest.approx(x, rel=1e-9, abs=1e-12)
    assert R.minimizer == pytest.approx(start.at(np.zeros(5), total)[X], rel=1e-12)
    first, last = (R.inverse_gradient(mu) for mu in points(start, (-0.5, 0.6)))
    nodes, weights = np.polynomial.legendre.leggauss(40)
    path = [first + 0.5 * (1.0 + node) * (last - first) for node in nodes]
    slopes = np.array([R.gradient(x) for x in path])
    gained = 0.5 * (weights @ slopes) @ (last - first)
    near = 1e-4 if isinstance(start, mf.Ham) else 1e-6  # ∇R of HAM has a kink at 0
    assert R.value(last) - R.value(first) == pytest.approx(gained, rel=near, abs=1e-8)
    bregman = R.value(last) - R.value(first) - R.gradient(first) @ (last - first)
    assert R.divergence(last, first) == pytest.approx(bregman, rel=1e-7, abs=1e-9)
    assert R.divergence(first, first) == pytest.approx(0.0, abs=1e-15)
    scale = 1.0 if total == 0 else math.exp(-start.decay * total)
    for end, wanted in zip(R.domain, start.range, strict=True):
        assert end == pytest.approx(scale * wanted)
    # the least X′, on a grid
    grid = [start.at(mu, total)[DX] for mu in points(start, np.linspace(-0.99, 0.99, 400))]
    floor = np.asarray(R.floor) * np.ones(5)
    assert (floor <= np.min(grid, axis=0) * (1 + 1e-6) + 1e-300).all()


@pytest.mark.parametrize("name", ["u³ − v³", "3 layers", "5 layers", "u⁷ − v⁷"])
def test_floors_are_least(name):
    """Two-sided: near the grid's least value too, as X′ falls and rises once."""
    start = STARTS[name]
    for total in (0.0, TOTAL):
        R = start.potential(total)
        shares = np.linspace(-0.999, 0.999, 4001)
        low, high = start.domain
        grid = [start.at(s * high if s > 0 else -s * low, total)[DX] for s in shares]
        assert R.floor == pytest.approx(np.min(grid, axis=0), rel=1e-4)


def test_locked_signs_have_no_gradient_beyond_zero():
    for name, locked in (("|θ|^3", True), ("m = w", True), ("|θ|^1.5", False)):
        start, R = STARTS[name], STARTS[name].potential(0.0)
        if not locked:
            assert np.isfinite(R.gradient(np.zeros(5))).all()
            continue
        slope = R.gradient(np.zeros(5))
        assert (slope == np.where(start.x > 0, -np.inf, np.inf)).all()
        with pytest.raises(mf.InputError, match="x must lie in the domain"):
            R.gradient(-start.x)
        assert R.value(-start.x) == np.inf
        assert R.divergence(start.x, -start.x) == np.inf
        assert R.divergence(-start.x, start.x) == np.inf


def test_an_edge_takes_no_search(monkeypatch):
    """∇R = ∓∞ is known there: X is not followed to where it underflows."""
    start = STARTS["|θ|^3"]
    R, calls, at = start.potential(0.0), [], mf.SignedPower.at

    def counted(*arguments):
        calls.append(1)
        return at(*arguments)

    monkeypatch.setattr(mf.SignedPower, "at", counted)
    work = []
    for x in (0.5 * start.x, np.where(np.arange(5) < 2, 0.0, 0.5 * start.x)):
        calls.clear()
        R.gradient(x)
        work.append(len(calls))
    assert work[1] <= work[0] + 2


def test_points_on_the_same_edge_are_no_distance_apart():
    """Where both are 0 and the sign is locked ∇R is infinite; D is the rest's."""
    start = STARTS["|θ|^3"]
    R = start.potential(0.0)
    edge = np.arange(5) < 2
    x, y = (np.where(edge, 0.0, scale * start.x) for scale in (1.5, 0.4))
    assert np.isinf(R.gradient(x)[edge]).all()
    assert R.divergence(x, x) == 0.0
    inside = [np.where(edge, start.x, point) for point in (x, y)]
    assert R.divergence(x, y) == pytest.approx(R.divergence(*inside), rel=1e-9)
    assert R.divergence(x, y) > 0.0


def test_weights_are_what_large_x_costs(start):
    """t^± = lim R(x)/|x|; of L = 2 it grows like log|x|, with 1 for ½ of it."""
    if isinstance(start, mf.Ham):
        assert np.array_equal(start.weights, np.ones((2, 5)))
        return
    if start.degree < 2.0:
        with pytest.raises(mf.InputError, match="total must be finite for SignedPower of degree"):
            start.weights
        return
    up, down = start.weights
    positive, negative = start.signs
    assert (np.isinf(up) == ~positive).all()
    assert (np.isinf(down) == ~negative).all()
    if start.degree == 2.0:
        assert (up[positive] == 1.0).all()
        assert (down[negative] == 1.0).all()
        return
    low, high = start.domain
    assert up[positive] == pytest.approx(high[positive])
    assert down[negative] == pytest.approx(-low[negative])


def test_sizes_have_limits():
    """θ^{±2L} stays within 1e±300: sizes from 1e−150/L to 1e150/L, ends included."""
    for degree in (2.0, 3.0, 6.0):
        most = 10.0 ** (150.0 / degree)
        check_sizes("theta", np.array([0.0, -most, 1.0 / most]), degree)
        check_sizes("theta", np.array([most, 1.0 / most]), degree, zero=False)
        for wrong in (1.01 * most, 0.99 / most, -1.01 * most):
            with pytest.raises(mf.InputError, match=r"theta must be 0 or in size .* theta\[1\] is"):
                check_sizes("theta", np.array([1.0, wrong]), degree)
        for wrong in (0.0, -1.0):
            with pytest.raises(mf.InputError, match=r"theta must be between .* theta\[1\] is"):
                check_sizes("theta", np.array([1.0, wrong]), degree, zero=False)


def test_rates_bound_how_fast_rows_change(start):
    """Relative: |X″|/X′ is at most some times the rate, and the rate no more than some times it,
    where X is away from 0."""
    h = 1e-4 * np.minimum(*(np.minimum(abs(end), 1.0) for end in start.domain))
    for mu in points(start):
        bent = (start.at(mu + h)[DX] - start.at(mu - h)[DX]) / (2.0 * h)
        found = abs(bent) / start.at(mu)[DX]
        rates = start.at(mu)[RATES]
        assert (found <= 4.0 * rates + 1e-6).all() or start.degree < 2.0
        assert (rates > 0).all()


def test_maps_show_their_sizes(start):
    facts = start._facts()
    assert facts["d"] == 5 if "d" in facts else True
    largest = [facts[key] for key in facts if key in ("largest_x", "x_max")]
    assert largest == [pytest.approx(abs(start.x).max())]


@pytest.mark.parametrize("depth", range(3, 7))
@pytest.mark.parametrize("apart", [1.0, 0.1, 1e-3, 1e-6])
def test_layers_of_nearly_one_size_begin_at_x(depth, apart):
    """X(0) = x₀ where all z_k are far larger than what they differ by: beyond the last node."""
    sizes = 1.0 + apart * np.random.default_rng(depth).random((depth, 20))
    start = mf.DeepFactors(0.8 * sizes)
    assert start.at(np.zeros(20))[X] == pytest.approx(start.x, rel=1e-13)


@pytest.mark.parametrize("depth", range(3, 7))
def test_what_stays_at_zero_stays_for_any_dual(depth):
    """Two layers at 0: x ≡ 0, however far μ goes to either side."""
    theta = np.full((depth, 2), 0.7)
    theta[:2, 0] = 0.0
    theta[2:, 0] = -1.1
    start = mf.DeepFactors(theta)
    for mu in (-1e6, -1.0, 0.0, 1.0, 1e6):
        assert not start.at(np.full(2, mu))[[X, DX, Q], 0].any()
