"""Limits of the flow: argmin R_A over {Zx = y} for A from 0 to ∞, the LASSO, maximum margins."""

from mirrorflow.limits.exact import interpolator, interpolators
from mirrorflow.limits.l1_distance import L1Distance, l1_distance, total_for_l1
from mirrorflow.limits.max_margin import MaxMargin, max_margin
from mirrorflow.limits.optimality import Interpolator
from mirrorflow.limits.polyhedral import lasso_limit

__all__ = ["Interpolator", "MaxMargin", "interpolator", "interpolators", "lasso_limit"]
__all__ += ["L1Distance", "l1_distance", "max_margin", "total_for_l1"]
