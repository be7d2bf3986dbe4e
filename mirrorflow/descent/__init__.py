r"""Gradient descent and SGD, the paper's discrete experiments, many runs of one problem at once.

With f(x) = 1/(2n) ‖Zx − y‖² and the step size η, step k = 1, 2, … of a run is

    factors   m ← m − η(w ⊙ ∇f(x) + 2α_k m),  w ← w − η(m ⊙ ∇f(x) + 2α_k w),  x = m ⊙ w
    mask_l1   m ← S(m − η w ⊙ ∇f(x), ηα_k),   w ← w − η m ⊙ ∇f(x),            x = m ⊙ w
    l1_on_x   x ← S(x − η ∇f(x), ηα_k)

(m and w from the same old values; S(z, τ) = sign(z) max(|z| − τ, 0)). "factors" runs in
ũ = (m + w)/2 and ṽ = (m − w)/2, where the same step is a product,

    ũ ← ũ ⊙ (1 − 2ηα_k − η∇f(x)),   ṽ ← ṽ ⊙ (1 − 2ηα_k + η∇f(x)),   x = ũ² − ṽ²:

fewer passes over memory, and a small ṽ beside a large ũ keeps all its digits, which it loses
in m − w. The runs are the rows of (B, d) arrays, so that a step is two matrix products.
"""

from mirrorflow.descent.driver import descend
from mirrorflow.descent.journal import Descent
from mirrorflow.descent.prediction import discrete_limit, predicted_gain
from mirrorflow.descent.reference import DescentPath, Sam, follow_descent
from mirrorflow.descent.signs import ham_descent, sign_descent
from mirrorflow.descent.stability import stable_step_size
from mirrorflow.descent.steps import REGULARIZERS

__all__ = ["REGULARIZERS", "Descent", "DescentPath", "Sam", "descend", "discrete_limit"]
__all__ += ["follow_descent", "ham_descent", "predicted_gain", "sign_descent", "stable_step_size"]
