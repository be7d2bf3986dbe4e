r"""The theorems as checks with a number, a bound and a verdict.

A certificate holds where value ≤ bound; where one of them is nan nothing can be judged. Paths are
judged from (m, w) as `direct_flow` or `follow` integrate them, because the dual flow satisfies
the invariant and the KKT form by construction. Bounds come from rtol, from rounding, from a
solver's gap, from what is left of the penalty or from the next order of a series; each function
says which.

mirror: Theorem 2.1. lyapunov, rates: Theorem 2.2. limits: Theorem 2.3. sparsity: late L1. bias:
what R_a prefers. discrete: steps of (S)GD as they are run. hessians: steps of gradient descent.
referee, losses: (m, w) under any loss.
"""

from mirrorflow.certificates import (
    averages,
    bias,
    discrete,
    hessians,
    limits,
    losses,
    lyapunov,
    margins,
    mirror,
    rates,
    referee,
    saddles,
    sparsity,
)
from mirrorflow.certificates.averages import *
from mirrorflow.certificates.base import (
    EPS,
    PATH_FACTOR,
    UNJUDGED,
    Certificate,
    Trajectory,
    columns,
    unjudged,
)
from mirrorflow.certificates.bias import *
from mirrorflow.certificates.discrete import *
from mirrorflow.certificates.hessians import *
from mirrorflow.certificates.limits import *
from mirrorflow.certificates.losses import *
from mirrorflow.certificates.lyapunov import *
from mirrorflow.certificates.margins import *
from mirrorflow.certificates.mirror import *
from mirrorflow.certificates.rates import *
from mirrorflow.certificates.referee import *
from mirrorflow.certificates.saddles import *
from mirrorflow.certificates.sparsity import *

__all__ = ["EPS", "PATH_FACTOR", "UNJUDGED", "Certificate", "Trajectory", "columns", "unjudged"]
__all__ += averages.__all__
__all__ += bias.__all__
__all__ += discrete.__all__
__all__ += hessians.__all__
__all__ += limits.__all__
__all__ += losses.__all__
__all__ += lyapunov.__all__
__all__ += margins.__all__
__all__ += mirror.__all__
__all__ += rates.__all__
__all__ += referee.__all__
__all__ += saddles.__all__
__all__ += sparsity.__all__
