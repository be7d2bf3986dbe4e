"""Check the theory of implicit bias for x = m ⊙ w: flows, potentials, limits, certificates.

Nothing here loads torch, cvxpy, matplotlib, pandas or scikit-learn until it is used.
"""

from mirrorflow.certificates import Certificate
from mirrorflow.checks import InputError
from mirrorflow.descent import Descent, descend
from mirrorflow.factors import Factors
from mirrorflow.flows import Flow, direct_flow, direct_flows, gradient_flow, gradient_flows
from mirrorflow.limits import Interpolator, interpolator, interpolators, lasso_limit
from mirrorflow.potentials import HyperbolicEntropy
from mirrorflow.problems import (
    Regression,
    diabetes,
    digits_sensing,
    gaussian_recovery,
    load,
)
from mirrorflow.references import Reference, lasso, min_l1, min_l2, min_potential
from mirrorflow.schedules import Constant, Geometric, Harmonic, Piecewise, Quadratic, Schedule
from mirrorflow.stepwise import Stepwise

__all__ = [
    "Certificate",
    "Constant",
    "Descent",
    "Factors",
    "Flow",
    "Geometric",
    "Harmonic",
    "HyperbolicEntropy",
    "InputError",
    "Interpolator",
    "Piecewise",
    "Quadratic",
    "Reference",
    "Regression",
    "Schedule",
    "Stepwise",
    "descend",
    "diabetes",
    "digits_sensing",
    "direct_flow",
    "direct_flows",
    "gaussian_recovery",
    "gradient_flow",
    "gradient_flows",
    "interpolator",
    "interpolators",
    "lasso",
    "lasso_limit",
    "load",
    "min_l1",
    "min_l2",
    "min_potential",
]
