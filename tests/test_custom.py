"""Custom parametrizations: tabulated flow maps against closed forms, decay, flows, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.polynomial import legendre

import mirrorflow as mf

CASES = json.loads((Path(__file__).parent / "data" / "custom_cases.json").read_text())
SCHEDULE = mf.Quadratic(0.3, 1.0)  # of the reference cases
D = 5
RNG = np.random.default_rng(0)
U, V = RNG.uniform(0.5, 1.0, (2, D))
SIGNED = RNG.uniform(-1.0, 1.0, D)
TABLE = 1e-12  # relative error of a table: 1e-13 for the tail of each series, and some pieces


def cubes(theta):
    return theta[0] ** 3 - theta[1] ** 3


def logs(theta):
    return np.log(theta[0]) - np.log(theta[1])


class Known(NamedTuple):
    """A parametrization whose flow map is known: X(μ), X′(μ) and the ends of its domain."""

    g: object
    theta: list
    X: object
    slope: object
    ends: tuple


def quadratic(mu):
    """mw + ¼(m² − w²) = ½θᵀAθ, by the eigenvectors of A."""
    values, vectors = np.linalg.eigh([[0.5, 1.0], [1.0, -0.5]])
    parts = (vectors.T @ np.stack([U, SIGNED])) ** 2
    moved = np.exp(2.0 * np.multiply.outer(values, mu)) * parts
    return 0.5 * (values[:, None] * moved).sum(0), (values[:, None] ** 2 * moved).sum(0)


TAN = np.arctan(np.sinh(SIGNED))
ROOT = np.sqrt(U) / 0.75
ENDLESS = (np.full(D, -np.inf), np.full(D, np.inf))
KNOWN = {
    "sinh": Known(
        lambda t: np.sinh(t[0]),
        [SIGNED],
        lambda mu: np.tan(mu + TAN),
        lambda mu: np.cos(mu + TAN) ** -2,
        (-np.pi / 2 - TAN, np.pi / 2 - TAN),
    ),
    "exp, torch": Known(
        lambda t: torch.exp(t[0]),
        [SIGNED],
        lambda mu: 1 / (np.exp(-SIGNED) - mu),
        lambda mu: 1 / (np.exp(-SIGNED) - mu) ** 2,
        (ENDLESS[0], np.exp(-SIGNED)),
    ),
    "cubes": Known(
        cubes,
        [U, V],
        lambda mu: (1 / U - 3 * mu) ** -3 - (1 / V + 3 * mu) ** -3,
        lambda mu: 9 * ((1 / U - 3 * mu) ** -4 + (1 / V + 3 * mu) ** -4),
        (-1 / (3 * V), 1 / (3 * U)),
    ),
    "|θ|^½ θ, torch, up to its zero": Known(
        lambda t: t[0].abs() ** 0.5 * t[0],
        [U],
        lambda mu: (0.75 * (mu + ROOT)) ** 3,
        lambda mu: (1.5 * 0.75 * (mu + ROOT)) ** 2,
        (-ROOT, ENDLESS[1]),
    ),
    "logs": Known(
        logs,
        [U, V],
        lambda mu: 0.5 * np.log((U**2 / 2 + mu) / (V**2 / 2 - mu)),
        lambda mu: 0.5 * (1 / (U**2 / 2 + mu) + 1 / (V**2 / 2 - mu)),
        (-(U**2) / 2, V**2 / 2),
    ),
    "linear": Known(
        lambda t: 2 * t[0] + t[1],
        [SIGNED, V],
        lambda mu: 2 * SIGNED + V + 5 * mu,
        lambda mu: 5 + 0 * mu,
        ENDLESS,
    ),
    "mw + ¼(m² − w²)": Known(
        lambda t: t[0] * t[1] + 0.25 * (t[0] ** 2 - t[1] ** 2),
        [U, SIGNED],
        lambda mu: quadratic(mu)[0],
        lambda mu: quadratic(mu)[1],
        ENDLESS,
    ),
}


@pytest.fixture(scope="module", params=KNOWN)
def known(request):
    one = KNOWN[request.param]
    return one, mf.Custom(one.g, one.theta)


def inside(start, fraction):
    """μ at a fraction of the domain, where it is endless within ±3."""
    low, high = start.domain
    low, high = np.maximum(low, -3.0), np.minimum(high, 3.0)
    return low + fraction * (high - low)


def test_flow_maps_are_the_known_ones(known):
    one, start = known
    for fraction in np.linspace(0.02, 0.98, 13):
        mu = inside(start, fraction)
        x, slope, _, _ = start.at(mu)
        exact, size = one.X(mu), np.abs(one.X(mu)) + np.abs(one.slope(mu) * mu)
        assert (np.abs(x - exact) <= TABLE * size).all()
        assert slope == pytest.approx(one.slope(mu), rel=TABLE)
        theta = start.parameters(np.zeros(1), mu[None])
        assert (np.abs(start.g(theta)[0] - exact) <= TABLE * size).all()


def test_layers_are_known_to_the_ends_of_the_table(known):
    """Within its first and last pieces too; beyond them they are nan."""
    _, start = known
    edges = start._map.edges
    for first, end in ((edges[1], edges[0]), (edges[-2], edges[-1])):
        for mu in (0.5 * (first + end), end):
            theta = start.parameters(np.zeros(1), mu[None])[0]
            assert np.isfinite(theta).all()
            x, slope, _, _ = start.at(mu)
            off = np.abs(start.g(theta) - x)
            assert (off <= TABLE * (np.abs(x) + np.abs(slope * mu))).all()
        assert np.isnan(start.parameters(np.zeros(1), 1.001 * end[None])).all()


def test_q_is_the_integral_of_x(known):
    one, start = known
    nodes, weights = legendre.leggauss(60)
    for fraction in (0.3, 0.45, 0.6):
        mu = inside(start, fraction)
        integral = 0.5 * mu * (weights @ [one.X(0.5 * mu * (1 + t)) for t in nodes])
        q = start.at(mu)[3] - start.at(np.zeros(D))[3]
        assert np.abs(q - integral).max() <= 1e-11 * (1 + np.abs(mu * one.X(mu)).max())


def test_tables_end_where_the_domain_does(known):
    one, start = known
    for end, own, side in zip(one.ends, start.domain, (-1.0, 1.0), strict=True):
        finite = np.isfinite(end)
        assert own[finite] == pytest.approx(end[finite], rel=1e-8)
        assert (side * own[~finite] > 20.0).all()
        beyond = start.at(own + side * np.abs(own))
        assert np.isnan(beyond).all()
        assert np.isfinite(start.at(own)[0]).all()
        assert np.isnan(start.parameters(np.zeros(1), 2.0 * own[None])).all()


def test_the_potential_inverts_x(known):
    one, start = known
    R = start.potential()
    mu = inside(start, 0.7)
    assert R.inverse_gradient(mu) == pytest.approx(one.X(mu), rel=TABLE, abs=TABLE)
    assert R.gradient(one.X(mu)) == pytest.approx(mu, rel=1e-10, abs=1e-12)
    assert R.divergence(one.X(mu), start.x) > 0


def test_like_factors():
    """m ⊙ w: the same rows as in closed form, rate included, and the same flow."""
    m, w = U, SIGNED * 0.4
    known, start = mf.Factors(m, w), mf.Custom(lambda t: t[0] * t[1], [m, w])
    assert (start.kappa, start.decay) == (0.0, 4.0)
    c = known.potential().c
    for mu in np.linspace(-8.0, 8.0, 17)[:, None] * np.linspace(0.6, 1.0, D):
        for total in (0.0, 0.7):
            rows, exact = start.at(mu, total), known.at(mu, total)
            assert rows[:2] == pytest.approx(exact[:2], rel=TABLE)
            assert rows[2] == pytest.approx(2.0 * np.abs(np.tanh(2 * mu + c)), abs=1e-9)
    total, mu = np.array([0.3, 2.0]), np.stack([mu, -mu])
    assert start.parameters(total, mu) == pytest.approx(known.parameters(total, mu), rel=TABLE)


def test_torch_and_numpy_agree():
    by_torch = mf.Custom(lambda t: torch.sinh(t[0]) + t[1] ** 3, [SIGNED, V])
    by_numpy = mf.Custom(lambda t: np.sinh(t[0]) + t[1] ** 3, [SIGNED, V])
    mu = inside(by_torch, 0.8)
    assert by_torch.at(mu)[:2] == pytest.approx(by_numpy.at(mu)[:2], rel=TABLE)


def test_numpy_needs_no_torch():
    program = """
        import sys, numpy as np, mirrorflow as mf
        start = mf.Custom(lambda t: np.sinh(t[0]), [[0.5, 1.0]])
        problem = mf.Regression([[1.0, 2.0]], [1.0])
        for flow in (mf.gradient_flow, mf.direct_flow):
            assert flow(problem, start, mf.Constant(0.0), [1.0]).success
        sys.exit('torch' in sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    assert subprocess.run(command, check=False).returncode == 0


# decay: g, penalty, κ, δ; nan where there is none
LAWS = {
    "m ⊙ w": (lambda t: t[0] * t[1], None, 0.0, 4.0),
    "|θ|^½ θ": (lambda t: t[0] * (t[0] ** 2) ** 0.25, None, -1.0, 3.0),
    "u³ − v³, torch": (lambda t: torch.pow(t[0], 3) - torch.pow(t[1], 3), None, 2.0, 6.0),
    "three layers": (lambda t: t[0] * t[1] * t[2], None, 2.0, 6.0),
    "u⁴ − v⁴": (lambda t: t[0] ** 4 - t[1] ** 4, None, 4.0, 8.0),
    "log u − log v": (logs, None, -4.0, 0.0),
    "exp, its own penalty": (lambda t: np.exp(t[0]), lambda t: np.exp(-t[0]).sum(), -2.0, np.nan),
    "linear": (lambda t: t[0], lambda t: (3 * t[0] ** 2).sum(), -6.0, 6.0),
    "cubes, Σ(u³ + v³)": (cubes, lambda t: (t**3).sum(), 0.0, np.nan),
    "logs, Σ log": (logs, lambda t: np.log(t).sum(), 0.0, np.nan),
    "sinh": (lambda t: np.sinh(t[0]), None, np.nan, np.nan),
    "unlike degrees": (lambda t: t[0] ** np.array([2, 2, 2, 2, 3]), None, np.nan, np.nan),
    "cubes, Σ(u⁴ + v⁴)": (cubes, lambda t: (t**4).sum(), np.nan, np.nan),
}


@pytest.mark.parametrize("name", LAWS)
def test_laws_of_decay(name):
    g, penalty, kappa, decay = LAWS[name]
    layers = 3 if name == "three layers" else 2
    start = mf.Custom(g, np.stack([U, V, 0.5 * U])[:layers], penalty)
    if name.startswith("exp"):  # the bracket is a multiple of ∇g, but it is no scale
        kappa = np.nan
    assert (start.kappa, start.decay) == pytest.approx((kappa, decay), nan_ok=True, abs=1e-11)


def case(name):
    given = {key: np.array(value) for key, value in CASES[name].items() if key != "T"}
    return given, mf.Regression(given["Z"], given["y"]), [CASES[name]["T"]]


def both(problem, start, times):
    return [
        flow(problem, start, SCHEDULE, times, 1e-10) for flow in (mf.gradient_flow, mf.direct_flow)
    ]


def test_reference_cubes_under_weight_decay():
    """C07: κ = 2 and δ = 6; 40 digits."""
    given, problem, times = case("C07_powers_L3")
    start = mf.Custom(cubes, [given["u0"], given["v0"]])
    for flow in both(problem, start, times):
        assert flow.parameters[0] == pytest.approx(np.stack([given["u"], given["v"]]), abs=1e-10)
    flow = mf.direct_flow(problem, start, SCHEDULE, times, 1e-10, accumulate=True)
    assert flow.accumulated[0] == pytest.approx(given["g_weighted"], abs=1e-10)
    R = start.potential(float(SCHEDULE.total(times[0])))
    assert R.gradient(given["x"]) == pytest.approx(-given["g_weighted"], abs=1e-10)


def test_reference_cubes_under_their_own_penalty():
    """C07: decay moves the start, u₀^{−1} + 3A."""
    given, problem, times = case("C07_powers_L3")
    start = mf.Custom(cubes, [given["u0"], given["v0"]], lambda theta: (theta**3).sum())
    flow = mf.direct_flow(problem, start, SCHEDULE, times, 1e-10, accumulate=True)
    exact = np.stack([given["u_commuting"], given["v_commuting"]])
    assert flow.parameters[0] == pytest.approx(exact, abs=1e-10)
    assert flow.accumulated[0] == pytest.approx(given["g_commuting"], abs=1e-10)
    total = float(SCHEDULE.total(times[0]))
    R = start.potential(total)
    assert R.inverse_gradient(-given["g_commuting"]) == pytest.approx(
        given["x_commuting"], abs=1e-11
    )
    moved = 1 / (1 / start.theta + 3 * total)
    assert R.minimizer == pytest.approx(moved[0] ** 3 - moved[1] ** 3, rel=1e-11)


def test_reference_commuting_quadratic():
    """C09 for one coordinate: g = mw + ¼(m² − w²), h = ½θᵀBθ, both with A's eigenvectors."""
    A, B = np.array([[0.5, 1.0], [1.0, -0.5]]), np.array([[1.5, 0.4], [0.4, 1.1]])
    assert np.abs(A @ B - B @ A).max() < 1e-15  # they commute
    start = mf.Custom(
        lambda t: t[0] * t[1] + 0.25 * (t[0] ** 2 - t[1] ** 2),
        np.stack([U, SIGNED]),
        lambda t: (0.75 * t[0] ** 2 + 0.4 * t[0] * t[1] + 0.55 * t[1] ** 2).sum(),
    )
    assert start.kappa == 0.0
    assert np.isnan(start.decay)
    values, vectors = np.linalg.eigh(A)
    falls = np.diag(vectors.T @ B @ vectors)
    parts, mu = (vectors.T @ start.theta) ** 2, inside(start, 0.7)
    for total in (0.0, 0.4):
        moved = np.exp(2.0 * (np.multiply.outer(values, mu) - total * falls[:, None])) * parts
        x = 0.5 * values @ moved
        assert start.potential(total).inverse_gradient(mu) == pytest.approx(x, rel=1e-11, abs=1e-12)


def test_reference_logs():
    """C10: the domain shrinks with A and is empty at last."""
    given, _, times = case("C10_log_ratio")
    problem = mf.Regression(given["Z"], given["y"])
    start = mf.Custom(logs, [given["u0"], given["v0"]], lambda theta: np.log(theta).sum())
    flow = mf.direct_flow(problem, start, SCHEDULE, times, 1e-10, accumulate=True)
    exact = np.stack([given["u"], given["v"]])
    assert flow.parameters[0] == pytest.approx(exact, abs=1e-10)
    assert flow.accumulated[0] == pytest.approx(given["g"], abs=1e-10)
    total = float(SCHEDULE.total(times[0]))
    R = start.potential(total)
    assert R.inverse_gradient(-given["g"]) == pytest.approx(given["x"], abs=1e-11)
    low, high = R.start.domain
    assert low == pytest.approx(total - given["u0"] ** 2 / 2, rel=1e-9)
    assert high == pytest.approx(given["v0"] ** 2 / 2 - total, rel=1e-9)
    with pytest.raises(mf.InputError, match=r"flow ends at 0\.5 before 0\.6"):
        start.potential(0.6)


def test_reference_powers_between_1_and_2():
    """C08: θ|θ|^½, κ = −1."""
    given, problem, times = case("C08_powerprop_1.5")
    start = mf.Custom(lambda t: t[0] * (t[0] ** 2) ** 0.25, [given["theta0"]])
    for flow in both(problem, start, times):
        assert flow.parameters[0, 0] == pytest.approx(given["theta"], abs=1e-10)


@pytest.mark.parametrize("loss", [mf.Squared(), mf.Logistic()], ids=["squared", "logistic"])
@pytest.mark.parametrize(
    "schedule",
    [mf.Constant(0.0), mf.Piecewise([0.0, 0.7, 1.0, 2.5], [0.3, 0.0, 0.5, 0.0])],
    ids=["no decay", "jumps"],
)
def test_flows_agree(loss, schedule):
    """The dual form in compiled code and θ as it is written, by another stepper."""
    rng = np.random.default_rng(1)
    Z, labels = rng.standard_normal((3, D)), np.array([1.0, -1.0, 1.0])
    problem = mf.Regression(Z, labels, loss=loss)
    times, rtol = [0.0, 0.3, 1.0, 2.0, 2.5, 6.0], 1e-9
    for start in (
        mf.Custom(cubes, [U, V]),
        mf.Custom(lambda t: torch.mul(t[0], t[1]) * t[2], [U, V, SIGNED]),
    ):
        dual = mf.gradient_flow(problem, start, schedule, times, rtol)
        direct = mf.direct_flow(problem, start, schedule, times, rtol, accumulate=True)
        assert dual.success
        assert direct.success
        size = np.abs(direct.x).max()
        assert np.abs(dual.x - direct.x).max() < 100 * rtol * size
        for t in range(len(times)):  # the mirror equation
            R = start.potential(float(direct.total[t]))
            x = R.inverse_gradient(-direct.accumulated[t])
            assert np.abs(x - direct.x[t]).max() < 100 * rtol * size


def test_direct_flow_takes_any_penalty():
    """Σ(u⁴ + v⁴) has no dual form; the flow follows from differences of itself."""
    problem = mf.Regression([[1.0, 0.5]], [2.0])
    start = mf.Custom(cubes, np.stack([U, V])[:, :2], lambda theta: (theta**4).sum())
    h = 1e-4
    flow = mf.direct_flow(problem, start, mf.Constant(0.7), [1.0 - h, 1.0, 1.0 + h], 1e-12)
    theta, slope = flow.parameters[1], problem.gradient(flow.x[1])
    velocity = np.stack([-3 * theta[0] ** 2, 3 * theta[1] ** 2]) * slope - 2.8 * theta**3
    measured = (flow.parameters[2] - flow.parameters[0]) / (2 * h)
    assert measured == pytest.approx(velocity, rel=1e-6)  # h² and rtol/h


def test_flows_end_with_the_domain():
    """log u under −x without end: u → 0 after finite μ."""
    problem = mf.Regression([[1.0]], [-50.0])
    start = mf.Custom(lambda t: np.log(t[0]), [[1.0]])
    for flow in (mf.gradient_flow, mf.direct_flow):
        path = flow(problem, start, mf.Constant(0.0), [1e-3, 1.0], 1e-8)
        assert path.status == "failed"
        assert path.times.tolist() == [1e-3]
        assert "to pass t = 0.001" in path.message
        assert np.isfinite(path.x).all()


def refused(message, make):
    with pytest.raises(mf.InputError, match=message) as raised:
        make()
    assert len(str(raised.value).splitlines()) == 1


ONES = np.ones((2, 3))
BAD = {
    "mixes": (
        lambda t: t[0] * t[1][::-1],
        ONES,
        None,
        r"what it makes of column \d of theta changes by 0",
    ),
    "mixes, torch": (
        lambda t: t[0] * torch.sum(t[1]),
        ONES,
        None,
        r"g must act on each coordinate alone, but .* changes by",
    ),
    "matrix": (
        lambda t: t,
        ONES,
        None,
        r"g must return an array of shape \(3,\), but its shape is \(2, 3\)",
    ),
    "short": (lambda t: t[0][:2], ONES, None, r"its shape is \(2,\)"),
    "raises": (
        lambda t: t[5],
        ONES,
        None,
        r"g must take a tensor of shape \(2, 3\), but it raises",
    ),
    "float32": (lambda t: torch.sinh(t[0]).float(), ONES, None, "g must return a float64 tensor"),
    "kink": (lambda t: torch.abs(t[0]) + t[1], ONES * [[0.0], [1.0]], None, "is there a kink"),
    "detach": (lambda t: t[0] * t[1].detach(), ONES, None, "is there a kink or a detach"),
    "abs": (lambda t: np.abs(t[0]) * t[1], -ONES, None, "or an abs of NumPy"),
    "nan": (lambda t: np.log(-t[0]), ONES, None, "derivative is not finite"),
    "stops": (lambda t: t[0] ** 2, [[1.0, 0.0, 2.0]], None, r"∇g vanishes in column 1, \[0\.\]"),
    "axes": (lambda t: t[0], [1.0, 2.0], None, "theta must have 2 axes"),
    "penalty's shape": (lambda t: t[0], ONES, lambda t: t, r"penalty must return a scalar, but"),
    "penalty mixes": (
        lambda t: t[0],
        ONES,
        lambda t: (t**2).sum() ** 2,
        r"penalty must act on each coordinate alone, but",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    g, theta, penalty, message = BAD[name]
    with np.errstate(all="ignore"):
        refused(message, lambda: mf.Custom(g, theta, penalty))


def test_decay_without_a_law_is_refused():
    problem, decaying = mf.Regression([[1.0, 0.5]], [2.0]), mf.Constant(0.1, 1.0)
    own = mf.Custom(cubes, [[1.0, 1.0], [0.5, 0.5]], lambda theta: (theta**3).sum())
    refused(
        r"∫α of the schedule must be 0 for this Custom, but it is 0\.1: .* use direct_flow",
        lambda: mf.gradient_flow(problem, own, decaying, [1.0]),
    )
    bent = mf.Custom(lambda t: np.sinh(t[0]), [[0.5, 1.0]])
    size = f"{bent.certificate.value:.2g}"
    assert bent.certificate.value > 0.01
    for make in (
        lambda: mf.gradient_flow(problem, bent, decaying, [1.0]),
        lambda: bent.potential(0.1),
    ):
        refused(f"bracket with g is off −κ∇g by {size}; use direct_flow", make)
    assert mf.gradient_flow(problem, bent, mf.Constant(0.0), [1.0]).success


def test_limits():
    """`interpolator` of m ⊙ w is that of Factors, of others where the flow as written ends."""
    rng = np.random.default_rng(2)
    Z = rng.standard_normal((2, D))
    problem = mf.Regression(Z, Z @ np.array([1.0, 0.0, -0.5, 0.0, 0.0]))
    known = mf.Factors(U, 0.4 * SIGNED)
    start = mf.Custom(lambda t: t[0] * t[1], known.theta)
    totals = [0.0, 0.5, 2.0]
    for limit, exact in zip(*mf.interpolators(problem, [start, known], totals), strict=True):
        assert limit.status == "converged"
        assert limit.x == pytest.approx(exact.x, abs=1e-11)
        assert limit.parameters == pytest.approx(exact.parameters, abs=1e-11)
    schedule = mf.Constant(0.3, 1.0)
    for penalty in (None, lambda theta: (theta**3).sum()):
        own = mf.Custom(cubes, [U, V], penalty)
        total = float(schedule.total_infinity)
        limit = mf.interpolators(problem, [own], [0.0, total])[0][1]
        end = mf.direct_flow(problem, own, schedule, [400.0], 1e-10)
        assert end.loss[-1] < 1e-20
        assert limit.x == pytest.approx(end.x[-1], abs=1e-8)
        assert limit.parameters == pytest.approx(end.parameters[-1], abs=1e-8)


def test_x_beyond_the_range():
    """tanh θ stays below 1; under decay the range shrinks with x."""
    R = mf.Custom(lambda t: np.tanh(t[0]), [[0.5, -0.2]]).potential()
    assert R.domain[1] == pytest.approx([1.0, 1.0], rel=1e-8)
    assert R.value([1.5, 0.0]) == np.inf
    refused(
        r"x must lie in the domain of R, but x\[1\] = 1\.5 does not", lambda: R.gradient([0.0, 1.5])
    )
    squares = mf.Custom(lambda t: t[0] ** 2, [[0.5]])
    assert (squares.signs[0].item(), squares.signs[1].item()) == (True, False)
    low, high = squares.range
    after = squares.potential(0.5)
    assert after.domain[1] == pytest.approx(high * np.exp(-2.0))
    assert 0 < low < 1e-8
