# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Discrete steps, exactly
#
# Theorems of implicit bias speak of gradient flow. What people run are steps, with minibatches and
# momentum. Where they end is known just as well: at the minimiser of
# $R_a(x) + \langle r, x\rangle$ over $Zx = y$, with a scale $a = a_0 e^{-\Lambda}$ and a shift $r$
# that are sums over the steps, at *any* step size. The figure of `mirrorflow sweep discrete`:

# %%
# %matplotlib inline
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import mirrorflow as mf
from mirrorflow import certificates as certify
from mirrorflow import plots
from mirrorflow.colours import QUANTITIES, SOFT

pd.options.display.float_format = "{:.2g}".format

plots.discrete(pd.read_parquet("../figures/discrete_rows.parquet"))

# %% [markdown]
# Red: the flow's limit is off by $O(\eta)$. Blue: what `predicted_gain` says *before* training
# is off by $O(\eta^2)$. Yellow: the sums $\Lambda$ and $r$ of the steps that were made leave
# rounding, up to the edge of stability $2/\lambda_{\max}$ and beyond it.
#
# ## 1. The paper's problem in ten lines
#
# $40\times 100$, five nonzeros, decay $\alpha$ with a total $A = \sum\eta\alpha = 0.1$, full-batch
# gradient descent with $\eta = 0.1$. `follow_descent` steps $m$ and $w$ as they stand; its sums see
# only $\eta$, $\alpha$ and the gradients.

# %%
problem = mf.gaussian_recovery(n=40, d=100, k=5, seed=0)
x0 = np.random.default_rng(0).normal(0.0, 100**-0.25, 100)
start, decay, eta = mf.Factors.pilot(x0, beta=1.0), mf.Constant.from_total(0.1, stop=2.0), 0.1

path = mf.follow_descent(problem, start, eta, 3000, decay)
limit = mf.discrete_limit(problem, path)
flow = mf.interpolator(problem, start, total=0.1)
gain = mf.predicted_gain(problem, start, decay, eta)
before = mf.interpolator(problem, start, total=0.1, gain=gain)
for name, other in {"discrete": limit, "flow": flow, "before training": before}.items():
    print(f"{name + ' limit:':24} {np.abs(path.x[-1] - other.x).max():.1e} away")

assert np.abs(path.x[-1] - limit.x).max() < 1e-10 < 1e-2 < np.abs(path.x[-1] - flow.x).max()

# %% [markdown]
# The distances are in units of $x$, whose nonzeros are $\pm 1$. A certificate says whether such a
# formula holds, whatever the number of steps. Without the shift, or with the flow's gain $4A$, it
# does not:

# %%
none = np.zeros(problem.d)
checks = {
    "Λ and r of the steps": certify.discrete_argmin(problem, path),
    "r = 0": certify.discrete_argmin(problem, path, shift=none),
    "the flow's Λ = 4A, r = 0": certify.discrete_argmin(problem, path, none + 0.4, none),
}
rows = {name: (c.value, c.bound, c.verdict) for name, c in checks.items()}
pd.DataFrame.from_dict(rows, orient="index", columns=["value", "bound", "verdict"])

# %% [markdown]
# ## 2. Momentum counts drift $1 + 2\ell$ times
#
# Heavy ball with steps $\gamma$ has the effective step $\eta = \gamma/(1 - \mu)$ and uses gradients
# that are $\ell = \mu/(1 - \mu)$ steps old on average. Its gain is that of gradient descent
# times $1 + 2\ell = (1 + \mu)/(1 - \mu)$, to first order. At the same $\eta$, without decay:

# %%
rows = []
for mu in (0.0, 0.3, 0.6, 0.8, 0.9):
    eta = 0.01
    path = mf.follow_descent(problem, start, eta * (1.0 - mu), 15_000, momentum=mu, record=1)
    gain = mf.predicted_gain(problem, start, mf.Constant(0.0), eta * (1.0 - mu), momentum=mu)
    exact, before = mf.discrete_limit(problem, path), mf.interpolator(problem, start, 0, gain=gain)
    rows.append(
        {
            "μ": mu,
            "1 + 2ℓ": (1 + mu) / (1 - mu),
            "mean gain": path.gain[-1].mean(),
            "predicted": gain.mean(),
            "to the exact limit": np.abs(path.x[-1] - exact.x).max(),
            "to the predicted": np.abs(path.x[-1] - before.x).max(),
            "to the flow's": np.abs(path.x[-1] - mf.interpolator(problem, start, 0).x).max(),
        }
    )
pd.DataFrame(rows).set_index("μ")

# %% [markdown]
# ## 3. One-sample SGD on $\pm 1$ designs is weight decay
#
# Where all entries of a row have the same size, a step of one-sample SGD shrinks $m^2 - w^2$ by
# the same factor in every coordinate, as weight decay does. So SGD without decay ends *exactly*
# where the penalised flow ends, with the total $A = \Lambda/4$.

# %%
rng = np.random.default_rng(1)
Z = rng.choice([-1.0, 1.0], (12, 30))
signs = mf.Regression(Z, Z[:, :3].sum(axis=1))
start = mf.Factors.pilot(rng.normal(0.0, 0.3, 30))
rows = []
for eta in (0.01, 0.02, 0.03):
    path = mf.follow_descent(signs, start, eta, round(400 / eta), batch_size=1, record=1)
    total = path.gain[-1].mean() / 4
    assert certify.noise_is_decay(signs, path).holds
    rows.append(
        {
            "η": eta,
            "A": total,
            "spread of Λ": np.ptp(path.gain[-1]),
            "to the flow with decay A": np.abs(
                path.x[-1] - mf.interpolator(signs, start, total).x
            ).max(),
            "to the flow without": np.abs(path.x[-1] - mf.interpolator(signs, start, 0).x).max(),
            "‖x‖₁": np.abs(path.x[-1]).sum(),
        }
    )
pd.DataFrame(rows).set_index("η")

# %% [markdown]
# Larger steps, more noise, more $A$, and a smaller $\|x\|_1$.
#
# ## 4. Beyond the edge, the step size caps the scale
#
# A limit that gradient descent reaches is stable there: $\eta\lambda_{\max}/2\le 1$ with
# $\lambda_{\max}$ of the Hessian $(2/n)\,Z\,\mathrm{diag}(\sqrt{x^2 + a^2})\,Z^\top$. Where the
# flow's limit isn't, the steps shrink $a$ until theirs is.

# %%
small = mf.gaussian_recovery(n=8, d=20, k=3, seed=1)
start = mf.Factors.pilot(np.random.default_rng(1).normal(0.0, 20**-0.25, 20))
flow = mf.interpolator(small, start, 0)
edge = 1.0 / certify.scale_cap(small, flow, 1.0).value  # 2/λ_max
ratios = [0.1, 0.3, 0.6, 0.9, 1.1, 1.3, 1.5, 1.7, 1.9]
ends, scales = [], []
for ratio in ratios:
    path = mf.follow_descent(small, start, ratio * edge, 4000, record=1)
    limit = mf.discrete_limit(small, path)
    assert np.abs(path.x[-1] - limit.x).max() < 1e-9
    ends.append(certify.scale_cap(small, limit, ratio * edge).value)
    scales.append(np.exp(np.median(np.log(0.5) - path.gain[-1])))  # a₀ = β/2 = ½

plt.rcParams.update(plots.STYLE)
fig, (left, right) = plt.subplots(1, 2, figsize=(6.75, 3.2), layout="constrained")
left.plot(ratios, ends, "o-", color=QUANTITIES["steps"], label="at the limit of the steps")
left.plot(ratios, ratios, "--", color=QUANTITIES["flow"], label="at the flow's limit")
left.axhline(1.0, color=SOFT, lw=1, ls=":", label="stable below")
left.set(xlabel="step size $η$ in $2/λ_{\\max}$ of the flow's limit", ylabel="$η λ_{\\max}/2$")
left.set_title("8×20, gradient descent", loc="left")
left.legend()
right.plot(ratios, scales, "o-", color=QUANTITIES["steps"])
right.set(xlabel="step size $η$ in the same units", ylabel="median scale a (units of x)")
right.set_title("scale of the same runs; flow: ½", loc="left")
plt.show()

# %% [markdown]
# ## What to try
#
# - `sam=mf.Sam(0.05)` in `follow_descent`: the radius ρ counts like a step size 2ρ, and
#   `discrete_limit` stays exact. So it does with `nesterov=True`, `label_noise=` or `clip=`.
# - `batch_size=` from 1 to n in section 2: noise counts once, drift $1 + 2\ell$ times.
# - A row of `Z` in section 3 scaled by 2: still weight decay. One entry scaled: no longer.
# - `steps=50` in section 1: `discrete_argmin` still holds, for $Zx = Zx_K$; `discrete_limit` is off
#   by what the steps to come would add.
# - `mirrorflow sweep discrete --momentum 0.9 --batch 1 --n 20 --d 50`: the figure anew.
