"""Constants of docs/atlas.md: each formula holds with its own, and fails with it changed.

A formula takes the factor on its constant: with 1 its certificate holds; with the constant dropped,
halved and doubled it is refuted. Of an inequality only what sharpens it can fail, and 0 is left out
where it has no meaning. Discrete 11 and 12 have their own: tests/test_ledger.py, test_decay.py.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow import certificates as certify
from mirrorflow.certificates import Certificate, penalties
from mirrorflow.claims import noise
from mirrorflow.claims.depth import _several
from mirrorflow.descent import prediction, reference, sign_descent, stochastic
from mirrorflow.descent.mean_square import gram_of_gradients, stable_step_sgd
from tests.drawn import drawn

RTOL, NONE, FORMULAS = 1e-9, mf.Constant(0.0), []
ALL, TWO, SHARPER, WEAKER, DROPPED = (0.0, 0.5, 2.0), (0.5, 2.0), (2.0,), (0.0, 0.5), (0.0,)


def formula(name, wrong=ALL):
    def register(judge):
        FORMULAS.extend(pytest.param(judge, c, id=f"{name} times {c:g}") for c in (1.0, *wrong))
        return judge

    return register


@pytest.mark.parametrize(("judge", "factor"), FORMULAS)
def test_a_formula_holds_with_its_constant_alone(judge, factor):
    check = judge(factor)
    assert check.verdict == ("confirmed" if factor == 1.0 else "refuted"), check


@contextmanager
def changed(owner, name, change):
    """owner.name replaced by change(owner.name)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, change(getattr(owner, name)))
        yield


P, START = drawn(1)
FEW, FEW_START, TOP = noise._few(np.random.default_rng(1), mf.Squared())
DECAY = mf.Constant(0.4, 1.0)
DEEP = mf.Powers(np.linspace(0.5, 0.9, 20), np.linspace(0.8, 0.4, 20), 3)
LAYERS = mf.DeepFactors(np.random.default_rng(2).uniform(0.4, 1.2, (3, 20)))
EDGE, *_, SLOW = (
    2.0
    / np.linalg.eigvalsh(gram_of_gradients(FEW, mf.interpolator(FEW, FEW_START, 0.0)) / FEW.n)[::-1]
)


@cache
def flow(start, schedule=DECAY, end=4.0, record=(0.5, 1.0)):
    return mf.direct_flow(P, start, schedule, [*record, end], RTOL, accumulate=True)


def scaled(path, **factors):
    return replace(path, **{name: c * getattr(path, name) for name, c in factors.items()})


# Discrete 1 to 3: what the accumulators of follow_descent are told, one term at a time
RUNS = {
    "1 SGD": {"batch_size": 2},
    "2 heavy ball": {"momentum": 0.8},
    "2 Nesterov": {"momentum": 0.8, "nesterov": True},
    "3 n-SAM": {"sam": mf.Sam(0.1)},
    "3 1-SAM": {"sam": mf.Sam(0.1, per_sample=True)},
    "3 unequal rates": {"learning_rates": (2.0, 0.5)},
}


def steps_told(c, at, options):
    kind = reference.MomentumGains if "momentum" in options else reference.Gains

    def change(add):
        return lambda self, *terms: add(self, *(c ** (i == at) * t for i, t in enumerate(terms)))

    with changed(kind, "add", change):
        path = mf.follow_descent(P, START, 0.02, 60, np.full(60, 0.3), **options)
    return certify.discrete_argmin(P, path)


for run, options in RUNS.items():
    for at, term in enumerate("ηαgρ" if "sam" in options else "ηαg"):
        formula(f"discrete {run}: {term}")(lambda c, at=at, o=options: steps_told(c, at, o))


@formula("discrete 1: Λ of the balance")
def _(c):
    path = mf.follow_descent(P, START, 0.02, 60, np.full(60, 0.3))
    return certify.discrete_balance(path, c * path.gain[-1])


@cache
def descents(alpha, mu):
    """γ, x_K that has arrived and A, at γ and γ/2; α stops with a step."""
    first = 1.0 / np.ceil(1.0 / (0.035 * EDGE * (1.0 - mu)))
    ends = []
    for gamma, eta in ((e * (1.0 - mu), e) for e in (first, 0.5 * first)):
        steps = int((45.0 + 90.0 * alpha) * SLOW / (2.0 * eta))
        alphas = np.where((np.arange(steps) + 0.5) * eta < 1.0, alpha, 0.0)
        path = mf.follow_descent(FEW, FEW_START, gamma, steps, alphas, momentum=mu, record=1)
        ends.append((gamma, path.x[-1], path.total[-1]))
    return ends


def lag_law(c, which, alpha=0.0, mu=0.0):
    """With one of flow_integrals' results, or the lag, times c."""

    def change(exact):
        return lambda *given: tuple(
            c ** (i == which) * part for i, part in enumerate(exact(*given))
        )

    errors, schedule = [], mf.Constant(alpha, 1.0)
    for gamma, x, total in descents(alpha, mu):
        with changed(prediction, "flow_integrals", change):
            lag = (c if which is None else 1.0) * mu / (1.0 - mu)
            gain = mf.predicted_gain(FEW, FEW_START, schedule, gamma / (1.0 - mu), delay=lag)
        errors.append(np.abs(x - mf.interpolator(FEW, FEW_START, total, gain=gain).x).max())
    return certify.lag_law(errors)


formula("discrete 4: ∫(∂f)²")(lambda c: lag_law(c, 0))
formula("discrete 4: 4∫α²")(lambda c: lag_law(c, 2, alpha=0.5))
formula("discrete 4: 2ℓ")(lambda c: lag_law(c, None, mu=0.5))


@cache
def sgd(size=0.04, count=100):
    """x and ΣΛ of one-sample SGD, gain foretold and its drift, at η and η/2."""
    runs = []
    for eta in (size / (TOP * FEW.n), 0.5 * size / (TOP * FEW.n)):
        steps = int(12.5 * SLOW / eta)
        run = mf.descend(FEW, [FEW_START] * count, NONE, eta, steps, 1, range(count), record=1)
        gain, drift = (
            mf.predicted_gain(FEW, FEW_START, NONE, eta, batch_size=b) for b in (1, None)
        )
        runs.append((run.x[:, -1], run.gain[:, -1].sum(axis=1), gain, drift))
    return runs


def ends(c, law, size, count):
    runs = (
        (x, mf.interpolator(FEW, FEW_START, 0.0, gain=c * g).x) for x, _, g, _ in sgd(size, count)
    )
    return law(*(x - limit for x, limit in runs))


def sgd_gain(c):
    foretold = [float((drift + c * (gain - drift)).sum()) for _, _, gain, drift in sgd()]
    return certify.gain_law(foretold, [gains for _, gains, _, _ in sgd()])


formula("discrete 5: c₂ Var")(sgd_gain)
formula("discrete 5: Λ of each run")(lambda c: ends(c, certify.spread_law, 0.04, 100))
formula("discrete 5: Λ of the mean")(lambda c: ends(c, certify.mean_law, 0.32, 400))


@formula("discrete 5: compensator")
def _(c):
    eta, more = 0.08 / (TOP * FEW.n), {"batch_size": 1, "record": 400}
    paths = [mf.follow_descent(FEW, FEW_START, eta, 400, seed=k, **more) for k in range(6)]
    return certify.compensator(FEW, paths, eta, c)


formula("discrete 6: 2∫f")(lambda c: certify.energy(FEW, FEW_START, claimed=2.0 * c))


@formula("discrete 6: A = Λ/4")
def _(c):
    signs = mf.Regression(np.sign(P.Z), np.sign(P.Z)[:, 0])
    return certify.noise_is_decay(
        signs, mf.follow_descent(signs, START, 0.05, 300, batch_size=1), c
    )


def momentum(of_decay=1.0, of_lag=1.0, of_shift=1.0):
    path = inert()
    decay = 4.0 * path.total[-1]
    gain = of_decay * decay + of_lag * (path.gain[-1] - decay)
    return certify.momentum_argmin(P, path, RTOL, gain, of_shift * path.shift[-1])


@cache
def inert():
    return mf.momentum_flow(P, START, DECAY, 0.3, [2.0], RTOL)


formula("discrete 7, M1: 4A")(lambda c: momentum(of_decay=c))
formula("discrete 7, M1: λ in Λ")(lambda c: momentum(of_lag=c))
formula("discrete 7, M1: λ in r")(lambda c: momentum(of_shift=c))


@formula("discrete 7: 2γ", TWO)
def _(c):
    path = stochastic.stochastic_flow(P, START, DECAY, 0.05, 5.0, 5000)
    return certify.stochastic_gain(P, path, c)


@formula("discrete 7: 2γ in the gain")
def _(c):
    path = stochastic.stochastic_flow(P, START, DECAY, 0.05, 5.0, 5000)
    decay = 4.0 * path.total
    return certify.stochastic_gain(P, path._replace(gain=decay + c * (path.gain - decay)))


NOISE = stochastic.label_noise(P, 1.0)
formula("discrete 8: s²τ")(lambda c: certify.manifold_flow(P, START, NOISE, 3.0, claimed=c * NOISE))


@cache
def labels(steps, sigma):
    added = np.repeat(sigma * np.random.default_rng(3).standard_normal((steps // 2, 8)), 2, axis=0)
    added[1::2] *= -1.0
    return added, mf.follow_descent(P, START, 0.05, steps, label_noise=added, record=steps)


formula("discrete 8: Λ of the average's identity")(
    lambda c: certify.average_identity(P, labels(400, 1.0)[1], 0.05, labels(400, 1.0)[0], c)
)


@formula("discrete 8: λ = ½ηs²", TWO)
def _(c):
    mean = labels(8000, 8.0)[1].x[:-1].mean(axis=0)
    return certify.averaged_lasso(P, mean, START.x, c * 0.5 * 0.05 * 64.0 * NOISE, 0.006)


@cache
def held():
    return mf.follow_descent(P, START, 0.02, 12_000, mf.Constant(0.2), momentum=0.8)


formula("discrete 8, K3: 2α‖x‖₁", TWO)(lambda c: certify.constant_decay(P, held(), 0.2 * c))


@formula("discrete 9: η*(B)", TWO)
def _(c):
    K = gram_of_gradients(P, mf.interpolator(P, START, 0.3))
    return certify.sgd_threshold(K, [c * stable_step_sgd(K, B) for B in range(1, 9)])


@formula("discrete 10: ½ηλ_max", SHARPER)
def _(c):
    path = mf.follow_descent(FEW, FEW_START, 1.1 * EDGE, 3000, record=1)
    return certify.scale_cap(FEW, mf.discrete_limit(FEW, path), c * 1.1 * EDGE)


@cache
def signs(decay):
    return sign_descent(P, START, 1e-3, 1000, decay)


formula("discrete 13: ηλ")(lambda c: certify.sign_balance(START, signs(0.3), 1e-3, 1000, 0.3 * c))
formula("discrete 13: 2η of a crossing", WEAKER)(
    lambda c: certify.sign_balance(
        START, signs(0.0)._replace(crossings=c * signs(0.0).crossings), 1e-3, 1000
    )
)


@formula(
    "discrete 14: 1/λ in t = ℓ/(2λ)", (0.0, 2.0)
)  # signals as large as 1 have grown at half of it
def _(c):
    def change(run):
        return lambda P, x, a, eta, steps, **more: run(P, x, a, eta, round(c * steps), **more)

    with changed(noise, "descend", change):
        errors = np.array([noise._errors(np.random.default_rng(k), 200, 400) for k in range(6)])
    return certify.early_stopping(errors[:, 0], errors[:, 1])


for name, start, end in (
    ("m ⊙ w", START, 400.0),
    ("u³ − v³", DEEP, 400.0),
    ("w₁w₂w₃", LAYERS, 3e3),
):
    formula(f"E4, D1, D2: A of ∇R, {name}")(
        lambda c, s=start: certify.mirror_equation(s, scaled(flow(s), total=c), RTOL)
    )
    formula(f"E4, D2: x of {name}")(lambda c, s=start: certify.closed_form(s, flow(s), RTOL, c))
    formula(f"E1: A of the argmin, {name}")(
        lambda c, s=start: certify.finite_time(P, s, scaled(flow(s), total=c), RTOL, checks=2)
    )
    formula(f"D3: A of the limit, {name}")(
        lambda c, s=start, end=end: certify.convergence(
            P, mf.interpolator(P, s, 0.4 * c), DECAY, flow(s, end=end), RTOL
        )
    )


@formula("E2: A of forms")
def _(c):
    rng = np.random.default_rng(4)
    Q, values = np.linalg.qr(rng.standard_normal((4, 4)))[0], rng.uniform(-1.0, 1.0, (3, 4))
    A1, A2, B = (Q * value @ Q.T for value in (*values[:2], 0.5 + np.abs(values[2])))
    two, theta = mf.Regression([[1.0, -0.5]], [0.7]), rng.standard_normal(4)
    return certify.commuting_quadratics(two, [A1, A2], B, theta, mf.Constant(0.2), 4.0, c)


formula("E3: α‖θ‖²")(
    lambda c: certify.energy_balance(P, START, DECAY, 3.0, np.linspace(-1.0, 1.0, 20), c)
)


@cache
def penalised():
    def down(theta):
        return 0.7 * 3 * theta**2 + 2.0 * 0.3 * theta

    return mf.controlled_flow(P, DEEP, DECAY, [3.0], penalty=down, kappa=0.6)


def solvable(c=0.7, delta=0.3, share=1.0):
    return certify.solvable_penalty(DEEP, penalised(), c, delta, RTOL, share)


formula("E2, E5: A")(lambda c: solvable(share=c))
formula("E2, E5: c")(lambda c: solvable(c=0.7 * c))
formula("E5: δ")(lambda c: solvable(delta=0.3 * c))
formula("E6: ½ of √R″")(
    lambda c: certify.isometry(P, START.potential(), flow(START, NONE), RTOL, 0.5 * c)
)


@formula("E6: u² − v² under 2α", TWO)
def _(c):
    times, product = np.array([0.5, 1.0, 3.0]), mf.Factors(DEEP.u + DEEP.v, DEEP.u - DEEP.v)
    squares = mf.direct_flow(P, mf.Powers(DEEP.u, DEEP.v, 2), DECAY, times, RTOL)
    slow = mf.direct_flow(P, product, mf.Constant(0.2 * c, 2.0), 2.0 * times, RTOL)
    return certify.path_difference(squares, slow, RTOL)


@formula("D4: 2L")
def _(c):
    rng = np.random.default_rng(0)
    problem = mf.Regression(rng.standard_normal((5, 20)), rng.standard_normal(5))
    return certify.late_weights(problem, DEEP, (2.52, 3.36, 4.2), 6.0 * c)


@formula("D5: |∂g|² of the rate")
def _(c):
    rate = 2.0 * certify.slowest_rate(P, mf.interpolator(P, DEEP, 0.0))
    path = mf.direct_flow(P, DEEP, NONE, [24.0 / rate, 28.0 / rate], 1e-10)
    seen = float(np.log(path.loss[0] / path.loss[1])) / 4.0
    return Certificate.of("rate", abs(seen - c), 0.01)


def stays(alpha, end):
    return flow(DEEP, mf.Constant(alpha), end, ())


formula("D6: 2α/L")(lambda c: certify.deep_stationarity(P, stays(0.005, 1e4), 0.005, RTOL, c))
formula("D6: 2L of the collapse", SHARPER)(
    lambda c: certify.collapse(P, stays(1e4, 1e-3), 1e4, RTOL, 6.0 * c)
)
formula("D7: 2/L − 1", TWO)(
    lambda c: certify.power_choice(*_several(np.random.default_rng(5), 3), -c / 3.0)
)

UNIQUE, ZERO = mf.gaussian_recovery(12, 24, 2, 2), mf.Factors.pilot(np.zeros(24))
UNIFORM = mf.Powers(np.full(24, 0.3), np.full(24, 0.3), 3)


def sharp(c, start, total):
    """The constant of the law, at an A where it has set in."""
    law = mf.l1_distance(UNIQUE, start, total)
    off = law.nearest == 0.0
    moved = mf.interpolator(UNIQUE, start, total).x[off]
    claimed = law.x[off]
    return Certificate.of("sharp", np.abs(moved - c * claimed).max() / np.abs(claimed).max(), 0.1)


def excess(c, start, total):
    limit = mf.interpolator(UNIQUE, start, total)
    return certify.l1_excess(limit, mf.min_l1(UNIQUE), total, c)


for name, start, late, total in (("S1", ZERO, 8.0, 12.0), ("S2", UNIFORM, 1.8, 0.5)):
    formula(f"{name}: exponent")(lambda c, s=start: certify.sharp_l1(UNIQUE, s, c))
    formula(f"{name}: constant")(lambda c, s=start, A=late: sharp(c, s, A))
    formula(f"S3: the bound of {name}", (0.0, 0.25))(lambda c, s=start, A=total: excess(c, s, A))


def saddles(**changes):
    alpha = 0.2 if "alpha" in changes else 0.0
    return certify.saddle_deviation(P, 1000.0, 3.0, alpha, mf.saddle_path(P, **changes))


formula("J1: threshold 1", TWO)(lambda c: saddles(thresholds=(np.full(20, c), np.full(20, c))))
formula("J2: 4ατ")(lambda c: saddles(alpha=0.2 * c))


@formula("J3: thresholds", TWO)
def _(c):
    deep = mf.Powers(*np.full((2, 20), [[1e-3], [1.2e-3]]), 3)
    low, high = deep.domain
    unit = min(high.min(), -low.max()) / c
    path = mf.saddle_path(P, thresholds=(high / unit, -low / unit))
    return certify.deep_saddle_deviation(P, deep, 3.0, path)


@formula("J4, discrete 14: λ = log(1/a)/(2t)")
def _(c):
    start, schedule = mf.LogFactors.of_scale(20, 200.0), mf.Constant(0.02)
    return certify.lasso_of_average(P, start, schedule, 300.0, c)[0]


LABELS = mf.Regression(P.Z, np.sign(P.y), loss=mf.Exponential())


@cache
def late():
    return mf.margin_flow(LABELS, START, [4000.0], DECAY, 1e-8)


def margin(c, judge, *more):
    return judge(LABELS, START, scaled(late(), dual=c), 1e-8, *more)


formula("K1: A")(lambda c: margin(1.0, certify.margin_identity, np.ones(20), 0.4 * c))
formula("K1: q of the identity")(lambda c: margin(c, certify.margin_identity, np.ones(20)))
formula("K1: q of the gap", DROPPED)(lambda c: margin(c, certify.margin_gap))
formula("K2: the power of the L1 norm", SHARPER)(
    lambda c: margin(1.0, certify.margin_direction, int(c))
)


@cache
def softmax():
    rng = np.random.default_rng(6)
    start, Z = mf.Factors.pilot(0.5 * rng.standard_normal(12)), rng.standard_normal((9, 4))
    return mf.softmax_flow(Z, np.arange(9) % 3, start, DECAY, [4.0], RTOL)


formula("K4: A")(lambda c: certify.softmax_invariant(softmax(), 3, RTOL, c))


@formula("H1: α of HAM", TWO)
def _(c):
    path = flow(mf.Ham(np.zeros(20), 2.0), NONE, 100.0)
    limit = mf.interpolator(P, mf.Ham(np.zeros(20), 2.0 * c), 0.0)
    return certify.convergence(P, limit, NONE, path, RTOL)


DENSE = tuple(np.linspace(0.0, 5.95, 120).tolist())
formula("H2: ½ arcsinh(x₀/a₀)")(
    lambda c: certify.sign_rule(flow(START, end=6.0, record=DENSE), RTOL, c)
)
OWN = np.linspace(0.3, 1.7, 20)


@cache
def uneven(schedule, end):
    return mf.controlled_flow(P, START, schedule, [1.0, end], decay=OWN)


formula("P1: A_j")(lambda c: certify.finite_time(P, START, uneven(DECAY, 3.0), RTOL, 2, c * OWN))


@formula("P1: 2α_j that stay", TWO)
def _(c):
    weights, path = 0.2 * c * OWN, uneven(mf.Constant(0.2), 1000.0)
    limit = mf.lasso_limit(mf.Regression(P.Z / weights, P.y), START, 1.0)
    limit = scaled(limit, x=1.0 / weights, p=1.0 / weights, q=1.0 / weights)
    return certify.lasso_suboptimality(P, START, limit, weights, path, RTOL)


RISK = P.Z, np.ones(20), 2.0, np.array([0.5, 2.0, 10.0]), 0
formula("R1: power 2")(lambda c: certify.risk_of_draws(*RISK, power=2.0 * c))


@formula("R1: σ²/n")
def _(c):
    def change(risk):
        return lambda Z, x, sigma, *more: risk(Z, x, c**0.5 * sigma, *more)

    with changed(penalties, "linear_risk", change):
        return certify.risk_of_draws(*RISK)
