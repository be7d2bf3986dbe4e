"""Random problems, starts and schedules of the trials.

Problems are small, so that hundreds of trials cost minutes: n in 5…12 samples, d in 2n…40
features, Gaussian Z, a sparse x*.
"""

from __future__ import annotations

import math

import numpy as np

from mirrorflow.checks import Array
from mirrorflow.claims.registry import Rng
from mirrorflow.losses import Loss
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Constant, Geometric, Harmonic, Piecewise, Quadratic, Schedule

__all__ = ["RTOL", "any_signs", "pilot_start", "random_problem", "random_schedule", "sparse"]

RTOL = 1e-10


def random_problem(rng: Rng, loss: Loss) -> Regression:
    n = int(rng.integers(5, 13))
    d = int(rng.integers(2 * n, 41))
    Z = rng.standard_normal((n, d))
    return Regression(Z, Z @ sparse(rng, d, int(rng.integers(1, n // 3 + 2))), loss=loss)


def sparse(rng: Rng, d: int, k: int) -> Array:
    x = np.zeros(d)
    x[rng.permutation(d)[:k]] = rng.choice([-1.0, 1.0], k) * rng.uniform(0.5, 2.0, k)
    return x


def pilot_start(rng: Rng, d: int) -> Factors:
    beta = math.exp(rng.uniform(math.log(0.3), math.log(3.0)))
    return Factors.pilot(rng.standard_normal(d) * d**-0.25, beta)


def any_signs(rng: Rng, d: int) -> Factors:
    """m and w of either sign, ||m| − |w|| ≥ 0.1, either one the larger."""
    small = rng.uniform(0.0, 1.0, d)
    large = small + rng.uniform(0.1, 1.0, d)
    swap = rng.random(d) < 0.5
    signs = rng.choice([-1.0, 1.0], (2, d))
    return Factors(signs[0] * np.where(swap, small, large), signs[1] * np.where(swap, large, small))


def random_schedule(rng: Rng, total: float) -> Schedule:
    timescale = float(rng.uniform(0.5, 3.0))
    kind = int(rng.integers(5))
    if kind == 0:
        return Constant.from_total(total, timescale)
    if kind == 1:
        return Quadratic.from_total(total, timescale)
    if kind == 2:
        return Geometric.from_total(total, math.exp(-1.0 / timescale))
    if kind == 3:
        return Harmonic.from_total(total, timescale, 10.0)
    return Piecewise.from_total(total, [0.0, 0.5, 1.5, 3.0], [*rng.uniform(0.0, 1.0, 3), 0.0])
