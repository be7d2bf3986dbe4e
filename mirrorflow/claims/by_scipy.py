"""Independent check of the reference integrator: the flow as it is written, by scipy's methods."""

from __future__ import annotations

import numpy as np

from mirrorflow.certificates.base import PATH_FACTOR, Certificate, drift, size_of
from mirrorflow.flows import Flow, controlled_flow
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule

__all__ = ["METHODS", "agreement"]

METHODS = ("Radau", "DOP853")


def agreement(
    problem: Regression, schedule: Schedule, path: Flow, rtol: float, own: float = 1e-10
) -> Certificate:
    """Integrated θ against scipy's Radau and DOP853, with which it shares neither code nor method.

    Value: largest |x_t − x'_t| over times and methods, relative to the path's largest |∂g||θ|/L.
    Bound: rtol (100 + steps) + 100 `own`, the tolerance of scipy's; DOP853's dense output needs it.
    """
    solutions = [
        controlled_flow(problem, path.start, schedule, path.times, method=method, rtol=own).x
        for method in METHODS
    ]
    value = float(np.abs(np.array(solutions) - path.x).max()) / size_of(path)
    return Certificate.of("scipy_agrees", value, drift(path, rtol) + PATH_FACTOR * own)
