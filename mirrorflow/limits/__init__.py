"""Limits of the flow: argmin R_a over {Zx = y} for A from 0 to ∞, and the LASSO."""

from mirrorflow.limits.exact import check_pair, interpolator, lasso_limit
from mirrorflow.limits.optimality import Interpolator
from mirrorflow.limits.paths import interpolators

__all__ = ["Interpolator", "check_pair", "interpolator", "interpolators", "lasso_limit"]
