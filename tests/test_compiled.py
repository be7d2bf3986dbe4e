"""Compiled runs: loops against NumPy, paths against scipy's integrators, promises kept."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from scipy.integrate import solve_ivp

import mirrorflow as mf
from mirrorflow import losses
from mirrorflow.compiled import options
from mirrorflow.maps import product

EPS = float(np.finfo(float).eps)
ALL = np.uintp(0), np.uintp(23)


# ---- loops


def test_x_keeps_its_digits_where_its_parts_are_large():
    """a sinh(2μ + c) in 50 digits, for a from 1e-8 to 1e12 and x from far below a to far above."""
    mpmath = pytest.importorskip("mpmath")
    mpmath.mp.dps = 50
    for beta in (1e-8, 1.0, 1e6, 1e12):
        factors = mf.Factors.pilot(np.array([0.0, 1.0, -3.0]), beta)
        parts, out = factors.parts(), np.empty((3, 3))
        for mu in (1e-15, -1e-9, 1e-4, 0.2, -3.0):
            product.point_loop(parts, np.uintp(0), np.uintp(3), 0.3, np.full(3, mu), out)
            rise, shrink = mpmath.exp(2 * mpmath.mpf(mu)), mpmath.exp(-mpmath.mpf(1.2))
            for j in range(3):
                m, w = mpmath.mpf(factors.m[j]), mpmath.mpf(factors.w[j])
                p, q = shrink * rise * (m + w) ** 2 / 4, shrink / rise * (m - w) ** 2 / 4
                # 2μ + c is as exact as its two terms, a as its logarithm
                x, a = p - q, mpmath.sqrt(p * q)
                lost = 8 + 2 * abs(mpmath.log(p + q)) + abs(2 * mu) + 2 * abs(mpmath.log(p / q))
                assert abs(out[0, j] - x) <= EPS * lost * (abs(x) + a * abs(mu))
                assert out[1, j] == pytest.approx(float(2 * (p + q)), rel=1e-12)


def test_the_map_by_address_is_the_map():
    """Functions that compiled code calls by address give the bits of those it calls directly."""
    rng = np.random.default_rng(1)
    factors, out, other = (
        mf.Factors(*rng.standard_normal((2, 9))),
        np.zeros((3, 9)),
        np.zeros((3, 9)),
    )
    arguments = factors.parts(), np.uintp(0), np.uintp(9), 0.1, rng.standard_normal(9)
    product.point(*arguments, out)
    product.point_loop(*arguments, other)
    assert np.array_equal(out, other)
    z, y, slopes = rng.standard_normal(4), rng.standard_normal(4), np.empty((2, 4))
    losses.squared(z, y, 0.0, slopes)
    assert np.array_equal(slopes, [z - y, np.ones(4)])


# ---- runs


def radau(problem, factors, schedule, times):
    """(m, w) by scipy's Radau at rtol 1e-11: another method, another code."""
    d = problem.d

    def derivative(t, state):
        m, w = state[:d], state[d:]
        grad_f = problem.Z.T @ (problem.Z @ (m * w) - problem.y) / problem.n
        alpha = float(schedule.alpha(t))
        return np.concatenate([-w * grad_f - 2 * alpha * m, -m * grad_f - 2 * alpha * w])

    start = np.concatenate([factors.m, factors.w])
    knots = [0.0, *(t for t in schedule.breakpoints if t < times[-1]), times[-1]]
    states = []
    for left, right in itertools.pairwise(knots):
        inside = times[(times > left) & (times <= right)]
        end = np.nextafter(right, 0.0)  # α jumps at the end
        asked = np.append(np.minimum(inside, end), end)
        done = solve_ivp(
            derivative, (left, end), start, "Radau", np.unique(asked), rtol=1e-11, atol=1e-13
        )
        states += list(done.y.T[: len(inside)])
        start = done.y[:, -1]
    return np.array(states)


@pytest.mark.parametrize(
    "schedule", [mf.Constant(0.0), mf.Constant(0.4, 2.0), mf.Harmonic(0.2, 3.0)]
)
def test_both_forms_are_scipys_radau(small, schedule):
    """The dual flow and the reference integrator share a stepper; this method shares nothing."""
    problem, factors = small
    times = np.array([0.1, 1.0, 5.0, 40.0, 300.0])
    states = radau(problem, factors, schedule, times)
    x = states[:, :15] * states[:, 15:]
    for integrate in (mf.gradient_flow, mf.direct_flow):
        flow = integrate(problem, factors, schedule, times, 1e-10)
        assert np.abs(flow.x - x).max() < 1e-8
        assert np.abs(flow.m - states[:, :15]).max() < 1e-8


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("beta", [1e-6, 1.0, 1e6, 1e12])
def test_rtol_is_the_relative_error_of_x(unit, beta):
    """Z, y → cZ, cy with time 1/c²: the same path to the last digits; and every β keeps rtol."""
    rng = np.random.default_rng(11)
    Z, x0 = rng.standard_normal((4, 9)), 0.3 * rng.standard_normal(9)
    y = rng.standard_normal(4)
    problem, factors = mf.Regression(unit * Z, unit * y), mf.Factors.pilot(x0, beta)
    times = np.array([0.03, 0.3, 1.0]) / max(beta, 1e-1) / unit**2
    best = mf.gradient_flow(problem, factors, mf.Constant(0.0), times, 1e-12)
    assert best.success
    for integrate in (mf.gradient_flow, mf.direct_flow):
        flow = integrate(problem, factors, mf.Constant(0.0), times, 1e-7)
        assert flow.success
        # as many steps as a run has may add up; the reference's own rounding is below 1e-10
        assert np.abs(flow.x - best.x).max() < 1e-7 * max(np.abs(best.x).max(), 1e-3)


def test_what_becomes_of_a_run_depends_on_no_other(small, monkeypatch):
    problem, factors = small
    starts = [factors, *(mf.Factors.pilot(np.full(15, s), 0.5) for s in (0.1, -0.2, 0.4))]
    schedules = [mf.Constant(0.0), mf.Constant(0.5, 1.0), mf.Harmonic(0.3, 1.0)]
    schedules.append(mf.Quadratic(0.2, 2.0))
    times = [np.linspace(0, 5, 4), np.linspace(0, 9, 7), np.array([1e3]), np.array([0.0, 1.0])]
    for many, one in ((mf.gradient_flows, mf.gradient_flow), (mf.direct_flows, mf.direct_flow)):
        alone = [one(problem, *run) for run in zip(starts, schedules, times, strict=True)]
        for threads, order in (("1", [0, 1, 2, 3]), ("2", [3, 1, 0, 2])):
            monkeypatch.setenv("OMP_NUM_THREADS", threads)
            given = [[values[i] for i in order] for values in (starts, schedules, times)]
            for i, flow in zip(order, many(problem, *given), strict=True):
                assert np.array_equal(flow.m, alone[i].m)
                assert np.array_equal(flow.w, alone[i].w)
                assert flow.steps == alone[i].steps


def test_sparse_and_dense_agree():
    rng = np.random.default_rng(4)
    Z = rng.standard_normal((5, 40)) * (rng.random((5, 40)) < 0.3)
    y, factors = rng.standard_normal(5), mf.Factors(*rng.standard_normal((2, 40)))
    times, schedule = [0.0, 1.0, 100.0], mf.Constant(0.1, 1.0)
    dense, sparse = mf.Regression(Z, y), mf.Regression(scipy.sparse.coo_array(Z), y)
    for integrate in (mf.gradient_flow, mf.direct_flow):
        one = integrate(dense, factors, schedule, times, 1e-9)
        two = integrate(sparse, factors, schedule, times, 1e-9)
        assert np.abs(one.x - two.x).max() < 1e-8


@pytest.mark.parametrize("schedule", [mf.Constant(0.0), mf.Constant(1.0, 2.0)])
def test_a_tail_of_a_million_million_ends_at_the_limit(recovery, schedule):
    problem, factors = recovery
    flow = mf.gradient_flow(problem, factors, schedule, [1e12, np.inf])
    assert flow.success
    assert np.abs(flow.x[0] - flow.x[1]).max() < 1e-9
    assert flow.right_hand_sides < 3000


def test_balanced_factors_stay_balanced_to_the_bit(small):
    """|m| = |w| lasts through explicit and implicit steps, so no sign is lost to rounding."""
    problem, _ = small
    start = mf.Factors.balanced(np.linspace(-1.0, 1.0, 15))
    flow = mf.direct_flow(problem, start, mf.Constant(0.3, 1.0), [1.0, 1e3, 1e7])
    assert flow.factorizations > 5
    assert np.array_equal(np.abs(flow.m), np.abs(flow.w))


def test_without_compilation_the_same_code_runs_as_python(tmp_path):
    """The same path to rounding, and inf where exponentials overflow: what is debugged is what
    runs."""
    program = """
        import json
        import numpy as np, mirrorflow as mf
        rng = np.random.default_rng(0)
        problem = mf.Regression(rng.standard_normal((2, 5)), [1.0, -1.0])
        factors = mf.Factors(*rng.standard_normal((2, 5)))
        flows = [f(problem, factors, mf.Constant(0.5, 1.0), [0.5, 30.0], 1e-6)
                 for f in (mf.gradient_flow, mf.direct_flow)]
        far = [mf.Poisson().value(1e5, 1.0), mf.Exponential().slope(-1e5, 1.0)]
        power = mf.SignedPower([0.9, -1.2], 2.0).potential().gradient([5.0, -1e-3])
        print(json.dumps([[flow.x.tolist() for flow in flows], [*map(float, far), *power]]))
    """
    # |θ| = |θ₀|e^{2μ sign θ₀}
    powers = [0.25 * np.log(5.0 / 0.81), -0.25 * np.log(1e-3 / 1.44)]
    answers = []
    for disabled in ("0", "1"):
        environment = os.environ | {"NUMBA_DISABLE_JIT": disabled}
        command = [sys.executable, "-c", textwrap.dedent(program)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        paths, numbers = json.loads(done.stdout)
        answers.append(np.array(paths))
        assert numbers[:2] == [np.inf, -np.inf]
        assert numbers[2:] == pytest.approx(powers, rel=1e-12)
    assert np.abs(answers[0] - answers[1]).max() < 1e-9


RUNS = """
problem = mf.Regression([[1.0, 2.0, -1.0], [0.5, -1.0, 1.0]], [1.0, -1.0], loss=loss)
start = mf.Factors([1.0, 0.5, 0.2], [0.1, 0.2, 0.3])
flows = [f(problem, start, mf.Constant(0.1, 1.0), [0.5, 2.0], 1e-6)
         for f in (mf.gradient_flow, mf.direct_flow)]
print(json.dumps([flow.x.tolist() for flow in flows]))
"""
# a loss in words that Numba does not know, and the same by the package
OWN = """
import json, mirrorflow as mf
from mirrorflow.compiled.options import kernel

@kernel("LOSS")
def own(z, y, parameter, out):
    rows = {"slope": z - y, "curvature": [1.0 for _ in y], "value": 0.5 * (z - y) ** 2}
    for row, (_, values) in zip(out, rows.items()):
        row[:] = values

class Own(mf.Loss):
    rows = own

loss = Own()
"""
# read by every Python that starts, so by the process that compiles too
BROKEN = """
from numba.core import compiler

def fail(*_, **__):
    raise OSError("no LLVM")

compiler.compile_extra = fail
"""
SQUARED = "import json, mirrorflow as mf\nloss = mf.Squared()\n"
MISSING = """
import sys
sys.modules["numba"] = None
"""


@pytest.mark.parametrize(
    ("first", "program", "said"),
    [
        ("", OWN, r"mirrorflow: __main__\.own runs as Python, slowly: .*\(.+\)\n"),
        (BROKEN, SQUARED, r"(mirrorflow: mirrorflow\.\S+ runs as Python, .*\(no LLVM\)\n)+"),
        (MISSING, SQUARED, r"mirrorflow: Numba can't be imported \(.+\), so flows run as .+\n"),
    ],
    ids=["own", "broken", "missing"],
)
def test_what_cannot_be_compiled_runs_as_python_and_says_so_once(tmp_path, first, program, said):
    (tmp_path / "sitecustomize.py").write_text(first)
    (tmp_path / "program.py").write_text(program + RUNS)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    # where nothing is kept on disk yet, all has to be compiled
    folder = {"NUMBA_CACHE_DIR": str(tmp_path)} if first == BROKEN else {}
    environment = os.environ | {"PYTHONPATH": path} | folder
    command = [sys.executable, str(tmp_path / "program.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    lines = [line for line in done.stderr.splitlines(True) if "once on this machine" not in line]
    assert re.fullmatch(said, "".join(lines))
    assert len(set(lines)) == len(lines)
    problem = mf.Regression([[1.0, 2.0, -1.0], [0.5, -1.0, 1.0]], [1.0, -1.0])
    start, times = mf.Factors([1.0, 0.5, 0.2], [0.1, 0.2, 0.3]), [0.5, 2.0]
    for x in json.loads(done.stdout):
        best = mf.gradient_flow(problem, start, mf.Constant(0.1, 1.0), times, 1e-10).x
        assert np.abs(np.array(x) - best).max() < 1e-5


def test_who_compiles_again_in_each_process_is_told_why(monkeypatch, capsys):
    numba = pytest.importorskip("numba")
    for probe, said in ((numba.njit(lambda: 0), "NUMBA_CACHE_DIR names one"), (lambda: 0, "")):
        monkeypatch.setattr(options, "_probe", probe)  # no folder can be written to; no Numba
        options.compile_apart.__wrapped__()
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == bool(said)


def test_a_map_may_know_any_number_of_rows():
    """More rows than m ⊙ w has, which it does not look at, change no bit."""

    class Wide(mf.Factors):
        def parts(self):
            return np.concatenate([super().parts(), np.full((40, self.d), np.nan)])

    rng = np.random.default_rng(0)
    problem = mf.Regression(rng.standard_normal((3, 7)), rng.standard_normal(3))
    m, w = rng.standard_normal((2, 7))
    flows = [
        mf.gradient_flow(problem, start, mf.Constant(0.1, 1.0), [0.5, 30.0])
        for start in (mf.Factors(m, w), Wide(m, w))
    ]
    assert flows[0].success
    assert (flows[0].parameters == flows[1].parameters).all()


def test_every_compiled_module_is_in_the_digest():
    """Code on disk is taken only where all that went into it is the same."""
    package = Path(mf.__file__).parent
    covered = {file for pattern in options.COMPILED for file in package.glob(pattern)}
    words = re.compile(r"^@(loop|inlined|exact|vectorised|kernel)\b", re.M)
    compiled = {file for file in package.rglob("*.py") if words.search(file.read_text("utf-8"))}
    assert compiled <= covered


@pytest.mark.slow
def test_a_process_that_compiles_takes_the_bits_of_those_that_load(tmp_path):
    program = """
        import hashlib
        import numpy as np, mirrorflow as mf
        rng, bits = np.random.default_rng(0), hashlib.sha256()
        for beta in (1.0, 50.0):
            problem = mf.Regression(rng.standard_normal((8, 20)), rng.standard_normal(8))
            factors = mf.Factors.pilot(rng.standard_normal(20), beta)
            for f in (mf.gradient_flow, mf.direct_flow):
                flow = f(problem, factors, mf.Constant(0.1, 10.0), np.geomspace(1e-3, 1e3, 81))
                bits.update(flow.m.tobytes())
        print(bits.hexdigest())
    """
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    runs = [subprocess.check_output(command, env=environment) for _ in range(2)]
    assert runs[0] == runs[1]
