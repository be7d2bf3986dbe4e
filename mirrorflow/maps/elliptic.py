r"""Products of three layers: the map of `deep` in closed form, without branches.

With p, q = max, min(μ₁, μ₂) and T = F(∞) = π/(2 agm(p, q)), z = q sc(pF | 1 − q²/p²), the quotient
of two theta functions, whose period along the imaginary axis is π/c, c = agm(p, √(p² − q²)). The
zero at F = 0 and the poles at ±T are taken out of it,

    z = sinh(cF) G(S)/(sinh(c(T − F)) sinh(c(T + F))),      S = sinh²(cF)/sinh²(cT) in [0, 1]

and G's other poles lie beyond S = 9: a polynomial of degree 11 is exact to rounding, uniformly in
q/p. Where q = 0, and the sign is locked, z = p/sinh(ps), s the slack; where p = 0 too, z = 1/s.
"""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.checks import Array
from mirrorflow.compiled.options import loop
from mirrorflow.compiled.vectors import exponential_minus_1
from mirrorflow.maps import quadrature
from mirrorflow.maps.base import DX, RATES, Q, X
from mirrorflow.maps.quadrature import DEPTH, DOWNWARD, START, UPWARD

__all__ = ["point_loop", "tabulate"]

# rows of `parts` after those of `quadrature`: c; 1/(1 − e^{−2cT})²; p², q²; G in 2S − 1
C, SPAN, LARGE, SMALL, G = range(DEPTH + 1, DEPTH + 6)
DEGREE = 11
LEAST = 0.05  # of c/p, as S would lose its digits near c = 0
# from values at Chebyshev's nodes to his coefficients, and on to those of powers
ANGLES = math.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1)
CHEBYSHEV = np.cos(np.outer(np.arange(DEGREE + 1), ANGLES)) * (2.0 / (DEGREE + 1))
CHEBYSHEV[0] *= 0.5
POWERS = np.zeros((DEGREE + 1, DEGREE + 1))
for _k, _row in enumerate(np.eye(DEGREE + 1)):
    POWERS[: _k + 1, _k] = np.polynomial.chebyshev.cheb2poly(_row)[: _k + 1]


@loop
def point_loop(parts, low, high, total, mu, out):
    """x, X′, the rates and Q."""
    decay = math.exp(-6.0 * total)
    x, dx, rates = out[X], out[DX], out[RATES]
    for j in range(low, high):
        forward, back = parts[UPWARD, j] - mu[j], parts[DOWNWARD, j] + mu[j]
        length, c = parts[START, j] + mu[j], parts[C, j]
        slack, other = (forward, back) if length >= 0.0 else (back, forward)
        fall, remaining = exponential_minus_1(-c * slack)
        rise = exponential_minus_1(-2.0 * c * abs(length))[0]
        ratio = rise * remaining
        t = 2.0 * parts[SPAN, j] * ratio * ratio - 1.0
        g = parts[G + DEGREE, j]
        for k in range(DEGREE - 1, -1, -1):
            g = g * t + parts[G + k, j]
        z = -2.0 * g * ratio / (fall * (2.0 + fall) * exponential_minus_1(-2.0 * c * other)[0])
        z = z if slack > 0.0 else np.inf  # beyond an end of the domain
        y = z * z
        one, two = y + parts[LARGE, j], y + parts[SMALL, j]
        others, metric = math.sqrt(one * two), one * two + y * (one + two)
        x[j] = math.copysign(decay * z * others, length)
        dx[j] = decay * metric
        rates[j] = metric / max(two * math.sqrt(one), 1e-300) if slack > 0.0 else np.inf
        if out.shape[0] > Q:
            out[Q, j] = 0.5 * decay * y


def tabulate(z: Array, squares: Array) -> Array:
    """What `point_loop` knows of z₀ and the ascending μ_k², (2, d)."""
    general, (small, large) = quadrature.tabulate(z, squares), squares
    parts = np.zeros((G + DEGREE + 1, z.size))
    parts[: DEPTH + 1] = general[: DEPTH + 1]
    parts[SMALL], parts[LARGE] = squares
    free, alike = small > 0, (large == 0) & (z != 0)
    p, q = np.sqrt(large), np.sqrt(small)
    c = np.maximum(_mean(p, np.sqrt(np.maximum(large - small, 0.0))), LEAST * p)
    # 1/s is c/sinh(cs) for c → 0; any c does where x ≡ 0
    parts[C] = np.where(free, c, np.where(alike, 1e-100, np.where(z == 0, 1.0, p)))
    parts[G] = np.where(free | (z == 0), 0.0, parts[C])
    if not free.any():
        return parts
    general, c, q = np.ascontiguousarray(general[:, free]), c[free], q[free]
    T = 0.5 * (general[UPWARD] + general[DOWNWARD])
    parts[SPAN, free] = 1.0 / np.expm1(-2.0 * c * T) ** 2

    # G at Chebyshev's nodes by quadrature; s follows from 1 − S without cancellation
    out, largest = np.empty((Q + 1, T.size)), np.sinh(c * T)
    values = np.empty((DEGREE + 1, T.size))
    for i, angle in enumerate(ANGLES):
        S, rest = math.cos(0.5 * angle) ** 2, math.sin(0.5 * angle) ** 2
        roots = np.sqrt(1.0 + S * largest**2) + math.sqrt(S) * np.sqrt(1.0 + largest**2)
        slack = np.arcsinh(largest * rest / roots) / c
        general[START], general[UPWARD] = T - slack, slack
        quadrature.point(general, 0, T.size, 0.0, np.zeros(T.size), out)
        poles = np.expm1(-2.0 * c * slack) * np.expm1(-2.0 * c * (2.0 * T - slack))
        zero = -2.0 * np.exp(-c * slack) * np.expm1(-2.0 * c * (T - slack))
        values[i] = np.sqrt(2.0 * out[Q]) * poles / zero
    parts[G:, free] = POWERS @ (CHEBYSHEV @ values)
    return parts


def _mean(a: Array, b: Array) -> Array:
    """The arithmetic-geometric mean."""
    for _ in range(16):
        a, b = 0.5 * (a + b), np.sqrt(a * b)
    return a
