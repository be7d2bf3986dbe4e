"""Limits of the flow: argmin R_a over {Zx = y} for A from 0 to ∞, the LASSO, maximum margins."""

from mirrorflow.limits.exact import interpolator, lasso_limit
from mirrorflow.limits.max_margin import MaxMargin, max_margin
from mirrorflow.limits.optimality import Interpolator
from mirrorflow.limits.paths import interpolators

__all__ = ["Interpolator", "MaxMargin", "interpolator", "interpolators", "lasso_limit"]
__all__ += ["max_margin"]
