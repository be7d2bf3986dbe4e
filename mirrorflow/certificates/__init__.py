r"""The theorems as checks with a number, a bound and a verdict.

A certificate holds where value ≤ bound; where one of them is nan nothing can be judged. Paths are
judged from (m, w) as `direct_flow` or `follow` integrate them, because the dual flow satisfies
the invariant and the KKT form by construction. Bounds come from rtol, from rounding, from a
solver's gap, from what is left of the penalty or from the next order of a series; each function
says which.

mirror: Theorem 2.1. lyapunov, rates: Theorem 2.2. limits: Theorem 2.3. sparsity: late L1. bias:
what R_a prefers. hessians: steps of gradient descent. referee, losses: (m, w) under any loss.
"""

from mirrorflow.certificates.base import (
    EPS,
    PATH_FACTOR,
    UNJUDGED,
    Certificate,
    Trajectory,
    columns,
    unjudged,
)
from mirrorflow.certificates.bias import (
    bias_exponent,
    early_l2,
    late_l1,
    reachable_range,
    smoothness,
    type_of_bias,
)
from mirrorflow.certificates.hessians import (
    hessian,
    limit_sharpness,
    sharpness,
    stability,
    stable_step,
)
from mirrorflow.certificates.limits import (
    agreement,
    arrival,
    convergence,
    lasso_agreement,
    lasso_kkt,
    lasso_suboptimality,
    optimality,
    slowest_rate,
    tracking_misfit,
)
from mirrorflow.certificates.losses import SQUARED, Loss, PseudoHuber, SquaredLoss
from mirrorflow.certificates.lyapunov import (
    additive_penalty,
    eventually_falling,
    lyapunov_bounds_divergence,
    lyapunov_falls,
    pl_constant,
    stays_at_minimiser,
)
from mirrorflow.certificates.mirror import (
    DERIVED,
    Constants,
    closed_form,
    finite_time,
    invariant,
    loss_slope,
    mirror_equation,
    mirror_flow,
    path_difference,
    positional_bias,
    signs_kept,
)
from mirrorflow.certificates.rates import asymptotic_rate, linear_rate, lower_rate, power_law
from mirrorflow.certificates.referee import Path, follow
from mirrorflow.certificates.sparsity import (
    entropic_choice,
    l1_excess,
    l1_exponent,
    margin,
    relative_scale,
)

__all__ = [
    "DERIVED",
    "EPS",
    "PATH_FACTOR",
    "SQUARED",
    "UNJUDGED",
    "Certificate",
    "Constants",
    "Loss",
    "Path",
    "PseudoHuber",
    "SquaredLoss",
    "Trajectory",
    "additive_penalty",
    "agreement",
    "arrival",
    "asymptotic_rate",
    "bias_exponent",
    "closed_form",
    "columns",
    "convergence",
    "early_l2",
    "entropic_choice",
    "eventually_falling",
    "finite_time",
    "follow",
    "hessian",
    "invariant",
    "l1_excess",
    "l1_exponent",
    "lasso_agreement",
    "lasso_kkt",
    "lasso_suboptimality",
    "late_l1",
    "limit_sharpness",
    "linear_rate",
    "loss_slope",
    "lower_rate",
    "lyapunov_bounds_divergence",
    "lyapunov_falls",
    "margin",
    "mirror_equation",
    "mirror_flow",
    "optimality",
    "path_difference",
    "pl_constant",
    "positional_bias",
    "power_law",
    "reachable_range",
    "relative_scale",
    "sharpness",
    "signs_kept",
    "slowest_rate",
    "smoothness",
    "stability",
    "stable_step",
    "stays_at_minimiser",
    "tracking_misfit",
    "type_of_bias",
    "unjudged",
]
