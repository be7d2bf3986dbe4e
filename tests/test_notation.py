"""The bridge of notations: each paper's own equations, integrated, against docs/glossary.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import mirrorflow as mf

N, D = 4, 9
rng = np.random.default_rng(17)
Z = rng.standard_normal((N, D))
Y = rng.standard_normal(N)
TIMES = np.linspace(0.0, 3.0, 7)  # of the paper
ALPHA = np.full(D, 0.6)
RTOL = 1e-10  # of both integrators; their errors stay some hundred times smaller than 1e-7


def woodworth(_, state):
    """Parameters w₊, w₋ of β = w₊² − w₋² under Σ(⟨β, x_i⟩ − y_i)²."""
    plus, minus = state[:D], state[D:]
    gradient = 2.0 * Z.T @ (Z @ (plus**2 - minus**2) - Y)
    return np.concatenate([-2.0 * plus * gradient, 2.0 * minus * gradient])


def pesme(_, state):
    """Parameters u, v of β = u ⊙ v under 1/(2n) Σ(⟨β, x_i⟩ − y_i)²."""
    u, v = state[:D], state[D:]
    gradient = Z.T @ (Z @ (u * v) - Y) / N
    return np.concatenate([-v * gradient, -u * gradient])


def jacobs(t, state):
    """Parameters m, w under ‖Zx − y‖²/n + α_t(‖m‖² + ‖w‖²), α_t = 0.2/(1 + t)²."""
    m, w = state[:D], state[D:]
    gradient, alpha = 2.0 * Z.T @ (Z @ (m * w) - Y) / N, 0.2 / (1.0 + t) ** 2
    return np.concatenate([-w * gradient - 2.0 * alpha * m, -m * gradient - 2.0 * alpha * w])


START = rng.standard_normal((2, D))
# equations, start, predictor, the same start here, schedule here, our time over theirs, a
PAPERS = {
    "Woodworth et al.": (
        woodworth,
        np.concatenate([ALPHA, ALPHA]),
        lambda u, v: u**2 - v**2,
        mf.Factors(2.0 * ALPHA, np.zeros(D)),
        mf.Constant(0.0),
        4.0 * N,
        2.0 * ALPHA**2,
    ),
    "Pesme & Flammarion": (
        pesme,
        np.concatenate([np.sqrt(2.0) * ALPHA, np.zeros(D)]),
        lambda u, v: u * v,
        mf.Factors(np.sqrt(2.0) * ALPHA, np.zeros(D)),
        mf.Constant(0.0),
        1.0,
        ALPHA**2,
    ),
    "Jacobs & Burkholz": (
        jacobs,
        START.ravel(),
        lambda m, w: m * w,
        mf.Factors(*START),
        mf.Quadratic(0.1, 2.0),  # ½α at half the time: 0.1/(1 + t/2)²
        2.0,
        0.5 * np.abs(START[0] ** 2 - START[1] ** 2),
    ),
}


@pytest.mark.parametrize("paper", PAPERS)
def test_each_paper_s_flow_is_ours_at_another_pace(paper):
    equations, start, predictor, factors, schedule, speed, a = PAPERS[paper]
    solution = solve_ivp(equations, (0, 3.0), start, "DOP853", TIMES, rtol=RTOL, atol=1e-13)
    theirs = predictor(solution.y[:D], solution.y[D:]).T
    ours = mf.gradient_flow(mf.Regression(Z, Y), factors, schedule, speed * TIMES, RTOL)
    assert ours.x == pytest.approx(theirs, abs=1e-7)
    assert np.exp(mf.HyperbolicEntropy.of(factors, 0.0).log_a) == pytest.approx(a, rel=1e-12)


def test_potentials_as_the_papers_write_them():
    x = np.linspace(-2.0, 2.0, D)
    r = mf.HyperbolicEntropy.of(PAPERS["Woodworth et al."][3], 0.0)
    z = x / ALPHA**2
    q = np.sum(ALPHA**2 * (2.0 - np.sqrt(4.0 + z**2) + z * np.arcsinh(z / 2.0)))
    assert q == pytest.approx(2.0 * (r.value(x) - r.value(np.zeros(D))), rel=1e-12)
    r = mf.HyperbolicEntropy.of(PAPERS["Pesme & Flammarion"][3], 0.0)
    phi = 0.5 * np.sum(x * np.arcsinh(x / ALPHA**2) - np.sqrt(x**2 + ALPHA**4) + ALPHA**2)
    assert phi == pytest.approx(r.value(x) - r.value(np.zeros(D)), rel=1e-12)


def test_the_page_names_them_all():
    text = (Path(__file__).parent.parent / "docs" / "glossary.md").read_text("utf-8")
    assert [paper for paper in PAPERS if paper not in text] == []
