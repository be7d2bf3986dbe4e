"""Large and sparse Z: V applied as a product, working sets of columns, memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import linprog

import mirrorflow as mf
from mirrorflow import rowspace
from mirrorflow.compiled import vectors
from mirrorflow.limits import columns, newton

EPS = np.finfo(float).eps


@pytest.fixture
def operator(monkeypatch):
    """As if every problem were large: V never stored, blocks of a few columns, working sets."""
    monkeypatch.setattr(rowspace, "STORED", 0)
    monkeypatch.setattr(rowspace, "BLOCK", 64)
    monkeypatch.setattr(columns, "WHOLE", 0)


@pytest.fixture(params=["array", "csr", "csc"])
def form(request, operator):
    """Z as an array or sparse, always as an operator."""
    return {
        "array": np.asarray,
        "csr": scipy.sparse.csr_array,
        "csc": scipy.sparse.csc_matrix,
    }[request.param]


def sparse_matrix(n, d, density, seed):
    rng = np.random.default_rng(seed)
    return scipy.sparse.random_array(
        (n, d), density=density, rng=rng, format="csr", data_sampler=rng.standard_normal
    )


def hessian(basis, weights):
    """V diag(weights) Vᵀ as the solver of limits makes it."""
    solver, r = newton.Solver(basis), basis.shape[0]
    wide, H = np.zeros((newton.PANELS + vectors.PANEL, weights.size)), np.empty((r, r))
    wide[newton.DX] = weights
    square = np.empty(solver.square)
    newton._hessian(solver.matrix, solver.columns, solver.factor, wide, square, H)
    return np.tril(H) + np.tril(H, -1).T


# ---- the row space


@pytest.mark.parametrize(("n", "d", "lost"), [(6, 90, 0), (7, 40, 2), (9, 5, 0), (1, 70, 0)])
def test_row_space_as_an_operator(form, n, d, lost):
    rng = np.random.default_rng([n, d, lost])
    Z = rng.standard_normal((n, n - lost)) @ rng.standard_normal((n - lost, d))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # n ≥ d
        problem = mf.Regression(form(Z), rng.standard_normal(n))
    space, basis = problem.row_space, problem.row_space.basis
    V, singular = space.V, np.linalg.svd(Z, compute_uv=False)
    assert basis.factor is not None
    assert space.rank == min(n - lost, d) == basis.shape[0]
    assert space.s == pytest.approx(singular[: space.rank], rel=1e-13)
    cond = space.s[0] / space.s[-1]
    assert np.abs((space.U * space.s) @ V - Z).max() <= 50 * EPS * space.s[0]
    assert np.abs(V @ V.T - np.eye(space.rank)).max() <= 100 * EPS * cond
    x, kappa, weights = rng.standard_normal(d), rng.standard_normal(space.rank), rng.random(d)
    for stacked in (x, np.array([x, 2 * x, -x])):
        assert basis.matvec(stacked) == pytest.approx(stacked @ V.T, abs=1e-12)
    for stacked in (kappa, np.array([kappa, -kappa])):
        assert basis.rmatvec(stacked) == pytest.approx(stacked @ V, abs=1e-12)
    assert hessian(basis, weights) == pytest.approx((V * weights) @ V.T, abs=1e-12)
    chosen = np.arange(0, d, 2)
    assert basis.columns(chosen) == pytest.approx(V[:, chosen], abs=1e-13)
    W = np.linalg.qr(rng.standard_normal((space.rank, space.rank)))[0][:1]
    assert basis.rotated(W).rmatvec(np.ones(1)) == pytest.approx(W[0] @ V, abs=1e-12)
    U = basis.left_factor(np.arange(d) % 2 == 0)
    assert np.abs(U @ (U.T @ V[:, chosen]) - V[:, chosen]).max() <= 1e-13
    assert U.shape[1] == np.linalg.matrix_rank(V[:, chosen])


def test_gram_keeps_what_squares_would_lose(form):
    """Singular values over ten decades: V diag(1) Vᵀ = I, not I + 1e-16·1e20."""
    rng = np.random.default_rng(0)
    U, V = (
        np.linalg.qr(rng.standard_normal((5, 5)))[0],
        np.linalg.qr(rng.standard_normal((90, 5)))[0],
    )
    problem = mf.Regression(
        form((U * 10.0 ** -np.arange(0, 12.5, 3)) @ V.T), rng.standard_normal(5)
    )
    gram = hessian(problem.row_space.basis, np.ones(90))
    assert np.abs(gram - np.eye(5)).max() < 1e-3  # rounding of Z over its smallest: 1e-4


def test_badly_conditioned_limit(form):
    """Rows over eight decades: the residual is at rounding of Zx, and x that of the stored V."""
    rng = np.random.default_rng(1)
    Z = 10.0 ** -np.arange(0, 9, 2.0)[:, None] * rng.standard_normal((5, 90))
    problem, factors = mf.Regression(form(Z), Z @ rng.random(90)), mf.Factors.pilot(np.zeros(90))
    for total in (0.0, 2.0):
        limit = mf.interpolator(problem, factors, total)
        assert limit.status == "converged"
        residual = np.abs(Z @ limit.x - problem.y) / (np.abs(Z) @ np.abs(limit.x))
        assert residual[0] < 100 * EPS
        assert np.abs(Z @ limit.x - problem.y).max() < 1e-13


# ---- limits


def test_reference_limits_as_an_operator(operator, case):
    for limit in (
        mf.interpolator(case.problem, case.factors, case.total),
        mf.interpolators(case.problem, [case.factors], [case.total])[0][0],
    ):
        assert limit.status == "converged"
        if case.raw["limit"] is not None:
            assert np.abs(limit.x - case.raw["limit"]).max() < 1e-13


@pytest.mark.parametrize("kind", ["free", "balanced", "some zero", "infeasible"])
def test_every_limit_is_that_of_the_stored_matrix(monkeypatch, kind):
    rng = np.random.default_rng(5)
    Z = sparse_matrix(12, 60, 0.3, 2)
    Z = abs(Z) if kind == "infeasible" else Z
    y = Z @ rng.uniform(0.5, 1.0, 60)
    factors = {
        "free": mf.Factors.pilot(rng.normal(0, 0.3, 60)),
        "balanced": mf.Factors.balanced(np.ones(60)),
        "some zero": mf.Factors(np.r_[np.zeros(5), np.ones(55)], np.r_[np.zeros(30), np.ones(30)]),
        "infeasible": mf.Factors.balanced(np.r_[-np.ones(40), np.ones(20)]),
    }[kind]
    totals = [0.0, 1.0, 4.0, np.inf]

    def answers(matrix):
        problem = mf.Regression(matrix, y)
        return [
            *(mf.interpolator(problem, factors, total) for total in totals),
            mf.lasso_limit(problem, factors, 0.01),
            *mf.interpolators(problem, [factors], totals)[0],
        ]

    expected = answers(Z.toarray())
    stored = answers(Z)
    monkeypatch.setattr(rowspace, "STORED", 0)
    monkeypatch.setattr(rowspace, "BLOCK", 64)
    monkeypatch.setattr(columns, "WHOLE", 0)
    for others in (stored, answers(Z), answers(Z.toarray())):
        for limit, other in zip(expected, others, strict=True):
            assert limit.status == other.status != "not_converged"
            assert np.abs(limit.x - other.x).max() <= 1e-11 * np.abs(limit.x).max()
            assert other.constraint_residual <= 1e-12


def test_rank_deficient_and_inconsistent(form):
    rng = np.random.default_rng(0)
    Z, y = rng.standard_normal((3, 80)), rng.standard_normal(3)
    factors = mf.Factors.pilot(rng.normal(0, 0.3, 80))
    twice = mf.Regression(form(np.vstack([Z, Z])), np.r_[y, y])
    apart = mf.Regression(form(np.vstack([Z, Z])), np.r_[y + 0.3, y - 0.3])
    for total in (0.0, 2.0, np.inf):
        plain = mf.interpolator(mf.Regression(form(Z), y), factors, total)
        for problem, status in ((twice, "converged"), (apart, "inconsistent")):
            limit = mf.interpolator(problem, factors, total)
            assert limit.status == status
            assert np.abs(plain.x - limit.x).max() < 1e-12


# ---- working sets


@pytest.mark.parametrize("seed", range(3))
def test_minimum_l1_on_few_columns(operator, monkeypatch, seed):
    """By steps of the dual, with the columns at 1 alone: HiGHS on all agrees."""
    problem = mf.gaussian_recovery(8, 200, 8, seed)  # 8 nonzeros: minimum L1 is another point
    sizes = []
    take = columns.SignedColumns.take
    monkeypatch.setattr(
        columns.SignedColumns,
        "take",
        lambda G, chosen: sizes.append(chosen.size) or take(G, chosen),
    )
    limit = mf.interpolator(problem, mf.Factors.pilot(np.zeros(200)), np.inf)
    signed = np.hstack([problem.Z, -problem.Z])
    other = linprog(np.ones(400), A_eq=signed, b_eq=problem.y, method="highs-ipm")
    assert limit.status == "converged"
    assert np.abs(limit.x - (other.x[:200] - other.x[200:])).max() < 1e-9
    assert limit.gap < 1e-12
    assert np.abs(problem.Z.T @ limit.dual).max() <= 1 + 1e-9
    assert max(sizes) <= 16  # of 400


def test_minimum_l1_of_two_rows_by_steps_of_the_dual(operator):
    for seed in range(18):
        rng = np.random.default_rng(seed)
        problem = mf.Regression(rng.standard_normal((2, 60)), rng.standard_normal(2))
        limit = mf.interpolator(problem, mf.Factors.pilot(rng.normal(0, 0.3, 60)), np.inf)
        assert limit.status == "converged"
        assert np.abs(limit.x).sum() == pytest.approx(mf.min_l1(problem).value, rel=1e-10)
        assert np.abs(problem.Z.T @ limit.dual).max() <= 1 + 1e-9


def test_a_working_set_grows_until_its_dual_holds_everywhere(operator):
    """The worst columns join a few at a time; those that just touch the level belong to it."""
    V = np.zeros((1, 60))
    V[0] = np.r_[np.linspace(2.0, 3.0, 50), np.full(10, 1.0)]  # 1/V: what each dual makes 1
    G = columns.SignedColumns(rowspace.Basis(V), np.arange(60), np.arange(0))
    seen = []

    def solve(H):
        seen.append(H.max())
        # the best of the first set, then of a larger one, at last 1/3
        return np.array([1.0 / H.max()])

    chosen = columns.working_set(G, np.array([-1.0]), solve, 1.0, 1e-9)
    assert seen == sorted(seen)
    assert len(seen) >= 2
    assert seen[-1] == 3.0
    assert chosen.size < 60
    # the same dual whatever is asked: all columns at the level are in, and no others
    tied = columns.working_set(G, np.array([-1.0]), lambda H: np.array([1.0 / 3.0]), 1.0, 1e-9)
    assert 49 in tied
    assert tied.size == 5
    # nothing left to improve, nothing joins
    assert columns.working_set(G, np.array([-1.0]), lambda H: np.zeros(1), 0.0, 1e-9).size == 4


def test_ties_of_the_cone_are_solved(form):
    """Rows with y = 0 tie most columns."""
    statuses = []
    for seed in range(8):
        Z = abs(sparse_matrix(20, 400, 0.05, seed)).toarray()
        y = Z[:, :2].sum(axis=1)
        limit = mf.interpolator(mf.Regression(form(Z), y), mf.Factors.balanced(-np.ones(400)), 1.0)
        statuses.append(limit.status)
        # x ≤ 0 can only increase the misfit of y ≥ 0: x is 0 where Z is not
        if y.any() or limit.success:  # for a large G, 0 on the cone's boundary is not told
            assert limit.status == ("no_interpolator_in_sign_cone" if y.any() else "converged")
            assert not limit.x[Z.any(axis=0)].any()
    assert "no_interpolator_in_sign_cone" in statuses


def test_minimum_l1_face_of_many_points(operator):
    """Duplicate columns: no path names one point, and each copy gets its share."""
    rng = np.random.default_rng(3)
    half = rng.standard_normal((5, 60))
    x = np.r_[1.0, -2.0, 0.5, np.zeros(57)]
    problem = mf.Regression(np.hstack([half, half]), half @ x)
    factors = mf.Factors.pilot(rng.normal(0, 0.4, 120))
    limit = mf.interpolator(problem, factors, np.inf)
    late = mf.interpolator(problem, factors, 1000.0)
    assert limit.status == "converged"
    assert np.abs(limit.x - late.x).max() < 1e-9
    on = np.flatnonzero(limit.x[:60])
    weights = np.where(limit.x > 0, factors.u**2, factors.v**2)
    assert limit.x[on] / limit.x[on + 60] == pytest.approx(weights[on] / weights[on + 60], rel=1e-9)


@pytest.mark.parametrize("alpha", [1e-4, 1e-2, 0.1])
def test_lasso_on_working_sets(operator, alpha):
    problem = mf.gaussian_recovery(10, 150, 3, 0)
    limit = mf.lasso_limit(problem, mf.Factors.pilot(np.zeros(150)), alpha)
    slope = problem.gradient(limit.x)
    assert limit.status == "converged"
    assert limit.gap < 1e-13
    assert np.abs(slope).max() <= 2 * alpha * (1 + 1e-8)
    on = limit.x != 0
    assert slope[on] == pytest.approx(-2 * alpha * np.sign(limit.x[on]), rel=1e-8)


def test_zero_columns_stay_where_they_are():
    """No rounding of V in columns where Z has nothing: a balanced coordinate there keeps p̄."""
    Z = np.abs(sparse_matrix(5, 40, 0.2, 4).toarray())
    Z[:, :7] = 0.0
    problem, factors = mf.Regression(Z, Z.sum(axis=1)), mf.Factors.balanced(-np.ones(40))
    assert not problem.row_space.V[:, :7].any()
    limit = mf.interpolator(problem, factors, 1.0)
    assert limit.status == "no_interpolator_in_sign_cone"
    empty = ~Z.any(axis=0)
    assert limit.x[empty] == pytest.approx(-np.exp(-4.0), rel=1e-14)
    assert not limit.x[~empty].any()


# ---- what is accepted, and what it costs


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
def test_any_sparse_format(kind):
    Z = np.array([[1.0, 0.0, 2.0], [0.0, -1.0, 0.0]])
    given = scipy.sparse.csr_matrix(Z).asformat(kind)
    problem = mf.Regression(given, [3.0, 1.0], [1.0, -1.0, 1.0])
    assert scipy.sparse.issparse(problem.Z)
    assert problem.Z.format == "csr"
    assert problem.Z.dtype == np.float64
    assert problem.Z.toarray().tolist() == Z.tolist()
    assert (problem.n, problem.d) == (2, 3)
    assert problem.value(np.ones(3)) == mf.Regression(Z, problem.y).value(np.ones(3))
    assert problem.gradient(np.ones(3)).tolist() == [0.0, 1.0, 0.0]
    assert problem.magnitude(-np.ones((2, 3))).tolist() == [[3.0, 1.0]] * 2
    with pytest.raises(ValueError, match="read-only"):
        problem.Z.data[0] = 5.0
    other = problem.with_targets([1.0, 2.0])
    assert other.Z is problem.Z
    assert other.row_space.basis is problem.row_space.basis


def test_sparse_entries_given_twice_are_added():
    twice = scipy.sparse.csr_array(([1.0, -2.0], [1, 1], [0, 2]), shape=(1, 3))
    problem = mf.Regression(twice, [1.0])
    assert problem.Z.toarray().tolist() == [[0.0, -1.0, 0.0]]
    assert problem.magnitude(np.ones(3)).tolist() == [1.0]
    assert twice.nnz == 2  # what was given is left alone


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (np.nan, r"Z must be finite, but Z\[1, 2\] is nan"),
        (-np.inf, r"Z must be finite, but Z\[1, 2\] is -inf"),
        (1e151, r"Z must be at most 1e\+150 in size, but Z\[1, 2\] is 1e\+151"),
        (1j, "Z must hold real numbers, but its dtype is complex128"),
    ],
)
def test_bad_sparse_entries(entry, message):
    Z = scipy.sparse.coo_array(([1.0, entry], ([0, 1], [0, 2])), shape=(2, 4))
    with pytest.raises(mf.InputError, match=message):
        mf.Regression(Z, [1.0, 2.0])


def test_bad_sparse_shapes():
    with pytest.raises(mf.InputError, match=r"Z must not be empty, but its shape is \(0, 3\)"):
        mf.Regression(scipy.sparse.csr_array((0, 3)), [])
    with pytest.raises(mf.InputError, match="y must have 2 entries"):
        mf.Regression(scipy.sparse.csr_array((2, 3)), [1.0])
    with pytest.warns(UserWarning, match="n = 3 samples for d = 2 features"):
        mf.Regression(scipy.sparse.csr_array((3, 2)), np.zeros(3))


def test_an_array_nobody_can_write_to_is_not_copied():
    Z = np.ones((2, 5))
    assert mf.Regression(Z, [1.0, 1.0]).Z is not Z
    Z.flags.writeable = False
    assert mf.Regression(Z, [1.0, 1.0]).Z is Z
    view = np.ones((4, 5))[:2]  # its base can be written to
    view.flags.writeable = False
    assert mf.Regression(view, [1.0, 1.0]).Z is not view
    bad = np.full((2, 5), np.nan)
    bad.flags.writeable = False
    with pytest.raises(mf.InputError, match=r"Z must be finite, but Z\[0, 0\] is nan"):
        mf.Regression(bad, [1.0, 1.0])


def peak(work):
    """Bytes that `work` had allocated at most, on top of what there was."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_second_copy_of_a_large_matrix(monkeypatch):
    """40 MB of Z, and everything else in a quarter of that: blocks and vectors."""
    monkeypatch.setattr(rowspace, "BLOCK", 2**17)
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((200, 25_000))
    Z.flags.writeable = False
    y, factors = Z[:, :5].sum(axis=1), mf.Factors.pilot(np.zeros(25_000))

    def work():
        problem = mf.Regression(Z, y)
        for total in (0.0, 4.0):
            assert mf.interpolator(problem, factors, total).success

    assert peak(work) < 0.25 * Z.nbytes


def test_a_sparse_matrix_is_never_made_dense(monkeypatch):
    """200 samples of 10⁵ features would be 160 MB."""
    monkeypatch.setattr(rowspace, "BLOCK", 2**17)
    Z = sparse_matrix(200, 100_000, 1e-3, 0)
    y, factors = Z @ np.ones(100_000), mf.Factors.pilot(np.zeros(100_000))

    def work():
        problem = mf.Regression(Z, y)
        assert mf.interpolator(problem, factors, 1.0).success
        assert mf.interpolators(problem, [factors], [0.0, 1.0])[0][1].success

    assert peak(work) < 200 * 100_000 * 8 / 4


FULL = """
import json, resource, sys
import numpy as np
import mirrorflow as mf

def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = used()
problem = mf.gaussian_recovery(500, 50_000, 20, 0)
factors = mf.Factors.pilot(np.random.default_rng(0).normal(0, 50_000**-0.25, 50_000))
path = mf.interpolators(problem, [factors], [0.0, 1.0, 4.0, 8.0])[0]
size = [float(problem.magnitude(limit.x).max()) for limit in path]
print(json.dumps({
    "peak": (used() - before) / problem.Z.nbytes,
    "statuses": [limit.status for limit in path],
    "residuals": [limit.constraint_residual / s for limit, s in zip(path, size)],
    "stationarity": [limit.stationarity_residual for limit in path],
    "distance": float(np.abs(path[-1].x - problem.x_true).max()),
}))
"""


@pytest.mark.slow
def test_the_large_problem_in_full():
    """500 × 50,000: 200 MB of Z and at most as much again; some 50 seconds."""
    run = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert found["statuses"] == ["converged"] * 4
    assert max(found["residuals"]) < 1e-12
    assert max(found["stationarity"]) < 50 * EPS * 33
    assert found["distance"] < 1e-3
    assert found["peak"] < 2.0
