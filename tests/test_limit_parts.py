"""Parts of limits: faces against linear programs, columns a few at a time, proofs by definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import linprog, nnls

import mirrorflow as mf
from mirrorflow.limits import columns as columns_module
from mirrorflow.limits import exact, faces, targets
from mirrorflow.limits.columns import SignedColumns
from mirrorflow.limits.l1_distance import margin_program
from mirrorflow.limits.max_margin import signed_rows
from mirrorflow.limits.nonnegative import least_squares
from mirrorflow.limits.optimality import Points, proven, smooth_proofs
from mirrorflow.limits.sign_cone import SignCone

EPS = 2.0**-52
TINY = 2.0**-1022


def drawn(seed, n=5, d=9, ties=False):
    """Z and a sparse solution; with ties some columns twice, or as a mean of two others."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, d))
    if ties:
        Z[:, 1] = Z[:, 0]
        Z[:, 4] = 0.5 * (Z[:, 2] + Z[:, 3])
    x = np.zeros(d)
    x[: n - 2] = rng.choice([-1.0, 1.0], n - 2) * rng.uniform(0.5, 2.0, n - 2)
    return mf.Regression(Z, Z @ x)


def signed(problem, plus=None, minus=None, scales=1.0):
    every = np.arange(problem.d)
    given = (every if part is None else np.array(part, np.intp) for part in (plus, minus))
    return SignedColumns(problem.row_space.basis, *given, scales)


def whole(G):
    return G.take(np.arange(G.count))


def largest_entries(G, b, u_of_face, costs=None):
    """max u_j over {u ≥ 0, Gu = b, costs·u ≤ best} for each j: whether it can be positive."""
    positive = []
    for j in range(G.shape[1]):
        A_ub = None if costs is None else costs[None]
        b_ub = None if costs is None else [float(costs @ u_of_face) * (1.0 + 1e-9)]
        goal = np.where(np.arange(G.shape[1]) == j, -1.0, 0.0)
        found = linprog(goal, A_ub=A_ub, b_ub=b_ub, A_eq=G, b_eq=b, bounds=(0.0, 1e3))
        positive.append(found.status == 0 and -found.fun > 1e-5)
    return np.array(positive)


# ---- columns


@pytest.mark.parametrize("scaled", [False, True])
def test_signed_columns_are_those_of_the_matrix(scaled):
    problem = drawn(0)
    scales = np.linspace(0.5, 2.0, 11) if scaled else 1.0
    G = signed(problem, [0, 2, 3, 5, 8], [1, 2, 3, 4, 6, 7], scales)
    V = problem.row_space.V
    full = np.hstack([V[:, G.plus], -V[:, G.minus]]) * scales
    assert G.count == 11
    assert not G.large
    assert whole(G) == pytest.approx(full, abs=1e-14)
    chosen = np.array([1, 4, 5, 10])
    assert G.take(chosen) == pytest.approx(full[:, chosen], abs=1e-14)
    dual = np.arange(5.0)
    assert G.correlate(dual) == pytest.approx(full.T @ dual, abs=1e-13)
    u = np.arange(1.0, 12.0)
    p, q = G.split(u)
    assert V @ (p - q) == pytest.approx(full @ u, abs=1e-12)
    assert p[G.plus] == pytest.approx((u * scales)[:5])
    assert q[G.minus] == pytest.approx((u * scales)[5:])
    assert p.sum() + q.sum() == pytest.approx(np.sum(u * scales))


def test_large_is_more_entries_than_the_limit(monkeypatch):
    G = signed(drawn(0))
    for limit, large in ((5 * 18, False), (5 * 18 - 1, True)):
        monkeypatch.setattr(columns_module, "WHOLE", limit)
        assert G.large == large


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [False, True])
def test_a_few_columns_at_a_time_give_the_same_faces(monkeypatch, seed, ties):
    """As if G were too large to be formed: the same points, supports, duals and verdicts."""
    problem = drawn(seed, 4, 40, ties)
    G, space = signed(problem), problem.row_space
    outside = signed(problem, np.flatnonzero(problem.Z[0] > 0), [])  # first row: only sums above 0
    away = space.U.T @ np.array([-1.0, 0.3, 0.2, -0.4]) / space.s

    def answers():
        yield faces.minimum_l1_face(G, space.b), None
        yield faces.lasso_face(G, space.b, space.s, 0.3)
        face, fit, is_outside = faces.cone_projection(outside, away, space.s)
        assert is_outside
        yield face, fit

    small = list(answers())
    with monkeypatch.context() as patch:
        patch.setattr(columns_module, "WHOLE", 0)
        large = list(answers())
    for (one, fit), (other, fit_too) in zip(small, large, strict=True):
        assert one.point.size == other.point.size
        assert (one.support == other.support).all()
        assert one.unique == other.unique
        assert one.point.sum() == pytest.approx(other.point.sum(), rel=1e-9)
        if one.unique:
            assert one.point == pytest.approx(other.point, abs=1e-9)
        if fit is not None:
            assert fit == pytest.approx(fit_too, abs=1e-9)
            assert one.dual == pytest.approx(other.dual, abs=1e-7)
    # inside the cone everything counts as support
    with monkeypatch.context() as patch:
        patch.setattr(columns_module, "WHOLE", 0)
        inside, fit, is_outside = faces.cone_projection(G, space.b, space.s)
    assert not is_outside
    assert fit is space.b
    assert inside.support.all()
    assert not inside.unique


# ---- faces


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ties", [False, True])
def test_faces_of_minimum_l1_by_linear_programs(seed, ties):
    """Value and support by HiGHS; the dual is 1 on the face and below it elsewhere."""
    problem = drawn(seed, ties=ties)
    weights = np.linspace(1.0, 1.3, 18)
    for scales in (1.0, 1.0 / weights):
        G, b = signed(problem, scales=scales), problem.row_space.b
        full = whole(G)
        face = faces.minimum_l1_face(G, b)
        best = linprog(np.ones(18), A_eq=full, b_eq=b)
        assert face.point.sum() == pytest.approx(best.fun, rel=1e-9)
        assert full @ face.point == pytest.approx(b, abs=1e-12)
        assert (face.point >= 0).all()
        assert (face.support == largest_entries(full, b, face.point, np.ones(18))).all()
        assert face.unique == (np.linalg.matrix_rank(full[:, face.support]) == face.support.sum())
        slopes = full.T @ face.dual
        assert slopes[face.support] == pytest.approx(1.0, abs=1e-9)
        assert (slopes[~face.support] < 1.0 + 1e-9).all()
        assert not face.point[~face.support].any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("factor", [1.0 - 5e-10, 1.0 + 5e-10])
def test_a_coarse_dual_of_highs_is_mended(seed, factor, monkeypatch):
    """Off by half of what counts as tight, it ends at 1 on the entries to rounding."""
    rng = np.random.default_rng(seed)
    problem = mf.Regression(rng.standard_normal((8, 14)), rng.standard_normal(8))
    proposed, asked = faces._proposed, []

    def coarse(*arguments):
        dual, active = proposed(*arguments)
        asked.append(dual)
        return factor * dual, active

    monkeypatch.setattr(faces, "_proposed", coarse)
    G = signed(problem)
    face = faces.minimum_l1_face(G, problem.row_space.b)
    assert len(asked) == 1
    slopes = G.correlate(face.dual)
    assert slopes[face.point > 0] == pytest.approx(1.0, abs=1e-13)
    assert (slopes < 1.0 + 1e-9).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ties", [False, True])
def test_faces_of_the_lasso_meet_its_conditions(seed, ties):
    problem = drawn(seed, ties=ties)
    G, space = signed(problem), problem.row_space
    full, target = whole(G), space.s * space.b
    for penalty in (1e-3, 0.3):
        face, fit = faces.lasso_face(G, space.b, space.s, penalty)
        assert fit == pytest.approx(full @ face.point, abs=1e-12)
        slopes = full.T @ (space.s * (target - space.s * fit)) / penalty
        assert full.T @ face.dual == pytest.approx(slopes, abs=1e-9)
        assert slopes[face.support] == pytest.approx(1.0, abs=1e-8)
        assert (slopes <= 1.0 + 1e-8).all()
        assert face.unique == (np.linalg.matrix_rank(full[:, face.support]) == face.support.sum())


@pytest.mark.parametrize("penalty", 10.0 ** -np.arange(5.0, 11.0))
def test_repeated_columns_share_the_face_of_a_faint_lasso(penalty):
    """Rounding of Bᵀθ in units of the penalty is far above what counts as tight: both copies of a
    column are in the support, or none."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        half = rng.standard_normal((4, 6))
        problem = mf.Regression(np.hstack([half, half]), rng.standard_normal(4))
        G, space = signed(problem), problem.row_space
        face, _ = faces.lasso_face(G, space.b, space.s, penalty)
        once, twice = face.support.reshape(2, 2, 6).swapaxes(0, 1)
        assert (once == twice).all()
        assert once.any()
        assert not face.unique


@pytest.mark.parametrize("seed", range(3))
def test_projections_onto_cones_meet_their_conditions(seed):
    """Outside: s²(b − Gu) is in no column's way and orthogonal to those at work."""
    rng = np.random.default_rng(seed)
    problem = drawn(seed, 5, 6)
    G, space = signed(problem, np.arange(6), []), problem.row_space
    full = whole(G)
    for b, outside in ((full @ rng.random(6), False), (-full @ np.ones(6), True)):
        face, fit, is_outside = faces.cone_projection(G, b, space.s)
        assert is_outside == outside
        u, misfit = nnls(space.s[:, None] * full, space.s * b)
        assert np.linalg.norm(space.s * (fit - b)) == pytest.approx(misfit, abs=1e-9)
        assert full @ face.point == pytest.approx(fit, abs=1e-9)
        if face.unique:
            assert face.point == pytest.approx(u, abs=1e-8)
        assert (fit is b) != outside  # reached to rounding: b to the bit
        if outside:
            residual = space.s * space.s * (b - fit)
            unit = np.linalg.norm(space.s * b)
            assert face.dual == pytest.approx(residual / unit, abs=1e-9)
            assert (full.T @ face.dual <= 1e-9).all()
            assert full.T[face.support] @ face.dual == pytest.approx(0.0, abs=1e-9)


def test_without_data_every_sign_is_left():
    """Z = 0 asks for nothing, and all of u ≥ 0 reaches it."""
    problem = mf.Regression(np.zeros((2, 4)), [0.0, 0.0])
    G, space = signed(problem, np.arange(4), []), problem.row_space
    face, fit, outside = faces.cone_projection(G, space.b, space.s)
    assert face.support.all()
    assert not face.point.any()
    assert not face.unique
    assert not outside
    assert fit is space.b
    start = mf.Factors.balanced([1.0, -2.0, 0.5, 3.0])
    limit = mf.interpolator(problem, start, 0.2)
    assert limit.x == pytest.approx(start.x * np.exp(-0.8), rel=1e-12)


def test_the_largest_support_by_linear_programs():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        G = rng.standard_normal((3, 8))
        G[:, 5] = G[:, 0] + G[:, 1]
        G[:, 6] = -G[:, 2]
        point = np.zeros(8)
        point[: 2 + seed % 2] = rng.random(2 + seed % 2) + 0.5
        among = np.arange(8) != 7
        among[3] = seed < 3
        found = faces.largest_support(G, point, among)
        some = np.flatnonzero(among)
        wanted = np.zeros(8, dtype=bool)
        wanted[some] = largest_entries(G[:, some], G @ point, point[some])
        assert (found == wanted).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("penalty", [0.0, 0.2, 3.0])
def test_least_squares_meets_its_conditions(seed, penalty):
    """With columns that repeat and depend; from its own columns at work the same objective."""
    rng = np.random.default_rng(seed)
    B, target = rng.standard_normal((6, 9)), rng.standard_normal(6)
    B[:, 3], B[:, 7], B[:, 8] = B[:, 0], B[:, 1] + B[:, 2], 0.0

    def objective(u):
        return 0.5 * np.sum((B @ u - target) ** 2) + penalty * u.sum()

    values = []
    start: list[int] = []
    for _ in range(2):
        u, residual = least_squares(B, target, penalty, start)
        start = np.flatnonzero(u).tolist()
        assert (u >= 0).all()
        assert residual == pytest.approx(target - B @ u, abs=1e-12)
        slopes = B.T @ residual
        assert slopes[u > 0] == pytest.approx(penalty, abs=1e-12)
        assert (slopes <= penalty + 1e-12).all()
        assert np.linalg.matrix_rank(B[:, u > 0]) == (u > 0).sum()
        values.append(objective(u))
    assert values == pytest.approx([values[0]] * 2, abs=1e-13)
    if penalty == 0.0:
        assert math.sqrt(2.0 * values[0]) == pytest.approx(nnls(B, target)[1], abs=1e-12)


# ---- proofs


@pytest.mark.parametrize("total", [0.0, 0.7])
@pytest.mark.parametrize("deep", [False, True])
def test_proofs_by_their_definitions(total, deep):
    """Stationarity and gap of points that are no limits: dual and primal drawn apart."""
    problem, rng = drawn(1), np.random.default_rng(0)
    u, v = rng.uniform(0.5, 1.0, (2, 9))
    start = mf.Powers(u, v, 3) if deep else mf.Factors(u + v, u - v)
    potential, V, b = start.potential(total), problem.row_space.V, problem.row_space.b
    kappa, x = 0.1 * rng.standard_normal((1, 5)), 0.1 * rng.standard_normal((1, 9))
    counted = np.arange(9) != 4
    zeros = np.zeros((1, 9))
    points = Points(zeros, zeros, x, zeros[None], zeros, kappa, np.zeros(1, int), counted[:1])
    off, gap = smooth_proofs(problem, potential, b, points, counted)
    mu = 0.5 * V.T @ kappa[0]
    wanted = np.abs(potential.gradient(x[0]) - mu)[counted].max()
    assert off[0] == pytest.approx(wanted, rel=1e-9)
    # the conjugate by its own definition: ⟨μ, X(μ)⟩ − R(X(μ))
    at = potential.inverse_gradient(mu)
    primal = potential.terms(x[0], potential.gradient(x[0]))[counted].sum()
    conjugate = (mu * at - potential.terms(at, potential.gradient(at)))[counted].sum()
    expected = abs(primal + conjugate - 0.5 * kappa[0] @ b)
    assert gap[0] == pytest.approx(expected, rel=1e-6)


def test_tiny_x_stand_for_an_interval_of_gradients():
    """Below the least normal number x has lost digits: any gradient from −TINY to TINY will do."""
    problem = drawn(1)
    start = mf.Factors.pilot(np.full(9, 1e-3), 1e-300)
    potential = start.potential(0.0)
    low, high = (potential.gradient(np.full(9, side * TINY)) for side in (-1.0, 1.0))
    zeros = np.zeros((1, 9))
    for middle, wanted in ((0.5, 0.0), (1.5, 0.5), (-0.5, 0.5)):
        mu = low + middle * (high - low)
        kappa = np.linalg.lstsq(problem.row_space.V.T, 2.0 * mu, rcond=None)[0]
        reached = 0.5 * problem.row_space.V.T @ kappa
        off = np.maximum(low - reached, reached - high).max()
        points = Points(
            *([zeros] * 3), zeros[None], zeros, kappa[None], np.zeros(1, int), zeros > 0
        )
        found = smooth_proofs(problem, potential, kappa, points, np.full(9, True))[0][0]
        assert found == pytest.approx(max(off, 0.0), abs=1e-9 * np.abs(mu).max())
        assert wanted >= 0.0


def test_what_is_off_is_not_converged():
    """Zx may be off by 1e-8 of its terms, not by more; a gap of nan proves nothing."""
    problem = drawn(2)
    limit = mf.interpolator(problem, mf.Factors.pilot(np.full(9, 0.3)), 0.5)
    size = problem.magnitude(limit.p + limit.q).max() + np.abs(problem.y).max()
    direction = np.linalg.lstsq(problem.Z, np.eye(5)[0], rcond=None)[0]  # moves (Zx)_0 alone
    for factor, gap, status in (
        (0.9e-8, 0.1, "converged"),
        (1.1e-8, 0.1, "not_converged"),
        (0.0, np.nan, "not_converged"),
    ):
        x = limit.x + factor * size * direction
        kappa = (problem.row_space.U.T @ limit.dual) * problem.row_space.s
        arrays = (part[None] for part in (limit.p, limit.q, x, limit.parameters, limit.metric))
        points = Points(*arrays, kappa[None], np.array([7]), np.array([True]))
        (made,) = proven(problem, [limit.start], points, np.array([0.2]), np.array([gap]))
        assert made.status == status
        assert made.constraint_residual == pytest.approx(factor * size, abs=1e-14)
        assert made.dual == pytest.approx(limit.dual, rel=1e-9)
        assert made.iterations == 7
        assert made.stationarity_residual == 0.2


def test_a_failed_limit_claims_nothing():
    problem = drawn(2)
    start = mf.Factors.pilot(np.full(9, 0.3))
    made = exact.failed(problem, start, "why")
    assert (made.status, made.message, made.success) == ("not_converged", "why", False)
    assert made.constraint_residual == np.abs(problem.y).max()
    assert made.gap == made.stationarity_residual == math.inf
    for part in (made.x, made.p, made.q, made.metric, made.parameters, made.dual):
        assert not part.any()
    assert made.parameters.shape == (2, 9)
    assert made.dual.shape == (5,)
    assert made.iterations == 0


def test_a_sign_cone_knows_signs_and_weights():
    problem = drawn(3)
    m = np.array([1.0, 1.0, -1.0, 0.0, 2.0, 1.0, 1.0, 0.0, 1.0])
    w = np.array([1.0, -1.0, 1.0, 0.0, 1.0, 1.0, 0.5, 0.0, -1.0])
    cone = SignCone.of(mf.Factors(m, w), problem.row_space, problem.y)
    assert cone.positive.tolist() == [True, False, False, False, True, True, True, False, False]
    assert cone.negative.tolist() == [False, True, True, False, True, False, True, False, True]
    assert (cone.free == (m != 0)).all()
    assert not cone.all_signs
    assert cone.signed.plus.tolist() == [0, 4, 5, 6]
    assert cone.signed.minus.tolist() == [1, 2, 4, 6, 8]
    inside = cone.restricted(np.arange(9) < 5, cone.b, "converged")
    assert np.flatnonzero(inside.positive).tolist() == [0, 4, 5, 6]
    assert np.flatnonzero(inside.negative).tolist() == [1]
    assert inside.fit is cone.fit
    other = cone.restricted(np.arange(9) < 5, 2.0 * cone.b, "inconsistent")
    assert other.fit == pytest.approx(2.0 * problem.y)
    assert other.status == "inconsistent"
    deep = mf.Powers(np.linspace(0.5, 1.0, 9), np.linspace(0.3, 2.0, 9), 3)
    cone = SignCone.of(deep, problem.row_space, problem.y)
    weights = np.concatenate(deep.weights)
    assert whole(cone.weighted) == pytest.approx(whole(cone.signed) / weights, rel=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("shape", [(4, 9, 4), (5, 9, 3), (9, 5, 3), (2, 70, 2)])
@pytest.mark.filterwarnings("ignore:Z has n = ")
def test_limits_of_data_of_any_shape_meet_their_conditions(shape, sparse):
    """Zx = y, and ∇R in the rows of Z, also where these depend on each other; with less than all
    coordinates free, and for other maps."""
    n, d, rank = shape
    rng = np.random.default_rng(3)
    Z = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d))
    locked = np.where(np.arange(d) % 4 == 1, 0.0, 1.0)
    starts = [
        mf.Factors.pilot(0.3 * rng.standard_normal(d)),
        mf.Factors(locked, 0.3 * locked),
        mf.Powers(*rng.uniform(0.5, 1.0, (2, d)), 3),
    ]
    y = 0.1 * Z @ (locked * rng.standard_normal(d))
    problem = mf.Regression(scipy.sparse.csr_array(Z) if sparse else Z, y)
    for start in starts:
        for total in (0.0, 0.4):
            limit = mf.interpolator(problem, start, total)
            assert limit.success
            assert Z @ limit.x == pytest.approx(y, abs=1e-9 * abs(Z).sum(axis=1).max())
            on = (np.asarray(start.theta) != 0).any(axis=0)
            slope = start.potential(total).gradient(limit.x)[on]
            fitted = Z[:, on].T @ np.linalg.lstsq(Z[:, on].T, slope, rcond=1e-10)[0]
            assert slope == pytest.approx(fitted, abs=1e-7 * (1.0 + abs(slope).max()))


# ---- targets and margins


@pytest.mark.parametrize("seed", range(3))
def test_targets_minimise_the_loss_over_what_x_can_reach(seed):
    """More rows than columns: Uᵀφ′ = 0 at the targets, which are none of φ's own minimisers."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((9, 3))
    Z[5:] = Z[:4]  # with both labels
    for loss, y in (
        (mf.PseudoHuber(0.4), rng.standard_normal(9)),
        (mf.Logistic(), np.where(np.arange(9) < 5, 1.0, -1.0)),
        (mf.Poisson(), rng.integers(1, 4, 9) * 1.0),
        (mf.Squared(), rng.standard_normal(9)),
    ):
        with pytest.warns(UserWarning, match="n ≥ d"):
            problem = mf.Regression(Z, y, loss=loss)
        space, fit = targets.targets(problem)
        assert not space.consistent
        slope = Z.T @ loss.slope(fit, y)
        assert slope == pytest.approx(np.zeros(3), abs=1e-6 * np.abs(loss.slope(fit, y)).sum())
        inside = Z @ np.linalg.lstsq(Z, fit, rcond=None)[0]
        assert fit == pytest.approx(inside, abs=1e-12 * np.abs(fit).max())
        assert space.fit(space.b) == pytest.approx(fit, abs=1e-12 * np.abs(fit).max())


def test_rows_times_labels_of_sparse_data():
    Z, y = np.arange(12.0).reshape(3, 4), np.array([1.0, -1.0, 1.0])
    for data in (Z, scipy.sparse.csr_array(Z)):
        rows = signed_rows(mf.Regression(data, y, loss=mf.Logistic()))
        assert isinstance(rows, np.ndarray)
        assert (rows == y[:, None] * Z).all()
    with pytest.raises(mf.InputError, match=r"−1 and 1 for a margin, but y\[1\] = 0.5"):
        signed_rows(mf.Regression(Z, [1.0, 0.5, 0.2]))


def test_without_a_margin_nothing_is_claimed():
    problem = mf.Regression([[1.0, 0.0, 0.0]] * 2, [1.0, -1.0], loss=mf.Logistic())
    best = mf.max_margin(problem, mf.Factors.pilot([0.2, 0.1, 0.3]), 0.5, 2.0)
    assert (best.status, best.violation, best.gap) == ("not_separable", 1.0, math.inf)
    assert best.margin == 2.0
    assert not best.dual.any()
    assert best.dual.shape == (2,)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("total", [0.0, 2.0, np.inf])
@pytest.mark.parametrize("deep", [False, True])
def test_margin_points_meet_their_conditions(seed, total, deep):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((4, 9))
    problem = mf.Regression(rows, np.ones(4), loss=mf.Logistic())
    u, v = rng.uniform(0.5, 1.0, (2, 9))
    start = mf.Powers(u, v, 3) if deep else mf.Factors(u + v, u - v)
    best = mf.max_margin(problem, start, total, 3.0)
    assert best.success
    margins = rows @ best.x
    assert margins.min() == pytest.approx(3.0, rel=1e-8)
    assert best.violation == pytest.approx(max(0.0, 1.0 - margins.min() / 3.0), abs=1e-15)
    assert (best.dual >= 0).all()
    assert best.dual @ (margins - 3.0) == pytest.approx(0.0, abs=1e-6 * best.dual.sum())
    slopes = rows.T @ best.dual
    if total < np.inf:
        potential = start.potential(total)
        assert slopes == pytest.approx(potential.gradient(best.x), rel=1e-6, abs=1e-6)
        return
    up, down = (np.broadcast_to(part, 9) for part in start.weights)
    norm = up @ np.maximum(best.x, 0.0) + down @ np.maximum(-best.x, 0.0)
    assert norm == pytest.approx(3.0 * best.dual.sum(), rel=1e-9)
    assert (slopes <= up * (1 + 1e-9)).all()
    assert (slopes >= -down * (1 + 1e-9)).all()


# ---- minimum L1


def test_programs_of_margins_at_their_ends():
    """Everything in the support: the dual of least norm, and no margin to ask for; and signs that
    no dual has."""
    V = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    x = np.array([1.0, -2.0, 0.5])
    nu, value = margin_program(V, x, np.full(3, True))
    assert value == 0.0
    assert V.T @ nu == pytest.approx(np.sign(x), abs=1e-12)
    twice = np.hstack([V[:, :1], V[:, :1]])
    nu, value = margin_program(twice, np.array([1.0, -1.0]), np.full(2, True))
    assert nu.shape == (3,)
    nu, value = margin_program(
        np.hstack([twice, V[:, 1:2]]), np.array([1.0, -1.0, 0.0]), np.arange(3) < 2
    )
    assert value == 2.0
    assert not nu.any()


@pytest.mark.parametrize("seed", range(12))
def test_orders_are_the_least_of_two(seed):
    """The next column and the margin itself; what is of order 2 − 2·margin is never the largest."""
    problem = mf.gaussian_recovery(5, 9, 2, seed)
    law = mf.l1_distance(problem, mf.Factors.pilot(np.zeros(9)), 1.0)
    if not law.success:
        return
    V, on = problem.row_space.V, law.nearest != 0
    nu, reached = margin_program(V, law.nearest, on)
    slopes = np.sort(np.abs(V.T @ nu)[~on])
    others = max(slopes[slopes < reached - 1e-7], default=0.0)
    assert law.exponent == pytest.approx(4.0 * (1.0 - reached), rel=1e-7)
    wanted = 4.0 * min(reached - others, 1.0 - reached, 2.0 * reached)
    assert law.order == pytest.approx(wanted, rel=1e-6)


# ---- who asks


def test_decay_without_a_law_is_refused_by_the_callers_name():
    problem, start = drawn(0), mf.Ham(np.linspace(-1.0, 1.0, 9), 2.0)
    with pytest.raises(mf.InputError, match="total must be 0 for Ham"):
        mf.interpolator(problem, start, 0.5)
    with pytest.raises(mf.InputError, match="totals must be 0 for Ham"):
        mf.interpolators(problem, [start], [0.0, 0.5])


def test_starts_that_decay_moves_stand_beside_others():
    """Each limit is the one that its start has alone."""
    problem = drawn(0, 2, 9)
    problem = mf.Regression(problem.Z, 0.1 * np.ones(2))
    theta = np.random.default_rng(0).uniform(0.5, 1.0, (2, 9))
    moved = mf.Custom(lambda t: t[0] ** 3 - t[1] ** 3, theta, lambda t: (t**3).sum())
    assert moved.moves
    starts = [moved, mf.Factors.pilot(np.full(9, 0.2))]
    found = mf.interpolators(problem, starts, [0.0, 0.1])
    for start, path in zip(starts, found, strict=True):
        for total, limit in zip((0.0, 0.1), path, strict=True):
            alone = mf.interpolator(problem, start, total)
            assert limit.x == pytest.approx(alone.x, rel=1e-9, abs=1e-12)


def test_a_cone_that_cannot_be_projected_on_is_said(monkeypatch):
    """Balanced starts, whose signs must be looked at; the others have their limits."""
    problem = drawn(0, 5, 9)

    def no(*_):
        raise faces.FaceError("no face")

    monkeypatch.setattr("mirrorflow.limits.sign_cone.cone_projection", no)
    starts = [mf.Factors.balanced(np.ones(9)), mf.Factors.pilot(np.full(9, 0.2))]
    (bad, worse), good = mf.interpolators(problem, starts, [0.0, 0.5])
    for limit in (bad, worse):
        assert (limit.status, limit.message) == ("not_converged", "no face")
        assert limit.x.shape == (9,)
        assert limit.start is starts[0]
    assert [limit.status for limit in good] == ["converged"] * 2


def test_the_lasso_where_the_penalty_just_takes_all():
    """2α = max |Zᵀy|/n and that column twice: 0 is the solution, on a face that is no point."""
    Z = np.array([[1.0, 1.0, 0.5], [2.0, 2.0, -1.0]])
    problem = mf.Regression(np.hstack([Z, np.zeros((2, 1))]), [1.0, 2.0])
    limit = mf.lasso_limit(problem, mf.Factors.pilot(np.zeros(4)), 0.5 * 5.0 / 2.0)
    assert limit.success
    assert limit.x == pytest.approx(0.0, abs=1e-12)
