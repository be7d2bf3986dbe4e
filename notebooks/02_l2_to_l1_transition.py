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
# # From L2 to L1: the potential morphs, and the limit with it
#
# The penalty's total $A = \int\alpha$ turns $R_a$ from a parabola into an absolute value. Here
# that is seen in one and two dimensions, along flows, in the limit's distance to both ends with
# the exponents that theory predicts, in the dual, and in which sparse signals are recovered.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import mirrorflow as mf
from mirrorflow import certificates, plots
from mirrorflow.colours import QUANTITIES, SOFT

plt.rcParams.update(plots.STYLE)
pd.options.display.float_format = "{:.2g}".format
FLOW, L1, L2 = (QUANTITIES[name] for name in ("flow", "l1", "l2"))

# %% [markdown]
# ## 1. The potential, in one dimension
#
# $R_a(x) = \frac12[x \operatorname{arcsinh}(x/a) - \sqrt{x^2 + a^2} - cx]$ with
# $a = \frac12\beta e^{-4A}$: only $x/a$ counts, so a larger β starts closer to L2.

# %%
fig, panels = plt.subplots(1, 2, figsize=(6.75, 3.0), layout="constrained", sharey=True)
for axes, beta in zip(panels, [1.0, 10.0], strict=True):
    plots.potentials(axes, [0.0, 0.25, 0.5, 1.0, 2.0, 4.0], beta)
    axes.set_title(f"$R_a$ for β = {beta:g}, $x_0 = 0$", loc="left")
    axes.set_xlabel("x (units of x)")
    axes.get_legend().remove()
fig.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
plt.show()

# %% [markdown]
# Its exponent $d\log D_R(sx, 0)/d\log s$ is 2 for L2 and 1 for L1. The certificates check that it
# falls with $A$ between the bounds that theory gives, and both asymptotes with their constants.

# %%
one = mf.Factors.pilot([0.0], beta=20.0)
at = np.array([1.0])
grid = [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
exponents = [
    certificates.bias_exponent(mf.HyperbolicEntropy.of(one, total), at)[0] for total in grid
]
print("exponent at x = 1:", pd.Series(exponents, index=grid).map("{:.3f}".format).to_dict())
pd.DataFrame(
    [
        certificates.type_of_bias(one, at, grid),
        certificates.early_l2(mf.HyperbolicEntropy.of(one), at),
        certificates.late_l1(one, at, (4.0, 8.0)),
    ]
)

# %% [markdown]
# ## 2. Two dimensions: one sample, two features
#
# At every time $x_t$ minimises $R_{a_t}$ over $\{Zx = Zx_t\}$: the dashed line touches the level
# set through $x_t$. Circles become diamonds, and $x_t$ slides along the solutions to the corner.

# %%
plane = mf.Regression([[1.0, 2.0]], [2.0])
start = mf.Factors.pilot([0.9, -0.4], beta=4.0)
window = (-0.6, 1.8, -0.9, 1.4)
slow = mf.Constant.from_total(2.0, stop=20.0)
times = np.concatenate([[0.0], np.geomspace(0.01, 0.4, 8), np.linspace(1.0, 20.0, 19), [20.5, 30]])
flow = mf.gradient_flow(plane, start, slow, times)
_ = plots.animate(plane, start, flow, window, "../figures/l2_to_l1.gif")

# %% [markdown]
# ![R_a in one and two dimensions as A grows, with the flow](../figures/l2_to_l1.gif)
#
# The same start with three totals, spent within one unit of time:

# %%
l1, l2 = mf.min_l1(plane).x, mf.min_l2(plane).x
fig, panels = plt.subplots(1, 3, figsize=(6.75, 3.0), layout="constrained", sharey=True)
for axes, total in zip(panels, [0.0, 0.4, 2.0], strict=True):
    schedule = mf.Constant.from_total(total, stop=1.0)
    run = mf.gradient_flow(plane, start, schedule, np.append(np.linspace(0, 2, 200), np.inf))
    plots.level_sets(axes, mf.HyperbolicEntropy.of(start, total), run.x[-1], window)
    plots.solution_line(axes, plane, window)
    axes.plot(*run.x.T, color=FLOW, label="trajectory")
    axes.plot(*run.x[-1], "o", color=FLOW, ms=6, label="$x_\\infty$")
    axes.plot(*l1, "s", color=L1, mfc="none", ms=9, label="minimum L1")
    axes.plot(*l2, "^", color=L2, mfc="none", ms=9, label="minimum L2")
    axes.plot(*start.x, "+", color="k", ms=9, label="$x_0$")
    axes.set_title(f"$A = {total:g}$, $a_\\infty = {2 * np.exp(-4 * total):.2g}$", loc="left")
    axes.set(xlabel="$x_1$ (units of x)")
panels[0].set_ylabel("$x_2$ (units of x)")
fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
plt.show()

# %% [markdown]
# The bold level set touches the solutions at the flow's end point. That is Theorem 2.3, and the
# reference integrator, which follows $(m, w)$ as they stand, agrees along the way and at the end:

# %%
rtol = 1e-8
direct = mf.direct_flow(plane, start, schedule, [0.0, 0.1, 0.5, 1.0, 60.0], rtol)
limit = mf.interpolator(plane, start, schedule.total_infinity)
pd.DataFrame(
    [
        certificates.mirror_flow(plane, start, direct, rtol),
        certificates.finite_time(plane, start, direct, rtol),
        certificates.convergence(plane, limit, schedule, direct, rtol),
    ]
)

# %% [markdown]
# ## 3. How fast? Both exponents are predicted
#
# Sparse recovery, 40 samples, 100 features, 5 nonzeros, from $x_0 = 0$ with β = 200. Early, the
# first term that $R_a$ has beyond the quadratic is relative $(x/a)^2$, so that the distance to
# minimum L2 grows like $e^{8A}$. Late, the distance to minimum L1 falls like
# $e^{-4A\cdot\text{margin}}$, with the margin from a linear program on $Z$ and the signs alone.

# %%
problem = mf.gaussian_recovery(n=40, d=100, k=5, seed=0)
factors = mf.Factors.pilot(np.zeros(100), beta=200.0)
totals = np.linspace(0.0, 6.0, 61)
(limits,) = mf.interpolators(problem, [factors], np.append(totals, np.inf))
*limits, sparsest = limits
least = mf.min_l2(problem).x
margin = certificates.margin(problem, sparsest.x)
to_l1 = np.array([np.linalg.norm(limit.x - sparsest.x) for limit in limits])
to_l2 = np.array([np.linalg.norm(limit.x - least) for limit in limits])

fig, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
axes.semilogy(totals, to_l2, color=L2, ls="--", label="to minimum L2")
axes.semilogy(totals, to_l1, color=L1, label="to minimum L1")
early, late = totals <= 1.0, totals >= 2.5
axes.semilogy(totals[early], 1.5 * to_l2[0] * np.exp(8 * totals[early]), "k:", label="slope 8")
guide = 1.5 * to_l1[-1] * np.exp(-4 * margin * (totals - totals[-1]))
axes.semilogy(totals[late], guide[late], "k-.", lw=1, label=f"slope −4·{margin:.3f}")
axes.set(xlabel="total A = ∫α (no unit)", ylabel="distance of the limit (units of x)")
axes.set_title("40×100, $x_0 = 0$, β = 200: from L2 to L1")
axes.legend()
plt.show()

# %% [markdown]
# In numbers: measured slopes, and the certificates whose bounds need no fit. The exponent's bound
# is the sum of two constants over the range of $4A$; the excess of $\|x\|_1$ is asked at $A = 6$
# and at infinity.

# %%
slope_l2 = np.log(to_l2[5] / to_l2[0]) / (totals[5] - totals[0])
slope_l1 = np.log(to_l1[-1] / to_l1[40]) / (totals[-1] - totals[40])
print(f"slope of log distance to minimum L2, A from 0 to 0.5: {slope_l2:6.3f}   predicted  8")
print(f"slope of log distance to minimum L1, A from 4 to 6:   {slope_l1:6.3f}   ", end="")
print(f"predicted {-4 * margin:.3f}")
zero = mf.HyperbolicEntropy.of(factors)
best, apart = mf.min_l1(problem), (3.0, 11.0)
pair = mf.interpolator(problem, factors, apart[0]), mf.interpolator(problem, factors, apart[1])
pd.DataFrame(
    [
        certificates.l1_exponent(problem, zero, pair, apart, best.x, margin),
        certificates.l1_excess(limits[-1], best, 6.0),
        certificates.l1_excess(sparsest, best, np.inf),
    ]
)

# %% [markdown]
# ## 4. The dual path
#
# $\nabla R_a(x) = \frac12 Z^\top\nu$ with $\nu \in \mathbb{R}^n$. The growth of $z_j^\top\nu$ per
# unit of $4A$ becomes a dual certificate of minimum L1: ±1 on the support, and off it the largest
# $|z_j^\top\nu|$ grows by 1 − margin. (Beyond $A \approx 14$ float64 leaves the dual undetermined:
# masses off the support are lost in $Zx$.)

# %%
steps = np.arange(0.5, 12.5, 0.5)
(path,) = mf.interpolators(problem, [factors], steps)
dual = np.array([problem.Z.T @ limit.dual for limit in path])
growth, middle = np.diff(dual, axis=0) / (4 * 0.5), steps[:-1] + 0.25
on = problem.x_true != 0
fig, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
axes.plot(middle, growth[:, ~on], color=SOFT, lw=0.5)
axes.plot(middle, growth[:, on], color=L1)
for sign in (-1, 1):
    axes.axhline(sign * (1 - margin), color="k", ls="--", lw=1)
axes.plot([], [], color=L1, label="on the support of x*")
axes.plot([], [], color=SOFT, label="off it")
axes.plot([], [], color="k", ls="--", label=f"±(1 − margin), margin = {margin:.3f}")
axes.set(xlabel="total A = ∫α (no unit)", ylabel="growth of $z_j^T\\nu$ per unit of 4A (no unit)")
axes.set_title("40×100, β = 200: the dual path becomes a certificate")
fig.legend(loc="outside lower center", ncols=3)
plt.show()
envelope = np.abs(dual[:, ~on]).max(axis=1)
late = (envelope[-1] - envelope[-9]) / (4 * (steps[-1] - steps[-9]))
print(f"growth of the largest |z_jᵀν| off the support, A from 8 to 12: {late:.4f}")
print(f"1 − margin, from the linear program:                           {1 - margin:.4f}")

# %% [markdown]
# ## 5. Which supports are recovered
#
# Twenty problems for each sparsity: is the support of x* found, as the k largest $|x_j|$ of the
# limit after total $A$? For $A = \infty$ the margin of x* itself says it beforehand: positive
# means that x* is the unique minimum-L1 interpolator.

# %%
totals = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, np.inf])
sparsities, seeds = [3, 6, 9, 12, 15, 18], range(20)
start = mf.Factors.pilot(np.zeros(100), beta=1.0)
found = np.zeros((len(sparsities), totals.size))
foretold = np.zeros(len(sparsities))
disagreements = 0
for i, k in enumerate(sparsities):
    for seed in seeds:
        case = mf.gaussian_recovery(n=40, d=100, k=k, seed=seed)
        (path,) = mf.interpolators(case, [start], totals)
        support = set(np.flatnonzero(case.x_true))
        hits = [set(np.argsort(-np.abs(limit.x))[:k]) == support for limit in path]
        exact = np.abs(path[-1].x - case.x_true).max() < 1e-8
        predicted = certificates.margin(case, case.x_true) > 0
        found[i] += hits
        foretold[i] += predicted
        disagreements += exact != predicted
found, foretold = found / len(seeds), foretold / len(seeds)

fig, axes = plt.subplots(figsize=(6.8, 4.2), layout="constrained")
colours = plt.get_cmap("cividis")(np.linspace(0, 0.9, len(sparsities)))
ticks = np.arange(totals.size)
for i, (k, colour) in enumerate(zip(sparsities, colours, strict=True)):
    axes.plot(ticks, found[i], color=colour, marker=plots.MARKERS[i], label=f"k = {k}")
    axes.plot(ticks[-1] + 0.35, foretold[i], "_", color=colour, ms=14, mew=2)
axes.set_xticks(ticks, [f"{a:g}" for a in totals[:-1]] + ["∞"])
axes.set(xlabel="total A = ∫α (no unit)", ylabel="fraction of supports found (of 20)")
axes.set_title("40×100, β = 1, $x_0 = 0$; bars at the right: margin of x* > 0")
fig.legend(loc="outside right center")
plt.show()
print(
    f"x_∞ = x* against margin > 0: {disagreements} disagreements in {foretold.size * 20} problems"
)
assert disagreements == 0

# %% [markdown]
# ## What to try
#
# - `mf.Factors.pilot(x0, beta=1.0)` with a random `x0`: minimum L2 is then counted from
#   $e^{-4A}x_0$ (`mf.min_l2(problem, origin)`), and its slope changes from 8.
# - β = 1e-4 instead of a penalty: a small initialisation is as good as $A$, as only $a$ counts.
# - `mf.gaussian_recovery(..., noise=0.1)`: the limit still interpolates; which $A$ is best then?
# - Another line: `mf.Regression([[1.0, 1.0]], [1.0])` has no unique minimum-L1 point; see which
#   one `mf.interpolator(plane, start, np.inf)` picks, and how `x0` changes it.
