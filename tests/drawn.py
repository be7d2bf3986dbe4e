"""Problems and starts of the discrete cases, which name them by a seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import mirrorflow as mf

CASES = json.loads((Path(__file__).parent / "data" / "discrete_cases.json").read_text())


def drawn(seed, n=8, d=20, k=3):
    """Gaussian Z, a sparse x*, and a start near 0 with m² − w² = 1."""
    rng = np.random.default_rng(seed)
    Z, x = rng.standard_normal((n, d)), np.zeros(d)
    x[rng.choice(d, k, replace=False)] = rng.choice([-1.0, 1.0], k) * rng.uniform(0.5, 1.5, k)
    start = 0.3 * np.random.default_rng(1000 + seed).standard_normal(d)
    return mf.Regression(Z, Z @ x), mf.Factors.pilot(start)


def case(name):
    """Inputs and expected numbers of a case."""
    return CASES[name]["inputs"], CASES[name]["expected"]
