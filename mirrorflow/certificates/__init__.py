r"""The theorems as checks with a number, a bound and a verdict.

A certificate holds where value ≤ bound; where one of them is nan nothing can be judged. Paths are
judged from θ as `direct_flow` integrates it, because the dual flow satisfies the invariant and the
KKT form by construction. Losses come with the problem, constants with the mirror map. Bounds come
from rtol, from rounding, from a solver's gap, from what is left of the penalty or from the next
order of a series; each function says which.

mirror, invariants: Theorem 2.1. lyapunov, rates: Theorem 2.2. limits: Theorem 2.3. lasso: decay
that stays. sparsity: late L1. bias: what R_a prefers. discrete: steps of (S)GD as they are run.
hessians: steps of gradient descent. saddles: small starts. penalties: what can be solved exactly
beside weight decay. depth: L ≥ 3. margins: classification. noise, label_noise: what SGD, fresh
labels and averages do.
"""

from inspect import isfunction as _isfunction
from types import ModuleType as _Module

from mirrorflow.certificates.averages import *
from mirrorflow.certificates.base import *
from mirrorflow.certificates.bias import *
from mirrorflow.certificates.depth import *
from mirrorflow.certificates.discrete import *
from mirrorflow.certificates.hessians import *
from mirrorflow.certificates.inputs import checked as _checked
from mirrorflow.certificates.invariants import *
from mirrorflow.certificates.label_noise import *
from mirrorflow.certificates.lasso import *
from mirrorflow.certificates.limits import *
from mirrorflow.certificates.lyapunov import *
from mirrorflow.certificates.margins import *
from mirrorflow.certificates.mirror import *
from mirrorflow.certificates.noise import *
from mirrorflow.certificates.penalties import *
from mirrorflow.certificates.rates import *
from mirrorflow.certificates.saddles import *
from mirrorflow.certificates.signs import *
from mirrorflow.certificates.sparsity import *

__all__ = [
    name for name, value in vars().items() if name[0] != "_" and not isinstance(value, _Module)
]
for _name in __all__:
    if _isfunction(globals()[_name]):
        globals()[_name] = _checked(globals()[_name])
