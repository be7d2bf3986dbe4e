"""Changes of sign: what they cost."""

from __future__ import annotations

import numpy as np

from mirrorflow import certificates as certify
from mirrorflow.claims.draws import RTOL, pilot_start, random_problem
from mirrorflow.claims.registry import Checks, Claim, Rng, judges
from mirrorflow.flows import direct_flow
from mirrorflow.losses import Loss
from mirrorflow.schedules import Constant

ANY = "any α_t ≥ 0; squared loss, pseudo-Huber"


@judges("flips", ("squared", "pseudo_huber"),
    Claim("sign_rule", "A", "x_j changes its sign when ∫∂_jf passes ½ arcsinh(x₀/a₀): no decay "
          "enters", "this project", ANY),
    Claim("changed_sign_rule", "A", "x_j changes its sign when ∫∂_jf passes half of that",
          "factor changed", ANY, "changed", "sign_rule"))  # fmt: skip
def _flips(rng: Rng, loss: Loss) -> Checks:
    flipped = 0
    while flipped < 2:
        problem = random_problem(rng, loss)
        start = pilot_start(rng, problem.d)
        schedule = Constant.from_total(float(rng.uniform(0.2, 1.0)), 2.0)
        times = np.linspace(0.0, 6.0, 121)
        path = direct_flow(problem, start, schedule, times, RTOL, accumulate=True)
        flipped = int((np.sign(path.x[-1]) != np.sign(start.x)).sum())
    return {
        "sign_rule": certify.sign_rule(path, RTOL),
        "changed_sign_rule": certify.sign_rule(path, RTOL, 0.5),
    }
